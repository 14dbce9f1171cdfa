"""The loop of every training, with labels or without: epochs of steps, checkpoints, validation, logs.

All that a step depends on is either a function of seed, epoch and step, or in the checkpoint; so an
interrupted run goes on to the very losses that it would have had.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import ParameterError
from neuro.training.config import TrainingConfig
from neuro.training.examples import Examples, batches_of, dealt
from neuro.training.keeping import Keep
from neuro.training.logs import Board, write_history
from neuro.training.processes import deterministic
from neuro.training.stepper import Stepper, Told
from vision.training.ahead import ahead
from vision.training.interruption import StoppedError, StopRequest
from vision.training.random_state import aside
from vision.training.run_folder import Best, Progress


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Who is told how far training is, in the first process alone.

    Attributes:
        on_step: (steps done, all steps, loss).
        on_epoch: (number from 0, mean loss).
    """

    on_step: Callable[[int, int, float], None] | None = None
    on_epoch: Callable[[int, float], None] | None = None


def fit(
    objective: nn.Module,
    examples: Examples,
    config: TrainingConfig,
    *,
    seed: int = 0,
    keep: Keep | None = None,
    validate: Callable[[], float] | None = None,
    listeners: Listeners | None = None,
) -> Progress:
    """Train in place, on the device that the objective lies on; the processes of torchrun share the work.

    Left in place are the best weights where there is a validation, else the moving average where there is
    one, else the last ones; all in evaluation mode. A kept run still has its checkpoint: the caller writes
    its result, then calls `keep.finish()`.

    Args:
        objective: batch -> a loss for each sample (B,), already weighted; what of it learns is what requires
            a gradient.
        examples: what is trained on.
        config: how.
        seed: of what is drawn in the forward pass (drop path); `examples` has its own.
        keep: where checkpoints lie, and whether to resume; without it nothing is written, and signals do
            what they always do.
        validate: called after each epoch, in evaluation mode and with the averaged weights; lower is better.
        listeners: who is told.

    Returns:
        The losses of steps and epochs, and the best epoch.

    Raises:
        ParameterError: nothing to train with, a folder that holds something, a precision that the device has
            not, or a loss that is no number.
        BadFileError: there is no run to resume, or it is damaged.
        FingerprintMismatchError: the run to resume is another one.
        StoppedError: a signal asked for it; the run is saved.
    """
    if not len(examples):
        raise ParameterError("examples", must_be="at least one", got=0)
    steps = len(batches_of(len(examples), config.batch_size)) * config.epochs
    with aside(), deterministic(config.machine.deterministic):
        stepper = Stepper(objective, config, seed=seed, total=steps)
        loop = _Loop(stepper, examples, config, keep=keep, listeners=listeners or Listeners())
        loop.open()
        with StopRequest() if keep is not None else nullcontext() as stop:
            return loop.run(validate, stop)


class _Loop:
    def __init__(
        self,
        stepper: Stepper,
        examples: Examples,
        config: TrainingConfig,
        *,
        keep: Keep | None,
        listeners: Listeners,
    ):
        self.stepper, self.examples, self.config, self.keep = stepper, examples, config, keep
        self.listeners = listeners if stepper.is_first else Listeners()
        self.progress = Progress()
        self.batches = batches_of(len(examples), config.batch_size)

    def open(self) -> None:
        """Begin the run that is kept, or go on with it."""
        if self.keep is None:
            return
        stepper = self.stepper
        samples = len(self.examples)
        saved = self.keep.open(self.config, seed=stepper.seed, samples=samples, is_first=stepper.is_first)
        if saved is not None:
            self.stepper.restore(saved)
            self.progress = saved["progress"]

    def run(self, validate: Callable[[], float] | None, stop: StopRequest | None) -> Progress:
        """Train to the end, and leave the weights that are wanted."""
        wanted = self.config.machine.tensorboard and self.keep is not None and self.stepper.is_first
        folder = self.keep.folder if wanted and self.keep is not None else None
        self.board = Board(folder, step=len(self.progress.step_losses))
        try:
            while not self._is_over():
                self._epoch(validate, stop)
        finally:
            self.board.close()
        self._settle()
        return self.progress

    def _is_over(self) -> bool:
        done, best, patience = len(self.progress.epochs), self.progress.best, self.config.patience
        waited = best is not None and patience is not None and done - best.epoch >= patience
        return done >= self.config.epochs or waited

    def _epoch(self, validate: Callable[[], float] | None, stop: StopRequest | None) -> None:
        epoch, losses = len(self.progress.epochs), self.progress.step_losses
        first = epoch * len(self.batches)
        left = self.batches[len(losses) - first :]
        for size, parts in ahead(dealt(self.examples, left, epoch, self.stepper.share)):
            asked = stop is not None and stop.number > 0
            told = self.stepper.step(len(losses), size, parts, asked=asked)
            losses.append(told.loss)
            self._after_step(told, stop)
        mean = float(np.average(losses[first:], weights=[len(batch) for batch in self.batches]))
        record: dict[str, Any] = {"epoch": epoch + 1, "train_loss": mean}
        if validate is not None:
            record["validation"] = self._validated(validate, epoch + 1)
            self.board.tell(len(losses), validation=record["validation"])
        self.progress.epochs.append(record)
        self._save()
        if self.listeners.on_epoch is not None:
            self.listeners.on_epoch(epoch, mean)

    def _after_step(self, told: Told, stop: StopRequest | None) -> None:
        """Tell, and save where it is time or asked for."""
        done, every = len(self.progress.step_losses), self.config.machine.checkpoint_steps
        rate = self.stepper.rate(done - 1)
        self.board.tell(done, loss=told.loss, learning_rate=rate, gradient=told.gradient)
        if self.listeners.on_step is not None:
            self.listeners.on_step(done, self.stepper.total, told.loss)
        if told.asked or (every and done % every == 0):
            self._save()
        if told.asked:
            assert stop is not None
            assert self.keep is not None
            raise StoppedError(stop.number or signal.SIGTERM, self.keep.folder, done)

    def _validated(self, validate: Callable[[], float], epoch: int) -> float:
        """The validation of an epoch (from 1); its weights are kept where they are the best so far."""
        self.stepper.objective.eval()
        average = self.stepper.average
        with average.averaged() if average is not None else nullcontext(), torch.no_grad():
            value = self.stepper.agreed(validate())
            best = self.progress.best
            if best is None or value < best.value:
                self.progress.best = Best(epoch=epoch, value=value, weights=self.stepper.weights())
        return value

    def _settle(self) -> None:
        """The weights that are wanted, in evaluation mode."""
        best, average = self.progress.best, self.stepper.average
        if best is not None:
            self.stepper.set_weights(best.weights)
        elif average is not None:
            with average.averaged():
                weights = self.stepper.weights()
            self.stepper.set_weights(weights)
        self.stepper.objective.eval()

    def _save(self) -> None:
        if self.keep is None or not self.stepper.is_first:
            return
        rates = [self.stepper.rate(step) for step in range(len(self.progress.step_losses))]
        write_history(self.keep.folder, self.progress, rates, len(self.batches))
        self.keep.run.save(self.stepper.state(), self.progress)
