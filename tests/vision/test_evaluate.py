"""Models side by side on pictures with captions, and on a folder of classes; the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from data.captions import read_pairs
from data.errors import BadFileError, ParameterError
from vision.commands.evaluate import evaluate
from vision.retrieval.evaluate import evaluate_classes, evaluate_pairs, read_classes


class Blind:
    """Sees nothing: one vector for every picture."""

    def __init__(self, colours: Any):
        self.name, self.fingerprint, self.has_text, self.output_dim = "fake:blind", "blind", True, 3
        self.preprocess, self.encode_text = colours.preprocess, colours.encode_text

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.full((len(pixels_BCHW), 3), 3**-0.5)


class FarSighted(Blind):
    """Knows colours, but cannot take one picture."""

    def __init__(self, colours: Any):
        super().__init__(colours)
        self.colours = colours

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        vectors = self.colours.encode_image(pixels_BCHW)
        vectors[pixels_BCHW.mean(dim=(1, 2, 3)) > 250] = torch.nan  # white
        return vectors


@pytest.fixture
def load(colours: Any, no_text: Any) -> Any:
    models = {
        "colours": colours,
        "blind": Blind(colours),
        "far": FarSighted(colours),
        "mute": no_text,
    }
    return models.__getitem__


@pytest.fixture
def pairs(album: Path) -> Path:
    """Two captions for each of five colours."""
    lines = ["image,caption"]
    for name in ("red", "green", "blue"):
        lines += [f"{name}.png,a {name} thing", f"{name}.png,something {name}"]
    for name in ("yellow", "white"):
        lines += [f"below/{name}.png,a {name} thing", f"below/{name}.png,something {name}"]
    table = album / "pairs.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    folder = tmp_path / "classes"
    for name, rgb in {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}.items():
        (folder / f"{name}_thing").mkdir(parents=True)
        for shade in range(4):
            tinted = tuple(min(255, value + 10 * shade) for value in rgb)
            Image.new("RGB", (12, 12), tinted).save(folder / f"{name}_thing" / f"{shade}.png")
    (folder / "empty").mkdir()
    return folder


def test_retrieval_of_a_model_that_sees_and_of_one_that_does_not(pairs: Path, load: Any) -> None:
    found = evaluate_pairs(["colours", "blind"], read_pairs(pairs), load)
    assert found.title == "Retrieval: 5 pictures, 10 captions"
    sees, blind = (one.figures for one in found.models)
    assert sees["text to picture R@1"].estimate == 1
    assert sees["picture to text mAP"].estimate == 1
    assert blind["text to picture R@1"].estimate == 0
    assert blind["text to picture median rank"].estimate == 5
    assert not found.failed


def test_what_one_model_cannot_read_counts_for_none(pairs: Path, load: Any, album: Path) -> None:
    (album / "red.png").write_bytes(b"no picture")
    found = evaluate_pairs(["colours", "far"], read_pairs(pairs), load)
    assert found.title == "Retrieval: 3 pictures, 6 captions"
    reasons = {failure.path.name: failure.reason for failure in found.failed}
    assert set(reasons) == {"red.png", "white.png"}
    assert reasons["white.png"] == "a picture that the model cannot embed"
    assert all(one.figures["text to picture R@1"].estimate == 1 for one in found.models)
    assert "white.png" in found.to_markdown()


def test_nothing_readable_is_an_error(pairs: Path, load: Any, album: Path) -> None:
    for path in album.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(BadFileError, match="none of 5"):
        evaluate_pairs(["colours"], read_pairs(pairs), load)


def test_a_model_without_words_is_refused(pairs: Path, load: Any) -> None:
    with pytest.raises(ParameterError, match="one with a text half"):
        evaluate_pairs(["mute"], read_pairs(pairs), load)


def test_accuracy_on_classes(classes: Path, load: Any) -> None:
    found = evaluate_classes(["colours", "blind"], classes, load, templates=["a photo of a {}"])
    assert found.title == "Zero-shot classification: 12 pictures, 3 classes"
    sees, blind = found.models
    assert sees.figures["top-1"].estimate == 1
    assert sees.figures["per class"].estimate == 1
    assert blind.figures["top-1"].estimate == 0  # three labels at one score: a tie is no answer
    assert sees.plain["temperature"] < 100
    assert 0 <= sees.plain["ECE, fitted temperature"] <= 1


def test_classes_are_folders_with_pictures(classes: Path, tmp_path: Path) -> None:
    names, paths, true_N = read_classes(classes)
    assert names == ["blue thing", "green thing", "red thing"]
    assert [path.parent.name for path in paths] == [names[at].replace(" ", "_") for at in true_N]
    with pytest.raises(BadFileError, match="got 0 of them"):
        read_classes(tmp_path / "nowhere")


# --- the command ---


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, load: Any) -> Any:
    monkeypatch.setattr("vision.backbones.load_backbone", load)
    app = typer.Typer()
    app.command()(evaluate)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_command_prints_and_writes_one_table(command: Any, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "here"
    result = command(pairs, "--model", "colours", "--model", "blind", "--out", out)
    assert result.exit_code == 0, result.output
    assert "text to picture R@1" in result.stdout
    assert "1.000 [1.000, 1.000]" in result.stdout
    table = (out / "evaluation.md").read_text()
    assert "|  | colours | blind |" in table
    written = json.loads((out / "evaluation.json").read_text())
    assert written == json.loads(command(pairs, "--model", "colours", "--model", "blind", "--json").stdout)
    assert [one["model"] for one in written["models"]] == ["colours", "blind"]
    assert np.isfinite(written["models"][1]["figures"]["picture to text R@5"]["low"])


def test_command_on_classes_gives_calibration(command: Any, classes: Path) -> None:
    result = command("--classes", classes, "--model", "colours")
    assert result.exit_code == 0, result.output
    for name in ("top-1", "top-5", "per class", "ECE", "temperature"):
        assert name in result.stdout


def test_command_wants_one_of_two_things(command: Any, pairs: Path, classes: Path) -> None:
    assert "got neither" in str(command().exception)
    assert "got both" in str(command(pairs, "--classes", classes).exception)
    assert "a folder, got" in str(command(pairs, "--out", pairs).exception)
