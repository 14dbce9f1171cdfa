"""One cached run -> cubes of brain over windows of time, the places of their centres, and the way back.

Two kinds: `tubelet` (a cube over several frames is one token) and `volume` (over one frame). A cube's signal
is z-scored voxel by voxel, which erases how strongly each voxel fluctuates; so it also carries an amplitude
(see `neuro.tokens.amplitude`). Only cubes that touch the brain become tokens.
Letters: L frames of a clip, W windows, F frames of a window, S cubes, P voxels of a cube (x, y, z row-major),
V values of a token's signal (F * P), M in-mask voxels, X Y Z voxel axes as in nibabel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.tokens.amplitude import relative_amplitude
from neuro.tokens.run_tokens import Clip, Floats, RunTokens, TokenLayout, TokenSpec


@dataclass(frozen=True, kw_only=True)
class VolumeSpec(TokenSpec):
    """Cubes of each frame.

    Attributes:
        frames: frames of a clip.
        patch_mm: edge of a cube in mm; rounded to whole voxels of the run along each axis.
        whole_grid: take the cubes outside the brain too (to measure what leaving them out saves).
    """

    kind: ClassVar[str] = "volume"
    patch_mm: float = 16.0
    whole_grid: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.patch_mm > 0:
            raise ParameterError("patch_mm", must_be="positive", got=self.patch_mm)

    @property
    def window_frames(self) -> int:
        """Frames of a token."""
        return 1

    def patch_voxels(self, affine: NDArray[np.float64]) -> tuple[int, int, int]:
        """Voxels of a cube along x, y, z."""
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
        x, y, z = (max(1, round(self.patch_mm / size)) for size in voxel_mm)
        return x, y, z


@dataclass(frozen=True, kw_only=True)
class TubeletSpec(VolumeSpec):
    """Cubes over windows of several frames.

    Attributes:
        window: frames of a token, a divisor of `frames`; None for the whole clip.
    """

    kind: ClassVar[str] = "tubelet"
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and (self.window < 1 or self.frames % self.window):
            raise ParameterError("window", must_be=f"a divisor of {self.frames} frames", got=self.window)

    @property
    def window_frames(self) -> int:
        """Frames of a token."""
        return self.window or self.frames


@dataclass(frozen=True, kw_only=True, eq=False)
class CubeTokens(RunTokens):
    """A run cut into cubes; clips are read from the cache when they are asked for.

    Attributes:
        run: the cached run.
        patch_voxels: voxels of a cube along x, y, z.
        origins_S3: first voxel of each cube.
        slot_M: where each in-mask voxel lies among the S * P voxels of the cubes.
        amplitude_SP: float32 relative log standard deviation, 0 outside the brain.

    Its series are the in-mask voxels, in C order of the mask.
    """

    spec: VolumeSpec
    run: CachedRun
    patch_voxels: tuple[int, int, int]
    origins_S3: NDArray[np.intp]
    slot_M: NDArray[np.intp]
    amplitude_SP: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the run's grid, (X, Y, Z)."""
        return self.run.mask_XYZ.shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), voxel indices of the run's grid -> mm."""
        return self.run.affine

    @property
    def inside_SP(self) -> NDArray[np.bool_]:  # noqa: N802 (a shape suffix)
        """The voxels of each cube that are in the brain."""
        inside = np.zeros(self.amplitude_SP.size, dtype=bool)
        inside[self.slot_M] = True
        return inside.reshape(self.amplitude_SP.shape)

    def series(self, start: int, stop: int) -> Floats:
        """z-scores of the in-mask voxels, float32 (n, M)."""
        return self.run.frames(start, stop)

    def clip_of(self, series_LM: Floats) -> Clip:
        """Frames (L, M) -> a clip: signal (W, S, V), frames of a token slowest."""
        frames, width = self.spec.frames, self.spec.window_frames
        places, parts = self.amplitude_SP.shape
        grid_LQ = np.zeros((frames, places * parts), dtype=np.float32)
        grid_LQ[:, self.slot_M] = series_LM
        windows = frames // width
        cut_WFSP = grid_LQ.reshape(windows, width, places, parts)
        return Clip(
            signal_WSV=cut_WFSP.transpose(0, 2, 1, 3).reshape(windows, places, width * parts),
            amplitude_SP=self.amplitude_SP,
            centres_S3=self.centres_S3,
            seconds_W=self.window_seconds(windows),
        )

    def untokenize(self, values: Floats) -> Floats:
        """Values (S,) or (S, P) -> volume (X, Y, Z); a clip's signal (W, S, V) -> (X, Y, Z, L).

        The exact inverse of the cutting: `untokenize(clip.signal_WSV)` is the clip's frames.

        Raises:
            ParameterError: values of another shape.
        """
        places, parts = self.amplitude_SP.shape
        width = self.spec.window_frames
        if values.shape in ((places,), (places, 1)):
            values = np.broadcast_to(values.reshape(places, 1), (places, parts))
        if values.shape == (places, parts):
            return self._painted(values.reshape(1, -1))[..., 0]
        if values.ndim != 3 or values.shape[1:] != (places, width * parts):
            raise ParameterError(
                "values",
                must_be=f"of shape ({places},), ({places}, {parts}) or (windows, {places}, {width * parts})",
                got=values.shape,
            )
        frames_LQ = values.reshape(-1, places, width, parts).transpose(0, 2, 1, 3)
        return self._painted(frames_LQ.reshape(-1, places * parts))

    def _painted(self, values_LQ: Floats) -> Floats:
        volume_XYZL = np.zeros((*self.shape, len(values_LQ)), dtype=np.float32)
        volume_XYZL[self.run.mask_XYZ] = values_LQ[:, self.slot_M].T
        return volume_XYZL


