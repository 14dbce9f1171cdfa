"""An encoder in a folder, without a readout: what pretraining leaves, and what trainings begin with.

FOLDER/encoder.json          format, how runs are cut, layout, configuration, fingerprint, versions
FOLDER/backbone/             the trunk, as `local:FOLDER/backbone`
FOLDER/encoder.safetensors   patch embeddings and gains
Nothing in it is executed when it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import ParameterError
from neuro.model.encoder import BrainEncoder
from neuro.model.model_folder import CLASSIFIER, ENCODER, damage_told
from neuro.tokens.kinds import spec_from
from neuro.tokens.run_tokens import TokenLayout, TokenSpec
from vision.backbones.registry import resolve_device

# A whole pretraining has the encoder in the one, a whole training its classifier in the other.
INNER, MODEL = "encoder", "model"


def save_encoder(encoder: BrainEncoder, spec: TokenSpec, folder: str | Path) -> Path:
    """Write an encoder into a new or empty folder, whole or not at all.

    Args:
        encoder: as it is now.
        spec: how the runs are cut that it takes.
        folder: where to.

    Raises:
        ParameterError: the folder holds something.
    """
    return ENCODER.write(encoder, spec, folder)


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
    resolve_device(device)  # a wrong device is not the folder's fault
    must_be = "a folder that `neuro pretrain` or `neuro train` wrote"
    with damage_told("encoder", must_be=must_be, do="name another, or pretrain again", path=folder):
        encoder, facts = _read(Path(folder), device)
        spec = spec_from(facts["tokens"])
    if layout is not None and layout != encoder.layout:
        raise ParameterError(
            "tokens",
            must_be=f"as those that the encoder in {folder} takes ({encoder.layout})",
            got=layout,
            do="cut the runs alike (kind, frames, window, patch and voxel size), or pretrain anew",
        )
    return encoder, spec


def _read(folder: Path, device: str) -> tuple[BrainEncoder, dict[str, Any]]:
    """The encoder in a folder of any of the three kinds; a classifier has one within it."""
    for place in (folder, folder / INNER):
        if ENCODER.lies_in(place):
            return ENCODER.read(place, device)
    for place in (folder, folder / MODEL):
        if CLASSIFIER.lies_in(place):
            model, facts = CLASSIFIER.read(place, device)
            return model.encoder, facts
    raise FileNotFoundError(f"no {ENCODER.description} in it")
