"""What an explanation holds, and how it lies on the picture.

Shape suffixes: R rows, C columns of the map; H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What in a picture speaks for a target.

    Args:
        map_RC: rows x columns over `box`, float32, >= 0, the most 1; all 0 where nothing speaks for it.
        box: (left, top, right, bottom) of what the model saw, as fractions of the picture; below 0 and above
            1 where it was padded.
        score: cosine of picture and target.
        method: what made the map.
    """

    map_RC: npt.NDArray[np.float32] = field(repr=False)
    box: tuple[float, float, float, float]
    score: float
    method: str

    def on_picture(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """Heat (H, W) for each pixel of the picture at that size, 0..1; NaN where the model did not see it.

        Interpolated by cubic splines through the middles of the cells (Keys 1981), cut at 0 and 1.
        """
        left, top, right, bottom = self.box
        rows_HR = _along(height, top, bottom, self.map_RC.shape[0])
        columns_WC = _along(width, left, right, self.map_RC.shape[1])
        heat_HW: npt.NDArray[np.float32] = np.clip(rows_HR @ self.map_RC @ columns_WC.T, 0, 1)
        return heat_HW.astype(np.float32)

    @property
    def strongest(self) -> tuple[float, float] | None:
        """(from the left, from the top) of the hottest cell's middle, as fractions of the picture.

        None where all is 0. The cell may lie in the padding, and then outside of 0..1.
        """
        if not self.map_RC.any():
            return None
        left, top, right, bottom = self.box
        row, column = np.unravel_index(int(self.map_RC.argmax()), self.map_RC.shape)
        rows, columns = self.map_RC.shape
        across, down = (float(column) + 0.5) / columns, (float(row) + 0.5) / rows
        return left + across * (right - left), top + down * (bottom - top)

    def overlay(self, picture_HWC: npt.NDArray[np.uint8], max_side: int = 1600) -> Image.Image:
        """The heat laid over the picture (RGB), at most `max_side` pixels wide and high."""
        from vision.explain.overlay import overlay

        return overlay(self, picture_HWC, max_side)


def _along(pixels: int, start: float, end: float, cells: int) -> npt.NDArray[np.float64]:
    """What each pixel along a side takes of each cell between two fractions of it; NaN outside.

    (pixels, cells).
    """
    at = ((np.arange(pixels) + 0.5) / pixels - start) / (end - start)
    place = at * cells - 0.5
    weights = np.zeros((pixels, cells))
    first = np.floor(place).astype(int) - 1
    for step in range(4):
        cell = np.clip(first + step, 0, cells - 1)  # beyond the last middle the last cell goes on
        np.add.at(weights, (np.arange(pixels), cell), _cubic(place - (first + step)))
    weights[(at < 0) | (at > 1)] = np.nan
    return weights


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Catmull and Rom's spline: 1 at the middle of a cell, 0 at all others, smooth between."""
    x = np.abs(distance)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
