"""What `explain` promises of every method on every kind of tower, and its numbers against slow twins."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import ParameterError, UnknownNameError
from tests.vision.test_backbone_open_clip import TOWERS, VISION, build
from vision.backbones import Backbone, load_backbone
from vision.backbones.attention_calls import AttentionCall
from vision.explain import METHODS, explain, methods_for
from vision.explain.grad_cam import grad_cam
from vision.explain.recording import SCALE, record

CASCADE = VISION | {"attentional_pool": "cascade", "attn_pooler_heads": 4, "attn_pooler_queries": 4}
PARALLEL = CASCADE | {"attentional_pool": "parallel"}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}


def timm_tower(model: str, size: int, pool: str = "", proj: str = "linear") -> dict[str, Any]:
    return {"timm_model_name": model, "timm_pool": pool, "timm_proj": proj, "image_size": size}


TRANSFORMERS = {
    **{f"clip {name}": (lambda name=name: build(TOWERS[name])) for name in TOWERS if name != "resnet"},
    "clip cascade": lambda: build(CASCADE),
    "clip parallel": lambda: build(PARALLEL),
    "clip EVA": lambda: build(timm_tower("eva02_tiny_patch14_224", 224)),
    "timm average": lambda: load_backbone("scratch:test_vit/global_pool=avg", device="cpu", seed=3),
    "timm map": lambda: load_backbone("scratch:test_vit/global_pool=map", device="cpu", seed=3),
}
CONVOLUTIONS = {
    "clip resnet": lambda: build(RESNET),
    "clip convnext": lambda: build(timm_tower("convnext_atto", 224)),
    "clip rotary pooling": lambda: build(timm_tower("resnet18", 224, pool="rot_attn", proj="")),
    "clip swin": lambda: build(timm_tower("swin_tiny_patch4_window7_224", 224)),
    "timm": lambda: load_backbone("scratch:convnext_atto", device="cpu", seed=3),
}
MODELS = TRANSFORMERS | CONVOLUTIONS


def picture(seed: int = 0, height: int = 90, width: int = 140) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def target(backbone: Backbone, seed: int = 1) -> np.ndarray:
    vector_E = np.random.default_rng(seed).standard_normal(backbone.output_dim)
    return (vector_E / np.linalg.norm(vector_E)).astype(np.float32)


def tensors() -> int:
    """How many there are in this process."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def normalised(backbone: Backbone, picture_HWC: np.ndarray) -> torch.Tensor:
    return backbone.preprocess.normalise(torch.from_numpy(backbone.preprocess.pixels(picture_HWC)))[None]


@pytest.mark.parametrize("name", MODELS)
def test_every_method_keeps_its_promises(name: str) -> None:
    """Form, range, exact cosine, no gradient and no graph left; only the direction of the target counts."""
    backbone = MODELS[name]()
    expected = ("grad-cam",) if name in CONVOLUTIONS else tuple(METHODS)[:-1]
    assert methods_for(backbone) == expected
    target_E = target(backbone)
    cosine = float(backbone.encode_image(normalised(backbone, picture()))[0] @ torch.from_numpy(target_E))
    trained = [p.requires_grad for p in backbone.parameters()]
    for method in expected:
        found = explain(backbone, picture(), target_E, method=method)
        assert found.map_RC.dtype == np.float32
        assert found.map_RC.min() >= 0
        assert found.map_RC.max() in (0, 1)
        assert found.method == method
        assert found.score == pytest.approx(cosine, abs=1e-5)
        assert found.box == backbone.preprocess.seen_box(90, 140)
        louder = explain(backbone, picture(), 1000 * target_E.astype(np.float64), method=method)
        np.testing.assert_allclose(louder.map_RC, found.map_RC, atol=1e-4)
    assert explain(backbone, picture(), target_E).method == expected[0]
    assert all(p.grad is None for p in backbone.parameters())
    assert [p.requires_grad for p in backbone.parameters()] == trained
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules())


