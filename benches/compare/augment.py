"""wgrad's augmentation beside torchvision's v2 transforms: images per second on the same cores, in turn, in one run.

    python benches/compare/augment.py                              # every case, on the CPU
    python benches/compare/augment.py --cases crop-flip --rounds 1
    python benches/compare/augment.py --device llvmpipe            # also wgrad on this adapter, once

Needs Python 3.11 with torchvision and Pillow, and `cargo build --release`. Both sides have the images as bytes in memory and
make normalised batches of f32 of them, on all cores, with draws of its own for each image. For torchvision that is what a
DataLoader's workers do: a process of one thread for each core, transforms image by image, `torch.stack`; nothing is counted for
bringing batches from there to the process that trains, and the best way of holding images (as tensors, tensors whose channels
lie innermost, or Pillow's images) counts. Its transforms of whole batches are measured too, but draw once for all
images of a batch, which is another thing. wgrad's side is `wgrad bench --input-pipeline`: drawing included, the network not.

Prints a table and writes a dated JSON file; a case that the file already has is replaced.
"""

import argparse
import dataclasses
import datetime
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from run import ROOT, command, machine, read, start, table, undisturbed

BATCH = 128
# Images in memory, of each size.
IMAGES = {32: 2048, 256: 256}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Anything that takes images, and little time.
MODEL = 'layers = ["global_avg_pool2d", "flatten", { linear = { out_features = "classes" } }]\n'
WAYS = ["tensors", "channels last", "Pillow", "batches"]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    # Side of the stored images, and of those that the network takes.
    stored: int
    wanted: int
    # wgrad's table [augment], and the same as torchvision's transforms before and after normalising.
    augment: str
    before: str
    after: str = ""


CROP, FLIP = "crop_padding = 4\n", "horizontal_flip = 0.5\n"
JITTER = "brightness = 0.4\ncontrast = 0.4\nsaturation = 0.4\nhue = 0.1\n"
V2_CROP_FLIP = "v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()"
V2_RESIZED = "v2.RandomResizedCrop(224, antialias=False), v2.RandomHorizontalFlip()"
V2_JITTER = "v2.ColorJitter(0.4, 0.4, 0.4, 0.1)"
V2_TRIVIAL = "v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)"
RESIZED = f"resized_crop_scale = [0.08, 1.0]\n{FLIP}"
TRIVIAL = 'auto_augment = "trivial-augment-wide"\n'

