"""wgrad beside PyTorch (and Burn, candle and tinygrad): the same networks, batches, optimizers and steps, in turn, in one run.

    python benches/compare/run.py                                  # everything that this machine has
    python benches/compare/run.py --networks seed-cnn,small-cnn --quick
    python benches/compare/run.py --gpu                            # all figures for GPUs: hardware adapters beside CUDA
    python benches/compare/run.py --peers burn,candle              # also these, built before (see their Cargo.toml)
    python benches/compare/run.py --peers tinygrad --networks seed-cnn,small-cnn       # see tinygrad_peer.py

Needs Python 3.11 with torch, and `cargo build --release`. Every measurement is a process of its own, and contestants
take turns for --rounds rounds, so that a slow minute of the machine hits all of them. Prints a table per network with
the ratio to PyTorch's best time, and writes everything to a dated JSON file; a network that the file already has is
replaced, so a long comparison can be made in pieces.

A measurement that other processes disturb is repeated; the column "others" says how much of the machine they used at
worst. Time to the first step is taken from outside, from the start of the process. `cold` is the same with no cache of
compiled kernels, neither wgrad's nor Mesa's nor NVIDIA's.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ZOO = ROOT / "src" / "models" / "zoo"
# Share of the processors that others may use during a measurement.
DISTURBED = 0.1
sys.path.insert(0, str(ROOT / "scripts"))
from flat_model import flat_file  # noqa: E402

NO_CACHES = {"WGRAD_CACHE": "off", "MESA_SHADER_CACHE_DISABLE": "true", "__GL_SHADER_DISK_CACHE": "0"}


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    input: str
    classes: int
    optimizer: str
    momentum: float
    cpu_batch: int
    gpu_batch: int
    steps: int
    # Whether a software adapter can be asked to run it.
    software: bool = True


NETWORKS = [
    Network("seed-cnn", "1,28,28", 10, "sgd", 0.0, 64, 64, 200),
    Network("lenet5", "1,28,28", 10, "sgd", 0.9, 64, 256, 200),
    Network("small-cnn", "1,28,28", 10, "adam", 0.0, 64, 512, 30),
    Network("resnet18-cifar", "3,32,32", 10, "sgd", 0.9, 32, 512, 8),
    Network("mobilenet_v2-cifar", "3,32,32", 10, "sgd", 0.9, 32, 512, 10),
    Network("resnet50", "3,224,224", 1000, "sgd", 0.9, 8, 128, 4, software=False),
]


@dataclasses.dataclass
class Contestant:
    """What is started for each measurement, and where its results belong."""

    name: str
    # "cpu" also has software adapters; the batch depends on it.
    group: str
    command: list
    # A device that is so slow that it does fewer steps.
    slow: bool = False
    # Whether compiled kernels are kept between processes.
    caches: bool = False
    # wgrad knows its networks by name; the others are given the model file.
    wgrad: bool = False


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wgrad", type=Path, default=ROOT / "target" / "release" / "wgrad")
    parser.add_argument("--commit", help="what the binary was built from, if not this checkout")
    parser.add_argument("--networks", help="comma-separated; all by default")
    parser.add_argument("--only", help="comma-separated parts of contestants' names, such as 'wgrad cpu,torch cpu'")
    parser.add_argument("--gpu", action="store_true", help="only hardware GPUs and CUDA; with --profile and --selftest")
    parser.add_argument("--selftest", action="store_true", help="first check every operator on every adapter")
    parser.add_argument("--cpu", action="store_true", help="only the CPU and software adapters")
    parser.add_argument("--no-software", action="store_true", help="no software adapters")
    parser.add_argument("--no-compile", action="store_true", help="no torch.compile")
    parser.add_argument("--peers", default="", help="comma-separated: burn, candle, tinygrad; or burn=PATH of its binary")
    parser.add_argument("--profile", action="store_true", help="also profile wgrad's kernels")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="steps of each measurement; depends on the network by default")
    parser.add_argument("--quick", action="store_true", help="one round of a quarter of the steps")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one measurement")
    today = datetime.date.today().isoformat()
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "measurements" / f"{today}-compare.json")
    return parser.parse_args()


# ---- Who takes part ------------------------------------------------------------------------


def wgrad_contestants(args):
    found = subprocess.run([args.wgrad, "devices", "--json"], capture_output=True, text=True, check=True)
    rows = []
    for device in json.loads(found.stdout):
        native, software = device["device"] == "cpu", device["kind"] == "software"
        if software and args.no_software:
            continue
        name = "cpu" if native else device["name"]
        group = "cpu" if native or software else "gpu"
        command = [args.wgrad, "bench", "--json", "--device", device["device"]]
        rows.append(Contestant(f"wgrad {name}", group, command, software, not native, wgrad=True))
        if group == "gpu":
            half = [*command, "--precision", "f16"]
            rows.append(Contestant(f"wgrad {name} f16", group, half, caches=True, wgrad=True))
            name = f"wgrad {name} f16 cooperative"
            rows.append(Contestant(name, group, [*half, "--cooperative"], caches=True, wgrad=True))
    return rows


def pytorch_contestants(args):
    import torch

    script = [sys.executable, HERE / "pytorch.py"]
    layouts = {"eager": [], "channels_last": ["--channels-last"]}
    if not args.no_compile:
        layouts["compile"] = ["--channels-last", "--compile"]
    rows = []
    for device, group, precisions in [("cpu", "cpu", ["f32"]), ("cuda", "gpu", ["f32", "default", "amp"])]:
        if device == "cuda" and not torch.cuda.is_available():
            continue
        for precision in precisions:
            for layout, flags in layouts.items():
                name = f"torch {device} {precision} {layout}"
                command = [*script, "--device", device, "--precision", precision, *flags]
                rows.append(Contestant(name, group, command))
    return rows


def peer_contestants(args):
    backends = {
        "burn": [("flex", "cpu", False), ("wgpu", "cpu", True)],
        "candle": [("cpu", "cpu", False)],
        "tinygrad": [("cpu", "cpu", False), ("webgpu", "cpu", True)],
    }
    rows = []
    for peer in filter(None, args.peers.split(",")):
        peer, _, given = peer.partition("=")
        program = [sys.executable, HERE / "tinygrad_peer.py"]
        if peer != "tinygrad":
            program = [Path(given or HERE / peer / "target" / "release" / f"compare-{peer}").resolve()]
        if not program[-1].exists():
            print(f"skipped: {program[-1]} is not built", file=sys.stderr)
            continue
        for backend, group, slow in backends[peer]:
            command = [*program, "--backend", backend]
            rows.append(Contestant(f"{peer} {backend}", group, command, slow=slow))
    return rows


def contestants(args):
    rows = wgrad_contestants(args) + pytorch_contestants(args) + peer_contestants(args)
    groups = {"gpu"} if args.gpu else {"cpu"} if args.cpu else {"cpu", "gpu"}
    rows = [row for row in rows if row.group in groups]
    if args.only:
        rows = [row for row in rows if any(part in row.name for part in args.only.split(","))]
    return rows


# ---- Measuring -----------------------------------------------------------------------------


def plan(network, contestant, args):
    """Batch size, steps and warm-up of a contestant."""
    batch = network.cpu_batch if contestant.group == "cpu" else network.gpu_batch
    steps = args.steps or network.steps * (10 if contestant.group == "gpu" else 1)
    if args.quick:
        steps = max(2, steps // 4)
    if contestant.slow:
        steps = max(2, steps // 10)
    return batch, steps, 1 if contestant.slow else max(2, steps // 10)


def command_line(network, contestant, args, extra=(), steps=None):
    batch, planned, warmup = plan(network, contestant, args)
    steps, warmup = (steps, 0) if steps else (planned, warmup)
    line = [*contestant.command, "--batch-size", batch, "--steps", steps, "--warmup", warmup]
    line += ["--optimizer", network.optimizer, "--momentum", network.momentum, "--input", network.input]
    if contestant.wgrad:
        line += ["--model", network.name]
    else:
        line += ["--model", model_file(network.name)]
    line += ["--classes", network.classes]
    return [str(word) for word in [*line, *extra]]


def model_file(name):
    """The model file of a built-in network, as the others read it: without blocks."""
    path = ROOT / "target" / "flat" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(flat_file(ZOO / f"{name}.toml"))
    return path


def start(line, timeout, environment=None):
    """The JSON that a process prints, with the time to its first step; or the reason why there is none."""
    before, began = (busy_seconds(), own_seconds()), time.time()
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
    except subprocess.TimeoutExpired:
        return None, f"took more than {timeout:.0f} s"
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        reason = next((row for row in reversed(last) if "rror" in row), last[-1])
        return None, reason.strip()[:300]
    found = json.loads(done.stdout)
    if "first_step_unix_ms" in found:
        found["s_to_first_step"] = found["first_step_unix_ms"] / 1e3 - began
    others = (busy_seconds() - before[0]) - (own_seconds() - before[1])
    found["share_of_others"] = max(0.0, others) / (time.time() - began) / os.cpu_count()
    return found, None


def busy_seconds():
    """Seconds that all processors were busy since the machine started; 0 where the system does not tell."""
    numbers = read("/proc/stat").partition("\n")[0].split()[1:]
    # user, nice, system, then idle and iowait, which are no work, then interrupts and what the host took.
    return sum(int(n) for i, n in enumerate(numbers[:8]) if i not in (3, 4)) / 100


def own_seconds():
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def measure(network, row, args):
    return undisturbed(lambda: start(command_line(network, row, args), args.timeout))


def undisturbed(attempt):
    """A measurement; repeated, at most twice, while other processes disturb it. The least disturbed counts."""
    best = None
    for _ in range(3):
        found, reason = attempt()
        if found is None:
            return best, reason
        best = min(best or found, found, key=lambda tried: tried["share_of_others"])
        if best["share_of_others"] <= DISTURBED:
            break
        print(f"disturbed: others used {found['share_of_others'] * 100:.0f} % of the machine", file=sys.stderr)
    return best, None


def compare(network, rows, args):
    """Measures all contestants in turn; what failed once is left out from then on."""
    runs, skipped = {row.name: [] for row in rows}, {}
    for number in range(1 if args.quick else args.rounds):
        for row in rows:
            if row.slow and not network.software:
                skipped[row.name] = "too slow for this network"
            if row.name in skipped:
                continue
            print(f"{network.name}: round {number + 1}, {row.name}", file=sys.stderr)
            found, reason = measure(network, row, args)
            if found is None:
                skipped[row.name] = reason
            else:
                runs[row.name].append(found)
    return [result(network, row, runs[row.name], skipped.get(row.name), args) for row in rows]


def result(network, row, runs, reason, args):
    batch, steps, _ = plan(network, row, args)
    found = {"contestant": row.name, "group": row.group, "network": network.name, "batch_size": batch, "steps": steps}
    if not runs:
        return found | {"skipped": reason}
    # What was disturbed in spite of all counts only where there is nothing else.
    quiet = [run for run in runs if run["share_of_others"] <= DISTURBED]
    runs = quiet or runs
    times = [run["ms_per_step"] for run in runs]
    found |= {"ms_per_step": statistics.median(times), "ms_per_step_of_rounds": times}
    found["ms_per_step_p10"] = min(run["ms_per_step_p10"] for run in runs)
    found["ms_per_step_p90"] = max(run["ms_per_step_p90"] for run in runs)
    found["img_per_s"] = batch / found["ms_per_step"] * 1e3
    found["s_to_first_step_of_rounds"] = [run["s_to_first_step"] for run in runs]
    found["s_to_first_step"] = statistics.median(found["s_to_first_step_of_rounds"])
    found["share_of_others"] = max(run["share_of_others"] for run in runs)
    found["peak_resident_bytes"] = max(run.get("peak_resident_bytes") or 0 for run in runs)
    for name in ("device", "device_bytes", "host_ms_per_step", "gflop_per_s", "share_of_peak_gflop", "torch"):
        if runs[-1].get(name) is not None:
            found[name] = runs[-1][name]
    if row.caches:
        cold, _ = start(command_line(network, row, args, steps=1), args.timeout, NO_CACHES)
        found["s_to_first_step_cold"] = cold and cold["s_to_first_step"]
    if row.wgrad and (args.profile or args.gpu):
        profiled, _ = start(command_line(network, row, args, ["--profile"]), args.timeout)
        found["profile"] = profiled and kernels(profiled)
    return found


def kernels(profiled):
    """The kernels of a step, put together by name, the slowest first."""
    groups = {}
    for kernel in profiled["profile"]["kernels"]:
        group = groups.setdefault(kernel["kernel"], {"ms": 0.0, "flops": 0, "bytes": 0, "roofline_ms": 0.0})
        group["ms"] += kernel["ms"]
        group["flops"] += kernel["flops"]
        group["bytes"] += kernel["bytes"]
        group["roofline_ms"] += kernel["share_of_roofline"] * kernel["ms"]
    total = sum(group["ms"] for group in groups.values()) or 1.0
    rows = [
        {
            "kernel": name,
            "ms": group["ms"],
            "share": group["ms"] / total,
            "gflop_per_s": group["flops"] / group["ms"] / 1e6,
            "gb_per_s": group["bytes"] / group["ms"] / 1e6,
            "share_of_roofline": group["roofline_ms"] / group["ms"],
        }
        for name, group in groups.items()
        if group["ms"] > 0
    ]
    peaks = {name: profiled[name] for name in ("peak_gflop_per_s", "peak_gb_per_s", "device_ms_per_step")}
    return peaks | {"kernels": sorted(rows, key=lambda row: -row["ms"])}


def selftests(rows, args):
    """Every operator's samples on every adapter that takes part, compared with the CPU path."""
    found = {}
    for row in rows:
        if not row.wgrad or not row.caches or "--precision" in row.command:
            continue
        print(f"selftest: {row.name}", file=sys.stderr)
        line = [args.wgrad, "selftest", "--json", "--device", row.command[row.command.index("--device") + 1]]
        done = subprocess.run(line, capture_output=True, text=True)
        operators = json.loads(done.stdout or "[]")
        failures = [failure for operator in operators for failure in operator["failures"]]
        if done.returncode != 0 and not failures:
            failures = [done.stderr.strip()[-300:]]
        samples = sum(operator["samples"] for operator in operators)
        found[row.name] = {"operators": len(operators), "samples": samples, "failures": failures}
    return found


