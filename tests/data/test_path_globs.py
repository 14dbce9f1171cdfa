"""Patterns that take and leave out files."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.errors import ParameterError
from data.path_globs import PathGlobs


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.png", "a.png", True),
        ("*.png", "deep/er/a.png", True),
        ("*.png", "a.png.jpg", False),
        ("raw", "trip/raw/a.jpg", True),
        ("raw", "raw.jpg", False),
        ("raw/", "raw/a.jpg", True),
        ("raw/", "trip/raw/below/a.jpg", True),
        ("a.jpg/", "a.jpg", False),
        ("/raw", "raw/a.jpg", True),
        ("/raw", "trip/raw/a.jpg", False),
        ("2020/*.jpg", "2020/a.jpg", True),
        ("2020/*.jpg", "2020/x/a.jpg", False),
        ("2020/*.jpg", "old/2020/a.jpg", False),
        ("2020/**", "2020/x/y/a.jpg", True),
        ("2020/**", "2020", False),
        ("**/shots/**", "shots/a.jpg", True),
        ("**/shots/**", "a/b/shots/c/d.jpg", True),
        ("**/shots/**", "a/b/shots.jpg", False),
        ("a/**/b.jpg", "a/b.jpg", True),
        ("a/**/b.jpg", "a/x/y/b.jpg", True),
        ("a/**/b.jpg", "a/xb.jpg", False),
        ("**", "x/y.jpg", True),
        ("img_?.jpg", "img_1.jpg", True),
        ("img_?.jpg", "img_12.jpg", False),
        ("[ab]*.jpg", "bee.jpg", True),
        ("[!ab]*.jpg", "bee.jpg", False),
        ("[a-c][0-9].jpg", "b7.jpg", True),
        ("[x.jpg", "[x.jpg", True),
        (r"\*.jpg", "*.jpg", True),
        (r"\*.jpg", "a.jpg", False),
        ("Ünï *", "Ünï Ж/日本.png", True),
        ("two?lines.gif", "two\nlines.gif", True),
        ("*.JPG", "a.jpg", False),
    ],
)
def test_a_pattern_matches_as_in_gitignore(pattern: str, path: str, matches: bool) -> None:
    assert PathGlobs(include=(pattern,)).takes_file(Path(path)) is matches
    assert PathGlobs(exclude=(pattern,)).takes_file(Path(path)) is not matches


def test_exclude_wins_and_any_include_will_do() -> None:
    globs = PathGlobs(include=("*.jpg", "*.png"), exclude=("raw",))
    assert globs.takes_file(Path("a.png"))
    assert not globs.takes_file(Path("a.gif"))
    assert not globs.takes_file(Path("raw/a.png"))
    assert globs.leaves_folder(Path("x/raw"))
    assert not globs.leaves_folder(Path("x"))


@pytest.mark.parametrize("pattern", ["", "/", "!*.png"])
def test_patterns_that_mean_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ParameterError, match=r"pattern must be like \*\.png"):
        PathGlobs(include=(pattern,))


@example(["[!]"])
@example(["[b-a]"])
@given(st.lists(st.text(st.sampled_from("ab*?[]\\!-^&~|. "), min_size=1, max_size=8), min_size=1, max_size=4))
def test_any_text_is_a_pattern_or_an_error(names: list[str]) -> None:
    pattern = "/".join(names)
    if not pattern.startswith("!"):
        PathGlobs(include=(pattern,)).takes_file(Path("a/b.jpg"))


@given(st.text(st.sampled_from("abcd]-!&~|.\\["), max_size=6), st.sampled_from("abcd]-!&~|.\\[^"))
def test_a_set_is_what_fnmatch_takes_it_for(body: str, letter: str) -> None:
    assert PathGlobs(include=(f"[{body}]",)).takes_file(Path(letter)) == fnmatchcase(letter, f"[{body}]")


@given(st.lists(st.text(st.sampled_from("ab.é\n"), min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_plain_path_matches_itself_and_what_is_below(names: list[str]) -> None:
    if any(name in (".", "..") for name in names):
        return
    globs = PathGlobs(include=("/" + "/".join(names),))
    assert globs.takes_file(Path(*names))
    assert globs.takes_file(Path(*names, "below.jpg"))
    assert not globs.takes_file(Path("else", *names))
