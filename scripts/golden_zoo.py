"""Goldens of the model zoo: zoo.json. Run through goldens.py; needs torchvision.

For each network of torchvision: logits in evaluation, the loss of one training step, and the
loss after it, computed in f64. Nothing big is stored: every weight, running statistic and
pixel is a formula of its name and index (`fill`), which tests/pytorch/zoo.rs has too.

`quick` are images of 64 pixels (vgg 32, with a hidden size of 64), `full` the sizes of the
networks' papers. `off` is the largest part by which a result changes when PyTorch computes in
f32 or when all weights change by one part in 2^23 (several draws). Dropout and stochastic depth
are left out, because no two generators draw alike.
"""

import json
import math

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from golden_file import disturbed

CLASSES = 10
DRAWS = 2
# By how much the training step would lower the loss if that were linear.
STEP = 0.5
GAINS = [0.5, 0.7, 1.0, 1.4, 2.0]

NETWORKS = [
    "resnet18", "resnet34", "resnet50", "wide_resnet50_2", "vgg11_bn", "vgg16_bn",
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "densenet121",
    "squeezenet1_1",
]  # fmt: skip
CIFAR = ["resnet18-cifar", "resnet34-cifar", "resnet50-cifar"]


def uniform(name, count):
    """Numbers in [-1, 1): a hash of the name's hash and the index."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def fill(name, shape, gain):
    """A tensor of a network: f32, by its name and the number of its dimensions."""
    u = uniform(name, math.prod(shape))
    if len(shape) in (2, 4):
        u *= np.float32(gain * math.sqrt(3 / math.prod(shape[1:])))
    elif name.endswith(("running_var", "weight", "layer_scale")):
        u = np.float32(1) + np.float32(0.25) * u
    else:
        u *= np.float32(0.125)
    return torch.from_numpy(u.reshape(shape))


def network(name, hidden):
    """The network of torchvision, without randomness in training."""
    model = torchvision.models.get_model(name.removesuffix("-cifar"), weights=None, num_classes=CLASSES)
    if name in CIFAR:
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    if hidden:
        model.classifier[0] = nn.Linear(512 * 49, hidden)
        model.classifier[3] = nn.Linear(hidden, hidden)
        model.classifier[6] = nn.Linear(hidden, CLASSES)
    for module in model.modules():
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    return model


def fill_all(model, gain):
    state = {n: fill(n, t.shape, gain) for n, t in model.state_dict().items() if t.is_floating_point()}
    model.load_state_dict(state, strict=False)


def choose_gain(model, images):
    """The gain whose logits are nearest to a deviation of one."""
    def distance(gain):
        fill_all(model, gain)
        with torch.no_grad():
            deviation = model.eval()(images).std().item()
        return abs(math.log(deviation)) if 0 < deviation < math.inf else math.inf
    return min(GAINS, key=distance)


def run(model, images, labels, gain, dtype, lr=None, change=lambda x: x):
    """Logits, loss, norm of the gradient and loss after a step, in a type; lr if it is not given."""
    fill_all(model.float(), gain)
    model, images = model.to(dtype), images.to(dtype)
    for parameter in model.parameters():
        parameter.data = change(parameter.data)
    with torch.no_grad():
        logits = model.eval()(images)
    model.train().zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    norm = math.sqrt(sum((p.grad.double() ** 2).sum().item() for p in model.parameters()))
    lr = lr or float(np.float32(STEP / norm**2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= lr * parameter.grad
        after = F.cross_entropy(model(images), labels)
    results = {"loss": loss.item(), "grad_norm": norm, "loss_after": after.item()}
    return logits.double(), results, lr


def golden(name, size, batch, hidden):
    model = network(name, hidden)
    images = torch.from_numpy(uniform("images", batch * 3 * size * size).reshape(batch, 3, size, size))
    labels = torch.arange(batch) % CLASSES
    gain = choose_gain(model, images)
    logits, results, lr = run(model, images, labels, gain, torch.float64)
    others = [run(model, images, labels, gain, torch.float32, lr)[1]]
    generator = torch.Generator().manual_seed(0)
    noise = lambda x: disturbed(x, 2.0**-23, generator)
    others += [run(model, images, labels, gain, torch.float64, lr, noise)[1] for _ in range(DRAWS)]
    off = {what: max(abs(other[what] / value - 1) for other in others) for what, value in results.items()}
    print(name, size, gain, results, off, logits.std().item(), flush=True)
    result = {"size": size, "batch": batch, "hidden": hidden, "gain": gain, "lr": lr} | results
    result |= {"off": {what: float(f"{value:.2g}") for what, value in off.items()}}
    return result | {"logits": [[float(f"{x:.8g}") for x in row] for row in logits.tolist()]}


def write(directory):
    quick = {n: golden(n, 32, 4, 64) if "vgg" in n else golden(n, 64, 4, None) for n in NETWORKS}
    quick |= {n: golden(n, 32, 4, None) for n in CIFAR}
    full = {n: golden(n, 224, 2, None) for n in NETWORKS}
    text = json.dumps({"quick": quick, "full": full}, indent=1)
    (directory / "zoo.json").write_text(text + "\n")
