"""Gradients of a contrast over a whole batch, with the memory of a part of it.

GradCache (Gao et al. 2021, arXiv 2101.06983): a contrastive loss compares everything with everything, so
that gradients of parts do not add up to the whole's. What adds up is the way from the vectors back: embed all
parts without a graph, take the loss of the whole batch and its gradient at the vectors, then embed each part
once more and push its share of that gradient back.

Shape suffixes: B pairs of a batch or of a part, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from vision.training.random_state import random_state, replayed

Vectors = tuple[torch.Tensor, torch.Tensor]
Embed = Callable[[], Vectors]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def backward_whole_batch(
    parts: Sequence[Embed], loss: Loss, scaler: torch.amp.GradScaler | None = None
) -> torch.Tensor:
    """Add the gradients of the whole batch's loss to the parameters; the loss comes back, detached.

    Args:
        parts: each gives (image_BE, text_BE) of one part, differentiable, in the batch's order; called twice
            with the same random state where there are several (so dropout falls alike).
        loss: (image_BE, text_BE) of the whole batch -> scalar.
        scaler: scales the loss before it is differentiated (half precision).
    """
    if len(parts) == 1:
        whole = loss(*parts[0]())
        _scaled(whole, scaler).backward()  # type: ignore[no-untyped-call]
        return whole.detach()
    states, found = [], []
    with torch.no_grad():
        for part in parts:
            states.append(random_state())
            found.append(part())
    image_BE = torch.cat([image for image, _ in found]).requires_grad_()
    text_BE = torch.cat([text for _, text in found]).requires_grad_()
    whole = loss(image_BE, text_BE)
    _scaled(whole, scaler).backward()  # type: ignore[no-untyped-call]
    start = 0
    for part, state, (image, _) in zip(parts, states, found, strict=True):
        rows = slice(start, start + len(image))
        with replayed(state):
            vectors = part()
        _push_back(vectors, (_gradient(image_BE)[rows], _gradient(text_BE)[rows]))
        start += len(image)
    return whole.detach()


def _scaled(loss: torch.Tensor, scaler: torch.amp.GradScaler | None) -> torch.Tensor:
    return loss if scaler is None else scaler.scale(loss)


def _gradient(vectors_BE: torch.Tensor) -> torch.Tensor:
    assert vectors_BE.grad is not None
    return vectors_BE.grad


def _push_back(vectors: Vectors, gradients: Vectors) -> None:
    """Back-propagate through the halves that learn; a frozen half has no graph."""
    learning = [(v, g) for v, g in zip(vectors, gradients, strict=True) if v.requires_grad]
    if learning:
        torch.autograd.backward([v for v, _ in learning], [g for _, g in learning])
