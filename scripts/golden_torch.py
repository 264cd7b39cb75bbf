"""Files of torch.save: torch/{zip,legacy,nested}.pth. Run through goldens.py.

The same small state dict in the formats that PyTorch writes since 1.6 and wrote before, and nested as
trainers save it. What it holds is written down in src/train/torch_file.rs.
"""

import torch


def state_dict():
    base = torch.arange(24, dtype=torch.float32) / 8
    return {
        "whole.weight": base.reshape(2, 3, 2, 2).clone(),
        "transposed.weight": base.reshape(4, 6).t(),
        "part.bias": base[5:9],
        "half.weight": torch.tensor([0.5, -1.25, 3.0]).half(),
        "bf16.weight": torch.tensor([[0.5], [-1.25]]).bfloat16(),
        "double.weight": torch.tensor([0.1, -7.5], dtype=torch.float64),
        "bn.num_batches_tracked": torch.tensor(7),
    }


def write(directory):
    folder = directory / "torch"
    folder.mkdir(exist_ok=True)
    weights = state_dict()
    torch.save(weights, folder / "zip.pth")
    torch.save(weights, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    optimizer = {"state": {0: {"exp_avg": weights["whole.weight"]}}}
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": optimizer}, folder / "nested.pth")
