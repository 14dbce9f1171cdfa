"""An encoder, an objective and cohorts -> what `neuro.training.loop.fit` takes, and the loss held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from neuro.model import BrainEncoder
from neuro.pretrain.blend import BlendedClips, View
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.contrastive import ContrastiveModelling
from neuro.pretrain.masked import MaskedModelling
from neuro.pretrain.pools import Pool, parted
from neuro.pretrain.views import MaskedView, PairView
from neuro.training.augment import AugmentConfig

Modelling = MaskedModelling | ContrastiveModelling
LOOKS = 4  # clips of each held-out run that its loss is the mean of: masks and clips differ much in how hard
NEVER = 1_000_000  # an epoch that no training comes to: what is held out is always seen in the same way


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """Cohorts to learn from and how.

    Attributes:
        train: the cohorts, without the people held out.
        held: runs of the people held out.
        config: how.
        fewest: places of the run that has the fewest, of both phases.
    """

    train: Sequence[Pool]
    held: Sequence[Pool]
    config: PretrainConfig
    fewest: int

    def examples(self, weights: Sequence[float], samples: int | None = None) -> BlendedClips:
        """What is trained on; an epoch has as many samples as there are runs, times clips, unless told."""
        runs = sum(len(pool) for pool in self.train)
        return BlendedClips(
            pools=self.train,
            weights=weights,
            samples=samples or runs * self.config.training.clips,
            view=self._view(self.config.training.augment),
            seed=self.config.seed,
        )

    def held_out_loss(self, objective: nn.Module) -> float:
        """The mean loss of the people held out, always on the same clips and masks."""
        pools = [pool for pool in self.held if len(pool)]
        sizes = [len(pool) for pool in pools]
        clips = BlendedClips(
            pools=pools,
            weights=sizes,
            samples=sum(sizes) * LOOKS,
            view=self._view(AugmentConfig()),
            seed=self.config.seed,
        )
        return mean_loss(objective, clips, self.config.training.batch_size)

    def _view(self, augment: AugmentConfig) -> View:
        if self.config.objective == "contrastive":
            return PairView(augment=augment)
        return MaskedView(mask=self.config.mask, fewest=self.fewest, augment=augment)


def modelling(encoder: BrainEncoder, config: PretrainConfig) -> Modelling:
    """The objective around an encoder, on its device; what it adds begins by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        built: Modelling = (
            ContrastiveModelling(encoder, config.contrastive)
            if config.objective == "contrastive"
            else MaskedModelling(encoder, config.masked)
        )
    return built.to(encoder.backbone.device)


@torch.no_grad()
def mean_loss(objective: nn.Module, clips: BlendedClips, batch_size: int) -> float:
    """The mean loss of all samples, in evaluation mode; the mode is left as it was."""
    device = next(objective.parameters()).device
    was_training = objective.training
    objective.eval()
    try:
        losses = [
            objective(clips.batch(range(start, min(start + batch_size, len(clips))), NEVER).to(device)).cpu()
            for start in range(0, len(clips), batch_size)
        ]
    finally:
        objective.train(was_training)
    return float(torch.cat(losses).double().mean())


def lesson_of(
    pools: Sequence[Pool], held: set[str], config: PretrainConfig, *, others: Sequence[Pool] = ()
) -> Lesson:
    """Cohorts parted into who is learned from and who is held out.

    Args:
        pools: the cohorts of this phase.
        held: who is held out.
        config: how.
        others: cohorts of the other phase, with which this one shares the number of places that are seen.
    """
    sides = [parted(pool, held) for pool in pools]
    fewest = min(len(run.centres_S3) for pool in (*pools, *others) for run in pool.runs)
    return Lesson(
        train=[train for train, _ in sides], held=[out for _, out in sides], config=config, fewest=fewest
    )
