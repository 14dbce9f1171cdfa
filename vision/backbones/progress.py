"""A rich progress bar in the shape that the hub's client wants: a tqdm class."""

from __future__ import annotations

from typing import Any

from huggingface_hub.utils import tqdm
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class HubProgress(tqdm):  # type: ignore[misc]
    """Counts as tqdm does and draws with rich, on standard error."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._rich: Progress | None = None
        super().__init__(*args, **kwargs)
        if self.disable:
            return
        self._rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._rich.add_task(self.desc or "weights", total=self.total, completed=self.n)
        self._rich.start()

    def display(self, *args: Any, **kwargs: Any) -> None:
        """Draw the current count."""
        if self._rich is not None:
            self._rich.update(self._task, completed=self.n, total=self.total)

    def close(self) -> None:
        """Draw the last count and let go of the terminal."""
        if self._rich is not None:
            self.display()
            self._rich.stop()
            self._rich = None
        super().close()
