"""The real photographs that benchmarks read: where they lie, and what is on them."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def add_photos_option(parser: argparse.ArgumentParser) -> None:
    """`--photos DIR`: by default photos/ of $CHIASM_SHARED, or of ../shared/data."""
    shared = Path(os.environ.get("CHIASM_SHARED", DEFAULT))
    parser.add_argument("--photos", type=Path, default=shared / "photos", help="folder of photographs")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A photograph and the readable name of what is on it."""

    path: Path
    name: str

    @property
    def text(self) -> str:
        """How it is asked for."""
        return f"a photo of a {self.name}"


def subjects(folder: Path) -> list[Subject]:
    """The photographs of a folder whose names begin with an ImageNet synset, by name."""
    from timm.data import ImageNetInfo

    from vision.backbones.open_clip_data import imagenet_class_names

    synsets = ImageNetInfo("imagenet-1k").label_names()
    names = imagenet_class_names()
    return [
        Subject(path=path, name=names[synsets.index(path.name.partition("_")[0])])
        for path in sorted(folder.iterdir())
    ]
