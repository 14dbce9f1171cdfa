"""Maps of a group, of votes and others: sums that must come out, against a loop over voxels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.explain import METHODS, Options, as_image, group_map, out_of_fold, relevance, write_image
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import evaluate
from neuro.protocol.plan import draw_plan
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig, cut_runs, labels_and_people
from neuro.tokens import RunTokens, TubeletSpec, collate


def run_votes(classifier: ParkinsonClassifier, run: RunTokens) -> np.ndarray:
    return relevance(classifier, run, "votes").values_S


@dataclass(frozen=True, kw_only=True)
class Known:
    """The models of an evaluation's folds, and who was tested by which."""

    models: list[ParkinsonClassifier]
    fold_of: np.ndarray
    labels: np.ndarray

    def vote_map(self, runs: list[RunTokens]) -> np.ndarray:
        return group_map(out_of_fold(self.models, runs, self.fold_of, "votes"), self.labels)


@pytest.fixture(scope="module")
def evaluation(cache: Cache, study: StudyConfig, tokens: list[RunTokens]) -> Known:
    roster = Roster.of(cache)
    rival = Contender(name="x", estimator=study.classifier(), X=tokens)
    plan = draw_plan(roster, replace(study.plan, across=False))
    outcome = evaluate([rival], roster, plan).outcomes[0]
    models = [ready.estimator for ready in outcome.settled]
    return Known(models=models, fold_of=outcome.within.folds[0], labels=roster.labels)


def test_votes_and_bias_add_up_to_the_logit(fitted: ParkinsonClassifier, tokens: list[RunTokens]) -> None:
    for run in tokens:
        votes = run_votes(fitted, run)
        assert votes.shape == (len(run.centres_S3),)
        assert votes.std() > 0
        total = votes.sum() + fitted.model_.readout.bias.item()
        assert total == pytest.approx(fitted.decision_function([run])[0], abs=1e-4)


def test_the_map_equals_a_slow_loop(evaluation: Known, tokens: list[RunTokens]) -> None:
    """Voxel by voxel: mean over patients minus mean over controls, each by the model that had not seen it."""
    models = evaluation.models
    sums = {label: np.zeros(tokens[0].shape) for label in (0, 1)}
    for i, run in enumerate(tokens):
        votes = run_votes(models[evaluation.fold_of[i]], run)
        for cube, origin in enumerate(run.origins_S3):
            for place, inside in enumerate(run.inside_SP[cube]):
                if inside:
                    voxel = origin + np.unravel_index(place, run.patch_voxels)
                    sums[int(evaluation.labels[i])][tuple(voxel)] += votes[cube]
    expected = sums[1] / 6 - sums[0] / 6
    found = evaluation.vote_map(tokens)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert np.abs(found).max() > 1e-3


def test_the_model_of_the_other_fold_would_give_another_map(
    evaluation: Known, tokens: list[RunTokens]
) -> None:
    swapped = replace(evaluation, models=evaluation.models[::-1])
    out_of_fold, in_fold = (one.vote_map(tokens) for one in (evaluation, swapped))
    assert np.abs(out_of_fold - in_fold).max() > 1e-3


def test_outside_the_brain_there_is_nothing(evaluation: Known, tokens: list[RunTokens], cache: Cache) -> None:
    volume = evaluation.vote_map(tokens)
    brain = np.any([cache.run(i).mask_XYZ for i in range(len(cache))], axis=0)
    assert not volume[~brain].any()
    image = as_image(volume, tokens[0])
    np.testing.assert_array_equal(image.affine, cache.run(0).affine)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)


def test_runs_on_several_grids_have_no_common_map(evaluation: Known, tokens: list[RunTokens]) -> None:
    larger = np.pad(tokens[0].run.mask_XYZ, ((0, 1), (0, 0), (0, 0)))
    mixed = [replace(tokens[0], run=replace(tokens[0].run, mask_XYZ=larger)), *tokens[1:]]
    with pytest.raises(ParameterError, match="runs must be on one grid for a common map, got several grids"):
        evaluation.vote_map(mixed)


def test_grids_that_only_look_alike_give_no_common_map(evaluation: Known, tokens: list[RunTokens]) -> None:
    shifted = tokens[0].affine.copy()
    shifted[0, 3] += 4
    mixed = [replace(tokens[0], run=replace(tokens[0].run, affine=shifted)), *tokens[1:]]
    with pytest.raises(ParameterError, match="on one grid"):
        evaluation.vote_map(mixed)