# ---- Telling -------------------------------------------------------------------------------


def machine(args):
    model = next(
        (line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    commit = args.commit or head.stdout.strip()
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "commit": commit}


def command():
    """The arguments of this script, without the places of this machine's binaries."""
    return [re.sub(r"^/.*", "PATH", re.sub(r"=/[^,]*", "", word)) for word in sys.argv[1:]]


def read(path):
    return Path(path).read_text() if Path(path).exists() else ""


def table(header, rows):
    """A Markdown table whose columns are aligned."""
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def seconds(value):
    return f"{value:.2f}" if value is not None else ""


def figures(results):
    """One row per contestant, with ratios to PyTorch's best of the same group."""
    rows = []
    for found in results:
        if "skipped" in found:
            rows.append([found["contestant"], "skipped", "", "", "", "", "", "", "", found["skipped"] or ""])
            continue
        rivals = [
            other
            for other in results
            if other["group"] == found["group"] and other["contestant"].startswith("torch") and "ms_per_step" in other
        ]
        best = min((other["ms_per_step"] for other in rivals), default=None)
        memory = min((other["peak_resident_bytes"] for other in rivals), default=None)
        rows.append(
            [
                found["contestant"],
                f"{found['ms_per_step']:.2f}",
                f"{found['ms_per_step_p10']:.2f}-{found['ms_per_step_p90']:.2f}",
                f"{found['img_per_s']:.0f}",
                f"{found['ms_per_step'] / best:.2f}" if best else "",
                seconds(found["s_to_first_step"]),
                seconds(found.get("s_to_first_step_cold")),
                f"{found['peak_resident_bytes'] / 2**20:.0f}",
                f"{found['peak_resident_bytes'] / memory:.2f}" if memory else "",
                f"{found['share_of_others'] * 100:.0f}",
            ]
        )
    return rows


HEADER = ["", "ms/step", "p10-p90", "img/s", "x torch", "first step s", "cold s", "resident MiB", "x torch", "others %"]


def report(everything):
    for name, found in everything.get("selftest", {}).items():
        agree = f"{found['samples']} samples of {found['operators']} operators agree with the CPU path"
        print(f"\n{name}: {agree if not found['failures'] else 'selftest failed: ' + '; '.join(found['failures'])}")
    for network in NETWORKS:
        results = everything["results"].get(network.name, [])
        for group in ("cpu", "gpu"):
            of_group = [found for found in results if found["group"] == group]
            if of_group:
                batch = of_group[0]["batch_size"]
                print(f"\n**{network.name}**, {network.input.replace(',', 'x')}, batch {batch}, {network.optimizer}\n")
                print(table(HEADER, figures(of_group)))
        for found in results:
            report_profile(found)


def report_profile(found):
    profile = found.get("profile")
    if not profile:
        return
    peaks = f"{profile['peak_gflop_per_s']:.0f} GFLOP/s and {profile['peak_gb_per_s']:.0f} GB/s at best"
    print(f"\n{found['contestant']}, {found['network']}: kernels of a step ({peaks})\n")
    rows = [
        [
            kernel["kernel"],
            f"{kernel['ms']:.3f}",
            f"{kernel['share'] * 100:.1f}",
            f"{kernel['gflop_per_s']:.0f}",
            f"{kernel['gb_per_s']:.1f}",
            f"{kernel['share_of_roofline'] * 100:.0f}",
        ]
        for kernel in profile["kernels"][:15]
    ]
    print(table(["kernel", "ms", "share %", "GFLOP/s", "GB/s", "% of roofline"], rows))


def main():
    args = arguments()
    args.wgrad = args.wgrad.resolve()
    known = {network.name: network for network in NETWORKS}
    names = args.networks.split(",") if args.networks else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no network {unknown[0]}; there are {', '.join(known)}")
    rows = contestants(args)
    if not rows:
        sys.exit("nothing to compare: no such device or contestant here")
    everything = json.loads(read(args.out) or '{"results": {}}')
    if args.gpu or args.selftest:
        everything["selftest"] = selftests(rows, args)
    for name in names:
        found = compare(known[name], rows, args)
        # Other groups' results of an earlier run stay.
        measured = {result["contestant"] for result in found}
        kept = [old for old in everything["results"].get(name, []) if old["contestant"] not in measured]
        everything["results"][name] = kept + found
        everything |= {"date": datetime.date.today().isoformat(), "machine": machine(args), "command": command()}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(everything, indent=1) + "\n")
    report(everything)
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
