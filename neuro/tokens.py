"""One cached run -> tubelet tokens: in-brain space-time patches, their places in mm, and the way back.

Letters: T frames, N in-brain patches, P voxels in a patch (x, y, z row-major), L frames of a clip, V values
of a token's signal (L * P), X Y Z voxel axes as in nibabel.

A tubelet is a cube of brain over some frames. Its signal is z-scored voxel by voxel, which erases how
strongly each voxel fluctuates; so it also carries an amplitude: the logarithm of each voxel's temporal
standard deviation, relative to the brain's median and spread. A scanner's gain cancels there; a loss of
low-frequency amplitude in one region stands out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.errors import ParameterError

HALF = NDArray[np.float16]
READ_FRAMES = 16  # of a run in float32 at once


@dataclass(frozen=True, kw_only=True)
class TubeletSpec:
    """How a run is cut.

    Attributes:
        patch_mm: edge of a cube in mm; rounded to whole voxels of the run along each axis.
        frames: frames of a clip, all of which make one token per cube.
    """

    patch_mm: float = 16.0
    frames: int = 20

    def __post_init__(self) -> None:
        if not self.patch_mm > 0:
            raise ParameterError("patch_mm", must_be="positive", got=self.patch_mm)
        if self.frames < 2:
            raise ParameterError("frames", must_be="at least 2", got=self.frames)

    def patch_voxels(self, affine: NDArray[np.float64]) -> tuple[int, int, int]:
        """Voxels of a cube along x, y, z."""
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
        x, y, z = (max(1, round(self.patch_mm / size)) for size in voxel_mm)
        return x, y, z


@dataclass(frozen=True, kw_only=True, eq=False)
class TubeletRun:
    """A run as tubelets, before any clip is chosen.

    Attributes:
        run_id: the run's name.
        spec: how it was cut.
        patch_voxels: voxels of a cube along x, y, z.
        signal_TNP: float16 z-scores, 0 outside the brain.
        amplitude_NP: float16 relative log standard deviation, 0 outside the brain.
        centres_N3: float32, centres of the cubes in mm.
        tr: seconds.
        shape, affine: the run's grid, (X, Y, Z) and voxels to mm.
        origins_N3: first voxel of each cube.
        inside_NP: the voxels that are in the brain.
    """

    run_id: str
    spec: TubeletSpec
    patch_voxels: tuple[int, int, int]
    signal_TNP: HALF
    amplitude_NP: HALF
    centres_N3: NDArray[np.float32]
    tr: float
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    origins_N3: NDArray[np.intp]
    inside_NP: NDArray[np.bool_]

    def clip_starts(self) -> list[int]:
        """First frames of the consecutive clips that cover the run; a remainder is left out."""
        return list(range(0, self.signal_TNP.shape[0] - self.spec.frames + 1, self.spec.frames))

    def clip(self, start: int) -> HALF:
        """Signal of one clip (N, V), frames slowest: the layout of a patch embedding over (t, x, y, z)."""
        window = self.signal_TNP[start : start + self.spec.frames]
        return window.transpose(1, 0, 2).reshape(window.shape[1], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """Clips of several runs, padded to the longest.

    Attributes:
        signal_BNV, amplitude_BNP: float32.
        positions_BN4: centres in mm (x, y, z), and seconds from the clip's start to the token's middle.
        mask_BN: bool, True where there is a token.
    """

    signal_BNV: torch.Tensor
    amplitude_BNP: torch.Tensor
    positions_BN4: torch.Tensor
    mask_BN: torch.Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(
            signal_BNV=self.signal_BNV.to(device),
            amplitude_BNP=self.amplitude_BNP.to(device),
            positions_BN4=self.positions_BN4.to(device),
            mask_BN=self.mask_BN.to(device),
        )


def tubelets(run: CachedRun, spec: TubeletSpec | None = None) -> TubeletRun:
    """Cut a cached run into tubelets; only cubes that touch the brain are kept.

    Raises:
        ParameterError: the run is shorter than one clip.
    """
    spec = spec or TubeletSpec()
    if run.n_frames < spec.frames:
        raise ParameterError(
            f"run {run.run_id}",
            must_be=f"at least one clip of {spec.frames} frames",
            got=f"{run.n_frames} frames",
            do="take shorter clips",
        )
    patch = spec.patch_voxels(run.affine)
    ijk_V3 = np.argwhere(run.mask_XYZ)
    cubes_N3, cube_V = np.unique(ijk_V3 // patch, axis=0, return_inverse=True)
    cube_V = cube_V.ravel()
    place_V = np.ravel_multi_index(tuple((ijk_V3 % patch).T), patch)
    origins_N3 = cubes_N3 * patch
    middle_N3 = origins_N3 + (np.array(patch) - 1) / 2
    n_cubes, n_places = len(cubes_N3), int(np.prod(patch))

    def scatter(values: NDArray[np.generic]) -> NDArray[np.generic]:
        grid = np.zeros((*values.shape[:-1], n_cubes, n_places), dtype=values.dtype)
        grid[..., cube_V, place_V] = values
        return grid

    signal_TNP = np.zeros((run.n_frames, n_cubes, n_places), dtype=np.float16)
    for start in range(0, run.n_frames, READ_FRAMES):
        stop = min(start + READ_FRAMES, run.n_frames)
        signal_TNP[start:stop, cube_V, place_V] = run.frames(start, stop)
    return TubeletRun(
        run_id=run.run_id,
        spec=spec,
        patch_voxels=patch,
        signal_TNP=signal_TNP,
        amplitude_NP=scatter(relative_amplitude(run.std_V)).astype(np.float16),
        centres_N3=(middle_N3 @ run.affine[:3, :3].T + run.affine[:3, 3]).astype(np.float32),
        tr=run.tr,
        shape=(run.mask_XYZ.shape[0], run.mask_XYZ.shape[1], run.mask_XYZ.shape[2]),
        affine=run.affine,
        origins_N3=origins_N3,
        inside_NP=scatter(np.ones(len(cube_V), dtype=bool)).astype(bool),
    )


def relative_amplitude(std_V: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log standard deviation of each voxel (V,), centred on the brain's median, in units of its spread.

    The spread is the interquartile range over 1.349 (one standard deviation of a normal distribution).
    Constant voxels (standard deviation 0) stand at the median. The result is kept within 8 spreads.
    """
    std_V = np.asarray(std_V, dtype=np.float32)
    alive_V = std_V > 0
    if not alive_V.any():
        return np.zeros_like(std_V)
    logs_V = np.log(np.where(alive_V, std_V, 1))
    low, median, high = np.percentile(logs_V[alive_V], [25, 50, 75])
    spread = max((high - low) / 1.349, 1e-3)
    return np.where(alive_V, np.clip((logs_V - median) / spread, -8, 8), 0).astype(np.float32)


