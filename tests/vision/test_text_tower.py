"""Exported text towers against the models that they came from, and what is made of damaged ones."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.backbones import Backbone, load_backbone
from vision.backbones.open_clip_build import build_open_clip
from vision.optimize.clip_tokens import CLEANERS, ClipTokens
from vision.optimize.sealed_folder import RECORD
from vision.optimize.text_export import export_text_tower
from vision.optimize.text_layers import erf
from vision.optimize.text_tower import TOKENIZER, WEIGHTS, load_text_tower, tower_folder

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
TEXT: dict[str, Any] = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
COCA = TEXT | {"embed_cls": True, "output_tokens": True}
MULTIMODAL = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "CLIP": {"text_cfg": TEXT},
    "QuickGELU": {"text_cfg": TEXT, "quick_gelu": True},
    "tower of its own": {"text_cfg": TEXT, "custom_text": True},
    "not causal, eos, tanh GELU": {
        "text_cfg": TEXT
        | {
            "no_causal_mask": True,
            "pool_type": "eos",
            "eos_id": 49407,
            "act_kwargs": {"approximate": "tanh"},
        },
        "custom_text": True,
    },
    "last, bias, other eps": {
        "text_cfg": TEXT
        | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "norm_kwargs": {"eps": 1e-3}},
        "custom_text": True,
    },
    "first, no projection, layer scale": {
        "text_cfg": TEXT
        | {"pool_type": "first", "no_causal_mask": True, "proj_type": "none", "ls_init_value": 0.5},
        "custom_text": True,
    },
    "causal, last": {"text_cfg": TEXT | {"pool_type": "last"}, "custom_text": True},
    "canonical words": {"text_cfg": TEXT | {"tokenizer_kwargs": {"clean": "canonicalize"}}},
    "CoCa": {
        "text_cfg": COCA,
        "vision_cfg": VISION | {"output_tokens": True},
        "multimodal_cfg": MULTIMODAL,
        "custom_text": True,
    },
}
SENTENCES = [
    "a photo of a cat",
    "",
    "Ein Foto von zwei Hunden, naïve café, 東京 🦊 &amp; don't",
    "<start_of_text> in the middle!<end_of_text>",
    "cat " * 100,
    "a dog",
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHIASM_CACHE", str(folder))
        yield folder


def build(config: dict[str, Any], **options: Any) -> Backbone:
    full = {"embed_dim": 32, "vision_cfg": VISION, "quick_gelu": False} | config
    backbone = build_open_clip(
        {"model_cfg": full}, name="clip:tiny", preprocess={}, weights=None, seed=1, **options
    )
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone


def assert_equal_vectors(backbone: Backbone, sentences: list[str]) -> None:
    tower = load_text_tower(backbone.fingerprint)
    assert tower is not None
    got_BE, expected_BE = tower.encode(sentences), backbone.encode_text(sentences).numpy()
    assert got_BE.dtype == np.float32
    assert got_BE.shape == expected_BE.shape
    assert np.abs(got_BE - expected_BE).max() <= 1e-5
    assert (got_BE * expected_BE).sum(1).min() >= 1 - 1e-5
    assert tower.output_dim == backbone.output_dim


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_gives_the_models_own_vectors(kind: str) -> None:
    backbone = build(TOWERS[kind])
    folder = export_text_tower(backbone)
    assert folder == tower_folder(backbone.fingerprint)
    assert_equal_vectors(backbone, SENTENCES)
    for sentence in SENTENCES:  # causal towers are cut to the sentence: alone, each is cut elsewhere
        assert_equal_vectors(backbone, [sentence])
    vectors_BE = backbone.encode_text(SENTENCES)
    assert (vectors_BE[0] - vectors_BE[2]).abs().max() > 0.01 or "first" in kind


def test_embedded_lite_gives_its_own_vectors() -> None:
    backbone = load_backbone("embedded:lite", device="cpu", shared=False)
    assert export_text_tower(backbone) is not None
    assert_equal_vectors(backbone, [*SENTENCES, "[PAD] [SEP] words " * 200])


def test_no_sentences_and_many() -> None:
    backbone = build(TOWERS["CLIP"])
    export_text_tower(backbone)
    tower = load_text_tower(backbone.fingerprint)
    assert tower is not None
    assert tower.encode([]).shape == (0, 32)
    assert_equal_vectors(backbone, [f"a photo of {number} cats" for number in range(130)])


@pytest.fixture(scope="module")
def hub_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face tokenizer of a few words, which pads with 1 and ends sentences with 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "</s>", "a", "photo", "of", "cat", "dog"]
    raw = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", sep_token="</s>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("strip", [False, True])
def test_a_hugging_face_tokenizer(hub_tokenizer: Path, strip: bool) -> None:
    text = {
        "hf_tokenizer_name": "none/such",
        "tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": strip},
        "context_length": 8,
        "vocab_size": 8,
        "no_causal_mask": True,
        "pool_type": "last",
        "pad_id": 1,
    }
    config = {"text_cfg": TEXT | text, "custom_text": True}
    backbone = build(config, tokenizer_folder=hub_tokenizer)
    assert export_text_tower(backbone) is not None
    assert_equal_vectors(backbone, ["A photo of a cat.", "", "dog " * 30, "unheard of"])


UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
AWKWARD = [
    *(
        "<start_of_text>",
        "<end_of_text>",
        "'s",
        "'LL",
        "’t",
        "&amp;",
        "&lt;3",
        "é",
        "東京",
        "\x1b[0m",
        "A CAT",
    ),
    *("don't", "Ã©", "ﬁ", "ſ", "12", "_", "\x1c", "\u00a0", " ", "\r\n"),
]
CLIP_TEXT = st.lists(
    st.sampled_from(AWKWARD),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("clean", CLEANERS)
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_ids_are_those_of_open_clip(clean: str, data: st.DataObject) -> None:
    sentence = data.draw(UNICODE | CLIP_TEXT | st.text(st.characters(max_codepoint=127), max_size=60))
    theirs, ours = _tokenizers(clean)
    expected_L = theirs([sentence])[0].tolist()
    got = ours([sentence])[0]
    assert got + [0] * (len(expected_L) - len(got)) == expected_L


_made: dict[str, tuple[Any, ClipTokens]] = {}


def _tokenizers(clean: str) -> tuple[Any, ClipTokens]:
    if clean not in _made:
        theirs = open_clip.SimpleTokenizer(context_length=20, clean=clean)
        merges = "\n".join(" ".join(pair) for pair in theirs.bpe_ranks)
        _made[clean] = theirs, ClipTokens(merges, context=20, clean=clean)
    return _made[clean]


def test_erf_is_that_of_the_standard_library() -> None:
    x = np.linspace(-6, 6, 2001, dtype=np.float32)
    expected = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(erf(x) - expected).max() <= 5e-7


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [RECORD, WEIGHTS, TOKENIZER])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_damaged_tower_is_passed_over_and_exported_again(name: str, damage: str) -> None:
    backbone = build(TOWERS["CLIP"])
    folder = export_text_tower(backbone)
    assert folder is not None
    assert load_text_tower(backbone.fingerprint) is not None
    path = folder / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        flip_a_byte(path)
    assert load_text_tower(backbone.fingerprint) is None
    assert export_text_tower(backbone) == folder
    assert_equal_vectors(backbone, SENTENCES)


def test_another_spec_version_or_model_is_no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build(TOWERS["CLIP"])
    folder = export_text_tower(backbone)
    assert folder is not None
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"spec": record["spec"] | {"heads": 4}}))
    assert load_text_tower(backbone.fingerprint) is None
    (folder / RECORD).write_text(json.dumps(record))
    assert load_text_tower(backbone.fingerprint) is not None
    folder.rename(tower_folder("open_clip-another"))
    assert load_text_tower("open_clip-another") is None
    export_text_tower(backbone)
    monkeypatch.setattr("vision.optimize.text_tower.FORMAT", 2)
    assert load_text_tower(backbone.fingerprint) is None


def test_a_note_about_pictures_changes_nothing_for_words() -> None:
    backbone = build(TOWERS["CLIP"])
    export_text_tower(backbone)
    assert load_text_tower(f"{backbone.fingerprint}+int8-0123") is not None
    assert load_text_tower(f"{backbone.fingerprint}0") is None


def test_changed_weights_are_another_tower() -> None:
    backbone = build(TOWERS["CLIP"])
    export_text_tower(backbone)
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    assert load_text_tower(backbone.fingerprint) is None


def test_what_cannot_be_exported_is_not() -> None:
    assert export_text_tower(load_backbone("scratch:test_vit", device="cpu")) is None
    assert export_text_tower(build({"text_cfg": TEXT | {"qk_norm": True}})) is None
    assert export_text_tower(build(TOWERS["CLIP"]).to(torch.bfloat16)) is None
    masked = TEXT | {"tokenizer_kwargs": {"reduction_mask": "simple"}}
    assert export_text_tower(build({"text_cfg": masked})) is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHIASM_CACHE", str(tmp_path / "file"))
    assert export_text_tower(build(TOWERS["CLIP"])) is None


def test_a_query_imports_no_torch(own_cache: Path) -> None:
    backbone = build(TOWERS["CLIP"])
    export_text_tower(backbone)
    program = """
import sys
from vision.optimize.text_tower import load_text_tower
vector = load_text_tower(sys.argv[1]).encode(["a photo of a cat"])[0]
heavy = {"torch", "torchvision", "open_clip", "timm", "transformers", "scipy", "ftfy", "pandas", "PIL"}
print(sorted(heavy & set(sys.modules)), *vector.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, backbone.fingerprint],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CHIASM_CACHE": str(own_cache)},
    )
    heavy, *numbers = done.stdout.replace("[]", "none").split()
    assert heavy == "none"
    expected_E = backbone.encode_text(["a photo of a cat"])[0].numpy()
    assert np.abs(np.array(numbers, dtype=np.float32) - expected_E).max() <= 1e-5
