"""`vision classify`: on files, and on an index from the vectors that it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch.nn import functional as F
from typer.testing import CliRunner

from data.errors import ParameterError
from vision.commands.classify import classify
from vision.retrieval.classify import NoneRule, classify_store, classify_vectors
from vision.retrieval.picture import Picture, Place
from vision.retrieval.zero_shot import build_classifier
from vision.store.vector_store import Row

NAMES = ("red", "green", "blue", "yellow", "white")


class FakeStore:
    """Five rows in two pages."""

    def __init__(self, rows: dict[str, tuple[Path, np.ndarray]]):
        self.rows = rows

    def scan_vectors(self, page: int = 3) -> Iterator[tuple[list[str], np.ndarray]]:
        ids = sorted(self.rows)
        for at in range(0, len(ids), page):
            yield ids[at : at + page], np.stack([self.rows[id][1] for id in ids[at : at + page]])

    def get(self, ids: Sequence[str]) -> list[Row]:
        return [Row(id=id, payload=picture(self.rows[id][0]).to_payload()) for id in reversed(ids)]


def picture(path: Path) -> Picture:
    place = Place(path=path, mtime_ns=1)
    return Picture(content="ab" * 32, size=1, width=1, height=1, format="PNG", places=(place,))


@pytest.fixture
def stored(colours: Any) -> FakeStore:
    """A picture of each colour, its vector that of the word."""
    vectors = colours.encode_text(NAMES).numpy()
    return FakeStore(
        {f"id-{name}": (Path(f"/album/{name}.png"), v) for name, v in zip(NAMES, vectors, strict=True)}
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, colours: Any, stored: FakeStore) -> Any:
    written: dict[str, Any] = {}

    class FakeIndex:
        model, store = SimpleNamespace(name="fake:colours"), stored

        def __enter__(self) -> FakeIndex:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def encode_texts(self, sentences: Sequence[str]) -> np.ndarray:
            return colours.encode_text(sentences).numpy()

        def set_columns(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
            written.update(rows)

    monkeypatch.setattr("vision.retrieval.ImageIndex", SimpleNamespace(open=lambda store: FakeIndex()))
    monkeypatch.setattr("vision.backbones.load_backbone", lambda name: colours)
    app = typer.Typer()
    app.command()(classify)

    def run(*arguments: object) -> Any:
        written.clear()
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        return SimpleNamespace(
            result=result, out=result.stdout, error=str(result.exception), written=dict(written)
        )

    return run


# --- verdicts ---


def test_none_below_takes_the_label_away_and_keeps_the_probability(colours: Any) -> None:
    classifier = build_classifier(
        lambda texts: colours.encode_text(texts).numpy(), ["red", "blue"], ["{}"], scale=2.0
    )
    vectors = F.normalize(torch.tensor([[1.0, 0, 0], [1, 0, 0.9]]), dim=1).numpy()
    pictures = [(Path("a"), None), (Path("b"), None)]
    plain = classify_vectors(classifier, vectors, pictures, NoneRule())
    assert [verdict.label for verdict in plain] == ["red", "red"]
    assert sum(plain[0].probabilities.values()) == pytest.approx(1)
    strict = classify_vectors(classifier, vectors, pictures, NoneRule(below=0.7))
    assert [verdict.label for verdict in strict] == ["red", None]
    assert strict[1].probability == plain[1].probability < 0.7


def test_a_label_has_to_stand_out_from_others() -> None:
    rng = np.random.default_rng(0)
    labels, background, others = (rng.normal(size=(n, 64)).astype(np.float32) for n in (3, 200, 20))
    labels, background, others = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (labels, background, others)
    )
    rows = iter(labels)
    classifier = build_classifier(
        lambda texts: np.stack([next(rows) for _ in texts]), ["a", "b", "c"], ["{}"]
    )
    rule = NoneRule(background_GE=background)
    verdicts = classify_vectors(classifier, np.r_[labels, others], [(Path("x"), None)] * 23, rule)
    assert [verdict.label for verdict in verdicts[:3]] == ["a", "b", "c"]
    assert sum(verdict.label is None for verdict in verdicts[3:]) >= 18
    assert all(verdict.to_dict()["fits"] > 0.5 for verdict in verdicts[:3])


def test_store_is_read_in_pages_and_only_what_is_wanted(colours: Any, stored: FakeStore) -> None:
    classifier = build_classifier(lambda texts: colours.encode_text(texts).numpy(), NAMES, ["{}"])
    everything = list(classify_store(classifier, stored, NoneRule()))  # type: ignore[arg-type]
    assert {verdict.path.stem: verdict.label for verdict in everything} == dict(
        zip(NAMES, NAMES, strict=True)
    )
    wanted = {Path("/album/red.png"), Path("/elsewhere/red.png")}
    (one,) = classify_store(classifier, stored, NoneRule(), wanted)  # type: ignore[arg-type]
    assert (one.id, one.path, one.label) == ("id-red", Path("/album/red.png"), "red")


@pytest.mark.parametrize("below", [-0.1, 1.1])
def test_threshold_is_a_probability(below: float) -> None:
    with pytest.raises(ParameterError, match="--none-below must be a probability"):
        NoneRule(below=below)


# --- the command ---


def test_files_and_folders(command: Any, album: Path) -> None:
    (album / "broken.jpg").write_bytes(b"no picture")
    done = command(album, album / "red.png", album / "gone.png", "--labels", "red,green,blue,yellow,white")
    assert done.result.exit_code == 0, done.error
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert {Path(row[2]).stem: row[0] for row in rows} == dict(zip(NAMES, NAMES, strict=True))
    assert len(rows) == 5  # red.png is named twice
    assert "broken.jpg: no picture" in done.result.stderr
    assert "gone.png: No such file" in done.result.stderr


def test_store_without_images_and_columns(command: Any, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("red\nblue\n# not this\nwhite\n")
    options = ("--column", "colour", "--none-below", "0.8", "--temperature", "20")
    done = command("--store", "s", "--labels-file", labels, *options)
    assert done.result.exit_code == 0, done.error
    assert done.written["id-red"] == {"colour": "red", "colour_probability": pytest.approx(0.884, abs=0.001)}
    assert done.written["id-yellow"]["colour"] is None
    assert len(done.written) == 5
    assert "wrote colour and colour_probability of 5 pictures" in done.result.stderr
    assert "of 5 are none of these" in done.result.stderr


def test_store_with_images_takes_those_only(command: Any) -> None:
    done = command("/album/blue.png", "/album/new.png", "--store", "s", "--labels", "red,blue", "--json")
    assert done.result.exit_code == 0, done.error
    (one,) = json.loads(done.out)
    assert (one["path"], one["label"]) == ("/album/blue.png", "blue")
    assert set(one["probabilities"]) == {"red", "blue"}
    assert "/album/new.png: not in the index" in done.result.stderr


def test_a_higher_temperature_is_less_sure(command: Any, album: Path) -> None:
    def sure(temperature: float) -> float:
        arguments = ("--labels", "red,blue", "--temperature", temperature, "--json")
        return float(json.loads(command(album / "below" / "yellow.png", *arguments).out)[0]["probability"])

    assert 0.5 < sure(1000.0) < sure(100.0) < sure(10.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "a,b"], "pictures must be files, folders, or a --store"),
        (["x.png"], "labels must be given by --labels A,B,C or --labels-file, got neither"),
        (["x.png", "--labels", "red"], "labels must be at least two"),
        (["x.png", "--labels", "red,blue", "--column", "c"], "--column must be used with --store"),
        (["--store", "s", "--labels", "red,blue", "--column", "a b"], "--column must be letters"),
        (["--store", "s", "--labels", "red,blue", "--model", "m"], "--model must be without --store"),
        (["x.png", "--labels", "red,blue", "--none-below", "2"], "--none-below must be a probability"),
        (["x.png", "--labels", "red,blue", "--templates", "nowhere"], "templates must be"),
        (["x.png", "--labels", "red,blue", "--temperature", "0"], "temperature must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(command: Any, arguments: list[str], message: str) -> None:
    assert message in command(*arguments).error
