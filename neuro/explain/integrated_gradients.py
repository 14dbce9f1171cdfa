"""Integrated gradients: a run's logit less that of a neutral brain, shared out among the places.

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365; computed by
captum, by Gauss-Legendre quadrature along the straight way from the neutral tokens to the run's.

Letters: B points of the way, N tokens, S places, V values of a token's signal, P of its amplitude.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.explain.neutral import neutral
from neuro.model import BrainTransformer
from neuro.tokens import RunTokens, TokenBatch, collate

STEPS = 16  # of the way: the sum is within 1 % of the difference of logits where it was measured
FINER, MOST_STEPS = 4, 256  # where a sum is off, so many times as many points, up to so many
TOLERANCE = 0.1  # of the difference of logits, or of one where they differ by less
TOKENS_AT_ONCE = 1 << 12  # activations are kept for the gradients


def integrated_gradients(
    model: BrainTransformer, run: RunTokens, *, steps: int = STEPS
) -> NDArray[np.float32]:
    """What each place adds to a run's logit (S,), by its signals and its amplitudes together.

    They add up to the logit of the run less that of a neutral one (see `neuro.explain.neutral`), but for the
    error of the quadrature; both inputs, signal and amplitude, go the way together. A model may change
    suddenly on the way, and then few points miss it, by more than the whole sum where it is overfitted: where
    the sum of a clip is off by more than a tenth, more points are taken.

    Args:
        model: any, whatever its readout.
        run: what to explain.
        steps: points of the way, to begin with.

    Raises:
        ParameterError: fewer than one step.
    """
    if steps < 1:
        raise ParameterError("steps", must_be="positive", got=steps)
    device = next(model.parameters()).device
    starts = run.clip_starts()
    total_S = np.zeros(len(run.centres_S3), dtype=np.float64)
    for start in starts:
        batch = collate([run.clip(start)]).to(device)
        total_S += _held(model, batch, neutral(batch, run.spec.kind), steps)
    return (total_S / len(starts)).astype(np.float32)


def _held(model: BrainTransformer, batch: TokenBatch, begin: TokenBatch, steps: int) -> NDArray[np.float64]:
    """Shares (S,) that add up to what they should, or those of the most points."""
    with torch.inference_mode():
        whole = float(model(batch).double().sum() - model(begin).double().sum())
    while True:
        shares_S = _of_clip(model, batch, begin, steps)
        if abs(shares_S.sum() - whole) <= TOLERANCE * max(1.0, abs(whole)) or steps * FINER > MOST_STEPS:
            return shares_S
        steps *= FINER


def _of_clip(
    model: BrainTransformer, batch: TokenBatch, begin: TokenBatch, steps: int
) -> NDArray[np.float64]:
    from captum.attr import IntegratedGradients

    names = ["signal_BNV", *(["amplitude_BSP"] if batch.amplitude_BSP.numel() else [])]  # slices have none

    def logits(*values: torch.Tensor) -> torch.Tensor:
        points = len(values[0])
        positions_BN4 = batch.positions_BN4.expand(points, -1, -1)
        mask_BN = batch.mask_BN.expand(points, -1)
        moved: dict[str, Any] = dict(zip(names, values, strict=True))
        logits_B: torch.Tensor = model(replace(batch, **moved, positions_BN4=positions_BN4, mask_BN=mask_BN))
        return logits_B

    # The weights get no gradients, and other threads may use the model meanwhile.
    with torch.inference_mode(False), torch.enable_grad():
        shares = IntegratedGradients(logits).attribute(
            tuple(getattr(batch, name) for name in names),
            baselines=tuple(getattr(begin, name) for name in names),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=max(1, TOKENS_AT_ONCE // batch.mask_BN.shape[1]),
        )
    # Of each place's signal in all windows, and of its amplitude.
    by_place = [share[0].double().sum(-1).reshape(-1, batch.places).sum(0) for share in shares]
    total_S: NDArray[np.float64] = torch.stack(by_place).sum(0).cpu().numpy()
    return total_S
