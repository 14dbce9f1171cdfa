"""The `neuro` command: what it prints, what it leaves, its exit codes; one whole chain in real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from data.caches.cache import Cache
from neuro.cli import app, main
from neuro.model import ModelConfig, fresh_encoder
from neuro.model.encoder_folder import save_encoder
from neuro.tokens import TubeletSpec, cut, spec_as_dict

from .conftest import TINY_BACKBONE

ROOT = Path(__file__).parents[2]


Neuro = Callable[..., Any]  # `run_command` of tests/conftest.py


@pytest.fixture
def neuro(run_command: Neuro) -> Neuro:
    """Run `neuro` in this process."""
    return partial(run_command, main, "neuro")


def refused(outcome: Any, *words: str) -> None:
    """Exit code 2, nothing on standard output, and a last line on standard error that says it all."""
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err
    *_, last = outcome.err.strip().splitlines()
    assert last.startswith("error: ")
    assert outcome.err.count("error: ") == 1
    for word in words:
        assert word in last


@pytest.fixture
def damaged(derivative: Path, tmp_path: Path) -> Path:
    """A copy of two people's runs, to be spoilt."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    table = (derivative / "participants.tsv").read_text().splitlines(keepends=True)
    (folder / "participants.tsv").write_text("".join(table[:3]))
    for name in ("sub-001", "sub-002"):
        shutil.copytree(derivative / name, folder / name)
    return folder


def bold_of(folder: Path, person: str = "sub-001") -> Path:
    return next((folder / person / "func").glob("*desc-preproc_bold.nii.gz"))


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    section = text.partition("\n## neuro\n")[2].partition("\n## ")[0]
    names = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]
    assert sorted(names) == [
        *("align", "demo", "evaluate", "export", "leak-demo", "predict", "prepare", "presets", "pretrain"),
        *("qc", "report", "scaling", "simulate", "train", "update"),
    ]
    for name in names:
        part = section.partition(f"### neuro {name}\n\n")[2].partition("\n### ")[0]
        example = part.partition("\n\n")[0]  # the indented lines that come first
        assert f"\n    neuro {name} " in f"\n{example}", f"{name} needs a section with an example"


