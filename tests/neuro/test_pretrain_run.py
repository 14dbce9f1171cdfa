"""Pretraining from caches to an encoder in a folder: phases, resuming, weights found, features, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from neuro.model import BrainEncoder, ModelConfig
from neuro.model.encoder_folder import load_encoder, save_encoder
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.contrastive import ContrastiveModelling
from neuro.pretrain.features import run_features
from neuro.pretrain.lesson import lesson_of
from neuro.pretrain.pools import open_pool
from neuro.pretrain.proxy import ProxyConfig
from neuro.pretrain.run import Plan, pretrain
from neuro.pretrain.saved import load_modelling
from neuro.tokens import RunTokens, TubeletSpec, collate, cubes
from neuro.training.config import OptimizerConfig, TrainingConfig
from neuro.training.loop import Listeners
from vision.backbones import load_backbone

from .conftest import TINY_BACKBONE

SPEC = TubeletSpec(patch_mm=32, frames=12)
TRAINING = TrainingConfig(epochs=2, batch_size=6, optimizer=OptimizerConfig(learning_rate=1e-2))


@pytest.fixture(scope="module")
def other(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the cohort under other names."""
    place = tmp_path_factory.mktemp("other") / "cache"
    shutil.copytree(cache.root, place)
    table = cache.table.iloc[:6].copy()
    table["person"] = [f"other-{number}" for number in range(6)]
    table.to_csv(place / "cohort.tsv", sep="\t", index=False, na_rep="n/a")
    return place


def made_plan(*caches: Path, **changes: Any) -> Plan:
    config = PretrainConfig(training=TRAINING, held_out=0.2, device="cpu", **changes.pop("config", {}))
    proxy = ProxyConfig(backbone=TINY_BACKBONE, samples=6, seeds=1)
    model = ModelConfig(backbone=TINY_BACKBONE)
    return Plan(caches=list(caches), tokens=SPEC, model=model, config=config, proxy=proxy, **changes)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_encoder(folder, device="cpu")[0].state_dict())


