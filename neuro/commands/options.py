"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuro.defaults import EPOCHS

Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training runs.")]
BackboneName = Annotated[str | None, typer.Option(help="Model whose trunk is used (see `vision models`).")]
CacheFolder = Annotated[Path, typer.Argument(help="What `neuro prepare` wrote.")]


def study_config(backbone: str | None, slices: str | None, *, epochs: int = EPOCHS, **rest: Any) -> Any:
    """A `StudyConfig` from what the options say."""
    from neuro.model.config import DEFAULT_BACKBONE
    from neuro.study import StudyConfig
    from neuro.training.supervised import TrainingConfig

    return StudyConfig(
        backbone=backbone or DEFAULT_BACKBONE,
        slice_backbone=slices,
        training=TrainingConfig(epochs=epochs),
        **rest,
    )
