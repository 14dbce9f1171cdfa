"""From a file, or bytes, to what a model takes: the same steps for what is indexed and what is asked for.

Shape legend: C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.errors import ParameterError
from data.photos import Photo, PhotoFile, decode_photo, photo_file, read_photo
from vision.retrieval.embedder import PicturePreprocess, Pixels
from vision.retrieval.picture import Picture
from vision.store.place import DECODE_MODES, DecodeMode

Source = str | Path | bytes | PhotoFile

FAST_FACTOR = 3  # what is left to the antialiased resize; at 2, photographs are up to 7 levels of 255 off


@dataclass(frozen=True, kw_only=True)
class PictureReader:
    """Reads pictures for one model; pickled, as it works in processes of its own.

    Args:
        preprocess: the model's.
        decode: "exact" decodes every pixel; "fast" decodes large JPEGs scaled down, to no less than three
            times what the model takes. The vectors differ a little, so it belongs to a collection's
            fingerprint.
        most_pixels: pictures with more are refused; None leaves it at what is safe to decode at all.

    Raises:
        ParameterError: another mode.
    """

    preprocess: PicturePreprocess
    decode: DecodeMode = "exact"
    most_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.decode not in DECODE_MODES:
            raise ParameterError("decode", must_be=f"one of {DECODE_MODES}", got=repr(self.decode))

    def photo(self, file: PhotoFile) -> Photo:
        """The picture in a file, decoded in this way.

        Raises:
            BadFileError: no picture that can be decoded.
        """
        at_least = FAST_FACTOR * self.preprocess.resized_side if self.decode == "fast" else None
        return decode_photo(file, jpeg_at_least=at_least, most_pixels=self.most_pixels)

    def pixels(self, file: PhotoFile) -> tuple[Picture, Pixels]:
        """What is to be known of a picture (its places left empty), and its pixels (3, H, W), 8-bit.

        Raises:
            BadFileError: no picture that can be decoded.
        """
        photo = self.photo(file)
        picture = Picture(
            content=file.content,
            size=file.size,
            width=photo.width,
            height=photo.height,
            format=photo.format,
            places=(),
            taken_at=photo.facts.taken_at,
            camera=photo.facts.camera,
            gps=photo.facts.gps,
        )
        return picture, self.preprocess.pixels(photo.pixels_HWC)

    def read(self, source: Source) -> tuple[Picture, Pixels]:
        """`pixels` of a file by its path, or of the bytes of one.

        Raises:
            BadFileError: no such file, or no picture that can be decoded.
        """
        return self.pixels(file_of(source))


def file_of(source: Source) -> PhotoFile:
    """A file by its path, the bytes of one, or one that was read already.

    Raises:
        BadFileError: it cannot be read.
    """
    if isinstance(source, PhotoFile):
        return source
    return photo_file(Path("picture"), source) if isinstance(source, bytes) else read_photo(source)