def test_simulate_refuses(neuro: Neuro, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    refused(neuro("simulate", tmp_path / "full", "--workers", 1), str(tmp_path / "full"), "new or empty")
    refused(neuro("simulate", tmp_path / "new", "--subjects", 1), "subjects must be at least 2, got 1")
    refused(neuro("simulate", tmp_path / "new", "--effect", 1.5), "effect_amplitude must be from 0 to 1")
    refused(neuro("simulate", tmp_path / "new", "--voxel-mm", 20), "voxel_mm must be")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine"]


def test_prepare_refuses(neuro: Neuro, damaged: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "cache", "--confounds", "6p")
    refused(neuro("prepare", tmp_path / "no", *out), "derivatives must be a folder, got nothing there")
    refused(neuro("prepare", damaged, "--out", tmp_path / "cache", "--confounds", "7p"), "got 7p", "6p")
    refused(neuro("prepare", damaged, *out, "--label", "grup"), "a column 'grup'", "did you mean group?")
    refused(neuro("prepare", damaged, *out, "--low-pass", 0.001), "high_pass must be below low_pass")
    table = damaged / "participants.tsv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:2]).replace("sub-001", "sub-009"))
    refused(neuro("prepare", damaged, *out), str(table), "no row for sub-001, sub-002")
    assert not (tmp_path / "cache").exists()


def test_prepare_names_a_run_that_is_cut_short_or_passes_over_it(
    neuro: Neuro, damaged: Path, tmp_path: Path
) -> None:
    bold = bold_of(damaged)
    bold.write_bytes(bold.read_bytes()[:20_000])
    arguments = ("prepare", damaged, "--out", tmp_path / "cache", "--confounds", "6p")
    refused(neuro(*arguments), str(bold), "48 frames, as its header promises", "cut short or damaged")
    assert not (tmp_path / "cache").exists()
    passed = neuro(*arguments, "--skip-bad")
    assert passed.code == 0
    first, second = passed.out.splitlines()
    assert first.startswith(f"1 runs in {tmp_path / 'cache'}, 1 left out; cleaned by 6p+detrend+0.01-0.1Hz-")
    assert second.startswith(f"  left out sub-001_task-rest: {bold}: ")


def test_train_refuses(neuro: Neuro, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    new = ("--out", tmp_path / "new")
    refused(
        neuro("train", cache.root, "--out", tmp_path / "full"),
        "folder to write must be new or empty",
    )
    refused(neuro("train", tmp_path / "full", *new), "cache must be a finished cache", "got no cache")
    refused(neuro("train", cache.root, *new, "--epochs", 0), "epochs must be a positive integer, got 0")
    refused(neuro("train", cache.root, *new, "--device", "abacus"), "device must be", "got 'abacus'")
    refused(neuro("train", cache.root, *new, "--backbone", "scratch:resnet18"), "that takes tokens")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine"]


def test_evaluate_refuses(neuro: Neuro, cache: Cache, tmp_path: Path) -> None:
    new = ("--out", tmp_path / "new", "--backbone", TINY_BACKBONE, "--epochs", 1)
    refused(neuro("evaluate", tmp_path, *new), "cache must be a finished cache")
    refused(neuro("evaluate", cache.root, *new, "--folds", 7), "n_splits must be no larger than the number")
    refused(
        neuro("evaluate", cache.root, *new, "--preset", "smal"), "preset must be one of small", "did you mean"
    )
    refused(neuro("evaluate", cache.root, *new, "--set", "training.epoch=3"), "training.epoch must be one of")
    refused(neuro("evaluate", cache.root, *new, "--preset", "parcels"), "atlas must be", "got aal")
    refused(neuro("evaluate", cache.root, *new, "--atlas", "aal"), "where tokens are no parcels, got aal")
    refused(
        neuro("evaluate", cache.root, *new, "--truth", tmp_path / "no.nii.gz"),
        f"{tmp_path / 'no.nii.gz'}: image must be a file, got nothing there",
    )
    assert list(tmp_path.iterdir()) == []


def test_evaluate_cuts_runs_as_the_encoder_to_begin_with_takes_them(
    neuro: Neuro, cache: Cache, tmp_path: Path
) -> None:
    model, tokens = ModelConfig(backbone=TINY_BACKBONE, positions="rotary"), TubeletSpec(frames=10)
    layout = cut(cache, 0, tokens).layout
    start = save_encoder(fresh_encoder(layout, model, device="cpu"), tokens, tmp_path / "encoder")
    arguments = ("evaluate", cache.root, "--out", tmp_path / "out", "--init-from", start, "--device", "cpu")
    refused(neuro(*arguments, "--backbone", TINY_BACKBONE), "--backbone must be left out with --init-from")
    refused(
        neuro(*arguments, "--init-from", start / "backbone"),
        "encoder must be a folder that `neuro pretrain` or",
    )
    assert not (tmp_path / "out").exists()
    folds = ("--folds", 2, "--repeats", 1, "--inner", 2, "--no-tangent")
    late = neuro(*arguments, *folds, "--set", "tokens.frames=12")
    assert late.code == 2
    assert "tokens must be as those that the encoder in" in late.err
    # Options of the recipe for the training still count, and changes stand above the encoder's own model.
    changes = (*folds, "--epochs", 1, "--set", "model.readout=mean", "--set", "training.batch_size=3")
    done = neuro(*arguments, *changes)
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["facts"]["config"]
    assert config["tokens"] == spec_as_dict(tokens)
    assert config["model"] == asdict(replace(model, readout="mean"))
    assert (config["training"]["epochs"], config["training"]["batch_size"]) == (1, 3)


def test_predict_refuses(neuro: Neuro, run_folder: Path, damaged: Path, tmp_path: Path) -> None:
    bold = bold_of(damaged)
    mask = next(bold.parent.glob("*brain_mask.nii.gz"))
    confounds = next(bold.parent.glob("*confounds_timeseries.tsv"))
    rest = ("--confounds", confounds, "--json")
    refused(neuro("predict", run_folder, bold, *rest), f"{bold}: brain mask must be given, got none")
    absent = tmp_path / "absent.nii.gz"
    refused(
        neuro("predict", run_folder, bold, "--mask", absent, *rest), f"{absent}: brain mask must be a file"
    )
    refused(neuro("predict", run_folder, absent, "--mask", mask, *rest), f"{absent}: image must be a file")
    refused(neuro("predict", damaged, bold, "--mask", mask, *rest), f"{damaged}: run must be a folder that")
    image = nib.load(bold)
    single = tmp_path / "single.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine), single)
    refused(neuro("predict", run_folder, single, "--mask", mask, *rest), f"{single}: run of fMRI must be 4-D")
    for wrong in ((), ("--mask", mask)):
        refused(neuro("predict", run_folder, bold, *wrong), str(bold) if not wrong else "confounds table")


def test_predict_in_words_and_in_json(neuro: Neuro, run_folder: Path, cache: Cache) -> None:
    row = cache.table.iloc[0]
    arguments = ("predict", run_folder, row["bold"], "--mask", row["mask"], "--confounds", row["confounds"])
    words = neuro(*arguments)
    found = json.loads(neuro(*arguments, "--json").out)
    assert set(found) >= {"bold", "probability", "logit", "clips", "recipe_identity", "warnings"}
    assert found["interval"] is None
    (warning,) = found["warnings"]
    assert warning.startswith(f"{row['participant_id']} is among the people that the model was trained on")
    assert words.err.splitlines()[-1] == f"warning: {warning}."
    assert found["bold"] == row["bold"]
    assert found["recipe_identity"] == cache.identity
    assert words.out.splitlines() == [
        f"{row['bold']}: probability {found['probability']:.3f} (mean of 2 clips, uncalibrated)",
        "For research, not for diagnosis.",
    ]


def test_a_missing_option_is_exit_code_2(neuro: Neuro, tmp_path: Path) -> None:
    outcome = neuro("prepare", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--out" in outcome.err


# Real processes


def test_help_starts_without_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['neuro', '--help']\n"
        "from neuro.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'nilearn', 'sklearn', 'numpy', 'pandas', 'matplotlib', 'nibabel'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("heavy: []\n")
    assert "not for diagnosis" in done.stdout


def real(*arguments: object) -> str:
    """Standard output of a process that must end well."""
    command = [sys.executable, "-m", "neuro.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_whole_chain_in_real_processes(tmp_path: Path) -> None:
    simulated, cache, run, found = (tmp_path / name for name in ("simulated", "cache", "run", "found"))
    tiny = ("--backbone", TINY_BACKBONE, "--epochs", 1, "--device", "cpu")
    options = ("--subjects", 8, "--voxel-mm", 8, "--frames", 48, "--workers", 1)
    assert real("simulate", simulated, *options).startswith(f"8 people at 2 sites in {simulated}; ")
    assert real("prepare", simulated, "--out", cache, "--confounds", "6p").startswith(
        f"8 runs in {cache}, 0 left out; cleaned by 6p+"
    )
    assert real("train", cache, "--out", run, *tiny).startswith("trained on 8 runs, final loss ")
    truth = simulated / "planted_mask.nii.gz"
    folds = ("--folds", 2, "--repeats", 1, "--inner", 2, "--no-tangent")
    printed = real("evaluate", cache, "--out", found, *tiny, *folds, "--truth", truth)
    for words in ("brain Transformer", "connectivity + SVM", "majority", f"report: {found / 'report.html'}"):
        assert words in printed
    left = {path.name for path in found.iterdir()}
    assert left >= {"report.html", "results.json", "predictions.csv", "cohort.csv", "splits.json"}
    assert left >= {"relevance.nii.gz", "relevance.html", "regions.tsv", "clusters.tsv"}
    results = json.loads((found / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == [
        "brain Transformer",
        "connectivity + SVM",
        *("age + sex", "head motion", "site"),
        "majority",
    ]
    assert all(0 <= model["figures"]["auc"]["estimate"] <= 1 for model in results["models"])
    assert len(json.loads((found / "splits.json").read_text())["within"][0]) == 2
    assert results["facts"]["command"].startswith(f"neuro evaluate {cache} --out {found} --backbone ")
    func = simulated / "sub-003/func"
    bold, mask = bold_of(simulated, "sub-003"), next(func.glob("*brain_mask.nii.gz"))
    confounds = next(func.glob("*timeseries.tsv"))
    answer = json.loads(
        real("predict", run, bold, "--mask", mask, "--confounds", confounds, "--json", "--device", "cpu")
    )
    assert 0 < answer["probability"] < 1
    assert (answer["bold"], answer["clips"]) == (str(bold), 2)