CASES = [
    Case("crop-flip", 32, 32, CROP + FLIP, V2_CROP_FLIP),
    Case("crop-flip-erasing", 32, 32, f"{CROP}{FLIP}erasing = 0.25\n", V2_CROP_FLIP, "v2.RandomErasing(0.25)"),
    Case("crop-flip-trivial", 32, 32, CROP + FLIP + TRIVIAL, f"{V2_CROP_FLIP}, {V2_TRIVIAL}"),
    Case("crop-flip-jitter", 32, 32, CROP + FLIP + JITTER, f"{V2_CROP_FLIP}, {V2_JITTER}"),
    Case("resized-flip", 256, 224, RESIZED, V2_RESIZED),
    Case("resized-flip-antialias", 256, 224, RESIZED, V2_RESIZED.replace(", antialias=False", "")),
    Case("resized-flip-jitter", 256, 224, RESIZED + JITTER, f"{V2_RESIZED}, {V2_JITTER}"),
    Case("resized-flip-trivial", 256, 224, RESIZED + TRIVIAL, f"{V2_RESIZED}, {V2_TRIVIAL}"),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wgrad", type=Path, default=ROOT / "target" / "release" / "wgrad")
    parser.add_argument("--commit", help="what the binary was built from, if not this checkout")
    parser.add_argument("--cases", help="comma-separated; all by default")
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated ways of torchvision's")
    parser.add_argument("--device", help="also measure wgrad on this one, as `wgrad devices` names it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    today = datetime.date.today().isoformat()
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "measurements" / f"{today}-augment.json")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- torchvision ---------------------------------------------------------------------------


def picture(number, side):
    """Waves with some noise, as scripts/golden_augment.py has them."""
    import torch

    generator = torch.Generator().manual_seed(number)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = torch.rand(3, 1, 1, generator=generator)
    waves = torch.sin((0.3 + 0.2 * phases) * x + 0.17 * y) * torch.cos(0.23 * y - 6 * phases)
    noise = torch.rand(3, side, side, generator=generator)
    return (40 + 130 * (0.5 + 0.5 * waves) + 40 * noise).to(torch.uint8)


def transforms(case, way):
    import torch
    from torchvision.transforms import v2

    steps = eval(f"[{case.before}]", {"v2": v2})  # noqa: S307, the text stands above
    if way == "Pillow":
        steps += [v2.PILToTensor()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose(steps + eval(f"[{case.after}]", {"v2": v2}))  # noqa: S307


def held(case, way):
    """The images as this way has them in memory, and how many each of them stands for."""
    import torch
    from torchvision.transforms.v2 import functional

    images = [picture(number, case.stored) for number in range(IMAGES[case.stored])]
    if way == "channels last":
        return [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    if way == "Pillow":
        return [functional.to_pil_image(image) for image in images]
    if way == "batches":
        return [torch.stack(images[first : first + BATCH]) for first in range(0, len(images), BATCH)]
    return images


def work(case, way, images, threads, seconds, barrier, counts):
    """Makes batches for some time; the number of images and the time go into `counts`."""
    import torch

    torch.set_num_threads(threads)
    transform = transforms(case, way)
    count = begun = 0
    at = 0
    while True:
        if way == "batches":
            batch = transform(images[at % len(images)])
            at += 1
        else:
            batch = torch.stack([transform(images[(at + i) % len(images)]) for i in range(BATCH)])
            at += BATCH
        assert batch.shape == (BATCH, 3, case.wanted, case.wanted) and batch.dtype == torch.float32
        count += BATCH
        if not begun:
            # The first batch is not counted.
            barrier.wait()
            count, begun = 0, time.perf_counter()
        elif time.perf_counter() - begun >= seconds:
            return counts.put((count, time.perf_counter() - begun))


def measure_torchvision(case, way, seconds):
    import torch
    import torchvision

    torch.set_num_threads(1)
    images, cores = held(case, way), os.cpu_count()
    workers, threads = (1, cores) if way == "batches" else (cores, 1)
    fork = multiprocessing.get_context("fork")
    barrier, counts = fork.Barrier(workers), fork.Queue()
    line = [
        fork.Process(target=work, args=(case, way, images, threads, seconds, barrier, counts)) for _ in range(workers)
    ]
    for process in line:
        process.start()
    rates = [count / taken for count, taken in (counts.get() for _ in line)]
    for process in line:
        process.join()
    print(json.dumps({"img_per_s": sum(rates), "torch": torch.__version__, "torchvision": torchvision.__version__}))


# ---- wgrad ---------------------------------------------------------------------------------


def prepare(case, folder):
    """Data, recipe and model of a case."""
    from torchvision.io import write_png

    data = folder / str(case.stored)
    if not data.exists():
        for number in range(IMAGES[case.stored]):
            path = data / "train" / str(number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(picture(number, case.stored), str(path), compression_level=1)
        for label in "01":
            test = data / "test" / label
            test.mkdir(parents=True)
            write_png(picture(int(label), case.stored), str(test / "0.png"), compression_level=1)
    recipe = folder / f"{case.name}.toml"
    size = "" if case.stored == case.wanted else f"image_size = {case.wanted}\nresize_size = {case.stored}\n"
    recipe.write_text(f'data = "folder:{data}"\n{size}[augment]\n{case.augment}')
    (folder / "model.toml").write_text(MODEL)
    return recipe


def measure_wgrad(args, recipe, device):
    """Images per second of batches that are made and not used, of about as many seconds as are wanted."""

    def bench(steps, warmup):
        line = [args.wgrad, "bench", "--input-pipeline", "--json", "--device", device, "--recipe", recipe]
        line += ["--model", recipe.parent / "model.toml", "--batch-size", BATCH, "--steps", steps, "--warmup", warmup]
        found, reason = start([str(word) for word in line], 600)
        if found:
            way = found["inputs"][0]
            assert way["placement"] == "resident", "images are to be in memory"
            found["img_per_s"] = way["input_img_per_s"]
        return found, reason

    tried, reason = bench(3, 1)
    if tried is None:
        return None, reason
    steps = max(3, round(tried["img_per_s"] * args.seconds / BATCH))
    return undisturbed(lambda: bench(steps, max(1, steps // 10)))


# ---- Telling -------------------------------------------------------------------------------


def compare(case, args, folder):
    recipe = prepare(case, folder)
    devices = ["cpu"] + ([args.device] if args.device else [])
    found = {f"wgrad {device}": [] for device in devices} | {way: [] for way in args.ways.split(",")}
    versions = {}
    for number in range(args.rounds):
        for name, runs in found.items():
            print(f"{case.name}: round {number + 1}, {name}", file=sys.stderr)
            if name.startswith("wgrad"):
                # A software adapter is a note.
                once = name == "wgrad cpu" or number == 0
                measured, reason = measure_wgrad(args, recipe, name.removeprefix("wgrad ")) if once else (None, None)
            else:
                line = [sys.executable, __file__, "--measure", case.name, name, "--seconds", str(args.seconds)]
                measured, reason = undisturbed(lambda line=line: start(line, 600))
                versions |= {key: measured[key] for key in ("torch", "torchvision") if measured}
            if reason:
                print(f"skipped: {reason}", file=sys.stderr)
            if measured:
                runs.append({key: measured[key] for key in ("img_per_s", "share_of_others")})
    rates = {
        name: {
            "img_per_s": statistics.median(run["img_per_s"] for run in runs),
            "img_per_s_of_rounds": [run["img_per_s"] for run in runs],
            "share_of_others": max(run["share_of_others"] for run in runs),
        }
        for name, runs in found.items()
        if runs
    }
    about = {"transforms": ", ".join(filter(None, [case.before, "normalise", case.after])), "augment": case.augment}
    about["commit"] = machine(args)["commit"]
    return about | versions | {"batch_size": BATCH, "stored": case.stored, "wanted": case.wanted, "rates": rates}


def figures(results):
    rows = []
    for name, result in results.items():
        rate = lambda way: result["rates"].get(way, {}).get("img_per_s")
        best = max(filter(None, map(rate, WAYS[:3])), default=None)
        own, batches = rate("wgrad cpu"), rate("batches")
        shown = [f"{value:.0f}" if value else "" for value in [own, *map(rate, WAYS)]]
        ratios = [f"{own / other:.2f}" if own and other else "" for other in (best, batches)]
        rows.append([name, *shown[:4], ratios[0], shown[4], ratios[1]])
    return rows


HEADER = ["", "wgrad", *WAYS[:3], "x best", "batches, one draw each", "x batches"]


def main():
    args = arguments()
    cases = {case.name: case for case in CASES}
    if args.measure:
        return measure_torchvision(cases[args.measure[0]], args.measure[1], args.seconds)
    args.wgrad = args.wgrad.resolve()
    names = args.cases.split(",") if args.cases else list(cases)
    unknown = [name for name in names if name not in cases]
    if unknown:
        sys.exit(f"no case {unknown[0]}; there are {', '.join(cases)}")
    everything = json.loads(read(args.out) or '{"results": {}}')
    folder = Path(tempfile.gettempdir()) / "wgrad-augment"
    for name in names:
        everything["results"][name] = compare(cases[name], args, folder)
        everything |= {"date": datetime.date.today().isoformat(), "machine": machine(args), "command": command()}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(everything, indent=1) + "\n")
    print(table(HEADER, figures(everything["results"])))
    for name, result in everything["results"].items():
        extra = {way: rate["img_per_s"] for way, rate in result["rates"].items() if way not in ["wgrad cpu", *WAYS]}
        for way, rate in extra.items():
            print(f"{name} on {way.removeprefix('wgrad ')}: {rate:.0f} images per second")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
