"""Networks of torchvision and timm as ONNX files, with random weights, images and what onnxruntime makes of them:
`torch_onnx.py DIR`; then `WGRAD_ONNX=DIR cargo test --release --lib other_tools -- --ignored --nocapture`.

Needs torch, torchvision, timm, onnx, onnxscript, onnxruntime and safetensors from PyPI.
"""

import sys
from pathlib import Path

import onnxruntime
import timm
import torch
import torchvision
from safetensors.torch import save_file

TORCHVISION = [
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1", "densenet121",
    "convnext_tiny", "vgg11_bn",
]
TIMM = ["resnet18", "convnext_atto", "mobilenetv3_small_100"]
CLASSES = 10


def network(library, name):
    if library == "timm":
        return timm.create_model(name, num_classes=CLASSES)
    return torchvision.models.get_model(name, weights=None, num_classes=CLASSES)


def main():
    for library, names in [("torchvision", TORCHVISION), ("timm", TIMM)]:
        for name in names:
            for exporter in ["dynamo", "script"]:
                torch.manual_seed(0)
                model = network(library, name).eval()
                with torch.no_grad():
                    for key, value in model.state_dict().items():
                        if value.dim() == 1 and value.is_floating_point():
                            value += 0.2 * torch.rand_like(value)
                folder = Path(sys.argv[1]) / f"{library}-{name}-{exporter}"
                folder.mkdir(parents=True, exist_ok=True)
                images = torch.randn(2, 3, 64, 64)
                path = folder / "model.onnx"
                try:
                    if exporter == "dynamo":
                        program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
                        program.save(path)
                    else:
                        torch.onnx.export(model, (images,), path, dynamo=False, opset_version=17)
                except Exception as problem:
                    print(folder.name, "is not exported:", str(problem)[:200].replace("\n", " "))
                    continue
                session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
                save_file({"images": images, "logits": torch.from_numpy(logits)}, folder / "results.safetensors")
                print(folder.name, flush=True)


if __name__ == "__main__":
    main()
