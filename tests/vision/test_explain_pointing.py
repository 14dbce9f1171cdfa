"""Maps point at what is asked for, and that comes from what the weights have learned.

On two photographs, or two coloured shapes, in the halves of a square: more of the heat must lie in the half
that is named. `python -m benchmarks.pointing` has all figures.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks import coloured_shapes as shapes
from benchmarks.photographs import subjects
from benchmarks.pointing_cases import (
    Axis,
    Fit,
    alike,
    canvas,
    cascade,
    lite_stages,
    pairs,
    pointed,
)
from data.photos import load_photo
from vision.backbones import Backbone, load_backbone
from vision.explain import explain, methods_for
from vision.explain.methods import METHODS
from vision.store.recall import wilson

Case = tuple[np.ndarray, np.ndarray, int, Axis]  # canvas (H, W, 3), text (E,), the half that is named, axis


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return load_backbone("embedded:lite", device="cpu")


def photo_cases(backbone: Backbone, folder: Path, fit: Fit, axis: Axis, count: int) -> list[Case]:
    """Both subjects of so many pairs, the first of those that benchmarks.pointing chose nothing on."""
    drawn = pairs(subjects(folder))
    cases: list[Case] = []
    for pair in drawn[len(drawn) // 2 :][:count]:
        picture_HWC = canvas(*(load_photo(subject.path).image for subject in pair), fit, axis)
        texts_E = backbone.encode_text([subject.text for subject in pair]).numpy()
        cases += [(picture_HWC, text_E, half, axis) for half, text_E in enumerate(texts_E)]
    return cases


def shape_cases(backbone: Backbone, count: int = 60) -> list[Case]:
    rng = np.random.default_rng(5)
    texts_E = backbone.encode_text(shapes.CAPTIONS).numpy()
    cases: list[Case] = []
    for number in range(count):
        axis: Axis = "top-bottom" if number % 2 else "left-right"
        things = shapes.unlike(rng)
        picture_HWC = shapes.two_things(rng, things, axis)
        cases += [(picture_HWC, texts_E[thing], half, axis) for half, thing in enumerate(things)]
    return cases


def shares(backbone: Backbone, cases: list[Case], method: str | None = None) -> tuple[float, float]:
    """Of maps with more heat in the right half, and of maps with their hottest cell there."""
    hits = [
        pointed(explain(backbone, picture_HWC, text_E, method=method).map_RC, half, axis)
        for picture_HWC, text_E, half, axis in cases
    ]
    return sum(hit.mass for hit in hits) / len(hits), sum(hit.hottest for hit in hits) / len(hits)


def is_chance(share: float, count: int) -> bool:
    """Within what coins give but for one in a thousand times."""
    low, high = binom.interval(0.999, count, 0.5)
    return bool(low <= round(share * count) <= high)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("axis", ["left-right", "top-bottom"])
@pytest.mark.parametrize("fit", ["letterbox", "crop"])
def test_photographs_are_pointed_at(lite: Backbone, shared_data: Path, fit: Fit, axis: Axis) -> None:
    cases = photo_cases(lite, shared_data / "photos", fit, axis, count=63)
    mass, hottest = shares(lite, cases)
    print(f"{fit}, {axis}: more heat {mass:.3f}, hottest {hottest:.3f} of {len(cases)}")
    assert len(cases) == 126
    assert mass >= 0.85


@pytest.mark.slow
@pytest.mark.shared
def test_shuffled_weights_leave_nothing_of_the_maps(shared_data: Path) -> None:
    """Adebayo et al. 2018: from the top down, to the bottom; three shuffles, as one may lean by luck."""
    kept: dict[int, list[float]] = {1: [], 3: [], 10: []}
    hits: dict[int, list[bool]] = {1: [], 3: [], 10: []}
    for seed in range(3):
        backbone = load_backbone("embedded:lite", device="cpu", shared=False)
        cases = photo_cases(backbone, shared_data / "photos", "crop", "left-right", count=30)[seed::3]
        true = [explain(backbone, picture_HWC, text_E).map_RC for picture_HWC, text_E, *_ in cases]
        for stages in cascade(lite_stages(backbone.classifier), seed):  # type: ignore[attr-defined]
            if stages in kept:
                for (picture_HWC, text_E, half, axis), true_RC in zip(cases, true, strict=True):
                    map_RC = explain(backbone, picture_HWC, text_E).map_RC
                    kept[stages].append(alike(map_RC, true_RC))
                    hits[stages].append(pointed(map_RC, half, axis).mass)
    for stages, correlations in kept.items():
        mass = float(np.mean(hits[stages]))
        print(f"{stages} stages: rank correlation {np.mean(correlations):.2f}, more heat {mass:.3f}")
        assert len(correlations) == 60
        assert abs(np.mean(correlations)) < 0.25
        assert is_chance(mass, len(hits[stages]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_transformer_that_has_learned_shapes_points_at_them() -> None:
    backbone = shapes.trained("class token")
    cases = shape_cases(backbone)
    methods = methods_for(backbone)
    found = {method: shares(backbone, cases, method)[0] for method in methods}
    print("trained", {method: round(mass, 3) for method, mass in found.items()})
    learned = copy.deepcopy(backbone.model.visual.state_dict())
    right = dict.fromkeys(methods, 0.0)
    for seed in range(12):  # one shuffle may lean to one colour
        backbone.model.visual.load_state_dict(learned)
        list(cascade([backbone.model.visual], seed))
        for method in methods:
            right[method] += shares(backbone, cases[10 * seed : 10 * seed + 10], method)[0] / 12
    print("shuffled", {method: round(mass, 3) for method, mass in right.items()})
    assert found[methods[0]] >= 0.95
    # Above 0.9 where this was written; a training goes a little differently on another processor.
    assert found["grad-eclip"] >= 0.85
    assert found["attention-gradient"] >= 0.85
    assert all(is_chance(mass, len(cases)) for mass in right.values())


def test_a_mirrored_photograph_has_a_mirrored_map(lite: Backbone) -> None:
    """Nearly: strides of two look at even columns from one side, and at odd ones from the other."""
    import skimage

    photo_HWC = load_photo(Path(skimage.__file__).parent / "data/chelsea.png").pixels_HWC
    text_E = lite.encode_text(["a photo of a cat"])[0].numpy()
    whole_RC = explain(lite, photo_HWC, text_E).map_RC
    mirrored_RC = explain(lite, np.ascontiguousarray(photo_HWC[:, ::-1]), text_E).map_RC
    assert np.corrcoef(whole_RC.ravel(), mirrored_RC[:, ::-1].ravel())[0, 1] > 0.8
    assert np.corrcoef(whole_RC.ravel(), mirrored_RC.ravel())[0, 1] < 0.8


def test_the_evidence_of_lite_is_that_of_a_plain_loop(lite: Backbone, rng: np.random.Generator) -> None:
    from vision.backbones.embedded_lite import NEAR

    maps_BFRC = torch.from_numpy(rng.random((2, 1280, 3, 3), dtype=np.float32))
    target_E = torch.from_numpy(rng.standard_normal(384).astype(np.float32))
    got_B = lite.evidence(maps_BFRC, target_E / target_E.norm())
    logits_BY = lite.classifier.forward_head(maps_BFRC)  # type: ignore[attr-defined]
    for got, logits_Y in zip(got_B, logits_BY.double(), strict=True):
        total = 0.0
        for logit, vector_E in zip(logits_Y, lite.class_vectors.double(), strict=True):  # type: ignore[attr-defined]
            total += np.exp(float(logit) + float(vector_E @ target_E.double() / target_E.norm()) / NEAR)
        assert float(got) == pytest.approx(np.log(total) - float(logits_Y.mean()), abs=1e-3)


def test_the_game_itself() -> None:
    left = np.array(
        [[1.0, 0.0, 0.2], [0.1, 5.0, 0.2]], np.float32
    )  # the middle column belongs to neither half
    assert pointed(left, 0, "left-right").mass
    assert not pointed(left, 1, "left-right").mass
    assert not pointed(left, 0, "left-right").hottest
    assert not pointed(left, 1, "left-right").hottest
    assert pointed(left, 1, "top-bottom").hottest
    assert not pointed(np.zeros((2, 2), np.float32), 0, "left-right").mass
    assert alike(left, 2 * left + 1) == pytest.approx(1)
    assert alike(left, -left) == pytest.approx(-1)
    assert alike(left, np.ones_like(left)) == 0
    low, high = wilson([1.0] * 8 + [0.0] * 2, 1)  # the textbook's
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_every_method_that_is_named_is_played() -> None:
    named = {name for pooling in shapes.TOWERS for name in methods_for(shapes.untrained(pooling))}
    assert named | {"grad-cam"} == set(METHODS)
