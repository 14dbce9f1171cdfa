"""A trained run on disk: what was saved answers as before, and what is damaged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from data.caches.cache import Cache
from data.errors import BadFileError, ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import load_run, save_run
from neuro.model import ModelConfig
from neuro.study import StudyConfig
from neuro.tokens import RunTokens
from neuro.training.config import Adaptation, TrainingConfig
from vision.adapt import LoraOptions

from .conftest import TINY_BACKBONE


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run_folder, tmp_path / "copy")


def test_a_loaded_run_answers_exactly_as_the_saved_one(
    fitted: ParkinsonClassifier, run_folder: Path, tokens: list[RunTokens]
) -> None:
    loaded = load_run(run_folder, "cpu").classifier
    logits = fitted.decision_function(tokens)
    np.testing.assert_array_equal(loaded.decision_function(tokens), logits)
    assert logits.std() > 0
    assert loaded.predict(tokens).tolist() == fitted.predict(tokens).tolist()
    assert loaded.classes_.tolist() == [0, 1]
    assert loaded.losses_ == fitted.losses_
    assert loaded.get_params() == fitted.get_params()
    assert not loaded.model_.training


def test_it_remembers_what_it_was_made_by(
    run_folder: Path, cache: Cache, study: StudyConfig, fitted: ParkinsonClassifier
) -> None:
    loaded = load_run(run_folder, "cpu")
    assert loaded.recipe == cache.recipe
    assert loaded.tokens == study.tokens
    assert loaded.atlas_digest is None
    assert loaded.tr == 2.0
    facts = json.loads((run_folder / "run.json").read_text())
    assert loaded.facts == facts
    assert facts["recipe_identity"] == cache.identity
    assert facts["participants"] == sorted(cache.table["participant_id"])
    assert facts["people"] == sorted(cache.table["person"])
    assert facts["fingerprint"] == fitted.model_.encoder.backbone.fingerprint
    assert sorted(path.name for path in run_folder.iterdir()) == ["model", "run.json"]
    model = json.loads((run_folder / "model/classifier.json").read_text())
    assert model["layout"]["amplitude"] == [2, 2, 2]
    assert model["tokens"] == {"kind": "tubelet", "frames": 20, "patch_mm": 16.0, "whole_grid": False}


def test_a_folder_may_move(copy: Path, fitted: ParkinsonClassifier, tokens: list[RunTokens]) -> None:
    moved = copy.rename(copy.with_name("elsewhere"))
    found = load_run(moved, "cpu").classifier.decision_function(tokens[:2])
    np.testing.assert_array_equal(found, fitted.decision_function(tokens[:2]))


def test_words_as_labels_come_back(
    cache: Cache, study: StudyConfig, tokens: list[RunTokens], tmp_path: Path
) -> None:
    classifier = study.classifier().fit(tokens[:2], ["PD", "HC"])
    save_run(classifier, cache, tmp_path / "run")
    loaded = load_run(tmp_path / "run", "cpu").classifier
    assert loaded.classes_.tolist() == ["HC", "PD"]
    assert loaded.predict(tokens).tolist() == classifier.predict(tokens).tolist()


def test_an_empty_folder_is_taken(
    fitted: ParkinsonClassifier, cache: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    assert save_run(fitted, cache, tmp_path / "run") == tmp_path / "run"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_never_touched(
    fitted: ParkinsonClassifier, cache: Cache, study: StudyConfig, tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "run"
    if kind == "folder":
        place.mkdir()
        (place / "mine").write_text("mine")
    else:
        place.write_text("mine")
    with pytest.raises(ParameterError) as caught:
        save_run(fitted, cache, place)
    found = "holds something" if kind == "folder" else "is a file"
    expected = f"folder to write must be new or empty, got {place}, which {found}; choose another place."
    assert str(caught.value) == expected
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "run"][kind == "file" :]


def test_an_interrupted_save_leaves_nothing(
    fitted: ParkinsonClassifier,
    cache: Cache,
    study: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        save_run(fitted, cache, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadFileError) as caught:
            load_run(place)
        message = str(caught.value)
        assert message.startswith(
            f"{place}: run must be a folder that `neuro train` wrote, got FileNotFoundError: "
        )
        assert message.endswith("; name another, or train again.")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b""),
        ("run.json", b"[]"),
        ("run.json", b"{}"),
        ("model/classifier.json", b""),
        ("model/classifier.json", b"[]"),
        ("model/classifier.json", b"{}"),
        ("model/brain.safetensors", b"x"),
        ("model/brain.safetensors", b""),
        ("model/backbone", None),
        ("model", None),
    ],
)
def test_a_damaged_run_is_one_clear_error(copy: Path, name: str, content: bytes | None) -> None:
    if content is None:
        shutil.rmtree(copy / name)
    else:
        (copy / name).write_bytes(content)
    with pytest.raises(BadFileError, match="run must be a folder that `neuro train` wrote") as caught:
        load_run(copy)
    assert caught.value.path == copy
    assert "\n" not in str(caught.value)


def rewritten(path: Path, change: dict[str, object] | None = None, without: str = "") -> None:
    facts = {**json.loads(path.read_text()), **(change or {})}
    facts.pop(without, None)
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("run.json", {"recipe": {"confounds": "no such strategy"}}),
        ("run.json", {"recipe": {"unheard_of": 1}}),
        ("run.json", {"format": 99}),
        ("run.json", {"tr": None}),
        ("model/classifier.json", {"parameters": {"training": {"epochs": "many"}}}),
        ("model/classifier.json", {"parameters": {"training": {"optimizer": {"unheard_of": 1}}}}),
        ("model/classifier.json", {"config": {"readout": "magic"}}),
        ("model/classifier.json", {"classes": None}),
        ("model/classifier.json", {"tokens": {"kind": "cube"}}),
        ("model/classifier.json", {"tokens": {"kind": "tubelet", "frames": "many"}}),
        (
            "model/classifier.json",
            {"layout": {"kind": "tubelet", "signal": [20, 3, 3, 3], "amplitude": [3, 3, 3]}},
        ),
        ("model/classifier.json", {"format": 2}),
    ],
)
def test_a_run_of_another_version_is_one_clear_error(
    copy: Path, name: str, change: dict[str, object]
) -> None:
    rewritten(copy / name, change)
    with pytest.raises(BadFileError, match="run must be a folder that `neuro train` wrote") as caught:
        load_run(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("run.json", key) for key in ("recipe", "tr", "space", "atlas_digest", "format")),
        *(("model/classifier.json", key) for key in ("parameters", "losses", "classes", "tokens", "people")),
    ],
)
def test_a_run_that_lacks_something_is_one_clear_error(copy: Path, name: str, key: str) -> None:
    rewritten(copy / name, without=key)
    with pytest.raises(BadFileError, match=f"got KeyError: '{key}'"):
        load_run(copy)


def test_a_wrong_device_is_not_the_folders_fault(run_folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"device must be .*, got 'abacus'"):
        load_run(run_folder, "abacus")


def test_the_folder_of_a_training_takes_its_result_once(
    fitted: ParkinsonClassifier, cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "begun.json").write_text("{}")
    (tmp_path / "history.csv").write_text("step,loss")
    (tmp_path / "model").mkdir()  # of an end that was broken off
    (tmp_path / "model/half").write_text("x")
    save_run(fitted, cache, tmp_path)
    names = ["begun.json", "history.csv", "model", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert not (tmp_path / "model/half").exists()
    assert load_run(tmp_path, "cpu").classifier.losses_ == fitted.losses_
    with pytest.raises(ParameterError, match="new or empty"):
        save_run(fitted, cache, tmp_path)


def test_a_classifier_of_runs_stands_alone(
    fitted: ParkinsonClassifier, tokens: list[RunTokens], tmp_path: Path
) -> None:
    folder = fitted.save(tmp_path / "saved")
    loaded = ParkinsonClassifier.load(folder, "cpu")
    np.testing.assert_array_equal(loaded.decision_function(tokens), fitted.decision_function(tokens))
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.spec_, loaded.layout_) == (fitted.spec_, fitted.layout_)
    assert loaded.people_ is None
    with pytest.raises(ParameterError, match="new or empty"):
        fitted.save(folder)
    with pytest.raises(NotFittedError):
        ParkinsonClassifier().save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("frames", [None, 1, 24])
def test_a_classifier_of_arrays_comes_back(study: StudyConfig, tmp_path: Path, frames: int | None) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 4) if frames is None else (6, frames, 4))
    named = pd.DataFrame(X, columns=list("abcd")) if frames is None else X
    classifier = study.classifier().fit(named, ["PD", "HC"] * 3, groups=[f"p{i}" for i in range(6)])
    loaded = ParkinsonClassifier.load(classifier.save(tmp_path / "saved"), "cpu")
    np.testing.assert_array_equal(loaded.predict_proba(named), classifier.predict_proba(named))
    assert loaded.predict(named).tolist() == classifier.predict(named).tolist()
    assert loaded.people_ == classifier.people_ == [f"p{i}" for i in range(6)]
    assert loaded.n_features_in_ == 4
    assert hasattr(loaded, "feature_names_in_") is (frames is None)
    with pytest.raises(ValueError, match=r"3 features|feature names should match"):
        loaded.predict(X[..., :3] if frames else named[list("abc")])


def test_options_that_are_not_the_defaults_come_back(tokens: list[RunTokens], tmp_path: Path) -> None:
    training = TrainingConfig(
        epochs=1, ema=0.5, adaptation=Adaptation(method="lora", lora=LoraOptions(rank=2))
    )
    model = ModelConfig(backbone=TINY_BACKBONE, readout="mean", drop_path=0.1)
    classifier = ParkinsonClassifier(model, training, seed=7, device="cpu").fit(tokens[:2], [0, 1])
    loaded = ParkinsonClassifier.load(classifier.save(tmp_path / "saved"), "cpu")
    assert loaded.get_params() == classifier.get_params()
    assert loaded.training.adaptation.lora == LoraOptions(rank=2)
    assert loaded.model_.encoder.config == model
    np.testing.assert_array_equal(loaded.decision_function(tokens), classifier.decision_function(tokens))


def test_nothing_of_a_saved_classifier_is_pickled(run_folder: Path) -> None:
    kinds = {path.suffix for path in run_folder.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors"}
