"""`neuro align`: a whole cohort, what it leaves and refuses; and real processes, up to `vision search`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data.caches.cache import Cache
from data.errors import BadFileError, FingerprintMismatchError, LeakError
from data.exchange.embeddings import read_embeddings
from neuro.align.aligned_folder import load_aligned, origin_of
from neuro.align.aligning import run_vectors
from neuro.align.portrait import portrait
from neuro.align.study import align_cohort, apply_aligned
from neuro.classifier.run_folder import assert_unseen
from neuro.cli import main
from neuro.commands.align import _config, _words
from neuro.commands.options import chosen_preset
from neuro.study import cut_runs
from vision.backbones import save_backbone
from vision.backbones.open_clip_build import build_open_clip

from .conftest import TINY_BACKBONE

TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
QUICK = ("--backbone", TINY_BACKBONE, "--epochs", 1, "--folds", 2, "--device", "cpu")

Neuro = Callable[..., Any]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dual encoder of random weights in a folder, by its name."""
    made = build_open_clip(
        {"model_cfg": TINY_CLIP, "quick_gelu": False}, name="tiny", preprocess={}, weights=None
    )
    return f"local:{save_backbone(made, tmp_path_factory.mktemp('clip') / 'tiny')}"


@pytest.fixture
def neuro(run_command: Neuro) -> Neuro:
    """Run `neuro` in this process."""
    return partial(run_command, main, "neuro")


def real(module: str, *arguments: object) -> str:
    """Standard output of a command in a process of its own, which must succeed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.fixture(scope="module")
def aligned(cache: Cache, tower: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the command leaves, and what it prints."""
    out = tmp_path_factory.mktemp("aligned") / "run"
    command = ["neuro", "align", str(cache.root), "--out", str(out), "--text", tower, *map(str, QUICK)]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(io.StringIO()):
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ending:
            main()
    assert not ending.value.code
    return out, printed.getvalue()


def test_what_is_printed_says_what_it_is(aligned: tuple[Path, str]) -> None:
    out, printed = aligned
    first, *found, what, last = printed.splitlines()
    assert first.startswith("zero-shot, unseen people: AUC 0.")
    assert [line.partition(": above")[0] for line in found] == [
        'found by "a person with Parkinson\'s disease"',
        "found by 'a healthy person'",
        "found by 'all that is told of one person'",
    ]
    assert what.startswith("Exploratory: ")
    assert what.endswith("For research, not for diagnosis.")
    assert last == f"search them: vision index --from-embeddings {out / 'scans'} --store STORE"


def test_what_it_leaves(aligned: tuple[Path, str], cache: Cache, tower: str) -> None:
    out = aligned[0]
    assert sorted(path.name for path in out.iterdir()) == [
        *("encoder", "head.safetensors", "results.json", "run.json", "scans", "sentences.tsv")
    ]
    results = json.loads((out / "results.json").read_text())
    assert results["exploratory"].startswith("Exploratory: ")
    assert results["command"].startswith(f"neuro align {cache.root} --out {out} --text {tower} ")
    assert set(results["zero_shot"]) >= {"auc", "balanced_accuracy", "brier"}
    assert [one["asked"] for one in results["retrieval"]][-1] == "all that is told of one person"
    assert [row["run"] for row in results["runs"]] == cache.table["run_id"].tolist()
    assert {row["fold"] for row in results["runs"]} == {0, 1}
    said = pd.read_csv(out / "sentences.tsv", sep="\t")
    assert set(said["run"]) == set(cache.table["run_id"])
    sentences = " ".join(said["sentence"])
    assert not any(word in sentences for word in (*cache.table["participant_id"], *cache.table["site"]))


def test_scans_are_of_the_folds_models_and_pictures_of_the_runs(
    aligned: tuple[Path, str], cache: Cache
) -> None:
    out = aligned[0]
    found = read_embeddings(out / "scans")
    assert [row.columns["run"] for row in found.rows] == cache.table["run_id"].tolist()
    assert {row.columns["diagnosis"] for row in found.rows} == {"Parkinson's disease", "healthy"}
    assert all(row.caption is None for row in found.rows)  # words find scans, not their labels
    assert not any(name in found.rows[0].columns for name in ("updrs", "label", "fd_mean"))
    assert np.isfinite(float(found.rows[1].columns["updrs"]))  # known of patients
    whole = load_aligned(out, "cpu")
    assert found.origin != origin_of([whole.model])
    runs = cut_runs(cache, whole.tokens)
    assert np.abs(run_vectors(whole.model, runs) - found.vectors_NE).max() > 1e-6
    sizes = set()
    for row in found.rows:
        with Image.open(out / "scans" / row.file) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1


@pytest.mark.slow
def test_from_a_cache_to_a_scan_found_by_words_in_real_processes(
    cache: Cache, tower: str, tmp_path: Path
) -> None:
    out, store = tmp_path / "run", tmp_path / "store"
    printed = real("neuro.cli", "align", cache.root, "--out", out, "--text", tower, *QUICK)
    assert "Exploratory: " in printed
    told = real("vision.cli", "index", "--from-embeddings", out / "scans", "--store", store)
    assert told.startswith(f"12 taken in to {store}, searched by the words of local:")
    query = "a brain scan of a person with Parkinson's disease"
    hits = json.loads(real("vision.cli", "search", query, "--store", store, "--json", "--all", "-k", 12))
    assert {hit["run"] for hit in hits} == set(cache.table["run_id"])
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert Path(hits[0]["path"]).is_file()
    only = "columns.diagnosis = 'healthy'"
    healthy = json.loads(
        real("vision.cli", "search", query, "--store", store, "--json", "--all", "--where", only)
    )
    assert len(healthy) == 6
    assert {hit["diagnosis"] for hit in healthy} == {"healthy"}


