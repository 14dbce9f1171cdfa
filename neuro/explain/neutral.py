"""What stands in for a token that is taken away, and where integrated gradients begin.

Letters: B clips, N tokens, S places, V values of a token's signal, P of its amplitude.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from neuro.tokens import TokenBatch


def neutral(batch: TokenBatch, kind: str) -> TokenBatch:
    """The same places and windows, with nothing of note in them.

    Zero: of cubes and regions, signals and profiles are centred on it, and an amplitude of 0 is that of the
    brain's median place (see `neuro.tokens.amplitude`). It needs no run but this one, so a run's folder can
    explain alone. Features of slices are not centred: there it is the clip's mean token.

    Args:
        batch: the tokens.
        kind: of the tokens, as of their spec.
    """
    signal_BNV = torch.zeros_like(batch.signal_BNV)
    if kind == "slice":
        signal_BNV = batch.signal_BNV.mean(1, keepdim=True).expand_as(batch.signal_BNV).contiguous()
    return replace(batch, signal_BNV=signal_BNV, amplitude_BSP=torch.zeros_like(batch.amplitude_BSP))
