"""Cells of a plan, and shares of people: nested, whole, in proportion."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.scaling.grid import ScalingPlan, Size
from neuro.scaling.parameters import encoder_params
from neuro.scaling.people_share import people_share
from vision.backbones import load_backbone

TINY = ScalingPlan(
    sizes=(Size(width=64, depth=1), Size(width=32, depth=1), Size(width=32, depth=2)),
    shares=(1.0, 0.25, 0.5),
    seeds=(0, 1),
)


def test_cells_are_the_whole_grid_small_before_large() -> None:
    cells = TINY.cells()
    assert len(cells) == len({cell.name for cell in cells}) == 18
    assert {(c.size, c.share, c.seed) for c in cells} == {
        (size, share, seed) for size in TINY.sizes for share in TINY.shares for seed in TINY.seeds
    }
    cost = [c.size.width**2 * c.size.depth * c.share for c in cells]
    assert cost == sorted(cost)
    assert {c.passes for c in cells} == {TINY.passes}


def test_a_cell_names_a_model_that_takes_tokens() -> None:
    sizes = []
    for size in sorted({cell.size for cell in TINY.cells()}):
        backbone = load_backbone(size.backbone, device="cpu")
        assert backbone.has_tokens
        assert backbone.embed_dim == size.width
        sizes.append(encoder_params(backbone))
    # A block has 12 width^2 weights.
    assert sizes == [
        pytest.approx(12 * width**2 * depth, rel=0.08) for width, depth in ((32, 1), (32, 2), (64, 1))
    ]


def test_width_is_made_of_whole_heads() -> None:
    assert Size(width=96, depth=4).backbone == (
        "scratch:vit_tiny_patch16_224/embed_dim=96,depth=4,num_heads=3"
    )


def test_identity_is_of_what_is_trained() -> None:
    assert ScalingPlan(budget=1e12, reach=3).identity == ScalingPlan().identity
    assert ScalingPlan(shares=(1.0, 0.5, 0.25, 0.125)).identity == ScalingPlan().identity
    others = [ScalingPlan(passes=2), ScalingPlan(seeds=(0, 1)), TINY]
    assert len({plan.identity for plan in [*others, ScalingPlan()]}) == 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sizes": TINY.sizes[:2]}, "sizes"),
        ({"sizes": (TINY.sizes[0],) * 3}, "sizes"),
        ({"shares": (0.5, 1.0)}, "shares"),
        ({"shares": (0.5, 1.0, 0.5)}, "shares"),
        ({"shares": (0.0, 0.5, 1.0)}, "shares"),
        ({"shares": (0.1, 0.5, 1.1)}, "shares"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"passes": 0}, "passes"),
        ({"budget": -1.0}, "budget"),
        ({"reach": 1.0}, "reach"),
    ],
)
def test_plans_that_tell_nothing_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        ScalingPlan(**changed)


@pytest.mark.parametrize("changed", [{"width": 0}, {"width": 48}, {"depth": 0}])
def test_sizes_that_cannot_be_built_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match=next(iter(changed))):
        Size(**{"width": 32, "depth": 1, **changed})


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 15), min_size=1, max_size=50),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    seed=st.integers(0, 1000),
)
def test_shares_are_nested_whole_and_of_their_size(
    groups: list[int], shares: tuple[float, float], seed: int
) -> None:
    strata = [person % 3 for person in groups]
    small, large = (people_share(groups, share, seed=seed, strata=strata) for share in sorted(shares))
    assert not np.any(small & ~large)
    for share, taken in zip(sorted(shares), (small, large), strict=True):
        inside = {g for g, t in zip(groups, taken, strict=True) if t}
        assert not inside & {g for g, t in zip(groups, taken, strict=True) if not t}
        assert len(inside) in (
            math.ceil(share * len(set(groups))),
            math.ceil(round(share * len(set(groups)), 9)),
        )


def test_the_order_of_runs_changes_nobodys_place() -> None:
    groups = [f"p{i % 20}" for i in range(40)]
    turned = groups[::-1]
    here, there = people_share(groups, 0.3, seed=2), people_share(turned, 0.3, seed=2)
    assert {g for g, t in zip(groups, here, strict=True) if t} == {
        g for g, t in zip(turned, there, strict=True) if t
    }


def test_other_seeds_take_other_people_and_a_tenth_of_thirty_is_three() -> None:
    people = np.arange(30)
    taken = [people_share(people, 0.1, seed=seed) for seed in (0, 1)]
    assert [t.sum() for t in taken] == [3, 3]
    assert people_share(people, 0.1 * 3, seed=0).sum() == 9
    assert (taken[0] != taken[1]).any()
    assert people_share(people, 1.0).all()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_strata_stay_in_proportion(share: float) -> None:
    sites = np.array(["A"] * 40 + ["B"] * 20 + ["C"] * 8)
    taken = people_share(np.arange(68), share, seed=4, strata=sites)
    counts = Counter(sites[taken].tolist())
    assert [counts[s] for s in "ABC"] == [pytest.approx(share * n, abs=1) for n in (40, 20, 8)]


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ParameterError, match="share of people"):
        people_share([1, 2], share)


def test_runs_of_nobody_are_refused() -> None:
    with pytest.raises(ParameterError, match="groups"):
        people_share(["a", None], 0.5)
    with pytest.raises(ParameterError, match="one length"):
        people_share(["a", "b"], 0.5, strata=["x"])
