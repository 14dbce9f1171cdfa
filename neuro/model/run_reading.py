"""One run through a model: its clips in batches, their logits and votes averaged.

Clips of one person are averaged in logit space: the mean of log odds, not of probabilities.
Letters: C clips of a run, W windows, S places.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from neuro.model.transformer import BrainTransformer
from neuro.tokens.batch import TokenBatch, collate
from neuro.tokens.run_tokens import RunTokens

TOKENS_A_BATCH = 1 << 14  # a long run is not one batch: memory stays the same, however long it is


@torch.inference_mode()
def clip_logits(model: BrainTransformer, run: RunTokens) -> torch.Tensor:
    """Logits (C,) of the consecutive clips that cover a run, float32 on the processor."""
    return torch.cat([model(batch).float() for batch in run_batches(model, run)]).cpu()


def run_logit(model: BrainTransformer, run: RunTokens) -> float:
    """The mean logit over the consecutive clips that cover a run."""
    return float(clip_logits(model, run).mean())


@torch.inference_mode()
def run_votes(model: BrainTransformer, run: RunTokens) -> torch.Tensor:
    """What each place adds to a run's logit (S,), float32; with the readout's bias they add up to it.

    Raises:
        ParameterError: the readout's logit is no sum of votes.
    """
    sums = [
        model.votes(batch).float().reshape(-1, batch.places).sum(0)  # over clips and windows
        for batch in run_batches(model, run)
    ]
    return torch.stack(sums).sum(0).cpu() / len(run.clip_starts())


def run_batches(model: nn.Module, run: RunTokens) -> Iterator[TokenBatch]:
    """The consecutive clips that cover a run, in batches of bounded size, where the model is."""
    device = next(model.parameters()).device
    starts = run.clip_starts()
    first = run.clip(starts[0])
    clips = max(1, TOKENS_A_BATCH // (len(first.seconds_W) * len(first.centres_S3)))
    for begin in range(0, len(starts), clips):
        yield collate([run.clip(start) for start in starts[begin : begin + clips]]).to(device)
