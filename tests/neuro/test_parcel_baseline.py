"""Connectivity of parcels as a contender: its features, and whole evaluations of caches without voxels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import EmpiricalCovariance

from data.caches.cache import Cache
from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.parcels.series import Parcels
from neuro.baselines.connectivity import correlations, parcel_connectivity
from neuro.cli import main
from neuro.conduct import conduct
from neuro.protocol.contender import Contender
from neuro.protocol.contenders import CONNECTIVITY, MAJORITY, TANGENT, TRANSFORMER, atlas_in_focus, contenders
from neuro.protocol.plan import PlanConfig, draw_plan
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig, cut_runs, has_voxels, tokens_for
from neuro.tokens import ParcelSpec, TubeletSpec

PEOPLE, T, R = 12, 60, 5


def compared(cache: Cache, config: StudyConfig) -> list[Contender]:
    plan = PlanConfig(folds=2, repeats=1, inner=2, across=False)
    return contenders(cache, config, draw_plan(Roster.of(cache), plan))


@pytest.fixture
def published(tmp_path: Path) -> Cache:
    """Parcels of twelve people; in patients the first two regions go together."""
    rng = np.random.default_rng(7)
    labels = np.arange(PEOPLE) % 2
    series = rng.normal(size=(PEOPLE, T, R))
    series[labels == 1, :, 0] += 2 * series[labels == 1, :, 1]
    np.savez(
        tmp_path / "siteA.npz",
        ts_AAL=series.astype(np.float32),
        ts_HO=rng.normal(size=(PEOPLE, T, 3)).astype(np.float32),
        subject=np.array([f"p{i:02d}" for i in range(PEOPLE)]),
        y=labels,
    )
    return prepare_parcels(ParcelCohort.from_npz([tmp_path / "siteA.npz"], tr=2), tmp_path / "cache")


def test_correlations_are_numpys_and_those_of_a_flat_region_zero() -> None:
    series = np.random.default_rng(0).normal(3, 2, (40, 4)).astype(np.float32)
    series[:, 2] = 0.7
    found = correlations(series)
    expected = np.corrcoef(series[:, [0, 1, 3]].T)
    lower = {(1, 0): 0, (2, 0): 1, (2, 1): 2, (3, 0): 3, (3, 1): 4, (3, 2): 5}
    for (row, column), place in lower.items():
        if 2 in (row, column):
            assert found[place] == 0
        else:
            wanted = expected[[0, 1, None, 2][row], [0, 1, None, 2][column]]
            assert found[place] == pytest.approx(wanted, abs=1e-6)
    assert found.shape == (6,)


def test_features_are_nilearns_of_the_raw_series(published: Cache, tmp_path: Path) -> None:
    from nilearn.connectome import ConnectivityMeasure

    with np.load(tmp_path / "siteA.npz") as arrays:
        series = list(arrays["ts_AAL"])
    measure = ConnectivityMeasure(
        EmpiricalCovariance(), kind="correlation", vectorize=True, discard_diagonal=True, standardize=False
    )
    found = parcel_connectivity(published, "AAL")
    assert found.shape == (PEOPLE, R * (R - 1) // 2)
    np.testing.assert_allclose(found, measure.fit_transform(series), atol=1e-5)


def test_runs_of_different_atlases_under_one_name_are_not_mixed(published: Cache) -> None:
    folder = published.root / "runs" / str(published.table["run_id"].iloc[3])
    other = published.parcels(3, "AAL")
    changed = {name: getattr(other, name) for name in ("regions", "mean_R", "std_R", "coverage_R")}
    Parcels(atlas="AAL", digest="another", z_FR=np.array(other.z_FR), **changed).write(folder)
    with pytest.raises(FingerprintMismatchError, match="atlas AAL must be one and the same for all runs"):
        parcel_connectivity(published, "AAL")
    with pytest.raises(ParameterError, match=r"atlas must be one of the cache's \(AAL, HO\), got aal"):
        parcel_connectivity(published, "aal")


def test_in_a_cache_without_voxels_all_look_at_parcels(published: Cache) -> None:
    assert not has_voxels(published)
    found = compared(published, StudyConfig())
    names = [CONNECTIVITY, "connectivity of HO + SVM", TANGENT, MAJORITY]
    assert [contender.name for contender in found] == [TRANSFORMER, *names]
    assert found[1].note == f"{R} regions of AAL, correlations, linear"
    np.testing.assert_array_equal(found[1].X, parcel_connectivity(published, "AAL"))
    assert {run.shape for run in found[3].X} == {(T, R)}
    assert {run.spec for run in found[0].X} == {ParcelSpec(atlas="AAL", frames=T, profile="correlation")}
    assert found[0].note == "small ViT, initialised from scratch; parcel tokens"
    with pytest.raises(BadFileError, match="got parcel series only"):
        cut_runs(published, TubeletSpec())


def test_the_atlas_can_be_chosen(published: Cache) -> None:
    chosen = tokens_for(published, TubeletSpec(), "HO")
    assert chosen == ParcelSpec(atlas="HO", frames=T, profile="correlation")
    assert {run.layout.regions for run in cut_runs(published, chosen)} == {3}
    own = ParcelSpec(atlas="AAL", frames=20)
    assert tokens_for(published, own) == own
    assert tokens_for(published, own, "HO") == ParcelSpec(atlas="HO", frames=20)
    with pytest.raises(ParameterError, match=r"atlas must be one of the cache's \(AAL, HO\), got aal"):
        cut_runs(published, tokens_for(published, TubeletSpec(), "aal"))


def test_the_chosen_atlas_stands_for_connectivity(published: Cache) -> None:
    config = StudyConfig(atlas="HO")
    assert (atlas_in_focus(published, StudyConfig()), atlas_in_focus(published, config)) == ("AAL", "HO")
    found = {contender.name: contender for contender in compared(published, config)}
    names = [CONNECTIVITY, "connectivity of AAL + SVM", TANGENT, MAJORITY]
    assert list(found) == [TRANSFORMER, *names]
    np.testing.assert_array_equal(found[CONNECTIVITY].X, parcel_connectivity(published, "HO"))
    assert {run.shape for run in found[TANGENT].X} == {(T, 3)}
    assert found[TANGENT].note.startswith("3 regions of HO, covariances")


def test_an_atlas_is_for_parcels_alone(cache: Cache) -> None:
    with pytest.raises(ParameterError, match="left out where tokens are no parcels, got AAL; take --preset"):
        tokens_for(cache, TubeletSpec(), "AAL")


def test_it_is_evaluated_and_reported_without_voxels(
    published: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "relevance.nii.gz").write_bytes(b"of an earlier evaluation")
    done = conduct(
        published, replace(study, tangent=True, plan=replace(study.plan, folds=3)), tmp_path / "out"
    )
    _, aal, ho, tangent, _ = done.evaluation.outcomes
    assert aal.auc.estimate > 0.9  # planted
    assert tangent.auc.estimate > 0.9
    assert ho.auc.estimate < 0.9  # noise
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "results.json", "predictions.csv", "cohort.csv", "splits.json"} <= left
    assert {"relevance.json", "regions.tsv"} <= left
    assert not {"relevance.nii.gz", "relevance.html", "clusters.tsv"} & left
    results = json.loads((tmp_path / "out" / "results.json").read_text())["facts"]
    assert results["recipe_identity"] == published.identity
    page = (tmp_path / "out" / "report.html").read_text()
    assert published.identity in page
    assert "regions of AAL, each its correlations with all regions over 60 frames" in page
    assert results["config"]["tokens"] == {
        "kind": "parcel",
        "frames": T,
        "atlas": "AAL",
        "profile": "correlation",
        "centres": True,
    }
    assert "Where the regions of AAL lie is not known here: they have a table, and no image." in page
    table = pd.read_csv(tmp_path / "out" / "regions.tsv", sep="\t", dtype={"region": str})
    assert sorted(table["region"]) == sorted(published.parcels(0, "AAL").regions)
    assert "brain Transformer" in done.findings.verdict.headline
    assert [one.against for one in done.findings.verdict.comparisons] == [CONNECTIVITY, TANGENT]
    assert "It was not compared with models of confounds alone" in done.findings.verdict.words[0] or (
        done.findings.verdict.chance.answer != "above"
    )


def test_the_recipe_of_places_is_evaluated_and_told_in_the_report(
    published: Cache, tmp_path: Path, run_command: Any
) -> None:
    folds = (
        "--folds",
        3,
        "--repeats",
        1,
        "--inner",
        2,
        "--no-tangent",
        "--set",
        f"tokens.frames={T}",
        "--device",
        "cpu",
    )
    out = tmp_path / "out"
    preset = ("--preset", "places", "--atlas", "AAL")
    done = run_command(main, "neuro", "evaluate", published.root, "--out", out, *preset, *folds)
    assert done.code == 0, done.err
    models = json.loads((out / "results.json").read_text())["models"]
    assert models[0]["name"] == TRANSFORMER
    assert models[0]["figures"]["auc"]["estimate"] > 0.9
    page = (out / "report.html").read_text()
    assert "a linear support vector machine over all tokens of a frozen encoder, by place" in page
    assert "in one go, with C = 100, seed 0" in page
    assert "AdamW" not in page


def test_parcels_beside_voxels_are_one_contender_more(
    cache: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    assert has_voxels(cache)
    copy = replace(cache, root=shutil.copytree(cache.root, tmp_path / "copy"))
    for i, run_id in enumerate(copy.table["run_id"]):
        z_FR = np.asarray(copy.run(i).series_TV[:, ::50], dtype=np.float32)
        regions = tuple(map(str, range(z_FR.shape[1])))
        ones = np.ones(len(regions), np.float32)
        parcels = Parcels(
            atlas="few", digest="x", regions=regions, z_FR=z_FR, mean_R=ones, std_R=ones, coverage_R=ones
        )
        parcels.write(copy.root / "runs" / str(run_id))
    names = [contender.name for contender in compared(copy, study)]
    plain = [contender.name for contender in compared(cache, study)]
    assert names == [*plain[:2], "connectivity of few + SVM", *plain[2:]]
    assert plain[:2] == [TRANSFORMER, CONNECTIVITY]
