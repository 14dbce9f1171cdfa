"""`neuro scaling` over masked pretrainings of a small cohort: what a cell trains, and the whole command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.cli import app
from neuro.model import ModelConfig
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.pools import held_out_people, open_pool
from neuro.scaling.grid import Cell, Size
from neuro.scaling.masked_cells import MaskedCells
from neuro.tokens import TubeletSpec
from neuro.training.config import TrainingConfig

CELL = Cell(size=Size(width=32, depth=1), share=0.5, passes=2, seed=4)


@pytest.fixture(scope="module")
def cells(cache: Cache) -> MaskedCells:
    pool = open_pool(cache.root, TubeletSpec(patch_mm=32, frames=10), device="cpu")
    training = TrainingConfig(batch_size=4)
    return MaskedCells(
        pool=pool,
        model=ModelConfig(),
        config=PretrainConfig(training=training, held_out=0.25, seed=1, device="cpu"),
    )


def test_a_cell_trains_its_share_of_those_who_are_not_held_out(cells: MaskedCells) -> None:
    held = held_out_people([cells.pool], 0.25, seed=1)
    half, whole = (cells._lesson(replace(CELL, share=share)) for share in (0.5, 1.0))
    for lesson in (half, whole):
        assert not {str(p) for p in lesson.train[0].people} & held
        assert {str(p) for p in lesson.held[0].people} == held
    assert set(half.train[0].people) < set(whole.train[0].people)
    assert len(set(half.train[0].people)) == math.ceil(len(set(whole.train[0].people)) / 2)
    assert half.config.training.epochs == 2


def test_a_cell_is_counted_in_clips_and_flop(cells: MaskedCells) -> None:
    small, more = cells(CELL), cells(replace(CELL, passes=4))
    people = 9  # of 12, three are held out
    assert small.seen == math.ceil(people / 2) * 2
    assert more.seen == 2 * small.seen
    assert more.compute == pytest.approx(2 * small.compute)
    assert small.params == more.params == 12 * 32**2 + 13 * 32 + 2 * 32
    assert 0 < more.loss < 10
    assert cells(CELL) == small


def test_passes_are_no_part_of_the_setting_but_the_cohort_and_masks_are(cells: MaskedCells) -> None:
    other = replace(cells, config=replace(cells.config, training=replace(cells.config.training, epochs=99)))
    assert other.setting == cells.setting
    fewer = replace(cells, config=replace(cells.config, held_out=0.1))
    assert fewer.setting != cells.setting
    json.dumps(cells.setting)


@pytest.mark.slow
def test_the_command_writes_a_study_and_goes_on_with_it(cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "study"
    options = ["scaling", str(cache.root), "--out", str(out), "--device", "cpu", "--passes", "1"]
    options += ["--sizes", "32x1,64x1,96x1", "--shares", "0.25,0.5,1", "--repeats", "1"]
    options += ["--set", "tokens.patch_mm=32", "--set", "tokens.frames=10"]
    first = CliRunner().invoke(app, options)
    assert first.exit_code == 0, first.output
    assert "# Scaling" in first.output
    assert {"runs.csv", "law.json", "scaling.md", "scaling.png", "scaling.svg"} <= {
        path.name for path in out.iterdir()
    }
    runs = (out / "runs.csv").read_text()
    assert len(runs.splitlines()) == 10
    again = CliRunner().invoke(app, options)
    assert again.exit_code == 0
    assert (out / "runs.csv").read_text() == runs
    other = CliRunner().invoke(app, [*options, "--mask-ratio", "0.5"])
    assert other.exit_code != 0
    assert "another" in str(other.exception) or "must be" in str(other.exception)


@pytest.mark.parametrize(("option", "value"), [("--sizes", "64"), ("--shares", "a,b,c")])
def test_odd_sizes_and_shares_are_refused(cache: Cache, tmp_path: Path, option: str, value: str) -> None:
    words = ["scaling", str(cache.root), "--out", str(tmp_path / "x"), option, value]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, ParameterError)
    assert option in str(found.exception)
    assert not (tmp_path / "x").exists()
