"""Learning-rate goldens: schedules.json. Run through goldens.py.

A list of {schedule, args, lr, total_steps, warmup_steps, min_lr, want}, where want[t] is
the learning rate that step t uses (f64). With W warmup steps the rate first rises as
lr * (t + 1) / W; the schedule then starts, with its own counter t - W and, where it
needs one, the length total_steps - W. A case with steps_per_epoch E steps its schedule
once every E steps. A case with losses is ReduceLROnPlateau, given one loss a step.
"""

import json

import torch
from torch.optim import lr_scheduler as torch_lr

# name -> (optimizer, steps of the schedule itself, case) -> PyTorch's scheduler
SCHEDULES = {
    "constant": lambda o, steps, case: torch_lr.LambdaLR(o, lambda step: 1.0),
    "step": lambda o, steps, case: torch_lr.StepLR(o, **case["args"]),
    "multi_step": lambda o, steps, case: torch_lr.MultiStepLR(o, **case["args"]),
    "exponential": lambda o, steps, case: torch_lr.ExponentialLR(o, **case["args"]),
    "cosine": lambda o, steps, case: torch_lr.CosineAnnealingLR(
        o, T_max=steps, eta_min=case["min_lr"]
    ),
    "polynomial": lambda o, steps, case: torch_lr.PolynomialLR(
        o, total_iters=steps, **case["args"]
    ),
    "warm_restarts": lambda o, steps, case: torch_lr.CosineAnnealingWarmRestarts(
        o, eta_min=case["min_lr"], **case["args"]
    ),
    "plateau": lambda o, steps, case: torch_lr.ReduceLROnPlateau(
        o, min_lr=case["min_lr"], **case["args"]
    ),
    "one_cycle": lambda o, steps, case: torch_lr.OneCycleLR(
        o, max_lr=case["lr"], total_steps=steps, cycle_momentum=False, **case["args"]
    ),
}


def case(schedule, lr, total_steps, warmup_steps=0, min_lr=0.0, epoch=1, losses=None, **args):
    return dict(
        schedule=schedule, args=args, lr=lr, total_steps=total_steps,
        warmup_steps=warmup_steps, min_lr=min_lr, steps_per_epoch=epoch, losses=losses,
    )  # fmt: skip


def losses(count, seed):
    """Losses that fall, stay, and rise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, generator=generator)
    return [round(float(1 / (1 + i // 9) + 0.05 * noise[i]), 6) for i in range(count)]


CASES = [
    case("constant", 0.05, 23),
    case("step", 0.1, 61, step_size=7, gamma=0.3),
    case("step", 0.3, 13, step_size=1, gamma=0.5),
    case("multi_step", 0.2, 59, milestones=[5, 17, 41], gamma=0.1),
    case("exponential", 0.07, 61, gamma=0.93),
    case("cosine", 0.1, 61),
    case("cosine", 0.03, 57, min_lr=0.001),
    case("cosine", 0.1, 1),
    case("one_cycle", 0.01, 61),
    case("one_cycle", 0.3, 100),
    case("one_cycle", 0.05, 7),
    case("one_cycle", 0.02, 59, pct_start=0.15, div_factor=10.0, final_div_factor=100.0),
    case("one_cycle", 0.02, 59, anneal_strategy="linear"),
    case("one_cycle", 1.5, 476, pct_start=0.23, div_factor=5.0, final_div_factor=2.857, anneal_strategy="linear"),
    case("constant", 0.05, 31, warmup_steps=7),
    case("step", 0.1, 61, warmup_steps=5, step_size=9, gamma=0.5),
    case("multi_step", 0.1, 61, warmup_steps=5, milestones=[9, 30], gamma=0.5),
    case("exponential", 0.1, 61, warmup_steps=4, gamma=0.9),
    case("cosine", 0.1, 61, warmup_steps=9),
    case("cosine", 0.04, 67, warmup_steps=13, min_lr=0.002),
    case("cosine", 0.04, 20, warmup_steps=2),
    case("polynomial", 0.1, 37),
    case("polynomial", 0.07, 41, power=2.0),
    case("polynomial", 0.1, 41, warmup_steps=6, power=0.9),
    case("warm_restarts", 0.1, 53, T_0=10),
    case("warm_restarts", 0.1, 90, min_lr=0.004, T_0=7, T_mult=2),
    case("warm_restarts", 0.1, 60, warmup_steps=5, T_0=1, T_mult=3),
    case("plateau", 0.1, 70, losses=losses(70, 1), patience=3),
    case("plateau", 0.2, 90, losses=losses(90, 2), min_lr=1e-3, factor=0.5, patience=1,
         threshold=0.03, cooldown=2),
    case("step", 0.1, 61, epoch=5, step_size=3, gamma=0.5),
    case("multi_step", 0.1, 61, epoch=7, milestones=[2, 5], gamma=0.3),
    case("exponential", 0.1, 61, epoch=4, gamma=0.8),
    case("cosine", 0.1, 60, epoch=6),
    case("polynomial", 0.1, 60, epoch=10, power=2.0),
    case("warm_restarts", 0.1, 88, epoch=4, T_0=3, T_mult=2),
    case("one_cycle", 0.1, 84, epoch=4),
]


def scheduler(optimizer, case):
    """PyTorch's scheduler of a case; also used by golden_networks.py."""
    warmup, make = case["warmup_steps"], SCHEDULES[case["schedule"]]
    if not warmup:
        return make(optimizer, case["total_steps"] // case.get("steps_per_epoch", 1), case)
    rise = torch_lr.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    main = make(optimizer, case["total_steps"] - warmup, case)
    return torch_lr.SequentialLR(optimizer, [rise, main], milestones=[warmup])


def rates(case):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=case["lr"])
    schedule = scheduler(optimizer, case)
    want = []
    for step in range(case["total_steps"]):
        want.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if case["losses"]:
            schedule.step(case["losses"][step])
        elif step + 1 < case["total_steps"] and (step + 1) % case["steps_per_epoch"] == 0:
            schedule.step()
    return want


def write(directory):
    lines = [json.dumps({**case, "want": rates(case)}) for case in CASES]
    (directory / "schedules.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
