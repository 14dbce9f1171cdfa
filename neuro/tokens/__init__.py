"""Runs as token sequences: four ways of cutting behind one contract, and the way back."""

from neuro.tokens.batch import TokenBatch, collate
from neuro.tokens.cubes import CubeTokens, TubeletSpec, VolumeSpec, cubes
from neuro.tokens.run_tokens import Clip, RunTokens, TokenLayout, TokenSpec, untokenize

__all__ = [
    "Clip",
    "CubeTokens",
    "RunTokens",
    "TokenBatch",
    "TokenLayout",
    "TokenSpec",
    "TubeletSpec",
    "VolumeSpec",
    "collate",
    "cubes",
    "untokenize",
]
