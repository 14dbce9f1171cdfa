"""An encoder in a folder, without a readout: what pretraining leaves, and what trainings begin with.

FOLDER/encoder.json          format, how runs are cut, layout, configuration, fingerprint, versions
FOLDER/backbone/             the trunk, as `local:FOLDER/backbone`
FOLDER/encoder.safetensors   patch embeddings and gains
Nothing in it is executed when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data.errors import BadFileError, ParameterError
from data.writing import whole_folder
from neuro.model.config import ModelConfig
from neuro.model.encoder import BrainEncoder
from neuro.options_from import options_from
from neuro.tokens.kinds import spec_as_dict, spec_from
from neuro.tokens.run_tokens import TokenLayout, TokenSpec
from vision.backbones import load_backbone, save_backbone
from vision.backbones.registry import resolve_device

FORMAT = 1
DESCRIPTION, WEIGHTS, BACKBONE = "encoder.json", "encoder.safetensors", "backbone"
SHARED_PART = "backbone."  # state of the trunk, which is saved in a folder of its own
INNER = "encoder"  # a whole pretraining has the encoder in here


class _Place(NamedTuple):
    """Where an encoder lies: its folder, its description, its weights, and what their names begin with."""

    folder: Path
    description: str
    weights: str
    prefix: str


def save_encoder(encoder: BrainEncoder, spec: TokenSpec, folder: str | Path) -> Path:
    """Write an encoder into a new or empty folder, whole or not at all.

    Args:
        encoder: as it is now.
        spec: how the runs are cut that it takes.
        folder: where to.

    Raises:
        ParameterError: the folder holds something.
    """
    import timm
    from safetensors.torch import save_file

    with whole_folder(folder) as draft:
        save_backbone(encoder.backbone, draft / BACKBONE)
        state = {k: v for k, v in encoder.state_dict().items() if not k.startswith(SHARED_PART)}
        # Cloned, as two names of one tensor are refused.
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, draft / WEIGHTS)
        facts = {
            "format": FORMAT,
            "tokens": spec_as_dict(spec),
            "layout": asdict(encoder.layout),
            "config": asdict(encoder.config),
            "fingerprint": encoder.backbone.fingerprint,
            "libraries": {"torch": torch.__version__, "timm": timm.__version__},
        }
        (draft / DESCRIPTION).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def load_encoder(
    folder: str | Path, *, device: str = "auto", layout: TokenLayout | None = None
) -> tuple[BrainEncoder, TokenSpec]:
    """A private copy of an encoder, in evaluation mode, and how the runs are cut that it takes.

    Args:
        folder: that `save_encoder` wrote, or one that `neuro pretrain` or `neuro train` did.
        device: "auto" takes cuda, then mps, then cpu.
        layout: of the tokens that it is to take; None takes its own.

    Raises:
        BadFileError: the folder is none of these, or a file of it is damaged.
        ParameterError: another layout, or there is no such device.
    """
    from safetensors import SafetensorError

    resolve_device(device)  # a wrong device is not the folder's fault
    try:
        place = _place(Path(folder))
        facts = json.loads((place.folder / place.description).read_text(encoding="utf-8"))
        own = TokenLayout.from_facts(facts["layout"])
        _check_layout(own, layout, Path(folder))
        return _load(place, facts, own, device), spec_from(facts["tokens"])
    except _LayoutError as error:
        raise error.told from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        words = error.got if isinstance(error, BadFileError) else str(error).partition("\n")[0]
        raise BadFileError(
            "encoder",
            must_be="a folder that `neuro pretrain` or `neuro train` wrote",
            got=f"{type(error).__name__}: {words}",
            do="name another, or pretrain again",
            path=folder,
        ) from error


class _LayoutError(Exception):
    """The folder is whole, and not what is wanted."""

    def __init__(self, told: ParameterError):
        self.told = told


def _check_layout(own: TokenLayout, wanted: TokenLayout | None, folder: Path) -> None:
    if wanted is not None and wanted != own:
        raise _LayoutError(
            ParameterError(
                "tokens",
                must_be=f"as those that the encoder in {folder} takes ({own})",
                got=wanted,
                do="cut the runs alike (kind, frames, window, patch and voxel size), or pretrain anew",
            )
        )


def _place(folder: Path) -> _Place:
    """The encoder in a folder of any of the three kinds; a classifier has one within it."""
    for inner in (folder, folder / INNER):
        if (inner / DESCRIPTION).is_file():
            return _Place(inner, DESCRIPTION, WEIGHTS, "")
    for inner in (folder, folder / "model"):
        if (inner / "classifier.json").is_file():
            return _Place(inner, "classifier.json", "brain.safetensors", "encoder.")
    raise FileNotFoundError(f"no {DESCRIPTION} in it")


def _load(place: _Place, facts: Mapping[str, Any], layout: TokenLayout, device: str) -> BrainEncoder:
    from safetensors.torch import load_file

    if place.description == DESCRIPTION and facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, of another version of Chiasm")
    backbone = load_backbone(f"local:{place.folder / BACKBONE}", device=device, shared=False)
    encoder = BrainEncoder(backbone, layout, options_from(ModelConfig, facts["config"], "config"))
    found = load_file(place.folder / place.weights)
    state = {k.removeprefix(place.prefix): v for k, v in found.items() if k.startswith(place.prefix)}
    state |= {SHARED_PART + key: value for key, value in backbone.state_dict().items()}
    encoder.load_state_dict(state)
    return encoder.to(backbone.device).eval()
