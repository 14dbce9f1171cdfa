"""Mixup against loops, its draws against Beta's own distribution, and its soft targets in both losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from data.errors import ParameterError
from vision.adapt import draw_mixture, mix, mixed_targets


@settings(deadline=None)
@given(st.integers(1, 20), st.floats(0.05, 5), st.integers(0, 2**32 - 1))
def test_partners_are_a_permutation_and_the_share_a_share(batch: int, alpha: float, seed: int) -> None:
    drawn = draw_mixture(batch, alpha, np.random.default_rng(seed))
    assert sorted(drawn.partner_B.tolist()) == list(range(batch))
    assert 0 <= drawn.share <= 1
    again = draw_mixture(batch, alpha, np.random.default_rng(seed))
    assert drawn.share == again.share
    assert torch.equal(drawn.partner_B, again.partner_B)


def test_shares_are_drawn_from_beta() -> None:
    rng = np.random.default_rng(0)
    shares = [draw_mixture(1, 0.4, rng).share for _ in range(2000)]
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.05
    assert stats.kstest(shares, stats.beta(1, 1).cdf).pvalue < 1e-6  # the test can tell


@settings(deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), max_size=3), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_mixing_equals_its_slow_twin(batch: int, further: list[int], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(batch, *further)))
    partner_B = torch.from_numpy(rng.permutation(batch))
    mixed = mix(values, partner_B, share)
    for row in range(batch):
        own, other = values[row].numpy(), values[int(partner_B[row])].numpy()
        np.testing.assert_allclose(mixed[row].numpy(), own * share + other * (1 - share), atol=1e-14)
    # A permutation moves nothing in or out.
    torch.testing.assert_close(mixed.sum(0), values.sum(0), atol=1e-12, rtol=1e-12)


def test_soft_targets_give_both_losses_share_by_share() -> None:
    rng = np.random.default_rng(1)
    drawn = draw_mixture(8, 1.0, rng)
    logits_BK = torch.from_numpy(rng.normal(size=(8, 3))).float()
    labels_B = torch.from_numpy(rng.integers(0, 3, size=8))
    other_B = labels_B[drawn.partner_B]
    soft_BK = mixed_targets(labels_B, drawn.partner_B, drawn.share, classes=3)
    expected = drawn.share * F.cross_entropy(logits_BK, labels_B) + (1 - drawn.share) * F.cross_entropy(
        logits_BK, other_B
    )
    torch.testing.assert_close(F.cross_entropy(logits_BK, soft_BK), expected)

    binary_B = (labels_B > 0).long()
    soft_B = mixed_targets(binary_B, drawn.partner_B, drawn.share)
    bce = F.binary_cross_entropy_with_logits
    expected = drawn.share * bce(logits_BK[:, 0], binary_B.float()) + (1 - drawn.share) * bce(
        logits_BK[:, 0], binary_B[drawn.partner_B].float()
    )
    torch.testing.assert_close(bce(logits_BK[:, 0], soft_B), expected)


def test_what_cannot_be_mixed_is_refused() -> None:
    rng, pair = np.random.default_rng(0), torch.tensor([1, 0])
    for alpha in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="alpha must be positive"):
            draw_mixture(2, alpha, rng)
    with pytest.raises(ParameterError, match="one sample or more"):
        draw_mixture(0, 1.0, rng)
    with pytest.raises(ParameterError, match="one for each row"):
        mix(torch.zeros(3, 2), pair, 0.5)
    with pytest.raises(ParameterError, match="share must be from 0 to 1"):
        mix(torch.zeros(2, 2), pair, 1.5)
    for targets in (torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ParameterError, match=r"class numbers \(B,\) from 0 to 1"):
            mixed_targets(targets, pair, 0.5, classes=2)
