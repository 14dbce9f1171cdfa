"""Random clips of labelled runs, one sample a place: a function of seed, epoch and place.

Letters: B clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from neuro.tokens import Clip, RunTokens, TokenBatch, collate
from neuro.training.augment import AugmentConfig, augmented
from neuro.training.config import TrainingConfig
from neuro.training.examples import batches_of
from neuro.training.mix import mixed
from vision.adapt import draw_mixture, mixed_targets


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch:
    """Clips and their labels.

    Attributes:
        tokens: of the clips.
        target_B: float32, 0, 1 or, where clips are mixed, between them.
    """

    tokens: TokenBatch
    target_B: torch.Tensor

    def to(self, device: torch.device) -> LabelledBatch:
        """The same on another device."""
        target_B = self.target_B.to(device, non_blocking=True)
        return replace(self, tokens=self.tokens.to(device), target_B=target_B)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledClips:
    """`config.clips` random clips of each run an epoch, in an order of the epoch's own.

    Attributes:
        runs: all cut alike.
        labels: 0 or 1, one a run.
        config: clips a run, batch size, augmentation, mixup.
        seed: of all that is drawn.
    """

    runs: Sequence[RunTokens]
    labels: NDArray[np.int64]
    config: TrainingConfig
    seed: int

    def __len__(self) -> int:
        return len(self.runs) * self.config.clips

    @property
    def are_plain(self) -> bool:
        """Whether clips stay as they are in the runs."""
        return self.config.augment == AugmentConfig() and not self.config.mixup

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The run at each place of an epoch."""
        return epoch_order(len(self.runs), self.config.clips, seed=self.seed, epoch=epoch)

    def batch(self, places: Sequence[int], epoch: int) -> LabelledBatch:
        """The clips at these places, which are all of one batch where clips are mixed."""
        if self.config.mixup:
            return self._mixed(places, epoch)
        tokens, target_B = self._plain(places, epoch)
        return LabelledBatch(tokens=tokens, target_B=target_B)

    def _plain(self, places: Sequence[int], epoch: int) -> tuple[TokenBatch, torch.Tensor]:
        order = self.order(epoch)
        clips = [self._clip(int(order[place]), epoch, place) for place in places]
        return collate(clips), torch.from_numpy(self.labels[order[list(places)]]).float()

    def _clip(self, number: int, epoch: int, place: int) -> Clip:
        rng = np.random.default_rng([self.seed, epoch, place])
        return augmented(self.runs[number], rng, self.config.augment)

    def _mixed(self, places: Sequence[int], epoch: int) -> LabelledBatch:
        """Each clip with its partner, which is drawn from the whole batch, that of all processes."""
        batches_B = batches_of(len(self), self.config.batch_size)
        step = next(number for number, batch_B in enumerate(batches_B) if places[0] <= batch_B[-1])
        first, size, count = int(batches_B[step][0]), len(batches_B[step]), len(places)
        rng = np.random.default_rng([self.seed, epoch, step, 1])
        mixture = draw_mixture(size, self.config.mixup, rng)
        partners = [first + int(mixture.partner_B[place - first]) for place in places]
        tokens, target_B = self._plain([*places, *partners], epoch)
        other_B = torch.arange(2 * count).roll(count)
        return LabelledBatch(
            tokens=mixed(tokens, other_B, mixture.share).rows(0, count),
            target_B=mixed_targets(target_B, other_B, mixture.share)[:count],
        )


def epoch_order(runs: int, clips: int, *, seed: int, epoch: int) -> NDArray[np.intp]:
    """The run at each place of an epoch in which each run comes `clips` times."""
    shuffled: NDArray[np.intp] = np.random.default_rng([seed, epoch]).permutation(runs * clips)
    return shuffled % runs
