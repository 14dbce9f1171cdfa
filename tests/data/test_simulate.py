"""The simulation: its layout, its planted effect, what the confounds explain, and its refusals."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy

from data.cleaning.head_motion import framewise_displacement
from data.cleaning.operator import cleaning_operator
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import ParameterError
from data.scans.bids import find_runs
from data.scans.bold import BoldRun
from data.simulation.cohort import SimulationSpec, draw_participants, simulate
from data.simulation.signal import Subject, draw_run, haemodynamic_noise, template_brain


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SimulationSpec(subjects=4, sites=2, voxel_mm=8, frames=40, seed=1)
    return simulate(tmp_path_factory.mktemp("sim") / "derivative", spec)


def test_layout_is_found_as_a_derivative(small: Path) -> None:
    runs = find_runs(small)
    assert len(runs) == 4
    assert all(run.usable and run.confounds is not None for run in runs)
    cohort = Cohort.from_derivatives(small)
    assert cohort.excluded == []
    assert sorted(cohort.table["label"]) == [0, 0, 1, 1]
    assert json.loads((small / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_runs_have_the_geometry_that_was_asked_for(small: Path) -> None:
    files = find_runs(small)[0]
    run = BoldRun.open(files.bold, mask=files.mask, confounds=files.confounds)
    assert run.tr == 2.0
    assert run.n_frames == 40
    np.testing.assert_allclose(np.linalg.norm(run.affine[:3, :3], axis=0), 8)
    planted = nib.load(small / "planted_mask.nii.gz")
    np.testing.assert_allclose(planted.affine, run.affine)
    assert planted.shape == run.shape[:3]
    inside = planted.get_fdata() > 0
    assert inside.any()
    assert (run.mask_volume()[inside]).all()
    x = nib.affines.apply_affine(planted.affine, np.argwhere(inside))[:, 0]
    assert (x > 0).any()
    assert (x < 0).any()


def test_confounds_are_read_by_nilearn(small: Path) -> None:
    bold = find_runs(small)[0].bold
    simple, _ = load_confounds_strategy(str(bold), denoise_strategy="simple")
    compcor, _ = load_confounds_strategy(str(bold), denoise_strategy="compcor")
    assert len(simple) == len(compcor) == 40
    assert any(name.startswith("a_comp_cor") for name in compcor)


def test_same_seed_same_bytes_other_seed_other(small: Path, tmp_path: Path) -> None:
    again = simulate(tmp_path / "a", SimulationSpec(subjects=4, sites=2, voxel_mm=8, frames=40, seed=1))
    other = simulate(tmp_path / "b", SimulationSpec(subjects=4, sites=2, voxel_mm=8, frames=40, seed=2))
    first, second, third = (np.asarray(nib.load(find_runs(f)[0].bold).dataobj) for f in (small, again, other))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


@pytest.mark.parametrize(("amplitude", "coupling"), [(0.3, 0.7), (1.0, 0.2)])
def test_effect_lowers_amplitude_and_coupling_apart(amplitude: float, coupling: float) -> None:
    brain = template_brain(8)
    rng = np.random.default_rng(5)

    def region(subject_amplitude: float, subject_coupling: float) -> tuple[float, float]:
        subject = Subject(
            amplitude=subject_amplitude,
            coupling=subject_coupling,
            intensity=1000,
            thermal=0.003,
            bias_3=(0, 0, 0),
        )
        signal_VT, motion_T6 = draw_run(brain, subject, 600, 2.0, rng)
        operator = cleaning_operator(600, 2.0, motion_T6, Recipe(confounds="6p"))
        cleaned_VT = signal_VT @ operator.T / (1000 * brain.baseline_V[:, None])
        motor_T = cleaned_VT[brain.networks_VK[:, 0] > 0.5].mean(0)
        planted_VT = cleaned_VT[brain.planted_V]
        sides = [planted_VT[brain.coords_V3[brain.planted_V, 0] * s > 0].mean(0) for s in (1, -1)]
        return float(planted_VT.std(1).mean()), float(np.mean([np.corrcoef(s, motor_T)[0, 1] for s in sides]))

    (std_full, r_full), (std_less, r_less) = region(1.0, 0.7), region(amplitude, coupling)
    assert std_less / std_full == pytest.approx(amplitude, abs=0.15)
    assert np.sign(r_full - r_less) == np.sign(0.7 - coupling) or coupling == 0.7
    if coupling < 0.5:
        assert r_full - r_less > 0.2


def test_motion_parameters_explain_the_motion() -> None:
    """What a head movement adds to the image lies in the span of the six parameters, spikes included."""
    brain = template_brain(8)
    subject = Subject(amplitude=1, coupling=0.7, intensity=1000, thermal=0.0, bias_3=(0, 0, 0))
    signal_VT, motion_T6 = draw_run(brain, subject, 80, 2.0, np.random.default_rng(11))
    edge_V = np.linalg.norm(brain.gradient_V3, axis=1) > np.quantile(
        np.linalg.norm(brain.gradient_V3, axis=1), 0.95
    )
    design = np.column_stack([np.ones(80), np.linspace(-1, 1, 80), motion_T6])
    edge_TV = signal_VT[edge_V].T
    residual = edge_TV - design @ np.linalg.lstsq(design, edge_TV, rcond=None)[0]
    drifted = edge_TV - design[:, :2] @ np.linalg.lstsq(design[:, :2], edge_TV, rcond=None)[0]
    assert residual.var() < 0.6 * drifted.var()


def test_haemodynamic_noise_is_slow_and_of_unit_variance() -> None:
    series = haemodynamic_noise(50, 300, 2.0, np.random.default_rng(0))
    np.testing.assert_allclose(series.std(1), 1, rtol=1e-4)
    power = np.abs(np.fft.rfft(series, axis=1)).mean(0) ** 2
    hertz = np.fft.rfftfreq(300, 2.0)
    assert power[(hertz > 0.01) & (hertz < 0.08)].mean() > 20 * power[hertz > 0.2].mean()


def test_framewise_displacement_against_a_loop() -> None:
    motion = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    slow = [np.nan]
    for before, after in itertools.pairwise(motion):
        slow.append(
            sum(
                abs(float(a - b)) * (50 if i > 2 else 1)
                for i, (a, b) in enumerate(zip(after, before, strict=True))
            )
        )
    np.testing.assert_allclose(framewise_displacement(motion), slow, rtol=1e-5)


def test_groups_are_balanced_over_sites_and_blind_to_age() -> None:
    table = draw_participants(SimulationSpec(subjects=200, sites=2, seed=4))
    counts = table.groupby(["site", "group"]).size()
    assert set(counts) == {50}
    ages = table.groupby("group")["age"].mean()
    assert abs(ages["PD"] - ages["HC"]) < 4
    assert table["updrs_iii"].notna().equals(table["group"].eq("PD"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subjects": 1}, "subjects must be at least 2"),
        ({"sites": 30}, "sites must be"),
        ({"effect_amplitude": 1.5}, "effect_amplitude must be from 0 to 1"),
        ({"frames": 3}, "frames must be at least 20"),
        ({"voxel_mm": 1}, "voxel_mm must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SimulationSpec(**wrong)  # type: ignore[arg-type]


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ParameterError, match="new or empty"):
        simulate(tmp_path, SimulationSpec(subjects=2, sites=1, voxel_mm=8, frames=20))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("data.simulation.cohort._write_subject", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate(tmp_path / "out", SimulationSpec(subjects=2, sites=1, voxel_mm=8, frames=20))
    assert list(tmp_path.iterdir()) == []


def test_participants_table_reads_back(small: Path) -> None:
    table = pd.read_csv(small / "participants.tsv", sep="\t")
    assert list(table.columns) == ["participant_id", "group", "site", "age", "sex", "updrs_iii"]