def cubes(run: CachedRun, spec: VolumeSpec | None = None) -> CubeTokens:
    """Cut a cached run into cubes (tubelets of the whole clip by default).

    Raises:
        ParameterError: the run is shorter than one clip.
    """
    spec = spec or TubeletSpec()
    patch = spec.patch_voxels(run.affine)
    ijk_M3 = np.argwhere(run.mask_XYZ)
    kept_S3, cube_M = _places(run.mask_XYZ.shape, ijk_M3 // patch, patch, whole_grid=spec.whole_grid)
    parts = math.prod(patch)
    slot_M = cube_M * parts + np.ravel_multi_index(tuple((ijk_M3 % patch).T), patch)
    amplitude_Q = np.zeros(len(kept_S3) * parts, dtype=np.float32)
    amplitude_Q[slot_M] = relative_amplitude(run.std_V)
    origins_S3 = kept_S3 * patch
    middle_S3 = origins_S3 + (np.array(patch) - 1) / 2
    return CubeTokens(
        run_id=run.run_id,
        spec=spec,
        layout=TokenLayout(kind=spec.kind, signal=(spec.window_frames, *patch), amplitude=patch),
        tr=run.tr,
        n_frames=run.n_frames,
        centres_S3=(middle_S3 @ run.affine[:3, :3].T + run.affine[:3, 3]).astype(np.float32),
        run=run,
        patch_voxels=patch,
        origins_S3=origins_S3,
        slot_M=slot_M,
        amplitude_SP=amplitude_Q.reshape(len(kept_S3), parts),
    )


def _places(
    shape: tuple[int, ...], cube_M3: NDArray[np.intp], patch: tuple[int, int, int], *, whole_grid: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cubes that are kept (S, 3), row-major, and the number of the cube of each in-mask voxel (M,)."""
    grid = tuple(-(-size // edge) for size, edge in zip(shape, patch, strict=True))
    number_M = np.ravel_multi_index(tuple(cube_M3.T), grid)
    kept_S, cube_M = np.unique(number_M, return_inverse=True)
    if whole_grid:
        kept_S, cube_M = np.arange(math.prod(grid)), number_M
    return np.stack(np.unravel_index(kept_S, grid), axis=1), cube_M
