"""What one run of indexing did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data.errors import BadFileError


class Failure(NamedTuple):
    """A file that could not be indexed, and why."""

    path: Path
    reason: str

    @classmethod
    def of(cls, path: Path, error: BadFileError) -> Failure:
        """What was found in the place of a picture, and what can be done, without the path once more."""
        return cls(path, str(error.got) + (f"; {error.do}" if error.do else ""))


@dataclass(kw_only=True)
class IndexSummary:
    """What a run did, counted in files.

    Args:
        added: new in the index (copies of a known picture too, which are not embedded again).
        changed: known files with new content.
        moved: known pictures under a new name, whose old name is gone; not embedded again.
        unchanged: as they were.
        removed: known files that are gone.
        failed: files and folders that could not be read, with the reason; they are not in the index.
        embedded: pictures that went through the model.
        seconds: how long it took.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[Failure] = field(default_factory=list)
    embedded: int = 0
    seconds: float = 0.0

    @property
    def has_news(self) -> bool:
        """Whether anything is not as it was."""
        return bool(self.added or self.changed or self.moved or self.removed or self.failed)

    def __str__(self) -> str:
        """E.g. "added 26, unchanged 0, removed 0, failed 1"; changed and moved follow where there are any."""
        line = f"added {self.added}, unchanged {self.unchanged}, removed {self.removed}"
        line += f", failed {len(self.failed)}"
        line += f", changed {self.changed}" if self.changed else ""
        return line + (f", moved {self.moved}" if self.moved else "")
