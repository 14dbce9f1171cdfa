"""The parts of fine-tuning, each against a slow independent twin or its definition."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from data.captions import Pair
from data.errors import ParameterError
from vision.finetune.clip_loss import clip_loss
from vision.finetune.grad_cache import backward_whole_batch
from vision.finetune.pair_table import PairTable, split_pairs
from vision.finetune.siglip_loss import siglip_loss
from vision.finetune.source import random_crop
from vision.finetune.validation import recall_at_1
from vision.finetune.wise_ft import choose_alpha, interpolate
from vision.training.ahead import ahead
from vision.training.schedule import learning_rate

SCALE, BIAS = 12.0, -3.0


def unit_vectors(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=1)


def slow_clip(image: np.ndarray, text: np.ndarray, known: np.ndarray) -> float:
    """Row by row and column by column, as the paper says it; known others are not in the sums."""
    count, total = len(image), 0.0
    for i in range(count):
        wanted = math.exp(SCALE * image[i] @ text[i])
        row = sum(math.exp(SCALE * image[i] @ text[j]) for j in range(count) if i == j or not known[i, j])
        column = sum(math.exp(SCALE * image[j] @ text[i]) for j in range(count) if i == j or not known[j, i])
        total -= (math.log(wanted / row) + math.log(wanted / column)) / 2
    return total / count


def slow_siglip(image: np.ndarray, text: np.ndarray, known: np.ndarray) -> float:
    """The paper's equation 1, cell by cell; known others are left out."""
    count, total = len(image), 0.0
    for i in range(count):
        for j in range(count):
            if i == j or not known[i, j]:
                sign = 1 if i == j else -1
                total += math.log(1 + math.exp(-sign * (SCALE * image[i] @ text[j] + BIAS)))
    return total / count


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize(("loss", "slow"), [(clip_loss, slow_clip), (siglip_loss, slow_siglip)])
def test_losses_equal_their_slow_twins(loss: object, slow: object, others: bool) -> None:
    image_BE, text_BE = unit_vectors(7, 1), unit_vectors(7, 2)
    known_BB = torch.eye(7, dtype=torch.bool)
    if others:
        known_BB[0, 3] = known_BB[3, 0] = known_BB[5, 1] = True
    scale, bias = torch.tensor(SCALE).double(), torch.tensor(BIAS).double()
    expected = slow(image_BE.numpy(), text_BE.numpy(), known_BB.numpy())  # type: ignore[operator]
    got = loss(image_BE, text_BE, scale, bias, known_BB)  # type: ignore[operator]
    assert float(got) == pytest.approx(expected, abs=1e-12)
    if not others:
        assert float(loss(image_BE, text_BE, scale, bias)) == pytest.approx(expected, abs=1e-12)  # type: ignore[operator]


@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
def test_captions_of_one_picture_do_not_push_each_other_away(loss: object) -> None:
    """The gradient of a caption does not contain the picture that it belongs to as a wrong one."""
    image_BE = unit_vectors(4, 3)
    image_BE[1] = image_BE[0]
    text_BE = unit_vectors(4, 4)
    text_BE[:2] = image_BE[0]  # both captions fit their picture perfectly already
    known_BB = torch.eye(4, dtype=torch.bool)
    known_BB[0, 1] = known_BB[1, 0] = True
    scale, bias = torch.tensor(100.0).double(), torch.tensor(-50.0).double()
    masked = loss(image_BE[:2], text_BE[:2], scale, bias, known_BB[:2, :2])  # type: ignore[operator]
    naive = loss(image_BE[:2], text_BE[:2], scale, bias)  # type: ignore[operator]
    assert float(masked) < 1e-6 < 0.3 < float(naive)


