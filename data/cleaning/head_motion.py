"""How far the head moved: six realignment parameters (T, 6) -> framewise displacement (T,), frames to drop.

Letters: T frames of a run.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")  # mm and radians
DISPLACEMENT = "framewise_displacement"
HEAD_RADIUS_MM = 50.0
SHORTEST_SEGMENT = 5


def framewise_displacement(motion_T6: NDArray[np.floating]) -> Doubles:
    """Sum of absolute steps (T,), turns as arcs on a 50 mm sphere (Power et al. 2012); the first is NaN.

    Args:
        motion_T6: translations in mm, then rotations in radians.
    """
    steps = (
        np.abs(np.diff(motion_T6.astype(np.float64), axis=0)) @ np.r_[np.ones(3), np.full(3, HEAD_RADIUS_MM)]
    )
    return np.concatenate([[np.nan], steps])


def displacement_of(table: pd.DataFrame) -> Doubles:
    """Framewise displacement (T,) in mm: the table's, or else from its six motion parameters, or else NaN."""
    if DISPLACEMENT in table.columns:
        return table[DISPLACEMENT].to_numpy(dtype=np.float64, copy=True)
    if set(MOTION) <= set(table.columns):
        return framewise_displacement(table[list(MOTION)].to_numpy())
    return np.full(len(table), np.nan)


def without_short_segments(moved_T: Bools) -> Bools:
    """Flag, beside the frames that are flagged, every segment between them of fewer than 5 frames."""
    flagged_T = moved_T.copy()
    if flagged_T.any():
        edges = np.flatnonzero(np.diff(flagged_T.astype(np.int8), prepend=1, append=1))
        for start, stop in edges.reshape(-1, 2):
            if stop - start < SHORTEST_SEGMENT:
                flagged_T[start:stop] = True
    return flagged_T
