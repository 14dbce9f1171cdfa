"""Evenly spaced frames at another repetition time: matrices (T, N) -> (S, N), by one linear map in time.

The line through the first and last frame is set aside, the rest is written as a sine series, which passes
through every frame, and both are evaluated at the new times: band-limited interpolation, with the odd
reflection at the ends that zero-phase filters use. Where the new rate is slower, sines above its Nyquist
frequency are left out, so that nothing folds back; the highest fifth below it is tapered by half a cosine,
against ringing. Frames are at 0, tr, 2 tr, ...; new ones at 0, new_tr, ... and never after the last frame.
Letters: T frames, S frames after resampling, N columns.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

FULL_BAND = 0.8  # of the new Nyquist frequency: up to here a slower rate keeps every amplitude
SAME_TR = 1e-4  # relative: over 1000 frames a tenth of a frame
TINY = 1e-6  # of a frame: what rounding moves


def same_tr(tr: float, other: float) -> bool:
    """Whether two repetition times differ by no more than headers round them."""
    return math.isclose(tr, other, rel_tol=SAME_TR)


def new_times(n_frames: int, tr: float, new_tr: float) -> Doubles:
    """Times (S,) of the new frames, in old frames after the first: 0 to at most n_frames - 1."""
    step = new_tr / tr
    count = math.floor((n_frames - 1) / step + TINY) + 1
    times: Doubles = np.minimum(np.arange(count) * step, n_frames - 1)
    return times


def resampled_in_time(matrix_TN: Doubles, tr: float, new_tr: float) -> Doubles:
    """Columns sampled every `tr` seconds -> every `new_tr` seconds (S, N), from the first frame on.

    Below 0.8 of the lower of the two Nyquist frequencies amplitude and phase stay: to 0.5 % and 0.005 rad in
    eight minutes. Within some 15 s of the ends single values are less sure, since what the curve does beyond
    them has to be guessed.

    Args:
        matrix_TN: at least 3 frames.
        tr: seconds between the frames.
        new_tr: seconds between the new frames.
    """
    last = len(matrix_TN) - 1
    times_S = new_times(len(matrix_TN), tr, new_tr)
    share_S1 = times_S[:, None] / last
    share_T1 = np.arange(last + 1)[:, None] / last
    ends_2N = matrix_TN[[0, last]]
    rest_TN = matrix_TN - _line(share_T1, ends_2N)
    orders_H = np.arange(1, last)
    coefficients_HN = 2 / last * np.sin(np.pi * orders_H[:, None] * share_T1[:, 0]) @ rest_TN
    gains_H = _gains(orders_H / (2 * last * tr), 0.5 / new_tr if new_tr > tr else math.inf)
    waves_SH = np.sin(np.pi * share_S1 * orders_H)
    return _line(share_S1, ends_2N) + (waves_SH * gains_H) @ coefficients_HN


def still_kept(kept_T: NDArray[np.bool_], times_S: Doubles) -> NDArray[np.bool_]:
    """New frames (S,) whose two neighbours among the old ones are both kept (or the one they fall upon)."""
    before_S = np.floor(times_S + TINY).astype(int)
    after_S = np.ceil(times_S - TINY).astype(int)
    both: NDArray[np.bool_] = kept_T[before_S] & kept_T[after_S]
    return both


def _line(share_S1: Doubles, ends_2N: Doubles) -> Doubles:
    line: Doubles = (1 - share_S1) * ends_2N[0] + share_S1 * ends_2N[1]
    return line


def _gains(hertz_H: Doubles, nyquist: float) -> Doubles:
    """1 up to 0.8 of the Nyquist frequency, then half a cosine, and 0 above it."""
    beyond_H = np.clip((hertz_H / nyquist - FULL_BAND) / (1 - FULL_BAND), 0, 1)
    gains: Doubles = 0.5 + 0.5 * np.cos(np.pi * beyond_H)
    return gains
