"""What the goldens share: tolerances, and .safetensors files.

The files are the same, byte for byte, for the same contents; those of the safetensors
package are not, since it leaves the order of the metadata to a hash map.
"""

import json

import numpy as np
import torch

DTYPES = {np.dtype("float32"): "F32", np.dtype("int32"): "I32", np.dtype("uint8"): "U8"}


def as_array(tensor):
    """Floats become f32 and integers i32, but bytes stay bytes."""
    tensor = tensor.detach()
    if tensor.dtype == torch.uint8:
        return np.array(tensor.contiguous().numpy(), order="C")
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


FLOOR = 1e-7  # of a tensor's largest magnitude
LEAST = 1e-8


def disturbed(x, size, generator):
    """x with each number made larger or smaller by one part in 1 / size."""
    sign = 2 * torch.randint(0, 2, x.shape, generator=generator) - 1
    return x * (1 + size * sign)


def tolerance(want, others, safety):
    error = max((want - other).abs().max().item() for other in others)
    atol = max(safety * error, FLOOR * want.abs().max().item(), LEAST)
    return float(f"{atol:.1e}")


def tolerances(want, others, safety):
    """name -> `safety` times how far the tensor is, at most, from those in `others`."""
    return {n: tolerance(w, [other[n] for other in others], safety) for n, w in want.items()}
