"""A cleaning operator applied to the voxels of a run, block by block: (T, V) -> z-scores (F, V).

Letters: T frames of the run, F frames that are kept, V voxels, B voxels of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BLOCK_VOXELS = 2048  # some 1.6 MB of 200 frames: a few such arrays lie in a processor's own cache
NO_MEAN = 1e-10  # of a mean, which is some 100 standard deviations: far below single precision


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanBlock:
    """A block of cleaned voxels.

    Attributes:
        columns: which of the V voxels.
        z_FB: float32 z-scores over time (sample standard deviation, as nilearn's `zscore_sample`); 0 where
            `std_B` is 0.
        mean_B: temporal mean of the raw series; 0 where it is not finite.
        std_B: standard deviation of the cleaned series in raw units; 0 for constant and for non-finite
            voxels.
        nonfinite_B: voxels with NaN or infinity somewhere in time.
    """

    columns: slice
    z_FB: Floats
    mean_B: Floats
    std_B: Floats
    nonfinite_B: NDArray[np.bool_]


def clean_blocks(series_TV: Floats, operator_FT: Doubles, block: int | None = None) -> Iterator[CleanBlock]:
    """Apply an operator to a series, a block of voxels at a time, in single precision."""
    step = block or BLOCK_VOXELS
    single_FT = operator_FT.astype(np.float32)
    # What the operator makes of a mean, about the mean of that. Detrending leaves nothing of it but rounding.
    of_mean_F = operator_FT.sum(axis=1)
    of_mean_F = of_mean_F - of_mean_F.mean()
    offset_F = of_mean_F.astype(np.float32) if np.abs(of_mean_F).max() > NO_MEAN else None
    for start in range(0, series_TV.shape[1], step):
        columns = slice(start, min(start + step, series_TV.shape[1]))
        yield _clean_block(series_TV[:, columns], single_FT, offset_F, columns)


def temporal_means(series_TV: Floats, block: int | None = None) -> Floats:
    """Means over time (V,) to the last digit of float32; 0 where a voxel is not finite throughout."""
    step = block or BLOCK_VOXELS
    blocks = [series_TV[:, start : start + step] for start in range(0, series_TV.shape[1], step)]
    return np.concatenate([_centred(raw_TB)[1] for raw_TB in blocks])


def _centred(raw_TB: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The block without its means, the means, and which voxels are not finite (all 0 in the two others)."""
    with np.errstate(invalid="ignore"):  # infinities of both signs
        mean_B = _mean(raw_TB)
    nonfinite_B = np.logical_not(np.isfinite(mean_B))  # one NaN or infinity is enough for that
    if nonfinite_B.any():
        raw_TB = np.where(nonfinite_B, np.float32(0), raw_TB)
        mean_B = np.where(nonfinite_B, np.float32(0), mean_B)
    centred_TB = raw_TB - mean_B
    # A sum of large values has lost digits; that of what is left over after it has not.
    rest_B = _mean(centred_TB)
    centred_TB -= rest_B
    return centred_TB, mean_B + rest_B, nonfinite_B


def _clean_block(raw_TB: Floats, operator_FT: Floats, offset_F: Floats | None, columns: slice) -> CleanBlock:
    centred_TB, mean_B, nonfinite_B = _centred(raw_TB)
    # Without its large mean the series keeps its digits in single precision; the mean is cleaned by itself.
    clean_FB = operator_FT @ centred_TB
    if offset_F is not None:
        clean_FB += np.multiply.outer(offset_F, mean_B)
    clean_FB -= _mean(clean_FB)
    std_B = np.sqrt(_power(clean_FB) / max(len(clean_FB) - 1, 1))
    # What is below single precision of the raw series is rounding, not signal.
    rounding_B = 1e-5 * np.sqrt(_power(centred_TB) / len(centred_TB)) + 1e-7 * np.abs(mean_B)
    std_B = np.where(std_B > rounding_B, std_B, np.float32(0))
    clean_FB *= np.divide(1, std_B, out=np.zeros_like(std_B), where=std_B > 0)
    return CleanBlock(columns=columns, z_FB=clean_FB, mean_B=mean_B, std_B=std_B, nonfinite_B=nonfinite_B)


def _mean(series_TB: Floats) -> Floats:
    """Means over time, as a product: several times the speed of `mean`."""
    weights_T = np.full(len(series_TB), 1 / len(series_TB), dtype=np.float32)
    means_B: Floats = weights_T @ series_TB
    return means_B


def _power(series_TB: Floats) -> Floats:
    """Sums of squares over time."""
    sums_B: Floats = np.einsum("tb,tb->b", series_TB, series_TB)
    return sums_B
