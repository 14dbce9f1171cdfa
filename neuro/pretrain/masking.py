"""Which places of a clip the encoder sees, and which it must guess: tubes through time, or whole regions.

A place is hidden in all windows of a clip or in none: BOLD changes slowly, and a neighbour in time would give
the answer away (tube masks: VideoMAE, arXiv 2203.12602). Neighbours in space give some of it away too, as
BOLD is smooth over about a centimetre; blocks hide whole regions and leave only their rims with neighbours.

Every clip shows the same number of places, so that the visible ones of a batch need no padding and the
encoder pays for nothing else. The number follows from the *fewest* places of all the runs that are trained
on, not of a batch: a clip's mask then does not depend on its company, and ranks, resumed runs and one process
agree. Runs with more places than the fewest hide a somewhat larger share.
Letters: B clips, S places, K visible and H hidden ones (padded to the most).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.tokens import TokenBatch

Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """How places are hidden.

    Attributes:
        ratio: share of the places that are hidden, over 0 and below 1.
        block_mm: diameter of the balls that are hidden together; None draws each place by itself.
    """

    ratio: float = 0.75
    block_mm: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ParameterError("mask ratio", must_be="over 0 and below 1", got=self.ratio)
        if self.block_mm is not None and not self.block_mm > 0:
            raise ParameterError("block_mm", must_be="positive", got=self.block_mm)

    def visible(self, fewest: int) -> int:
        """How many places each clip shows, where `fewest` is the smallest number that a run has.

        Raises:
            ParameterError: a run has fewer than two places, one to see and one to guess.
        """
        if fewest < 2:
            raise ParameterError(
                "places of a run", must_be="two or more", got=fewest, do="take smaller patches"
            )
        return min(max(1, round((1 - self.ratio) * fewest)), fewest - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """The places of a batch, dealt out.

    Attributes:
        visible_BK: places that the encoder sees, in rising order; all of them are real.
        hidden_BH: places to guess, in rising order, then padding (0).
        real_BH: bool, False for padding of `hidden_BH`.
    """

    visible_BK: torch.Tensor
    hidden_BH: torch.Tensor
    real_BH: torch.Tensor

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on another device."""
        return Mask(
            visible_BK=self.visible_BK.to(device, non_blocking=True),
            hidden_BH=self.hidden_BH.to(device, non_blocking=True),
            real_BH=self.real_BH.to(device, non_blocking=True),
        )


def draw_mask(
    batch: TokenBatch, config: MaskConfig, *, visible: int, rngs: Sequence[np.random.Generator]
) -> Mask:
    """Choose the places of each clip, among its real ones alone.

    Args:
        batch: the clips, on the CPU.
        config: how.
        visible: places that each clip shows (see `MaskConfig.visible`).
        rngs: one a clip, so that a clip's mask is its own.

    Raises:
        ParameterError: a clip has no more places than are to be seen, or blocks are wanted where the places
            are not known in mm.
    """
    real_BS = batch.mask_BN[:, : batch.places].numpy()
    centres_BS3 = batch.positions_BN4[:, : batch.places, :3].numpy()
    dealt = [
        _dealt(np.flatnonzero(real_S), centres_S3, config, visible, rng)
        for real_S, centres_S3, rng in zip(real_BS, centres_BS3, rngs, strict=True)
    ]
    most = max(len(hidden) for _, hidden in dealt)
    hidden_BH = np.zeros((len(dealt), most), dtype=np.int64)
    real_BH = np.zeros((len(dealt), most), dtype=bool)
    for row, (_, hidden) in enumerate(dealt):
        hidden_BH[row, : len(hidden)] = hidden
        real_BH[row, : len(hidden)] = True
    return Mask(
        visible_BK=torch.from_numpy(np.stack([seen for seen, _ in dealt]).astype(np.int64)),
        hidden_BH=torch.from_numpy(hidden_BH),
        real_BH=torch.from_numpy(real_BH),
    )


def _dealt(
    places: Indices,
    centres_S3: NDArray[np.float32],
    config: MaskConfig,
    visible: int,
    rng: np.random.Generator,
) -> tuple[Indices, Indices]:
    """Places -> (visible, hidden), both in rising order."""
    count = len(places) - visible
    if count < 1:
        raise ParameterError(
            "places of a clip", must_be=f"more than the {visible} that are to be seen", got=len(places)
        )
    if config.block_mm is None:
        hidden = rng.permutation(len(places))[:count]
    else:
        hidden = _blocks(centres_S3[places], config.block_mm / 2, count, rng)
    is_hidden = np.zeros(len(places), dtype=bool)
    is_hidden[hidden] = True
    return places[~is_hidden], places[is_hidden]


def _blocks(
    centres_n3: NDArray[np.float32], radius_mm: float, count: int, rng: np.random.Generator
) -> Indices:
    """`count` places in balls around places drawn at random; the last ball keeps its innermost ones."""
    if not np.isfinite(centres_n3).all():
        raise ParameterError(
            "mask blocks", must_be="of places known in mm", got="places without", do="leave block_mm out"
        )
    hidden: list[int] = []
    is_left = np.ones(len(centres_n3), dtype=bool)
    for middle in rng.permutation(len(centres_n3)):
        if len(hidden) >= count:
            break
        if not is_left[middle]:
            continue
        distance_n = np.linalg.norm(centres_n3 - centres_n3[middle], axis=1)
        inside = np.flatnonzero(is_left & (distance_n <= radius_mm))
        inside = inside[np.argsort(distance_n[inside], kind="stable")][: count - len(hidden)]
        hidden += inside.tolist()
        is_left[inside] = False
    return np.array(hidden, dtype=np.intp)