class Halves(nn.Module):
    """Two small halves with dropout, whose random state must be replayed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 6))
        self.text = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.Tanh(), nn.Linear(16, 6))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.normalize(self.image(image), dim=-1), F.normalize(self.text(text), dim=-1)


@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_gradients_of_parts_equal_the_undivided_batchs(loss: object, size: int) -> None:
    generator = torch.Generator().manual_seed(5)
    image, text = torch.randn(8, 5, generator=generator), torch.randn(8, 4, generator=generator)
    image, text = image.double(), text.double()
    whole, parts = Halves().eval().double(), Halves().eval().double()
    known_BB = torch.eye(8, dtype=torch.bool)
    known_BB[0, 7] = True

    def contrast(model: Halves) -> object:
        return lambda i, t: loss(i, t, model.log_scale.exp(), model.log_scale, known_BB)  # type: ignore[operator]

    expected = contrast(whole)(*whole(image, text))  # type: ignore[operator]
    expected.backward()
    pieces = [
        lambda rows=slice(start, start + size): parts(image[rows], text[rows]) for start in range(0, 8, size)
    ]
    got = backward_whole_batch(pieces, contrast(parts))  # type: ignore[arg-type]
    assert float(got) == pytest.approx(float(expected.detach()), abs=1e-10)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.abs().max() > 1e-4
        torch.testing.assert_close(other.grad, one.grad, atol=1e-10, rtol=0)


def test_dropout_falls_alike_in_both_passes() -> None:
    """The vectors whose gradient is pushed back are those that the loss was taken of."""
    model, seen = Halves().train(), []
    image, text = torch.randn(6, 5), torch.randn(6, 4)

    def embed(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = model(image[rows], text[rows])
        seen.append(vectors[0].detach())
        return vectors

    pieces = [lambda rows=slice(start, start + 2): embed(rows) for start in (0, 2, 4)]
    after_one_pass = torch.get_rng_state()
    backward_whole_batch(pieces, lambda i, t: clip_loss(i, t, torch.tensor(5.0)))
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(torch.get_rng_state(), after_one_pass)


def test_a_frozen_half_is_passed_by() -> None:
    model = Halves()
    model.text.requires_grad_(False)
    image, text = torch.randn(4, 5), torch.randn(4, 4)
    pieces = [lambda rows=slice(start, start + 2): model(image[rows], text[rows]) for start in (0, 2)]
    backward_whole_batch(pieces, lambda i, t: clip_loss(i, t, model.log_scale.exp()))
    assert all(p.grad is not None for p in model.image.parameters())
    assert all(p.grad is None for p in model.text.parameters())


def table(*pairs: tuple[str, str]) -> PairTable:
    return PairTable.of([Pair(image=Path(image), caption=caption) for image, caption in pairs])


def test_known_pairs_are_no_negatives() -> None:
    found = table(("a", "cat"), ("a", "pet"), ("b", "cat"), ("c", "dog"), ("a", "cat"))
    assert len(found) == 4  # the same pair twice counts once
    expected = [
        [True, True, True, False],  # a: its own captions, and the words it shares with b
        [True, True, True, False],
        [True, False, True, False],  # b: not a's other caption, which nobody says of it
        [False, False, False, True],
    ]
    assert found.known(torch.arange(4)).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(2, 60),
    size=st.integers(2, 30),
    epoch=st.integers(0, 5),
)
def test_batches_hold_every_pair_once_in_equal_parts(count: int, size: int, epoch: int) -> None:
    found = table(*((f"{n}", f"{n}") for n in range(count)))
    batches = found.batches(size, seed=3, epoch=epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    again = found.batches(size, seed=3, epoch=epoch)
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))


def test_each_epoch_has_an_order_of_its_own() -> None:
    found = table(*((f"{n}", f"{n}") for n in range(20)))
    orders = {
        tuple(found.batches(20, seed=seed, epoch=epoch)[0].tolist()) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


@settings(deadline=None, max_examples=40)
@given(pictures=st.integers(4, 40), share=st.floats(0.01, 0.4), seed=st.integers(0, 3))
def test_no_picture_stands_on_both_sides(pictures: int, share: float, seed: int) -> None:
    pairs = [Pair(image=Path(f"{n}"), caption=f"{n} {k}") for n in range(pictures) for k in range(1 + n % 3)]
    train, held = split_pairs(pairs, share, seed=seed)
    assert {pair.image for pair in train}.isdisjoint(pair.image for pair in held)
    assert sorted(map(repr, train + held)) == sorted(map(repr, pairs))
    assert len({pair.image for pair in held}) == max(2, round(share * pictures))


def test_too_few_pictures_to_keep_some_for_validation() -> None:
    pairs = [Pair(image=Path(f"{n}"), caption="x") for n in range(3)]
    with pytest.raises(ParameterError, match="of 4 pictures or more"):
        split_pairs(pairs, 0.1, seed=0)
    assert split_pairs(pairs, 0, seed=0) == (pairs, [])


def slow_recall(cosine_QK: np.ndarray, right: list[set[int]]) -> float:
    hits = 0
    for row, wanted in zip(cosine_QK, right, strict=True):
        order = sorted(range(len(row)), key=lambda k: (-row[k], k in wanted))  # a tie goes to the wrong one
        hits += order[0] in wanted
    return hits / len(cosine_QK)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_recall_equals_its_slow_twin(data: st.DataObject) -> None:
    pictures, captions = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    cells = st.tuples(st.integers(0, pictures - 1), st.integers(0, captions - 1))
    pairs = data.draw(st.lists(cells, min_size=1, max_size=12, unique=True))
    found = table(*((f"{p}", f"{c}") for p, c in pairs))
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    # Few different directions, so that ties happen.
    image = np.eye(3)[rng.integers(0, 3, len(found.pictures))]
    text = np.eye(3)[rng.integers(0, 3, len(found.captions))]
    own = list(zip(found.picture_N.tolist(), found.caption_N.tolist(), strict=True))
    of_text = [{p for p, c in own if c == caption} for caption in range(len(found.captions))]
    of_picture = [{c for p, c in own if p == picture} for picture in range(len(found.pictures))]
    got = recall_at_1(torch.from_numpy(image), torch.from_numpy(text), found)
    assert got == (slow_recall(text @ image.T, of_text), slow_recall(image @ text.T, of_picture))


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [learning_rate(step, total=20, warmup=4, peak=2.0) for step in range(20)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[12] == pytest.approx(1.0)
    assert all(one > other for one, other in itertools.pairwise(rates[4:]))
    assert 0 < rates[-1] < 0.05
    assert learning_rate(0, total=1, warmup=0, peak=2.0) == 2.0
    assert learning_rate(2, total=3, warmup=3, peak=2.0) == 2.0


def test_interpolation_is_the_straight_line() -> None:
    before = {"w": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    after = {"w": torch.tensor([2.0, -2.0]), "count": torch.tensor(9)}
    assert torch.equal(interpolate(before, after, 0.0)["w"], before["w"])
    assert torch.equal(interpolate(before, after, 1.0)["w"], after["w"])
    quarter = interpolate(before, after, 0.25)
    assert torch.equal(quarter["w"], torch.tensor([1.25, 1.0]))
    assert int(quarter["count"]) == 9


def test_alpha_is_the_least_that_validation_cannot_tell_from_the_best() -> None:
    recall_of = {0.0: 0.50, 0.25: 0.60, 0.5: 0.78, 0.75: 0.80, 1.0: 0.79}
    assert choose_alpha(recall_of, 100) == 0.5  # one standard error is 0.04
    assert choose_alpha(recall_of, 10_000) == 0.75
    assert choose_alpha({0.0: 1.0, 0.5: 1.0, 1.0: 1.0}, 10) == 0.0


def test_crops_keep_proportions_and_share() -> None:
    rng, picture = np.random.default_rng(0), Image.new("RGB", (200, 100))
    areas = []
    for _ in range(200):
        crop = random_crop(picture, 0.25, rng)
        assert crop.width / crop.height == pytest.approx(2, abs=0.05)
        areas.append(crop.width * crop.height / 20_000)
    assert 0.24 < min(areas) < 0.35
    assert 0.9 < max(areas) <= 1
    assert random_crop(Image.new("RGB", (1, 1)), 0.01, rng).size == (1, 1)


def test_items_made_ahead_come_in_order_and_errors_come_through() -> None:
    def numbers():  # type: ignore[no-untyped-def]
        yield from range(5)
        raise ParameterError("x", must_be="y", got="z")

    items = ahead(numbers())
    assert list(itertools.islice(items, 5)) == list(range(5))
    with pytest.raises(ParameterError):
        next(items)
