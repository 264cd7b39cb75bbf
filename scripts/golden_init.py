"""Initialisation goldens: init.json. Run through goldens.py.

A list of {kind, layer, shape, tensor, bound} or {..., std}: the bound of a uniform or the
standard deviation of a normal initialisation. Both are checked here against tensors
that PyTorch's own functions fill. `shape` is that of the weight; with tensor = "bias" the
value is that of the layer's bias.
"""

import json
import math

import torch
from torch import nn

LAYERS = [
    ("conv2d", lambda: nn.Conv2d(3, 64, 3)),
    ("conv2d", lambda: nn.Conv2d(17, 40, (1, 5))),
    ("conv2d", lambda: nn.Conv2d(96, 96, 3, groups=96)),
    ("conv2d", lambda: nn.Conv2d(32, 64, 3, groups=4)),
    ("linear", lambda: nn.Linear(784, 10)),
    ("linear", lambda: nn.Linear(33, 129)),
]


def kaiming(fill, mode):
    return lambda w: fill(w, mode=mode, nonlinearity="relu")


# kind -> (fills a weight, the bound or std from fan_in and fan_out)
KINDS = {
    "kaiming_uniform_fan_in": (
        kaiming(nn.init.kaiming_uniform_, "fan_in"),
        lambda i, o: math.sqrt(6 / i),
    ),
    "kaiming_uniform_fan_out": (
        kaiming(nn.init.kaiming_uniform_, "fan_out"),
        lambda i, o: math.sqrt(6 / o),
    ),
    "kaiming_normal_fan_in": (
        kaiming(nn.init.kaiming_normal_, "fan_in"),
        lambda i, o: math.sqrt(2 / i),
    ),
    "kaiming_normal_fan_out": (
        kaiming(nn.init.kaiming_normal_, "fan_out"),
        lambda i, o: math.sqrt(2 / o),
    ),
    "xavier_uniform": (nn.init.xavier_uniform_, lambda i, o: math.sqrt(6 / (i + o))),
    "xavier_normal": (nn.init.xavier_normal_, lambda i, o: math.sqrt(2 / (i + o))),
}


def check(samples, kind, value):
    """The samples of many draws agree with the bound or the standard deviation."""
    std = value if "normal" in kind else value / math.sqrt(3)
    assert abs(samples.std().item() / std - 1) < 0.02, (kind, value)
    if "normal" not in kind:
        assert 0.99 * value < samples.abs().max().item() <= value * (1 + 1e-6), (kind, value)


def draws(make, count=200):
    return torch.cat([make().detach().flatten().clone() for _ in range(count)])


def entries():
    for layer, make in LAYERS:
        weight = make().weight
        fans = nn.init._calculate_fan_in_and_fan_out(weight)
        entry = {"layer": layer, "shape": list(weight.shape)}
        default = 1 / math.sqrt(fans[0])
        for tensor in ("weight", "bias"):
            check(draws(lambda: getattr(make(), tensor)), "default", default)
            yield {"kind": "default", **entry, "tensor": tensor, "bound": default}
        for kind, (fill, formula) in KINDS.items():
            value = formula(*fans)
            check(draws(lambda: fill(weight), 40), kind, value)
            measure = "std" if "normal" in kind else "bound"
            yield {"kind": kind, **entry, "tensor": "weight", measure: value}


def write(directory):
    torch.manual_seed(0)
    lines = [json.dumps(entry) for entry in entries()]
    (directory / "init.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
