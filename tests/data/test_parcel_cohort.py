"""Parcel series from .npz as a cohort and a cache; files that cannot be used; the real TaoWu and NEUROCON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from data.caches.cache import Cache
from data.cleaning.as_given import AsGiven, recipe_of
from data.cleaning.recipe import Recipe
from data.errors import BadFileError, ParameterError
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.splits.folds import assert_no_leak, subject_folds


@pytest.fixture
def write(tmp_path, rng):
    """Write an .npz of six people, with changes; None takes an array away."""

    def writes(name: str = "siteA.npz", **changes: object) -> Path:
        n = 6
        arrays: dict[str, object] = {
            "ts_AAL": rng.normal(5, 3, (n, 30, 4)).astype(np.float32),
            "ts_HO": rng.normal(size=(n, 30, 3)),
            "fc_AAL": np.zeros((n, 4, 4)),
            "subject": np.array([f"{name[:-4]}{i}" for i in range(n)]),
            "y": np.array([0, 1, 0, 1, 0, 1], np.int8),
            "age": np.array([60, 61, 62, np.nan, 64, 65], np.float32),
            "sex": np.array([*"FMFMF", ""]),
            **changes,
        }
        np.savez(tmp_path / name, **{key: value for key, value in arrays.items() if value is not None})
        return tmp_path / name

    return writes


def test_files_become_a_cohort_with_the_columns_of_every_cohort(write) -> None:
    cohort = ParcelCohort.from_npz([write("siteA.npz"), write("siteB.npz")], tr={"siteA": 2, "siteB": 3.48})
    assert len(cohort) == 12
    row = cohort.table.iloc[8]
    assert row["run_id"] == "sub-siteB2_site-siteB"
    assert (row["participant_id"], row["person"], row["site"]) == ("sub-siteB2", "siteB2", "siteB")
    assert (row["label"], row["age"], row["sex"], row["tr"], row["space"]) == (0, 62, "F", 3.48, "parcels")
    assert cohort.table["age"].isna().sum() == 2
    assert cohort.table.iloc[5]["sex"] == "n/a"
    assert cohort.table["label"].tolist() == [0, 1] * 6
    assert cohort.atlases == ("AAL", "HO")


def test_the_cache_gives_the_series_back(write, tmp_path) -> None:
    path = write(regions_HO=np.array(["left", "right", "mid"]))
    cache = prepare_parcels(ParcelCohort.from_npz([path], tr=2.0), tmp_path / "cache")
    assert isinstance(cache, Cache)
    assert len(cache) == 6
    assert cache.atlases == ("AAL", "HO")
    with np.load(path) as arrays:
        for i in (0, 5):
            parcels = cache.parcels(i, "AAL")
            np.testing.assert_allclose(parcels.raw(), arrays["ts_AAL"][i], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(parcels.z_FR.mean(0), 0, atol=1e-6)
            np.testing.assert_allclose(parcels.z_FR.std(0, ddof=1), 1, rtol=1e-5)
            assert np.isnan(parcels.coverage_R).all()
            assert cache.parcels(i, "HO").regions == ("left", "right", "mid")
            assert parcels.regions == ("1", "2", "3", "4")
    opened = Cache.open(tmp_path / "cache")
    assert opened.table.equals(cache.table)
    assert opened.table["n_frames"].tolist() == [30] * 6
    assert opened.table[["freedom", "fd_mean"]].isna().all(axis=None)
    facts = json.loads((tmp_path / "cache" / "runs" / "sub-siteA0_site-siteA" / "run.json").read_text())
    assert facts["shape"] is None
    assert set(facts["atlases"]) == {"AAL", "HO"}


def test_voxels_are_refused_with_the_way_to_the_parcels(write, tmp_path) -> None:
    cache = prepare_parcels(ParcelCohort.from_npz([write()], tr=2), tmp_path / "cache")
    with pytest.raises(
        BadFileError, match=r"must be one with voxels, got parcel series only; read it with `Cache\.parcels`"
    ):
        cache.run(0)
    with pytest.raises(ParameterError, match=r"atlas must be one of the cache's \(AAL, HO\), got aal"):
        cache.parcels(0, "aal")


def test_series_as_given_mix_with_no_recipe(write, tmp_path) -> None:
    cohort = ParcelCohort.from_npz([write()], tr=2)
    first = prepare_parcels(cohort, tmp_path / "1")
    other = prepare_parcels(ParcelCohort.from_npz([write("siteB.npz")], tr=2), tmp_path / "2")
    said = [
        prepare_parcels(c, tmp_path / name, given="nine confounds regressed")
        for name, c in (("3", cohort), ("4", ParcelCohort.from_npz([write("siteC.npz")], tr=2)))
    ]
    identities = {first.identity, other.identity, said[0].identity, Recipe().identity}
    assert len(identities) == 4
    assert said[0].identity == said[1].identity
    assert all(c.identity.startswith("as-given-") for c in (first, other, *said))
    assert said[0].recipe == AsGiven(given="nine confounds regressed")
    assert "siteA.npz" in first.recipe.given  # type: ignore[attr-defined]


def test_a_recipe_as_given_chooses_nothing() -> None:
    given = AsGiven(given="by others")
    assert recipe_of(asdict(given)) == given
    assert recipe_of(asdict(Recipe(confounds="6p"))) == Recipe(confounds="6p")
    with pytest.raises(ParameterError, match="some words on how the series were made, got ' '"):
        AsGiven(given=" ")
    with pytest.raises(ParameterError, match="must be without choices"):
        AsGiven(given="by others", detrend=True)
    with pytest.raises(TypeError):
        recipe_of({"sauce": 1})


def test_the_repetition_time_is_never_guessed(write, tmp_path) -> None:
    plain, own = write("siteA.npz"), write("siteB.npz", tr=np.array(2.5))
    with pytest.raises(ParameterError, match=r"tr must be stated for siteA\.npz, which does not say it"):
        ParcelCohort.from_npz([own, plain])
    with pytest.raises(ParameterError, match="tr must be of siteA, got one of taowu"):
        ParcelCohort.from_npz([plain], tr={"taowu": 2})
    assert set(ParcelCohort.from_npz([own]).table["tr"]) == {2.5}
    assert set(ParcelCohort.from_npz([own], tr=3).table["tr"]) == {3.0}  # what is stated goes first
    plain.with_suffix(".json").write_text('{"RepetitionTime": 1.5}')
    assert ParcelCohort.from_npz([plain, own]).table["tr"].tolist() == [1.5] * 6 + [2.5] * 6
    for tr in (0, -2, 2000, float("nan")):
        with pytest.raises(BadFileError, match=r"repetition time must be from 0\.05 to 30 seconds"):
            ParcelCohort.from_npz([plain], tr=tr)
    with pytest.raises(BadFileError, match=r"got \[2\.0, 3\.0\]"):
        ParcelCohort.from_npz([write("siteC.npz", tr=np.array([2.0, 3.0] * 3))])


def test_a_name_in_two_files_is_one_person(write) -> None:
    names = np.array([f"p{i}" for i in range(6)])
    paths = [
        write("siteA.npz", subject=names),
        write("siteB.npz", subject=names[::-1], y=np.array([1, 0] * 3)),
    ]
    table = ParcelCohort.from_npz(paths, tr=2).table
    assert table["run_id"].is_unique
    assert table["person"].nunique() == 6
    for train, test in subject_folds(table["label"], table["person"], n_splits=3):
        assert_no_leak(table["person"], train, test)
        assert len(test) == 4  # both runs of two people
    with pytest.raises(BadFileError, match="one that gives a person one diagnosis, got two for p0"):
        ParcelCohort.from_npz([paths[0], write("siteC.npz", subject=names, y=np.array([1, 0] * 3))], tr=2)
    own = write("siteD.npz", subject=names, person=np.array([f"q{i // 2}" for i in range(6)]), y=np.zeros(6))
    assert ParcelCohort.from_npz([paths[0], own], tr=2).table["person"].nunique() == 9


def test_a_run_that_is_not_finite_is_left_out_and_listed(write, tmp_path) -> None:
    series = np.random.default_rng(0).normal(size=(6, 30, 4)).astype(np.float32)
    series[2, 4, 1] = np.inf
    series[4, :, 3] = 7.3  # constant
    cache = prepare_parcels(ParcelCohort.from_npz([write(ts_AAL=series)], tr=2), tmp_path / "cache")
    assert len(cache) == 5
    assert ("sub-siteA2_site-siteA", "values of AAL that are not finite") in cache.excluded
    assert not (tmp_path / "cache" / "runs" / "sub-siteA2_site-siteA").exists()
    constant = cache.parcels(cache.table["participant_id"].tolist().index("sub-siteA4"), "AAL")
    assert not constant.z_FR[:, 3].any()
    assert constant.std_R[3] == 0
    series[:] = np.nan
    with pytest.raises(BadFileError, match="cohort must be at least one usable run, got none"):
        prepare_parcels(ParcelCohort.from_npz([write(ts_AAL=series)], tr=2), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_atlases_that_differ_between_files_are_listed_or_refused(write, tmp_path) -> None:
    first = write("siteA.npz")
    cohort = ParcelCohort.from_npz([first, write("siteB.npz", ts_HO=None)], tr=2)
    assert cohort.atlases == ("AAL",)
    assert prepare_parcels(cohort, tmp_path / "cache").excluded == [
        ("HO", "an atlas that not every file has")
    ]
    with pytest.raises(
        BadFileError, match=r"regions of AAL must be those of siteA\.npz, got others \(5 and 4"
    ):
        ParcelCohort.from_npz([first, write("siteC.npz", ts_AAL=np.zeros((6, 30, 5)))], tr=2)
    with pytest.raises(ParameterError, match="at least one common atlas"):
        ParcelCohort.from_npz(
            [first, write("siteD.npz", ts_AAL=None, ts_HO=None, ts_X=np.ones((6, 9, 2)))], tr=2
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ts_AAL": None, "ts_HO": None},
            r"series must be arrays ts_<atlas> \(subjects, frames, regions\), got fc_AAL",
        ),
        ({"y": None}, "arrays must be subject, y and ts_<atlas>, got no y"),
        ({"subject": None}, "got no subject"),
        ({"y": np.array([1, 2, 1, 2, 1, 2])}, r"y must be 1 \(patient\) or 0 \(control\), got 1, 2"),
        ({"y": np.array(["PD"] * 6)}, r"y must be 1 \(patient\) or 0 \(control\), got PD"),
        ({"y": np.zeros(5)}, "y must be one value for each of 6 subjects, got 5"),
        ({"age": np.zeros(7)}, "age must be one value for each of 6 subjects, got 7"),
        ({"subject": np.array(list("abcdea"))}, "subject must be one row each, got several for a"),
        ({"subject": np.array(["../x", *"bcdef"])}, r"letters, digits, '-', '_' and '\.', got '\.\./x'"),
        ({"subject": np.array([*"abcde", " "])}, "got ''"),
        ({"ts_a/b": np.zeros((6, 3, 2))}, "atlas must be of letters"),
        (
            {"ts_AAL": np.zeros((6, 30))},
            r"ts_AAL must be numbers \(subjects, frames, regions\), 6 subjects, got",
        ),
        ({"ts_AAL": np.zeros((5, 30, 4))}, r"got float64 of shape \(5, 30, 4\)"),
        ({"ts_AAL": np.zeros((6, 1, 4))}, r"got float64 of shape \(6, 1, 4\)"),
        ({"ts_AAL": np.zeros((6, 30, 4), complex)}, "got complex128"),
        ({"regions_AAL": np.array(["a", "b"])}, "regions_AAL must be one value for each of 4"),
        ({"subject": np.array([None] * 6, dtype=object)}, "got an unreadable file .*Object arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_told(write, changes, message) -> None:
    path = write(**changes)
    with pytest.raises(BadFileError, match=message) as caught:
        ParcelCohort.from_npz([path], tr=2)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_none_are_told(tmp_path, write) -> None:
    for name, content in (("text.npz", b"hello"), ("cut.npz", write("whole.npz").read_bytes()[:-500])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError, match=r"must be an \.npz of plain arrays, got an unreadable file"):
            ParcelCohort.from_npz([tmp_path / name], tr=2)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(BadFileError, match="got a single array"):
        ParcelCohort.from_npz([tmp_path / "one.npy"], tr=2)
    with pytest.raises(BadFileError, match="No such file"):
        ParcelCohort.from_npz([tmp_path / "absent.npz"], tr=2)
    with pytest.raises(ParameterError, match="files must be one or more, of different names, got none"):
        ParcelCohort.from_npz([], tr=2)
    with pytest.raises(ParameterError, match="of different names, got siteA, siteA"):
        ParcelCohort.from_npz([write(), write()], tr=2)


def test_a_folder_that_holds_something_is_left_alone(write, tmp_path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine.txt").write_text("kept")
    with pytest.raises(ParameterError, match="must be new or empty"):
        prepare_parcels(ParcelCohort.from_npz([write()], tr=2), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.txt"]


@pytest.mark.shared
def test_taowu_and_neurocon_load_as_one_cache(shared_data, tmp_path) -> None:
    paths = [shared_data / "pd" / f"{site}.npz" for site in ("taowu", "neurocon")]
    cohort = ParcelCohort.from_npz(paths, tr={"taowu": 2.0, "neurocon": 3.48})
    cache = prepare_parcels(cohort, tmp_path / "cache")
    counts = cache.table.groupby(["site", "label"]).size()
    assert counts.to_dict() == {("taowu", 0): 20, ("taowu", 1): 20, ("neurocon", 0): 15, ("neurocon", 1): 26}
    assert cache.atlases == ("AAL116", "harvard48", "schaefer100")
    assert cache.table["person"].nunique() == 81
    last = cache.parcels(80, "schaefer100")
    with np.load(paths[1]) as arrays:
        np.testing.assert_allclose(last.raw(), arrays["ts_schaefer100"][-1], atol=1e-5)
        assert cache.table["age"].iloc[-1] == arrays["age"][-1]
