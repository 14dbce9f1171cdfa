"""How far a training is, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from neuro.console import progress_bars
from neuro.training.loop import Listeners
from vision.training.interruption import StoppedError
from vision.training.ranks import is_first


@contextmanager
def training_bar() -> Iterator[Listeners]:
    """A bar that counts steps, in the first process; a training that was asked to stop ends the command.

    Raises:
        SystemExit: with the exit code of the signal, after a line that says how to go on.
    """
    try:
        if not is_first():
            yield Listeners()
            return
        with progress_bars() as bars:
            bar = bars.add_task("Training", total=None)

            def on_step(done: int, total: int, loss: float) -> None:
                bars.update(bar, completed=done, total=total, description=f"Training, loss {loss:.3f}")

            yield Listeners(on_step=on_step)
    except StoppedError as stopped:
        if is_first():
            print(stopped)
        raise SystemExit(stopped.exit_code) from None
