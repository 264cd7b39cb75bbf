"""Optimizer goldens: optimizers.safetensors. Run through goldens.py.

Each case is a run of STEPS optimizer steps on three parameters with given gradients, in
f64 from f32 numbers. Tensors of a case:

    <case>/param.<i>.0          initial value
    <case>/grad.<i>             gradients of all steps, [steps, ...]
    <case>/want.param.<i>       value after the last step; after the first: .step1
    <case>/want.<slot>.<i>      the optimizer's state at the end, under PyTorch's names

The metadata's `cases` is a JSON list of {id, optimizer, args, clip_norm, clip_value,
steps, atol}; gradients are clipped to clip_norm and clip_value before each step unless
they are null. Tolerances are
those of golden_operators.py.
"""

import json
import zlib

import timm.optim
import torch

from golden_file import disturbed, save, tolerances

STEPS = 12
SAFETY = 8
SHAPES = [(7, 3), (70,), ()]
SLOTS = ["momentum_buffer", "exp_avg", "exp_avg_sq", "square_avg", "grad_avg", "sum"]
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "lion": timm.optim.Lion,
}


def case(id, optimizer, lr, clip_norm=None, clip_value=None, **args):
    return dict(
        id=id, optimizer=optimizer, args={"lr": lr, **args}, clip_norm=clip_norm,
        clip_value=clip_value,
    )  # fmt: skip


CASES = [
    case("sgd", "sgd", 0.1),
    case("sgd_decay", "sgd", 0.1, weight_decay=0.05),
    case("sgd_momentum", "sgd", 0.05, momentum=0.9),
    case("sgd_dampening", "sgd", 0.05, momentum=0.8, dampening=0.3),
    case("sgd_nesterov", "sgd", 0.05, momentum=0.9, nesterov=True),
    case("sgd_nesterov_decay", "sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
    case("sgd_dampening_decay", "sgd", 0.03, momentum=0.9, dampening=0.1, weight_decay=0.1),
    case("sgd_clip", "sgd", 0.1, clip_norm=5.0),
    case("sgd_momentum_clip", "sgd", 0.1, clip_norm=1.0, momentum=0.9),
    case("adam", "adam", 1e-3),
    case("adam_args", "adam", 0.02, betas=[0.8, 0.95], eps=1e-3),
    case("adam_decay", "adam", 0.01, weight_decay=0.1),
    case("adam_clip", "adam", 0.01, clip_norm=1.0),
    case("adamw", "adamw", 1e-3),
    case("adamw_no_decay", "adamw", 0.01, weight_decay=0.0),
    case("adamw_args", "adamw", 0.02, betas=[0.85, 0.99], eps=1e-6, weight_decay=0.2),
    case("adamw_clip", "adamw", 0.01, clip_norm=3.0, weight_decay=0.05),
    case("sgd_clip_value", "sgd", 0.1, clip_value=0.3),
    case("adamw_clip_value", "adamw", 0.01, clip_value=0.5, weight_decay=0.05),
    case("rmsprop", "rmsprop", 1e-2),
    case("rmsprop_args", "rmsprop", 0.02, alpha=0.9, eps=1e-3, weight_decay=0.1),
    case("rmsprop_momentum", "rmsprop", 0.01, momentum=0.9),
    case("rmsprop_centered", "rmsprop", 0.01, centered=True, alpha=0.95, eps=1e-4),
    case("rmsprop_all", "rmsprop", 0.01, centered=True, momentum=0.8, eps=1e-3, clip_norm=2.0),
    case("adagrad", "adagrad", 1e-2),
    case("adagrad_args", "adagrad", 0.1, lr_decay=0.1, eps=1e-3, weight_decay=0.1),
    case("lion", "lion", 1e-3),
    case("lion_args", "lion", 0.01, betas=[0.8, 0.95], weight_decay=0.2),
    case("lion_clip", "lion", 0.01, clip_norm=1.0, weight_decay=0.05),
]


def draw(generator):
    """Initial parameters, and gradients whose size differs from step to step."""
    params = [torch.randn(shape, generator=generator) for shape in SHAPES]
    sizes = torch.rand(STEPS, generator=generator) * 1.5 + 0.05
    grads = [
        torch.stack([size * torch.randn(shape, generator=generator) for size in sizes])
        for shape in SHAPES
    ]
    return params, grads


def train(case, params, grads, dtype, change=lambda x: x):
    params = [torch.nn.Parameter(change(p.to(dtype).clone())) for p in params]
    grads = [change(g.to(dtype)) for g in grads]
    optimizer = OPTIMIZERS[case["optimizer"]](params, foreach=False, **case["args"])
    want = {}
    for step in range(STEPS):
        for param, grad in zip(params, grads):
            param.grad = grad[step].clone()
        if case["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(params, case["clip_norm"])
        if case["clip_value"]:
            torch.nn.utils.clip_grad_value_(params, case["clip_value"])
        optimizer.step()
        if step == 0:
            want |= {f"want.param.{i}.step1": p.detach().clone() for i, p in enumerate(params)}
    want |= {f"want.param.{i}": p.detach() for i, p in enumerate(params)}
    for i, param in enumerate(params):
        state = optimizer.state[param]
        want |= {f"want.{s}.{i}": state[s] for s in SLOTS if state.get(s) is not None}
    return {name: tensor.double() for name, tensor in want.items()}


def run_case(case):
    generator = torch.Generator().manual_seed(zlib.crc32(case["id"].encode()))
    params, grads = draw(generator)
    noise = lambda x: disturbed(x, 2.0**-24, generator)
    want = train(case, params, grads, torch.float64)
    others = [train(case, params, grads, torch.float32)]
    others += [train(case, params, grads, torch.float64, noise) for _ in range(3)]
    tensors = {f"param.{i}.0": p for i, p in enumerate(params)}
    tensors |= {f"grad.{i}": g for i, g in enumerate(grads)} | want
    entry = {**case, "steps": STEPS, "atol": tolerances(want, others, SAFETY)}
    return {f"{case['id']}/{name}": tensor for name, tensor in tensors.items()}, entry


def write(directory):
    tensors, entries = {}, []
    for case in CASES:
        case_tensors, entry = run_case(case)
        tensors |= case_tensors
        entries.append(entry)
    save(directory / "optimizers.safetensors", tensors, {"cases": json.dumps(entries)})
