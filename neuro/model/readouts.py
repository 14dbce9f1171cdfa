"""Readouts by name."""

from __future__ import annotations

from collections.abc import Callable

from neuro.model.config import ReadoutKind
from neuro.model.encoder import BrainEncoder
from neuro.model.fields import RegionField
from neuro.model.place_readout import PlaceReadout
from neuro.model.readout import AttentionReadout, ClassReadout, MeanReadout, Readout
from neuro.model.regional_readout import RANK, RegionalReadout


def _regional(encoder: BrainEncoder) -> RegionalReadout:
    regions = encoder.layout.regions
    return RegionalReadout(encoder.width, field=RegionField(RANK, regions) if regions else None)


# Kind -> what builds it for an encoder.
READOUTS: dict[ReadoutKind, Callable[[BrainEncoder], Readout]] = {
    "regions": _regional,
    "places": lambda encoder: PlaceReadout(encoder.width, regions=encoder.layout.regions),
    "class": lambda encoder: ClassReadout(encoder.width, encoder.prefix),
    "mean": lambda encoder: MeanReadout(encoder.width),
    "attention": lambda encoder: AttentionReadout(encoder.width, encoder.backbone.num_heads),
}
