"""The contract of all kinds of tokens: a run is cut once, clips are read, values go back to their places.

A token is the signal of one place over one window of time. Places are cubes of brain, slices or regions;
windows are equal parts of a clip. Tokens of a clip are numbered window by window, places fastest.
Letters: T frames of a run, L of a clip, n of any part; M series of a run (in-mask voxels, regions, or the
features of its slices); W windows, S places, V values of a token's signal, P values of a place's amplitude.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError

Floats = NDArray[np.float32]

MOST_SERIES = 1024  # whose spectra are averaged


@dataclass(frozen=True, kw_only=True)
class TokenSpec:
    """How a run is cut; each kind adds what it needs.

    Attributes:
        kind: "tubelet", "volume", "slice" or "parcel".
        frames: frames of a clip.
    """

    kind: ClassVar[str]
    frames: int = 20

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ParameterError("frames", must_be="positive", got=self.frames)


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """What a patch embedding must know of the tokens; runs of one model have the same.

    Attributes:
        kind: as of the spec.
        signal: axes of a token's signal, time first: (frames, x, y, z) of a cube, (frames,) of a region,
            (features,) of a slice.
        amplitude: axes of a place's amplitude: (x, y, z) of a cube, (1,) of a region, (0,) where none.
        regions: how many places there are where they are the same in every run (regions of an atlas, slices),
            so that a place is known by its number; else 0.
    """

    kind: str
    signal: tuple[int, ...]
    amplitude: tuple[int, ...]
    regions: int = 0

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> TokenLayout:
        """What `dataclasses.asdict` gave, after JSON made lists of its tuples."""
        axes = {name: tuple(facts[name]) for name in ("signal", "amplitude")}
        return cls(**{**facts, **axes})


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Some frames of a run as tokens.

    Attributes:
        signal_WSV: float32, z-scores over time, 0 outside the brain; of slices, frozen features as they are.
        amplitude_SP: float32, how strongly each voxel or region fluctuates (see `neuro.tokens.amplitude`).
        centres_S3: float32, centres of the places in mm; NaN where they are not known.
        seconds_W: float32, from the clip's start to the middle of each window.
        numbered: whether a place is known by its number, the same in every run (see `TokenLayout.regions`).
    """

    signal_WSV: Floats
    amplitude_SP: Floats
    centres_S3: Floats
    seconds_W: Floats
    numbered: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class RunTokens(ABC):
    """A run as tokens, before any clip is chosen.

    Attributes:
        run_id: the run's name.
        spec: how it was cut.
        layout: what the tokens look like.
        tr: seconds between frames.
        n_frames: frames of the run.
        centres_S3: float32, centres of the places in mm; NaN where they are not known.
    """

    run_id: str
    spec: TokenSpec
    layout: TokenLayout
    tr: float
    n_frames: int
    centres_S3: Floats

    def __post_init__(self) -> None:
        if self.n_frames < self.spec.frames:
            raise ParameterError(
                f"run {self.run_id}",
                must_be=f"at least one clip of {self.spec.frames} frames",
                got=f"{self.n_frames} frames",
                do="take shorter clips",
            )

    def clip_starts(self) -> list[int]:
        """First frames of the consecutive clips that cover the run; a remainder is left out."""
        return list(range(0, self.n_frames - self.spec.frames + 1, self.spec.frames))

    def last_start(self) -> int:
        """The last frame that a clip may begin with."""
        return self.n_frames - self.spec.frames

    def clips(self) -> list[Clip]:
        """The consecutive clips that cover the run."""
        return [self.clip(start) for start in self.clip_starts()]

    def clip(self, start: int) -> Clip:
        """The clip that begins with frame `start`.

        Raises:
            ParameterError: it would reach beyond the run.
        """
        return self.clip_of(self.series(start, start + self.spec.frames))

    def window_seconds(self, windows: int) -> Floats:
        """Seconds from a clip's start to the middle of each of its windows, (W,)."""
        width = self.spec.frames / windows
        return ((np.arange(windows) + 0.5) * width * self.tr).astype(np.float32)

    @cached_property
    def fluctuation(self) -> tuple[NDArray[np.float64], Floats]:
        """How the whole run's series fluctuate: power at each frequency (F,), and spread of each series (M,).

        The spread is the standard deviation. The power is the mean over series of equal spread, without their
        mean, in the units of `numpy.fft.rfft` over the run's frames; of many series, some are taken.
        """
        series_TM = self.series(0, self.n_frames)
        spread_M = series_TM.std(axis=0)
        alive = np.flatnonzero(spread_M)
        if not len(alive):
            return np.zeros(self.n_frames // 2 + 1), spread_M
        chosen = alive[:: -(-len(alive) // MOST_SERIES)]
        unit_TM = (series_TM[:, chosen] - series_TM[:, chosen].mean(axis=0)) / spread_M[chosen]
        return (np.abs(np.fft.rfft(unit_TM, axis=0)) ** 2).mean(axis=1), spread_M

    def require_frames(self, start: int, stop: int, what: str = "frames") -> None:
        """Say no to frames that the run has not.

        Raises:
            ParameterError: `start` to `stop` - 1 are not frames of the run.
        """
        if not 0 <= start < stop <= self.n_frames:
            raise ParameterError(
                f"{what} of run {self.run_id}",
                must_be=f"a range within 0 to {self.n_frames}",
                got=f"{start} to {stop}",
            )

    @abstractmethod
    def series(self, start: int, stop: int) -> Floats:
        """Frames `start` to `stop` - 1 before they are cut, float32 (n, M), the caller's own.

        Raises:
            ParameterError: they are not frames of the run.
        """

    @abstractmethod
    def clip_of(self, series_LM: Floats) -> Clip:
        """Frames of a clip, as `series` gives them or as something has changed them, cut into tokens."""

    @abstractmethod
    def untokenize(self, values: Floats) -> Floats:
        """Values of places (S,) or of their parts (S, P), or a clip's signal (W, S, V), back in their places.

        Cubes and slices give volumes (X, Y, Z), of a signal (X, Y, Z, L), 0 outside the brain; regions give
        (R,), of a signal (L, R).

        Raises:
            ParameterError: another shape, or the kind does not keep the signal itself (slices).
        """


def untokenize(run: RunTokens, values: NDArray[Any]) -> Floats:
    """Values of a run's tokens back in their places; see `RunTokens.untokenize`."""
    return run.untokenize(np.asarray(values, dtype=np.float32))
