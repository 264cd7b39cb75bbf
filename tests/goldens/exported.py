# Written by wgrad from net.toml. Inference form: dropout is left out.
# Images are [N, 3, 8, 8] of 0..1; the output are logits.
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

CLASSES = ["0","1","2","3"]


def put(root, path, what):
    """Registers a module or parameter below root, by the dots in its path."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root._modules[parent]
    (root.register_parameter if isinstance(what, nn.Parameter) else root.add_module)(name, what)


def shift_only(norm):
    """The norm without its weight."""
    norm.register_parameter("weight", None)
    return norm


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        put(self, "stem", nn.Conv2d(3, 8, (3, 3), stride=(2, 2), padding=0, dilation=(1, 1), groups=1, bias=False))
        put(self, "norm", shift_only(nn.BatchNorm2d(8, eps=1e-5, affine=True)))
        put(self, "block.body.0", nn.Conv2d(8, 8, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=8, bias=True))
        put(self, "block.body.1", nn.LayerNorm([8], eps=1e-6, elementwise_affine=True))
        put(self, "block.body.2", nn.Linear(8, 8, bias=True))
        put(self, "block.body.3.layer_scale", nn.Parameter(torch.empty([8, 1, 1])))
        put(self, "5.1", nn.Conv2d(8, 8, (1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias=True))
        put(self, "head", nn.Linear(72, 4, bias=True))

    def forward(self, images):
        m = self.get_submodule
        x = m("stem")(F.pad(images, (0, 1, 0, 1)))
        x = m("norm")(x)
        x = F.silu(x)
        x2 = m("block.body.0")(x)
        x2 = m("block.body.1")(x2.movedim(1, -1)).movedim(-1, 1)
        x2 = m("block.body.2")(x2.movedim(1, -1)).movedim(-1, 1)
        x2 = x2 * self.get_parameter("block.body.3.layer_scale")
        x2 = x2 + x
        x2 = F.max_pool2d(x2, (3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=True)
        x3 = F.adaptive_avg_pool2d(x2, 1)
        x3 = m("5.1")(x3)
        x3 = F.hardsigmoid(x3)
        x2 = x2 * x3
        x4 = 0.25
        x2 = x2 + x4
        x2 = torch.flatten(x2, 1)
        x2 = m("head")(x2)
        return x2


def load(path=Path(__file__).with_name("net.safetensors")):
    """The network with its weights, ready to be used."""
    model = Model()
    model.load_state_dict(load_file(path))
    return model.eval()
