"""A study from its plan to its account: broken off and resumed, refused where it does not belong."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from neuro.scaling.analysis import analyse
from neuro.scaling.figure import save_figure, scaling_figure
from neuro.scaling.finished import Finished
from neuro.scaling.grid import Cell, ScalingPlan, Size
from neuro.scaling.run import scale
from neuro.scaling.run_table import COLUMNS

from .scaling_studies import study, trained

PLAN = ScalingPlan(
    sizes=tuple(Size(width=width, depth=2) for width in (32, 64, 128, 256)),
    shares=(0.25, 0.5, 1.0),
    seeds=(0, 1),
)
RESAMPLES = 20


class Trainer:
    """Counts what it trained, and stops at a cell as a killed process does."""

    def __init__(self, stop_at: int = -1):
        self.done: list[str] = []
        self.stop_at = stop_at

    def __call__(self, cell: Cell) -> Finished:
        if len(self.done) == self.stop_at:
            raise KeyboardInterrupt
        self.done.append(cell.name)
        return trained(cell)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scaling") / "study"
    scale(PLAN, trained, out, setting={"cache": "6p"}, resamples=RESAMPLES)
    return out


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuro.scaling.run.save_figure", lambda analysis, out: None)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "runs.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_study_leaves_runs_laws_a_picture_and_words(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "plan.json", "runs.csv", "law.json", "scaling.md", "scaling.png", "scaling.svg"
    }  # fmt: skip
    table = rows(finished)
    assert tuple(table[0]) == COLUMNS
    assert [row["cell"] for row in table] == [cell.name for cell in PLAN.cells()]
    for cell, row in zip(PLAN.cells(), table, strict=True):
        assert float(row["loss"]) == trained(cell).loss  # to the last digit
    law = json.loads((finished / "law.json").read_text(encoding="utf-8"))
    assert law["runs"] == len(PLAN.cells())
    assert set(law["intervals"]) == {"residuals", "seeds", "cells"}
    assert law["extrapolation"]["compute"] == pytest.approx(10 * max(float(row["compute"]) for row in table))
    for method in law["intervals"].values():
        for found in method.values():
            assert found["low"] <= found["high"]
    words = (finished / "scaling.md").read_text(encoding="utf-8")
    assert "24 of 24 runs" in words
    assert f"| {law['law']['alpha']:.4g} |" in words
    for section in ("Law of loss", "Exponents", "Held-out check", "Runs"):
        assert f"## {section}" in words


def test_a_study_broken_off_goes_on_where_it_stopped(finished: Path, tmp_path: Path) -> None:
    out, first, second = tmp_path / "study", Trainer(stop_at=7), Trainer()
    with pytest.raises(KeyboardInterrupt):
        scale(PLAN, first, out, setting={"cache": "6p"}, resamples=RESAMPLES)
    assert len(rows(out)) == 7
    assert not list(out.glob(".*"))
    scale(PLAN, second, out, setting={"cache": "6p"}, resamples=RESAMPLES)
    assert first.done + second.done == [cell.name for cell in PLAN.cells()]
    for name in ("runs.csv", "law.json", "scaling.md", "scaling.svg"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.usefixtures("no_picture")
def test_a_finished_study_trains_nothing_and_reaches_as_far_as_now_asked(finished: Path) -> None:
    trainer = Trainer()
    far = scale(
        dataclasses.replace(PLAN, reach=100), trainer, finished, setting={"cache": "6p"}, resamples=RESAMPLES
    )
    assert trainer.done == []
    assert far.extrapolation.compute == pytest.approx(100 * max(run.compute for run in far.runs))
    scale(PLAN, trainer, finished, setting={"cache": "6p"}, resamples=RESAMPLES)


@pytest.mark.usefixtures("no_picture")
def test_who_watches_is_told_what_comes_next(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    scale(
        PLAN,
        trained,
        tmp_path / "study",
        on_cell=lambda cell, done, whole: seen.append((cell.name, done, whole)),
        resamples=RESAMPLES,
    )
    assert seen == [(cell.name, i, 24) for i, cell in enumerate(PLAN.cells())]


@pytest.mark.parametrize(
    ("plan", "setting", "words"),
    [
        (dataclasses.replace(PLAN, passes=3), {"cache": "6p"}, "identity"),
        (PLAN, {"cache": "36p"}, "setting"),
        (PLAN, {}, "setting"),
    ],
)
def test_a_folder_of_another_study_is_refused(
    finished: Path, plan: ScalingPlan, setting: dict[str, str], words: str
) -> None:
    before = (finished / "runs.csv").read_bytes()
    with pytest.raises(FingerprintMismatchError, match=words):
        scale(plan, Trainer(stop_at=0), finished, setting=setting)
    assert (finished / "runs.csv").read_bytes() == before


def test_a_folder_of_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ParameterError, match="new or empty"):
        scale(PLAN, Trainer(stop_at=0), tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("runs.csv", "cell,loss\nw32-d2-s0.25-r0,0.5\n", "finished runs"),
        ("runs.csv", ",".join(COLUMNS) + "\nw999-d2-s1-r0,999,2,1,20,0,1,1,1,0.5\n", "w999"),
        ("runs.csv", ",".join(COLUMNS) + "\nw32-d2-s0.25-r0,32,2,0.25,20,0,10,1,1,-1\n", "loss"),
        ("plan.json", "{", "plan"),
        ("plan.json", "[]", "plan"),
        ("plan.json", "{}", "plan"),
    ],
)
def test_damaged_files_are_refused(finished: Path, tmp_path: Path, name: str, text: str, words: str) -> None:
    for kept in ("plan.json", "runs.csv"):
        (tmp_path / kept).write_bytes((finished / kept).read_bytes())
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadFileError, match=words):
        scale(PLAN, Trainer(stop_at=0), tmp_path, setting={"cache": "6p"})


@pytest.mark.usefixtures("no_picture")
def test_budget_ends_training_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    runs = [trained(cell) for cell in PLAN.cells()]
    affordable = sum(run.compute for run in runs[:20]) * 0.999
    first, second = Trainer(), Trainer()
    scale(dataclasses.replace(PLAN, budget=affordable), first, tmp_path / "s", resamples=RESAMPLES)
    assert len(first.done) == 20
    words = (tmp_path / "s" / "scaling.md").read_text(encoding="utf-8")
    assert "20 of 24 runs" in words
    assert "budget" in words
    scale(PLAN, second, tmp_path / "s", resamples=RESAMPLES)
    assert len(second.done) == 4


def test_a_budget_too_small_for_a_law_keeps_what_it_bought(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="model sizes"):
        scale(dataclasses.replace(PLAN, budget=1.0), trained, tmp_path / "s")
    assert len(rows(tmp_path / "s")) == 1


@pytest.mark.usefixtures("no_picture")
def test_diverged_runs_are_kept_told_and_not_trained_again(tmp_path: Path) -> None:
    lost = PLAN.cells()[3]

    def train(cell: Cell) -> Finished:
        run = trained(cell)
        return dataclasses.replace(run, loss=math.nan) if cell == lost else run

    found = scale(PLAN, train, tmp_path / "s", resamples=RESAMPLES)
    assert any(run.diverged for run in found.runs)
    assert f"not fitted: {lost.name}." in (tmp_path / "s" / "scaling.md").read_text(encoding="utf-8")
    again = Trainer()
    scale(PLAN, again, tmp_path / "s", resamples=RESAMPLES)
    assert again.done == []


@pytest.mark.usefixtures("no_picture")
def test_numbers_of_numpy_are_kept_as_numbers(tmp_path: Path) -> None:
    def train(cell: Cell) -> Finished:
        run = trained(cell)
        return dataclasses.replace(run, loss=np.float64(run.loss), seen=np.float32(run.seen))

    for _ in range(2):
        scale(PLAN, train, tmp_path / "s", resamples=RESAMPLES)
    assert "np." not in (tmp_path / "s" / "runs.csv").read_text(encoding="utf-8")


def test_a_run_of_another_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed 0"):
        scale(PLAN, lambda cell: dataclasses.replace(trained(cell), seed=9), tmp_path / "s")


@pytest.mark.usefixtures("no_picture")
def test_with_one_seed_the_noise_of_seeds_is_told_to_be_unknown(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, seeds=(4,))
    found = scale(plan, trained, tmp_path / "s", resamples=RESAMPLES)
    assert [draws.method for draws in found.draws] == ["residuals", "cells"]
    assert "Not drawn: seeds" in (tmp_path / "s" / "scaling.md").read_text(encoding="utf-8")


def test_the_figure_shows_all_sizes_and_the_extrapolation() -> None:
    found = analyse(study(noise=0.005, seeds=2), resamples=RESAMPLES)
    loss, check = scaling_figure(found).axes
    labels = loss.get_legend_handles_labels()[1]
    assert sum("parameters" in label for label in labels) == 4
    assert loss.get_xlim()[1] > found.extrapolation.compute
    assert loss.get_ylim()[0] < found.extrapolation.loss.estimate
    words = [text.get_text() for text in loss.texts]
    assert any(f"{found.extrapolation.loss.estimate:.3g}" in text for text in words)
    assert len(check.get_yticks()) == len(found.held_out)


def test_the_same_study_gives_the_same_picture(tmp_path: Path) -> None:
    found = analyse(study(noise=0.005), resamples=RESAMPLES)
    pictures = []
    for _ in range(2):
        save_figure(found, tmp_path)
        pictures.append((tmp_path / "scaling.svg").read_bytes())
    assert pictures[0] == pictures[1]
    assert b"$" not in pictures[0]  # no formula left unread
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
