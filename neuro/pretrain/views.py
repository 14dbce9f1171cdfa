"""What the two objectives see of a run that was drawn: a clip and its mask, or two clips of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from neuro.pretrain.blend import Drawn
from neuro.pretrain.contrastive import PairBatch
from neuro.pretrain.masked import MaskedBatch
from neuro.pretrain.masking import MaskConfig, draw_mask
from neuro.tokens import Clip, RunTokens, collate
from neuro.training.augment import AugmentConfig, augmented


@dataclass(frozen=True, kw_only=True)
class MaskedView:
    """A random clip of each run, and the places of it that are seen.

    Attributes:
        mask: how places are hidden.
        fewest: places of the run that has the fewest, of all that are trained on.
        augment: how clips are changed at random.
    """

    mask: MaskConfig
    fewest: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __call__(self, drawn: Sequence[Drawn]) -> MaskedBatch:
        """Samples -> clips and masks."""
        tokens = collate([augmented(one.run, one.rng, self.augment) for one in drawn])
        visible = self.mask.visible(self.fewest)
        mask = draw_mask(tokens, self.mask, visible=visible, rngs=[one.rng for one in drawn])
        return MaskedBatch(tokens=tokens, mask=mask)


@dataclass(frozen=True, kw_only=True)
class PairView:
    """Two random clips of each person, of one run or of two, that overlap as little as the run allows.

    Attributes:
        augment: how clips are changed at random, each by itself.
    """

    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __call__(self, drawn: Sequence[Drawn]) -> PairBatch:
        """Samples -> pairs of clips."""
        pairs = [self._pair(one) for one in drawn]
        return PairBatch(
            first=collate([first for first, _ in pairs]),
            second=collate([second for _, second in pairs]),
            person_B=torch.tensor([one.person for one in drawn]),
        )

    def _pair(self, one: Drawn) -> tuple[Clip, Clip]:
        other = one.own_runs[int(one.rng.integers(len(one.own_runs)))]
        if other is not one.run:
            return augmented(one.run, one.rng, self.augment), augmented(other, one.rng, self.augment)
        starts = apart(one.run, one.rng)
        first, second = (augmented(one.run, one.rng, self.augment, start=start) for start in starts)
        return first, second


def apart(run: RunTokens, rng: np.random.Generator) -> tuple[int, int]:
    """First frames of two clips of a run, which share no frame where it is long enough for that."""
    last, frames = run.last_start(), run.spec.frames
    gap = min(frames, last)
    early = int(rng.integers(0, last - gap + 1))
    late = int(rng.integers(early + gap, last + 1))
    return (early, late) if rng.random() < 0.5 else (late, early)