def test_a_model_is_not_tested_on_its_own_people(
    aligned: tuple[Path, str], cache: Cache, neuro: Neuro, tmp_path: Path
) -> None:
    with pytest.raises(LeakError, match="one trained on 12 of these runs"):
        assert_unseen(aligned[0], cache)
    for option in ("--init-from", "--use"):
        outcome = neuro("align", cache.root, "--out", tmp_path / "new", option, aligned[0])
        assert outcome.code == 2
        assert "one trained on 12 of these runs" in outcome.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def others(cache: Cache, tmp_path: Path) -> Cache:
    """The same scans as those of other people, as far as can be told."""
    root = tmp_path / "others"
    root.mkdir()
    for name in ("recipe.json", "excluded.tsv"):
        (root / name).write_bytes((cache.root / name).read_bytes())
    (root / "runs").mkdir()
    table = cache.table.copy()
    for run in table["run_id"]:
        (root / "runs" / f"new-{run}").symlink_to(cache.root / "runs" / run)
    table["run_id"] = "new-" + table["run_id"]
    table.to_csv(root / "cohort.tsv", sep="\t", index=False, na_rep="n/a")
    return Cache.open(root)


def test_a_model_applied_to_another_cohort(
    aligned: tuple[Path, str], others: Cache, neuro: Neuro, tmp_path: Path
) -> None:
    out = tmp_path / "applied"
    outcome = neuro("align", others.root, "--out", out, "--use", aligned[0], "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in out.iterdir()) == ["results.json", "scans", "sentences.tsv"]
    model = load_aligned(aligned[0], "cpu")
    found = read_embeddings(out / "scans")
    assert found.origin == origin_of([model.model])
    np.testing.assert_allclose(
        found.vectors_NE, run_vectors(model.model, cut_runs(others, model.tokens)), atol=1e-6
    )
    assert json.loads((out / "results.json").read_text())["aligned"] == str(aligned[0])


def test_what_was_cleaned_or_told_otherwise_is_refused(aligned: tuple[Path, str], others: Cache) -> None:
    model = load_aligned(aligned[0], "cpu")
    model.facts["recipe_identity"] = "another"
    with pytest.raises(FingerprintMismatchError, match="recipe must be that of the alignment, another"):
        apply_aligned(others, model, aligned[0], device="cpu")
    model.facts["recipe_identity"] = others.identity
    object.__setattr__(model, "text_fingerprint", "another")
    with pytest.raises(FingerprintMismatchError, match="text model must be that of the alignment, another"):
        apply_aligned(others, model, aligned[0], device="cpu")


def test_what_cannot_work_is_refused_before_anything_is_trained(
    neuro: Neuro, cache: Cache, tower: str, tmp_path: Path
) -> None:
    def refused(words: str, *options: object) -> None:
        outcome = neuro("align", cache.root, "--out", tmp_path / "new", *options)
        assert (outcome.code, outcome.out) == (2, "")
        assert words in outcome.err.splitlines()[-1]

    refused("loss must be one of infonce, siglip, got 'clip'", "--loss", "clip")
    refused("facts told must be of diagnosis", "--told", "diagnosis,motion")
    refused("text must be a model that knows words", "--text", "scratch:vit_tiny_patch16_224/depth=1")
    refused("--use must be alone with --out and --device", "--use", tmp_path, "--text", tower)
    refused("aligned model must be a folder that `neuro align` wrote", "--use", tmp_path)
    refused("n_splits must be no larger", "--folds", 7, "--text", tower)
    refused("adaptation.method must be one of full, linear", "--set", "training.adaptation.method=lora")
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_encoder_and_other_words(cache: Cache, tower: str) -> None:
    chosen = chosen_preset(
        changes=["training.epochs=1", 'training.adaptation.method="linear"'], backbone=TINY_BACKBONE
    )
    config = _config(
        chosen, "diagnosis", _words(["ataxia"], None), text=tower, loss="siglip", folds=2, device="cpu"
    )
    assert config.is_frozen
    found = align_cohort(cache, config, whole=False)
    assert found.model is None
    assert len(found.bank) == 2
    assert {text for said in found.bank.texts for text in said} >= {"a brain scan of a person with ataxia"}
    assert found.figures()["retrieval"][0]["asked"] == "a person with ataxia"


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "alignment", "format": 99}')
    with pytest.raises(BadFileError, match="another version"):
        load_aligned(tmp_path, "cpu")


def test_a_portrait_shows_the_mean_scan(cache: Cache) -> None:
    first, second = (np.asarray(portrait(cache, i)) for i in (0, 1))
    assert first.shape[0] == 256
    assert first.shape[1] > 512
    assert first.dtype == np.uint8
    assert first.max() > 100
    assert (first == 0).mean() > 0.1  # around the brain
    assert (first != second).any()
