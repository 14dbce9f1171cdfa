"""Masked volume modelling: the encoder sees some places, a light decoder guesses the rest.

After MAE (arXiv 2111.06377) and its form for video (MAE-ST, arXiv 2205.09113). The encoder takes the
visible tokens alone; the decoder takes them, and a mask token at each hidden place and window, with codes of
where and when, and guesses signal and amplitude. The decoder is thrown away afterwards.
Letters: B clips, W windows, S places, K visible and H hidden places, N tokens (W * places, windows slowest),
D width of the encoder, E of the decoder, F frames of a token, P values of an amplitude, V = F * P.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.model.positions import position_codes
from neuro.pretrain.masking import Mask
from neuro.tokens import TokenBatch, TokenLayout
from vision.backbones.backbone import attention_bias

LEAST_WIDTH, HEAD_WIDTH = 64, 32
FLATTEST = 1e-3  # a token whose values hardly differ is not blown up to unit spread


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """What is guessed, and by what.

    Attributes:
        normalise: guess each token's signal in units of its own mean and spread (MAE's normalised pixels).
        amplitude_weight: of the error in amplitude beside that in signal; 0 leaves it out.
        width: of the decoder, a multiple of 32; None takes half the encoder's, and at least 64.
        depth: blocks of the decoder.
    """

    normalise: bool = True
    amplitude_weight: float = 1.0
    width: int | None = None
    depth: int = 2

    def __post_init__(self) -> None:
        if not self.amplitude_weight >= 0:
            raise ParameterError("amplitude_weight", must_be="0 or more", got=self.amplitude_weight)
        if self.width is not None and (self.width < HEAD_WIDTH or self.width % HEAD_WIDTH):
            raise ParameterError("decoder width", must_be=f"a multiple of {HEAD_WIDTH}", got=self.width)
        if self.depth < 1:
            raise ParameterError("decoder depth", must_be="1 or more", got=self.depth)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedBatch:
    """Clips, and which of their places are seen."""

    tokens: TokenBatch
    mask: Mask

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device | str) -> MaskedBatch:
        """The same batch on another device."""
        return MaskedBatch(tokens=self.tokens.to(device), mask=self.mask.to(device))


class MaskedDecoder(nn.Module):
    """Encoded visible tokens -> guesses at the hidden places: signal (B, W, H, V) and amplitude (B, H, P).

    Args:
        width: D of the encoder.
        layout: of the tokens.
        config: width and depth.
    """

    def __init__(self, width: int, layout: TokenLayout, config: MaskedConfig):
        super().__init__()
        from timm.models.vision_transformer import Block

        inner = config.width or max(LEAST_WIDTH, width // 2 // HEAD_WIDTH * HEAD_WIDTH)
        self.enter = nn.Linear(width, inner)
        self.mask_token_E = nn.Parameter(torch.zeros(inner))
        nn.init.trunc_normal_(self.mask_token_E, std=0.02)
        self.region_SE = nn.Parameter(torch.zeros(layout.regions, inner)) if layout.regions else None
        if self.region_SE is not None:
            nn.init.trunc_normal_(self.region_SE, std=0.02)
        self.blocks = nn.ModuleList(
            [Block(inner, inner // HEAD_WIDTH, qkv_bias=True) for _ in range(config.depth)]
        )
        self.norm = nn.LayerNorm(inner)
        self.signal = nn.Linear(inner, math.prod(layout.signal))
        parts = math.prod(layout.amplitude)
        self.amplitude = nn.Linear(inner, parts) if parts else None

    def forward(
        self, encoded_BND: torch.Tensor, tokens: TokenBatch, mask: Mask
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Guess signal (B, W, H, V) and amplitude (B, H, P) of the hidden places."""
        seen_BNE = self.enter(encoded_BND) + self._places(tokens, mask.visible_BK)
        asked_BNE = self.mask_token_E + self._places(tokens, mask.hidden_BH)
        both_BNE = torch.cat([seen_BNE, asked_BNE], dim=1)
        bias = _bias(mask, tokens.windows, both_BNE)
        for block in self.blocks:
            both_BNE = block(both_BNE, attn_mask=bias)
        out_BNE = self.norm(both_BNE[:, seen_BNE.shape[1] :])
        out_BWHE = _by_window(out_BNE, tokens.windows)
        # A place has one amplitude, however many windows it is looked at in.
        place_BHE = out_BWHE.mean(1)
        guess_BHP = place_BHE[..., :0] if self.amplitude is None else self.amplitude(place_BHE)
        return self.signal(out_BWHE), guess_BHP

    def _places(self, tokens: TokenBatch, places_BK: torch.Tensor) -> torch.Tensor:
        index_BM = tokens.tokens_of(places_BK)
        positions_BM4 = tokens.positions_BN4.gather(1, index_BM[..., None].expand(-1, -1, 4))
        codes_BME = position_codes(positions_BM4, self.mask_token_E.shape[0])
        if self.region_SE is not None:
            codes_BME = codes_BME + self.region_SE[places_BK].repeat(1, tokens.windows, 1)
        return codes_BME


def _bias(mask: Mask, windows: int, both_BNE: torch.Tensor) -> torch.Tensor | None:
    """What keeps padding out of the decoder's attention (B, 1, 1, N); None without padding."""
    if bool(mask.real_BH.all()):
        return None
    hidden_BN = mask.real_BH.repeat(1, windows)
    seen = both_BNE.shape[1] - hidden_BN.shape[1]
    real_BN = F.pad(hidden_BN, (seen, 0), value=True)
    return attention_bias(real_BN, both_BNE)


