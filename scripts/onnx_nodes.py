"""ONNX's own tests of single nodes, as folders of a model with its inputs and outputs: `onnx_nodes.py DIR`; then
`WGRAD_ONNX_NODES=DIR cargo test --release --lib node_tests -- --ignored --nocapture`.

Needs onnx from PyPI. `python -m onnx.backend.test.cmd_tools generate-data` writes the same form, but leaves these tests out.
"""

import sys
import warnings
from pathlib import Path

import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def write(folder, prefix, infos, values):
    """Tensors as files; false if there is something else among them."""
    for number, (info, value) in enumerate(zip(infos, values)):
        if not info.type.HasField("tensor_type"):
            return False
        tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, info.name)
        (folder / f"{prefix}_{number}.pb").write_bytes(tensor.SerializeToString())
    return True


def main():
    warnings.simplefilter("ignore")
    counts = {"one node": 0, "several nodes": 0, "no tensors": 0}
    for case in collect_testcases(None):
        # Functions written out in other operators are tests of those.
        if len(case.model.graph.node) != 1 or "_expanded" in case.name:
            counts["several nodes"] += 1
            continue
        folder = Path(sys.argv[1]) / case.name
        folder.mkdir(parents=True, exist_ok=True)
        (inputs, outputs), graph = case.data_sets[0], case.model.graph
        tensors = write(folder, "input", graph.input, inputs) and write(folder, "output", graph.output, outputs)
        if tensors:
            (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        counts["one node" if tensors else "no tensors"] += 1
    print(f"onnx {onnx.__version__}:", ", ".join(f"{count} of {what}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
