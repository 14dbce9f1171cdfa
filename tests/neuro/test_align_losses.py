"""The two losses against slow twins, and what they leave out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from neuro.align.losses import LOSSES, info_nce, siglip

ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)


def slow_info_nce(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    """Pair by pair: the mean over right answers of -log of their share, both ways."""

    def way(row: np.ndarray, held: np.ndarray) -> float:
        total = sum(math.exp(value) for value, t in zip(row, held, strict=True) if t >= 0)
        right = [-math.log(math.exp(value) / total) for value, t in zip(row, held, strict=True) if t > 0]
        return sum(right) / len(right)

    return [(way(logits[i], truth[i]) + way(logits[:, i], truth[:, i])) / 2 for i in range(len(logits))]


def slow_siglip(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    losses = []
    for row, held in zip(logits, truth, strict=True):
        right = [math.log1p(math.exp(-value)) for value, t in zip(row, held, strict=True) if t > 0]
        wrong = [math.log1p(math.exp(value)) for value, t in zip(row, held, strict=True) if t == 0]
        losses.append((sum(right) / len(right) + (sum(wrong) / len(wrong) if wrong else 0)) / 2)
    return losses


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, 2, (count, count))
    np.fill_diagonal(truth, 1)
    return rng.uniform(-1, 1, (count, count)), truth


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 7), seed=st.integers(0, 2**16), scale=st.floats(0.5, 20))
def test_losses_equal_their_slow_twins(count: int, seed: int, scale: float) -> None:
    cosines, truth = drawn(count, seed)
    given_ = torch.tensor(cosines), torch.tensor(truth), torch.tensor(scale, dtype=torch.float64)
    np.testing.assert_allclose(info_nce(*given_, ZERO), slow_info_nce(scale * cosines, truth), rtol=1e-9)
    bias = torch.tensor(-1.5)
    np.testing.assert_allclose(siglip(*given_, bias), slow_siglip(scale * cosines - 1.5, truth), rtol=1e-9)


def test_without_further_right_answers_it_is_clips_loss() -> None:
    cosines_BB = torch.tensor(drawn(6, 3)[0])
    found_B = info_nce(cosines_BB, torch.eye(6), torch.tensor(7.0), ZERO)
    target_B = torch.arange(6)
    wanted = (F.cross_entropy(7 * cosines_BB, target_B) + F.cross_entropy(7 * cosines_BB.T, target_B)) / 2
    torch.testing.assert_close(found_B.mean(), wanted)


@pytest.mark.parametrize("name", LOSSES)
def test_pairs_that_are_not_known_have_no_gradient(name: str) -> None:
    cosines, truth = drawn(6, 5)
    cosines_BB = torch.tensor(cosines, requires_grad=True)
    LOSSES[name](cosines_BB, torch.tensor(truth), torch.tensor(5.0), ZERO).sum().backward()
    assert cosines_BB.grad is not None
    assert (truth < 0).any()
    assert cosines_BB.grad.isfinite().all()
    assert (cosines_BB.grad[torch.tensor(truth) < 0] == 0).all()
    assert (cosines_BB.grad[torch.tensor(truth) >= 0] != 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_people_of_one_sentence_are_not_held_against_each_other(name: str) -> None:
    """Two of one sentence, one of another: the loss falls when the two come to lie together."""
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    together = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    apart = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    loss = LOSSES[name]
    assert loss(together, same, 5 * ONE, ZERO).mean() < loss(apart, same, 5 * ONE, ZERO).mean()
    assert (
        loss(apart, torch.eye(3), 5 * ONE, ZERO).mean() < loss(together, torch.eye(3), 5 * ONE, ZERO).mean()
    )
