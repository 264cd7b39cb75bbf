"""Checks what wgrad exports, with the tools of others.

    cargo run --release --example exchange -- /tmp/exported                      # every network, small images
    cargo run --release --example exchange -- /tmp/exported resnet18:224         # one at its full size
    cargo run --release --example exchange -- /tmp/operators operators           # every operator
    python scripts/check_onnx.py /tmp/exported /tmp/operators

Each folder with a model.onnx is checked by onnx.checker and run by onnxruntime; what comes out is compared with
results.safetensors, the inputs and what wgrad's CPU path made of them: for networks with the batch as it is (9) and with
its first 8 and its first image, as they are and with batch norms folded. A model.py beside it is run by PyTorch.
Errors are largest differences, divided by the largest magnitude where that is above 1; 1e-4 is allowed.

Needs onnx, onnxruntime, safetensors and torch from PyPI.
"""

import importlib.util
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

ALLOWED = 1e-4


def error(found, wanted):
    """The largest difference, relative where magnitudes are above 1; infinite where shapes differ."""
    if found.shape != wanted.shape or not numpy.isfinite(found).all():
        return float("inf")
    return float(numpy.abs(found - wanted).max() / max(1.0, numpy.abs(wanted).max()))


def check_onnx(path, inputs, wanted, batches):
    """The largest error of onnxruntime over the batches."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    errors = []
    for batch in batches:
        given = {name: values[:batch] if batch else values for name, values in inputs.items()}
        (found,) = session.run(None, given)
        errors.append(error(found, wanted[:batch] if batch else wanted))
    return max(errors)


def check_pytorch(path, inputs, wanted):
    """The error of the Python module."""
    import torch

    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        return error(module.load()(*map(torch.from_numpy, inputs.values())).numpy(), wanted)


def check(folder):
    """Errors by what was checked."""
    inputs = load_file(folder / "results.safetensors")
    wanted = inputs.pop("logits")
    inputs = dict(sorted(inputs.items()))
    is_network = (folder / "folded.onnx").exists()
    errors = {"onnx": check_onnx(folder / "model.onnx", inputs, wanted, [9, 8, 1] if is_network else [None])}
    if is_network:
        errors["folded"] = check_onnx(folder / "folded.onnx", inputs, wanted, [8, 1])
    if (folder / "model.py").exists():
        errors["pytorch"] = check_pytorch(folder / "model.py", inputs, wanted)
    return errors


def main():
    onnxruntime.set_default_logger_severity(3)
    checked, worst, failed = 0, 0.0, []
    for root in map(Path, sys.argv[1:]):
        for model in sorted(root.rglob("model.onnx")):
            name = str(model.parent.relative_to(root))
            try:
                errors = check(model.parent)
            except Exception as problem:
                errors = {str(problem).replace("\n", " ")[:300]: float("inf")}
            checked += 1
            worst = max([worst, *errors.values()])
            if (model.parent / "folded.onnx").exists() or max(errors.values()) > ALLOWED:
                print(f"{name:24}", *(f"{what} {value:.1e}" for what, value in errors.items()), flush=True)
            if max(errors.values()) > ALLOWED:
                failed.append(name)
    print(f"{checked} checked, largest error {worst:.1e}, {len(failed)} above {ALLOWED}: {', '.join(failed)}")
    sys.exit(bool(failed) or not checked)


if __name__ == "__main__":
    main()
