#!/usr/bin/env python3
"""What `wgrad train --ui tui` costs: training beside the dashboard in tmux (80 x 24) against plain lines.

    cargo build --release
    python benches/dashboard.py --mnist ../shared/datasets/mnist --json docs/measurements/DATE-dashboard.json

Both sides train the same recipe with the same seed on the CPU, in the order a b b a, so that a machine that becomes slower or
faster in between favours neither. A run's throughput is its images over its seconds in training steps, from its metrics.jsonl.
Where throughput varies by more than what is looked for, CPU time still tells: that of the dashboard's thread and of tmux, as
shares of what the process has used in all (Linux only).
Needs tmux; nothing of PyPI.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def throughput(run):
    """Images per second over all epochs but the first, whose start is slower: each epoch has as many images."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [line["img_per_s"] for line in lines if "train_loss" in line][1:]
    return len(rates) / sum(1 / rate for rate in rates)


def plain(command, folder):
    with open(folder / "log", "w") as log:
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def cpu_seconds(stat):
    """User and system time of a process or thread; none if it has ended."""
    try:
        fields = Path(stat).read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(shell, server):
    """CPU seconds of the run below this shell, of its dashboard's thread, and of tmux; none before and after it."""
    try:
        run = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0]
        threads = [task for task in Path(f"/proc/{run}/task").iterdir() if (task / "comm").read_text() == "dashboard\n"]
    except (OSError, IndexError):
        return None
    found = [cpu_seconds(f"/proc/{run}/stat"), *(cpu_seconds(task / "stat") for task in threads)]
    return [*found, cpu_seconds(f"/proc/{server}/stat")] if len(found) == 2 and None not in found else None


def dashboard(command, folder):
    """Gives the last CPU seconds that were seen: of the process, of its dashboard's thread, of tmux."""
    tmux = ["tmux", "-u", "-S", str(folder / "socket"), "-f", "/dev/null"]
    line = shlex.join([*command, "--ui", "tui"]) + "; echo $? > code"
    subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", line], cwd=folder, check=True)
    pids = subprocess.run([*tmux, "display-message", "-p", "#{pane_pid} #{pid}"], capture_output=True, text=True)
    shown, seconds = False, None
    while not (folder / "code").exists():
        time.sleep(0.25)
        seconds = used(*pids.stdout.split()) or seconds
        # Looked at once: nobody redraws a real terminal twice.
        if not shown:
            screen = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True).stdout
            shown = "last mistakes" in screen
    if (folder / "code").read_text().strip() != "0" or not shown:
        sys.exit(f"the dashboard was not seen, or the run failed: {line}")
    return seconds


def measure(wgrad, arguments, rounds, rates, seconds):
    """Adds to the rates of both sides, and to the CPU seconds of the dashboard's."""
    sides = {"plain": plain, "dashboard": dashboard}
    for side in ["plain", "dashboard", "dashboard", "plain"] * rounds:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            command = [str(wgrad), "train", "--device", "cpu", "--seed", "1", "--out", "run", *arguments]
            if used := sides[side](command, folder):
                seconds.append(used)
            rates[side].append(throughput(folder / "run"))


def summary(rates, seconds):
    # Neighbours in time are compared, so that a drift of the machine counts for neither.
    costs = [1 - shown / hidden for shown, hidden in zip(rates["dashboard"], rates["plain"])]
    medians = {side: statistics.median(of) for side, of in rates.items()}
    of_medians = 1 - medians["dashboard"] / medians["plain"]
    cost = {"of_medians": of_medians, "median_of_pairs": statistics.median(costs), "pairs": costs}
    if seconds:
        process, thread, tmux = (sum(column) for column in zip(*seconds))
        cost |= {"cpu_share_of_thread": thread / process, "cpu_share_of_tmux": tmux / process}
    return {"cost": cost}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wgrad", type=Path, default=ROOT / "target/release/wgrad")
    parser.add_argument("--mnist", type=Path, help="the folder of MNIST's files; without it digits only")
    parser.add_argument("--only", help="digits or mnist")
    parser.add_argument("--rounds", type=int, default=3, help="of a b b a")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cases = {"digits": ["--epochs", "100"]}
    if args.mnist:
        mnist = f"mnist:{args.mnist.resolve()}"
        cases["mnist"] = ["--data", mnist, "--model", "seed-cnn", "--batch-size", "64", "--epochs", "8"]
    cases = {name: case for name, case in cases.items() if args.only in (None, name)}
    report = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    report["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    for name, arguments in cases.items():
        # What an earlier call has measured is gone on with.
        rates = report.get(name, {}).get("img_per_s", {"plain": [], "dashboard": []})
        seconds = report.get(name, {}).get("cpu_seconds", [])
        measure(args.wgrad.resolve(), arguments, args.rounds, rates, seconds)
        shown = ["mnist:DIR" if word.startswith("mnist:") else word for word in arguments]
        report[name] = {"arguments": shown, "img_per_s": rates, "cpu_seconds": seconds, **summary(rates, seconds)}
        print(name, json.dumps(report[name], indent=1), flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
