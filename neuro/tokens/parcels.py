"""Series of an atlas' regions -> a token for each region and window of time.

With a `profile`, a region's token is its row of correlations with all regions within the clip (Fisher's z),
as the Brain Network Transformer describes its nodes (Kan et al. 2022, arXiv 2210.06681), or of partial ones;
a clip is one window.
Letters: T frames, L frames of a clip, R regions, W windows, F frames of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.parcels.series import Parcels
from neuro.tokens.amplitude import relative_amplitude
from neuro.tokens.profiles import PROFILES
from neuro.tokens.run_tokens import Clip, Floats, RunTokens, TokenLayout, TokenSpec

Profile = Literal["none", "correlation", "partial"]


@dataclass(frozen=True, kw_only=True)
class ParcelSpec(TokenSpec):
    """Regions over windows of time.

    Attributes:
        atlas: the atlas' name in the cache.
        window: frames of a token, a divisor of `frames`; None for the whole clip.
        profile: what a token is: "none", the signal itself; "correlation", a region's correlations with all
            regions; "partial", what the two share beyond all others (see `neuro.tokens.profiles`).
        centres: tell regions' places in mm where they are known (see `neuro.tokens.regions`).
    """

    kind: ClassVar[str] = "parcel"
    atlas: str = "aal"
    window: int | None = None
    profile: Profile = "none"
    centres: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.profile not in get_args(Profile):
            raise ParameterError(
                "profile", must_be=f"one of {', '.join(get_args(Profile))}", got=repr(self.profile)
            )
        if self.window is not None and (self.window < 1 or self.frames % self.window):
            raise ParameterError("window", must_be=f"a divisor of {self.frames} frames", got=self.window)
        if self.is_profile and self.window_frames != self.frames:
            raise ParameterError(
                "window", must_be="the whole clip, where tokens are profiles", got=f"{self.window} frames"
            )
        if self.is_profile and self.frames < 3:
            raise ParameterError("frames", must_be="3 or more to correlate", got=self.frames)

    @property
    def window_frames(self) -> int:
        """Frames of a token."""
        return self.window or self.frames

    @property
    def is_profile(self) -> bool:
        """Whether tokens are profiles, and not the signal."""
        return self.profile != "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class ParcelTokens(RunTokens):
    """A run as regions.

    Attributes:
        series_TR: float32 z-scores; a memory map of the cache, or an array.
        amplitude_R1: float32 relative log standard deviation of each region.
    """

    spec: ParcelSpec
    series_TR: Floats
    amplitude_R1: Floats

    def series(self, start: int, stop: int) -> Floats:
        """z-scores of the regions, float32 (n, R)."""
        self.require_frames(start, stop)
        return np.array(self.series_TR[start:stop], dtype=np.float32)

    def clip_of(self, series_LM: Floats) -> Clip:
        """Frames (L, R) -> a clip: signal (W, R, F), or the profiles (1, R, R)."""
        windows = self.spec.frames // self.spec.window_frames
        if self.spec.is_profile:
            signal_WSV = PROFILES[self.spec.profile](series_LM)[None]
        else:
            signal_WSV = series_LM.reshape(windows, self.spec.window_frames, -1).transpose(0, 2, 1)
        return Clip(
            signal_WSV=np.ascontiguousarray(signal_WSV, dtype=np.float32),
            amplitude_SP=self.amplitude_R1,
            centres_S3=self.centres_S3,
            seconds_W=self.window_seconds(windows),
            numbered=True,
        )

    def untokenize(self, values: Floats) -> Floats:
        """Values (R,) or (R, 1) -> (R,); a clip's signal (W, R, F) -> its frames (L, R), exactly.

        Raises:
            ParameterError: another shape; of profiles, which are not the signal, the latter too.
        """
        regions, width = self.layout.regions, self.spec.window_frames
        if values.shape in ((regions,), (regions, 1)):
            return np.array(values.reshape(regions), dtype=np.float32)
        signal = values.ndim == 3 and values.shape[1:] == (regions, width)
        if self.spec.is_profile or not signal:
            also = "" if self.spec.is_profile else f" or (windows, {regions}, {width})"
            raise ParameterError(
                "values", must_be=f"of shape ({regions},), ({regions}, 1){also}", got=values.shape
            )
        return np.ascontiguousarray(values.transpose(0, 2, 1).reshape(-1, regions), dtype=np.float32)


def parcel_tokens(
    parcels: Parcels,
    spec: ParcelSpec,
    *,
    run_id: str,
    tr: float,
    centres_R3: NDArray[np.floating] | None = None,
) -> ParcelTokens:
    """A run's parcels as tokens.

    Args:
        parcels: from `Cache.parcels`.
        spec: how to cut; `spec.atlas` must be the parcels'.
        run_id: the run's name.
        tr: seconds between frames.
        centres_R3: places of the regions in mm, where they are known.

    Raises:
        ParameterError: another atlas, fewer frames than a clip's, or centres of another number of regions.
    """
    if parcels.atlas != spec.atlas:
        raise ParameterError("atlas", must_be=spec.atlas, got=parcels.atlas)
    return _tokens(
        parcels.z_FR,
        relative_amplitude(parcels.std_R),
        spec=spec,
        run_id=run_id,
        tr=tr,
        centres_R3=centres_R3,
    )


def parcel_tokens_of_array(
    series: NDArray[np.floating],
    spec: ParcelSpec | None = None,
    *,
    tr: float = 1.0,
    run_id: str = "array",
    centres_R3: NDArray[np.floating] | None = None,
) -> ParcelTokens:
    """Plain series (T, R), z-scored here, as tokens; or one value a region (R,), taken as it is.

    Amplitudes are those of the series as given: where they were z-scored before, nothing is known of them,
    and they are all but 0. Those of single values are 0.

    Args:
        series: every value finite.
        spec: how to cut; the whole array as one clip by default.
        tr: seconds between frames; it matters where a clip has several windows.
        run_id: what to call it.
        centres_R3: places of the regions in mm, where they are known.

    Raises:
        ParameterError: values that are not finite, another number of axes, or fewer frames than a clip's.
    """
    given = np.asarray(series, dtype=np.float64)
    if given.ndim not in (1, 2) or not given.size or not np.isfinite(given).all():
        got = f"shape {given.shape}" if given.ndim not in (1, 2) or not given.size else "values that are not"
        raise ParameterError("series", must_be="finite, of shape (frames, regions) or (regions,)", got=got)
    series_TR = np.atleast_2d(given)
    spec = spec or ParcelSpec(atlas=run_id, frames=len(series_TR))
    std_R = np.zeros(series_TR.shape[1])
    if len(series_TR) > 1:
        mean_R, std_R = series_TR.mean(0), series_TR.std(0, ddof=1)
        std_R[std_R <= 1e-6 * np.abs(mean_R)] = 0  # a constant, but for rounding
        series_TR = np.divide(series_TR - mean_R, std_R, out=np.zeros_like(series_TR), where=std_R > 0)
    return _tokens(
        series_TR.astype(np.float32),
        relative_amplitude(std_R.astype(np.float32)),
        spec=spec,
        run_id=run_id,
        tr=tr,
        centres_R3=centres_R3,
    )


def _tokens(
    series_TR: Floats,
    amplitude_R: Floats,
    *,
    spec: ParcelSpec,
    run_id: str,
    tr: float,
    centres_R3: NDArray[np.floating] | None,
) -> ParcelTokens:
    frames, regions = series_TR.shape
    if centres_R3 is None or not spec.centres:
        centres_R3 = np.full((regions, 3), np.nan)
    if centres_R3.shape != (regions, 3):
        raise ParameterError("centres", must_be=f"of shape ({regions}, 3)", got=centres_R3.shape)
    return ParcelTokens(
        run_id=run_id,
        spec=spec,
        layout=TokenLayout(
            kind=spec.kind,
            signal=(regions,) if spec.is_profile else (spec.window_frames,),
            amplitude=(1,),
            regions=regions,
        ),
        tr=tr,
        n_frames=frames,
        centres_S3=np.asarray(centres_R3, dtype=np.float32),
        series_TR=series_TR,
        amplitude_R1=amplitude_R[:, None],
    )