@pytest.fixture(scope="module")
def done(cache: Cache, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phases, with weights found by trials."""
    out = tmp_path_factory.mktemp("pretrained") / "out"
    pretrain(made_plan(cache.root, other, then=cache.root, weights="auto"), out, command="neuro pretrain …")
    return out


def test_it_leaves_an_encoder_and_an_account(done: Path, cache: Cache) -> None:
    facts = json.loads((done / "run.json").read_text())
    first, second = facts["phases"]
    assert first["runs"][0] + first["runs_held_out"][0] == 12
    assert second["runs"] == first["runs"][:1]
    assert second["held_out_loss"] < first["held_out_loss_before"]
    assert facts["command"] == "neuro pretrain …"
    assert len(facts["people_held_out"]) >= 2
    assert set(facts["people_held_out"]) < set(facts["people"])
    encoder, spec = load_encoder(done, device="cpu")
    assert spec == SPEC
    assert encoder.backbone.fingerprint.startswith("timm-")
    run = cubes(cache.run(0), SPEC)
    with torch.no_grad():
        out = encoder(collate([run.clip(0)])).tokens_BND
    again, _ = load_encoder(done / "encoder", device="cpu", layout=run.layout)
    with torch.no_grad():
        torch.testing.assert_close(again(collate([run.clip(0)])).tokens_BND, out, atol=0, rtol=0)


def test_the_whole_objective_comes_back(done: Path, cache: Cache, other: Path, tmp_path: Path) -> None:
    modelling, spec = load_modelling(done, device="cpu")
    assert spec == SPEC
    assert modelling.training is False
    facts = json.loads((done / "run.json").read_text())
    first, second = ([open_pool(root, SPEC, device="cpu")] for root in (other, cache.root))
    config = made_plan(cache.root).config
    lesson = lesson_of(second, set(facts["people_held_out"]), config, others=[*second, *first])
    assert lesson.held_out_loss(modelling) == pytest.approx(facts["phases"][1]["held_out_loss"], abs=1e-6)

    broken = shutil.copytree(done, tmp_path / "broken")
    (broken / "phase-2" / "objective.safetensors").write_bytes(b"x")
    with pytest.raises(BadFileError, match="a folder that `neuro pretrain` finished"):
        load_modelling(broken)
    with pytest.raises(BadFileError, match="FileNotFoundError"):
        load_modelling(done / "encoder")


def test_the_report_tells_all_that_was_tried(done: Path) -> None:
    report = json.loads((done / "report.json").read_text())
    facts = json.loads((done / "run.json").read_text())
    losses = [trial["loss"] for trial in report["trials"]]
    assert [len(trial["losses"]) for trial in report["trials"]] == [1, 1]
    assert losses == sorted(losses)
    assert report["weights"] == report["trials"][0]["weights"] == facts["weights"]
    assert report["held_out_runs"] == facts["phases"][1]["runs_held_out"][0]


class _BreakError(Exception):
    pass


def _broken_after(steps: int) -> Listeners:
    def on_step(done: int, total: int, loss: float) -> None:
        nonlocal steps
        steps -= 1
        if steps == 0:
            raise _BreakError

    return Listeners(on_step=on_step)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_resumed_pretraining_equals_the_unbroken_one(
    done: Path, cache: Cache, other: Path, tmp_path: Path, steps: int
) -> None:
    """Broken off before and after the first checkpoint, and in the second phase."""
    plan = made_plan(cache.root, other, then=cache.root, weights="auto")
    with pytest.raises(_BreakError):
        pretrain(plan, tmp_path / "out", listeners=_broken_after(steps))
    pretrain(plan, tmp_path / "out", resume=True)
    expected, found = weights_of(done), weights_of(tmp_path / "out")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0, msg=name)
    with pytest.raises(ParameterError, match="unfinished"):
        pretrain(plan, tmp_path / "out", resume=True)
    with pytest.raises(FingerprintMismatchError, match="pretraining differs"):
        pretrain(replace(plan, config=replace(plan.config, seed=9)), tmp_path / "out", resume=True)


def test_contrastive_from_a_pretrained_encoder(done: Path, cache: Cache, tmp_path: Path) -> None:
    plan = made_plan(cache.root, init_from=done, config={"objective": "contrastive"})
    facts = pretrain(plan, tmp_path / "out")
    assert facts["init_from"] == load_encoder(done, device="cpu")[0].backbone.fingerprint
    assert np.isfinite(facts["phases"][0]["held_out_loss"])
    again, _ = load_modelling(tmp_path / "out", device="cpu")
    assert isinstance(again, ContrastiveModelling)
    before, after = weights_of(done), weights_of(tmp_path / "out")
    assert 0 < max(float((before[n] - after[n]).abs().max()) for n in before) < 0.5


def test_what_cannot_work_is_refused(cache: Cache, other: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="held-out people decide"):
        made_plan(cache.root, other, weights="auto")
    with pytest.raises(ParameterError, match="one for each of 2 cohorts"):
        made_plan(cache.root, other, weights=[1.0])
    with pytest.raises(ParameterError, match="objective must be one of masked"):
        PretrainConfig(objective="masks")  # type: ignore[arg-type]
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError, match="new or empty"):
        pretrain(made_plan(cache.root), tmp_path)
    with pytest.raises(BadFileError, match="pretraining to resume must be there"):
        pretrain(made_plan(cache.root), tmp_path, resume=True)


# --- encoders in folders ------------------------------------------------------------------------------------


@pytest.fixture
def encoder(cache: Cache) -> BrainEncoder:
    layout = cubes(cache.run(0), SPEC).layout
    config = ModelConfig(backbone=TINY_BACKBONE, positions="rotary")
    return BrainEncoder(load_backbone(TINY_BACKBONE, shared=False, device="cpu"), layout, config)


def test_a_saved_encoder_is_the_same(encoder: BrainEncoder, tmp_path: Path) -> None:
    save_encoder(encoder, SPEC, tmp_path / "e")
    found, spec = load_encoder(tmp_path / "e", device="cpu", layout=encoder.layout)
    assert spec == SPEC
    assert found.config == encoder.config
    assert not found.training
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=0, rtol=0)
    with pytest.raises(ParameterError, match="new or empty"):
        save_encoder(encoder, SPEC, tmp_path / "e")
    with pytest.raises(ParameterError, match="cut the runs alike"):
        load_encoder(tmp_path / "e", device="cpu", layout=replace(encoder.layout, kind="volume"))


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors", "backbone/model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_folder_is_refused(encoder: BrainEncoder, tmp_path: Path, name: str, damage: str) -> None:
    file = save_encoder(encoder, SPEC, tmp_path / "e") / name
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"{}")
    with pytest.raises(BadFileError, match="neuro pretrain"):
        load_encoder(tmp_path / "e", device="cpu")


def test_another_version_is_refused(encoder: BrainEncoder, tmp_path: Path) -> None:
    file = save_encoder(encoder, SPEC, tmp_path / "e") / "encoder.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(BadFileError, match="format 99"):
        load_encoder(tmp_path / "e", device="cpu")


def test_the_encoder_of_a_trained_run_is_found(run_folder: Path, fitted: Any) -> None:
    found, spec = load_encoder(run_folder, device="cpu")
    assert spec == fitted.spec_
    for name, value in fitted.model_.encoder.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name].cpu(), value.cpu())


# --- features -----------------------------------------------------------------------------------------------


def slow_features(encoder: BrainEncoder, run: RunTokens, cell_mm: float) -> dict[tuple[int, ...], np.ndarray]:
    """Cell -> mean token, token by token."""
    from neuro.model.fields import LOW_MM

    sums: dict[tuple[int, ...], list[np.ndarray]] = {}
    for clip in run.clips():
        with torch.no_grad():
            tokens = encoder(collate([clip])).tokens_BND[0].numpy()
        for number, token in enumerate(tokens):
            place = run.centres_S3[number % len(run.centres_S3)]
            cell = tuple(int((x - low) // cell_mm) for x, low in zip(place, LOW_MM, strict=True))
            sums.setdefault(cell, []).append(token)
    return {cell: np.mean(tokens, axis=0) for cell, tokens in sums.items()}


def test_features_against_loops(encoder: BrainEncoder, cache: Cache) -> None:
    runs = [cubes(cache.run(i), SPEC) for i in range(3)]
    encoder.train()
    whole, celled = run_features(encoder, runs), run_features(encoder, runs, cell_mm=60)
    assert encoder.training
    encoder.eval()
    for number, run in enumerate(runs):
        cells = slow_features(encoder, run, 60)
        expected = np.concatenate([cells[cell] for cell in sorted(cells)])
        np.testing.assert_allclose(celled[number], expected, atol=1e-5)
        one = slow_features(encoder, run, 1e9)
        np.testing.assert_allclose(whole[number], np.mean(list(one.values()), axis=0), atol=1e-5)


def test_features_of_other_runs_are_refused(encoder: BrainEncoder, cache: Cache) -> None:
    with pytest.raises(ParameterError, match="at least one"):
        run_features(encoder, [])
    with pytest.raises(ParameterError, match="cut as"):
        run_features(encoder, [cubes(cache.run(0), TubeletSpec(patch_mm=16, frames=12))])
    with pytest.raises(ParameterError, match="cell_mm"):
        run_features(encoder, [cubes(cache.run(0), SPEC)], cell_mm=0)
