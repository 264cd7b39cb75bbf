"""Trains one network in tinygrad on random images and prints what `wgrad bench --json` prints, as far as it applies.

Like pytorch.py: one process, one measurement, started by run.py. It knows the layers of seed-cnn, lenet5 and small-cnn.
Needs `pip install tinygrad==0.14.0`, and for WebGPU `dawn-python==0.3.0`, whose library it names to tinygrad.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="a model file of wgrad, without blocks")
    parser.add_argument("--input", required=True, help="C,H,W")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--backend", choices=["cpu", "webgpu"], default="cpu")
    return parser.parse_args()


def choose_backend(name):
    """Has to come before tinygrad is imported."""
    os.environ["DEV"] = name.upper()
    dawn = find_spec("pydawn")
    if name == "webgpu" and dawn and "WEBGPU_PATH" not in os.environ:
        folder = Path(dawn.submodule_search_locations[0]) / "lib"
        os.environ["WEBGPU_PATH"] = str(folder / f"libwebgpu_dawn_{platform.machine()}.so")


def network(args, nn):
    """The layers as functions, and those that have parameters."""
    channels, height, width = map(int, args.input.split(","))
    functions = []
    for layer in tomllib.loads(Path(args.model).read_text())["layers"]:
        name, of = next(iter(layer.items())) if isinstance(layer, dict) else (layer, {})
        match name:
            case "conv2d":
                size, padding, bias = of["kernel_size"], of.get("padding", 0), of.get("bias", True)
                functions.append(nn.Conv2d(channels, of["out_channels"], size, padding=padding, bias=bias))
                channels, height, width = of["out_channels"], *(n + 2 * padding - size + 1 for n in (height, width))
            case "batch_norm":
                functions.append(nn.BatchNorm(channels))
            case "relu":
                functions.append(lambda x: x.relu())
            case "max_pool2d":
                size = of["kernel_size"]
                functions.append(lambda x, size=size: x.max_pool2d(size))
                height, width = height // size, width // size
            case "flatten":
                functions.append(lambda x: x.flatten(1))
                channels, height, width = channels * height * width, 1, 1
            case "linear":
                features = args.classes if of["out_features"] == "classes" else of["out_features"]
                functions.append(nn.Linear(channels, features))
                channels = features
            case "dropout":
                functions.append(lambda x, p=of["p"]: x.dropout(p))
            case _:
                sys.exit(f"error: tinygrad_peer.py does not know the layer {name}")
    return functions


def main():
    args = arguments()
    choose_backend(args.backend)
    from tinygrad import Context, Device, Tensor, TinyJit, nn

    functions = network(args, nn)
    parameters = nn.state.get_parameters(functions)
    if args.optimizer == "adam":
        optimizer = nn.optim.Adam(parameters, lr=1e-3)
    else:
        optimizer = nn.optim.SGD(parameters, lr=1e-3, momentum=args.momentum)
    images = (Tensor.rand(args.batch_size, *map(int, args.input.split(","))) * 2 - 1).realize()
    labels = (Tensor.arange(args.batch_size) % args.classes).realize()

    @TinyJit
    @Context(TRAINING=1)
    def step():
        optimizer.zero_grad()
        loss = images.sequential(functions).sparse_categorical_crossentropy(labels).backward()
        return loss.realize(*optimizer.schedule_step())

    step().item()
    first, times, last = time.time(), [], time.perf_counter()
    while len(times) < args.warmup + args.steps:
        step().item()
        now = time.perf_counter()
        times.append((now - last) * 1e3)
        last = now
    times = sorted(times[args.warmup :])
    at = lambda q: times[round((len(times) - 1) * q)]
    median = statistics.median(times)
    found = {
        "model": Path(args.model).stem,
        "device": Device.DEFAULT,
        "optimizer": args.optimizer,
        "batch_size": args.batch_size,
        "steps": len(times),
        "ms_per_step": median,
        "ms_per_step_p10": at(0.1),
        "ms_per_step_p90": at(0.9),
        "img_per_s": args.batch_size / median * 1e3,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_step_unix_ms": first * 1e3,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
