"""What the brain Transformer is made of, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from data.errors import ParameterError

Positions = Literal["sincos", "rotary"]
Attention = Literal["joint", "factorised"]
ReadoutKind = Literal["regions", "places", "class", "mean", "attention"]

# Small enough for two cores, random on purpose: where a hub can be reached, take a pretrained one by name.
DEFAULT_BACKBONE = "scratch:vit_tiny_patch16_224/embed_dim=64,depth=2,num_heads=2"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Choices that stay with a trained model.

    Attributes:
        backbone: name of any model that takes tokens (see `vision models`); its blocks are used as they are.
        positions: codes added to the tokens ("sincos"), or queries and keys turned by them ("rotary").
        attention: "joint" among all tokens, or "factorised": blocks take turns within a window of time and
            within a place, for long clips.
        readout: "regions" (a vote of each token, by its place), "places" (linear in all tokens, by their
            place), "class", "mean" or "attention".
        drop_path: rate of the last block, rising from 0 at the first.
    """

    backbone: str = DEFAULT_BACKBONE
    positions: Positions = "sincos"
    attention: Attention = "joint"
    readout: ReadoutKind = "regions"
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        for name, kinds in (("positions", Positions), ("attention", Attention), ("readout", ReadoutKind)):
            if getattr(self, name) not in get_args(kinds):
                raise ParameterError(
                    name, must_be=f"one of {', '.join(get_args(kinds))}", got=getattr(self, name)
                )
        if not 0 <= self.drop_path < 1:
            raise ParameterError("drop_path", must_be="from 0 to below 1", got=self.drop_path)
