"""Names, sharing, capabilities and fingerprints, on models that need no weights."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from data.errors import ParameterError, UnknownNameError
from vision.backbones import Backbone, known_models, load_backbone, registry
from vision.backbones.registry import resolve_device
from vision.backbones.timm_vit import build_timm

TINY = "scratch:vit_tiny_patch16_224/embed_dim=32,depth=2,num_heads=4,img_size=32"


def load(name: str = TINY, **options: object) -> Backbone:
    return load_backbone(name, device="cpu", **options)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_scratch_vit_keeps_the_contract() -> None:
    backbone = load()
    assert backbone.name == TINY
    assert (backbone.embed_dim, backbone.output_dim, backbone.feature_dim) == (32, 32, 32)
    assert (backbone.patch_size, backbone.image_size, backbone.num_heads) == ((16, 16), (32, 32), 4)
    assert (backbone.has_text, backbone.has_tokens, backbone.training) == (False, True, False)
    assert (backbone.device.type, backbone.dtype) == ("cpu", torch.float32)
    assert backbone.prefix_1PD.shape == (1, 1, 32)
    assert backbone.picture_positions((3, 5)).shape == (1, 15, 32)
    vectors_BE = backbone.encode_image(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(vectors_BE.norm(dim=1), torch.ones(2))


def test_scratch_is_private_seeded_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = load(seed=1), load(seed=1), load(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert first is not second
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_what_a_model_cannot_do_is_one_clear_error() -> None:
    with pytest.raises(ParameterError, match="must be one with a text half"):
        load().encode_text(["a cat"])
    pictures_only = load("scratch:resnet18")
    assert not pictures_only.has_tokens
    assert pictures_only.patch_size is None
    assert pictures_only.embed_dim == pictures_only.output_dim == 512
    assert pictures_only.image_features(torch.randn(1, 3, 64, 64)).shape == (1, 512)
    for use in (
        lambda: pictures_only.embed(torch.zeros(1, 2, 512)),
        lambda: pictures_only.prefix_1PD,
        lambda: pictures_only.patch_kernel,
        lambda: pictures_only.picture_positions((2, 2)),
    ):
        with pytest.raises(ParameterError, match="must be one with a Transformer trunk"):
            use()


@pytest.mark.parametrize(
    "arch", ["swin_tiny_patch4_window7_224", "vit_base_r50_s16_224", "eva02_tiny_patch14_224"]
)
def test_transformers_of_another_build_are_pictures_only(arch: str) -> None:
    with torch.device("meta"):
        import timm

        model = timm.create_model(arch)
    from vision.backbones.timm_vit import TimmTrunk

    assert not TimmTrunk.supports(model)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("scratch:vit_tiny_patch16_225", "vit_tiny_patch16_224"),
        ("scrach:vit_tiny_patch16_224", "one of the kinds embedded, clip, timm, local, scratch"),
        ("embeded:lite", "did you mean embedded:lite"),
        ("ViT-B-32/openai", "clip:ViT-B-32/openai"),
        ("vit_small_patch14_dinov2", "timm:vit_small_patch14_dinov2.lvd142m"),
        ("scratch:", "KIND:MODEL"),
    ],
)
def test_unknown_names_offer_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        load(name)


@pytest.mark.parametrize("options", ["embed_dim", "=3", "embed_dim=", "em bed=3"])
def test_malformed_options_are_refused(options: str) -> None:
    with pytest.raises(ParameterError, match="key=value"):
        load(f"scratch:vit_tiny_patch16_224/{options}")


@pytest.mark.parametrize("options", ["no_such_argument=3", "embed_dim=33,num_heads=4"])
def test_arguments_that_the_architecture_does_not_take(options: str) -> None:
    with pytest.raises(ParameterError, match="architecture vit_tiny_patch16_224"):
        load(f"scratch:vit_tiny_patch16_224/{options}")


def test_options_are_typed() -> None:
    assert registry.parse_options("a=3,b=0.5,c=true,d=avg,e=1e-3") == {
        "a": 3,
        "b": 0.5,
        "c": True,
        "d": "avg",
        "e": 0.001,
    }


def test_the_catalogue_names_what_can_be_loaded() -> None:
    models = {model.name: model for model in known_models()}
    assert len(models) > 400
    assert not models["embedded:lite"].needs_hub
    assert "needs no hub" in str(models["embedded:lite"])
    clip = models["clip:ViT-B-32/laion2b_s34b_b79k"]
    assert (clip.has_text, clip.has_tokens, clip.output_dim) == (True, True, 512)
    assert not models["timm:vit_small_patch14_dinov2.lvd142m"].has_text
    assert {name.partition(":")[0] for name in models} <= set(registry.LOADERS)


def test_one_instance_is_shared_between_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(rest: str, seed: int) -> Backbone:
        built.append(rest)
        return build_timm({"arch": rest, "args": {"depth": 1}}, name=f"fake:{rest}")

    monkeypatch.setitem(registry.LOADERS, "fake", build)
    monkeypatch.setattr(registry, "_shared", {})
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load("fake:vit_tiny_patch16_224"), range(8)))
    assert built == ["vit_tiny_patch16_224"]
    assert all(backbone is loaded[0] for backbone in loaded)
    half = load("fake:vit_tiny_patch16_224", dtype="bfloat16")
    assert half is not loaded[0]
    assert half.dtype == torch.bfloat16
    private = load("fake:vit_tiny_patch16_224", shared=False)
    assert private is not loaded[0]
    assert len(built) == 3


def test_devices_and_types_that_do_not_exist() -> None:
    with pytest.raises(ParameterError, match="device must be"):
        load_backbone(TINY, device="warp")
    with pytest.raises(ParameterError, match="dtype must be"):
        load_backbone(TINY, dtype="float3")


def test_half_precision_hardly_turns_the_vectors() -> None:
    pixels_BCHW = torch.randn(4, 3, 32, 32)
    full, half = load().encode_image(pixels_BCHW), load(dtype="bfloat16").encode_image(pixels_BCHW)
    assert half.dtype == torch.float32
    assert (full * half).sum(1).min() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(resolve_device("auto").type == "cpu", reason="no CUDA or MPS device")
@pytest.mark.parametrize("name", [TINY, "scratch:resnet18", "embedded:lite"])
def test_an_accelerator_gives_the_same_vectors(name: str) -> None:
    here = load_backbone(name, device="cpu", shared=False)
    there = load_backbone(name, device="auto", shared=False)
    pixels_BCHW = torch.randn(2, 3, *here.image_size)
    assert (here.encode_image(pixels_BCHW) * there.encode_image(pixels_BCHW).cpu()).sum(1).min() > 0.9999
    if here.has_text:
        assert (here.encode_text(["a cat"]) * there.encode_text(["a cat"]).cpu()).sum() > 0.9999
    assert here.fingerprint == there.fingerprint


def test_fingerprint_tells_weights_architecture_and_preprocessing_apart() -> None:
    one = load(seed=1)
    assert one.fingerprint == load(seed=1).fingerprint
    assert one.fingerprint == load(seed=1, dtype="float32").fingerprint
    others = [
        load(seed=2),
        load(TINY + ",qk_norm=true", seed=1),
        load(TINY.replace("patch16_224", "patch16_384"), seed=1),
    ]
    assert len({one.fingerprint, *(o.fingerprint for o in others)}) == 4


def test_fingerprint_follows_training() -> None:
    backbone = load()
    before = backbone.fingerprint
    optimizer = torch.optim.AdamW(backbone.parameters())
    backbone.embed(torch.randn(1, 3, 32)).sum().backward()
    assert backbone.fingerprint == before
    optimizer.step()
    assert backbone.fingerprint != before


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    backbone = load()
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin.embed(torch.randn(1, 3, 32)).abs().sum() == 0
    assert backbone.embed(torch.randn(1, 3, 32)).abs().sum() > 0
