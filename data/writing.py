"""Files and folders that appear whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import ChiasmError, DiskError, ParameterError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Gives a draft's path to write to; it takes the place of `path` at the end, or is gone after an error.

    The draft has the ending of `path`, as many writers choose their format by it.

    Raises:
        OSError: the place cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.stem}.{_mine()}.partial{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Gives a draft folder to fill; it becomes `path` at the end, or is gone after an error.

    Raises:
        ParameterError: `path` holds something already.
        OSError: the place cannot be written.
    """
    path = Path(path)
    require_new_or_empty(path)
    draft = path.with_name(f".{path.name}.{_mine()}.partial")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(path: str | Path, text: str) -> Path:
    """Text in UTF-8 into a file, whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return Path(path)


@contextmanager
def disk_told(path: str | Path) -> Iterator[None]:
    """Tell a full disk, a used-up quota or a place that may not be written to in one line, as DiskError.

    Only for what writes: a file that cannot be read is another matter.

    Raises:
        DiskError: names `path` and the system's reason.
        OSError: anything else that the system says.
    """
    try:
        yield
    except ChiasmError:
        raise
    except OSError as error:
        if error.errno not in NO_ROOM | FORBIDDEN:
            raise
        full = error.errno in NO_ROOM
        raise DiskError(
            "place to write",
            must_be="one with room" if full else "writable",
            got=os.strerror(error.errno),
            do="make room, or choose another place, and run this again: what is finished is kept"
            if full
            else "choose another place",
            path=path,
        ) from error


def require_new_or_empty(path: str | Path) -> None:
    """Say no to a folder that would be written over.

    Raises:
        ParameterError: something lies there that is no empty folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        found = f"{path}, which {'holds something' if path.is_dir() else 'is a file'}"
        raise ParameterError("folder to write", must_be="new or empty", got=found, do="choose another place")


def _mine() -> str:
    """A part of a draft's name that no other thread writes under, of this process or another."""
    return f"{os.getpid()}-{threading.get_native_id()}"
