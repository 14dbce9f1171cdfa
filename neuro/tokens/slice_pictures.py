"""A run as pictures: every few seconds, slices along three axes, grey where nothing happens.

Letters: T sampled frames, S slices, H W pixels, V in-mask voxels, X Y Z voxel axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.tokens.run_tokens import TokenSpec

RANGE_Z = 3.0  # typical fluctuations of +-3 fill the range from black to white

Place = tuple[int, int]  # a slice: axis of the grid, index along it


@dataclass(frozen=True, kw_only=True)
class SliceSpec(TokenSpec):
    """Slices through a picture model.

    Attributes:
        frames: sampled frames of a clip.
        backbone: name of the picture model.
        per_axis: slices along each axis, at even steps through the brain.
        side: pixels; a slice of 4 mm voxels fits into 64 as it is, a finer one is averaged down.
        every_s: seconds between sampled frames at most, or one repetition time: the signal is band-passed
            below 0.1 Hz, so frames closer than 5 s say little that is new.
    """

    kind: ClassVar[str] = "slice"
    frames: int = 10
    backbone: str = "embedded:lite"
    per_axis: int = 3
    side: int = 64
    every_s: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("per_axis", "side", "every_s"):
            if not getattr(self, name) > 0:
                raise ParameterError(name, must_be="positive", got=getattr(self, name))

    @property
    def slices(self) -> int:
        """S."""
        return 3 * self.per_axis

    def step(self, tr: float) -> int:
        """Frames of a run from one sampled frame to the next."""
        return max(1, math.floor(self.every_s / tr))


def slice_pictures(run: CachedRun, spec: SliceSpec | None = None) -> Iterator[NDArray[np.float32]]:
    """Every few seconds, the slices of a frame (S, H, W) in -1 to 1, grey (0) where nothing happens.

    The cleaned signal is shown relative to the brain's median standard deviation, not z-scored voxel by
    voxel: how strongly a region fluctuates is part of the picture.
    """
    spec = spec or SliceSpec()
    std_V = np.asarray(run.std_V)
    scale_V = std_V / max(float(np.median(std_V)), 1e-6) / RANGE_Z
    volume_XYZ = np.zeros(run.mask_XYZ.shape, dtype=np.float32)
    places = slice_places(run.mask_XYZ, spec)
    for t in range(0, run.n_frames, spec.step(run.tr)):
        volume_XYZ[run.mask_XYZ] = np.clip(run.frames(t, t + 1)[0] * scale_V, -1, 1)
        planes = [np.take(volume_XYZ, index, axis=axis) for axis, index in places]
        yield np.stack([_fit(plane, spec.side) for plane in planes])


def slice_places(mask_XYZ: NDArray[np.bool_], spec: SliceSpec) -> list[Place]:
    """(axis, index) of slices at even steps through the brain's extent along each axis."""
    places = []
    for axis in range(3):
        inside = np.flatnonzero(mask_XYZ.any(axis=tuple({0, 1, 2} - {axis})))
        steps = np.linspace(inside[0], inside[-1], spec.per_axis + 2)[1:-1]
        places += [(axis, round(step)) for step in steps]
    return places


def _fit(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """A plane centred on a square of `side` pixels: averaged down if it is larger, never enlarged."""
    longest = max(plane.shape)
    if longest > side:
        height, width = (max(1, round(size * side / longest)) for size in plane.shape)
        grid = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
        plane = torch.nn.functional.interpolate(grid, size=(height, width), mode="area")[0, 0].numpy()
    picture = np.zeros((side, side), dtype=np.float32)
    top, left = ((side - size) // 2 for size in plane.shape)
    picture[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return picture
