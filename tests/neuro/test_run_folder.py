"""A trained run on disk: what was saved answers as before, and what is damaged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.caches.cache import Cache
from data.errors import BadFileError, ParameterError
from neuro.classify import ParkinsonClassifier
from neuro.run_folder import load_run, save_run
from neuro.study import StudyConfig
from neuro.tokens import RunTokens


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
    assert loaded.tubelet == study.tubelet
    assert loaded.tr == 2.0
    facts = json.loads((run_folder / "run.json").read_text())
    assert loaded.facts == facts
    assert facts["recipe_identity"] == cache.identity
    assert facts["participants"] == sorted(cache.table["participant_id"])
    assert facts["people"] == sorted(cache.table["person"])
    assert facts["patch_voxels"] == [2, 2, 2]
    assert facts["fingerprint"] == fitted.model_.backbone.fingerprint
    assert sorted(path.name for path in run_folder.iterdir()) == ["backbone", "brain.safetensors", "run.json"]


def test_a_folder_may_move(copy: Path, fitted: ParkinsonClassifier, tokens: list[RunTokens]) -> None:
    moved = copy.rename(copy.with_name("elsewhere"))
    found = load_run(moved, "cpu").classifier.decision_function(tokens[:2])
    np.testing.assert_array_equal(found, fitted.decision_function(tokens[:2]))


def test_words_as_labels_come_back(
    cache: Cache, study: StudyConfig, tokens: list[RunTokens], tmp_path: Path
) -> None:
    classifier = study.classifier().fit(tokens[:2], ["PD", "HC"])
    save_run(classifier, cache, study.tubelet, tmp_path / "run")
    loaded = load_run(tmp_path / "run", "cpu").classifier
    assert loaded.classes_.tolist() == ["HC", "PD"]
    assert loaded.predict(tokens).tolist() == classifier.predict(tokens).tolist()


def test_an_empty_folder_is_taken(
    fitted: ParkinsonClassifier, cache: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    assert save_run(fitted, cache, study.tubelet, tmp_path / "run") == tmp_path / "run"
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
        save_run(fitted, cache, study.tubelet, place)
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
        save_run(fitted, cache, study.tubelet, tmp_path / "run")
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
        ("brain.safetensors", b"x"),
        ("brain.safetensors", b""),
        ("backbone", None),
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


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"confounds": "no such strategy"}},
        {"recipe": {"unheard_of": 1}},
        {"training": {"epochs": "many"}},
        {"classes": None},
        {"tubelet": {"frames": 24}},
        {"patch_voxels": [3, 3, 3]},
        {"format": 99},
    ],
)
def test_a_run_json_of_another_version_is_one_clear_error(copy: Path, change: dict[str, object]) -> None:
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(BadFileError, match="run must be a folder that `neuro train` wrote"):
        load_run(copy)


@pytest.mark.parametrize("key", ["recipe", "training", "tr", "losses", "seed", "backbone", "classes"])
def test_a_run_json_that_lacks_something_is_one_clear_error(copy: Path, key: str) -> None:
    facts = json.loads((copy / "run.json").read_text())
    del facts[key]
    (copy / "run.json").write_text(json.dumps(facts))
    with pytest.raises(BadFileError, match=f"got KeyError: '{key}'"):
        load_run(copy)


def test_a_wrong_device_is_not_the_folders_fault(run_folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"device must be .*, got 'abacus'"):
        load_run(run_folder, "abacus")
