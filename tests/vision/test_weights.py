"""Files of weights: a hub on this machine's loopback, its cache, damage, absence, and folders of our own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from data import digest
from data.cache_folder import cache_folder
from data.digest import sha256
from data.errors import (
    BadFileError,
    HubUnreachableError,
    MissingDependencyError,
    ParameterError,
    UnknownNameError,
)
from vision.backbones import (
    Backbone,
    embedded_lite,
    load_backbone,
    open_clip_data,
    registry,
    save_backbone,
    weights,
)
from vision.backbones.open_clip_build import build_open_clip
from vision.backbones.open_clip_text import build_tokenizer
from vision.backbones.progress import HubProgress
from vision.backbones.weights import check, clip_files, fetch, timm_files

TINY_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    "quick_gelu": True,
}
TINY_VIT = "scratch:vit_tiny_patch16_224/embed_dim=32,depth=1,num_heads=2,img_size=32"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """A hub that serves files from memory and counts what it is asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.promised: dict[str, str] = {}
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, repo: str, filename: str, content: bytes, *, promised: str | None = None) -> None:
        url = f"/{repo}/resolve/main/{filename}"
        self.files[url] = content
        self.promised[url] = promised or hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: FakeHub, *args: Any):
        self.hub = hub
        super().__init__(*args)

    def _head(self) -> bytes:
        path = self.path.replace(f"/resolve/{COMMIT}/", "/resolve/main/")
        self.hub.requests.append(f"{self.command} {path}")
        content = self.hub.files.get(path)
        self.send_response(404 if content is None else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{self.hub.promised[path]}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self.wfile.write(self._head())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    use_hub_at(fake.address, monkeypatch)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIASM_CACHE", str(tmp_path / "notes"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(registry, "_shared", {})


def use_hub_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)


def tiny_clip(seed: int = 1) -> Backbone:
    return build_open_clip({"model_cfg": TINY_CLIP}, name="tiny", preprocess={}, weights=None, seed=seed)


