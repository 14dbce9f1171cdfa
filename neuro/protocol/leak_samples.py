"""Scans of people cut into many samples each, as much of the literature does before it splits them.

Simulated people differ in what makes a scan theirs (the anatomy that registration leaves over, receive field,
motion, fluctuations) and in nothing else: there is no disease. Of a cache the same slices, or where it holds
regions alone, windows in time. Letters: S samples, F features, V voxels, T frames, R regions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import ParameterError
from data.simulation.signal import Brain, Subject, draw_run, template_brain
from neuro.baselines.connectivity import correlations
from neuro.protocol.leak_guard import people_of_units

VOXEL_MM, TR = 8, 2.0
FRAMES, SLICES, WINDOWS = 8, 6, 8  # of each run
ANATOMY = 0.05  # how far local intensities differ between people once their brains are laid over each other
PEOPLE_AT_MOST = 100  # every pair of samples is compared

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Samples of people.

    Attributes:
        features_SF: of each sample.
        people_S: of whom it is.
        unit: what a sample is, in the singular.
        source: whose scans these are, in words.
    """

    features_SF: Floats
    people_S: NDArray[np.object_]
    unit: str
    source: str

    @property
    def people(self) -> NDArray[np.object_]:
        """Everybody, once."""
        return np.unique(self.people_S.astype(str)).astype(object)


def simulated_samples(subjects: int, seed: int) -> Samples:
    """Slices of simulated people between whom no disease makes a difference.

    Raises:
        ParameterError: fewer than 10 people.
    """
    if subjects < 10:
        raise ParameterError("--subjects", must_be="at least 10, for 5 folds of both labels", got=subjects)
    brain = template_brain(VOXEL_MM)
    rows = [
        _slices(_simulated(brain, np.random.default_rng((seed, person))), brain.mask_XYZ)
        for person in range(subjects)
    ]
    names = np.array([f"sub-{person + 1:03d}" for person in range(subjects)], dtype=object)
    return _joined(rows, names, "slice", f"{subjects} simulated people without any effect")


def cached_samples(cache: Cache, seed: int) -> Samples:
    """Slices of a cache's runs, or windows of their regions where it has no voxels.

    Raises:
        ParameterError: fewer than 10 people, runs on several grids, or neither voxels nor regions.
    """
    people = cache.table["person"].to_numpy(object)
    everybody = np.array(sorted(set(people), key=str), dtype=object)
    if len(everybody) < 10:
        raise ParameterError("cache", must_be="of at least 10 people", got=len(everybody))
    chosen = np.random.default_rng(seed).permutation(everybody)[:PEOPLE_AT_MOST]
    runs = [row for row in range(len(cache)) if people[row] in set(chosen)]
    source = f"{len(chosen)} people of {cache.root.name}, diagnoses put aside"
    if (cache.table["n_voxels"] > 0).all():
        return _joined([_cached_slices(cache, row) for row in runs], people[runs], "slice", source)
    if not cache.atlases:
        raise ParameterError("cache", must_be="one with voxels, or an atlas of all runs", got="neither")
    windows = [_windows(cache.parcels(row, cache.atlases[0]).z_FR) for row in runs]
    return _joined(windows, people[runs], "window", source)


def _simulated(brain: Brain, rng: np.random.Generator) -> Floats:
    """One person's run (V, T)."""
    own_V = brain.locals_VL @ rng.standard_normal(brain.locals_VL.shape[1], dtype=np.float32)
    x, y, z = rng.normal(0, 0.02, 3)
    subject = Subject(
        amplitude=1.0,
        coupling=0.7,
        intensity=float(1000 * np.exp(rng.normal(0, 0.05))),
        thermal=0.009,
        bias_3=(x, y, z),
    )
    theirs = replace(brain, baseline_V=brain.baseline_V * (1 + ANATOMY * own_V))
    return draw_run(theirs, subject, FRAMES, TR, rng)[0]


def _cached_slices(cache: Cache, row: int) -> Floats:
    """Slices as the scanner saw them: the mean is put back, as papers on slices do not z-score."""
    run = cache.run(row)
    chosen = np.linspace(0, run.n_frames - 1, FRAMES).astype(int)
    z_TV = np.concatenate([run.frames(t, t + 1) for t in chosen])
    return _slices((run.mean_V + z_TV * run.std_V).T.astype(np.float32), run.mask_XYZ)


def _slices(signal_VT: Floats, mask_XYZ: NDArray[np.bool_]) -> Floats:
    """Axial slices of the middle of the brain, frame by frame, each divided by its own mean: (S, F)."""
    height = np.flatnonzero(mask_XYZ.any((0, 1)))
    levels = np.linspace(np.percentile(height, 25), np.percentile(height, 75), SLICES).round().astype(int)
    volume_XYZT = np.zeros((*mask_XYZ.shape, signal_VT.shape[1]), dtype=np.float32)
    volume_XYZT[mask_XYZ] = signal_VT
    slices_SF = volume_XYZT[:, :, levels].transpose(3, 2, 0, 1).reshape(signal_VT.shape[1] * SLICES, -1)
    mean_S = np.abs(slices_SF).mean(1, keepdims=True)
    return np.asarray(slices_SF / np.where(mean_S > 0, mean_S, 1), dtype=np.float32)


def _windows(series_TR: NDArray[np.floating]) -> Floats:
    """Correlations within each stretch of time (S, F)."""
    return np.stack([correlations(part) for part in np.array_split(series_TR, WINDOWS)])


def _joined(rows: list[Floats], people: NDArray[np.object_], unit: str, source: str) -> Samples:
    if len({row.shape[1] for row in rows}) > 1:
        do = "prepare them with one --voxel-mm"
        raise ParameterError("runs", must_be="on one grid", got="several grids", do=do)
    run_of_S = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return Samples(
        features_SF=np.concatenate(rows),
        people_S=people_of_units(people, run_of_S),
        unit=unit,
        source=source,
    )
