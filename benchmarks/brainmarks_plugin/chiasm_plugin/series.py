"""A sample of Brainmarks' -> a checked series of z-scores at one repetition time, and where its clips begin.

Letters: T frames, D dimensions of the space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One run.

    Attributes:
        z_TD: z-scores over time; 0 where there is no signal.
        mean_D, std_D: in raw units.
        tr: seconds.
    """

    z_TD: Floats
    mean_D: Floats
    std_D: Floats
    tr: float


def series_of(sample: Mapping[str, Any], dimensions: int) -> Series:
    """What `bold` (T, D), `mean` (1, D), `std` (1, D) and `tr` of a sample say.

    Raises:
        ParameterError: other shapes, fewer than two frames, values that are not finite, or no such `tr`.
    """
    z_TD, mean_1D, std_1D = (_array(sample[name]) for name in ("bold", "mean", "std"))
    tr = float(sample["tr"])
    if z_TD.ndim != 2 or z_TD.shape[1] != dimensions or len(z_TD) < 2:
        raise ParameterError("bold", must_be=f"of shape (2 or more, {dimensions})", got=z_TD.shape)
    for name, values in (("mean", mean_1D), ("std", std_1D)):
        if values.shape != (1, dimensions):
            raise ParameterError(name, must_be=f"of shape (1, {dimensions})", got=values.shape)
    if not np.isfinite(z_TD).all():
        raise ParameterError("bold", must_be="finite", got="values that are not")
    if not (math.isfinite(tr) and tr > 0):
        raise ParameterError("tr", must_be="positive, in seconds", got=tr)
    return Series(z_TD=z_TD, mean_D=mean_1D[0], std_D=std_1D[0], tr=tr)


def at_tr(series: Series, tr: float, *, tolerance: float = 0.01) -> Series:
    """The series with frames every `tr` seconds, standardized anew.

    A frame stands for its stretch of time. Between frames it is interpolated linearly; where new frames are
    longer, the triangle is as wide as they are, so that nothing is aliased.

    Args:
        series: at any repetition time.
        tr: seconds.
        tolerance: in seconds; a series that is so near is left as it is.
    """
    if abs(series.tr - tr) <= tolerance:
        return series
    frames = len(series.z_TD)
    count = max(2, round(frames * series.tr / tr))
    z_TD = _triangles(frames, count) @ series.z_TD
    z_TD -= z_TD.mean(axis=0)
    kept_D = z_TD.std(axis=0)
    z_TD = np.divide(z_TD, kept_D, out=np.zeros_like(z_TD), where=kept_D > 1e-4)
    return Series(z_TD=z_TD, mean_D=series.mean_D, std_D=series.std_D * kept_D, tr=tr)


def _triangles(frames: int, count: int) -> Floats:
    """What each of `count` new frames takes of each old one: (count, frames), rows of sum 1."""
    ratio = frames / count
    middles = (np.arange(count) + 0.5) * ratio - 0.5  # in old frames
    distances = np.abs(np.arange(frames) - middles[:, None])
    weights = np.maximum(0, 1 - distances / max(1, ratio))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def at_least(series: Series, frames: int) -> Series:
    """A series of so many frames or more: what is missing at the end is 0, the mean."""
    missing = frames - len(series.z_TD)
    if missing <= 0:
        return series
    z_TD = np.pad(series.z_TD, ((0, missing), (0, 0)))
    return Series(z_TD=z_TD, mean_D=series.mean_D, std_D=series.std_D, tr=series.tr)


def clip_starts(n_frames: int, frames: int, most: int) -> list[int]:
    """First frames of at most `most` clips: one after the other, or spread evenly over a longer run."""
    fitting = n_frames // frames
    if fitting <= most:
        return [frames * clip for clip in range(fitting)]
    return [round(start) for start in np.linspace(0, n_frames - frames, most)]


def _array(values: Any) -> Floats:
    return np.asarray(torch.as_tensor(values).to(torch.float32).numpy())
