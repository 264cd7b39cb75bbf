"""Makes the PyTorch reference data ("goldens") under tests/goldens.

    pip install torch torchvision numpy
    python scripts/goldens.py                # everything
    python scripts/goldens.py operators ...  # only these parts

The data is committed, so that the tests need no Python. Runs with the same version of
PyTorch give the same files; what they hold is described in scripts/golden_<part>.py.
"""

import sys
import warnings
from pathlib import Path

import torch

import golden_augment
import golden_init
import golden_networks
import golden_operators
import golden_optimizers
import golden_schedules
import golden_torch
import golden_zoo

PARTS = {
    "operators": golden_operators.write,
    "optimizers": golden_optimizers.write,
    "schedules": golden_schedules.write,
    "networks": golden_networks.write,
    "init": golden_init.write,
    "augment": golden_augment.write,
    "torch": golden_torch.write,
    "zoo": golden_zoo.write,
}


def main():
    warnings.filterwarnings("ignore", "Using padding=.same. with even kernel")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    directory = Path(__file__).resolve().parent.parent / "tests" / "goldens"
    for name in sys.argv[1:] or PARTS:
        PARTS[name](directory)


if __name__ == "__main__":
    main()
