"""What PyTorch reaches on MNIST with wgrad's seed-cnn in one epoch.

    pip install torch numpy
    python scripts/mnist_reference.py DIR   # DIR holds MNIST's four *-ubyte.gz files

Conv 3x3 (8 channels, bias), ReLU, max pool 2, linear 10, with PyTorch's default
initialisation; SGD with rate 0.05 and no momentum, batches of 64, shuffled, the last
incomplete batch dropped. Pixels are divided by 255 and, in the first of two variants,
normalised by the mean and standard deviation of the training pixels. Writes
tests/goldens/mnist_reference.json: the test accuracies of ten seeds, their mean and
their (sample) standard deviation.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEEDS = range(10)
RATE = 0.05
BATCH = 64


def idx(path):
    """A gzipped IDX file of bytes."""
    data = gzip.decompress(path.read_bytes())
    assert data[:3] == b"\0\0\x08", path
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def load(directory, part):
    images = torch.from_numpy(idx(directory / f"{part}-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(idx(directory / f"{part}-labels-idx1-ubyte.gz").copy())
    return images.unsqueeze(1).float() / 255, labels.long()


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 13 * 13, 10),
    )


def train_epoch(model, images, labels):
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    order = torch.randperm(len(images))
    for start in range(0, len(images) - BATCH + 1, BATCH):
        batch = order[start : start + BATCH]
        optimizer.zero_grad()
        F.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model, images, labels):
    right = torch.cat([model(x).argmax(1) for x in images.split(1000)]) == labels
    return right.sum().item() / len(labels)


def accuracies(train, test):
    results = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = network()
        train_epoch(model, *train)
        results.append(accuracy(model, *test))
    mean, std = float(np.mean(results)), float(np.std(results, ddof=1))
    return {"accuracies": results, "mean": mean, "std": std}


def main(directory):
    torch.set_num_threads(1)
    train, test = load(directory, "train"), load(directory, "t10k")
    mean, std = train[0].double().mean().item(), train[0].double().std(correction=0).item()
    normalise = lambda data: ((data[0] - mean) / std, data[1])
    result = {
        "model": "seed-cnn",
        "epochs": 1,
        "lr": RATE,
        "batch": BATCH,
        "pixel_mean": mean,
        "pixel_std": std,
        "normalised": accuracies(normalise(train), normalise(test)),
        "unnormalised": accuracies(train, test),
    }
    path = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "mnist_reference.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
