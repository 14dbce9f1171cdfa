"""Signals that end a training after its present step: it saves, and can be resumed.

SIGTERM is what a cluster sends before it takes a machine back, SIGINT is Ctrl-C. The first one asks; the
second one ends the process as ever.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self

ASKING = (signal.SIGTERM, signal.SIGINT)


class StoppedError(Exception):
    """Training was asked to stop, and has saved.

    Attributes:
        number: of the signal.
        folder: where the checkpoint lies.
    """

    def __init__(self, number: int, folder: Path, step: int):
        self.number, self.folder = number, folder
        name = signal.Signals(number).name
        super().__init__(f"{name}: stopped after step {step:,} and saved in {folder}; go on with --resume")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.number


class StopRequest:
    """Inside, a first SIGTERM or SIGINT is noted in `number` (0 before) instead of ending the process.

    Outside the main thread Python lets nobody handle signals: there, nothing is noted.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in ASKING}
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
