"""Networks of torchvision and timm as ONNX files, with random weights, images and what onnxruntime makes of them:
`torch_onnx.py DIR [LIBRARY/NAME[:SIZE]...]`; then `WGRAD_ONNX=DIR cargo test --release --lib other_tools -- --ignored
--nocapture`. Each network goes through both of PyTorch's exporters; images are 64 x 64 where no size is given.

Needs torch, torchvision, timm, onnx, onnxscript, onnxruntime and safetensors from PyPI.
"""

import sys
import time
import warnings
from pathlib import Path

import onnxruntime
import timm
import torch
import torchvision
from safetensors.torch import save_file

NETWORKS = """
torchvision/resnet18 torchvision/mobilenet_v2 torchvision/mobilenet_v3_small torchvision/efficientnet_b0
torchvision/squeezenet1_1 torchvision/densenet121 torchvision/convnext_tiny torchvision/mnasnet0_5
torchvision/regnet_y_400mf torchvision/shufflenet_v2_x0_5 torchvision/googlenet torchvision/vgg11_bn:224
timm/resnet18 timm/mobilenetv3_small_100 timm/efficientnet_b0 timm/convnext_atto timm/regnetx_002 timm/regnety_002
timm/densenet121 timm/seresnet18 timm/resnet10t timm/repvgg_a0 timm/lcnet_050 timm/rexnet_100 timm/ghostnet_050
timm/ese_vovnet19b_dw timm/tf_efficientnet_lite0 timm/tf_mobilenetv3_small_minimal_100 timm/dla34 timm/resnetv2_18
timm/convnextv2_atto timm/ecaresnet26t timm/mobileone_s0
"""
CLASSES = 10


def network(library, name):
    if library == "timm":
        return timm.create_model(name, num_classes=CLASSES)
    more = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **more)


def export(model, images, exporter, path):
    if exporter == "dynamo":
        torch.onnx.export(model, (images,), dynamo=True, verbose=False).save(path)
    else:
        torch.onnx.export(model, (images,), path, dynamo=False, opset_version=17)


def main():
    warnings.simplefilter("ignore")
    onnxruntime.set_default_logger_severity(3)
    for argument in sys.argv[2:] or NETWORKS.split():
        full_name, _, size = argument.partition(":")
        library, name = full_name.split("/")
        images = torch.randn(2, 3, int(size or 64), int(size or 64))
        for exporter in ["dynamo", "script"]:
            began = time.time()
            folder = Path(sys.argv[1]) / f"{library}-{name}-{exporter}"
            folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.manual_seed(0)
                model = network(library, name).eval()
                with torch.no_grad():
                    for value in model.state_dict().values():
                        if value.dim() == 1 and value.is_floating_point():
                            value += 0.2 * torch.rand_like(value)
                export(model, images, exporter, folder / "model.onnx")
            except Exception as problem:
                print(folder.name, "is not exported:", str(problem)[:200].replace("\n", " "), flush=True)
                continue
            session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
            (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
            save_file({"images": images, "logits": torch.from_numpy(logits)}, folder / "results.safetensors")
            print(f"{folder.name}: {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
