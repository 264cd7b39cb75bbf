"""Times training steps of seed-cnn and small-cnn in PyTorch on the CPU, to stand beside `wgrad bench`.

    python scripts/bench_pytorch.py [STEPS]

Prints one JSON line per network: median milliseconds of a step (forward, loss, backward, SGD with momentum) on 64
random images of 1x28x28, after three steps that are not counted. Run it beside
`wgrad bench --model small-cnn --input 1,28,28 --batch-size 64 --device cpu` on the same quiet machine.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn

BATCH = 64


def conv(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def seed_cnn():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 10))


def small_cnn():
    head = [nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    first = [*conv(1, 32), *conv(32, 32), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *conv(32, 64), *conv(64, 64), nn.MaxPool2d(2), *head)


def median_ms(network, steps):
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.randn(BATCH, 1, 28, 28), torch.arange(BATCH) % 10
    times = []
    for _ in range(steps + 3):
        began = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[3:])


def main():
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    for name, make in [("seed-cnn", seed_cnn), ("small-cnn", small_cnn)]:
        torch.manual_seed(0)
        ms = median_ms(make(), steps)
        print(json.dumps({"model": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "ms_per_step": ms}))


if __name__ == "__main__":
    main()
