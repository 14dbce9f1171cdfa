"""Pictures that are written for a person, in the format that their name asks for."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from data.errors import BadFileError, ParameterError
from data.writing import whole_file

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def picture_format(path: str | Path, what: str) -> str:
    """Pillow's name of the format that the ending of `path` asks for.

    Args:
        what: what is to be written, for errors.

    Raises:
        ParameterError: an ending other than .jpg, .jpeg, .png and .webp.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ParameterError(what, must_be=f"a {', '.join(FORMATS)} file", got=repr(str(path)))
    return FORMATS[ending]


def write_picture(image: Image.Image, path: str | Path, what: str) -> Path:
    """Write a picture as the ending of `path` says; whole, or not at all. Folders are made.

    Raises:
        ParameterError: an ending that says nothing.
        BadFileError: the place cannot be written.
    """
    path, format = Path(path), picture_format(path, what)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            image.save(draft, format=format, quality=90)
    except OSError as error:
        found = error.strerror or str(error)
        raise BadFileError(what, must_be="writable", got=found, path=path) from error
    return path
