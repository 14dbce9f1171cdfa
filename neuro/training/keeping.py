"""Where a training is kept while it runs, and what it must have in common with the one that it goes on with.

RUN/begun.json    what is being done: options, data, model
RUN/training.pt   how far it is; gone once the run is finished
RUN/history.csv   a row a step, rewritten whole with each checkpoint
RUN/tensorboard/  the same for TensorBoard, where asked for
The finished model lies beside these; its last file is run.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuro.training.config import TrainingConfig
from vision.training.run_folder import RunFiles, RunFolder

HISTORY, TENSORBOARD = "history.csv", "tensorboard"
FILES = RunFiles(
    begun="begun.json",
    checkpoint="training.pt",
    finished="run.json",
    train_on="begin from its weights with --init-from, into another folder",
)


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A folder to keep a training in.

    Attributes:
        folder: new or empty; with `resume` that of the run to go on with.
        identity: what the course of training depends on, beside its configuration and seed, JSON-ready.
        resume: go on with the run that lies there.
    """

    folder: Path
    identity: Mapping[str, Any]
    resume: bool = False

    def __post_init__(self) -> None:
        json.dumps(dict(self.identity))  # a programmer's mistake is found before training

    @property
    def run(self) -> RunFolder:
        """The folder."""
        return RunFolder(self.folder, FILES)

    def require_ready(self) -> None:
        """Find a wrong folder before anything is computed.

        Raises:
            ParameterError: it holds something; or it is to be resumed and is finished.
        """
        if self.resume:
            self.run.require_unfinished()
        else:
            self.run.require_new()

    def open(
        self, config: TrainingConfig, *, seed: int, samples: int, is_first: bool
    ) -> dict[str, Any] | None:
        """Begin the run, or find how far it is: each process reads, the first one writes.

        Args:
            config: of the training.
            seed: of what is drawn.
            samples: in a pass.
            is_first: whether this process is the one that writes.

        Returns:
            The checkpoint to go on from; None where there is none.

        Raises:
            ParameterError: the folder holds something; or the run to resume is finished.
            BadFileError: there is no run to resume, or it is damaged.
            FingerprintMismatchError: the run to resume is another one.
        """
        identity = {"training": config.identity(), "seed": seed, "samples": samples, **self.identity}
        if self.resume:
            return self.run.resume(identity)
        if is_first:
            self.run.begin(identity)
        return None

    def finish(self) -> None:
        """Let the checkpoint go, once the finished model is written."""
        self.run.finish()
