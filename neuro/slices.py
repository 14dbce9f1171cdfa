"""Runs through the untouched picture path: slices -> frozen picture features -> mean and log-std over time.

FReD's recipe: a frozen 2-D encoder looks at slices of every frame; the temporal mean and log standard
deviation of its features describe the run, and logistic regression does the rest. The backbone may be the
very instance that answers picture queries: nothing in it is trained.

Letters: T frames, S slices, H W pixels, F features, V in-mask voxels, X Y Z voxel axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from data.caches.cached_run import CachedRun
from vision.backbones import Backbone

SIDE = 64  # pixels; a slice of 4 mm voxels fits without being enlarged, a finer one is averaged down
SLICES_PER_AXIS = 3
FRAME_EVERY_S = 6.0  # the signal is band-passed below 0.1 Hz: frames closer than 5 s say little that is new
CHUNK = 16  # frames that go through the encoder together
RANGE_Z = 3.0  # typical fluctuations of +-3 fill the range from black to white


def slice_features(run: CachedRun, backbone: Backbone) -> NDArray[np.float32]:
    """One run -> (2 * S * F,): for each slice, temporal mean and log standard deviation of its features."""
    frames = iter(slice_pictures(run))
    features_TSF = np.concatenate(
        [
            _frame_features(np.stack(chunk), backbone)
            for chunk in iter(lambda: list(islice(frames, CHUNK)), [])
        ]
    )
    mean_SF = features_TSF.mean(0)
    log_std_SF = np.log(features_TSF.std(0) + 1e-3)
    return np.concatenate([mean_SF.ravel(), log_std_SF.ravel()]).astype(np.float32)


def slice_pictures(run: CachedRun) -> Iterator[NDArray[np.float32]]:
    """Every few seconds, the slices of a frame (S, H, W) in -1 to 1, grey (0) where nothing happens.

    The cleaned signal is shown relative to the brain's median standard deviation, not z-scored voxel by
    voxel: how strongly a region fluctuates is part of the picture.
    """
    std_V = np.asarray(run.std_V)
    scale_V = std_V / max(float(np.median(std_V)), 1e-6) / RANGE_Z
    volume_XYZ = np.zeros(run.mask_XYZ.shape, dtype=np.float32)
    places = _slice_places(run.mask_XYZ)
    for t in range(0, run.n_frames, max(1, math.floor(FRAME_EVERY_S / run.tr))):
        volume_XYZ[run.mask_XYZ] = np.clip(run.frames(t, t + 1)[0] * scale_V, -1, 1)
        planes = [np.take(volume_XYZ, index, axis=axis) for axis, index in places]
        yield np.stack([_fit(plane) for plane in planes])


def slice_logistic() -> Pipeline:
    """The classifier for `slice_features`: standardized, then logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000, class_weight="balanced"))


def _frame_features(frames_TSHW: NDArray[np.float32], backbone: Backbone) -> NDArray[np.float32]:
    """Slices of several frames (T, S, H, W), shown grey -> (T, S, F)."""
    pixels_BCHW = torch.from_numpy(frames_TSHW).flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
    features_BF = backbone.image_features(pixels_BCHW).cpu().numpy()
    return features_BF.reshape(*frames_TSHW.shape[:2], -1)


def _slice_places(mask_XYZ: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(axis, index) of slices at even steps through the brain's extent along each axis."""
    places = []
    for axis in range(3):
        inside = np.flatnonzero(mask_XYZ.any(axis=tuple({0, 1, 2} - {axis})))
        steps = np.linspace(inside[0], inside[-1], SLICES_PER_AXIS + 2)[1:-1]
        places += [(axis, round(step)) for step in steps]
    return places


def _fit(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A plane centred on a square of SIDE pixels: averaged down if it is larger, never enlarged."""
    longest = max(plane.shape)
    if longest > SIDE:
        height, width = (max(1, round(size * SIDE / longest)) for size in plane.shape)
        grid = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
        plane = torch.nn.functional.interpolate(grid, size=(height, width), mode="area")[0, 0].numpy()
    picture = np.zeros((SIDE, SIDE), dtype=np.float32)
    top, left = ((SIDE - size) // 2 for size in plane.shape)
    picture[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return picture
