"""Picture towers in 8-bit integers: how near they stay, what is kept of them, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import BadFileError, MissingDependencyError, ParameterError
from data.photo_walk import walk_photos
from data.photos import load_photo
from vision.backbones import Backbone, load_backbone
from vision.backbones.open_clip_build import build_open_clip
from vision.optimize import int8
from vision.optimize.convolutions import linears_to_convolutions
from vision.optimize.int8 import Int8Embedder, converted, load_int8, piece_sizes, quantize

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")

# A CPU that computes in bfloat16 would otherwise do so.
FULL_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "head_width": 16}


def build(seed: int = 1) -> Backbone:
    config = {"embed_dim": 64, "vision_cfg": VISION, "text_cfg": TEXT, "quick_gelu": False}
    return build_open_clip({"model_cfg": config}, name="clip:tiny", preprocess={}, weights=None, seed=seed)


def noise(backbone: Backbone, count: int = 8) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, *backbone.image_size), dtype=np.uint8) for _ in range(count)]


def cosines(embedder: Int8Embedder, pictures: list[np.ndarray[Any, Any]]) -> torch.Tensor:
    pixels_BCHW = embedder.preprocess.normalise(torch.from_numpy(np.stack(pictures)))
    vectors_BE = embedder.encode_image(pixels_BCHW)
    assert vectors_BE.dtype == torch.float32
    torch.testing.assert_close(vectors_BE.norm(dim=1), torch.ones(len(pictures)), atol=1e-4, rtol=0)
    return (vectors_BE * embedder.backbone.encode_image(pixels_BCHW)).sum(1)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHIASM_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build()


@pytest.fixture(scope="module")
def tiny(backbone: Backbone, own_cache: Path) -> Int8Embedder:
    return quantize(backbone, noise(backbone))


def test_it_stays_near_and_says_that_it_is_another(tiny: Int8Embedder, backbone: Backbone) -> None:
    assert cosines(tiny, noise(backbone, 20)).min() >= 0.995
    assert tiny.fingerprint.startswith(f"{backbone.fingerprint}+int8-")
    assert (tiny.name, tiny.output_dim, tiny.has_text) == (backbone.name, 64, True)
    assert torch.equal(tiny.encode_text(["a cat"]), backbone.encode_text(["a cat"]))


def test_any_batch_gives_the_same_vectors(tiny: Int8Embedder, backbone: Backbone) -> None:
    pixels_BCHW = backbone.preprocess.normalise(torch.from_numpy(np.stack(noise(backbone, 7))))
    whole_BE = tiny.encode_image(pixels_BCHW)
    singly_BE = torch.cat([tiny.encode_image(pixels_BCHW[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(singly_BE, whole_BE, atol=1e-5, rtol=0)
    kept_BE = whole_BE.clone()
    tiny.encode_image(pixels_BCHW.flip(0))  # results do not lie in memory that the next batch takes
    assert torch.equal(whole_BE, kept_BE)
    assert tiny.encode_image(pixels_BCHW[:0]).shape == (0, 64)


@given(st.integers(0, 300))
def test_a_batch_is_the_sum_of_its_pieces(count: int) -> None:
    assert sum(piece_sizes(count)) == count
    assert set(piece_sizes(count)) <= set(int8.PIECES)


def test_pixels_of_another_size_are_refused(tiny: Int8Embedder) -> None:
    with pytest.raises(ParameterError, match="pixels must be of shape"):
        tiny.encode_image(torch.zeros(1, 3, 64, 64))


def test_weights_are_integers(tiny: Int8Embedder, backbone: Backbone) -> None:
    model = openvino.Core().read_model(int8._folder(backbone) / int8.GRAPH)
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    eight_bit = sum(op.data.size for op in constants if op.get_element_type() == openvino.Type.i8)
    assert eight_bit >= 12 * 64 * 64  # what a block of this width has


def test_what_was_kept_is_read_back(tiny: Int8Embedder, backbone: Backbone) -> None:
    again = load_int8(backbone)
    assert again is not None
    assert again.fingerprint == tiny.fingerprint
    pixels_BCHW = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(again.encode_image(pixels_BCHW), tiny.encode_image(pixels_BCHW))


def test_other_weights_have_none(tiny: Int8Embedder) -> None:
    assert load_int8(build(seed=2)) is None


@pytest.mark.parametrize("name", ["record.json", "model.xml", "model.bin"])
def test_damaged_files_are_passed_over(tiny: Int8Embedder, backbone: Backbone, name: str) -> None:
    path = int8._folder(backbone) / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    for damaged in (bytes(changed), content[:-3]):
        path.write_bytes(damaged)
        assert load_int8(backbone) is None
    path.write_bytes(content)
    assert load_int8(backbone) is not None


def test_another_version_of_the_recipe_is_passed_over(
    tiny: Int8Embedder, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "FORMAT", int8.FORMAT + 1)
    assert load_int8(backbone) is None


def test_linear_layers_and_convolutions_give_the_same(tiny: Int8Embedder, backbone: Backbone) -> None:
    core = openvino.Core()
    models = [core.read_model(int8._folder(backbone) / int8.GRAPH) for _ in range(2)]
    assert linears_to_convolutions(models[1]) >= 4
    kinds = {op.get_type_name() for op in models[1].get_ops()}
    assert "Convolution" in kinds
    # With 7-bit weights sums of two products fit 16 bits, so that all kernels agree.
    pixels_BCHW = np.random.default_rng(1).standard_normal((5, 3, 32, 32), dtype=np.float32)
    plain_BE, changed_BE = (
        core.compile_model(model, "CPU", FULL_PRECISION)([pixels_BCHW])[0] for model in models
    )
    assert (plain_BE * changed_BE).sum(1).min() >= 0.9999


def test_the_unquantised_graph_gives_the_backbones_vectors(backbone: Backbone) -> None:
    pixels_BCHW = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = openvino.Core().compile_model(converted(backbone), "CPU", FULL_PRECISION)
    vectors_BE = model([pixels_BCHW.numpy()])[0]
    assert np.abs(vectors_BE - backbone.encode_image(pixels_BCHW).numpy()).max() <= 1e-5


def test_towers_with_attention_are_told_from_others(backbone: Backbone) -> None:
    assert int8._has_attention(backbone)
    assert not int8._has_attention(load_backbone("scratch:test_resnet", device="cpu"))


def test_nothing_to_calibrate_on(backbone: Backbone) -> None:
    with pytest.raises(ParameterError, match="at least one, got none"):
        quantize(backbone, [])


def test_a_place_that_cannot_be_written(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHIASM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(int8, "_quantised", lambda model, *_: model)
    with pytest.raises(BadFileError, match="cache folder must be writable"):
        quantize(backbone, noise(backbone))


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_an_absent_package_is_named(
    backbone: Backbone, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingDependencyError, match=r"pip install 'chiasm\[cpu\]'") as refused:
        quantize(backbone, noise(backbone))
    assert package in str(refused.value)


def test_neither_openvino_nor_nncf_is_imported_before_it_is_needed() -> None:
    program = "import sys, vision.optimize.int8; print({'openvino', 'nncf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["embedded:lite", "scratch:vit_tiny_patch16_224"])
def test_real_photographs(name: str, shared_data: Path) -> None:
    backbone = load_backbone(name, device="cpu", shared=False)
    paths = list(walk_photos([shared_data / "photos"]))[:64]
    pictures = [backbone.preprocess.pixels(load_photo(path).pixels_HWC) for path in paths]
    embedder = quantize(backbone, pictures[:32])
    found = cosines(embedder, pictures[32:])
    if name == "embedded:lite":
        # Its vectors jump where another class comes among the ten that it names: a few lie further off.
        assert found.median() >= 0.99
    else:
        assert found.min() >= 0.995
