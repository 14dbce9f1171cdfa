"""Blends of cohorts: shares, evenness, samples as a function of seed, epoch and place; who is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.pretrain.blend import BlendedClips, Drawn, allotted
from neuro.pretrain.masking import MaskConfig
from neuro.pretrain.pools import Pool, held_out_people, parted, require_alike
from neuro.pretrain.proxy import candidate_blends
from neuro.pretrain.views import MaskedView, PairView, apart
from neuro.tokens import TubeletSpec, cubes
from neuro.tokens.parcels import ParcelSpec, parcel_tokens_of_array

SPEC = TubeletSpec(patch_mm=24, frames=10)


def made_pool(name: str, people: Sequence[str], *, regions: int = 4, frames: int = 30) -> Pool:
    rng = np.random.default_rng(len(people))
    spec = ParcelSpec(atlas="array", frames=10, centres=False)
    runs = [
        parcel_tokens_of_array(rng.standard_normal((frames, regions)), spec, run_id=f"{name} {number}")
        for number in range(len(people))
    ]
    return Pool(name=name, runs=runs, people=np.array(people, dtype=object))


def names(drawn: Sequence[Drawn]) -> list[tuple[str, int, int]]:
    return [(one.run.run_id, one.person, int(one.rng.integers(1 << 30))) for one in drawn]


def blended(pools: Sequence[Pool], weights: Sequence[float], samples: int, view: Any = names) -> BlendedClips:
    return BlendedClips(pools=pools, weights=weights, samples=samples, view=view, seed=5)


POOLS = [made_pool("a", ["p1", "p2", "p3"]), made_pool("b", ["p1", "q1", "q2", "q2", "q3"])]


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0, 9), min_size=1, max_size=5).filter(lambda w: sum(w) > 1e-3),
    samples=st.integers(1, 200),
)
def test_samples_are_allotted_to_the_nearest_whole_number(weights: list[float], samples: int) -> None:
    counts = allotted(weights, samples)
    assert sum(counts) == samples
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count - weight / sum(weights) * samples) < 1


def test_an_epoch_has_the_shares_and_goes_through_all_runs() -> None:
    clips = blended(POOLS, [1, 3], 40)
    runs = Counter(run for run, _, _ in clips.batch(range(40), 0))
    assert sum(count for run, count in runs.items() if run.startswith("a")) == 10
    assert {count for run, count in runs.items() if run.startswith("a")} == {3, 4}
    assert {count for run, count in runs.items() if run.startswith("b")} == {6}


def test_a_cohort_without_weight_is_left_out() -> None:
    assert all(run.startswith("b") for run, _, _ in blended(POOLS, [0, 1], 12).batch(range(12), 3))


def test_a_sample_is_a_function_of_epoch_and_place() -> None:
    clips, again = blended(POOLS, [1, 1], 16), blended(POOLS, [1, 1], 16)
    whole = clips.batch(range(16), 2)
    assert again.batch([3, 11], 2) == [whole[3], whole[11]]
    assert clips.batch(range(16), 1) != whole
    assert (
        BlendedClips(pools=POOLS, weights=[1, 1], samples=16, view=names, seed=6).batch(range(16), 2) != whole
    )


def test_one_name_is_one_person_in_all_cohorts() -> None:
    drawn = blended(POOLS, [1, 1], 30, view=list).batch(range(30), 0)
    of_p1 = {one.person for one in drawn if one.run in (POOLS[0].runs[0], POOLS[1].runs[0])}
    assert len(of_p1) == 1
    assert {one.person for one in drawn if one.run in POOLS[1].runs[2:4]} == {
        one.person for one in drawn if one.run is POOLS[1].runs[2]
    }
    assert len(next(one for one in drawn if one.run is POOLS[1].runs[3]).own_runs) == 2


@given(frames=st.integers(10, 60), seed=st.integers(0, 50))
def test_two_clips_share_no_frame_where_the_run_is_long_enough(frames: int, seed: int) -> None:
    run = made_pool("a", ["p"], frames=frames).runs[0]
    first, second = apart(run, np.random.default_rng(seed))
    assert 0 <= min(first, second) <= max(first, second) <= run.last_start()
    assert abs(first - second) >= min(10, run.last_start())


def test_views_give_what_the_objectives_take() -> None:
    pairs = blended(POOLS, [1, 1], 12, view=PairView()).batch(range(12), 0)
    assert len(pairs.first) == len(pairs.second) == len(pairs.person_B) == 12
    assert not (pairs.first.signal_BNV == pairs.second.signal_BNV).all(-1).all(-1).any()
    view = MaskedView(mask=MaskConfig(ratio=0.5), fewest=4)
    masked = blended(POOLS, [1, 1], 12, view=view).batch([0, 5], 0)
    assert masked.mask.visible_BK.shape == (2, 2)
    assert len(masked) == 2


def test_held_out_people_are_the_same_in_all_cohorts() -> None:
    held = held_out_people(POOLS, 0.34, seed=0)
    assert held == held_out_people(list(reversed(POOLS)), 0.34, seed=0)
    for pool in POOLS:
        train, out = parted(pool, held)
        assert len(train) + len(out) == len(pool)
        assert not set(train.people) & set(out.people)
        assert len(train)
        assert len(out)
    seeds = [held_out_people(POOLS[1:], 0.25, seed=seed) for seed in range(20)]
    assert all(len(held) == 1 for held in seeds)
    assert len(set().union(*seeds)) > 2


def test_cohorts_that_do_not_fit_are_refused(cache: Cache) -> None:
    tubelets = Pool(name="c", runs=[cubes(cache.run(0), SPEC)], people=np.array(["x"], dtype=object))
    require_alike(POOLS)
    with pytest.raises(ParameterError, match="tokens of c must be as those of a"):
        require_alike([POOLS[0], tubelets])
    with pytest.raises(ParameterError, match="two or more, got 1"):
        held_out_people([tubelets], 0.5, seed=0)
    with pytest.raises(ParameterError, match="over 0 and at most"):
        held_out_people(POOLS, 0.0, seed=0)
    with pytest.raises(ParameterError, match="at least one run"):
        require_alike([made_pool("empty", [])])


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ParameterError, match="weights must be"):
        blended(POOLS, weights, 4)


def test_candidate_blends() -> None:
    assert candidate_blends([10, 30]) == {"by size": (0.25, 0.75), "equal": (0.5, 0.5)}
    three = candidate_blends([10, 10, 20])
    assert set(three) == {"by size", "equal", "half from cohort 1", "half from cohort 2"}
    assert three["half from cohort 1"] == (0.5, 0.25, 0.25)
    assert all(abs(sum(weights) - 1) < 1e-12 for weights in three.values())
