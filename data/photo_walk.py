"""Find photographs under folders: sorted, streamed, each real folder once, by name and by pattern."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from data.errors import BadFileError
from data.path_globs import PathGlobs

PHOTO_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}
    | {".avif", ".heic", ".heif"}
)


def walk_photos(
    roots: Iterable[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    extensions: Iterable[str] = PHOTO_EXTENSIONS,
    on_error: Callable[[Path, str], None] | None = None,
) -> Iterator[Path]:
    """Photographs under the folders `roots`, as absolute paths, by name, one folder's listing in memory.

    Each real folder is visited once, however many roots or symbolic links lead to it, so that loops end;
    links to folders come after everything that is reached without them. Files and folders whose name begins
    with a dot (thumbnail caches, the `._` halves that macOS leaves behind) are passed over.

    Args:
        include: patterns as of `data.path_globs.PathGlobs`, of which a file must match one; none for all.
        exclude: patterns of files and folders to pass over.
        extensions: file name endings to look for, in lower case; the case of the name does not matter.
        on_error: told of each folder or file that cannot be looked at, and why; such places are passed over.

    Raises:
        BadFileError: at once, where a root is missing or is no folder.
        ParameterError: at once, for a pattern that means nothing.
    """
    tops = deque(photo_folder(root) for root in roots)
    globs = PathGlobs(tuple(include), tuple(exclude))
    walk = _Walk(globs, frozenset(extensions), on_error or (lambda path, reason: None))
    return walk.run(tops)


def photo_folder(root: str | Path) -> Path:
    """A folder to look for photographs in, as an absolute path.

    Raises:
        BadFileError: it is missing, or no folder.
    """
    folder = absolute_path(root)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise BadFileError("photo folder", must_be="a folder", got=found, do="check the path", path=root)
    return folder


def absolute_path(path: str | Path) -> Path:
    """The path from the root on, `~` and `..` written out, symbolic links kept as the person named them."""
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


def folder_of(path: Path, roots: Iterable[Path]) -> Path | None:
    """The innermost of the absolute folders `roots` that `path` lies under; None where it lies under none."""
    around = [root for root in roots if path.is_relative_to(root)]
    return max(around, key=lambda root: len(root.parts), default=None)


class _Walk:
    """One walk: the folders already visited, and the links to folders left for the end."""

    def __init__(
        self, globs: PathGlobs, extensions: frozenset[str], on_error: Callable[[Path, str], None]
    ) -> None:
        self.globs, self.extensions, self.on_error = globs, extensions, on_error
        self.visited: set[tuple[int, int]] = set()
        self.links: deque[tuple[Path, Path]] = deque()

    def run(self, tops: deque[Path]) -> Iterator[Path]:
        while tops:
            root = tops.popleft()
            yield from self.tree(root, root)
        while self.links:
            yield from self.tree(*self.links.popleft())

    def tree(self, root: Path, top: Path) -> Iterator[Path]:
        """Photographs under `top`, which lies under `root` or is the root itself."""
        stack = [(top, True)]
        while stack:
            path, is_folder = stack.pop()
            if is_folder:
                stack.extend(reversed(self.listing(root, path)))
            else:
                yield path

    def listing(self, root: Path, folder: Path) -> list[tuple[Path, bool]]:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in self.visited:
                return []
            self.visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.on_error(folder, error.strerror or str(error))
            return []
        return [item for entry in entries if (item := self.sort_out(root, entry)) is not None]

    def sort_out(self, root: Path, entry: os.DirEntry[str]) -> tuple[Path, bool] | None:
        """The entry and whether it is a folder to go into; None for what is passed over or put off."""
        path = Path(entry.path)
        try:
            if entry.name.startswith("."):
                return None
            if entry.is_dir(follow_symlinks=False):
                return None if self.globs.leaves_folder(path.relative_to(root)) else (path, True)
            if path.suffix.lower() in self.extensions and entry.is_file():
                return (path, False) if self.globs.takes_file(path.relative_to(root)) else None
            if entry.is_symlink() and entry.is_dir() and not self.globs.leaves_folder(path.relative_to(root)):
                self.links.append((root, path))
        except OSError as error:
            self.on_error(path, error.strerror or str(error))
        return None
