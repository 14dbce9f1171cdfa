"""One phase of a pretraining: trained, resumed, or found to be finished already.

PHASE/objective.safetensors   the objective with its encoder, as the phase left it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import BadFileError
from data.writing import whole_file
from neuro.pretrain.lesson import Lesson, Modelling
from neuro.training.keeping import FILES, Keep
from neuro.training.loop import Listeners, fit
from vision.training.ranks import is_first

OBJECTIVE = "objective.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """A phase.

    Attributes:
        lesson: cohorts and how.
        weights: shares of the cohorts.
        folder: of its files.
    """

    lesson: Lesson
    weights: Sequence[float]
    folder: Path


def run_phase(
    phase: Phase, objective: Modelling, *, resume: bool, listeners: Listeners | None = None
) -> dict[str, Any]:
    """Train in place, or take over what a finished phase left; the losses come back, JSON-ready.

    Args:
        phase: what to do.
        objective: as the phase before left it.
        resume: whether the pretraining goes on; a phase that had not begun then begins.
        listeners: who is told.

    Raises:
        BadFileError: what the finished phase left is damaged.
        StoppedError: a signal asked for it.
    """
    if resume and (phase.folder / FILES.finished).is_file():
        return _finished(phase.folder, objective)
    begun = resume and (phase.folder / FILES.begun).is_file()
    keep = Keep(
        folder=phase.folder,
        identity={"phase": phase.folder.name, "weights": list(phase.weights)},
        resume=begun,
    )
    lesson = phase.lesson
    before = lesson.held_out_loss(objective)
    progress = fit(
        objective,
        lesson.examples(phase.weights),
        lesson.config.training,
        seed=lesson.config.seed,
        keep=keep,
        validate=lambda: lesson.held_out_loss(objective),
        listeners=listeners,
    )
    best = progress.best
    told: dict[str, Any] = {
        "cohorts": [pool.name for pool in lesson.train],
        "weights": [float(weight) for weight in phase.weights],
        "runs": [len(pool) for pool in lesson.train],
        "runs_held_out": [len(pool) for pool in lesson.held],
        "held_out_loss_before": before,
        "held_out_loss": best.value if best is not None else None,
        "best_epoch": best.epoch if best is not None else None,
        "epochs": progress.epochs,
    }
    if is_first():
        _leave(phase.folder, objective, keep, told)
    return told


def _leave(folder: Path, objective: Modelling, keep: Keep, told: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    state = {
        name: value.detach().cpu().clone().contiguous() for name, value in objective.state_dict().items()
    }
    with whole_file(folder / OBJECTIVE) as draft:
        save_file(state, draft)
    keep.run.finish(told)


def _finished(folder: Path, objective: Modelling) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        told: dict[str, Any] = json.loads((folder / FILES.finished).read_text(encoding="utf-8"))
        objective.load_state_dict(load_file(folder / OBJECTIVE))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        words = str(error).partition("\n")[0]
        do = "pretrain anew in another folder"
        raise BadFileError("finished phase", must_be="whole", got=words, do=do, path=folder) from error
    objective.eval()
    return told