@pytest.mark.parametrize(
    "name", ["clip class token", "clip attention pooling", "clip resnet", "timm average"]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same_map(name: str, dtype: torch.dtype) -> None:
    full, half = MODELS[name](), MODELS[name]().to(dtype)
    for method in methods_for(full):
        one = explain(full, picture(), target(full), method=method).map_RC
        other = explain(half, picture(), target(full), method=method).map_RC
        assert other.dtype == np.float32
        assert np.abs(one - other).max() < (0.05 if dtype == torch.float16 else 0.35), method


def test_frozen_weights_give_the_same_map() -> None:
    backbone, frozen = build(VISION), build(VISION).requires_grad_(False)
    for method in methods_for(backbone):
        one = explain(backbone, picture(), target(backbone), method=method)
        other = explain(frozen, picture(), target(backbone), method=method)
        np.testing.assert_allclose(one.map_RC, other.map_RC, atol=1e-5)


def test_it_works_whatever_gradients_are_set_to() -> None:
    backbone = build(VISION)
    expected = explain(backbone, picture(), target(backbone)).map_RC
    with torch.no_grad():
        np.testing.assert_allclose(explain(backbone, picture(), target(backbone)).map_RC, expected, atol=1e-6)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        np.testing.assert_allclose(explain(backbone, picture(), target(backbone)).map_RC, expected, atol=1e-6)


def test_no_graph_outlives_the_call() -> None:
    backbone = build(VISION)
    explain(backbone, picture(), target(backbone))
    before = tensors()
    for _ in range(3):
        for method in methods_for(backbone):
            explain(backbone, picture(), target(backbone), method=method)
    assert tensors() == before


@pytest.mark.parametrize("name", ["clip class token", "clip resnet"])
def test_one_model_explains_and_embeds_in_many_threads(name: str) -> None:
    backbone = MODELS[name]()
    pixels_BCHW = normalised(backbone, picture())
    expected_BE = backbone.encode_image(pixels_BCHW)
    maps = [explain(backbone, picture(n), target(backbone)).map_RC for n in range(4)]
    start = threading.Barrier(8)

    def embed(_: int) -> bool:
        start.wait()
        return all(torch.equal(backbone.encode_image(pixels_BCHW), expected_BE) for _ in range(20))

    def explained(n: int) -> bool:
        start.wait()
        found = [explain(backbone, picture(n), target(backbone)).map_RC for _ in range(10)]
        return all(np.allclose(one, maps[n], atol=1e-6) for one in found)

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(embed, n) for n in range(4)] + [pool.submit(explained, n) for n in range(4)]
        assert all(future.result() for future in done)
    assert all(p.grad is None for p in backbone.parameters())


def test_bad_input_is_one_clear_error() -> None:
    backbone = build(VISION)
    good = target(backbone)
    with pytest.raises(UnknownNameError, match=r"one that clip:tiny has, of .*grad-eclip.*got 'grad-cam'"):
        explain(backbone, picture(), good, method="grad-cam")
    for bad in (good[:-1], good * 0, np.full_like(good, np.nan), good[None]):
        with pytest.raises(ParameterError, match="target must be 64 finite numbers, not all 0"):
            explain(backbone, picture(), bad)
    for wrong in (picture().astype(np.float32), picture()[..., 0], picture()[:0]):
        with pytest.raises(ParameterError, match="picture must be"):
            explain(backbone, wrong, good)
    placeless = load_backbone("scratch:mixer_s32_224", device="cpu")
    assert methods_for(placeless) == ()
    with pytest.raises(ParameterError, match="must be a Vision Transformer or a convolutional one"):
        explain(placeless, picture(), target(placeless))
    unseen = load_backbone("scratch:cait_xxs24_224/depth=1", device="cpu")
    with pytest.raises(ParameterError, match="whose attention can be recorded, got scratch:cait"):
        explain(unseen, picture(), target(unseen))
    assert explain(unseen, picture(), target(unseen), method="patch-similarity").map_RC.shape == (14, 14)


