"""How far a training is, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from neuro.console import progress_bars
from neuro.training.loop import Listeners


@contextmanager
def training_bar(*, shown: bool) -> Iterator[Listeners]:
    """A bar that counts steps; `shown` is False in the processes that print nothing."""
    if not shown:
        yield Listeners()
        return
    with progress_bars() as bars:
        bar = bars.add_task("Training", total=None)

        def on_step(done: int, total: int, loss: float) -> None:
            bars.update(bar, completed=done, total=total, description=f"Training, loss {loss:.3f}")

        yield Listeners(on_step=on_step)
