"""Writes .safetensors files that are the same, byte for byte, for the same contents.

(The safetensors package leaves the order of the metadata to a hash map.)
"""

import json

import numpy as np
import torch

DTYPES = {np.dtype("float32"): "F32", np.dtype("int32"): "I32"}


def as_array(tensor):
    """Floats become f32 and integers i32."""
    tensor = tensor.detach()
    dtype = torch.float32 if tensor.is_floating_point() else torch.int32
    return np.array(tensor.to(dtype).contiguous().numpy(), order="C")


def save(path, tensors, metadata):
    """tensors: name -> torch tensor; metadata: name -> string."""
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, tensor in tensors.items():
        array = as_array(tensor)
        blobs.append(array.tobytes())
        header[name] = {
            "dtype": DTYPES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def significant(value, digits=2):
    """A tolerance, rounded for reading."""
    return float(f"{value:.{digits - 1}e}")