def same_weights(one: Backbone, other: Backbone) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def spoil(path: Path) -> None:
    """Change one byte near the end of a file."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


# --- the hub ------------------------------------------------------------------------------------------------


def test_fetch_downloads_once_and_then_asks_nobody(hub: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.put("org/model", "model.safetensors", b"weights" * 1000)
    file = fetch("org/model", ["model.safetensors"], wanted="weights of a test")
    assert file.path.read_bytes() == b"weights" * 1000
    assert file.sha256 == hashlib.sha256(b"weights" * 1000).hexdigest()
    assert capfd.readouterr().out == ""
    asked = len(hub.requests)
    assert fetch("org/model", ["model.safetensors"], wanted="weights of a test") == file
    assert len(hub.requests) == asked
    assert weights.is_cached("org/model", ["model.safetensors"])
    assert not weights.is_cached("org/model", ["other.safetensors"])


def test_the_progress_bar_counts_bytes_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with HubProgress(total=2_000_000, desc="model.safetensors", disable=False, mininterval=0) as bar:
        bar.update(500_000)
        bar.update(1_500_000)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "model.safetensors" in captured.err
    assert "2.0/2.0 MB" in captured.err


def test_fetch_takes_the_first_file_that_there_is(hub: FakeHub) -> None:
    hub.put("org/model", "pytorch_model.bin", b"old")
    file = fetch("org/model", ["model.safetensors", "pytorch_model.bin"], wanted="weights of a test")
    assert file.path.name == "pytorch_model.bin"
    with pytest.raises(ParameterError, match=r"one that holds a\.bin or b\.bin"):
        fetch("org/model", ["a.bin", "b.bin"], wanted="weights of a test")


def test_a_download_that_differs_from_its_promise_is_refused(hub: FakeHub) -> None:
    hub.put("org/model", "model.safetensors", b"tampered with", promised="a" * 64)
    for _ in range(2):  # and it does not slip in from the cache the second time
        with pytest.raises(BadFileError, match=r"SHA-256 must be aaaa.*delete it"):
            fetch("org/model", ["model.safetensors"], wanted="weights of a test")


def test_damage_in_the_cache_is_noticed(hub: FakeHub) -> None:
    hub.put("org/model", "model.safetensors", b"weights" * 100)
    path = fetch("org/model", ["model.safetensors"], wanted="weights of a test").path
    spoil(path.resolve())
    with pytest.raises(BadFileError, match="SHA-256"):
        fetch("org/model", ["model.safetensors"], wanted="weights of a test")


def test_a_hub_that_refuses_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as reserved:  # bound but not listening
        reserved.bind(("127.0.0.1", 0))
        use_hub_at(f"http://127.0.0.1:{reserved.getsockname()[1]}", monkeypatch)
        assert_unreachable_quickly()


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "HUB_TIMEOUT", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use_hub_at(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        assert_unreachable_quickly()


def test_offline_by_wish(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("org/model", "model.safetensors", b"weights")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE"):
        fetch("org/model", ["model.safetensors"], wanted="weights of a test")
    assert hub.requests == []


def assert_unreachable_quickly() -> None:
    for name in ("clip:ViT-B-32/laion2b_s34b_b79k", "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"):
        start = time.monotonic()
        with pytest.raises(HubUnreachableError) as caught:
            load_backbone(name, device="cpu")
        assert time.monotonic() - start < 5
        for advice in (name, "go online once", "HF_HOME", "local:PATH", "embedded:lite"):
            assert advice in str(caught.value)


# --- models from the hub ------------------------------------------------------------------------------------


def test_a_clip_model_from_the_hub(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_clip()
    save_file(source.model.state_dict(), tmp_path / "w.safetensors")
    stated = {"hf_hub": "org/tiny/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    monkeypatch.setattr(open_clip_data, "architecture_names", lambda: ("tiny",))
    monkeypatch.setattr(open_clip_data, "architecture", lambda name: TINY_CLIP | {"quick_gelu": False})
    monkeypatch.setattr(open_clip_data, "tag_config", lambda arch, tag: stated)
    hub.put("org/tiny", "open_clip_model.safetensors", (tmp_path / "w.safetensors").read_bytes())
    loaded = load_backbone("clip:tiny/tag", device="cpu")
    assert same_weights(loaded, source)
    assert loaded.preprocess.mean == (0.1, 0.2, 0.3)
    tokens_BND = torch.randn(1, 3, 32)
    assert torch.equal(loaded.embed(tokens_BND), source.embed(tokens_BND))  # QuickGELU, as the tag asks
    assert load_backbone("clip:tiny/tag", device="cpu") is loaded


def test_a_timm_model_from_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    name = "test_vit.r160_in1k"
    source = timm.create_model(name).eval()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    hub.put(f"timm/{name}", "model.safetensors", (tmp_path / "w.safetensors").read_bytes())
    loaded = load_backbone(f"timm:{name}", device="cpu")
    pixels_BCHW = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(pixels_BCHW), pre_logits=True)
    torch.testing.assert_close(loaded.image_features(pixels_BCHW), expected, atol=1e-5, rtol=0)
    assert loaded.fingerprint == load_backbone("timm:test_vit", device="cpu").fingerprint


def test_timm_preprocessing_equals_timms_own() -> None:
    import numpy as np
    from PIL import Image

    from vision.backbones.timm_vit import timm_preprocess

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (70, 101, 3), dtype=np.uint8))
    for arch in ("test_vit", "tf_efficientnet_lite0", "vit_base_patch16_siglip_224", "beit_base_patch16_224"):
        with torch.device("meta"):
            model = timm.create_model(arch)
        reference = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
        torch.testing.assert_close(timm_preprocess(model)(picture), reference(picture), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timm:vit_small_patch14_dinov3.lvd142m", "vit_small_patch14_dinov2.lvd142m"),
        ("timm:vit_small_patch14_dinov2.lvd143m", "vit_small_patch14_dinov2.lvd142m"),
    ],
)
def test_unknown_timm_names_offer_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        load_backbone(name, device="cpu")


def test_where_every_published_tag_lies() -> None:
    for name in open_clip_data.tagged_names():
        repo, files = clip_files(open_clip_data.tag_config(*name.split("/")))
        assert repo.count("/") == 1
        assert files[0].endswith(".safetensors")
    repo, files = timm_files(timm.get_pretrained_cfg("vit_small_patch14_dinov2.lvd142m"))
    assert (repo, files) == (
        "timm/vit_small_patch14_dinov2.lvd142m",
        ["model.safetensors", "pytorch_model.bin"],
    )


def test_a_tokenizer_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text_cfg = TINY_CLIP["text_cfg"] | {"hf_tokenizer_name": "org/no-such-tokenizer"}
    clip = build_open_clip(
        {"model_cfg": TINY_CLIP | {"text_cfg": text_cfg}}, name="tiny", preprocess={}, weights=None
    )
    with pytest.raises(HubUnreachableError, match="the text tower's tokenizer"):
        clip.encode_text(["a cat"])
    assert clip.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 32)
    text_cfg = TINY_CLIP["text_cfg"] | {"hf_model_name": "org/no-such-tower"}
    with pytest.raises(HubUnreachableError, match="the text tower's configuration"):
        build_open_clip(
            {"model_cfg": TINY_CLIP | {"text_cfg": text_cfg}}, name="tiny", preprocess={}, weights=None
        )


def test_transformers_missing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install transformers"):
        build_tokenizer({"hf_tokenizer_name": "org/any"}, None)


# --- folders and files of our own ---------------------------------------------------------------------------


def scratch_vit() -> Backbone:
    return load_backbone(TINY_VIT, device="cpu", seed=3)


@pytest.mark.parametrize("make", [scratch_vit, tiny_clip], ids=["timm", "open_clip"])
def test_a_saved_model_loads_back_equal_to_the_bit(make: Any, tmp_path: Path) -> None:
    source = make()
    folder = save_backbone(source, tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["backbone.json", "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []
    loaded = load_backbone(f"local:{folder}", device="cpu", seed=9)
    assert loaded.name == f"local:{folder}"
    assert not loaded.training
    assert same_weights(loaded, source)
    assert loaded.fingerprint == source.fingerprint
    assert loaded.preprocess == source.preprocess
    pixels_BCHW = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.encode_image(pixels_BCHW), source.encode_image(pixels_BCHW))
    if source.has_text:
        assert torch.equal(loaded.encode_text(["a cat"]), source.encode_text(["a cat"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what transformers deprecates inside itself is not ours
def test_a_saved_model_brings_its_tokenizer(tmp_path: Path) -> None:
    text_cfg = TINY_CLIP["text_cfg"] | {"hf_tokenizer_name": "org/elsewhere", "vocab_size": 30522}
    source = build_open_clip(
        {"model_cfg": TINY_CLIP | {"text_cfg": text_cfg}},
        name="tiny",
        preprocess={},
        weights=None,
        tokenizer_folder=embedded_lite.TOKENIZER.locate().parent,
    )
    folder = save_backbone(source, tmp_path / "model")
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    loaded = load_backbone(f"local:{folder}", device="cpu")
    assert torch.equal(loaded.encode_text(["a cat", "dogs"]), source.encode_text(["a cat", "dogs"]))


def test_a_trained_model_is_saved_as_it_is(tmp_path: Path) -> None:
    source = scratch_vit()
    before = source.fingerprint
    with torch.no_grad():
        source.model.norm.bias.add_(1)
    loaded = load_backbone(f"local:{save_backbone(source, tmp_path / 'model')}", device="cpu")
    assert same_weights(loaded, source)
    assert loaded.fingerprint == source.fingerprint != before


def test_a_moved_folder_keeps_its_fingerprint(tmp_path: Path) -> None:
    folder = save_backbone(scratch_vit(), tmp_path / "here")
    before = load_backbone(f"local:{folder}", device="cpu").fingerprint
    folder.rename(tmp_path / "there")
    assert load_backbone(f"local:{tmp_path / 'there'}", device="cpu").fingerprint == before


def test_saving_never_overwrites(tmp_path: Path) -> None:
    save_backbone(scratch_vit(), tmp_path / "model")
    with pytest.raises(ParameterError, match="new or empty"):
        save_backbone(scratch_vit(), tmp_path / "model")
    (tmp_path / "empty").mkdir()
    save_backbone(scratch_vit(), tmp_path / "empty")
    with pytest.raises(ParameterError, match="model to save"):
        save_backbone(load_backbone("embedded:lite", device="cpu"), tmp_path / "lite")


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("vision.backbones.checkpoint.sha256", fail)
    with pytest.raises(OSError, match="no space"):
        save_backbone(scratch_vit(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def edit(folder: Path, **fields: object) -> None:
    path = folder / "backbone.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: spoil(f / "model.safetensors"), "SHA-256 must be"),
        (lambda f: (f / "model.safetensors").unlink(), "weights must be a file"),
        (lambda f: (f / "backbone.json").unlink(), "that save_backbone wrote"),
        (lambda f: (f / "backbone.json").write_text("{"), "readable JSON"),
        (lambda f: (f / "backbone.json").write_text("[]"), "chiasm backbone, version 1"),
        (lambda f: edit(f, version=2), "chiasm backbone, version 1"),
        (lambda f: edit(f, kind="pickle"), "chiasm backbone, version 1"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(harm: Any, message: str, tmp_path: Path) -> None:
    folder = save_backbone(scratch_vit(), tmp_path / "model")
    harm(folder)
    with pytest.raises(BadFileError, match=message) as caught:
        load_backbone(f"local:{folder}", device="cpu")
    assert str(folder) in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = save_backbone(scratch_vit(), tmp_path / "model")
    edit(folder, architecture={"arch": "vit_tiny_patch16_224", "args": {"depth": 2}})
    with pytest.raises(BadFileError, match="weights of the architecture"):
        load_backbone(f"local:{folder}", device="cpu")


def test_a_bare_timm_file(tmp_path: Path) -> None:
    source = timm.create_model("test_vit").eval()
    path = tmp_path / "vit.safetensors"
    save_file(source.state_dict(), path)
    loaded = load_backbone(f"local:{path}?arch=timm:test_vit", device="cpu")
    with torch.no_grad():
        expected = source.forward_features(torch.ones(1, 3, 160, 160))
    got = loaded.embed(loaded.prefix_1PD)  # its weights are there and work
    assert got.shape[-1] == expected.shape[-1]
    torch.testing.assert_close(loaded.model.forward_features(torch.ones(1, 3, 160, 160)), expected)
    state = load_file(path)
    state.pop("blocks.0.attn.qkv.weight")
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(BadFileError, match="weights of test_vit"):
        load_backbone(f"local:{tmp_path / 'less.safetensors'}?arch=timm:test_vit", device="cpu")


def test_a_bare_open_clip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_clip()
    path = tmp_path / "clip.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.model.state_dict().items()}}, path)
    monkeypatch.setattr(open_clip_data, "architecture_names", lambda: ("tiny",))
    monkeypatch.setattr(open_clip_data, "architecture", lambda name: dict(TINY_CLIP))
    assert same_weights(load_backbone(f"local:{path}?arch=clip:tiny", device="cpu"), source)
    state = source.model.state_dict()
    state.pop("visual.proj")
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(BadFileError, match="weights of local"):
        load_backbone(f"local:{tmp_path / 'less.pt'}?arch=clip:tiny", device="cpu")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(BadFileError, match="weights of local"):
        load_backbone(f"local:{tmp_path / 'junk.pt'}?arch=clip:tiny", device="cpu")


def test_local_names_that_cannot_work(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"junk")
    with pytest.raises(ParameterError, match=r"\?arch="):
        load_backbone(f"local:{path}", device="cpu")
    with pytest.raises(ParameterError, match="arch=timm:ARCH"):
        load_backbone(f"local:{path}?arch=vit", device="cpu")
    with pytest.raises(BadFileError, match="weights must be a file"):
        load_backbone(f"local:{tmp_path / 'none.pt'}?arch=timm:test_vit", device="cpu")
    with pytest.raises(BadFileError, match="weights of test_vit"):
        load_backbone(f"local:{path}?arch=timm:test_vit", device="cpu")


# --- digests ------------------------------------------------------------------------------------------------


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    hashed: list[Path] = []
    monkeypatch.setattr(digest, "sha256", lambda p: hashed.append(p) or sha256(p))
    first = check(path, None)
    assert check(path, first.sha256) == first
    assert len(hashed) == 1
    path.write_bytes(b"other content")
    assert check(path, None).sha256 == hashlib.sha256(b"other content").hexdigest()
    assert len(hashed) == 2


def test_a_read_only_or_broken_notebook_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "sha256.json").write_text("{")
    assert check(path, None).sha256 == hashlib.sha256(b"content").hexdigest()
    monkeypatch.setenv("CHIASM_CACHE", str(path / "below-a-file"))
    assert check(path, None).sha256 == hashlib.sha256(b"content").hexdigest()
    with contextlib.suppress(KeyError):
        monkeypatch.delenv("CHIASM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "chiasm"