def test_an_image_is_written_whole_and_read_back(tmp_path: Path) -> None:
    volume_XYZ = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    image = nib.Nifti1Image(volume_XYZ, np.diag([4.0, 4.0, 4.0, 1.0]))
    for _ in range(2):  # the second in the first one's place
        write_image(image, tmp_path / "map.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["map.nii.gz"]
    read = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(read.get_fdata(), volume_XYZ)
    np.testing.assert_array_equal(read.affine, image.affine)


def test_votes_of_all_windows_count_for_their_place(cache: Cache, study: StudyConfig) -> None:
    labels = labels_and_people(cache)[0]
    runs = cut_runs(cache, TubeletSpec(frames=20, window=5))
    fitted = study.classifier().fit(runs, labels)
    votes = run_votes(fitted, runs[0])
    assert votes.shape == (len(runs[0].centres_S3),)
    total = votes.sum() + fitted.model_.readout.bias.item()
    assert total == pytest.approx(fitted.decision_function(runs[:1])[0], abs=1e-4)
    batch = collate(runs[0].clips())
    slow = np.zeros(len(votes))
    with torch.inference_mode():
        for clip in fitted.model_.votes(batch).numpy():
            for token, vote in enumerate(clip):
                slow[token % batch.places] += vote / len(batch)
    np.testing.assert_allclose(votes, slow, atol=1e-6)
    assert batch.windows == 4


def test_a_model_that_does_not_vote_by_place_has_no_map(
    evaluation: Known, cache: Cache, study: StudyConfig, tokens: list[RunTokens]
) -> None:
    model = replace(study.model, readout="class")
    fitted = replace(study, model=model).classifier().fit(tokens, labels_and_people(cache)[0])
    with pytest.raises(ParameterError, match="readout must be one whose logit is a sum of votes"):
        replace(evaluation, models=[fitted, fitted]).vote_map(tokens)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "occlusion"])
def test_each_person_is_explained_by_the_model_that_had_not_seen_them(
    method: str, evaluation: Known, tokens: list[RunTokens]
) -> None:
    models, few = evaluation.models, Options(steps=2)
    found = out_of_fold(models, tokens, evaluation.fold_of, method, few)
    assert [one.run for one in found] == tokens
    for i in (0, 5, 11):
        fold = evaluation.fold_of[i]
        own = relevance(models[fold], tokens[i], method, few).values_S
        other = relevance(models[1 - fold], tokens[i], method, few).values_S
        np.testing.assert_array_equal(found[i].values_S, own)
        assert np.abs(own - other).max() > 1e-6
    volumes = np.stack([one.volume() for one in found])
    mean = [volumes[evaluation.labels == label].mean(0) for label in (0, 1)]
    np.testing.assert_allclose(group_map(found, evaluation.labels), mean[1] - mean[0], atol=1e-6)


def test_a_map_of_regions_is_a_value_for_each(study: StudyConfig) -> None:
    series = np.random.default_rng(0).normal(size=(12, 24, 4))
    labels = np.array([0, 1] * 6)
    fitted = study.classifier().fit(series, labels)
    found = [relevance(fitted, run, "votes") for run in fitted.tokens(series)]
    values = np.stack([one.values_S for one in found])
    expected = values[labels == 1].mean(0) - values[labels == 0].mean(0)
    np.testing.assert_allclose(group_map(found, labels), expected, atol=1e-6)


def test_what_a_site_says_cancels_where_sites_hold_unequal_shares_of_patients(study: StudyConfig) -> None:
    series = np.random.default_rng(0).normal(size=(12, 24, 4))
    labels = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1])
    sites = np.array(["A"] * 4 + ["B"] * 5 + ["C"] * 3, dtype=object)  # C holds patients alone
    fitted = study.classifier().fit(series, labels)
    found = [relevance(fitted, run, "votes") for run in fitted.tokens(series)]
    values = np.stack([one.values_S for one in found])
    within = [
        values[(sites == site) & (labels == 1)].mean(0) - values[(sites == site) & (labels == 0)].mean(0)
        for site in ("A", "B")
    ]
    expected = (4 * within[0] + 5 * within[1]) / 9
    np.testing.assert_allclose(group_map(found, labels, sites), expected, atol=1e-6)
    shifted = [
        replace(one, values_S=one.values_S + 3 * (site == "A"))
        for one, site in zip(found, sites, strict=True)
    ]
    np.testing.assert_allclose(group_map(shifted, labels, sites), expected, atol=1e-6)
    assert np.abs(group_map(shifted, labels) - group_map(found, labels)).min() > 0.1
    alone = np.where(labels == 1, "A", "B").astype(object)
    np.testing.assert_allclose(group_map(found, labels, alone), group_map(found, labels), atol=1e-6)


def test_a_group_needs_both_labels_and_a_model_for_everybody(
    evaluation: Known, tokens: list[RunTokens]
) -> None:
    models = evaluation.models
    untested = np.where(np.arange(len(tokens)) == 3, -1, evaluation.fold_of)
    with pytest.raises(ParameterError, match="fold_of must be one of the 2 models' for each of 12 runs"):
        out_of_fold(models, tokens, untested, "votes")
    found = out_of_fold(models, tokens, evaluation.fold_of, "votes")
    with pytest.raises(ParameterError, match=r"labels must be 0 and 1, of 12 runs, got \[1\] of 12"):
        group_map(found, np.ones(12, np.int64))
