"""What a frozen encoder makes of the clips of runs, computed once; only the readout is trained on it.

Clips are those that cover each run: a random start would want a pass through the encoder for each.
Letters: B clips, P prefix tokens, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from neuro.model import BrainTransformer
from neuro.model.encoder import Encoded
from neuro.tokens import TokenBatch, collate
from neuro.training.clips import LabelledClips


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenTokens:
    """Encoded clips, and where their tokens lie: a `TokenBatch` without signals."""

    encoded: Encoded
    batch: TokenBatch

    def to(self, device: torch.device) -> FrozenTokens:
        """The same on another device."""
        encoded = Encoded(
            prefix_BPD=self.encoded.prefix_BPD.to(device), tokens_BND=self.encoded.tokens_BND.to(device)
        )
        return FrozenTokens(encoded=encoded, batch=self.batch.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenBatch:
    """Encoded clips and their labels (B,)."""

    tokens: FrozenTokens
    target_B: torch.Tensor

    def to(self, device: torch.device) -> FrozenBatch:
        """The same on another device."""
        return FrozenBatch(tokens=self.tokens.to(device), target_B=self.target_B.to(device))


class FrozenReadout(nn.Module):
    """`FrozenTokens` -> logits (B,): the model's readout alone."""

    def __init__(self, model: BrainTransformer):
        super().__init__()
        self.readout = model.readout

    def forward(self, frozen: FrozenTokens) -> torch.Tensor:
        """Logits (B,)."""
        logits_B: torch.Tensor = self.readout(frozen.encoded, frozen.batch)
        return logits_B


class _Clip(NamedTuple):
    prefix_PD: torch.Tensor
    tokens_ND: torch.Tensor
    positions_N4: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenClips:
    """The same samples as `LabelledClips`, from the clips that cover each run, encoded beforehand.

    Attributes:
        clips: of each run, on the CPU.
        labelled: whose order and labels these are.
        like: a batch of one clip, for what its batches are like.
    """

    clips: Sequence[Sequence[_Clip]]
    labelled: LabelledClips
    like: TokenBatch

    @classmethod
    @torch.no_grad()
    def of(cls, model: BrainTransformer, labelled: LabelledClips) -> FrozenClips:
        """Encode the clips of all runs, one at a time."""
        device = next(model.parameters()).device
        model.eval()
        clips = []
        for run in labelled.runs:
            batches = [collate([clip]) for clip in run.clips()]
            clips.append([_encoded(model, batch.to(device)) for batch in batches])
        return cls(clips=clips, labelled=labelled, like=collate([labelled.runs[0].clip(0)]))

    def __len__(self) -> int:
        return len(self.labelled)

    def batch(self, places: Sequence[int], epoch: int) -> FrozenBatch:
        """The encoded clips at these places."""
        order = self.labelled.order(epoch)
        drawn = [self._drawn(int(order[place]), epoch, place) for place in places]
        counts = [len(clip.tokens_ND) for clip in drawn]
        windows = self.like.windows
        tokens_BND = _by_window([clip.tokens_ND for clip in drawn], windows)
        batch = replace(
            self.like,
            signal_BNV=tokens_BND.new_zeros(*tokens_BND.shape[:2], 0),
            amplitude_BSP=tokens_BND.new_zeros(len(drawn), tokens_BND.shape[1] // windows, 0),
            positions_BN4=_by_window([clip.positions_N4 for clip in drawn], windows),
            mask_BN=_by_window([torch.ones(count, 1, dtype=torch.bool) for count in counts], windows)[..., 0],
            padded=len(set(counts)) > 1,
        )
        encoded = Encoded(prefix_BPD=torch.stack([clip.prefix_PD for clip in drawn]), tokens_BND=tokens_BND)
        target_B = torch.from_numpy(self.labelled.labels[order[list(places)]]).float()
        return FrozenBatch(tokens=FrozenTokens(encoded=encoded, batch=batch), target_B=target_B)

    def _drawn(self, number: int, epoch: int, place: int) -> _Clip:
        rng = np.random.default_rng([self.labelled.seed, epoch, place])
        clips = self.clips[number]
        return clips[int(rng.integers(len(clips)))]


def _encoded(model: BrainTransformer, batch: TokenBatch) -> _Clip:
    encoded = model.encoder(batch)
    return _Clip(
        prefix_PD=encoded.prefix_BPD[0].float().cpu(),
        tokens_ND=encoded.tokens_BND[0].float().cpu(),
        positions_N4=batch.positions_BN4[0].cpu(),
    )


def _by_window(values: Sequence[torch.Tensor], windows: int) -> torch.Tensor:
    """(N, ...) of each clip -> (B, N, ...), padded within each window, windows slowest."""
    cut = [value.reshape(windows, -1, *value.shape[1:]).transpose(0, 1) for value in values]
    return pad_sequence(cut, batch_first=True).transpose(1, 2).flatten(1, 2)
