"""A model small enough for unit tests: it sees and understands colours, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from vision.backbones.preprocess import Preprocess

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
}


class ColourEmbedder:
    """Mean colour -> unit vector (3,), a dark grey being added so that black has a direction too."""

    output_dim = 3
    preprocess = Preprocess(  # to 0..255
        size=(8, 8),
        resize_to=(8, 8),
        resize_mode="squash",
        interpolation="bilinear",
        mean=(0,) * 3,
        std=(1 / 255,) * 3,
    )

    def __init__(self, name: str = "fake:colours", fingerprint: str = "fake-1", has_text: bool = True):
        self.name, self.fingerprint, self.has_text = name, fingerprint, has_text
        self.pictures_seen = 0

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        self.pictures_seen += len(pixels_BCHW)
        return F.normalize(pixels_BCHW.mean(dim=(2, 3)) + 1, dim=-1)

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        rgb = [next(rgb for word, rgb in COLOURS.items() if word in sentence) for sentence in sentences]
        return F.normalize(torch.tensor(rgb).float() + 1, dim=-1)


@pytest.fixture
def colours() -> ColourEmbedder:
    return ColourEmbedder()


@pytest.fixture
def other_model() -> ColourEmbedder:
    return ColourEmbedder(name="fake:others", fingerprint="fake-2")


@pytest.fixture
def no_text() -> ColourEmbedder:
    return ColourEmbedder(has_text=False)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of one picture per colour, two of them in a folder below."""
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    for number, (name, rgb) in enumerate(COLOURS.items()):
        place = folder / "below" if number >= 3 else folder
        Image.new("RGB", (20 + number, 10), rgb).save(place / f"{name}.png")
    return folder
