"""Confounds of a run: columns and frames of a strategy, with nilearn's own loader as the twin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nilearn.interfaces import fmriprep
from nilearn.interfaces.fmriprep import load_confounds_strategy
from nilearn.interfaces.fmriprep.load_confounds_scrub import optimize_scrub

from data.cleaning.confound_columns import STRATEGIES
from data.cleaning.confounds import load_confounds, read_table
from data.cleaning.head_motion import MOTION, framewise_displacement, without_short_segments
from data.errors import BadFileError


@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_confounds_equal_nilearns(tmp_path, write_run, strategy):
    path = write_run(tmp_path, "01", seed=3)
    table = path.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")
    frame = pd.read_csv(table, sep="\t", na_values="n/a")
    frame.loc[[20, 23, 60], "framewise_displacement"] = 0.9
    frame.loc[40, "std_dvars"] = 1.9
    for k in range(2):
        frame[f"non_steady_state_outlier{k:02d}"] = (np.arange(len(frame)) == k).astype(float)
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    wanted, kept = load_confounds_strategy(str(path), denoise_strategy=strategy)
    found = load_confounds(table, strategy, len(frame))
    assert sorted(found.names) == sorted(wanted.columns)
    order = [found.names.index(name) for name in wanted.columns]
    np.testing.assert_allclose(found.values_TK[:, order], wanted.to_numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found.kept_F, kept)
    assert found.fd_mean == pytest.approx(frame["framewise_displacement"].mean())
    assert {0, 1}.isdisjoint(found.kept_F)


@given(st.lists(st.booleans(), min_size=12, max_size=60))
def test_short_segments_are_those_of_nilearn(moved):
    moved_T = np.array(moved)
    flagged = np.flatnonzero(without_short_segments(moved_T))
    outliers = np.flatnonzero(moved_T)
    wanted = optimize_scrub(outliers, len(moved), 5) if outliers.size else outliers
    np.testing.assert_array_equal(flagged, wanted)


def old_table(path, n_frames: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = ["CSF", "WhiteMatter", "GlobalSignal", "X", "Y", "Z", "RotX", "RotY", "RotZ"]
    frame = pd.DataFrame(rng.standard_normal((n_frames, 9)), columns=names)
    frame["FramewiseDisplacement"] = np.r_[np.nan, np.full(n_frames - 1, 0.2)]
    frame["NonSteadyStateOutlier00"] = np.r_[1.0, np.zeros(n_frames - 1)]
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return frame


def test_tables_of_the_first_fmriprep_versions_are_understood(tmp_path):
    path = tmp_path / "old.tsv"
    frame = old_table(path)
    found = load_confounds(path, "simple", 50)
    assert len(found.names) == 26
    assert list(found.kept_F) == list(range(1, 50))
    assert found.fd_mean == pytest.approx(0.2)
    x = frame["X"].to_numpy()
    step = found.values_TK[:, found.names.index("trans_x_derivative1")]
    np.testing.assert_allclose(np.diff(step[1:]), np.diff(np.diff(x)), atol=1e-6)
    assert step[0] == step[1]
    square = found.values_TK[:, found.names.index("trans_x_derivative1_power2")]
    np.testing.assert_allclose(np.diff(square[1:]), np.diff(np.diff(x) ** 2), atol=1e-6)


def test_none_needs_no_table_but_heeds_its_flags(tmp_path):
    bare = load_confounds(None, "none", 50)
    assert bare.values_TK.shape == (50, 0)
    assert np.isnan(bare.fd_mean)
    path = tmp_path / "old.tsv"
    old_table(path)
    found = load_confounds(path, "none", 50)
    assert found.values_TK.shape == (50, 0)
    assert list(found.kept_F) == list(range(1, 50))
    assert found.fd_mean == pytest.approx(0.2)


def test_bad_tables_are_named(tmp_path):
    with pytest.raises(BadFileError, match="confounds table must be there for the strategy 'simple'"):
        load_confounds(None, "simple", 50)
    path = tmp_path / "c.tsv"
    frame = old_table(path)
    with pytest.raises(BadFileError, match=r"c.tsv: confounds table must be of 60 rows.* got 50"):
        load_confounds(path, "simple", 60)
    frame.drop(columns="RotX").to_csv(path, sep="\t", index=False)
    with pytest.raises(BadFileError, match=r"a column 'rot_x'"):
        load_confounds(path, "6p", 50)
    frame.loc[7, "Y"] = np.nan
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(BadFileError, match=r"confound 'trans_y' must be finite .* the first in frame 7"):
        load_confounds(path, "6p", 50)
    with pytest.raises(BadFileError, match=r"one with 'std_dvars'"):
        load_confounds(path, "scrubbing", 50)
    with pytest.raises(BadFileError, match=r"c.json: confounds sidecar must be JSON"):
        load_confounds(path, "compcor", 50)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(BadFileError, match=r"combined aCompCor components .* got 0 of 0"):
        load_confounds(path, "compcor", 50)
    path.write_text("a\tb\n1\tword\n")
    with pytest.raises(BadFileError, match=r"c.tsv: confounds table must be tab-separated numbers"):
        read_table(path)
    frame.assign(NonSteadyStateOutlier00=1).to_csv(path, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(BadFileError, match="every frame flagged"):
        load_confounds(path, "9p", 50)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "counts"),
    [
        # How many regressors and kept frames a strategy finds (nilearn's own counts, where it reads the
        # table); None where the table cannot serve it.
        (
            "fmriprep/neurocaps_ds000031_task-rest_desc-confounds_timeseries.tsv",
            40,
            {
                "6p": (6, 40),
                "9p": None,
                "simple": None,
                "scrubbing": None,
                "compcor": None,
                "ica_aroma": None,
            },
        ),
        (
            "fmriprep/nilearn_test-v21_desc-confounds_timeseries.tsv",
            30,
            {
                "6p": (6, 27),
                "9p": (9, 27),
                "simple": (27, 27),
                "scrubbing": None,
                "compcor": None,
                "ica_aroma": None,
            },
        ),
        (
            "fmriprep/nilearn_test_desc-confounds_regressors.tsv",
            30,
            {
                "6p": (6, 29),
                "9p": (9, 29),
                "simple": (30, 29),
                "scrubbing": (36, 29),
                "compcor": (85, 29),
                "ica_aroma": (19, 29),
            },
        ),
        (
            "pybids_truncated_ds005/ds005/derivatives/fmriprep/sub-01/func/"
            "sub-01_task-mixedgamblestask_run-01_bold_confounds.tsv",
            16,
            {
                "6p": (6, 15),
                "9p": (9, 15),
                "simple": (26, 15),
                "scrubbing": (32, 15),
                "compcor": None,
                "ica_aroma": None,
            },
        ),
    ],
)
def test_real_tables(shared_data, name, rows, counts):
    path = shared_data / name
    assert set(counts) == set(STRATEGIES) - {"none"}
    for strategy, wanted in counts.items():
        if wanted is None:
            with pytest.raises(BadFileError):
                load_confounds(path, strategy, rows)
        else:
            found = load_confounds(path, strategy, rows)
            assert (found.values_TK.shape[1], found.kept_F.size) == wanted
            assert np.isfinite(found.values_TK).all()


def with_aroma(frame: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return frame.assign(**{f"aroma_motion_{k:02d}": rng.standard_normal(len(frame)) for k in range(count)})


def table_of(path: Path) -> Path:
    return path.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")


def change(table: Path, edit) -> pd.DataFrame:
    """Rewrite a table by a function of its frame."""
    frame = edit(pd.read_csv(table, sep="\t", na_values="n/a"))
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    return frame


def test_aroma_equals_nilearns(tmp_path, write_run):
    path = write_run(tmp_path, "01", seed=3)
    change(table_of(path), with_aroma)
    wanted, _ = fmriprep.load_confounds(
        str(path), strategy=("high_pass", "wm_csf", "ica_aroma"), wm_csf="basic", ica_aroma="basic"
    )
    found = load_confounds(table_of(path), "ica_aroma", 80)
    assert sorted(found.names) == sorted(wanted.columns)
    order = [found.names.index(name) for name in wanted.columns]
    np.testing.assert_allclose(found.values_TK[:, order], wanted.to_numpy(), rtol=1e-6, atol=1e-9)
    assert len(found.kept_F) == 80


def test_aroma_leaves_in_what_the_sidecar_calls_no_motion(tmp_path, write_run):
    table = table_of(write_run(tmp_path, "01"))
    change(table, with_aroma)
    facts = {f"aroma_motion_{k:02d}": {"MotionNoise": k != 1} for k in range(3)}
    table.with_suffix(".json").write_text(json.dumps({**facts, "other": "words"}))
    names = load_confounds(table, "ica_aroma", 80).names
    assert [name for name in names if "aroma" in name] == ["aroma_motion_00", "aroma_motion_02"]
    table.with_suffix(".json").write_text("[]")
    assert len(load_confounds(table, "ica_aroma", 80).names) == len(names) + 1


def test_a_table_without_aroma_says_where_it_went(tmp_path, write_run):
    table = table_of(write_run(tmp_path, "01"))
    with pytest.raises(BadFileError, match=r"aroma_motion_.* until version 23.0; .*fMRIPost-AROMA.*compcor"):
        load_confounds(table, "ica_aroma", 80)


def test_own_columns_wildcards_and_old_names(tmp_path, write_run):
    table = table_of(write_run(tmp_path, "01"))
    frame = change(table, lambda frame: frame)
    own = ("a_comp_cor_0*", "rot_?", "RotX", "csf", "cosine*")
    found = load_confounds(table, own, 80)
    assert found.names == (
        *("a_comp_cor_00", "a_comp_cor_01", "a_comp_cor_02", "rot_x", "rot_y", "rot_z", "csf"),
        *("cosine00", "cosine01"),
    )
    raw_TK = frame[list(found.names)].to_numpy()
    np.testing.assert_allclose(found.values_TK, raw_TK - raw_TK.mean(axis=0), atol=1e-9)
    # A derivative that is not in the table is made from its column.
    change(table, lambda frame: frame[["csf", "cosine00"]])
    assert load_confounds(table, ("csf", "csf_derivative1"), 80).names == ("csf", "csf_derivative1")
    # A short run has no cosines; that is no error.
    change(table, lambda frame: frame[["csf"]])
    assert load_confounds(table, ("cosine*", "csf"), 80).names == ("csf",)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("rot_xx", r"one with a column 'rot_xx', got \d+ other columns; did you mean rot_x"),
        ("gobal_signal", r"did you mean global_signal"),
        ("edge_comp_*", r"one with a column 'edge_comp_\*', got \d+ other columns"),
    ],
)
def test_unknown_own_columns_are_answered_with_the_nearest(tmp_path, write_run, own, message):
    table = table_of(write_run(tmp_path, "01"))
    with pytest.raises(BadFileError, match=message):
        load_confounds(table, (own, "csf"), 80)


@pytest.mark.parametrize("strategy", ["none", "6p", "simple", "compcor", ("csf",)])
def test_frames_are_censored_whatever_the_strategy(tmp_path, write_run, strategy):
    """nilearn's scrubbing, with no limit of DVARS, is the twin."""
    path = write_run(tmp_path, "01", seed=3)
    table = table_of(path)

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[[20, 23, 60], "framewise_displacement"] = [0.31, 0.9, 0.4]
        frame.loc[40, "framewise_displacement"] = 0.29
        return frame.assign(non_steady_state_outlier00=np.r_[1.0, np.zeros(79)])

    frame = change(table, moved)
    _, wanted = fmriprep.load_confounds(
        str(path), strategy=("motion", "scrub"), scrub=5, fd_threshold=0.3, std_dvars_threshold=np.inf
    )
    found = load_confounds(table, strategy, 80, fd_limit_mm=0.3)
    np.testing.assert_array_equal(found.kept_F, wanted)
    assert {0, 20, 21, 22, 23, 60}.isdisjoint(found.kept_F)
    assert 40 in found.kept_F
    np.testing.assert_allclose(found.fd_T, frame["framewise_displacement"])
    np.testing.assert_allclose(found.values_TK[found.kept_F].sum(axis=0), 0, atol=1e-6)


