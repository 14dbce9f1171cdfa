"""The files of a cache beside its runs: recipe.json, and what an interrupted preparation left lying."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.caches.run_writing import PARTIAL
from data.cleaning.as_given import recipe_of
from data.cleaning.recipe import Recipe
from data.errors import BadFileError, DiskError, FingerprintMismatchError, ParameterError
from data.writing import disk_told, write_whole

FORMAT = 2
DRAFTS = ".*.partial.*"  # what `data.writing` leaves of a file where its process is killed
RECIPE, COHORT, EXCLUDED, RUNS = "recipe.json", "cohort.tsv", "excluded.tsv", "runs"


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Hold a cache's folder for one preparation: a second one would sweep away the first one's drafts.

    It is made if need be. The system lets go of it when the process ends, however it ends; where the file
    system knows no locks, nothing is held.

    Raises:
        BadFileError: another process prepares it.
        DiskError: it cannot be made.
    """
    if root.exists() and not root.is_dir():
        yield  # `begin` says what is wrong with it
        return
    with disk_told(root):
        root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY)
    try:
        _lock(folder, root)
        yield
    finally:
        os.close(folder)


def begin(root: Path, recipe: Recipe) -> None:
    """Make the folder, or check that it is ours; sweep what an interrupted preparation left behind.

    Raises:
        FingerprintMismatchError: the folder holds runs of another recipe.
        ParameterError: it holds something else.
        BadFileError: its recipe is of another version of Chiasm.
        DiskError: it cannot be written.
    """
    written = read_recipe(root)
    if written is None and root.exists() and not (root.is_dir() and _is_bare(root)):
        raise ParameterError(
            "cache", must_be="a new or empty folder", got=f"{root}, which holds other things"
        )
    if written is not None and written["identity"] != recipe.identity and has_runs(root):
        raise FingerprintMismatchError(
            "recipe",
            must_be=f"that of the cache ({written['identity']})",
            got=recipe.identity,
            do="prepare into another folder, or remove this one",
            path=root,
        )
    for left in (root / RUNS).glob(f"{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in (*root.glob(DRAFTS), *root.glob(f"{RUNS}/*/{DRAFTS}"), *root.glob(f"{RUNS}/*/*/{DRAFTS}")):
        left.unlink()
    content = {
        "format": FORMAT,
        "identity": recipe.identity,
        "recipe": asdict(recipe),
        "versions": _versions(),
    }
    try:
        with disk_told(root):
            (root / RUNS).mkdir(parents=True, exist_ok=True)
            write_whole(root / RECIPE, json.dumps(content, indent=1))
    except DiskError:
        if not has_runs(root):
            undo(root)
        raise


def undo(root: Path) -> None:
    """Leave nothing behind of a preparation that came to nothing."""
    shutil.rmtree(root / RUNS, ignore_errors=True)
    for name in (RECIPE, COHORT, EXCLUDED):
        (root / name).unlink(missing_ok=True)
    if root.is_dir() and _is_bare(root):
        shutil.rmtree(root, ignore_errors=True)


def has_runs(root: Path) -> bool:
    """Whether a run is finished."""
    return any((root / RUNS).glob("*/run.json"))


def read_recipe(root: Path) -> dict[str, Any] | None:
    """What recipe.json holds, checked, or None where there is none.

    Raises:
        BadFileError: another version of Chiasm wrote it.
    """
    path = root / RECIPE
    if not path.is_file():
        return None
    try:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if written["format"] != FORMAT:
            raise ValueError(f"format {written['format']}, of another version of Chiasm")
        recipe = recipe_of(written["recipe"])
        if recipe.identity != written["identity"]:
            raise ValueError(f"the identity {written['identity']}, which is now {recipe.identity}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            "cache's recipe",
            must_be="one that this version wrote",
            got=str(error),
            do="prepare into a new folder",
            path=path,
        ) from error
    return written


def _lock(folder: int, root: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadFileError(
            "cache",
            must_be="free",
            got="one that another process is preparing",
            do="wait for it to end",
            path=root,
        ) from error
    except OSError:
        pass  # no locks here


def _is_bare(root: Path) -> bool:
    """Whether a folder holds nothing but what a killed preparation was writing."""
    return all(path.match(DRAFTS) for path in root.iterdir())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("chiasm", "nibabel", "nilearn", "numpy", "scipy")}
