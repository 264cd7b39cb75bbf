"""Learning-rate goldens: schedules.json. Run through goldens.py.

A list of {schedule, args, lr, total_steps, warmup_steps, min_lr, want}, where want[t] is
the learning rate that step t uses (f64). With W warmup steps the rate first rises as
lr * (t + 1) / W; the schedule then starts, with its own counter t - W and, where it
needs one, the length total_steps - W.
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
    "one_cycle": lambda o, steps, case: torch_lr.OneCycleLR(
        o, max_lr=case["lr"], total_steps=steps, cycle_momentum=False, **case["args"]
    ),
}


def case(schedule, lr, total_steps, warmup_steps=0, min_lr=0.0, **args):
    return dict(
        schedule=schedule, args=args, lr=lr, total_steps=total_steps,
        warmup_steps=warmup_steps, min_lr=min_lr,
    )  # fmt: skip


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
    case("constant", 0.05, 31, warmup_steps=7),
    case("step", 0.1, 61, warmup_steps=5, step_size=9, gamma=0.5),
    case("multi_step", 0.1, 61, warmup_steps=5, milestones=[9, 30], gamma=0.5),
    case("exponential", 0.1, 61, warmup_steps=4, gamma=0.9),
    case("cosine", 0.1, 61, warmup_steps=9),
    case("cosine", 0.04, 67, warmup_steps=13, min_lr=0.002),
    case("cosine", 0.04, 20, warmup_steps=2),
]


def scheduler(optimizer, case):
    """PyTorch's scheduler of a case; also used by golden_networks.py."""
    warmup, make = case["warmup_steps"], SCHEDULES[case["schedule"]]
    if not warmup:
        return make(optimizer, case["total_steps"], case)
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
        if step + 1 < case["total_steps"]:
            schedule.step()
    return want


def write(directory):
    lines = [json.dumps({**case, "want": rates(case)}) for case in CASES]
    (directory / "schedules.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
