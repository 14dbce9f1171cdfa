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

BLOCK_VOXELS = 4096


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


def clean_blocks(series_TV: Floats, operator_FT: Doubles, block: int = BLOCK_VOXELS) -> Iterator[CleanBlock]:
    """Apply an operator to a series, a block of voxels at a time, in single precision."""
    for start in range(0, series_TV.shape[1], block):
        columns = slice(start, min(start + block, series_TV.shape[1]))
        yield _clean_block(series_TV[:, columns], operator_FT, columns)


def _clean_block(raw_TB: Floats, operator_FT: Doubles, columns: slice) -> CleanBlock:
    nonfinite_B = np.logical_not(np.isfinite(raw_TB).all(axis=0))
    raw_TB = np.where(nonfinite_B, np.float32(0), raw_TB)
    mean_B = raw_TB.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Without its large mean the series keeps its digits in single precision; the mean is then cleaned by
    # itself.
    centred_TB = raw_TB - mean_B
    clean_FB = operator_FT.astype(np.float32) @ centred_TB
    clean_FB += np.outer(operator_FT.sum(axis=1).astype(np.float32), mean_B)
    clean_FB -= clean_FB.mean(axis=0, dtype=np.float64).astype(np.float32)
    std_B = clean_FB.std(axis=0, ddof=1, dtype=np.float64)
    # What is below single precision of the raw series is rounding, not signal.
    rounding_B = 1e-5 * centred_TB.std(axis=0, dtype=np.float64) + 1e-7 * np.abs(mean_B)
    std_B = np.where(std_B > rounding_B, std_B, 0.0).astype(np.float32)
    clean_FB *= np.divide(1, std_B, out=np.zeros_like(std_B), where=std_B > 0)
    return CleanBlock(columns=columns, z_FB=clean_FB, mean_B=mean_B, std_B=std_B, nonfinite_B=nonfinite_B)
