"""How strange a scan is: distances against scikit-learn and loops, percentiles, words, simulated scanners."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from data.caches.cache import Cache, prepare
from data.caches.cached_run import CachedRun
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError, ParameterError, UnknownNameError
from data.simulation.cohort import SimulationSpec, simulate
from neuro.calibration.acquisition import MEASURES, Fingerprint, acquisition_of, acquisition_table
from neuro.calibration.distances import FITS, NEIGHBOURS, Mahalanobis, Neighbours
from neuro.calibration.figures import novelty_figure
from neuro.calibration.novelty import Novelty
from neuro.calibration.saved import NOVELTY, read_novelty, write_novelty
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier import ParkinsonClassifier
from neuro.model.run_reading import run_batches
from neuro.study import StudyConfig, cut_runs
from neuro.tokens import RunTokens, cut_run

ACQUISITION = pd.DataFrame(
    {"tr": [2.0, 2.0, 2.0, 2.5], "voxel_x": 3.0, "frames": [200, 210, 190, 200], "space": "MNI",
     "site": list("AABB"), "fd_mean": [0.1, 0.2, 0.3, np.nan], "tsnr": [60.0, 70.0, 65.0, 50.0]}
)  # fmt: skip


def table(runs: int) -> pd.DataFrame:
    return ACQUISITION.iloc[np.arange(runs) % 4].reset_index(drop=True)


@pytest.mark.parametrize(("count", "width"), [(40, 5), (12, 12), (10, 80)])
def test_mahalanobis_is_scikit_learns_with_ledoit_and_wolfs_covariance(count: int, width: int) -> None:
    rng = np.random.default_rng(count)
    mixing = rng.normal(size=(width, width))
    training, new = rng.normal(size=(count, width)) @ mixing, 3 * rng.normal(size=(20, width)) @ mixing
    wanted = np.sqrt(LedoitWolf().fit(training).mahalanobis(new))
    np.testing.assert_allclose(Mahalanobis.fit(training).of(new), wanted, rtol=1e-7)


def test_neighbours_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    training, new = rng.normal(size=(15, 4)), rng.normal(size=(6, 4))
    for point, found in zip(new, Neighbours.fit(training).of(new), strict=True):
        apart = sorted(float(np.sqrt(((point - other) ** 2).sum())) for other in training)
        assert found == pytest.approx(sum(apart[:NEIGHBOURS]) / NEIGHBOURS)


@pytest.mark.parametrize("method", FITS)
def test_embeddings_that_are_all_alike_make_anything_else_infinitely_far_but_finite(method: str) -> None:
    novelty = Novelty.fit(np.ones((6, 3)), table(6), method=method)
    assert not novelty.score(np.ones(3), {}).far
    assert novelty.score(np.array([1.0, 1.0, 1.01]), {}).far
    assert np.isfinite(novelty.score(np.array([1.0, 1.0, 1.01]), {}).distance)


@pytest.mark.parametrize("method", FITS)
def test_each_person_is_measured_with_all_of_their_runs_left_out(method: str) -> None:
    rng = np.random.default_rng(1)
    embeddings, people = rng.normal(size=(16, 6)), np.repeat(np.arange(8), 2)
    embeddings[1::2] = embeddings[::2] + 1e-3  # a person's runs are nearly one
    novelty = Novelty.fit(embeddings, table(16), people=people, method=method)
    for person in range(8):
        others = FITS[method](embeddings[people != person])
        np.testing.assert_allclose(
            novelty.distances[people == person], others.of(embeddings[people == person])
        )
    assert novelty.people == 8


@pytest.mark.parametrize("method", FITS)
def test_new_people_like_those_of_training_are_called_far_one_time_in_twenty(method: str) -> None:
    rng, far, percentiles = np.random.default_rng(5), [], []
    for _ in range(150):
        found = Novelty.fit(rng.normal(size=(39, 20)), table(39), method=method)
        scores = [found.score(point, {}) for point in rng.normal(size=(5, 20))]
        far += [score.far for score in scores]
        percentiles += [score.percentile for score in scores]
    assert 0.02 < np.mean(far) < 0.08
    assert 42 < np.mean(percentiles) < 58


def test_the_percentile_counts_people_not_runs() -> None:
    rng = np.random.default_rng(2)
    embeddings = rng.normal(size=(10, 3))
    runs, people = np.concatenate([embeddings, np.tile(embeddings[:1], (30, 1))]), [*range(10), *[0] * 30]
    novelty = Novelty.fit(runs, table(40), people=people)
    score = novelty.score(embeddings[1], {})
    beyond = np.array(
        [d >= score.distance for d in novelty.distances[:10]]
    )  # copies of a run have one distance
    assert score.percentile == pytest.approx(100 * (1 - beyond.mean()))
    assert score.p_value == pytest.approx((1 + beyond.sum()) / 11)
    assert score.people == 10


def test_of_few_people_only_what_lies_beyond_all_is_far() -> None:
    novelty = Novelty.fit(np.random.default_rng(3).normal(size=(6, 2)), table(6))
    found = novelty.score(np.array([50.0, 50.0]), {})
    assert found.far
    assert found.percentile == 100
    assert found.p_value == pytest.approx(1 / 7)
    assert "further out than all the 6 people" in found.in_words()[0]
    assert not novelty.score(np.zeros(2), {}).strange
    assert novelty.score(np.zeros(2), {}).in_words() == ()


def test_mismatches_are_told_in_words() -> None:
    told = Fingerprint.of(ACQUISITION).mismatches(
        {"tr": 3.0, "voxel_x": 4, "frames": 100, "space": "native", "site": "C", "fd_mean": 0.9, "tsnr": 20}
    )
    assert told == (
        "repetition time 3 s; training runs had 2 to 2.5 s",
        "voxel edge along x 4 mm; training runs had 3 mm",
        "frames 100; training runs had 190 to 210",
        "mean framewise displacement 0.9 mm; training runs had 0.1 to 0.3 mm",
        "temporal signal-to-noise 20; training runs had 50 to 70",
        "space native; training runs were of MNI",
        "site C; training runs were of A, B",
    )


def test_what_is_alike_longer_stiller_or_not_known_is_no_mismatch() -> None:
    fingerprint = Fingerprint.of(ACQUISITION)
    like = {
        "tr": 2.2,
        "voxel_x": 3.05,
        "frames": 900,
        "fd_mean": 0.01,
        "tsnr": 300.0,
        "space": "MNI",
        "site": "B",
    }
    assert fingerprint.mismatches(like) == ()
    assert fingerprint.unknown(like) == ()
    some = {"tr": 2.0, "site": None, "fd_mean": np.nan, "voxel_z": 9.0}  # of voxel_z training knows nothing
    assert fingerprint.mismatches(some) == ()
    assert fingerprint.unknown(some) == (
        "voxel edge along x", "frames", "mean framewise displacement",
        "temporal signal-to-noise", "space", "site",
    )  # fmt: skip


def test_words_of_a_mismatch_are_warnings_where_the_embedding_is_near() -> None:
    novelty = Novelty.fit(np.random.default_rng(3).normal(size=(8, 2)), table(8))
    score = novelty.score(np.zeros(2), {"tr": 1.0})
    assert score.strange
    assert not score.far
    assert score.in_words() == ("repetition time 1 s; training runs had 2 to 2.5 s",)
    json.dumps(asdict(score), allow_nan=False)


@pytest.mark.parametrize("method", FITS)
def test_it_comes_back_from_its_file_to_the_bit(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    made = Novelty.fit(rng.normal(size=(9, 30)), table(9), people=[0, *range(8)], method=method)
    write_novelty(made, tmp_path)
    again = read_novelty(tmp_path)
    assert again is not None
    for point in rng.normal(size=(5, 30)) * 3:
        assert again.score(point, {"tr": 3.0}) == made.score(point, {"tr": 3.0})
    assert read_novelty(tmp_path / "elsewhere") is None
    (tmp_path / NOVELTY).write_text('{"format": 1}')
    with pytest.raises(BadFileError, match="train again"):
        read_novelty(tmp_path)


def test_what_cannot_be_judged_is_refused() -> None:
    embeddings = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.raises(UnknownNameError, match="did you mean mahalanobis"):
        Novelty.fit(embeddings, table(8), method="mahalonobis")
    with pytest.raises(ParameterError, match="at least 4"):
        Novelty.fit(embeddings, table(8), people=[0, 1, 2, 0, 1, 2, 0, 1])
    with pytest.raises(ParameterError, match="one row for each of 8"):
        Novelty.fit(embeddings, table(7))
    with pytest.raises(ParameterError, match="width 3"):
        Novelty.fit(embeddings, table(8)).score(np.zeros(4), {})
    with pytest.raises(ParameterError, match="finite"):
        Novelty.fit(np.where(embeddings > 1, np.nan, embeddings), table(8))


def test_the_picture_marks_the_scan_among_training() -> None:
    novelty = Novelty.fit(np.random.default_rng(3).normal(size=(8, 2)), table(8))
    score = novelty.score(np.zeros(2), {})
    (axes,) = novelty_figure(novelty, score).axes
    assert axes.lines[0].get_xdata()[0] == score.distance
    assert sorted(axes.collections[0].get_offsets()[:, 0]) == pytest.approx(sorted(novelty.distances))


def test_an_embedding_is_mean_and_scatter_of_all_tokens(
    fitted: ParkinsonClassifier, tokens: list[RunTokens]
) -> None:
    encoder = fitted.model_.encoder
    found = embeddings_of(fitted, tokens[:2])
    for run, row in zip(tokens, found, strict=False):
        rows = np.concatenate(
            [
                encoder(b).tokens_BND.detach().numpy().reshape(-1, encoder.width)
                for b in run_batches(encoder, run)
            ]
        )
        np.testing.assert_allclose(row[: encoder.width], rows.mean(0), atol=1e-5)
        np.testing.assert_allclose(row[encoder.width :], np.log(rows.std(0)), atol=1e-4)


def test_the_acquisition_of_a_cache_is_that_of_its_runs(cache: Cache) -> None:
    found = acquisition_table(cache)
    assert list(found.columns) == [*(m.name for m in MEASURES), "space", "site"]
    assert (found[["tr", "voxel_x", "voxel_y", "voxel_z"]].to_numpy() == [2, 8, 8, 8]).all()
    assert found["frames"].tolist() == cache.table["n_frames"].tolist()
    assert set(found["site"]) == {"site-A", "site-B"}
    assert found["tsnr"].between(20, 300).all()
    for i in (0, 5):
        assert acquisition_of(cache.run(i), {"space": "MNI", "site": None})["tsnr"] == found["tsnr"][i]


def noisy(run: CachedRun, gain: float) -> CachedRun:
    """White noise added, `gain` times the median standard deviation of a voxel."""
    rng = np.random.default_rng(1)
    series = run.frames() * run.std_V
    series = series + gain * np.median(run.std_V) * rng.standard_normal(series.shape)
    std = np.maximum(series.std(0), 1e-6)
    z = ((series - series.mean(0)) / std).astype(np.float16)
    return replace(run, series_TV=z, std_V=std.astype(np.float32), scale_V=None)


def test_another_scanner_and_noise_lie_further_out_than_new_people_of_the_same_scanners(
    fitted: ParkinsonClassifier, tokens: list[RunTokens], cache: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    def simulated(name: str, **options: int) -> Cache:
        spec = SimulationSpec(voxel_mm=8, frames=48, **options)
        cohort = Cohort.from_derivatives(simulate(tmp_path / name, spec))
        return prepare(cohort, Recipe(confounds="6p"), tmp_path / f"{name}-cache", progress=False)

    same, other = (
        simulated("same", seed=3, subjects=24, sites=2),
        simulated("other", seed=77, subjects=8, sites=1),
    )
    novelty = Novelty.fit(embeddings_of(fitted, tokens), acquisition_table(cache))
    new = list(range(12, 24))  # the first twelve are those of training
    groups = {
        "same": cut_runs_of(same, new, study),
        "other": cut_runs(other, study.tokens),
        "noise": [cut_run(noisy(same.run(i), 3.0), study.tokens) for i in new],
    }
    scores = {
        name: [novelty.score(e, {}) for e in embeddings_of(fitted, runs)] for name, runs in groups.items()
    }
    distances = {name: [score.distance for score in found] for name, found in scores.items()}
    for name in ("other", "noise"):
        strange = [0] * len(new) + [1] * len(distances[name])
        assert roc_auc_score(strange, distances["same"] + distances[name]) > 0.9, name
        # Twelve people, one of them an outlier, have no room for more.
        assert np.mean([score.percentile for score in scores[name]]) > 75, name
    assert not any(score.far for score in scores["same"])
    assert np.mean([score.percentile for score in scores["same"]]) < 60


def cut_runs_of(cache: Cache, rows: list[int], study: StudyConfig) -> list[RunTokens]:
    return [cut_run(cache.run(i), study.tokens) for i in rows]
