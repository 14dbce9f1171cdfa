"""Clips of a run, changed at random as another scan could have been: parameters are drawn, then applied.

Every draw is a small object, and what is applied is a function of the run and that object alone, so any
sample can be made again (the habit of torchio's transforms, arXiv 2003.04696).
Letters: T frames of a run, L of a clip, n frames that are read, M series of a run, K sources of noise,
F frequencies, S places, P parts of a place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from data.errors import ParameterError
from neuro.tokens import Clip, CubeTokens, RunTokens
from neuro.tokens.run_tokens import Floats

ALIGNED = 1e-3  # largest component of an axis that still counts as along another
SOURCES = 32  # independent time courses of noise; each series of the run gets a mixture of its own


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How clips are changed in training; nothing is by default. Where a clip begins is always drawn.

    Attributes:
        frame_jitter: by how much a clip is stretched or squeezed in time at most, as a share (0.1: 10 %).
        flip: how often left and right change places, 0 to 1. Only for cubes on an axis-aligned grid; where a
            disease begins on one side, this takes that knowledge away.
        noise: largest standard deviation of added noise, as a share of each series' own.
        amplitude: standard deviation of what is added to each place's amplitude, in its units (spreads).
    """

    frame_jitter: float = 0.0
    flip: float = 0.0
    noise: float = 0.0
    amplitude: float = 0.0

    def __post_init__(self) -> None:
        for name, below in (("frame_jitter", 1), ("noise", math.inf), ("amplitude", math.inf)):
            if not 0 <= getattr(self, name) < below:
                words = "from 0 to below 1" if below == 1 else "finite and 0 or more"
                raise ParameterError(name, must_be=words, got=getattr(self, name))
        if not 0 <= self.flip <= 1:
            raise ParameterError("flip", must_be="from 0 to 1", got=self.flip)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One draw.

    Attributes:
        start: the run's frame that the clip begins with.
        rate: frames of the run from one of the clip's frames to the next.
        mirrored: left and right change places.
        noise: standard deviation, as a share of each series' own.
        amplitude: standard deviation of what is added to amplitudes.
        seed: of noise and of amplitudes.
    """

    start: int
    rate: float = 1.0
    mirrored: bool = False
    noise: float = 0.0
    amplitude: float = 0.0
    seed: int = 0


def augmented(
    run: RunTokens, rng: np.random.Generator, config: AugmentConfig, *, start: int | None = None
) -> Clip:
    """A random clip of a run, changed at random.

    Args:
        run: in any kind of tokens.
        rng: the sample's own; equal states give equal clips.
        config: what may change, and how much.
        start: the frame to begin with, instead of a random one.

    Raises:
        ParameterError: a start beyond the run, or a flip that the tokens do not allow.
    """
    return applied(run, drawn(run, rng, config, start=start))


def drawn(
    run: RunTokens, rng: np.random.Generator, config: AugmentConfig, *, start: int | None = None
) -> Augmentation:
    """Draw an augmentation; every start that leaves room for the clip is equally likely."""
    if config.flip:
        _x_axis(run)  # refuses at the first draw, not at the first flip
    steps = run.spec.frames - 1
    room = run.n_frames - 1 - (start or 0)
    highest = 1 + config.frame_jitter
    if steps:
        highest = min(highest, max(1.0, room / steps))
    rate = float(rng.uniform(1 - config.frame_jitter, highest))
    last = run.n_frames - 1 - _reach(rate, steps)
    return Augmentation(
        start=int(rng.integers(0, last + 1)) if start is None else start,
        rate=rate,
        mirrored=bool(rng.random() < config.flip),
        noise=float(rng.uniform(0, config.noise)),
        amplitude=config.amplitude,
        seed=int(rng.integers(2**32)),
    )


def applied(run: RunTokens, change: Augmentation) -> Clip:
    """The clip of one draw: a function of the two alone.

    Raises:
        ParameterError: frames beyond the run, or a flip that the tokens do not allow.
    """
    series_LM = resampled(run, change.start, change.rate)
    if change.noise:
        series_LM = series_LM + change.noise * run_noise(run, change.seed)
    clip = run.clip_of(series_LM)
    if change.amplitude:
        rng = np.random.default_rng([change.seed, 1])
        gain_S = change.amplitude * rng.standard_normal(len(clip.amplitude_SP))
        clip = with_amplitude(clip, gain_S.astype(np.float32))
    return mirrored(clip, run) if change.mirrored else clip


def resampled(run: RunTokens, start: int, rate: float) -> Floats:
    """A clip's frames (L, M) at `start`, `start + rate`, ...: between two frames of the run, linear.

    Half-way between two frames of 2 s this takes 5 % of a fluctuation of 0.05 Hz, and 19 % of one of 0.1 Hz.

    Raises:
        ParameterError: frames beyond the run.
    """
    steps = run.spec.frames - 1
    series_nM = run.series(start, start + 1 + _reach(rate, steps))
    if rate == 1:
        return series_nM
    at_L = np.minimum(np.arange(steps + 1) * rate, len(series_nM) - 1)
    low_L = np.floor(at_L).astype(np.intp)
    high_L = np.minimum(low_L + 1, len(series_nM) - 1)
    share_L1 = (at_L - low_L).astype(np.float32)[:, None]
    between_LM = series_nM[low_L] * (1 - share_L1) + series_nM[high_L] * share_L1
    return np.asarray(between_LM, dtype=np.float32)


def run_noise(run: RunTokens, seed: int) -> Floats:
    """Noise for a clip (L, M) with the run's own temporal spectrum and, series by series, its spread.

    Sources have the run's mean power at each frequency and random phases (Theiler et al. 1992, Physica D 58),
    and each series gets a random mixture of them. What cleaning took out of the spectrum stays out, and the
    time courses of the confounds that it removed do not come back: random phases know nothing of them.
    """
    rng = np.random.default_rng([seed, 0])
    power_F, spread_M = run.fluctuation
    phase_FK = rng.uniform(0, 2 * np.pi, (len(power_F), SOURCES))
    if run.n_frames % 2 == 0:
        phase_FK[-1] = np.pi * (phase_FK[-1] < np.pi)  # the highest frequency of an even count is real
    source_FK = np.sqrt(power_F)[:, None] * np.exp(1j * phase_FK)
    source_LK = np.fft.irfft(source_FK, n=run.n_frames, axis=0)[: run.spec.frames]
    weight_KM = rng.standard_normal((SOURCES, len(spread_M)), dtype=np.float32)
    mixed_LM = (source_LK / math.sqrt(SOURCES)).astype(np.float32) @ weight_KM
    return np.asarray(mixed_LM * spread_M, dtype=np.float32)


def with_amplitude(clip: Clip, gain_S: Floats) -> Clip:
    """A clip whose places fluctuate more or less strongly; what has no amplitude (0) keeps none."""
    amplitude_SP = clip.amplitude_SP + gain_S[:, None] * (clip.amplitude_SP != 0)
    return replace(clip, amplitude_SP=amplitude_SP.astype(np.float32))


def mirrored(clip: Clip, run: RunTokens) -> Clip:
    """A clip with left and right exchanged: what was at x mm is at -x mm, within each cube, too.

    Raises:
        ParameterError: no cubes, or a grid whose x axis is oblique.
    """
    axis, patch = _x_axis(run), run.layout.amplitude
    signal_WSFxyz = clip.signal_WSV.reshape(*clip.signal_WSV.shape[:2], -1, *patch)
    amplitude_Sxyz = clip.amplitude_SP.reshape(-1, *patch)
    return replace(
        clip,
        signal_WSV=np.flip(signal_WSFxyz, 3 + axis).reshape(clip.signal_WSV.shape),
        amplitude_SP=np.flip(amplitude_Sxyz, 1 + axis).reshape(clip.amplitude_SP.shape),
        centres_S3=clip.centres_S3 * np.array([-1, 1, 1], dtype=np.float32),
    )


def _x_axis(run: RunTokens) -> int:
    """The voxel axis of cubes that runs from left to right."""
    if not isinstance(run, CubeTokens):
        raise ParameterError(
            "flip",
            must_be="0 for tokens that are no cubes",
            got=f"tokens of kind {run.spec.kind}",
            do="regions and frozen features have no mirror image",
        )
    direction_33 = np.abs(run.affine[:3, :3]) / np.linalg.norm(run.affine[:3, :3], axis=0)
    axis = int(np.argmax(direction_33[0]))
    others = np.delete(direction_33[0], axis)
    if max(direction_33[1, axis], direction_33[2, axis], *others) > ALIGNED:
        raise ParameterError(
            "flip", must_be="0 on an oblique grid", got=f"run {run.run_id}, whose voxels are not along x"
        )
    return axis


def _reach(rate: float, steps: int) -> int:
    """Frames of the run from the first to the last that a clip needs."""
    return math.ceil(rate * steps - 1e-9)
