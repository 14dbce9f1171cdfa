"""Whole frames from one grid to another, in mm: blocks (X, Y, Z, n) -> blocks on the target grid, streamed.

Target voxels are cubes along the axes of the space, their centres at multiples of the edge in mm, so that
any two grids of the same edge share their voxels. Interpolation is trilinear. Going coarser, frames are
first blurred by the Gaussian that turns the point spread of a source voxel into that of a target voxel
(Cardoso et al. 2015, doi 10.1007/978-3-319-24571-3_81), so that fine structure does not fold back.
Letters: X, Y, Z voxels, n frames of a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

# First and last voxel centre in mm, of MNI152NLin2009cAsym; MNI152NLin6Asym lies within.
MNI_BOX_MM = np.array([[-96.0, -132.0, -78.0], [96.0, 96.0, 114.0]])
FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, in its standard deviations
TINY = 1e-4  # of a voxel: what rounding moves


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Where voxels lie: shape (X, Y, Z) and affine (4, 4), voxel indices -> mm."""

    shape: tuple[int, int, int]
    affine: Doubles

    @property
    def voxel_mm(self) -> Doubles:
        """Edges of a voxel (3,)."""
        edges: Doubles = np.linalg.norm(self.affine[:3, :3], axis=0)
        return edges


def grid_in_mm(grid: Grid, voxel_mm: float, space: str | None = None) -> Grid:
    """The grid of cubes of `voxel_mm` that holds the field of view of `grid`, axes to right, front and top.

    In a space named MNI… the box is always that of MNI152NLin2009cAsym, so that all runs of a cohort lie on
    one and the same grid, whatever their fields of view; elsewhere it is the run's own. Either way centres
    are multiples of `voxel_mm` from the origin.

    Raises:
        ParameterError: the field of view is too thin to hold one centre of such a voxel.
    """
    if space is not None and space.startswith("MNI"):
        lowest, highest = MNI_BOX_MM
    else:
        ends = itertools.product(*((-0.5, n - 0.5) for n in grid.shape))
        corners_C3 = np.array(list(ends)) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        lowest, highest = corners_C3.min(axis=0), corners_C3.max(axis=0)
    first = np.ceil(lowest / voxel_mm - TINY).astype(int)
    counts = np.floor(highest / voxel_mm + TINY).astype(int) - first + 1
    if counts.min() < 1:
        raise ParameterError(
            "voxel_mm",
            must_be=f"no more than the field of view ({(highest - lowest).min():.3g} mm at its thinnest)",
            got=f"{voxel_mm:g} mm",
            do="take smaller voxels, or leave the run out",
        )
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = first * voxel_mm
    x, y, z = map(int, counts)
    return Grid(shape=(x, y, z), affine=affine)


def resampled_frames(
    frames: Iterator[tuple[int, Floats]], source: Grid, target: Grid
) -> Iterator[tuple[int, Floats]]:
    """Blocks of frames (X, Y, Z, n) on the target grid; 0 outside the source's field of view.

    A source voxel that is not finite has no weight; a target voxel that hangs by half or more on such voxels
    is NaN.
    """
    resample = _Resampling.between(source, target)
    outside_XYZ = ~resample.inside_XYZ
    for start, block_XYZn in frames:
        out_XYZn = np.empty((*target.shape, block_XYZn.shape[3]), dtype=np.float32, order="F")
        for i in range(block_XYZn.shape[3]):
            frame_XYZ = over_finite(resample, block_XYZn[..., i])
            frame_XYZ[outside_XYZ] = 0
            out_XYZn[..., i] = frame_XYZ
        yield start, out_XYZn


def resampled_mask(mask_XYZ: Bools, source: Grid, target: Grid) -> Bools:
    """The mask on the target grid: voxels more than half of which lie in it.

    Raises:
        ParameterError: none does.
    """
    resample = _Resampling.between(source, target)
    there_XYZ: Bools = (resample(mask_XYZ.astype(np.float32)) > 0.5) & resample.inside_XYZ
    if not there_XYZ.any():
        raise ParameterError(
            "voxel_mm",
            must_be="small enough for the brain mask",
            got=f"{target.voxel_mm[0]:g} mm, at which no voxel of {int(mask_XYZ.sum())} is left",
            do="take smaller voxels, or leave the run out",
        )
    return there_XYZ


