"""Which files below a folder are meant: patterns as in a `.gitignore`, to take and to leave out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data.errors import ParameterError


@dataclass(frozen=True)
class PathGlobs:
    """Patterns, each matched on a path relative to the root of the walk.

    `*` and `?` stand for characters of one name and `[ab]` for one of these; `**` stands for any folders. A
    pattern without a slash, `*.png` or `raw`, matches a name at any depth; one with a slash, `2020/*.jpg`,
    counts from the root; one that ends with a slash matches folders only. What matches a folder matches all
    that is in it. Upper and lower case are told apart. Unlike in a `.gitignore`, `!` takes nothing back.

    Args:
        include: what to take; nothing given means everything.
        exclude: what to leave out, also of what `include` takes.

    Raises:
        ParameterError: a pattern that is empty or begins with `!`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            if not pattern.strip("/") or pattern.startswith("!"):
                do = "write what to leave out as an exclude pattern" if pattern.startswith("!") else ""
                raise ParameterError("pattern", must_be="like *.png or trips/**", got=repr(pattern), do=do)

    def takes_file(self, path: Path) -> bool:
        """Whether the file at `path`, relative to the root, is meant."""
        text = path.as_posix()
        if self._excluded is not None and _matches(self._excluded, text):
            return False
        return self._included is None or _matches(self._included, text)

    def leaves_folder(self, path: Path) -> bool:
        """Whether nothing in the folder at `path`, relative to the root, can be meant."""
        return self._excluded is not None and _matches(self._excluded, f"{path.as_posix()}/")

    @cached_property
    def _included(self) -> re.Pattern[str] | None:
        return _compiled(self.include)

    @cached_property
    def _excluded(self) -> re.Pattern[str] | None:
        return _compiled(self.exclude)


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL)


def _expression(pattern: str) -> str:
    """A regular expression for the path itself and, as a folder's, for everything below it."""
    body = pattern.strip("/")
    anchored = "/" in body or pattern.startswith("/")
    names = body.split("/")
    start = "" if anchored else "(?:.*/)?"
    parts = [_folders(name, last=index == len(names) - 1) for index, name in enumerate(names)]
    below = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    return start + "".join(parts) + ("" if names[-1] == "**" else below)


def _folders(name: str, *, last: bool) -> str:
    if name == "**":
        return ".+" if last else "(?:.*/)?"
    return _name(name) + ("" if last else "/")


def _name(glob: str) -> str:
    """One name's pattern -> regular expression that crosses no slash."""
    expression, at = "", 0
    while at < len(glob):
        character, at = glob[at], at + 1
        if character == "*":
            expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "[" and (end := _end_of_set(glob, at)) > 0:
            expression, at = expression + _set(glob[at:end]), end + 1
        elif character == "\\" and at < len(glob):
            expression, at = expression + re.escape(glob[at]), at + 1
        else:
            expression += re.escape(character)
    return expression


def _end_of_set(glob: str, at: int) -> int:
    """Where the `]` of a set is that begins at `at`, or -1; one that comes first is a member."""
    first = at + (glob[at : at + 1] in ("!", "^"))
    return glob.find("]", first + 1)


def _set(body: str) -> str:
    """What stands between brackets -> regular expression of one character; a range the wrong way is empty."""
    negated = body[0] in ("!", "^")
    left, members = body[negated:], ""
    while left:
        is_range = len(left) > 2 and left[1] == "-"
        low, high = left[0], left[2] if is_range else left[0]
        if low <= high:
            members += f"{re.escape(low)}-{re.escape(high)}" if is_range else re.escape(low)
        left = left[3 if is_range else 1 :]
    if not members:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{members}]"
