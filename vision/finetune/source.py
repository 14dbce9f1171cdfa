"""Where a batch comes from: pictures decoded and captions tokenised, or vectors computed beforehand.

Shape suffixes: B batch, C channels, H W pixels, L token ids, E components, P pictures, T captions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from data.captions import Pair
from data.errors import BadFileError
from data.photos import load_photo
from vision.finetune.pair_table import PairTable

Progress = Callable[[str, int, int], None]

CHECK_SIZE = 32  # pixels: a JPEG is decoded at an eighth to see whether it can be read
SHOWN = 5


class Source(Protocol):
    """Gives what a model takes, for pictures and captions by their numbers in a table."""

    def pictures(self, numbers_B: torch.Tensor, epoch: int | None = None) -> torch.Tensor:
        """Picture numbers (B,) -> (B, ...); `epoch` is None for validation, which augments nothing."""

    def captions(self, numbers_B: torch.Tensor) -> torch.Tensor:
        """Caption numbers (B,) -> (B, ...)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource:
    """Pictures from their files, as the model wants them (B, C, H, W), and captions as token ids (B, L).

    With `crop` below 1 each picture of training is cropped to a random share of its area, from `crop` to 1,
    in its own proportions; the crop depends on seed, epoch and picture alone.
    """

    table: PairTable
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]
    workers: int = 4
    crop: float = 1.0
    seed: int = 0

    def pictures(self, numbers_B: torch.Tensor, epoch: int | None = None) -> torch.Tensor:
        """Picture numbers (B,) -> pixels (B, C, H, W); each picture is decoded once a call."""
        unique, back_B = torch.unique(numbers_B, return_inverse=True)
        with ThreadPoolExecutor(self.workers) as pool:
            pixels = list(pool.map(lambda number: self._picture(number, epoch), unique.tolist()))
        return torch.stack(pixels)[back_B]

    def captions(self, numbers_B: torch.Tensor) -> torch.Tensor:
        """Caption numbers (B,) -> token ids (B, L)."""
        return self.tokenize([self.table.captions[number] for number in numbers_B.tolist()])

    def _picture(self, number: int, epoch: int | None) -> torch.Tensor:
        image = load_photo(self.table.pictures[number]).image
        if epoch is not None and self.crop < 1:
            rng = np.random.default_rng([self.seed, epoch, number, 2])
            image = random_crop(image, self.crop, rng)
        return self.preprocess(image)


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorSource:
    """Vectors computed beforehand: pictures (P, E) and captions (T, E)."""

    image_PE: torch.Tensor
    text_TE: torch.Tensor

    def pictures(self, numbers_B: torch.Tensor, epoch: int | None = None) -> torch.Tensor:
        """Picture numbers (B,) -> vectors (B, E)."""
        return self.image_PE[numbers_B]

    def captions(self, numbers_B: torch.Tensor) -> torch.Tensor:
        """Caption numbers (B,) -> vectors (B, E)."""
        return self.text_TE[numbers_B]


def random_crop(image: Image.Image, least: float, rng: np.random.Generator) -> Image.Image:
    """A random part of a picture, of `least` to all of its area, in its own proportions."""
    side = float(np.sqrt(rng.uniform(least, 1)))
    width, height = max(1, round(image.width * side)), max(1, round(image.height * side))
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def sort_out_unreadable(
    pairs: Sequence[Pair], *, skip: bool, workers: int, progress: Progress
) -> tuple[list[Pair], list[tuple[Path, str]]]:
    """Decode every picture once, at low resolution: pairs that can be used, and (picture, why) of the others.

    Raises:
        BadFileError: some cannot be read and `skip` is false, or none can.
    """
    pictures = list(dict.fromkeys(pair.image for pair in pairs))
    bad: list[tuple[Path, str]] = []
    with ThreadPoolExecutor(workers) as pool:
        for number, (path, why) in enumerate(zip(pictures, pool.map(_why_not, pictures), strict=True)):
            progress("Checking pictures", number + 1, len(pictures))
            if why is not None:
                bad.append((path, why))
    if bad and (not skip or len(bad) == len(pictures)):
        named = "; ".join(f"{path} ({why})" for path, why in bad[:SHOWN])
        raise BadFileError(
            "pictures",
            must_be="readable",
            got=f"{len(bad):,} of {len(pictures):,} that are not: {named}",
            do="take them out of the pairs, or leave them out with --skip-bad",
        )
    dropped = {path for path, _ in bad}
    return [pair for pair in pairs if pair.image not in dropped], bad


def _why_not(path: Path) -> str | None:
    try:
        load_photo(path, jpeg_at_least=2 * CHECK_SIZE)
    except BadFileError as error:
        return str(error.got)
    return None
