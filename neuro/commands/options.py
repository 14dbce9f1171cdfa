"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from neuro.defaults import PRESETS

NAMES = ", ".join(PRESETS)

Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training runs, instead of the recipe's.")]
BackboneName = Annotated[
    str | None, typer.Option(help="Model whose trunk is used (see `vision models`), instead of the recipe's.")
]
CacheFolder = Annotated[Path, typer.Argument(help="What `neuro prepare` wrote.")]
PresetName = Annotated[
    str, typer.Option("--preset", help=f"Recipe: {NAMES} (see `neuro presets`), or a .toml file.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another value for an option of the recipe: section.key=value. Repeatable."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in --out, with the same options.")
]
InitFrom = Annotated[
    Path | None,
    typer.Option(help="Begin with the encoder in the folder of a pretraining or a training."),
]


def chosen_preset(
    preset: str = PRESETS[0],
    changes: list[str] | None = None,
    *,
    backbone: str | None = None,
    epochs: int | None = None,
    init_from: Path | None = None,
) -> Any:
    """The `Preset` that the options say; with `init_from`, its tokens and model are those of that encoder."""
    from neuro.presets import load_preset

    changes = list(changes or ())
    start = None if init_from is None else _start(init_from, backbone)
    if backbone is not None:
        changes.append(f"model.backbone={json.dumps(backbone, ensure_ascii=False)}")
    if epochs is not None:
        changes.append(f"training.epochs={epochs}")
    return load_preset(preset, changes, start=start)


def _start(folder: Path, backbone: str | None) -> dict[str, Any]:
    """Tokens and model of the encoder in a folder, as sections of a recipe."""
    from dataclasses import asdict

    from data.errors import ParameterError
    from neuro.model.encoder_folder import load_encoder
    from neuro.tokens import spec_as_dict

    if backbone is not None:
        do = "the encoder has its own trunk"
        raise ParameterError("--backbone", must_be="left out with --init-from", got=backbone, do=do)
    encoder, spec = load_encoder(folder, device="cpu")
    return {"tokens": spec_as_dict(spec), "model": asdict(encoder.config)}


def study_config(preset: Any, **rest: Any) -> Any:
    """A `StudyConfig` from a recipe, and what else it takes."""
    from neuro.study import StudyConfig

    return StudyConfig(model=preset.model, tokens=preset.tokens, training=preset.training, **rest)
