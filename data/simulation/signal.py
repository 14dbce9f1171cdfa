"""The signal of one simulated resting-state run: (brain, subject, site) -> voxels (V, T) and motion (T, 6).

Letters: V in-brain voxels, T frames, K networks, L local sources, X Y Z grid axes (RAS, mm).

Every run is a sum, in fractions of the local baseline intensity, of
- grey-matter networks whose time courses are white noise through a haemodynamic response (Glover 1999),
- local sources of the same kind, smooth over about 1 cm, which make amplitudes differ from person to person,
- respiratory and cardiac waves, strongest in the fluid spaces and aliased by the repetition time,
- scanner drift, thermal noise, and motion: displacement times the image's own gradient (Friston et al. 1996),
  with sudden spikes.

Planted effect: in patients the posterior putamen fluctuates less (lower amplitude of low-frequency
fluctuations, e.g. Skidmore et al. 2013) and follows the motor network less (e.g. Helmich et al. 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

SPACE = "MNI152NLin2009aSym"  # the template that nilearn carries in its wheel
FULL_COUPLING = 0.7  # correlation of a healthy posterior putamen with the motor network

# Centres in MNI mm (x, y, z); a network's weight falls off as a Gaussian of 10 mm around each.
NETWORKS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "motor": ((38, -22, 56), (-38, -22, 56), (0, -8, 60), (48, -10, 40), (-48, -10, 40)),
    "default": ((0, -52, 28), (0, 52, -4), (46, -66, 32), (-46, -66, 32)),
    "visual": ((8, -84, 4), (-8, -84, 4), (28, -80, 16), (-28, -80, 16)),
    "salience": ((38, 18, 2), (-38, 18, 2), (0, 22, 34)),
    "frontoparietal": ((44, 30, 30), (-44, 30, 30), (46, -50, 48), (-46, -50, 48)),
    "temporal": ((56, -14, 4), (-56, -14, 4)),
    "cerebellum": ((24, -60, -28), (-24, -60, -28)),
    "striatum": ((14, 12, 8), (-14, 12, 8), (24, 10, 0), (-24, 10, 0)),
}
NETWORK_WIDTH_MM = 10.0
POSTERIOR_PUTAMEN = ((28.0, -6.0, 4.0), (-28.0, -6.0, 4.0))
PUTAMEN_RADII_MM = (7.0, 10.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Brain:
    """The anatomy that all subjects of a simulation share, on one grid.

    Attributes:
        affine: (4, 4), voxel to MNI mm.
        mask_XYZ: the brain.
        baseline_V, grey_V: EPI-like baseline (around 1) and grey-matter share.
        white_V, fluid_V: boolean, where the nuisance signals are averaged.
        gradient_V3: derivative of the baseline along x, y, z, per mm.
        coords_V3: voxel centres in mm.
        networks_VK, locals_VL: spatial weights of the networks and of the local sources.
        planted_V: boolean, the posterior putamen of both sides.
    """

    affine: NDArray[np.float64]
    mask_XYZ: NDArray[np.bool_]
    baseline_V: Floats
    grey_V: Floats
    white_V: NDArray[np.bool_]
    fluid_V: NDArray[np.bool_]
    gradient_V3: Floats
    coords_V3: Floats
    networks_VK: Floats
    locals_VL: Floats
    planted_V: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What makes one simulated person's run.

    Attributes:
        amplitude: factor on the posterior putamen's fluctuation, 1 for none lost.
        coupling: correlation of the posterior putamen with the motor network.
        intensity: the scanner's mean intensity (arbitrary units), which stands for site gain.
        thermal: standard deviation of thermal noise, as a fraction of the mean intensity.
        bias_3: slope of the receive field along x, y, z, per 100 mm.
    """

    amplitude: float
    coupling: float
    intensity: float
    thermal: float
    bias_3: tuple[float, float, float]


