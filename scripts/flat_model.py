"""A model file of wgrad with its blocks and repeats written out and its names left out.

For readers that know layers only: the peers of benches/compare.

    python scripts/flat_model.py src/models/zoo/resnet18.toml
"""

import json
import sys
import tomllib
from pathlib import Path


def flat(model):
    """The list of layers of a model file, given as tomllib reads it."""
    blocks = model.get("blocks", {})

    def substitute(value, arguments):
        if isinstance(value, str) and value.startswith("$"):
            return arguments[value[1:]]
        if isinstance(value, list):
            return [substitute(v, arguments) for v in value]
        if isinstance(value, dict):
            return {k: substitute(v, arguments) for k, v in value.items()}
        return value

    def expand(value):
        """The lists of layers in a container's arguments."""
        return layers(value) if isinstance(value, list) else value

    def layers(entries):
        result = []
        for entry in entries:
            if isinstance(entry, list):
                result.append(layers(entry))
                continue
            if not isinstance(entry, dict):
                entry = {entry: {}}
            entry, times = dict(entry), entry.get("repeat", 1)
            name, arguments = next((k, v) for k, v in entry.items() if k not in ("name", "repeat"))
            if name in blocks:
                block = blocks[name]
                arguments = block.get("defaults", {}) | arguments
                arguments = {"layers": substitute(block["layers"], arguments)}
                name = "sequential"
            if name in ("concat", "residual", "scale", "sequential"):
                arguments = {k: expand(v) for k, v in arguments.items() if k != "names"}
            layer = {name: {k: v for k, v in arguments.items() if k != "init"}} if arguments else name
            # A sequence in a list is its layers.
            layer = arguments["layers"] if name == "sequential" else [layer]
            result += layer * times
        return result

    return layers(model["layers"])


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def flat_file(path):
    """The text of the model file at `path`, flat."""
    return f"layers = {toml(flat(tomllib.loads(Path(path).read_text())))}\n"


if __name__ == "__main__":
    print(flat_file(sys.argv[1]), end="")
