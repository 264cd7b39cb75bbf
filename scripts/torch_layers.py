"""wgrad's TOML layer descriptions as PyTorch modules.

A layer is a name ("relu") or a one-entry table ({ conv2d = { ... } }); `build` makes
the module of one layer for a given input shape, `sequential` that of a list of layers.
Used by goldens.py and the experiments; not a program by itself.
"""

import torch
from torch import nn


class LayerNorm2d(nn.Module):
    """ConvNeXt's layer norm: over the channels at each pixel of an NCHW input."""

    def __init__(self, channels, eps=1e-6, affine=True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x):
        shape = (x.shape[1],)
        x = x.permute(0, 2, 3, 1)
        x = nn.functional.layer_norm(x, shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Residual(nn.Module):
    """body(x) + shortcut(x); an empty shortcut is the identity."""

    def __init__(self, body, shortcut):
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Multiply(nn.Module):
    """Everything times a fixed factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def pair(value):
    """A spatial argument: an int (or "same") stays, [h, w] becomes a tuple."""
    return tuple(value) if isinstance(value, list) else value


def spatial(args):
    return {name: pair(value) for name, value in args.items()}


def batch_norm(shape, weight=True, **args):
    norm = nn.BatchNorm2d(shape[1], **args)
    if not weight:
        norm.register_parameter("weight", None)
    return norm


def layer_norm(shape, dims="chw", **args):
    return nn.LayerNorm(shape[1:] if dims == "chw" else shape[-1:], **args)


class ChannelLinear(nn.Linear):
    """A linear layer between permutations, as ConvNeXt has it."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def linear(shape, dim="last", **args):
    if dim == "channels":
        return ChannelLinear(shape[1], **args)
    return nn.Linear(shape[-1], **args)


def residual(shape, body, shortcut=()):
    return Residual(sequential(body, shape), sequential(shortcut, shape))


# name -> (input shape with batch, arguments) -> module
LAYERS = {
    "conv2d": lambda s, **a: nn.Conv2d(s[1], **spatial(a)),
    "linear": linear,
    "max_pool2d": lambda s, **a: nn.MaxPool2d(**spatial(a)),
    "avg_pool2d": lambda s, **a: nn.AvgPool2d(**spatial(a)),
    "adaptive_avg_pool2d": lambda s, **a: nn.AdaptiveAvgPool2d(**spatial(a)),
    "global_avg_pool2d": lambda s: nn.AdaptiveAvgPool2d(1),
    "flatten": lambda s: nn.Flatten(),
    "dropout": lambda s, **a: nn.Dropout(**a),
    "batch_norm": batch_norm,
    "group_norm": lambda s, **a: nn.GroupNorm(num_channels=s[1], **a),
    "instance_norm": lambda s, **a: nn.InstanceNorm2d(s[1], **a),
    "layer_norm": layer_norm,
    "layer_norm2d": lambda s, **a: LayerNorm2d(s[1], **a),
    "relu": lambda s: nn.ReLU(),
    "relu6": lambda s: nn.ReLU6(),
    "leaky_relu": lambda s, **a: nn.LeakyReLU(**a),
    "elu": lambda s, **a: nn.ELU(**a),
    "gelu": lambda s, **a: nn.GELU(**a),
    "silu": lambda s: nn.SiLU(),
    "hardswish": lambda s: nn.Hardswish(),
    "hardsigmoid": lambda s: nn.Hardsigmoid(),
    "sigmoid": lambda s: nn.Sigmoid(),
    "tanh": lambda s: nn.Tanh(),
    "softplus": lambda s, **a: nn.Softplus(**a),
    "residual": residual,
    "multiply": lambda s, **a: Multiply(**a),
}


def build(layer, shape):
    """The module of one layer for an input of `shape` (with the batch dimension)."""
    name, args = (layer, {}) if isinstance(layer, str) else next(iter(layer.items()))
    return LAYERS[name](tuple(shape), **args)


def sequential(layers, shape):
    """nn.Sequential of a list of layers; shapes are found by running each module."""
    modules, x = [], torch.zeros(shape)
    for layer in layers:
        module = build(layer, x.shape)
        modules.append(module)
        with torch.no_grad():
            x = module.eval()(x)
    return nn.Sequential(*modules).train()
