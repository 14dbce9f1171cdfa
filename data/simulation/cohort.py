"""A cohort of realistic BOLD runs with a planted, known effect, written as an fMRIPrep-like BIDS derivative.

`simulate(out, SimulationSpec(...))` writes, under `out`:
    dataset_description.json, participants.tsv, simulation.json, planted_mask.nii.gz,
    sub-001/func/sub-001_task-rest_space-…_desc-preproc_bold.nii.gz, …_desc-brain_mask.nii.gz,
    sub-001/func/sub-001_task-rest_desc-confounds_timeseries.tsv and .json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import ParameterError
from data.simulation.confounds import confounds_table
from data.simulation.signal import FULL_COUPLING, SPACE, Brain, Subject, draw_run, template_brain
from data.writing import require_new_or_empty, whole_folder

VERSION = 1  # of the signal model: raise it when the same settings begin to give another cohort


@dataclass(frozen=True, kw_only=True)
class SimulationSpec:
    """What to simulate.

    Attributes:
        subjects: people in all, half of them patients.
        sites: scanners they are spread over; each has a gain, a mean intensity and a noise level of its own.
        effect_amplitude: share of the posterior putamen's low-frequency amplitude that patients lose, 0 to 1.
        effect_coupling: share of its coupling with the motor network that they lose, 0 to 1.
        seed: the same seed gives the same cohort to the byte.
        voxel_mm, frames, tr: voxel edge (mm), frames a run, repetition time (s).
    """

    subjects: int = 40
    sites: int = 2
    effect_amplitude: float = 0.5
    effect_coupling: float = 0.5
    seed: int = 0
    voxel_mm: int = 4
    frames: int = 60
    tr: float = 2.0

    def __post_init__(self) -> None:
        _require("subjects", self.subjects >= 2, "at least 2", self.subjects)
        _require("sites", 1 <= self.sites <= self.subjects // 2, "from 1 to half the subjects", self.sites)
        _require("effect_amplitude", 0 <= self.effect_amplitude <= 1, "from 0 to 1", self.effect_amplitude)
        _require("effect_coupling", 0 <= self.effect_coupling <= 1, "from 0 to 1", self.effect_coupling)
        _require("voxel_mm", 2 <= self.voxel_mm <= 8, "a whole number of mm from 2 to 8", self.voxel_mm)
        _require("frames", self.frames >= 20, "at least 20", self.frames)
        _require("tr", 0.2 <= self.tr <= 10, "from 0.2 to 10 seconds", self.tr)
        _require("seed", self.seed >= 0, "0 or more", self.seed)


def _require(name: str, holds: bool, must_be: str, got: object) -> None:
    if not holds:
        raise ParameterError(name, must_be=must_be, got=got)


def simulate(out: str | Path, spec: SimulationSpec | None = None, *, workers: int = 1) -> Path:
    """Write the cohort under `out` and return it.

    The folder appears whole or not at all: it is written beside its place and moved there at the end.

    Raises:
        ParameterError: `out` exists already and is not an empty folder.
    """
    for _ in iter_simulate(out, spec, workers=workers):
        pass
    return Path(out)


def iter_simulate(out: str | Path, spec: SimulationSpec | None = None, *, workers: int = 1) -> Iterator[str]:
    """As `simulate`, giving each participant's id as its run is written (for a progress bar).

    A folder that cannot be written to is refused at once, not at the first step.
    """
    out = Path(out)
    require_new_or_empty(out)
    return _simulate(out, spec or SimulationSpec(), workers)


def _simulate(out: Path, spec: SimulationSpec, workers: int) -> Iterator[str]:
    from joblib import Parallel, delayed

    with whole_folder(out) as draft:
        table = draw_participants(spec)
        _write_shared_files(draft, spec, table)
        rows = table.to_dict("records")
        jobs = (delayed(_write_subject)(draft, spec, index, row) for index, row in enumerate(rows))
        yield from Parallel(n_jobs=workers, return_as="generator")(jobs)


def holds(folder: str | Path, spec: SimulationSpec) -> bool:
    """Whether a folder is the finished simulation of just these settings, by this version of the model."""
    try:
        written = json.loads((Path(folder) / "simulation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(written == _settings(spec))


def _settings(spec: SimulationSpec) -> dict[str, object]:
    return {"version": VERSION, **asdict(spec)}


def draw_participants(spec: SimulationSpec) -> pd.DataFrame:
    """participants.tsv: balanced over groups and sites, with age and sex drawn alike for both groups."""
    rng = np.random.default_rng([spec.seed, 1])
    index = np.arange(spec.subjects)
    patient = index % 2 == 1
    severity = np.clip(rng.normal(30, 10, spec.subjects), 8, 70).round()
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i + 1:03d}" for i in index],
            "group": np.where(patient, "PD", "HC"),
            "site": [f"site-{chr(ord('A') + (i // 2) % spec.sites)}" for i in index],
            "age": np.clip(rng.normal(64, 8, spec.subjects), 40, 85).round(1),
            "sex": rng.choice(["F", "M"], spec.subjects),
            "updrs_iii": [int(s) if p else None for s, p in zip(severity, patient, strict=True)],
        }
    ).astype({"updrs_iii": "Int64"})


def _site_settings(spec: SimulationSpec, site: str) -> tuple[float, float, tuple[float, float, float]]:
    """Mean intensity, thermal noise and receive field of a site."""
    rng = np.random.default_rng([spec.seed, 2, ord(site[-1])])
    x, y, z = rng.normal(0, 0.15, 3)
    return float(rng.uniform(600, 1800)), float(rng.uniform(0.007, 0.011)), (x, y, z)


def _draw_subject(spec: SimulationSpec, row: dict[str, object], rng: np.random.Generator) -> Subject:
    intensity, thermal, bias_3 = _site_settings(spec, str(row["site"]))
    patient = row["group"] == "PD"
    amplitude = np.exp(0.12 * rng.standard_normal()) * (1 - patient * spec.effect_amplitude)
    coupling = (FULL_COUPLING + 0.08 * rng.standard_normal()) * (1 - patient * spec.effect_coupling)
    return Subject(
        amplitude=float(amplitude),
        coupling=float(np.clip(coupling, 0, 0.95)),
        intensity=intensity * float(np.exp(0.05 * rng.standard_normal())),
        thermal=thermal,
        bias_3=bias_3,
    )


def _write_subject(root: Path, spec: SimulationSpec, index: int, row: dict[str, object]) -> str:
    import nibabel as nib

    rng = np.random.default_rng([spec.seed, 3, index])
    brain = template_brain(spec.voxel_mm)
    signal_VT, motion_T6 = draw_run(brain, _draw_subject(spec, row, rng), spec.frames, spec.tr, rng)
    name = str(row["participant_id"])
    func = root / name / "func"
    func.mkdir(parents=True)

    image = nib.Nifti1Image(_to_grid(brain, signal_VT), brain.affine)
    image.header.set_zooms((float(spec.voxel_mm),) * 3 + (spec.tr,))
    image.header.set_xyzt_units("mm", "sec")
    stem = f"{name}_task-rest_space-{SPACE}"
    nib.save(image, func / f"{stem}_desc-preproc_bold.nii.gz")
    _write_json(func / f"{stem}_desc-preproc_bold.json", {"RepetitionTime": spec.tr, "TaskName": "rest"})
    nib.save(
        nib.Nifti1Image(brain.mask_XYZ.astype(np.uint8), brain.affine),
        func / f"{stem}_desc-brain_mask.nii.gz",
    )

    table, metadata = confounds_table(brain, signal_VT, motion_T6, spec.tr)
    confounds = func / f"{name}_task-rest_desc-confounds_timeseries.tsv"
    table.to_csv(confounds, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
    _write_json(confounds.with_suffix(".json"), metadata)
    return name


def _to_grid(brain: Brain, signal_VT: np.ndarray) -> np.ndarray:
    """(V, T) -> int16 (X, Y, Z, T), zero outside the brain."""
    grid_XYZT = np.zeros((*brain.mask_XYZ.shape, signal_VT.shape[1]), dtype=np.int16)
    grid_XYZT[brain.mask_XYZ] = np.rint(signal_VT.clip(0, 32767))
    return grid_XYZT


def _write_shared_files(root: Path, spec: SimulationSpec, table: pd.DataFrame) -> None:
    import nibabel as nib

    brain = template_brain(spec.voxel_mm)
    description: dict[str, object] = {
        "Name": "Simulated resting-state cohort with a planted effect",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "Chiasm", "Description": "simulated in fMRIPrep's layout; no person was scanned"}
        ],
    }
    _write_json(root / "dataset_description.json", description)
    _write_json(root / "simulation.json", _settings(spec))
    table.to_csv(root / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    planted_XYZ = np.zeros(brain.mask_XYZ.shape, dtype=np.uint8)
    planted_XYZ[brain.mask_XYZ] = brain.planted_V
    nib.save(nib.Nifti1Image(planted_XYZ, brain.affine), root / "planted_mask.nii.gz")


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