class MaskedModelling(nn.Module):
    """`MaskedBatch` -> one loss a clip (B,).

    The squared error in the signal of hidden tokens, averaged over their values in the brain, and that in the
    amplitude, times its weight. Values outside the brain, where a cube reaches beyond it, and those of voxels
    that never change, do not count.

    Args:
        encoder: what is to learn.
        config: what is guessed, and by what.
    """

    def __init__(self, encoder: BrainEncoder, config: MaskedConfig | None = None):
        super().__init__()
        self.config = config or MaskedConfig()
        self.encoder = encoder
        self.decoder = MaskedDecoder(encoder.width, encoder.layout, self.config)

    def forward(self, batch: MaskedBatch) -> torch.Tensor:
        """Losses (B,)."""
        signal_B, amplitude_B = self.errors(batch)
        return signal_B + self.config.amplitude_weight * amplitude_B

    def errors(self, batch: MaskedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean squared errors in signal and in amplitude, (B,) each; 0 where there is no amplitude."""
        found = self._guessed(batch)
        return (
            _mean_square(found.signal_BHX, found.counts_BHX, first=1),
            _mean_square(found.amplitude_BHP, found.inside_BHP, first=1),
        )

    def place_errors(self, batch: MaskedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of each hidden place, (B, H) each; 0 where a place is padding."""
        found = self._guessed(batch)
        return (
            _mean_square(found.signal_BHX, found.counts_BHX, first=2),
            _mean_square(found.amplitude_BHP, found.inside_BHP, first=2),
        )

    def _guessed(self, batch: MaskedBatch) -> _Guessed:
        tokens, mask = batch.tokens, batch.mask
        # Whatever is seen is real, so the encoder needs no mask.
        seen = replace(tokens.at_places(mask.visible_BK), padded=False)
        encoded = self.encoder(seen, mask.visible_BK)
        guess_BWHV, guess_BHP = self.decoder(encoded.tokens_BND, tokens, mask)
        hidden = tokens.at_places(mask.hidden_BH)
        target_BWHV = _by_window(hidden.signal_BNV, tokens.windows)
        inside_BHP = inside(hidden, self.encoder.layout) & mask.real_BH[..., None]
        frames = target_BWHV.shape[-1] // inside_BHP.shape[-1]
        counts_BWHV = inside_BHP[:, None].repeat(1, tokens.windows, 1, frames)
        if self.config.normalise:
            target_BWHV = normalised(target_BWHV, counts_BWHV)
        has_amplitude = guess_BHP.shape[-1] > 0
        return _Guessed(
            signal_BHX=(guess_BWHV - target_BWHV).transpose(1, 2).flatten(2),
            counts_BHX=counts_BWHV.transpose(1, 2).flatten(2),
            amplitude_BHP=guess_BHP - hidden.amplitude_BSP if has_amplitude else guess_BHP,
            inside_BHP=inside_BHP if has_amplitude else inside_BHP[..., :0],
        )


class _Guessed(NamedTuple):
    """What guesses were off by at each hidden place, its windows and values side by side, and what counts."""

    signal_BHX: torch.Tensor
    counts_BHX: torch.Tensor
    amplitude_BHP: torch.Tensor
    inside_BHP: torch.Tensor


def inside(tokens: TokenBatch, layout: TokenLayout) -> torch.Tensor:
    """Which parts of each place are brain: bool (B, S, P), or (B, S, V) where places have no amplitude.

    A cube's signal and amplitude are 0 outside the brain. A voxel of brain that is 0 in all frames of a clip
    is one that never changes: nothing can be learned from it either.
    """
    parts = math.prod(layout.amplitude)
    if not parts:
        return tokens.mask_BN[:, : tokens.places, None].expand(-1, -1, tokens.signal_BNV.shape[-1])
    clips, windows, places = len(tokens), tokens.windows, tokens.places
    signal_BWSFP = tokens.signal_BNV.reshape(clips, windows, places, -1, parts)
    lives_BSP: torch.Tensor = (signal_BWSFP != 0).any(3).any(1) | (tokens.amplitude_BSP != 0)
    return lives_BSP


def _by_window(values_BN_: torch.Tensor, windows: int) -> torch.Tensor:
    """(B, W * H, any) -> (B, W, H, any)."""
    clips, count, width = values_BN_.shape
    return values_BN_.reshape(clips, windows, count // windows, width)


def normalised(signal_BWHV: torch.Tensor, counts_BWHV: torch.Tensor) -> torch.Tensor:
    """Each token's signal minus its mean, over its spread; of the values that count, the others become 0."""
    number_BWH1 = counts_BWHV.sum(-1, keepdim=True).clamp(min=1)
    mean_BWH1 = (signal_BWHV * counts_BWHV).sum(-1, keepdim=True) / number_BWH1
    centred_BWHV = (signal_BWHV - mean_BWH1) * counts_BWHV
    variance_BWH1 = centred_BWHV.square().sum(-1, keepdim=True) / number_BWH1
    return centred_BWHV / (variance_BWH1 + FLATTEST).sqrt()


def _mean_square(difference: Any, counts: torch.Tensor, *, first: int) -> torch.Tensor:
    """Mean square of the values that count, over all axes from `first` on; 0 where none does."""
    total: torch.Tensor = (difference.square() * counts).flatten(first).sum(first)
    mean: torch.Tensor = total / counts.flatten(first).sum(first).clamp(min=1)
    return mean
