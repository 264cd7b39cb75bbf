"""Two folders of pictures from Tux Paint's stamps, photographs and drawings in classes, which Debian ships.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps
    python scripts/stamps_folder.py stamps data

data/things has 403 pictures of six classes, data/others 123 of five: see recipes/README.md.
"""

import shutil
import sys
from pathlib import Path

FOLDERS = {
    "things": ["animals", "food", "household", "plants", "town", "vehicles"],
    "others": ["clothes", "hobbies", "seasonal", "space", "sports"],
}


def main():
    stamps, data = Path(sys.argv[1]) / "usr" / "share" / "tuxpaint" / "stamps", Path(sys.argv[2])
    for folder, classes in FOLDERS.items():
        for name in classes:
            (data / folder / name).mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(sorted((stamps / name).rglob("*.png"))):
                shutil.copy(picture, data / folder / name / f"{number:03}-{picture.name}")


if __name__ == "__main__":
    main()
