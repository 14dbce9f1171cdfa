"""Signals and amplitudes of tokens -> vectors of the trunk's width (B, N, D).

Cubes are embedded by the picture model's own patch embedding, inflated (see `vision.backbones.inflate`): a
cube that is constant in depth and time embeds as its picture does. Regions and slices have no picture to take
theirs from, and begin at random.
Letters: B clips, W windows, S places, N tokens, D width, V values of a token's signal, P of an amplitude.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from data.errors import ParameterError
from neuro.tokens.batch import TokenBatch
from neuro.tokens.run_tokens import TokenLayout
from vision.backbones import Backbone, PatchEmbedNd

# At rest the signal's phase is arbitrary, its amplitude is not: the amplitude speaks first, and training may
# change both.
SIGNAL_GAIN, AMPLITUDE_GAIN = 0.2, 1.0


class TokenEmbedding(nn.Module):
    """`TokenBatch` -> tokens (B, N, D), without any code of their places.

    Args:
        backbone: gives the width, and the patch embedding that cubes begin with.
        layout: of the tokens.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout):
        super().__init__()
        self.layout = layout
        width = backbone.embed_dim
        if len(layout.signal) >= 3:
            weight, bias = backbone.patch_kernel
            self.signal = PatchEmbedNd.from_kernel(weight, bias, patch_size=layout.signal, in_channels=1).proj
            self.amplitude: nn.Module | None = PatchEmbedNd.from_kernel(
                weight, None, patch_size=layout.amplitude, in_channels=1
            ).proj
        else:
            parts = math.prod(layout.amplitude)
            self.signal = nn.Linear(math.prod(layout.signal), width)
            self.amplitude = nn.Linear(parts, width, bias=False) if parts else None
        self.gains = nn.Parameter(torch.tensor([SIGNAL_GAIN, AMPLITUDE_GAIN]))
        self.region_SD = nn.Parameter(torch.zeros(layout.regions, width)) if layout.regions else None
        if self.region_SD is not None:
            nn.init.trunc_normal_(self.region_SD, std=0.02)

    def forward(self, batch: TokenBatch, places_BK: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, N, D).

        Args:
            batch: its tokens, all or those of chosen places.
            places_BK: which places they are, where not all (regions are known by their number).

        Raises:
            ParameterError: the batch does not fit the layout.
        """
        self._check(batch, places_BK)
        signal, amplitude = self.gains.unbind()
        tokens_BND: torch.Tensor = signal * self.signal(batch.signal_BNV)
        if self.amplitude is not None:
            place_BSD = amplitude * self.amplitude(batch.amplitude_BSP)
            tokens_BND = tokens_BND + place_BSD.repeat(1, batch.windows, 1)
        if self.region_SD is not None:
            named = self.region_SD[None] if places_BK is None else self.region_SD[places_BK]
            tokens_BND = tokens_BND + named.repeat(1, batch.windows, 1)
        return tokens_BND

    def _check(self, batch: TokenBatch, places_BK: torch.Tensor | None) -> None:
        wanted = math.prod(self.layout.signal), math.prod(self.layout.amplitude)
        found = batch.signal_BNV.shape[-1], batch.amplitude_BSP.shape[-1]
        if found != wanted:
            raise ParameterError(
                "tokens",
                must_be=f"of {wanted[0]} values of signal and {wanted[1]} of amplitude, as the model's",
                got=f"{found[0]} and {found[1]}",
                do="cut the run as the runs of training were",
            )
        if self.layout.regions and places_BK is None and batch.places != self.layout.regions:
            raise ParameterError(
                "regions", must_be=f"all {self.layout.regions} of the model's atlas", got=batch.places
            )