def test_a_patch_alone_is_its_own_vector_in_any_pooling() -> None:
    """Repeated tokens against a tower whose tokens are all the same."""
    for name in (
        "clip class token",
        "clip average, norm after pooling",
        "clip attention pooling",
        "timm map",
    ):
        backbone = TRANSFORMERS[name]()
        with torch.no_grad():
            tokens_1TD = backbone.spatial(normalised(backbone, picture()))
            alone_1TD = tokens_1TD[:, -1:].expand_as(tokens_1TD)
            expected = float(backbone.pool(alone_1TD)[0] @ torch.from_numpy(target(backbone)))
            prefix = 1
            few_1TD = tokens_1TD[:, -1:].expand(-1, prefix + 1, -1)
            got = float(backbone.pool(few_1TD)[0] @ torch.from_numpy(target(backbone)))
        assert got == pytest.approx(expected, abs=1e-5)


def test_attribution_is_what_a_patch_less_attended_to_costs() -> None:
    """Against finite differences: all attention paid to a patch scaled by 1 - e, in all layers at once."""
    from vision.explain.attention import AttentionRecorder

    backbone = build(VISION).double()
    pixels_1CHW = normalised(backbone, picture())
    target_E = torch.from_numpy(target(backbone))

    class Dimmed(AttentionRecorder):
        def __init__(self, patch: int, factor: float) -> None:
            super().__init__()
            self.patch, self.factor = patch, factor

        def attend(self, call: AttentionCall) -> torch.Tensor:
            value_BHKD = call.value_BHKD.clone()
            value_BHKD[:, :, 1 + self.patch] *= self.factor
            return super().attend(replace(call, value_BHKD=value_BHKD))

    def score(patch: int, factor: float) -> float:
        with torch.no_grad(), Dimmed(patch, factor):
            return float(backbone.image_vectors(pixels_1CHW)[0].double() @ target_E.double())

    slopes = np.array([(score(n, 1 + 1e-2) - score(n, 1 - 1e-2)) / 2e-2 for n in range(4)])
    with torch.enable_grad():
        passed = record(backbone, pixels_1CHW, target_E)
        gradients = passed.gradients([layer.weights_BHQK for layer in passed.tower])
    sums = sum(
        (layer.weights_BHQK * gradient)[0].sum(dim=(0, 1))[1:].detach()
        for layer, gradient in zip(passed.tower, gradients, strict=True)
    )
    np.testing.assert_allclose((sums / SCALE).numpy(), slopes, atol=2e-3 * np.abs(slopes).max() + 1e-6)
    heat_RC = METHODS["attention-attribution"].heat(backbone, pixels_1CHW, target_E)[0]
    np.testing.assert_allclose(heat_RC.flatten() / SCALE, slopes.clip(min=0), atol=1e-4)


def test_grad_cam_weights_equal_finite_differences() -> None:
    """The weight of a map: what the cosine gains when all of it is raised, by central differences."""
    backbone = build(RESNET).double()
    pixels_1CHW = normalised(backbone, picture())
    target_E = torch.from_numpy(target(backbone)).double()
    with torch.no_grad():
        maps_1FRC = backbone.spatial(pixels_1CHW)
        places = maps_1FRC[0, 0].numel()

        def score(number: int, step: float) -> float:
            moved = maps_1FRC.clone()
            moved[0, number] += step
            # In doubles throughout, as `unit` gives single precision.
            pooled = backbone._pooled(moved)[0]
            return float(pooled @ target_E / pooled.norm())

        chosen = range(0, maps_1FRC.shape[1], 16)
        slopes = [(score(n, 1e-4) - score(n, -1e-4)) / 2e-4 / places for n in chosen]
    leaf = maps_1FRC.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(backbone.evidence(leaf, target_E.float())[0], leaf)
    np.testing.assert_allclose(
        gradient.mean(dim=(2, 3))[0][::16], slopes, atol=1e-5 * max(map(abs, slopes)) + 1e-8
    )
    whole = (gradient.mean(dim=(2, 3), keepdim=True) * maps_1FRC).sum(dim=1)[0].relu()
    heat_RC, _ = grad_cam(backbone, pixels_1CHW, target_E.float())
    np.testing.assert_allclose(heat_RC / SCALE, whole, atol=1e-5 * float(whole.max()) + 1e-9)
