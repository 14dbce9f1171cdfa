"""Runs and sentences about them -> a model that puts brains into the text space; and runs through it.

Letters: C clips of a run, R runs, E components of the text space.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from neuro.align.bank import SentenceBank
from neuro.align.clips import AlignedClips
from neuro.align.config import AlignConfig
from neuro.align.head import TextHead
from neuro.align.objective import Alignment, BrainText
from neuro.model import BrainEncoder, fresh_encoder
from neuro.model.encoder_folder import load_encoder
from neuro.model.run_reading import run_batches
from neuro.tokens import RunTokens, TokenLayout
from neuro.training.held_out import Who, held_out
from neuro.training.loop import Listeners, fit
from vision.prompts import unit_rows

Vectors = NDArray[np.float32]
Indices = NDArray[np.intp]
NEVER = 1_000_000  # an epoch that no training comes to: who is watched is always seen in the same way


def align(
    runs: Sequence[RunTokens],
    bank: SentenceBank,
    config: AlignConfig,
    *,
    train: Indices,
    labels: NDArray[np.int64],
    who: Who,
    listeners: Listeners | None = None,
) -> BrainText:
    """Train on some of the runs, and what is written about those alone.

    Args:
        runs: of the whole cohort, all cut alike.
        bank: sentences about all of them.
        config: how.
        train: rows to train on.
        labels: of all runs, to hold people of both out alike where some are watched.
        who: the person and site of all runs.
        listeners: who is told of steps and epochs.

    Returns:
        The model in evaluation mode.

    Raises:
        ParameterError: a model or training that cannot work.
    """
    learned, watched = np.arange(len(train)), np.arange(0)
    if config.training.validation_share:
        own = Who(people=who.people[train], sites=None if who.sites is None else who.sites[train])
        learned, watched = held_out(labels[train], own, config.training.validation_share, seed=config.seed)
    shown = train[learned]
    encoder = _encoder(config, runs[0].layout)
    encoder.requires_grad_(not config.is_frozen)
    objective = _objective(encoder, bank, bank.written_of(shown), config)

    def validate() -> float:
        clips = _clips(runs, bank, train[watched], config)
        with torch.no_grad():
            losses_B = objective(clips.batch(range(len(clips)), NEVER).to(encoder.backbone.device))
        return float(losses_B.mean())

    fit(
        objective,
        _clips(runs, bank, shown, config),
        config.training,
        seed=config.seed,
        validate=validate if len(watched) else None,
        listeners=listeners,
    )
    encoder.requires_grad_(True)
    return objective.model.eval()


@torch.inference_mode()
def run_vector(model: BrainText, run: RunTokens) -> Vectors:
    """The unit vector of a run (E,): the mean over the consecutive clips that cover it, at unit length.

    As the mean of log odds is for a classifier: a cosine with the mean is the mean of the cosines, to scale.
    """
    vectors_CE = torch.cat([model(batch).float() for batch in run_batches(model, run)])
    vector_E: Vectors = unit_rows(vectors_CE.mean(0, keepdim=True).cpu().numpy())[0]
    return vector_E


def run_vectors(model: BrainText, runs: Sequence[RunTokens]) -> Vectors:
    """The unit vectors of runs (R, E)."""
    return np.stack([run_vector(model, run) for run in runs])


def _encoder(config: AlignConfig, layout: TokenLayout) -> BrainEncoder:
    """A private encoder to train."""
    if config.init_from is not None:
        return load_encoder(config.init_from, device=config.device, layout=layout)[0]
    return fresh_encoder(layout, config.model, seed=config.seed, device=config.device)


def _objective(encoder: BrainEncoder, bank: SentenceBank, learned: Indices, config: AlignConfig) -> Alignment:
    """The objective around an encoder, on its device; what it adds begins by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        # By so much a field's unit is about a unit of the logits, as a vote of the readout is.
        gain = 1 / config.scale
        head = TextHead(encoder, bank.vectors_SE[learned], rank=config.rank, gain=gain)
        model = BrainText(encoder, head, scale=config.scale)
    return Alignment(model, bank, config.loss).to(encoder.backbone.device)


def _clips(runs: Sequence[RunTokens], bank: SentenceBank, rows: Indices, config: AlignConfig) -> AlignedClips:
    return AlignedClips(
        runs=[runs[row] for row in rows],
        numbers=[int(row) for row in rows],
        sentences=[bank.of_run[row] for row in rows],
        config=config.training,
        brief=config.brief,
        seed=config.seed,
    )
