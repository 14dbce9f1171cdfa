"""Runs made in memory: any mask, affine, repetition time and length, seeded."""

from __future__ import annotations

import numpy as np

from data.caches.cached_run import CachedRun


def affine_of(voxel_mm=(4.0, 4.0, 4.0), origin_mm=(0.0, 0.0, 0.0), turn: float = 0.0) -> np.ndarray:
    """Voxels to mm; `turn` radians about z and half as many about x make it oblique."""
    c, s = np.cos(turn), np.sin(turn)
    c2, s2 = np.cos(turn / 2), np.sin(turn / 2)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c2, -s2], [0, s2, c2]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(voxel_mm)
    affine[:3, 3] = origin_mm
    return affine


def made_run(
    mask_XYZ: np.ndarray,
    *,
    frames: int = 6,
    affine: np.ndarray | None = None,
    tr: float = 2.0,
    seed: int = 0,
    name: str = "sub-x",
) -> CachedRun:
    rng = np.random.default_rng(seed)
    count = int(mask_XYZ.sum())
    return CachedRun(
        run_id=name,
        participant_id=name,
        series_TV=rng.standard_normal((frames, count)).astype(np.float16),
        mean_V=np.ones(count, np.float32),
        std_V=rng.uniform(1, 2, count).astype(np.float32),
        mask_XYZ=mask_XYZ,
        affine=affine_of(origin_mm=(-10, 0, 5)) if affine is None else affine,
        tr=tr,
    )


def ball(
    voxel_mm: tuple[float, float, float],
    field_mm: tuple[float, float, float],
    *,
    corner_mm: tuple[float, float, float],
    radius_mm: float = 40.0,
    turn: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask and affine of one and the same ball about (0, 0, 0) mm, on a grid of one's choice."""
    shape = tuple(int(np.ceil(f / v)) for f, v in zip(field_mm, voxel_mm, strict=True))
    affine = affine_of(voxel_mm, corner_mm, turn)
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mm = ijk @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(mm, axis=-1) < radius_mm, affine
