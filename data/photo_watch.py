"""Watch folders for photographs that come, change and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import Change, watch

from data.path_globs import PathGlobs
from data.photo_walk import PHOTO_EXTENSIONS, folder_of, photo_folder, walk_photos

QUIET_MS = 300  # without a change before a batch is given, so that files are whole
LONGEST_MS = 5_000  # that a batch waits while changes go on
TURN_MS = 1_000  # between two looks at the stop event, where nothing changes
BURST = 4_096  # changes at once; the system's queue holds a few times that, and drops the rest unseen


class StopEvent(Protocol):
    """Such as `threading.Event`."""

    def is_set(self) -> bool:
        """Whether to stop."""


@dataclass(frozen=True, kw_only=True)
class PhotoChanges:
    """What happened within a moment.

    Args:
        present: photographs that are there and may be new or changed.
        gone: photographs, and folders that may have held some, that are there no more.
    """

    present: frozenset[Path]
    gone: frozenset[Path]


def watch_photos(
    roots: Iterable[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stop_event: StopEvent | None = None,
) -> Iterator[PhotoChanges]:
    """Batches of changes under the folders `roots`, for ever, or until `stop_event` is set.

    Photographs are what `walk_photos` takes for such. The first batch, as soon as the watch is up, has all
    that are there, so that nothing is missed between an earlier walk and the watch; so has one after so many
    changes at once that the system may have dropped some. New folders are looked into.

    Raises:
        BadFileError: at once, where a root is missing or is no folder.
        ParameterError: at once, for a pattern that means nothing.
    """
    folders = [photo_folder(root) for root in roots]
    return _Watch(folders, PathGlobs(tuple(include), tuple(exclude))).run(stop_event)


class _Watch:
    """The folders watched, and what counts there."""

    def __init__(self, roots: Sequence[Path], globs: PathGlobs):
        self.roots, self.globs = roots, globs

    def run(self, stop_event: StopEvent | None) -> Iterator[PhotoChanges]:
        everything = True
        for changes in watch(
            *self.roots,
            watch_filter=None,
            debounce=LONGEST_MS,
            step=QUIET_MS,
            rust_timeout=TURN_MS,
            yield_on_timeout=True,
            stop_event=stop_event,
            ignore_permission_denied=True,
        ):
            batch = self.batch(changes, everything or len(changes) >= BURST)
            everything = False
            if batch.present or batch.gone:
                yield batch

    def batch(self, changes: Iterable[tuple[Change, str]], everything: bool) -> PhotoChanges:
        paths = {Path(path) for _, path in changes}
        gone = {path for path in paths if not path.exists() and self.may_hold_photos(path)}
        present = set(self.photos(self.roots)) if everything else set(self.photos(paths))
        return PhotoChanges(present=frozenset(present), gone=frozenset(gone))

    def photos(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Those among the paths that are photographs, and those in the ones that are folders."""
        for path in paths:
            if path.is_dir():
                yield from filter(self.counts, walk_photos([path]))
            elif path.suffix.lower() in PHOTO_EXTENSIONS and path.is_file() and self.counts(path):
                yield path

    def counts(self, path: Path) -> bool:
        inner = self.inner(path)
        return inner is not None and self.globs.takes_file(inner)

    def may_hold_photos(self, path: Path) -> bool:
        """Of what is gone nobody can tell whether it was a folder: a name without an ending may have been."""
        if path.suffix.lower() in PHOTO_EXTENSIONS:
            return self.counts(path)
        inner = self.inner(path)
        return inner is not None and not self.globs.leaves_folder(inner)

    def inner(self, path: Path) -> Path | None:
        """The path from its root on; None outside of all, and where a name is hidden."""
        root = folder_of(path, self.roots)
        if root is None:
            return None
        inner = path.relative_to(root)
        return None if any(name.startswith(".") for name in inner.parts) else inner
