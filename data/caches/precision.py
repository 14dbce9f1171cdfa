"""How a cache stores z-scores: float32 (F, B) -> float16, or int8 with a scale for each voxel; and back.

`float16` keeps 11 binary digits: the error is at most 2^-11 (0.05 %) of a z-score, 0.001 for one between 2
and 4. `int8` divides each voxel by its scale, max |z| / 127, and rounds: nothing is clipped, and the error is
at most half the scale, max |z| / 254; 0.012 to 0.02 where the largest z-score is 3 to 5, more in a voxel with
a spike. Letters: F frames, B voxels of a block, n frames of a clip, V in-mask voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.float16] | NDArray[np.int8]

LARGEST = 127  # of the codes; -128 is not used, so that the codes are symmetric
TINY = np.finfo(np.float32).tiny


def encoded(z_FB: Floats, precision: str) -> tuple[Codes, Floats | None]:
    """Codes (F, B) of the given precision ("float16" or "int8"), and for int8 the scales (B,)."""
    if precision == "float16":
        return z_FB.astype(np.float16), None
    scale_B = np.abs(z_FB).max(axis=0) / np.float32(LARGEST)
    scale_B[scale_B < TINY] = 0  # one over it would be infinite
    steps_B = np.divide(1, scale_B, out=np.zeros_like(scale_B), where=scale_B > 0)
    return np.rint(z_FB * steps_B).astype(np.int8), scale_B


def decoded(codes_nV: Codes, scale_V: Floats | None) -> Floats:
    """z-scores float32 (n, V) from codes, and the scales where they are int8."""
    z_nV = codes_nV.astype(np.float32)
    if scale_V is not None:
        z_nV *= scale_V
    return z_nV
