"""Old runs among new ones: shares, turns, and which runs a small memory keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.continual.replay import ReplayClips, remembered
from neuro.continual.runs import Runs
from neuro.training.config import TrainingConfig

from .toy_sites import site


def clips(new: int, old: int, share: float, count: int = 1, seed: int = 0) -> ReplayClips:
    runs: Any = [None] * (new + old)
    labels = np.zeros(new + old, dtype=np.int64)
    config = TrainingConfig(clips=count)
    return ReplayClips(runs=runs, labels=labels, config=config, seed=seed, fresh=new, share=share)


@settings(deadline=None)
@given(
    new=st.integers(1, 30),
    old=st.integers(1, 30),
    share=st.floats(0.05, 0.9),
    count=st.integers(1, 3),
    epoch=st.integers(0, 4),
)
def test_new_runs_come_each_epoch_and_old_ones_in_turns(
    new: int, old: int, share: float, count: int, epoch: int
) -> None:
    made = clips(new, old, share, count)
    order = made.order(epoch)
    assert len(order) == len(made)
    times = Counter(order.tolist())
    assert all(times[number] == count for number in range(new))
    replayed = [times[number] for number in range(new, new + old)]
    assert sum(replayed) == made.replayed >= 1
    assert max(replayed) - min(replayed) <= 1
    assert abs(made.replayed - len(made) * share) <= 1
    np.testing.assert_array_equal(order, made.order(epoch))


def test_epochs_replay_other_runs() -> None:
    made = clips(4, 20, 0.5)
    replayed = {int(number) for epoch in range(12) for number in made.order(epoch) if number >= 4}
    assert made.replayed == 4
    assert len(replayed) > 15


def test_a_batch_holds_old_and_new_runs_with_their_labels() -> None:
    new, old = site("B", 4), site("A", 4)
    both = new + old
    config = TrainingConfig(batch_size=8)
    made = ReplayClips(runs=both.tokens, labels=both.labels, config=config, seed=0, fresh=4, share=0.5)
    batch = made.batch(range(8), 0)
    np.testing.assert_array_equal(batch.target_B, both.labels[made.order(0)])
    assert sorted(made.order(0)) == list(range(8))


@settings(deadline=None, max_examples=30)
@given(memory=st.integers(2, 30), seed=st.integers(0, 5))
def test_a_small_memory_is_even_over_sites_and_labels(memory: int, seed: int) -> None:
    old = OLD
    kept = remembered(old, memory, seed=seed)
    assert len(kept) == min(memory, len(old))
    assert len(set(kept.run_ids)) == len(kept)
    cells = Counter(zip(kept.sites, kept.labels, strict=True))
    full = Counter(zip(old.sites, old.labels, strict=True))
    most = max(cells.values())
    assert all(cells[cell] >= min(most - 1, full[cell]) for cell in full)
    np.testing.assert_array_equal(kept.run_ids, remembered(old, memory, seed=seed).run_ids)


def test_everybody_is_remembered_once_before_anybody_twice() -> None:
    old = site("A", 6)
    twice = replace(old + old, run_ids=np.arange(12).astype(object))
    for seed in range(5):
        assert set(Counter(remembered(twice, 6, seed=seed).people).values()) == {1}
    assert remembered(old, None, seed=0) is old


OLD: Runs = site("A", 14) + site("C", 6)
