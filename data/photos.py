"""Photographs on disk: read them once, decode them to upright RGB.

A collection of photographs holds odd files: cut short, empty, mislabelled, hostile. Whatever is wrong with a
file ends as one `BadFileError` that names it; nothing here crashes, waits for ever, or fills the memory.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import ExifTags, Image, UnidentifiedImageError

from data.errors import BadFileError
from data.photo_facts import PhotoFacts, photo_facts

Pixels = npt.NDArray[np.uint8]

MAX_FILE_BYTES = 1 << 30
MAX_ASPECT = 200  # a strip of 1 x 60,000 becomes gigabytes where a model scales the short side to 224
MAX_PROGRESSIVE_SCANS = 100  # encoders write about ten; each costs a pass over the whole picture
# Named one by one: Pillow would otherwise hand a PostScript file that is called .jpg to Ghostscript.
FORMATS = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
JPEG_START = b"\xff\xd8"


@dataclass(frozen=True, kw_only=True)
class PhotoFile:
    """One file as it was read; `content`, the BLAKE2b-256 of `data` in hexadecimal, names the picture."""

    path: Path
    size: int
    mtime_ns: int
    content: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An upright RGB picture; `width` and `height` are the file's own even where `pixels_HWC` is smaller."""

    pixels_HWC: Pixels = field(repr=False)
    width: int
    height: int
    format: str
    facts: PhotoFacts

    @property
    def image(self) -> Image.Image:
        """The pixels as a PIL picture of mode RGB."""
        return Image.fromarray(self.pixels_HWC)


def read_photo(path: str | Path) -> PhotoFile:
    """The bytes of one file, their hash, and the size and time that the file had before it was read.

    Raises:
        BadFileError: the file is missing, forbidden, empty, above 1 GiB, or no regular file (a pipe, say).
    """
    path = Path(path)
    try:
        # O_NONBLOCK, as merely opening a pipe that nobody writes to would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _bad(path, "no regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise _bad(path, f"{status.st_size:,} bytes, above the limit of {MAX_FILE_BYTES:,}")
            data = file.read()
    except OSError as error:
        raise _bad(path, _words(error)) from error
    return photo_file(path, data, mtime_ns=status.st_mtime_ns)


def photo_file(path: Path, data: bytes, *, mtime_ns: int = 0) -> PhotoFile:
    """Bytes that are at hand already, and the name to call them by in errors.

    Raises:
        BadFileError: there are none.
    """
    if not data:
        raise _bad(path, "an empty file (0 bytes)")
    content = hashlib.blake2b(data, digest_size=32).hexdigest()
    return PhotoFile(path=path, size=len(data), mtime_ns=mtime_ns, content=content, data=data)


def decode_photo(
    file: PhotoFile, *, jpeg_at_least: int | None = None, most_pixels: int | None = None
) -> Photo:
    """Bytes to an upright RGB picture: the first frame, turned as EXIF says, transparency laid on white.

    16-bit grey keeps its high byte; 32-bit and floating-point grey are stretched from their least to their
    greatest value, as they have no white of their own. Colour profiles are not applied.

    Args:
        jpeg_at_least: for a consumer that scales down anyway: a JPEG may be decoded at 1/8 to 4/8 of its size
            as long as both sides keep this many pixels (several times quicker; the pixels differ a little
            from the full decode's, so it belongs in a fingerprint). It is if that divides its sides evenly:
            the picture would otherwise end within a pixel, and be resized a little askew.
        most_pixels: refuse a picture that says it has more, before any of them is decoded.

    Raises:
        BadFileError: cut short, not a picture, not what it says it is, or too large to decode safely.
    """
    try:
        return _decoded(file, jpeg_at_least, most_pixels)
    except BadFileError:
        raise
    except UnidentifiedImageError as error:
        raise _bad(file.path, "no picture in a format that is read here") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(file.path, f"more pixels than is safe to decode ({error})") from error
    except Exception as error:  # a hostile file makes Pillow's parsers raise nearly anything
        raise _bad(file.path, f"a damaged picture ({_words(error)})") from error


