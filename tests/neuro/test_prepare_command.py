"""`neuro prepare` and `neuro export`: what they take, what they refuse, what they leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.caches.cache import Cache
from neuro.cli import main

Neuro = Callable[..., Any]


@pytest.fixture
def neuro(run_command: Neuro) -> Neuro:
    """Run `neuro` in this process."""
    return partial(run_command, main, "neuro")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Parcel series of six people, cleaned by somebody else."""
    rng = np.random.default_rng(5)
    path = tmp_path / "lab.npz"
    names = np.array([f"p{i}" for i in range(6)])
    np.savez(path, ts_tiny=rng.standard_normal((6, 40, 4)), subject=names, y=np.arange(6) % 2)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_plan_shows_what_would_be_used_and_writes_nothing(
    neuro: Neuro, derivative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    before = files_below(derivative)
    said = neuro("prepare", derivative, "--confounds", "6p", "--plan")
    assert said.code == 0
    assert "Would be used, in MNI152NLin2009aSym" in said.out
    assert "sub-001_task-rest" in said.out
    assert "Would be left out" not in said.out
    assert "12 runs of 12 people from 2 sites" in said.out
    short = neuro("prepare", derivative, "--plan")  # 48 frames cannot pay for the default's confounds
    assert short.code == 0
    assert "degrees of freedom" in short.out
    assert (files_below(tmp_path), files_below(derivative)) == ([], before)


def test_options_of_the_recipe_reach_the_cache(neuro: Neuro, derivative: Path, tmp_path: Path) -> None:
    options = "--confounds trans_*,rot_x --no-detrend --high-pass 0 --low-pass 0.2 --drop-frames 2 --fd-mm 2"
    options += " --intensity percent --voxel-mm 12 --precision int8 --atlas aal"
    said = neuro("prepare", derivative, *options.split(), "--out", tmp_path / "cache")
    assert said.code == 0, said.err
    cache = Cache.open(tmp_path / "cache")
    recipe = cache.recipe
    assert recipe.confounds == ("rot_x", "trans_*")
    assert (recipe.detrend, recipe.high_pass, recipe.low_pass, recipe.drop_frames) == (False, None, 0.2, 2)
    assert (recipe.fd_limit_mm, recipe.intensity, recipe.voxel_mm) == (2.0, "percent", 12.0)
    assert cache.run(0).series_TV.dtype == np.int8
    assert np.allclose(np.abs(np.diag(cache.run(0).affine)[:3]), 12)
    assert cache.atlases == ("aal",)
    assert cache.identity in said.out


def test_plain_files_come_from_a_table(neuro: Neuro, derivative: Path, tmp_path: Path) -> None:
    lines = ["participant_id\tgroup\tbold\tmask\tspace"]
    for number, group in ((1, "HC"), (2, "PD")):
        func = derivative / f"sub-{number:03d}" / "func"
        bold, mask = (next(func.glob(f"*{end}.nii.gz")) for end in ("preproc_bold", "brain_mask"))
        lines.append(f"p{number}\t{group}\t{bold}\t{mask}\tMNI152NLin2009aSym")
    table = tmp_path / "files.tsv"
    table.write_text("\n".join(lines) + "\n")
    said = neuro("prepare", "--table", table, "--confounds", "none", "--out", tmp_path / "cache")
    assert said.code == 0, said.err
    assert list(Cache.open(tmp_path / "cache").table["label"]) == [0, 1]


def test_published_series_become_a_cache_and_go_through_brainmarks_layout(
    neuro: Neuro, published: Path, tmp_path: Path
) -> None:
    said = neuro("prepare", "--from-npz", f"{published}:2.5", "--given", "by a lab", "--out", tmp_path / "a")
    assert said.code == 0, said.err
    cache = Cache.open(tmp_path / "a")
    assert (len(cache), cache.atlases, set(cache.table["tr"])) == (6, ("tiny",), {2.5})
    out = neuro("export", tmp_path / "a", "--space", "tiny", "--folds", 3, "--out", tmp_path / "arrow")
    assert out.code == 0, out.err
    assert "6 runs" in out.out
    back = neuro("prepare", "--from-arrow", tmp_path / "arrow/ppmi.tiny.arrow", "--out", tmp_path / "b")
    assert back.code == 0, back.err
    again = Cache.open(tmp_path / "b")
    there = {again.table["participant_id"][i]: again.parcels(i, "tiny").z_FR for i in range(6)}
    for i, name in enumerate(cache.table["participant_id"]):
        np.testing.assert_allclose(there[name], cache.parcels(i, "tiny").z_FR, atol=4e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prepare", "{derivative}"), "--out must be a folder to write"),
        (("prepare", "--out", "{new}"), "DERIVATIVES must be folders"),
        (("prepare", "{derivative}", "--from-npz", "{npz}:2", "--out", "{new}"), "must be alone, with --out"),
        (("prepare", "--from-npz", "{npz}:2", "--plan"), "must be alone, with --out"),
        (("prepare", "--from-npz", "{npz}:two", "--out", "{new}"), "FILE or FILE:TR with TR in seconds"),
        (("prepare", "--from-npz", "{npz}", "--out", "{new}"), "tr must be stated for lab.npz"),
        (("prepare", "{derivative}", "--confounds", "simpel", "--out", "{new}"), "did you mean simple"),
        (("prepare", "{derivative}", "--confounds", "6p", "--atlas", "all", "--out", "{new}"), "aal"),
        (("prepare", "{derivative}", "--precision", "int4", "--out", "{new}"), "precision must be"),
        (("prepare", "{derivative}", "--intensity", "zscore", "--out", "{new}"), "intensity must be"),
        (("prepare", "{derivative}", "--confounds", "6p", "--tr", "9", "--out", "{new}"), "Hz"),
    ],
)
def test_what_is_refused_leaves_nothing(
    neuro: Neuro, derivative: Path, published: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    places = {"derivative": derivative, "npz": published, "new": tmp_path / "new"}
    said = neuro(*(one.format(**places) for one in arguments))
    assert (said.code, said.out) == (2, "")
    assert words in said.err.replace("\n", " ")
    assert "Traceback" not in said.err
    assert files_below(tmp_path) == ["lab.npz"]
