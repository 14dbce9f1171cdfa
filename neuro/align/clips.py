"""Random clips of runs, each with one of the sentences about it: a function of seed, epoch and place.

Letters: B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neuro.tokens import RunTokens, TokenBatch, collate
from neuro.training.augment import augmented
from neuro.training.clips import epoch_order
from neuro.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedBatch:
    """Clips, whose they are, and a sentence for each.

    Attributes:
        tokens: of the clips.
        run_B: int64, number of the run in the bank.
        sentence_B: int64, number of the meaning in the bank.
    """

    tokens: TokenBatch
    run_B: torch.Tensor
    sentence_B: torch.Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> AlignedBatch:
        """The same on another device."""
        return AlignedBatch(
            tokens=self.tokens.to(device),
            run_B=self.run_B.to(device, non_blocking=True),
            sentence_B=self.sentence_B.to(device, non_blocking=True),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedClips:
    """`config.clips` random clips of each run an epoch.

    Attributes:
        runs: all cut alike.
        numbers: what each of them is called in the bank.
        sentences: numbers of the meanings about each of them, those that tell least first.
        config: clips a run, batch size, augmentation.
        brief: share of the samples that are told the first of these alone.
        seed: of all that is drawn.
    """

    runs: Sequence[RunTokens]
    numbers: Sequence[int]
    sentences: Sequence[Sequence[int]]
    config: TrainingConfig
    brief: float
    seed: int

    def __len__(self) -> int:
        return len(self.runs) * self.config.clips

    def batch(self, places: Sequence[int], epoch: int) -> AlignedBatch:
        """The pairs at these places."""
        order = epoch_order(len(self.runs), self.config.clips, seed=self.seed, epoch=epoch)
        clips, runs, sentences = [], [], []
        for place in places:
            number = int(order[place])
            rng = np.random.default_rng([self.seed, epoch, place])
            clips.append(augmented(self.runs[number], rng, self.config.augment))
            runs.append(self.numbers[number])
            sentences.append(self._drawn(self.sentences[number], rng))
        return AlignedBatch(
            tokens=collate(clips), run_B=torch.tensor(runs), sentence_B=torch.tensor(sentences)
        )

    def _drawn(self, own: Sequence[int], rng: np.random.Generator) -> int:
        brief = rng.random() < self.brief
        return own[0] if brief else own[int(rng.integers(len(own)))]
