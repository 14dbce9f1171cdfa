"""Recipes: each can be read, is what its file says, and refuses what it does not know."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import BadFileError, ParameterError, UnknownNameError
from neuro.cli import main
from neuro.defaults import EPOCHS, PRESETS
from neuro.model import BrainTransformer, ModelConfig
from neuro.presets import DEFAULT_PRESET, Preset, load_preset, preset_names
from neuro.presets.as_toml import as_toml
from neuro.tokens import ParcelSpec, TubeletSpec, collate
from neuro.training.config import Adaptation, TrainingConfig
from vision.backbones import load_backbone

from .toy_runs import toy_run


def test_the_help_names_the_recipes_that_there_are() -> None:
    assert tuple(preset_names()) == PRESETS
    assert PRESETS[0] == DEFAULT_PRESET


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_is_read_and_written(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    assert preset.description
    assert len(preset.description) < 100
    path = tmp_path / "own.toml"
    path.write_text(as_toml(preset), encoding="utf-8")
    assert replace(load_preset(path), name=name) == preset


def test_the_default_recipe_is_what_the_defaults_are() -> None:
    preset = load_preset()
    assert preset == Preset(description=preset.description)
    assert preset.tokens == TubeletSpec()
    assert preset.model == ModelConfig()
    assert preset.training == TrainingConfig()
    assert preset.training.epochs == EPOCHS


def test_the_long_recipe_runs() -> None:
    """Windows, attention by turns and rotary places fit together."""
    preset = load_preset("long", ["tokens.frames=6", "tokens.window=2"])
    run = toy_run(1, 1.0, preset.tokens)  # type: ignore[arg-type]
    backbone = load_backbone(preset.model.backbone, device="cpu", shared=False)
    model = BrainTransformer(backbone, run.layout, preset.model)
    batch = collate([run.clip(0)])
    assert batch.windows == 3
    with torch.no_grad():
        assert model(batch).shape == (1,)


@pytest.mark.parametrize("name", ["vit-small", "vit-base"])
def test_pretrained_recipes_name_models_that_the_hub_has(name: str) -> None:
    import timm

    kind, _, model = load_preset(name).model.backbone.partition(":")
    assert kind == "timm"
    assert model in timm.list_pretrained()


def test_changes_are_made_in_order_and_typed() -> None:
    changes = [
        "training.epochs=3",
        "training.epochs = 4",
        "training.optimizer.learning_rate=1",
        "training.ema=0.9",
        "model.positions=rotary",
        'model.backbone="timm:vit_tiny_patch16_224"',
        "training.machine.compile=true",
        "tokens.window=5",
    ]
    preset = load_preset("small", changes)
    assert preset.training.epochs == 4
    assert type(preset.training.optimizer.learning_rate) is float
    assert preset.training.ema == 0.9
    assert preset.model.positions == "rotary"
    assert preset.model.backbone == "timm:vit_tiny_patch16_224"
    assert preset.training.machine.compile
    assert preset.tokens == TubeletSpec(window=5)
    assert load_preset("vit-small", ["training.patience=none"]).training.patience is None


def test_another_kind_of_tokens_begins_anew() -> None:
    assert load_preset("long", ["tokens.kind=parcel", "tokens.atlas=own"]).tokens == ParcelSpec(atlas="own")
    assert load_preset("long", ["tokens.kind=tubelet"]).tokens == load_preset("long").tokens


def test_a_profile_is_set_by_its_name_and_none_is_one() -> None:
    assert load_preset("parcels", ["tokens.profile=none"]).tokens == ParcelSpec(frames=60)
    partial = load_preset("parcels", ["tokens.profile=partial"]).tokens
    assert partial == ParcelSpec(frames=60, profile="partial")


def test_the_recipe_of_places_is_what_its_parts_are() -> None:
    preset = load_preset("places")
    assert preset.tokens == ParcelSpec(frames=120, profile="correlation")
    assert preset.model.readout == "places"
    assert preset.training == TrainingConfig(adaptation=Adaptation(method="svm"))


def test_an_encoder_to_begin_with_brings_its_own_sections() -> None:
    start = {"tokens": {"kind": "tubelet", "frames": 8}, "model": asdict(ModelConfig(positions="rotary"))}
    preset = load_preset("vit-small", ["model.readout=mean"], start=start)
    assert preset.tokens == TubeletSpec(frames=8)
    assert preset.model == ModelConfig(positions="rotary", readout="mean")
    assert preset.training == load_preset("vit-small").training


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("training.epoch=3", UnknownNameError, "training.epoch must be one of .* did you mean epochs"),
        ("trainings.epochs=3", UnknownNameError, "section must be one of .* did you mean training"),
        ("training.optimizer.lerning_rate=1", UnknownNameError, "did you mean learning_rate"),
        ("tokens.frame=3", UnknownNameError, "did you mean frames"),
        ("tokens.kind=tubelets", UnknownNameError, "did you mean tubelet"),
        ("training.epochs=many", ParameterError, "training.epochs must be of type int, got 'many'"),
        ("training.epochs=true", ParameterError, "training.epochs must be of type int, got True"),
        ("training.ema=fast", ParameterError, "training.ema must be of type float or none"),
        ("training.epochs=none", ParameterError, "training.epochs must be of type int, got None"),
        ("training.machine=3", ParameterError, "training.machine must be a table"),
        ("training.epochs.x=3", ParameterError, "--set must be an option: epochs has none within it"),
        ("epochs=3", ParameterError, "--set must be section.key=value, got epochs=3"),
        ("training.epochs", ParameterError, "--set must be section.key=value"),
        ("training..epochs=1", ParameterError, "--set must be section.key=value"),
        ("model.positions=rotory", ParameterError, "positions must be one of sincos, rotary"),
        ("training.epochs=0", ParameterError, "epochs must be a positive integer"),
    ],
)
def test_what_is_not_known_is_refused(change: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_preset("small", [change])


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"preset must be .*got smal; did you mean small"):
        load_preset("smal")
    with pytest.raises(BadFileError, match="preset must be readable"):
        load_preset(tmp_path / "none.toml")
    path = tmp_path / "own.toml"
    path.write_text("[tokens\n", encoding="utf-8")
    with pytest.raises(BadFileError, match="preset must be TOML"):
        load_preset(path)
    path.write_text("tokens = 3\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="tokens must be a table"):
        load_preset(path)
    path.write_text("[training]\noptimizer = 3\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"training\.optimizer must be a table"):
        load_preset(path)


@given(st.text(max_size=30))
def test_any_change_is_made_or_refused(change: str) -> None:
    """Nobody sees a traceback for what was typed."""
    for text in (change, f"training.{change}", f"training.epochs={change}", f"tokens.{change}=1"):
        with suppress(ParameterError, BadFileError):
            load_preset("small", [text])


def test_the_command_lists_them_and_shows_one(run_command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    listed = run_command(main, "neuro", "presets")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()] == list(PRESETS)
    shown = run_command(main, "neuro", "presets", "long", "--set", "training.epochs=3")
    path = tmp_path / "own.toml"
    path.write_text(shown.out, encoding="utf-8")
    assert load_preset(path).training.epochs == 3
    wrong = run_command(main, "neuro", "presets", "lung")
    assert wrong.code == 2
    assert wrong.err.startswith("error: preset must be one of small")
