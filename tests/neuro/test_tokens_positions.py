"""Places in mm and seconds are the brain's, whatever the grid, the field of view, the TR and the length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.caches.cached_run import CachedRun
from neuro.tokens import CubeTokens, TubeletSpec, collate, cubes

from .made_runs import ball, made_run

CUBE_MM, WINDOW_S = 16.0, 12.0
PLACES_MM = np.array([[13.0, -9, 21], [-30, 5, 0], [0, 0, 0], [2, 33, -11], [17, 16, 15]])
EVENTS_S = (3.0, 51.0, 95.0)
USUAL = ((4, 4, 4), (104, 104, 104), (-52, -52, -52), 0.0, 2.0, 60)
# name -> voxel size, field of view and corner (mm), turn, TR (s), frames
GRIDS = {
    "4 mm": USUAL,
    "2 mm": ((2, 2, 2), (100, 100, 100), (-49, -50, -51), 0.0, 2.0, 60),
    "another field of view": ((3, 3, 3), (150, 120, 99), (-93, -60, -48), 0.0, 2.0, 60),
    "flat voxels": ((3, 3, 5), (99, 99, 100), (-48, -48, -50), 0.0, 2.0, 60),
    "oblique": ((4, 4, 4), (180, 180, 180), (-60, -110, -70), 0.3, 2.0, 60),
    "right to left": USUAL,
    "TR 0.8 s": (*USUAL[:4], 0.8, 150),
    "TR 3 s, longer": (*USUAL[:4], 3.0, 80),
}


def run_on(grid: str) -> CachedRun:
    """One and the same ball, without a signal."""
    voxel_mm, field_mm, corner_mm, turn, tr, frames = GRIDS[grid]
    mask, affine = ball(voxel_mm, field_mm, corner_mm=corner_mm, turn=turn)
    if grid == "right to left":
        mask = mask[::-1]
        affine = affine @ np.array([[-1, 0, 0, len(mask) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    run = made_run(mask, affine=affine, tr=tr, frames=frames)
    run.series_TV[:] = 0
    assert mask.sum() * np.prod(voxel_mm) == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.05)  # all of it
    return run


def cut_run(run: CachedRun, start_s: float = 0) -> CubeTokens:
    window = round(WINDOW_S / run.tr)
    windows = int((run.n_frames * run.tr - start_s) / (window * run.tr))
    return cubes(run, TubeletSpec(patch_mm=CUBE_MM, frames=window * windows, window=window))


def voxels_mm(run: CachedRun) -> np.ndarray:
    return np.argwhere(run.mask_XYZ) @ run.affine[:3, :3].T + run.affine[:3, 3]


@pytest.mark.parametrize("grid", GRIDS)
def test_what_happens_somewhere_is_found_there(grid: str) -> None:
    """One voxel speaks in one frame: the token that holds it lies there, to half a cube and half a window."""
    run = run_on(grid)
    edges_mm = np.linalg.norm(run.affine[:3, :3], axis=0)
    to_grid = np.linalg.inv(run.affine[:3, :3] / edges_mm)  # mm along the grid's own axes
    for place in PLACES_MM:
        for event_s in EVENTS_S:
            run.series_TV[:] = 0
            run.series_TV[int(event_s / run.tr), np.linalg.norm(voxels_mm(run) - place, axis=1).argmin()] = 5
            cut = cut_run(run)
            batch = collate([cut.clip(0)])
            loud = int(batch.signal_BNV[0].abs().sum(1).argmax())
            off = batch.positions_BN4[0, loud].numpy() - [*place, event_s]
            within = (np.array(cut.patch_voxels) + 1) * edges_mm / 2
            assert (np.abs(to_grid @ off[:3]) <= within + 1e-3).all()
            assert np.abs(off[3]) <= cut.spec.window_frames * run.tr / 2 + run.tr / 2


@pytest.mark.parametrize("grid", list(GRIDS)[1:])
def test_a_place_has_nearly_the_position_that_it_has_on_another_grid(grid: str) -> None:
    """For every place of the brain: the cubes of both grids that hold it are less than one cube apart."""
    usual, other = (cut_run(run_on(name)) for name in ("4 mm", grid))
    there = []
    for cut in (usual, other):
        place_N = [int(holder(cut, place)) for place in PLACES_MM]
        there.append(cut.centres_S3[place_N])
    apart = np.linalg.norm(there[0] - there[1], axis=1)
    assert (apart <= np.sqrt(3) * (CUBE_MM + 2)).all()
    far = np.linalg.norm(there[0] - np.roll(there[1], 1, axis=0), axis=1)
    assert apart.mean() < 0.4 * far.mean()
    np.testing.assert_allclose(usual.centres_S3.mean(0), other.centres_S3.mean(0), atol=CUBE_MM / 2)


def holder(cut: CubeTokens, place_mm: np.ndarray) -> np.intp:
    """The cube in which a place lies, by its voxel."""
    voxel = np.rint(np.linalg.inv(cut.affine) @ [*place_mm, 1])[:3]
    inside = ((cut.origins_S3 <= voxel) & (voxel < cut.origins_S3 + cut.patch_voxels)).all(axis=1)
    return np.flatnonzero(inside)[0]


def test_equal_lattices_on_other_fields_of_view_give_equal_positions() -> None:
    """A field of view that is larger by whole cubes moves no token, but for those that it adds."""
    mask, affine = ball((4, 4, 4), (112, 112, 112), corner_mm=(-56, -56, -56))
    wide = np.pad(mask, ((4, 8), (0, 4), (8, 0)))
    moved = affine.copy()
    moved[:3, 3] -= [16, 0, 32]
    spec = TubeletSpec(patch_mm=16, frames=6)
    small, large = (cubes(made_run(m, affine=a), spec) for m, a in ((mask, affine), (wide, moved)))
    np.testing.assert_allclose(small.centres_S3, large.centres_S3, atol=1e-4)
    np.testing.assert_array_equal(small.amplitude_SP, large.amplitude_SP)
    np.testing.assert_array_equal(small.clip(0).signal_WSV, large.clip(0).signal_WSV)


@pytest.mark.parametrize("start_s", [0.0, 24.0])
def test_seconds_count_from_the_clips_start_at_every_tr(start_s: float) -> None:
    found = {}
    for grid in ("4 mm", "TR 0.8 s", "TR 3 s, longer"):
        run = run_on(grid)
        cut = cut_run(run, start_s)
        seconds = torch.from_numpy(cut.clip(int(start_s / run.tr)).seconds_W)
        width = cut.spec.window_frames * run.tr
        torch.testing.assert_close(seconds, width * (torch.arange(len(seconds)) + 0.5))
        found[grid] = seconds[:8]
    for seconds in found.values():
        torch.testing.assert_close(seconds, found["4 mm"], atol=0.5, rtol=0.05)
