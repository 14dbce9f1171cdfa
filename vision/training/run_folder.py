"""What a training leaves on disk, so that an interrupted one goes on as if nothing had been.

Three files tell how far a run is; each appears whole or not at all:
- what is being done, written first (options, data, model): it tells a run to resume from a new one;
- the checkpoint (weights that learn, optimizer, losses so far), which is gone once the run is finished;
- the last file of the result. The rest of the result lies beside these, and is the caller's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.writing import require_new_or_empty, whole_file, write_whole

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Names of the three files.

    Attributes:
        begun: what is being done (JSON).
        checkpoint: how far it is.
        finished: the last file of the result.
        train_on: what to do with a finished run, instead of resuming it.
    """

    begun: str
    checkpoint: str
    finished: str
    train_on: str


@dataclass(kw_only=True)
class Best:
    """The best epoch on validation (from 1), what was watched there, and the weights that learn."""

    epoch: int
    value: float
    weights: dict[str, torch.Tensor]


@dataclass(kw_only=True)
class Progress:
    """How far training is.

    Attributes:
        step_losses: one a step taken, first to last.
        epochs: one record an epoch finished.
        best: of the epochs that were validated.
    """

    step_losses: list[float] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None

    @property
    def epoch_losses(self) -> list[float]:
        """Mean training loss of each epoch."""
        return [float(record["train_loss"]) for record in self.epochs]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values and tensors."""
        return vars(self) | {"best": None if self.best is None else vars(self.best)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Progress:
        """The inverse of `to_dict`."""
        return cls(**{**found, "best": None if found["best"] is None else Best(**found["best"])})


class RunFolder:
    """The folder of one run, begun or continued."""

    def __init__(self, path: str | Path, files: RunFiles):
        self.path, self.files = Path(path), files
        self.begun, self.checkpoint = self.path / files.begun, self.path / files.checkpoint
        self.finished = self.path / files.finished

    def require_new(self) -> None:
        """Say no to a folder that holds something.

        Raises:
            ParameterError: it does.
        """
        if self.begun.is_file():
            got = f"{self.path}, which holds a run"
            raise ParameterError(
                "folder to write", must_be="new or empty", got=got, do="go on with --resume, or name another"
            )
        require_new_or_empty(self.path)

    def require_unfinished(self) -> None:
        """Say no to a run that has come to its end.

        Raises:
            ParameterError: it has.
        """
        if self.finished.is_file() and not self.checkpoint.is_file():
            got = f"{self.path}, which is finished"
            raise ParameterError("run to resume", must_be="unfinished", got=got, do=self.files.train_on)

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Make a new run here."""
        self.require_new()
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.begun, json.dumps({"format": FORMAT, **identity}, indent=1) + "\n")

    def resume(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """The checkpoint of the run that lies here; None where it had not come to its first.

        Raises:
            BadFileError: no run lies here, or its files are damaged.
            FingerprintMismatchError: it is a run of other options, pairs or another model; says which differ.
            ParameterError: it is finished.
        """
        self._check_same({"format": FORMAT, **identity})
        self.require_unfinished()
        for left in self.path.glob(".*.partial*"):  # what a killed process was writing
            if left.is_dir():  # of the model, at the very end
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)  # another process of the same training may be quicker
        return self._load() if self.checkpoint.is_file() else None

    def save(self, state: Mapping[str, Any], progress: Progress) -> None:
        """Write a checkpoint in the place of the last one."""
        with whole_file(self.checkpoint) as draft:
            torch.save({**state, "progress": progress.to_dict()}, draft)

    def finish(self, last: Mapping[str, Any] | None = None) -> None:
        """Write the last file, where the caller has not, and let the checkpoint go: the run is finished."""
        if last is not None:
            write_whole(self.finished, json.dumps(last, indent=1) + "\n")
        self.checkpoint.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any]:
        path = self.checkpoint
        try:
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            found["progress"] = Progress.from_dict(found["progress"])
        except Exception as error:  # torch.load raises nearly anything on a damaged file
            raise BadFileError(
                "checkpoint", must_be="whole", got=f"{error}".split("\n")[0], do="begin anew", path=path
            ) from error
        return found

    def _check_same(self, wanted: dict[str, Any]) -> None:
        path = self.begun
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadFileError(
                "run to resume",
                must_be="there",
                got="no run",
                do="begin one without --resume",
                path=self.path,
            ) from error
        except (OSError, ValueError) as error:
            raise BadFileError("run", must_be="readable", got=str(error), path=path) from error
        # As JSON has them on both sides: a tuple is a list there.
        before, now = _flat(there), _flat(json.loads(json.dumps(wanted)))
        differing = [
            f"{key} {before.get(key, 'unset')} there, {now.get(key, 'unset')} here"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if differing:
            raise FingerprintMismatchError(
                "run to resume",
                must_be="the one that was begun",
                got="; ".join(differing),
                do="give the same options and data, or begin a new run in another folder",
                path=self.path,
            )


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {prefix: content}
    return {
        name: value
        for key, part in content.items()
        for name, value in _flat(part, f"{prefix}.{key}" if prefix else key).items()
    }