def untokenize(run: TubeletRun, values_NP: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values per voxel of each cube (N, P), or per cube (N, 1) -> volume (X, Y, Z), 0 outside the brain.

    The exact inverse of the cutting: `untokenize(run, run.signal_TNP[t])` is frame t of the run.
    """
    values_NP = np.broadcast_to(values_NP, run.inside_NP.shape)
    cube_M, place_M = np.nonzero(run.inside_NP)
    ijk_M3 = run.origins_N3[cube_M] + np.stack(np.unravel_index(place_M, run.patch_voxels), axis=1)
    volume_XYZ = np.zeros(run.shape, dtype=np.float32)
    volume_XYZ[tuple(ijk_M3.T)] = values_NP[cube_M, place_M]
    return volume_XYZ


def collate(runs: Sequence[TubeletRun], starts: Sequence[int]) -> TokenBatch:
    """One clip of each run, beginning at the given frames -> a padded batch."""
    longest = max(len(run.centres_N3) for run in runs)
    batch, patch = len(runs), runs[0].amplitude_NP.shape[1]
    signal_BNV = torch.zeros(batch, longest, patch * runs[0].spec.frames)
    amplitude_BNP = torch.zeros(batch, longest, patch)
    positions_BN4 = torch.zeros(batch, longest, 4)
    mask_BN = torch.zeros(batch, longest, dtype=torch.bool)
    for b, (run, start) in enumerate(zip(runs, starts, strict=True)):
        count = len(run.centres_N3)
        signal_BNV[b, :count] = torch.from_numpy(run.clip(start))
        amplitude_BNP[b, :count] = torch.from_numpy(run.amplitude_NP)
        positions_BN4[b, :count, :3] = torch.from_numpy(run.centres_N3)
        positions_BN4[b, :count, 3] = run.tr * run.spec.frames / 2
        mask_BN[b, :count] = True
    return TokenBatch(
        signal_BNV=signal_BNV, amplitude_BNP=amplitude_BNP, positions_BN4=positions_BN4, mask_BN=mask_BN
    )
