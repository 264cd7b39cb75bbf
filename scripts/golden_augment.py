"""What torchvision makes of small images of bytes: augment.safetensors and resize.safetensors.

src/augment/tests.rs and src/data/resize.rs hold the same parameters under the same names and
allow one grey level.
"""

import torch
import torchvision
from golden_file import save
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

HEIGHT, WIDTH = 23, 29


def image(channels, height=HEIGHT, width=WIDTH):
    """Waves with some noise: interpolation shows, and so do levels."""
    generator = torch.Generator().manual_seed(channels)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(0.31 * (c + 1) * x + 0.17 * y) * torch.cos(0.23 * y - 0.4 * c) for c in range(channels)]
    noise = torch.rand(channels, height, width, generator=generator)
    return (40 + 130 * (0.5 + 0.5 * torch.stack(waves)) + 40 * noise).to(torch.uint8)


def affine(x, angle, translate, scale, shear, **more):
    return F.affine(x, angle=angle, translate=translate, scale=scale, shear=shear, **more)


LINEAR = {"interpolation": InterpolationMode.BILINEAR}
GEOMETRY = {
    "rotate": lambda x: F.rotate(x, 33.0, **LINEAR),
    "rotate-nearest": lambda x: F.rotate(x, -71.0, interpolation=InterpolationMode.NEAREST),
    "affine": lambda x: affine(x, 20.0, [3, -2], 1.3, [10.0, 0.0], **LINEAR),
    "shear-y": lambda x: affine(x, 0.0, [0, 0], 0.8, [0.0, -25.0], **LINEAR),
    "resized-crop": lambda x: F.resized_crop(x, 3, 5, 11, 17, [HEIGHT, WIDTH], antialias=True),
    "padded-crop": lambda x: F.crop(F.pad(x, [4, 4, 4, 4]), 1, 7, HEIGHT, WIDTH),
    "reflected-crop": lambda x: F.crop(F.pad(x, [4, 4, 4, 4], padding_mode="reflect"), 8, 0, HEIGHT, WIDTH),
    "flips": lambda x: F.vertical_flip(F.horizontal_flip(x)),
}
COLOURS = {
    "brightness": lambda x: F.adjust_brightness(x, 1.7),
    "darkness": lambda x: F.adjust_brightness(x, 0.35),
    "contrast": lambda x: F.adjust_contrast(x, 1.6),
    "less-contrast": lambda x: F.adjust_contrast(x, 0.3),
    "saturation": lambda x: F.adjust_saturation(x, 1.8),
    "less-saturation": lambda x: F.adjust_saturation(x, 0.4),
    "hue": lambda x: F.adjust_hue(x, 0.21),
    "hue-back": lambda x: F.adjust_hue(x, -0.43),
    "greyscale": lambda x: F.rgb_to_grayscale(x, num_output_channels=3),
    "sharper": lambda x: F.adjust_sharpness(x, 1.9),
    "softer": lambda x: F.adjust_sharpness(x, 0.1),
    "posterize": lambda x: F.posterize(x, 3),
    "solarize": lambda x: F.solarize(x, 100.5),
    "autocontrast": F.autocontrast,
    "equalize": F.equalize,
}
OF_GREY = ["brightness", "contrast", "sharper", "posterize", "solarize", "autocontrast", "equalize"]


# Height and width of an image, what its shorter side is resized to, what is cropped.
SIZES = [(97, 131, 32, 28), (131, 97, 40, 40), (17, 23, 40, 35), (64, 64, 32, 31), (30, 301, 24, 24)]


def write(directory):
    tensors = {}
    for channels in (1, 3):
        x = image(channels)
        tensors[f"{channels}/image"] = x
        names = [*GEOMETRY, *(COLOURS if channels == 3 else OF_GREY)]
        for name in names:
            y = {**GEOMETRY, **COLOURS}[name](x)
            assert y.dtype == torch.uint8 and y.shape == x.shape, name
            tensors[f"{channels}/{name}"] = y
    about = {"torchvision": torchvision.__version__}
    save(directory / "augment.safetensors", tensors, about)
    tensors = {}
    for height, width, resize, crop in SIZES:
        channels = 1 if width == 301 else 3
        x = image(channels, height, width)
        name = f"{height}x{width}-{resize}-{crop}"
        tensors[f"{name}/image"] = x
        tensors[f"{name}/resized"] = F.center_crop(F.resize(x, [resize], antialias=True), [crop, crop])
    save(directory / "resize.safetensors", tensors, about)
