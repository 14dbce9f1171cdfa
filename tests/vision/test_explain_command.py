"""`vision explain`: what it prints and writes, and how it ends; a tiny CLIP stands in for every model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.vision.test_backbone_open_clip import VISION, build
from vision.backbones import load_backbone
from vision.explain import explain

Vision = Callable[..., Any]  # `run_vision` of conftest.py


@pytest.fixture(scope="module")
def clip() -> Any:
    return build(VISION)


@pytest.fixture
def vision(run_vision: Vision, monkeypatch: pytest.MonkeyPatch, clip: Any) -> Vision:
    """Run `vision` in this process, with the tiny CLIP under every name that is no `scratch:`."""

    def load(name: str, **options: Any) -> Any:
        return load_backbone(name, **options) if name.startswith("scratch:") else clip

    monkeypatch.setattr("vision.backbones.load_backbone", load)
    monkeypatch.delenv("CHIASM_STORE", raising=False)
    return run_vision


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    place = tmp_path / "a photo.png"
    Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(place)
    return place


@pytest.mark.parametrize(("ending", "format"), [(".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP")])
def test_it_writes_the_heat_and_says_where_it_is(
    vision: Vision, photo: Path, tmp_path: Path, ending: str, format: str
) -> None:
    place = tmp_path / "new" / f"heat{ending}"
    found = vision("explain", photo, "a photo of a cat", "-o", place)
    assert found.code == 0, found.err
    where = r"strongest \d+% from the left, \d+% from the top"
    assert re.fullmatch(rf"score -?0\.\d{{3}}, attention-attribution: {where}; {place}\n", found.out)
    with Image.open(place) as image:
        assert (image.format, image.size) == (format, (64, 40))
    assert list(place.parent.iterdir()) == [place]


def test_json_is_what_the_function_gives(vision: Vision, photo: Path, clip: Any) -> None:
    text = "a photo of a cat"
    printed = json.loads(vision("explain", photo, text, "--json", "--method", "grad-eclip").out)
    target_E = clip.encode_text([text])[0].numpy()
    expected = explain(clip, np.asarray(Image.open(photo)), target_E, method="grad-eclip")
    assert list(printed) == ["score", "method", "box", "strongest", "map"]
    assert printed["method"] == "grad-eclip"
    assert printed["score"] == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(printed["map"], expected.map_RC, atol=1e-3)
    np.testing.assert_allclose(printed["box"], expected.box, atol=1e-5)


def test_a_store_says_which_model_and_how_to_decode(
    vision: Vision, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Any
) -> None:
    (tmp_path / "album").mkdir()
    photo.rename(tmp_path / "album/photo.png")
    assert vision("index", tmp_path / "album", "--store", tmp_path / "s", "--model", "clip:x/y").code == 0
    asked: list[str] = []
    monkeypatch.setattr("vision.backbones.load_backbone", lambda name: asked.append(name) or clip)
    found = vision("explain", tmp_path / "album/photo.png", "a cat", "--store", tmp_path / "s")
    assert (found.code, asked) == (0, [clip.name]), found.err
    with torch.no_grad():
        other = build(VISION)
        next(other.parameters()).add_(1)
    monkeypatch.setattr("vision.backbones.load_backbone", lambda name: other)
    changed = vision("explain", tmp_path / "album/photo.png", "a cat", "--store", tmp_path / "s")
    assert changed.code == 2
    assert "model must be the one that made the index" in changed.err


def test_bad_input_is_one_line_and_exit_code_2(vision: Vision, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "file").touch()
    tiny = "scratch:vit_tiny_patch16_224/depth=1,embed_dim=32,num_heads=2,img_size=32"
    cases: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "no.png", "a cat"), "no.png: picture must be a readable picture"),
        ((tmp_path / "broken.jpg", "a cat"), "broken.jpg: picture must be a readable picture"),
        ((photo, " "), "text must be some words, got an empty text."),
        (
            (photo, "a cat", "--method", "lime"),
            "of attention-attribution, grad-eclip, attention-gradient, patch",
        ),
        ((photo, "a cat", "-o", tmp_path / "heat.txt"), "--output must be a .jpg, .jpeg, .png, .webp file"),
        ((photo, "a cat", "-o", tmp_path / "file/heat.png"), "heat.png: heat map must be writable"),
        ((photo, "a cat", "--model", tiny), "model must be one with a text half"),
        ((photo, "a cat", "--store", tmp_path / "none"), "must be a folder with an index"),
        ((photo, "a cat", "--store", "s", "--model", "clip:x"), "--model must be without --store"),
    ]
    for arguments, message in cases:
        outcome = vision("explain", *arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        *_, last = outcome.err.strip().splitlines()
        assert last.startswith("error: "), arguments
        assert message in last
    assert not (tmp_path / "heat.txt").exists()
    assert vision("explain", photo).code == 2


def test_nothing_is_left_where_writing_fails(
    vision: Vision, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "out" / "heat.png"
    place.parent.mkdir()
    place.write_bytes(b"the old one")

    def broken(self: Image.Image, path: Path, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    failed = vision("explain", photo, "a cat", "-o", place)
    assert failed.code == 2
    assert "heat.png: heat map must be writable, got No space left on device." in failed.err
    assert place.read_bytes() == b"the old one"
    assert list(place.parent.iterdir()) == [place]
