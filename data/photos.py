"""Photographs on disk: find them under folders, read them once, decode them to upright RGB.

A collection of photographs holds odd files: cut short, empty, mislabelled, hostile. Whatever is wrong with a
file ends as one `BadFileError` that names it; nothing here crashes, waits for ever, or fills the memory.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from data.errors import BadFileError

PHOTO_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}
    | {".avif", ".heic", ".heif"}
)
MAX_FILE_BYTES = 1 << 30
MAX_ASPECT = 200  # a strip of 1 x 60,000 becomes gigabytes where a model scales the short side to 224
MAX_PROGRESSIVE_SCANS = 100  # encoders write about ten; each costs a pass over the whole picture
# Named one by one: Pillow would otherwise hand a PostScript file that is called .jpg to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


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
    """An upright RGB picture; `width` and `height` are the file's own even where `image` is smaller."""

    image: Image.Image
    width: int
    height: int
    format: str


def walk_photos(
    roots: Iterable[str | Path],
    *,
    extensions: Iterable[str] = PHOTO_EXTENSIONS,
    on_error: Callable[[Path, str], None] | None = None,
) -> Iterator[Path]:
    """Photographs under the folders `roots`, as absolute paths, by name, one folder's listing in memory.

    Each real folder is visited once, however many roots or symbolic links lead to it, so that loops end;
    links to folders come after everything that is reached without them. Files and folders whose name begins
    with a dot (thumbnail caches, the `._` halves that macOS leaves behind) are passed over.

    Args:
        extensions: file name endings to look for, in lower case; the case of the name does not matter.
        on_error: told of each folder or file that cannot be looked at, and why; such places are passed over.

    Raises:
        BadFileError: at once, where a root is missing or is no folder.
    """
    tops = deque(photo_folder(root) for root in roots)
    walk = _Walk(frozenset(extensions), on_error or (lambda path, reason: None))
    return walk.run(tops)


def photo_folder(root: str | Path) -> Path:
    """A folder to look for photographs in, as an absolute path.

    Raises:
        BadFileError: it is missing, or no folder.
    """
    folder = absolute_path(root)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise BadFileError("photo folder", must_be="a folder", got=found, do="check the path", path=root)
    return folder


def absolute_path(path: str | Path) -> Path:
    """The path from the root on, `~` and `..` written out, symbolic links kept as the person named them."""
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


class _Walk:
    """One walk: the folders already visited, and the links to folders left for the end."""

    def __init__(self, extensions: frozenset[str], on_error: Callable[[Path, str], None]):
        self.extensions, self.on_error = extensions, on_error
        self.visited: set[tuple[int, int]] = set()
        self.links: deque[Path] = deque()

    def run(self, tops: deque[Path]) -> Iterator[Path]:
        for queue in (tops, self.links):
            while queue:
                yield from self.tree(queue.popleft())

    def tree(self, top: Path) -> Iterator[Path]:
        stack = [(top, True)]
        while stack:
            path, is_folder = stack.pop()
            if is_folder:
                stack.extend(reversed(self.listing(path)))
            else:
                yield path

    def listing(self, folder: Path) -> list[tuple[Path, bool]]:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in self.visited:
                return []
            self.visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.on_error(folder, _words(error))
            return []
        return [item for entry in entries if (item := self.sort_out(entry)) is not None]

    def sort_out(self, entry: os.DirEntry[str]) -> tuple[Path, bool] | None:
        path = Path(entry.path)
        try:
            if entry.name.startswith("."):
                return None
            if entry.is_dir(follow_symlinks=False):
                return path, True
            if path.suffix.lower() in self.extensions and entry.is_file():
                return path, False
            if entry.is_symlink() and entry.is_dir():
                self.links.append(path)
        except OSError as error:
            self.on_error(path, _words(error))
        return None


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
    if not data:
        raise _bad(path, "an empty file (0 bytes)")
    content = hashlib.blake2b(data, digest_size=32).hexdigest()
    return PhotoFile(path=path, size=len(data), mtime_ns=status.st_mtime_ns, content=content, data=data)


def decode_photo(file: PhotoFile, *, jpeg_scaled_to_twice: int | None = None) -> Photo:
    """Bytes to an upright RGB picture: the first frame, turned as EXIF says, transparency laid on white.

    16-bit grey keeps its high byte; 32-bit and floating-point grey are stretched from their least to their
    greatest value, as they have no white of their own. Colour profiles are not applied.

    Args:
        jpeg_scaled_to_twice: for a consumer that scales to this many pixels: JPEGs may be decoded at 1/2,
            1/4 or 1/8 as long as both sides stay at least twice that (quicker; the pixels differ slightly
            from the full decode's, so it belongs in a fingerprint).

    Raises:
        BadFileError: cut short, not a picture, not what it says it is, or too large to decode safely.
    """
    try:
        return _decoded(file, jpeg_scaled_to_twice)
    except BadFileError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(file) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(file.path, f"more pixels than is safe to decode ({error})") from error
    except Exception as error:  # a hostile file makes Pillow's parsers raise nearly anything
        raise _bad(file.path, f"a damaged picture ({_words(error)})") from error


def _decoded(file: PhotoFile, jpeg_scaled_to_twice: int | None) -> Photo:
    image = Image.open(BytesIO(file.data), formats=_formats())
    width, height = image.size
    _refuse_bombs(file, image)
    if jpeg_scaled_to_twice is not None:
        image.draft(None, (2 * jpeg_scaled_to_twice, 2 * jpeg_scaled_to_twice))
    image.load()
    if image.format not in ("JPEG", "MPO"):
        width, height = image.size  # a TIFF turns itself upright while it is loaded
    rgb, turn = _to_rgb(image), _orientation(image)
    if turn in TURNS:
        rgb = rgb.transpose(TURNS[turn])
        width, height = (height, width) if turn >= 5 else (width, height)
    return Photo(image=rgb, width=width, height=height, format=image.format or "")


def load_photo(path: str | Path, *, jpeg_scaled_to_twice: int | None = None) -> Photo:
    """`read_photo` and `decode_photo` in one step, with the same errors."""
    return decode_photo(read_photo(path), jpeg_scaled_to_twice=jpeg_scaled_to_twice)


@functools.cache
def _formats() -> tuple[str, ...]:
    if importlib.util.find_spec("pillow_heif") is None:
        return FORMATS
    importlib.import_module("pillow_heif").register_heif_opener()
    return (*FORMATS, "HEIF")


def _refuse_bombs(file: PhotoFile, image: Image.Image) -> None:
    long, short = max(image.size), min(image.size)
    if long > MAX_ASPECT * short:
        raise _bad(file.path, f"a strip of {image.width} x {image.height} pixels")
    scans = file.data.count(b"\xff\xda") if image.info.get("progressive") else 1
    if scans > MAX_PROGRESSIVE_SCANS:
        raise _bad(file.path, f"a progressive JPEG of {scans} scans")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata does not make the pixels unusable
        return 1


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


def _unidentified(file: PhotoFile) -> BadFileError:
    if file.data[4:8] == b"ftyp" and file.data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return _bad(file.path, "a HEIC picture", do="install pillow-heif to read these")
    return _bad(file.path, "no picture in a format that is read here")


def _bad(path: Path, got: str, do: str = "") -> BadFileError:
    return BadFileError("picture", must_be="a readable picture", got=got, do=do, path=path)


def _words(error: Exception) -> str:
    """What the system or a parser said, without the path (which the message already names)."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said or type(error).__name__
