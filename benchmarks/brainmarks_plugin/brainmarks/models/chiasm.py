"""Chiasm's brain Transformer as models of Brainmarks: a namespace plug-in, without any `__init__.py`.

Put the folder above `brainmarks/` on PYTHONPATH, and Brainmarks finds it:

    PYTHONPATH=benchmarks/brainmarks_plugin python -m brainmarks.models.test_models chiasm

`model_kwargs` are those of `chiasm_plugin.encoder.Options`; `chiasm_mni` takes a `mask` as well.
Letters: B runs, S places, D width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from brainmarks.models.base import Embeddings
from brainmarks.models.registry import register_model
from chiasm_plugin.encoder import (
    Options,
    RunEncoder,
    clip_tensors,
    layout_of,
    random_encoder,
)
from chiasm_plugin.series import at_least, at_tr, clip_starts, series_of
from chiasm_plugin.spaces import ParcelSpace, Space, VolumeSpace
from torch import nn

from data.errors import HubUnreachableError, ParameterError
from neuro.model import BrainEncoder
from neuro.model.encoder_folder import load_encoder
from neuro.tokens import ParcelSpec, TokenSpec, TubeletSpec

MNI_MASK = "CHIASM_MNI_MASK"  # where TemplateFlow cannot be reached: the path of its mask


class ChiasmTransform:
    """A sample of Brainmarks' -> clips as tokens, one shape for runs of any length and repetition time."""

    def __init__(self, space: Space, options: Options) -> None:
        self.space, self.options = space, options

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """`bold`, `mean`, `std`, `tr` -> `chiasm_plugin.encoder.clip_tensors`; `target` goes along."""
        frames = self.space.frames
        series = at_tr(series_of(sample, self.space.dimensions), self.options.tr)
        series = at_least(series, frames)
        starts = clip_starts(len(series.z_TD), frames, self.options.clips)
        tensors: dict[str, Any] = dict(clip_tensors(self.space.tokens(series), starts, self.options.clips))
        return {**tensors, "target": sample["target"]} if "target" in sample else tensors


class ChiasmModel(nn.Module):
    """A batch of what the transform gives -> `Embeddings`.

    `cls` is the trunk's class token (B, 1, D), or all places side by side (B, 1, S * D); `reg` its registers,
    where it has some; `patch` one embedding for each place (B, S, D). All are means over the run's clips.
    """

    def __init__(self, space: Space, options: Options, encoder: BrainEncoder) -> None:
        super().__init__()
        self.__space__ = space.name
        self.summary = options.summary
        self.runs = RunEncoder(encoder)

    def forward(self, batch: dict[str, torch.Tensor]) -> Embeddings:
        """See the class."""
        prefix_BPD, places_BSD = self.runs(batch)
        class_B1D = prefix_BPD[:, :1] if prefix_BPD.shape[1] else None
        return Embeddings(
            cls_embeds=places_BSD.flatten(1)[:, None] if self.summary == "places" else class_B1D,
            reg_embeds=prefix_BPD[:, 1:] if prefix_BPD.shape[1] > 1 else None,
            patch_embeds=places_BSD,
        )


Pair = tuple[ChiasmTransform, ChiasmModel]


def _pair(options: Options, space: Space, encoder: BrainEncoder | None) -> Pair:
    encoder = encoder or random_encoder(space, options)
    if encoder.layout != layout_of(space):
        raise ParameterError("weights", must_be=f"for {layout_of(space)}", got=f"those for {encoder.layout}")
    return ChiasmTransform(space, options), ChiasmModel(space, options, encoder)


def _parcels(name: str, options: Options) -> Pair:
    spec: TokenSpec = ParcelSpec(atlas=name, frames=options.frames, profile=options.profile)
    encoder = None
    if options.weights:
        encoder, spec = load_encoder(options.weights, device="cpu")
    return _pair(options, ParcelSpace(name, spec), encoder)


@register_model
def chiasm_schaefer400(**kwargs: Any) -> Pair:
    """Regions of Schaefer's 400."""
    return _parcels("schaefer400", Options(**kwargs))


@register_model
def chiasm_schaefer400_tians3(**kwargs: Any) -> Pair:
    """Regions of Schaefer's 400 and Tian's 50 of the subcortex, the striatum among them."""
    return _parcels("schaefer400_tians3", Options(**kwargs))


@register_model
def chiasm_mni(mask: str | None = None, clips: int = 4, **kwargs: Any) -> Pair:
    """Cubes of the template's voxels; a run is some 50 MB, so take small batches.

    The mask says where voxels lie. By default it is what $CHIASM_MNI_MASK names, else TemplateFlow's.
    """
    options = Options(clips=clips, **kwargs)
    if options.profile != "none":
        raise ParameterError("profile", must_be="left out for cubes", got=options.profile)
    spec: TokenSpec = TubeletSpec(frames=options.frames)
    encoder = None
    if options.weights:
        encoder, spec = load_encoder(options.weights, device="cpu")
    path = Path(mask or os.environ.get(MNI_MASK) or _template_mask())
    return _pair(options, VolumeSpace("mni", spec, path), encoder)


def _template_mask() -> str:
    """The path that `brainmarks.readers.mni_reader` takes, fetched if need be."""
    from templateflow import api

    try:
        found = api.get("MNI152NLin6Asym", desc="brain", resolution=2, suffix="mask", extension="nii.gz")
    except OSError as error:
        raise HubUnreachableError(
            "TemplateFlow's brain mask",
            must_be="in its folder or fetched from the network",
            got=f"a failed download ({type(error).__name__})",
            do=f"name the file in {MNI_MASK} or as `mask`",
        ) from error
    return str(found)
