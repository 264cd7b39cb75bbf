"""A folder of pictures from the digits that wgrad ships: few for training, the rest for testing.

    pip install pillow
    python scripts/digits_folder.py data/few-digits

Five digits as PNG files of 28 x 28 pixels, in train/CLASS and test/CLASS: see docs/fine-tuning.md.
"""

import csv
import gzip
import sys
from pathlib import Path

from PIL import Image

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CLASSES = ["zero", "one", "two", "three", "four"]
FOR_TRAINING = 8


def main():
    folder, seen = Path(sys.argv[1]), [0] * len(CLASSES)
    with gzip.open(ASSETS / "digits.csv.gz", "rt") as file:
        for row in csv.reader(file):
            *pixels, label = map(int, map(float, row))
            if label >= len(CLASSES):
                continue
            split = "train" if seen[label] < FOR_TRAINING else "test"
            image = Image.new("L", (8, 8))
            image.putdata([min(255, 16 * pixel) for pixel in pixels])
            # MNIST's digits are 20 pixels high, in the middle.
            picture = Image.new("L", (28, 28))
            picture.paste(image.resize((20, 20), Image.Resampling.BILINEAR), (4, 4))
            path = folder / split / CLASSES[label] / f"{seen[label]:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            seen[label] += 1


if __name__ == "__main__":
    main()
