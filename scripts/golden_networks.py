"""Training goldens: networks/<name>.safetensors. Run through goldens.py.

STEPS training steps of whole networks, given in wgrad's TOML format, in f64 from f32
numbers; every step has its own batch. Tensors (parameters and running statistics have
the names that nn.Sequential gives them):

    init.<name>         before the first step
    images              [steps, N, C, H, W]
    labels              i32 [steps, N]
    want.loss           [steps]
    want.grad_norm      [steps], of all gradients together, before clipping
    want.lr             [steps]
    want.final.<name>   after the last step
    want.logits_eval    of the final network, in eval mode, for the first batch

Metadata: `model`, the TOML text; `train`, JSON of {optimizer, args, schedule,
schedule_args, min_lr, warmup_steps, total_steps, label_smoothing, clip_norm}; `atol`,
JSON with a tolerance for each wanted tensor, which is 10 times the largest change of the
f64 result when PyTorch trains in f32 or when all initial weights change by one part in
2^23 (several draws). The seed is the first for which no input of a ReLU comes within MARGIN
of zero, and no two of a max-pooling window that close, in any step: f32 takes the same
branches then.
"""

import copy
import json
import tomllib

import torch
from torch import nn
from torch.nn import functional as F

from golden_file import disturbed, save, tolerances
from golden_optimizers import OPTIMIZERS
from golden_schedules import scheduler
from torch_layers import sequential

STEPS = 20
SAFETY = 10
DRAWS = 3
MARGIN = 1e-5

PLAIN = """\
input = [1, 12, 12]
layers = [
  { conv2d = { out_channels = 8, kernel_size = 3 } }, "relu",
  { max_pool2d = { kernel_size = 2 } },
  "flatten",
  { linear = { out_features = 10 } },
]
"""

RESIDUAL = """\
input = [3, 9, 9]
layers = [
  { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
  { residual = { body = [
    { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
    { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false } }, "batch_norm",
  ] } }, "relu",
  { residual = { body = [
    { conv2d = { out_channels = 12, kernel_size = 3, stride = 2, padding = 1, bias = false } }, "batch_norm", "relu",
    { conv2d = { out_channels = 12, kernel_size = 3, padding = 1, bias = false } }, "batch_norm",
  ], shortcut = [
    { conv2d = { out_channels = 12, kernel_size = 1, stride = 2, bias = false } }, "batch_norm",
  ] } }, "relu",
  "global_avg_pool2d", "flatten",
  { linear = { out_features = 10 } },
]
"""

MIXED = """\
input = [3, 10, 11]
layers = [
  { conv2d = { out_channels = 12, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "gelu",
  { conv2d = { out_channels = 12, kernel_size = 3, padding = 1, groups = 12, bias = false } },
  { group_norm = { num_groups = 3 } }, "silu",
  { avg_pool2d = { kernel_size = 3, stride = 2, padding = 1 } },
  { residual = { body = [
    { conv2d = { out_channels = 20, kernel_size = 1, bias = false } }, "batch_norm", "silu",
    { conv2d = { out_channels = 20, kernel_size = [3, 5], padding = [1, 2], groups = 20, bias = false } }, "batch_norm", "silu",
    { conv2d = { out_channels = 12, kernel_size = 1, bias = false } }, { group_norm = { num_groups = 4 } },
  ] } }, { gelu = { approximate = "tanh" } },
  { adaptive_avg_pool2d = { output_size = 2 } }, "flatten",
  { linear = { out_features = 10 } },
]
"""

SHIFTED = """\
input = [3, 12, 13]
layers = [
  { conv2d = { out_channels = 8, kernel_size = 2 } }, "gelu",
  { conv2d = { out_channels = 12, kernel_size = 3, padding = 1, bias = false } },
  { max_pool2d = { kernel_size = 2 } },
  { batch_norm = { weight = false, eps = 1e-12, momentum = 0.4 } }, "gelu",
  { conv2d = { out_channels = 12, kernel_size = 3, padding = 1, bias = false } },
  { batch_norm = { weight = false, momentum = 0.4 } }, "relu",
  { max_pool2d = { kernel_size = 5 } }, "flatten",
  { linear = { out_features = 10, bias = false } },
  { multiply = { factor = 0.5 } },
]
"""


DEFAULTS = {"schedule_args": {}, "min_lr": 0.0, "warmup_steps": 0}
DEFAULTS |= {"total_steps": STEPS, "label_smoothing": 0.0, "clip_norm": None}


def network(name, model, batch, optimizer, args, schedule, **options):
    train = {"optimizer": optimizer, "args": args, "schedule": schedule}
    train |= DEFAULTS | options
    return dict(name=name, model=model, batch=batch, train=train)


