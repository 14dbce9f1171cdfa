"""Pictures to search: scikit-image's, some in folders, some with a camera, one with a hostile name."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

HOSTILE = "<img src=x onerror=alert(1)>.png"
FOLDERS = {
    "animals": ("chelsea.png", "horse.png"),
    "space": ("astronaut.png", "hubble_deep_field.jpg", "moon.png", "rocket.jpg"),
    "kitchen": ("coffee.png",),
}
# Written anew as JPEG files with a time and a camera: those in the package have neither.
TAKEN = {
    "motorcycle_left.png": ("2021:06:05 10:20:30", "Canon", "EOS 5D"),
    "motorcycle_right.png": ("2021:06:05 10:20:31", "Canon", "EOS 5D"),
    "coins.png": ("2019:03:02 09:08:07", "FUJIFILM", "X100V"),
    "camera.png": ("2018:11:12 13:14:15", "FUJIFILM", "X100V"),
}
DATE, EXIF_PART, MAKE, MODEL = 0x9003, 0x8769, 0x010F, 0x0110


def make_album(source: Path, album: Path) -> Path:
    """Copy the pictures of `source` into `album`."""
    folder_of = {name: folder for folder, names in FOLDERS.items() for name in names}
    for path in sorted(source.iterdir()):
        if path.suffix not in (".png", ".jpg", ".gif"):
            continue
        place = album / folder_of.get(path.name, "")
        place.mkdir(exist_ok=True)
        if path.name in TAKEN:
            _photograph(path, place / f"{path.stem}.jpg", *TAKEN[path.name])
        else:
            shutil.copy(path, place)
    with Image.open(source / "brick.png") as picture:
        picture.rotate(90).save(album / HOSTILE)
    return album


def _photograph(source: Path, target: Path, taken: str, make: str, model: str) -> None:
    exif = Image.Exif()
    exif[MAKE], exif[MODEL] = make, model
    exif.get_ifd(EXIF_PART)[DATE] = taken
    with Image.open(source) as picture:
        picture.convert("RGB").save(target, quality=92, exif=exif)