@lru_cache(maxsize=2)
def template_brain(voxel_mm: int, n_local: int = 200) -> Brain:
    """The template anatomy resampled to cubes of `voxel_mm`."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template
    from scipy.ndimage import gaussian_filter

    mask_image = load_mni152_brain_mask(resolution=voxel_mm)
    mask_XYZ = mask_image.get_fdata() > 0
    grey_XYZ = load_mni152_gm_template(resolution=voxel_mm).get_fdata().clip(0, 1)
    white_XYZ = load_mni152_wm_template(resolution=voxel_mm).get_fdata().clip(0, 1)
    fluid_XYZ = (1 - grey_XYZ - white_XYZ).clip(0, 1) * mask_XYZ
    baseline_XYZ = gaussian_filter(mask_XYZ * (0.9 * grey_XYZ + 0.75 * white_XYZ + 1.2 * fluid_XYZ), 0.7)
    gradient_XYZ3 = np.stack(np.gradient(baseline_XYZ, voxel_mm), axis=-1)

    grey_V = grey_XYZ[mask_XYZ].astype(np.float32)
    ijk_V3 = np.argwhere(mask_XYZ)
    coords_V3 = (ijk_V3 @ mask_image.affine[:3, :3].T + mask_image.affine[:3, 3]).astype(np.float32)
    networks_VK = np.stack([_blobs(coords_V3, c, NETWORK_WIDTH_MM) for c in NETWORKS.values()], axis=1)
    rng = np.random.default_rng(0)  # the anatomy is the same whatever the cohort's seed
    centres_L3 = coords_V3[rng.choice(len(coords_V3), n_local, p=grey_V / grey_V.sum(), replace=False)]
    locals_VL = np.stack([_blobs(coords_V3, [c], 8.0) for c in centres_L3], axis=1)
    return Brain(
        affine=mask_image.affine,
        mask_XYZ=mask_XYZ,
        baseline_V=baseline_XYZ[mask_XYZ].astype(np.float32),
        grey_V=grey_V,
        white_V=white_XYZ[mask_XYZ] > 0.9,
        fluid_V=fluid_XYZ[mask_XYZ] > 0.6,
        gradient_V3=gradient_XYZ3[mask_XYZ].astype(np.float32),
        coords_V3=coords_V3,
        networks_VK=networks_VK * grey_V[:, None],
        locals_VL=locals_VL * grey_V[:, None],
        planted_V=_inside_ellipsoids(coords_V3),
    )


def _blobs(coords_V3: Floats, centres: object, width_mm: float) -> Floats:
    """Gaussian weights (V,) around the nearest of the centres."""
    squared = [((coords_V3 - np.asarray(c, np.float32)) ** 2).sum(1) for c in centres]  # type: ignore[attr-defined]
    weights_V: Floats = np.exp(-np.min(squared, axis=0) / (2 * width_mm**2)).astype(np.float32)
    return weights_V


def _inside_ellipsoids(coords_V3: Floats) -> NDArray[np.bool_]:
    radii = np.asarray(PUTAMEN_RADII_MM)
    scaled = [(((coords_V3 - np.asarray(c)) / radii) ** 2).sum(1) for c in POSTERIOR_PUTAMEN]
    return np.asarray(np.min(scaled, axis=0) <= 1)


def haemodynamic_noise(n_series: int, n_frames: int, tr: float, rng: np.random.Generator) -> Floats:
    """Unit-variance series (n_series, T): white neural noise through a haemodynamic response."""
    from nilearn.glm.first_level import glover_hrf

    response = glover_hrf(tr, oversampling=1, time_length=24.0)
    white = rng.standard_normal((n_series, n_frames + 2 * len(response)))
    series = np.apply_along_axis(np.convolve, 1, white, response, mode="valid")[:, :n_frames]
    series -= series.mean(1, keepdims=True)
    return np.asarray(series / series.std(1, keepdims=True), dtype=np.float32)


def draw_motion(n_frames: int, rng: np.random.Generator) -> Floats:
    """Head position (T, 6): translations in mm, then rotations in radians; slow wander, and a few spikes."""
    scale = np.array([0.02, 0.02, 0.03, 4e-4, 3e-4, 3e-4])
    motion = np.cumsum(rng.standard_normal((n_frames, 6)) * scale, axis=0)
    for frame in rng.choice(np.arange(2, n_frames), size=min(rng.poisson(1.5), n_frames - 2), replace=False):
        motion[frame] += rng.standard_normal(6) * scale * 25
        motion[frame:] += rng.standard_normal(6) * scale * 5  # the head does not come back to its place
    return np.asarray(motion - motion[0], dtype=np.float32)


def draw_run(
    brain: Brain, subject: Subject, n_frames: int, tr: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """One run: intensities (V, T) in the scanner's units, and motion (T, 6)."""
    motion_T6 = draw_motion(n_frames, rng)
    change_VT = _neural(brain, subject, n_frames, tr, rng)
    change_VT += _physiology(brain, n_frames, tr, rng)
    change_VT += _drift(brain, n_frames, rng)
    relative_VT = brain.baseline_V[:, None] * (1 + change_VT) - _moved(brain, motion_T6)
    relative_VT += subject.thermal * rng.standard_normal(relative_VT.shape, dtype=np.float32)
    field_V = 1 + brain.coords_V3 @ (np.asarray(subject.bias_3, np.float32) / 100)
    return subject.intensity * field_V[:, None] * relative_VT, motion_T6


