"""Trains one network in PyTorch on random images and prints what `wgrad bench --json` prints, as far as it applies.

One process, one measurement: run.py starts it. The network is a model file of wgrad, built by scripts/torch_layers.py,
so that both sides train the same layers.

    python benches/compare/pytorch.py --model src/models/zoo/seed-cnn.toml --input 1,28,28 --batch-size 64
"""

import argparse
import collections
import json
import resource
import statistics
import sys
import time
import tomllib
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from torch_layers import sequential

# Steps that may be under way before the oldest is waited for, as in wgrad.
IN_FLIGHT = 2


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="a model file of wgrad")
    parser.add_argument("--input", required=True, help="C,H,W")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "default", "amp"], default="f32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def with_classes(value, classes):
    """The model file's layers, with "classes" replaced by the number."""
    if isinstance(value, dict):
        return {k: classes if v == "classes" else with_classes(v, classes) for k, v in value.items()}
    if isinstance(value, list):
        return [with_classes(v, classes) for v in value]
    return value


def network(args):
    layers = tomllib.loads(Path(args.model).read_text())["layers"]
    shape = (1, *map(int, args.input.split(",")))
    return sequential(with_classes(layers, args.classes), shape), shape[1:]


def set_precision(name):
    """f32 is strict; PyTorch's default allows TF32 in cuDNN; amp is autocast to f16 with a scaler on top of it."""
    if name == "f32":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


class Trainer:
    def __init__(self, args):
        self.device = torch.device(args.device)
        self.amp = args.precision == "amp"
        model, shape = network(args)
        self.model = model.to(self.device)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(args.batch_size, *shape, generator=generator).to(self.device) * 2 - 1
        self.labels = (torch.arange(args.batch_size) % args.classes).to(self.device)
        if args.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        parameters = self.model.parameters()
        if args.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=1e-3)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=args.momentum)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp)
        if args.compile:
            self.model = torch.compile(self.model)

    def step(self):
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.float16, enabled=self.amp):
            loss = nn.functional.cross_entropy(self.model(self.images), self.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def submit(self):
        """Starts a step; gives a function that waits for its end."""
        self.step()
        if self.device.type == "cpu":
            return lambda: None
        event = torch.cuda.Event()
        event.record()
        return event.synchronize


def measure(trainer, warmup, steps):
    """Milliseconds of each step, from the end of the one before to its own, after a first one."""
    trainer.submit()()
    first = time.time()
    flying, times, last = collections.deque(), [], time.perf_counter()
    while len(times) < warmup + steps:
        flying.append(trainer.submit())
        if len(flying) > (IN_FLIGHT if trainer.device.type != "cpu" else 0):
            flying.popleft()()
            now = time.perf_counter()
            times.append((now - last) * 1e3)
            last = now
    for wait in flying:
        wait()
    return first, sorted(times[warmup:])


def main():
    args = arguments()
    torch.manual_seed(0)
    set_precision(args.precision)
    trainer = Trainer(args)
    first, times = measure(trainer, args.warmup, args.steps)
    median = statistics.median(times)
    at = lambda q: times[round((len(times) - 1) * q)]
    cuda = args.device == "cuda"
    found = {
        "model": Path(args.model).stem,
        "device": torch.cuda.get_device_name() if cuda else f"CPU ({torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "precision": args.precision,
        "optimizer": args.optimizer,
        "batch_size": args.batch_size,
        "steps": len(times),
        "ms_per_step": median,
        "ms_per_step_p10": at(0.1),
        "ms_per_step_p90": at(0.9),
        "img_per_s": args.batch_size / median * 1e3,
        "device_bytes": torch.cuda.max_memory_reserved() if cuda else None,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_step_unix_ms": first * 1e3,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