def test_a_limit_of_displacement_replaces_that_of_scrubbing(tmp_path, write_run):
    table = table_of(write_run(tmp_path, "01"))

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[[20, 60], "framewise_displacement"] = [0.4, 0.6]
        frame.loc[40, "std_dvars"] = 1.9
        return frame

    change(table, moved)
    dropped = {
        limit: set(range(80)) - set(load_confounds(table, "scrubbing", 80, limit).kept_F)
        for limit in (None, 0.3, 0.7)
    }
    assert dropped == {None: {40, 60}, 0.3: {20, 40, 60}, 0.7: {40}}


def test_displacement_comes_from_the_motion_where_the_table_has_none(tmp_path, write_run):
    """Power's formula, written down a second time: 50 mm of arc for each radian."""
    table = table_of(write_run(tmp_path, "01"))

    def jump(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.drop(columns=["framewise_displacement"])
        frame[["rot_x", "rot_y", "rot_z"]] *= 0.01
        frame.loc[30:, "rot_y"] += 0.02  # an arc of 1 mm
        return frame

    frame = change(table, jump)
    found = load_confounds(table, "6p", 80, fd_limit_mm=0.9)
    wanted = [
        sum(abs(frame[name][t] - frame[name][t - 1]) * (50 if "rot" in name else 1) for name in MOTION)
        for t in range(1, 80)
    ]
    np.testing.assert_allclose(found.fd_T[1:], wanted, atol=1e-12)
    assert np.isnan(found.fd_T[0])
    assert found.fd_mean == pytest.approx(np.mean(wanted))
    assert wanted[29] > 0.9
    assert 30 not in found.kept_F
    np.testing.assert_allclose(framewise_displacement(frame[list(MOTION)].to_numpy()), found.fd_T)


def test_a_limit_without_any_motion_is_refused(tmp_path, write_run):
    with pytest.raises(BadFileError, match="table must be there for the limit of displacement"):
        load_confounds(None, "none", 80, fd_limit_mm=0.5)
    table = table_of(write_run(tmp_path, "01"))
    change(table, lambda frame: frame[["csf", "trans_x"]])
    with pytest.raises(BadFileError, match=r"'framewise_displacement' or the six motion parameters, got nei"):
        load_confounds(table, "none", 80, fd_limit_mm=0.5)
    assert np.isnan(load_confounds(table, "none", 80).fd_mean)


@pytest.mark.shared
def test_displacement_of_real_tables_is_fmripreps(shared_data):
    """fMRIPrep computed its column by the same formula, with rotations in radians."""
    tables = {"nilearn_test-v21_desc-confounds_timeseries": 0, "nilearn_test_desc-confounds_regressors": 2}
    for name, edited in tables.items():  # nilearn changed two frames of the second by hand
        table = read_table(shared_data / f"fmriprep/{name}.tsv")
        found = framewise_displacement(table[list(MOTION)].to_numpy())
        apart = np.abs(found - table["framewise_displacement"].to_numpy())[1:]
        assert (apart > 1e-6).sum() == edited