def _neural(brain: Brain, subject: Subject, n_frames: int, tr: float, rng: np.random.Generator) -> Floats:
    n_networks, n_local = brain.networks_VK.shape[1], brain.locals_VL.shape[1]
    courses = haemodynamic_noise(n_networks + n_local + len(POSTERIOR_PUTAMEN), n_frames, tr, rng)
    networks_KT, locals_LT, own_2T = np.split(courses, [n_networks, n_networks + n_local])
    shared_T = networks_KT.mean(0) * np.sqrt(n_networks)
    networks_KT = 0.9 * networks_KT + 0.4 * shared_T  # networks are never independent
    personal_K = np.exp(0.15 * rng.standard_normal((n_networks, 1), dtype=np.float32))
    personal_L = np.exp(0.15 * rng.standard_normal((n_local, 1), dtype=np.float32))
    change_VT: Floats = 0.012 * brain.networks_VK @ (personal_K * networks_KT)
    change_VT += 0.005 * brain.locals_VL @ (personal_L * locals_LT)
    change_VT[brain.planted_V] = _putamen(brain, subject, networks_KT[0], own_2T)
    return change_VT


def _putamen(brain: Brain, subject: Subject, motor_T: Floats, own_2T: Floats) -> Floats:
    """The planted region: a mixture of the motor network and of its own course, one for each side."""
    motor_T = motor_T / motor_T.std()
    mixed_2T = subject.coupling * motor_T + np.sqrt(1 - subject.coupling**2) * own_2T
    side_V = (brain.coords_V3[brain.planted_V, 0] < 0).astype(int)
    return np.asarray(0.02 * subject.amplitude * mixed_2T[side_V], dtype=np.float32)


def _physiology(brain: Brain, n_frames: int, tr: float, rng: np.random.Generator) -> Floats:
    """Breathing (near 0.3 Hz) and heartbeat (near 1.1 Hz), sampled once a frame and so aliased."""
    seconds_T = np.arange(n_frames) * tr
    waves = []
    for hertz, wander in ((rng.normal(0.3, 0.03), 0.3), (rng.normal(1.1, 0.1), 0.5)):
        phase_T = 2 * np.pi * hertz * seconds_T + np.cumsum(rng.standard_normal(n_frames)) * wander
        waves.append(np.sin(phase_T + rng.uniform(0, 2 * np.pi)))
    everywhere_V = 0.002 + 0.006 * (1 - brain.grey_V) * brain.fluid_V
    return np.asarray(everywhere_V[:, None] * np.sum(waves, axis=0), dtype=np.float32)


def _drift(brain: Brain, n_frames: int, rng: np.random.Generator) -> Floats:
    ramp_T = np.linspace(-1, 1, n_frames, dtype=np.float32)
    slope_V = 0.006 * rng.standard_normal() + brain.coords_V3 @ (rng.standard_normal(3) * 0.003 / 100)
    return np.asarray(slope_V[:, None] * ramp_T + 0.003 * rng.standard_normal() * ramp_T**2, dtype=np.float32)


def _moved(brain: Brain, motion_T6: Floats) -> Floats:
    """First-order change of the image when the head moves: gradient times displacement, turns included."""
    turn_V3 = np.cross(
        brain.coords_V3, brain.gradient_V3
    )  # d(displacement)/d(rotation), dotted with the gradient
    return np.concatenate([brain.gradient_V3, turn_V3], axis=1) @ motion_T6.T