def _decoded(file: PhotoFile, jpeg_at_least: int | None, most_pixels: int | None) -> Photo:
    image = Image.open(BytesIO(file.data), formats=_formats(file.data[:2] == JPEG_START))
    _refuse_bombs(file, image)
    if most_pixels is not None and image.width * image.height > most_pixels:
        raise _bad(file.path, f"{image.width} x {image.height} pixels, above the limit of {most_pixels:,}")
    width, height = image.size
    pixels_HWC = _jpeg_pixels(file, image, jpeg_at_least)
    if pixels_HWC is None:
        pixels_HWC = _pillow_pixels(image)
    if image.format not in ("JPEG", "MPO"):
        width, height = image.size  # a TIFF turns itself upright while it is loaded
    turn = _orientation(image)
    if turn >= 5:
        width, height = height, width
    return Photo(
        pixels_HWC=_turned(pixels_HWC, turn),
        width=width,
        height=height,
        format=image.format or "",
        facts=photo_facts(image),
    )


def _jpeg_pixels(file: PhotoFile, image: Image.Image, jpeg_at_least: int | None) -> Pixels | None:
    """The quick way, to the bit what Pillow gives; None where Pillow must read it, or say what is wrong."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(file.data)
        if (width, height) != image.size:  # a second header, which has passed no check
            return None
        eighths = 8 if jpeg_at_least is None else _eighths(height, width, jpeg_at_least)
        # It takes the smallest scale that gives so many pixels: this one.
        least_height, least_width = height * eighths // 8, width * eighths // 8
        pixels_HWC: Pixels = simplejpeg.decode_jpeg(
            file.data, "RGB", min_height=least_height, min_width=least_width
        )
        return pixels_HWC
    except ValueError:
        return None


def _eighths(height: int, width: int, least: int) -> int:
    """The smallest scale, in eighths, that divides both sides evenly and leaves them `least` pixels."""
    for eighths in range(1, 5):
        is_even = height * eighths % 8 == width * eighths % 8 == 0
        if is_even and min(height, width) * eighths >= 8 * least:
            return eighths
    return 8


def _pillow_pixels(image: Image.Image) -> Pixels:
    image.load()
    return np.array(_to_rgb(image), dtype=np.uint8)


def _turned(pixels_HWC: Pixels, turn: int) -> Pixels:
    """Upright, by the number that EXIF gives the camera's posture."""
    flipped_HWC = pixels_HWC[:, ::-1] if turn in (2, 4, 5, 7) else pixels_HWC
    quarters = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(turn, 0)
    return np.ascontiguousarray(np.rot90(flipped_HWC, quarters))


def load_photo(path: str | Path, *, jpeg_at_least: int | None = None) -> Photo:
    """`read_photo` and `decode_photo` in one step, with the same errors."""
    return decode_photo(read_photo(path), jpeg_at_least=jpeg_at_least)


def small_photo(file: PhotoFile, side: int) -> Image.Image:
    """A picture's bytes -> an upright RGB picture, no side longer than `side` and never enlarged.

    Raises:
        BadFileError: as `decode_photo`.
    """
    image = decode_photo(file, jpeg_at_least=2 * side).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _formats(is_jpeg: bool) -> tuple[str, ...]:
    return ("JPEG",) if is_jpeg else _other_formats()


@functools.cache
def _other_formats() -> tuple[str, ...]:
    import pillow_heif  # on first use: most collections are JPEGs

    pillow_heif.register_heif_opener()
    return FORMATS


def _refuse_bombs(file: PhotoFile, image: Image.Image) -> None:
    long, short = max(image.size), min(image.size)
    if long > MAX_ASPECT * short:
        raise _bad(file.path, f"a strip of {image.width} x {image.height} pixels")
    scans = file.data.count(b"\xff\xda") if image.info.get("progressive") else 1
    if scans > MAX_PROGRESSIVE_SCANS:
        raise _bad(file.path, f"a progressive JPEG of {scans} scans")


def _orientation(image: Image.Image) -> int:
    try:
        turn = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata does not make the pixels unusable
        return 1
    return turn if 1 <= turn <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return _stretched(np.asarray(image, dtype=np.float64)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _stretched(grey_HW: np.ndarray) -> Image.Image:
    finite_HW = np.nan_to_num(grey_HW, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = finite_HW.min(), finite_HW.max()
    scale = 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(((finite_HW - low) * scale).astype(np.uint8))


def _bad(path: Path, got: str) -> BadFileError:
    return BadFileError("picture", must_be="a readable picture", got=got, path=path)


def _words(error: Exception) -> str:
    """What the system or a parser said, without the path (which the message already names)."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said or type(error).__name__
