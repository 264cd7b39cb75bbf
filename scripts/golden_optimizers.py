"""Optimizer goldens: optimizers.safetensors. Run through goldens.py.

Each case is a run of STEPS optimizer steps on three parameters with given gradients, in
f64 from f32 numbers. Tensors of a case:

    <case>/param.<i>.0          initial value
    <case>/grad.<i>             gradients of all steps, [steps, ...]
    <case>/want.param.<i>       value after the last step; after the first: .step1
    <case>/want.<slot>.<i>      the optimizer's state at the end, under PyTorch's names

The metadata's `cases` is a JSON list of {id, optimizer, args, clip_norm, clip_value,
clip_adaptive, shapes, steps, atol}; gradients are clipped before each step by what is not
null. Tolerances are
those of golden_operators.py.
"""

import json
import zlib

import timm.optim
import timm.utils
import torch

from golden_file import disturbed, save, tolerances

STEPS = 12
SAFETY = 8
SHAPES = [(7, 3), (70,), ()]
MATRICES = [(7, 3), (70,), (5, 12), (9, 9)]
SLOTS = ["momentum_buffer", "exp_avg", "exp_avg_sq", "square_avg", "grad_avg", "sum"]
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "lion": timm.optim.Lion,
    "lamb": lambda params, **args: timm.optim.Lamb(params, max_grad_norm=None, **args),
}


def case(id, optimizer, lr, clip_norm=None, clip_value=None, clip_adaptive=None, shapes=SHAPES,
         **args):
    return dict(
        id=id, optimizer=optimizer, args={"lr": lr, **args}, clip_norm=clip_norm,
        clip_value=clip_value, clip_adaptive=clip_adaptive, shapes=shapes,
    )  # fmt: skip


def newton_schulz(grad, coefficients, steps, eps):
    """PyTorch's iteration, without its rounding to bfloat16."""
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad.clone()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if grad.size(0) > grad.size(1) else x


torch.optim._muon._zeropower_via_newtonschulz = newton_schulz


class Muon:
    """torch.optim.Muon for matrices, AdamW for the rest."""

    def __init__(self, params, foreach, betas=(0.9, 0.999), **args):
        matrices = [p for p in params if p.ndim == 2]
        others = [p for p in params if p.ndim != 2]
        self.parts = [torch.optim.Muon(matrices, **args)]
        shared = {k: args[k] for k in ("lr", "weight_decay") if k in args}
        shared.setdefault("weight_decay", 0.1)
        self.parts.append(torch.optim.AdamW(others, betas=betas, **shared))

    def step(self):
        for part in self.parts:
            part.step()

    @property
    def state(self):
        # The average of the gradient shares the momentum's place.
        muon, adamw = (part.state for part in self.parts)
        renamed = lambda s: {"momentum_buffer": s["exp_avg"], "exp_avg_sq": s["exp_avg_sq"]}
        return dict(muon) | {p: renamed(s) for p, s in adamw.items()}


OPTIMIZERS["muon"] = Muon


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
    case("adagrad_initial", "adagrad", 0.1, initial_accumulator_value=0.5),
    case("lion", "lion", 1e-3),
    case("lion_args", "lion", 0.01, betas=[0.8, 0.95], weight_decay=0.2),
    case("sgd_clip_adaptive", "sgd", 0.1, clip_adaptive=0.05),
    case("adamw_clip_adaptive", "adamw", 0.01, clip_adaptive=0.02, weight_decay=0.1),
    case("lamb", "lamb", 1e-2),
    case("lamb_args", "lamb", 0.02, betas=[0.8, 0.95], eps=1e-3, weight_decay=0.2),
    case("lamb_no_decay", "lamb", 0.02, weight_decay=0.0, clip_norm=1.0),
    case("muon", "muon", 1e-2, shapes=MATRICES),
    case("muon_args", "muon", 0.05, shapes=MATRICES, momentum=0.8, nesterov=False, ns_steps=3,
         weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
    case("muon_clip", "muon", 0.02, shapes=MATRICES, clip_norm=1.0),
    case("lion_clip", "lion", 0.01, clip_norm=1.0, weight_decay=0.05),
]


def draw(generator, shapes):
    """Initial parameters, and gradients whose size differs from step to step."""
    params = [torch.randn(shape, generator=generator) for shape in shapes]
    sizes = torch.rand(STEPS, generator=generator) * 1.5 + 0.05
    grads = [
        torch.stack([size * torch.randn(shape, generator=generator) for size in sizes])
        for shape in shapes
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
        if case["clip_adaptive"]:
            # All but the head, as timm's training has it.
            timm.utils.agc.adaptive_clip_grad(params[:-1], case["clip_adaptive"])
        if case["clip_value"]:
            torch.nn.utils.clip_grad_value_(params, case["clip_value"])
        optimizer.step()
        if step == 0:
            want |= {f"want.param.{i}.step1": p.detach().clone() for i, p in enumerate(params)}
    want |= {f"want.param.{i}": p.detach() for i, p in enumerate(params)}
    for i, param in enumerate(params):
        state = optimizer.state[param]
        # wgrad's sums of Adagrad are without what they start at.
        start = {"sum": case["args"].get("initial_accumulator_value", 0.0)}
        want |= {
            f"want.{s}.{i}": state[s] - start.get(s, 0.0)
            for s in SLOTS
            if state.get(s) is not None
        }
    return {name: tensor.double() for name, tensor in want.items()}


def run_case(case):
    generator = torch.Generator().manual_seed(zlib.crc32(case["id"].encode()))
    params, grads = draw(generator, case["shapes"])
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
