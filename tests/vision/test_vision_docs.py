"""Every example of docs/commands.md for `vision`, run in the order in which it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
from qdrant_client import QdrantClient

from vision.backbones import save_backbone
from vision.backbones.open_clip_build import build_open_clip
from vision.cli import main
from vision.demo import packaged_photographs
from vision.store.server_place import ServerPlace

DOCS = Path(__file__).parents[2] / "docs/commands.md"
CLIP = "clip:ViT-B-32/laion2b_s34b_b79k"  # in the text; what can be had without a hub stands in for it
TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def examples() -> list[str]:
    section = DOCS.read_text(encoding="utf-8").partition("\n## vision\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (vision .*)$", section, flags=re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with some pictures, captions and lines in it, and an in-memory server at every address."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "Pictures"
    pictures.mkdir()
    for path in packaged_photographs():
        shutil.copy(path, pictures / {"chelsea.png": "cat.png"}.get(path.name, path.name))
    (pictures / "screenshots").mkdir()
    shutil.copy(pictures / "cat.png", pictures / "screenshots/cat-again.png")
    said = {"cat.png": "my cat at rest", "coffee.png": "breakfast", "rocket.jpg": "lift-off"}
    said |= {"camera.png": "at work", "coins.png": "all my money", "astronaut.png": "a portrait"}
    rows = [f"{name},{caption}\n" for name, caption in said.items()]
    (pictures / "captions.csv").write_text("image,caption\n" + "".join(rows))
    (pictures / "lines.txt").write_text("a cat\na cup of coffee\na rocket\n")
    for name in ("cat", "coffee"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        shutil.copy(pictures / f"{name}.png", tmp_path / "classes" / name)

    client = QdrantClient(":memory:")

    def connected(address: str) -> ServerPlace:
        return ServerPlace(client, address.rpartition("/")[2], address, stemming=False)

    monkeypatch.setattr(ServerPlace, "connected", connected)
    monkeypatch.setattr(ServerPlace, "close", lambda self: None)
    monkeypatch.setattr("data.photo_watch.watch_photos", lambda roots, **globs: iter(()))
    # A server would not end by itself: it is told to be ready, and that is that.
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: server.ready())
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    return tmp_path


def tiny_clip(folder: Path) -> str:
    backbone = build_open_clip(
        {"model_cfg": TINY_CLIP, "quick_gelu": False}, name="tiny", preprocess={}, weights=None
    )
    return f"local:{save_backbone(backbone, folder)}"


def test_there_are_examples_of_each_command() -> None:
    assert len(examples()) >= 25
    assert open_clip.get_pretrained_cfg(*CLIP.removeprefix("clip:").split("/"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_example_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_clip(home / "tiny-clip")
    printed: dict[str, str] = {}
    for example in examples():
        words = [
            str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(example)
        ]
        monkeypatch.setattr(sys, "argv", [model if word == CLIP else word for word in words])
        with pytest.raises(SystemExit) as ending:
            main()
        told = capsys.readouterr()
        assert not ending.value.code, f"{example}\n{told.err}"
        printed[example] = told.out
    told_by = {example.removeprefix("vision "): out for example, out in printed.items()}
    found = json.loads(told_by['search "a cat" --store ~/.photo-index --json'])
    assert found[0]["path"].endswith("cat.png")
    assert told_by['search "a cat" --store ~/.photo-index --preview sixel'].count("\x1bP") == 1
    assert (home / "cats.jpg").stat().st_size > 10_000
    assert "same bytes" in told_by["duplicates --store ~/.photo-index"]
    assert re.search(r"recall@10 1\.000", told_by["optimize --store ~/.photo-index"])
    assert re.match(
        r"\d\d pictures copied to qdrant",
        told_by["push qdrant://localhost:6333/photos --store ~/.photo-index"],
    )
    assert (home / "figures/evaluation.md").is_file()
    assert (home / "tuned/model/model.safetensors").is_file()