def over_finite(operation: Callable[[Floats], Floats], volume_XYZ: Floats) -> Floats:
    """A weighted mean such as smoothing, in which voxels that are not finite have no weight.

    Where they would have had half of it or more the result is NaN.
    """
    finite_XYZ = np.isfinite(volume_XYZ)
    if finite_XYZ.all():
        return operation(volume_XYZ)
    sums_XYZ = operation(np.where(finite_XYZ, volume_XYZ, np.float32(0)))
    weights_XYZ = operation(finite_XYZ.astype(np.float32))
    result_XYZ = np.full_like(sums_XYZ, np.nan)
    return np.divide(sums_XYZ, weights_XYZ, out=result_XYZ, where=weights_XYZ > 0.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resampling:
    """One volume to another grid: called with (X, Y, Z), it gives the target's shape.

    Attributes:
        matrix: (3, 3), target indices -> source indices, with `offset` (3,).
        sigmas: blur in source voxels.
        shape: the target's.
        inside_XYZ: target voxels whose centre lies in some source voxel.
        by_axis: where the axes of both grids are parallel, for each of the target's the source's axis and
            what blurs and interpolates along it, (target's length, source's length); else None.
    """

    matrix: Doubles
    offset: Doubles
    sigmas: tuple[float, ...]
    shape: tuple[int, int, int]
    inside_XYZ: Bools
    by_axis: tuple[tuple[int, Floats], ...] | None

    @classmethod
    def between(cls, source: Grid, target: Grid) -> _Resampling:
        to_source = np.linalg.inv(source.affine) @ target.affine
        matrix, offset = to_source[:3, :3], to_source[:3, 3]
        coarser_mm2 = np.maximum(target.voxel_mm.max() ** 2 - source.voxel_mm**2, 0)
        sigmas = tuple((np.sqrt(coarser_mm2) / FWHM / source.voxel_mm).tolist())
        parallel = (np.abs(matrix) > TINY / max(target.shape)).sum() == 3
        return cls(
            matrix=matrix,
            offset=offset,
            sigmas=sigmas,
            shape=target.shape,
            inside_XYZ=_inside(matrix, offset, source.shape, target.shape),
            by_axis=_by_axis(matrix, offset, sigmas, source, target) if parallel else None,
        )

    def __call__(self, volume_XYZ: Floats) -> Floats:
        if self.by_axis is not None:
            # Three small matrix products, several times as fast as going voxel by voxel.
            volume_XYZ = volume_XYZ.transpose([axis for axis, _ in self.by_axis])
            for _, weights in self.by_axis:
                # The first axis goes, and comes back as the last: after three the order is what it was.
                volume_XYZ = np.tensordot(volume_XYZ, weights, axes=(0, 1))
            return volume_XYZ
        from scipy.ndimage import affine_transform, gaussian_filter1d

        for axis, sigma in enumerate(self.sigmas):
            if sigma > 0:
                volume_XYZ = gaussian_filter1d(volume_XYZ, sigma, axis=axis, mode="nearest")
        resampled: Floats = affine_transform(
            volume_XYZ, self.matrix, self.offset, self.shape, order=1, mode="nearest", output=np.float32
        )
        return resampled


def _by_axis(
    matrix: Doubles, offset: Doubles, sigmas: tuple[float, ...], source: Grid, target: Grid
) -> tuple[tuple[int, Floats], ...]:
    from scipy.ndimage import gaussian_filter1d

    steps = []
    for target_axis, length in enumerate(target.shape):
        axis = int(np.argmax(np.abs(matrix[:, target_axis])))
        last = source.shape[axis] - 1
        places = np.clip(np.arange(length) * matrix[axis, target_axis] + offset[axis], 0, last)
        # Linear interpolation: a triangle of one source voxel's width around every place.
        weights = np.maximum(1 - np.abs(places[:, None] - np.arange(last + 1)), 0)
        if sigmas[axis] > 0:
            weights = weights @ gaussian_filter1d(np.eye(last + 1), sigmas[axis], axis=0, mode="nearest")
        steps.append((axis, weights.astype(np.float32)))
    return tuple(steps)


def _inside(
    matrix: Doubles, offset: Doubles, source: tuple[int, int, int], target: tuple[int, int, int]
) -> Bools:
    x, y, z = np.ogrid[: target[0], : target[1], : target[2]]
    inside_XYZ = np.ones(target, dtype=bool)
    for row, start, n in zip(matrix, offset, source, strict=True):
        index_XYZ = row[0] * x + row[1] * y + row[2] * z + start
        inside_XYZ &= (index_XYZ > -0.5 - TINY) & (index_XYZ < n - 0.5 + TINY)
    return inside_XYZ