NETWORKS = [
    network("plain", PLAIN, 8, "sgd", {"lr": 0.05}, "constant"),
    network(
        "residual", RESIDUAL, 7,
        "sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}, "cosine",
    ),
    network(
        "mixed", MIXED, 6,
        "adamw", {"lr": 0.01, "weight_decay": 0.05}, "one_cycle",
        label_smoothing=0.1, clip_norm=1.0,
    ),
    network(
        "shifted", SHIFTED, 7,
        "sgd", {"lr": 0.1, "momentum": 0.85, "nesterov": True, "weight_decay": 1e-3}, "cosine",
        label_smoothing=0.2,
    ),
]  # fmt: skip


def variables(model):
    """Parameters and running statistics by name."""
    return {n: t for n, t in model.state_dict().items() if "num_batches" not in n}


def relu_margin(module, inputs):
    return inputs[0].detach().abs().min().item()


def max_pool_margin(pool, inputs):
    """The least lead of a window's largest number; windows of zeros do not count."""
    size, stride = pool.kernel_size, pool.stride
    windows = inputs[0].detach().unfold(2, size, stride).unfold(3, size, stride).flatten(-2)
    first, second = windows.topk(2).values.unbind(-1)
    return (first - second)[first > 0].min().item()


def watch(model, margins):
    """Appends to `margins` how near to a tie each pass of the model comes."""
    for module in model.modules():
        for kind, margin in ((nn.ReLU, relu_margin), (nn.MaxPool2d, max_pool_margin)):
            if isinstance(module, kind):
                measure = lambda m, x, margin=margin: margins.append(margin(m, x))
                module.register_forward_pre_hook(measure)


def train(model, settings, images, labels, dtype, change=lambda x: x, margins=None):
    """Trains a copy of the model; returns the wanted tensors."""
    model = copy.deepcopy(model).to(dtype)
    if margins is not None:
        watch(model, margins)
    for param in model.parameters():
        param.data = change(param.data)
    images = images.to(dtype)
    args = settings["args"]
    optimizer = OPTIMIZERS[settings["optimizer"]](model.parameters(), foreach=False, **args)
    case = {**settings, "lr": args["lr"], "args": settings["schedule_args"]}
    schedule = scheduler(optimizer, case)
    smoothing, max_norm = settings["label_smoothing"], settings["clip_norm"] or float("inf")
    losses, norms, rates = [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[step]), labels[step], label_smoothing=smoothing)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))
        losses.append(loss.detach())
        rates.append(torch.tensor(optimizer.param_groups[0]["lr"], dtype=torch.float64))
        optimizer.step()
        if step + 1 < STEPS:
            schedule.step()
    want = {"loss": torch.stack(losses), "grad_norm": torch.stack(norms)}
    want |= {"lr": torch.stack(rates)}
    want |= {f"final.{name}": t.clone() for name, t in variables(model).items()}
    with torch.no_grad():
        want["logits_eval"] = model.eval()(images[0])
    return {f"want.{name}": tensor.double() for name, tensor in want.items()}


def data(generator, batch, shape, classes):
    """Noise with a pattern for each class, so that there is something to learn."""
    patterns = torch.randn([classes, *shape], generator=generator)
    labels = torch.randint(0, classes, [STEPS, batch], generator=generator)
    return torch.randn([STEPS, batch, *shape], generator=generator) + patterns[labels], labels


def draw(net, seed):
    """The initial model, images and labels."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    description = tomllib.loads(net["model"])
    shape = description["input"]
    model = sequential(description["layers"], [net["batch"], *shape])
    return model, *data(generator, net["batch"], shape, 10)


def reference(net):
    """Initial model, images, labels and results for the first seed without near ties."""
    for seed in range(1000):
        start, margins = draw(net, seed), [1.0]
        want = train(start[0], net["train"], *start[1:], torch.float64, margins=margins)
        if min(margins) > MARGIN:
            return *start, want
    raise RuntimeError(f"no seed will do for {net['name']}")


def write_network(directory, net):
    model, images, labels, want = reference(net)
    generator = torch.Generator().manual_seed(0)
    run = lambda dtype, **k: train(model, net["train"], images, labels, dtype, **k)
    noise = lambda x: disturbed(x, 2.0**-23, generator)
    others = [run(torch.float32)]
    others += [run(torch.float64, change=noise) for _ in range(DRAWS)]
    atol = tolerances(want, others, SAFETY)

    tensors = {f"init.{name}": t for name, t in variables(model).items()}
    tensors |= {"images": images, "labels": labels} | want
    metadata = {"train": json.dumps(net["train"]), "atol": json.dumps(atol)}
    path = directory / "networks" / f"{net['name']}.safetensors"
    save(path, tensors, {"model": net["model"], **metadata})


def write(directory):
    for net in NETWORKS:
        write_network(directory, net)
