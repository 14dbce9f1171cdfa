"""The `vision` command: what it prints, where, and its exit codes; a fake model stands in but at the end."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vision.cli import app, main

ROOT = Path(__file__).parents[2]


Vision = Callable[..., Any]  # `run_vision` of conftest.py


@pytest.fixture
def vision(run_vision: Vision, monkeypatch: pytest.MonkeyPatch, colours: Any) -> Vision:
    """Run `vision` in this process, with the fake model under every name."""

    def load(name: str) -> Any:
        return type(colours)(name=name, fingerprint=f"print of {name}")

    monkeypatch.setattr("vision.backbones.load_backbone", load)
    monkeypatch.delenv("CHIASM_STORE", raising=False)
    return run_vision


@pytest.fixture
def store(vision: Vision, album: Path, tmp_path: Path) -> Path:
    assert vision("index", album, "--store", tmp_path / "store").code == 0
    return tmp_path / "store"


def test_index_counts_and_remembers(vision: Vision, album: Path, tmp_path: Path) -> None:
    (album / "broken [1].jpg").write_bytes(b"")
    first = vision("index", album, "--store", tmp_path / "s")
    lines = first.out.splitlines()
    assert first.code == 0
    assert lines[0].split() == ["reason", "not", "indexed"]
    assert lines[1].rstrip() == f"an empty file (0 bytes)  {album}/broken [1].jpg"
    assert lines[2] == "added 5, unchanged 0, removed 0, failed 1"
    assert re.fullmatch(rf"5 pictures in {tmp_path}/s, embedded by embedded:lite; took \d+\.\d s", lines[3])
    assert "6/6" in first.err
    (album / "broken [1].jpg").unlink()
    (album / "red.png").unlink()
    second = vision("index", album, "--store", tmp_path / "s")
    assert second.out.splitlines()[0] == "added 0, unchanged 4, removed 0, failed 0"
    third = vision("index", "--prune", "--store", tmp_path / "s")
    assert third.out.splitlines()[0] == "added 0, unchanged 4, removed 1, failed 0"


def test_a_store_keeps_its_model_and_refuses_another(vision: Vision, album: Path, tmp_path: Path) -> None:
    assert vision("index", album, "--store", tmp_path / "s", "--model", "clip:x").code == 0
    assert "embedded by clip:x" in vision("index", album, "--store", tmp_path / "s").out
    refused = vision("index", album, "--store", tmp_path / "s", "--model", "timm:y")
    assert (refused.code, refused.out) == (2, "")
    named = "clip:x (print of clip:x+exact), got timm:y (print of timm:y+exact); use clip:x here"
    assert named in refused.err


def test_search_prints_a_table(vision: Vision, store: Path, album: Path) -> None:
    found = vision("search", "red", "--store", store, "-k", 2)
    lines = [line.rstrip() for line in found.out.splitlines()]
    assert found.code == 0
    assert lines[0] == "rank  score  picture"
    assert lines[1] == f"1     1.000  {album}/red.png"
    assert re.fullmatch(rf"2     0\.\d{{3}}  {album}/below/yellow\.png", lines[2])


def test_a_pipe_gets_whole_lines_whatever_their_length(vision: Vision, album: Path, tmp_path: Path) -> None:
    deep = album / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    Image.new("RGB", (4, 4), (250, 0, 0)).save(deep / "two\nlines.png")
    vision("index", album, "--store", tmp_path / "s")
    found = vision("search", "red", "--store", tmp_path / "s", "-k", 2)
    assert f"{deep}/two\\nlines.png" in found.out


def test_a_narrow_terminal_cuts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rich.console import Console

    from vision.console import hits_table
    from vision.retrieval import Hit
    from vision.retrieval.picture import Picture

    path = tmp_path / "a rather long name of a picture.png"
    console = Console(width=40, force_terminal=True, color_system=None, file=io.StringIO())
    picture = Picture(content="0" * 64, size=1, width=1, height=1, format="PNG", places=())
    console.print(hits_table([Hit(id="x", path=path, score=0.5, copies=(path,), picture=picture)]))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    shown = "".join(line[13:].rstrip() for line in lines[1:])
    assert shown.replace(" ", "") == f"{path}={path}".replace(" ", "")


def test_copies_stand_below_their_picture(vision: Vision, album: Path, tmp_path: Path) -> None:
    (album / "a red copy.png").write_bytes((album / "red.png").read_bytes())
    vision("index", album, "--store", tmp_path / "s")
    found = vision("search", "red", "--store", tmp_path / "s", "-k", 1)
    assert [line.split(maxsplit=2)[-1].rstrip() for line in found.out.splitlines()[1:]] == [
        f"{album}/a red copy.png",
        f"{album}/red.png".strip(),
    ]


def test_words_and_pictures_add_up(vision: Vision, store: Path, album: Path) -> None:
    def first(*arguments: object) -> str:
        return vision("search", *arguments, "--store", store, "-k", 1, "--paths").out

    assert first("red", "--plus", "green") == f"{album}/below/yellow.png\n"
    assert first("yellow", "--minus", "green") == f"{album}/red.png\n"
    assert first("red", "--plus", "green", "--weight", "plus=0.01") == f"{album}/red.png\n"
    assert first("--like", album / "blue.png") == f"{album}/blue.png\n"
    assert first("blue", "--more-like", album / "red.png", "--weight", "query=0.01") == f"{album}/red.png\n"
    assert first("red", "--where", "width > 22") == f"{album}/below/yellow.png\n"
    assert first("red", "--null") == f"{album}/red.png\0"


def test_a_picture_may_come_from_standard_input(
    vision: Vision, store: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    green = io.TextIOWrapper(io.BytesIO((album / "green.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", green)
    assert vision("search", "--like", "-", "--store", store, "-k", 1, "--paths").out == f"{album}/green.png\n"


def test_pictures_are_shown_in_terminals_that_can(vision: Vision, store: Path) -> None:
    assert "\x1b_Ga=T" in vision("search", "red", "--store", store, "--preview", "kitty").out
    assert "\x1b" not in vision("search", "red", "--store", store).out  # a pipe is no terminal
    refused = vision("search", "red", "--store", store, "--preview", "ascii")
    assert "error: preview must be one of auto, kitty, iterm2, sixel, none, got 'ascii'." in refused.err


def test_json_is_all_that_is_printed(vision: Vision, store: Path, album: Path) -> None:
    found = vision("search", "blue", "--store", store, "-k", 2, "--json")
    first, second = json.loads(found.out)
    assert first == {
        "rank": 1,
        "score": 1.0,
        "relevance": None,
        "path": f"{album}/blue.png",
        "copies": [],
        "width": 22,
        "height": 10,
    }
    assert second["rank"] == 2


def test_a_sheet_is_written_on_request(vision: Vision, store: Path, tmp_path: Path) -> None:
    found = vision("search", "blue", "--store", store, "--sheet", tmp_path / "new/blue.jpg", "--json")
    assert len(json.loads(found.out)) == 5
    assert f"contact sheet: {tmp_path}/new/blue.jpg" in found.err
    with Image.open(tmp_path / "new/blue.jpg") as sheet:
        assert sheet.width > 1000


def test_the_environment_may_name_the_store(
    vision: Vision, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIASM_STORE", str(store))
    assert "red.png" in vision("search", "red", "-k", 1).out


def test_bad_input_is_one_line_and_exit_code_2(
    vision: Vision, store: Path, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    cases: list[tuple[tuple[object, ...], str]] = [
        (("search", "red", "--store", store, "-k", 0), "k must be a whole number of at least 1, got 0."),
        (("search", "", "--store", store), "query must be some words, got an empty text."),
        (("search", "red", "--store", tmp_path / "no"), "must be a folder with an index, got nothing there"),
        (("search", "red", "--store", album), "must be a folder with an index, got a folder without one"),
        (("search", "red", "--store", store, "--sheet", "x.txt"), "contact sheet must be a .jpg, .jpeg,"),
        (
            ("index", tmp_path / "no", "--store", store),
            "no: photo folder must be a folder, got nothing there",
        ),
        (("index", album / "red.png", "--store", store), "must be a folder, got a file; check the path."),
        (("index", album, "--store", tmp_path / "full"), "must be a new or empty folder, got one with other"),
        (("index", album, "--store", store, "--batch-size", 0), "batch_size must be a whole number"),
        (("index", "--store", tmp_path / "new"), "DIR must be given for a new index, got no folder"),
        (("index", album, "--store", store, "--include", "!x"), "pattern must be like *.png or trips/**"),
        (("search", "--store", store), "query must be something to look for, got nothing."),
        (("search", "red", "--minus", "red", "--store", store), "got terms that take each other away."),
        (("search", "red", "--weight", "plus", "--store", store), "weight must be KIND=NUMBER with one of"),
        (("search", "red", "--weight", "query=1,2", "--store", store), "weights of query must be one, or 1"),
        (("search", "red", "--where", "widht > 1", "--store", store), "did you mean width or height?"),
        (("search", "red", "--cut", 2, "--store", store), "cut must be a probability from 0 to 1, got 2"),
        (("search", "--like", tmp_path / "no.png", "--store", store), "no.png: picture must be a readable"),
        (("search", "red", "--texts", tmp_path / "no", "--store", store), "texts must be a file of lines"),
        (("duplicates", "--near", 3, "--store", store), "near must be"),
        (("reindex", "--store", store), "model must be another one than now"),
        (("push", "qdrant://nowhere", "--store", store), "store must be qdrant://HOST:PORT/NAME"),
    ]
    for arguments, message in cases:
        outcome = vision(*arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        *_, last = outcome.err.strip().splitlines()
        assert last.startswith("error: "), arguments
        assert message in last


def test_a_missing_option_is_exit_code_2(vision: Vision) -> None:
    outcome = vision("search", "red")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--store" in outcome.err


def test_an_empty_folder_makes_an_empty_index(vision: Vision, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = vision("index", tmp_path / "empty", "--store", tmp_path / "s")
    assert made.out.startswith("added 0, unchanged 0, removed 0, failed 0\n")
    assert vision("search", "red", "--store", tmp_path / "s", "--json").out.strip() == "[]"
    nothing = vision("search", "red", "--store", tmp_path / "s")
    assert (nothing.code, nothing.out) == (0, "")
    assert "holds no pictures" in nothing.err


def test_models_lists_names_and_what_they_need(vision: Vision, monkeypatch: pytest.MonkeyPatch) -> None:
    from vision.backbones import known_models

    known = known_models()  # once, as going through all of timm takes seconds
    monkeypatch.setattr("vision.backbones.known_models", lambda: known)
    lines = vision("models").out.splitlines()
    assert lines[0].split() == ["searched", "by", "numbers", "weights", "model"]
    assert re.split(r"  +", lines[1].rstrip()) == ["words, pictures", "384", "installed", "embedded:lite"]
    some = vision("models", "b-32/LAION2B")
    assert [line.split()[-1] for line in some.out.splitlines()[1:3]] == [
        "clip:ViT-B-32/laion2b_e16",
        "clip:ViT-B-32/laion2b_s34b_b79k",
    ]
    nothing = vision("models", "zzz")
    assert (nothing.code, nothing.out) == (2, "")
    assert "error: TEXT must be part of a model's name, got 'zzz'." in nothing.err


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    section = text.partition("\n## vision\n")[2].partition("\n## ")[0]
    names = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]
    assert sorted(names) == sorted(
        path.stem for path in (ROOT / "vision/commands").glob("[!_]*.py") if not path.stem.endswith("options")
    )
    for name in names:
        assert f"### vision {name}\n\n    vision {name}" in section, f"{name} needs a section with an example"


# Real processes


def real(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vision.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT, check=False)


def imported_by(*arguments: object) -> set[str]:
    """The modules that a command has imported by its end."""
    code = (
        "import sys\nfrom vision.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print('imported:', *sys.modules)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    return set(done.stdout.partition("imported: ")[2].split())


def test_help_starts_without_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['vision', '--help']\n"
        "from vision.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'open_clip', 'numpy', 'PIL', 'qdrant_edge'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("heavy: []\n")
    assert "Search your photographs" in done.stdout


@pytest.mark.slow
def test_the_whole_run_in_real_processes(tmp_path: Path) -> None:
    from vision.demo import packaged_photographs

    (tmp_path / "photos").mkdir()
    for path in packaged_photographs():
        if path.stem in ("chelsea", "coffee", "rocket"):
            (tmp_path / "photos" / path.name).symlink_to(path)
    (tmp_path / "photos/empty.jpg").touch()
    made = real("index", tmp_path / "photos", "--store", tmp_path / "s")
    assert (made.returncode, made.stderr.count("error")) == (0, 0)
    assert "added 3, unchanged 0, removed 0, failed 1\n" in made.stdout
    found = real("search", "a cup of coffee", "--store", tmp_path / "s", "-k", 1, "--json")
    assert found.returncode == 0
    assert [hit["path"] for hit in json.loads(found.stdout)] == [f"{tmp_path}/photos/coffee.png"]
    # By words, by a picture that the index holds, and with a filter: nothing heavy is loaded.
    cat = tmp_path / "photos/chelsea.png"
    for query in (["a cup of coffee"], ["--like", cat], ["a cat", "--like", cat, "--where", "width > 9"]):
        assert imported_by("search", *query, "--store", tmp_path / "s").isdisjoint(
            {"torch", "torchvision", "open_clip", "timm", "openvino", "pandas", "scipy"}
        )


def test_an_unknown_model_offers_names_and_makes_no_store(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["vision", "index", str(album), "--store", str(tmp_path / "s"), "--model", "embeded:lite"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ending:
        main()
    printed = capsys.readouterr()
    assert (ending.value.code, printed.out) == (2, "")
    assert "error: model name must be" in printed.err
    assert "embedded:" in printed.err
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
@pytest.mark.shared
def test_class_names_find_their_photographs(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R@1 of "a photo of a NAME" (open_clip's names) among 250 photographs, by way of the command."""
    from benchmarks.photographs import subjects
    from vision.retrieval import ImageIndex

    monkeypatch.setattr(
        sys, "argv", ["vision", "index", str(shared_data / "photos"), "--store", str(tmp_path / "s")]
    )
    with pytest.raises(SystemExit):
        main()
    assert "added 250, unchanged 0, removed 0, failed 0" in capsys.readouterr().out
    shown = subjects(shared_data / "photos")
    photos = [subject.path for subject in shown]
    with ImageIndex.open(tmp_path / "s") as index:
        queries = index.backbone.encode_text([subject.text for subject in shown]).numpy()
        found = [index.search(query_E, k=1)[0].path for query_E in queries]
        assert index.search(shown[7].text, k=1)[0].path == found[7]
    recall = sum(map(Path.samefile, found, photos)) / len(photos)
    print(f"R@1 {recall:.3f}")
    assert len(photos) == 250
    assert recall >= 0.88


@pytest.mark.slow
def test_a_watched_folder_is_followed_until_ctrl_c(album: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "vision.cli", "index", album, "--store", tmp_path / "s", "--watch"]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as watcher:
        assert watcher.stdout is not None
        try:
            lines = iter(watcher.stdout.readline, "")
            assert any("Watching" in line for line in lines)
            Image.new("RGB", (30, 30), "orange").save(album / "orange.png")
            assert next(line for line in lines if line.startswith("added")).startswith("added 1, unchanged")
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(timeout=60) == 0
        finally:
            watcher.kill()
    found = real("search", "--like", album / "orange.png", "--store", tmp_path / "s", "-k", 1, "--paths")
    assert found.stdout == f"{album}/orange.png\n"
