#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own reader and compares them with metrics.jsonl.

    python scripts/check_tensorboard.py RUN

Needs the package tensorboard. The run must have been trained with --tensorboard, or converted by
`wgrad report RUN --tensorboard`.
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata


def main(run):
    run = pathlib.Path(run)
    files = sorted(run.glob("events.out.tfevents.*"))
    assert files, f"{run} has no event files"
    for file in files:
        events = list(EventFileLoader(str(file)).Load())
        assert events[0].file_version == "brain.Event:2", file

    found = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0, "images": 0, "histograms": 0})
    found.Reload()
    tags = found.Tags()
    print({kind: names for kind, names in tags.items() if names})

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "lr" in line]
    epochs = [line for line in lines if "train_loss" in line]
    values = {event.step: event.value for event in found.Scalars("loss/step")}
    assert sorted(values) == [line["step"] for line in steps], "logged steps"
    for line in steps:
        assert math.isclose(values[line["step"]], line["loss"], rel_tol=1e-6), line
    accuracies = [event.value for event in found.Scalars("accuracy/test")]
    expected = [line["test_accuracy"] for line in lines if "test_accuracy" in line]
    assert len(accuracies) == len(expected), (len(accuracies), len(expected))
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(accuracies, expected))

    histograms = tags["histograms"]
    assert histograms, "there are no histograms"
    for tag in histograms:
        for event in found.Histograms(tag):
            assert math.isclose(sum(event.histogram_value.bucket), event.histogram_value.num), tag
    images = tags["images"]
    assert "filters" in images, images
    for tag in images:
        for event in found.Images(tag):
            assert event.encoded_image_string.startswith(b"\x89PNG"), tag
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = dict(metadata.parse_session_start_info_plugin_data(content).hparams)
    assert hparams["lr"].number_value > 0 and hparams["model"].string_value, hparams
    print(f"{run}: {len(steps)} steps, {len(epochs)} epochs, {len(histograms)} histograms, {len(images)} kinds of "
          f"pictures, {len(hparams)} settings: as in metrics.jsonl")


if __name__ == "__main__":
    main(sys.argv[1])
