"""Slices through an untouched picture model -> a token for each slice and sampled frame: its frozen features.

FReD's recipe is one line: `temporal_summary(slices(run))`, mean and log standard deviation over time.
Letters: T sampled frames, S slices, F features, X Y Z voxel axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.tokens.run_tokens import Clip, Floats, RunTokens, TokenLayout
from neuro.tokens.slice_features import frozen_features
from neuro.tokens.slice_pictures import Place, SliceSpec, slice_places
from vision.backbones import Backbone

LEAST_SPREAD = 1e-3  # a feature that never changes has a logarithm, too


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceTokens(RunTokens):
    """A run as slices; its frames are the sampled ones, and `tr` is the time between those.

    Attributes:
        features_TSF: float32, frozen features; a memory map where they were kept beside the run.
        mask_XYZ: bool, the run's brain.
        places: (axis, index) of each slice on the run's grid.
        affine: (4, 4), voxel indices -> mm.
        frame_s: seconds that one frame of the run takes.
    """

    spec: SliceSpec
    features_TSF: Floats
    mask_XYZ: NDArray[np.bool_]
    places: list[Place]
    affine: NDArray[np.float64]
    frame_s: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the run's grid, (X, Y, Z)."""
        return self.mask_XYZ.shape

    def series(self, start: int, stop: int) -> Floats:
        """Features of sampled frames, float32 (n, S * F)."""
        self.require_frames(start, stop, "sampled frames")
        return np.array(self.features_TSF[start:stop], dtype=np.float32).reshape(stop - start, -1)

    def clip_of(self, series_LM: Floats) -> Clip:
        """Features (L, S * F) -> a clip, a window a sampled frame: signal (L, S, F)."""
        count = len(self.places)
        return Clip(
            signal_WSV=series_LM.reshape(len(series_LM), count, -1),
            amplitude_SP=np.zeros((count, 0), dtype=np.float32),
            centres_S3=self.centres_S3,
            seconds_W=(np.arange(self.spec.frames) * self.tr + self.frame_s / 2).astype(np.float32),
            numbered=True,
        )

    def untokenize(self, values: Floats) -> Floats:
        """Values (S,) or (S, 1) -> volume (X, Y, Z): on each slice's brain, the mean where slices cross.

        Raises:
            ParameterError: another shape; features are no signal that could be put back.
        """
        count = len(self.places)
        if values.shape not in ((count,), (count, 1)):
            raise ParameterError("values", must_be=f"of shape ({count},) or ({count}, 1)", got=values.shape)
        total_XYZ, times_XYZ = (np.zeros(self.shape, dtype=np.float32) for _ in range(2))
        for (axis, index), value in zip(self.places, values.reshape(count), strict=True):
            plane = _plane(axis, index)
            total_XYZ[plane] += value
            times_XYZ[plane] += 1
        seen_XYZ = self.mask_XYZ & (times_XYZ > 0)
        return np.divide(total_XYZ, times_XYZ, out=np.zeros_like(total_XYZ), where=seen_XYZ)


def slices(run: CachedRun, spec: SliceSpec | None = None, backbone: Backbone | None = None) -> SliceTokens:
    """A cached run as slices through a picture model; see `frozen_features`.

    Raises:
        ParameterError: fewer sampled frames than a clip's, or a backbone that `spec` does not name.
    """
    spec = spec or SliceSpec(frames=1)
    features_TSF = frozen_features(run, spec, backbone)
    places = slice_places(run.mask_XYZ, spec)
    inside_N3 = np.argwhere(run.mask_XYZ)
    middle_S3 = np.array([_middle(inside_N3, place) for place in places])
    return SliceTokens(
        run_id=run.run_id,
        spec=spec,
        layout=TokenLayout(
            kind=spec.kind, signal=features_TSF.shape[2:], amplitude=(0,), regions=spec.slices
        ),
        tr=run.tr * spec.step(run.tr),
        n_frames=len(features_TSF),
        centres_S3=(middle_S3 @ run.affine[:3, :3].T + run.affine[:3, 3]).astype(np.float32),
        features_TSF=features_TSF,
        mask_XYZ=run.mask_XYZ,
        places=places,
        affine=run.affine,
        frame_s=run.tr,
    )


def temporal_summary(tokens: SliceTokens) -> Floats:
    """A run's slices -> (2 * S * F,): of each slice's features, temporal mean and log standard deviation."""
    features_TSF = tokens.features_TSF
    mean_SF = features_TSF.mean(0)
    log_std_SF = np.log(features_TSF.std(0) + LEAST_SPREAD)
    return np.concatenate([mean_SF.ravel(), log_std_SF.ravel()]).astype(np.float32)


def _plane(axis: int, index: int) -> tuple[slice | int, ...]:
    return (*[slice(None)] * axis, index)


def _middle(inside_N3: NDArray[np.intp], place: Place) -> NDArray[np.float64]:
    """Voxels of the brain (N, 3) -> mean voxel (3,) of those in a slice.

    Of a slice through a gap, it is the mean of the whole brain in the slice's plane.
    """
    axis, index = place
    in_plane_N3 = inside_N3[inside_N3[:, axis] == index]
    middle_3 = (in_plane_N3 if len(in_plane_N3) else inside_N3).mean(0)
    middle_3[axis] = index
    return np.asarray(middle_3, dtype=np.float64)
