"""Clips of several runs as one batch, padded to the most places.

Letters: B clips, W windows, S places, N tokens (W * S, windows slowest), V values of a token's signal, P of a
place's amplitude, K chosen places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.errors import ParameterError
from neuro.tokens.run_tokens import Clip


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """Tokens of a batch.

    Attributes:
        signal_BNV: float32.
        amplitude_BSP: float32, of each place, the same in all of its windows.
        positions_BN4: centres in mm (x, y, z; NaN where not known), and seconds from the clip's start.
        mask_BN: bool, True where there is a token.
        windows: W; N = W * S.
        padded: whether any token is padding.
        numbered: whether a place is known by its number, the same in every clip (regions, slices).
    """

    signal_BNV: torch.Tensor
    amplitude_BSP: torch.Tensor
    positions_BN4: torch.Tensor
    mask_BN: torch.Tensor
    windows: int = 1
    padded: bool = True
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.signal_BNV)

    @property
    def places(self) -> int:
        """S."""
        return self.mask_BN.shape[1] // self.windows

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch on another device."""
        return replace(
            self,
            signal_BNV=self.signal_BNV.to(device, non_blocking=True),
            amplitude_BSP=self.amplitude_BSP.to(device, non_blocking=True),
            positions_BN4=self.positions_BN4.to(device, non_blocking=True),
            mask_BN=self.mask_BN.to(device, non_blocking=True),
        )

    def rows(self, start: int, stop: int) -> TokenBatch:
        """Clips `start` to `stop` - 1."""
        part = slice(start, stop)
        return replace(
            self,
            signal_BNV=self.signal_BNV[part],
            amplitude_BSP=self.amplitude_BSP[part],
            positions_BN4=self.positions_BN4[part],
            mask_BN=self.mask_BN[part],
        )

    def at_places(self, places_BK: torch.Tensor) -> TokenBatch:
        """The tokens of chosen places (B, K), all windows of them: tubes through time."""
        tokens_BM = self.tokens_of(places_BK)
        return replace(
            self,
            signal_BNV=_taken(self.signal_BNV, tokens_BM),
            amplitude_BSP=_taken(self.amplitude_BSP, places_BK),
            positions_BN4=_taken(self.positions_BN4, tokens_BM),
            mask_BN=self.mask_BN.gather(1, tokens_BM),
        )

    def tokens_of(self, places_BK: torch.Tensor) -> torch.Tensor:
        """Numbers of the tokens of chosen places (B, K) -> (B, W * K), windows slowest."""
        starts_W = torch.arange(self.windows, device=places_BK.device) * self.places
        return (starts_W[:, None] + places_BK[:, None, :]).flatten(1)


def collate(clips: Sequence[Clip]) -> TokenBatch:
    """Clips -> a padded batch.

    Raises:
        ParameterError: no clip, or clips that were cut in different ways.
    """
    if not clips:
        raise ParameterError("clips", must_be="at least one", got="none")
    shapes = {(len(c.seconds_W), c.signal_WSV.shape[2], c.amplitude_SP.shape[1], c.numbered) for c in clips}
    if len(shapes) > 1:
        raise ParameterError("clips", must_be="cut alike", got=f"{len(shapes)} ways of cutting")
    windows, values, parts, numbered = shapes.pop()
    counts = [len(c.centres_S3) for c in clips]
    if numbered and len(set(counts)) > 1:
        raise ParameterError("clips", must_be="of the same regions", got=f"{sorted(set(counts))} of them")
    batch, places = len(clips), max(counts)
    # In numpy, as a clip that came from another process may be read-only, which torch warns of.
    signal_BWSV = np.zeros((batch, windows, places, values), dtype=np.float32)
    amplitude_BSP = np.zeros((batch, places, parts), dtype=np.float32)
    positions_BWS4 = np.zeros((batch, windows, places, 4), dtype=np.float32)
    mask_BWS = np.zeros((batch, windows, places), dtype=np.bool_)
    for b, (clip, count) in enumerate(zip(clips, counts, strict=True)):
        signal_BWSV[b, :, :count] = clip.signal_WSV
        amplitude_BSP[b, :count] = clip.amplitude_SP
        positions_BWS4[b, :, :count, :3] = clip.centres_S3
        positions_BWS4[b, :, :count, 3] = clip.seconds_W[:, None]
        mask_BWS[b, :, :count] = True
    return TokenBatch(
        signal_BNV=torch.from_numpy(signal_BWSV).flatten(1, 2),
        amplitude_BSP=torch.from_numpy(amplitude_BSP),
        positions_BN4=torch.from_numpy(positions_BWS4).flatten(1, 2),
        mask_BN=torch.from_numpy(mask_BWS).flatten(1),
        windows=windows,
        padded=min(counts) < places,
        numbered=numbered,
    )


def _taken(values_BN_: torch.Tensor, index_BM: torch.Tensor) -> torch.Tensor:
    return values_BN_.gather(1, index_BM[..., None].expand(-1, -1, values_BN_.shape[-1]))
