"""A model small enough for unit tests, which understands colours and nothing else; the command; a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

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


# The command in this process


@pytest.fixture
def run_vision(run_command: Callable[..., Any]) -> Callable[..., Any]:
    """Run `vision` with these arguments."""
    from vision.cli import main

    return partial(run_command, main, "vision")


# A server in this process


@pytest.fixture
def colour_index(tmp_path: Path, album: Path, colours: ColourEmbedder) -> Iterator[Any]:
    """The index of the album."""
    from vision.retrieval import ImageIndex

    with ImageIndex.create(tmp_path / "store", colours) as index:
        index.add_folder([album])
        yield index


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Serve an index; gives a client. Its rate has no limit, unless one is given like other limits."""
    from starlette.testclient import TestClient

    from vision.server.app import create_app
    from vision.server.options import Limits, ServerOptions

    monkeypatch.setenv("CHIASM_CACHE", str(tmp_path / "cache"))
    with ExitStack() as running:

        def start(index: Any, *, token: str | None = None, names: Sequence[str] = (), **limits: Any) -> Any:
            bounds = Limits(**{"rate": 0, **limits})
            app = create_app(
                index, ServerOptions(token=token, names=tuple(names), limits=bounds), warm_up=False
            )
            return running.enter_context(TestClient(app, "http://127.0.0.1:8765", follow_redirects=False))

        yield start


@pytest.fixture
def client(serve: Callable[..., Any], colour_index: Any) -> Any:
    """A client of a server of the album."""
    return serve(colour_index)
