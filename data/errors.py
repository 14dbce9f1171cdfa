"""One family of errors. Each says what was wrong, what was found, what was expected and what to do.

Everything here ends a command line with exit code 2 and one line on standard error; anything else is a bug
and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ChiasmError(Exception):
    """An input that Chiasm cannot use, told in one line.

    Args:
        what: the thing that is wrong ("repetition time", "--k", "participants table").
        must_be: what was expected.
        got: what was found instead.
        do: what the person can do about it.
        path: the file it stands in, where there is one.
    """

    def __init__(self, what: str, *, must_be: str, got: object, do: str = "", path: str | Path | None = None):
        self.what, self.must_be, self.got, self.do = what, must_be, got, do
        self.path = Path(path) if path is not None else None
        place = f"{self.path}: " if self.path is not None else ""
        advice = f"; {do}" if do else ""
        message = f"{place}{what} must be {must_be}, got {got}{advice}"
        super().__init__(message if message.endswith("?") else f"{message}.")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would otherwise be lost on the way back from a worker process.
        return _rebuild, (type(self), self.what, self.must_be, self.got, self.do, self.path)


def _rebuild(
    kind: type[ChiasmError], what: str, must_be: str, got: object, do: str, path: Path | None
) -> ChiasmError:
    return kind(what, must_be=must_be, got=got, do=do, path=path)


class BadFileError(ChiasmError, ValueError):
    """A file is missing, unreadable, cut short, or not what its place promises."""


class DiskError(ChiasmError, OSError):
    """What was made cannot be written: the disk is full, a quota is used up, or the place forbids it."""


class ParameterError(ChiasmError, ValueError):
    """A parameter or option has a value that cannot work."""


class UnknownNameError(ParameterError):
    """A name that no registry knows; the message offers the nearest known ones."""


class MissingDependencyError(ChiasmError):
    """An optional package is not installed; the message names the extra that brings it."""


class HubUnreachableError(ChiasmError, ConnectionError):
    """Weights are neither in the cache nor to be had from the hub."""


class FingerprintMismatchError(ChiasmError, ValueError):
    """Two things made by different models, weights, preprocessing or recipes were about to be mixed."""


class LeakError(ChiasmError, ValueError):
    """The same person stands on both sides of a split."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The known names closest to `name`, as words for the `do` part of an error."""
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)
    return f"did you mean {' or '.join(matches)}?" if matches else ""
