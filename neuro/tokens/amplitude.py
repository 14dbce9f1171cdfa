"""How strongly each place fluctuates, relative to the rest of the brain: what z-scoring erases.

Letters: V voxels or regions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_SPREADS = 8


def relative_amplitude(std_V: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log standard deviation of each voxel or region (V,), centred on the median, in units of its spread.

    The spread is the interquartile range over 1.349 (one standard deviation of a normal distribution). A
    scanner's gain cancels; a loss of low-frequency amplitude in one place stands out. Constant voxels
    (standard deviation 0) stand at the median. The result is kept within 8 spreads.
    """
    std_V = np.asarray(std_V, dtype=np.float32)
    alive_V = std_V > 0
    if not alive_V.any():
        return np.zeros_like(std_V)
    logs_V = np.log(np.where(alive_V, std_V, 1))
    low, median, high = np.percentile(logs_V[alive_V], [25, 50, 75])
    spread = max((high - low) / 1.349, 1e-3)
    relative_V = np.clip((logs_V - median) / spread, -MOST_SPREADS, MOST_SPREADS)
    return np.where(alive_V, relative_V, 0).astype(np.float32)
