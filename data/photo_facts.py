"""What a camera wrote into a picture: when it was taken, with what, and where. Hostile EXIF gives nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from PIL import ExifTags, Image

MAX_WORDS = 100  # characters of a camera's name
FIRST_PHOTOGRAPH = 1826
LAST_YEAR = 2100  # later ones are a camera's broken clock

T = TypeVar("T")


class Coordinates(NamedTuple):
    """A place on Earth: latitude and longitude in degrees, north and east positive."""

    lat: float
    lon: float


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """What EXIF tells of a picture; None for what it does not tell, or tells wrongly.

    Args:
        taken_at: ISO 8601 to the second, with the offset from UTC where the camera wrote one.
        camera: make and model, the make left out where the model begins with it.
        gps: where it was taken.
    """

    taken_at: str | None = None
    camera: str | None = None
    gps: Coordinates | None = None


def photo_facts(image: Image.Image) -> PhotoFacts:
    """The facts that an opened picture's EXIF holds; it never raises, whatever the EXIF holds."""
    exif = _or_none(image.getexif)
    if exif is None:
        return PhotoFacts()
    return PhotoFacts(
        taken_at=_or_none(lambda: _taken_at(exif)),
        camera=_or_none(lambda: _camera(exif)),
        gps=_or_none(lambda: _gps(exif)),
    )


def _or_none(read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except Exception:  # Pillow hands on whatever type and value the file claims: nearly anything goes wrong
        return None


def _taken_at(exif: Image.Exif) -> str | None:
    """From DateTimeOriginal, or else DateTimeDigitized; plain DateTime is that of the last edit."""
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    base = ExifTags.Base
    for date, offset in (
        (base.DateTimeOriginal, base.OffsetTimeOriginal),
        (base.DateTimeDigitized, base.OffsetTimeDigitized),
    ):
        moment = _moment(_text(tags.get(date)))
        if moment is not None:
            return moment + _offset(_text(tags.get(offset)))
    return None


def _moment(text: str) -> str | None:
    try:
        moment = datetime.strptime(text[:19].replace("-", ":"), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment.isoformat() if FIRST_PHOTOGRAPH <= moment.year <= LAST_YEAR else None


def _offset(text: str) -> str:
    found = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", text, re.ASCII)
    if text == "Z":
        return "+00:00"
    return text if found is not None and int(found[2]) <= 14 else ""


def _camera(exif: Image.Exif) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    first = make.split(" ")[0].casefold()  # "NIKON CORPORATION" makes the "NIKON D90"
    if not model.casefold().startswith(first):
        model = f"{make} {model}".strip()
    return model[:MAX_WORDS].strip() or make[:MAX_WORDS].strip() or None


def _gps(exif: Image.Exif) -> Coordinates | None:
    tags = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps = ExifTags.GPS
    lat = _degrees(tags[gps.GPSLatitude], _text(tags.get(gps.GPSLatitudeRef)), "S")
    lon = _degrees(tags[gps.GPSLongitude], _text(tags.get(gps.GPSLongitudeRef)), "W")
    # Not a number, which a denominator of zero gives, is in no range.
    return Coordinates(lat, lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def _degrees(parts: Any, reference: str, negative: str) -> float:
    degrees, minutes, seconds = ([float(part) for part in parts] + [0.0, 0.0])[:3]
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60):
        return math.nan
    value = round(degrees + minutes / 60 + seconds / 3600, 7)  # about a centimetre
    return -value if reference.upper().startswith(negative) else value


def _text(value: Any) -> str:
    """Printable words of a tag that should hold text, one space between them."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    kept = "".join(character if character.isprintable() else " " for character in value.split("\0")[0])
    return " ".join(kept.encode("utf-8", "ignore").decode("utf-8").split())
