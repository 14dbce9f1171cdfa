"""Mixup of token batches: places are matched before signals are blended.

`vision.adapt.mixup` draws partners and shares, and blends the targets; here are the tokens. Two brains on one
grid keep different cubes, so token n of one clip is not token n of another.
Letters: B clips, W windows, S places, N tokens, V values of a signal, P of an amplitude.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from data.errors import ParameterError
from neuro.tokens import TokenBatch

STEPS_A_MM = 50  # centres closer than 0.02 mm are one place
SPAN = 1 << 20  # more steps than a brain has along an axis


def mixed(batch: TokenBatch, partner_B: torch.Tensor, share: float) -> TokenBatch:
    """share * own + (1 - share) * partner's, at each clip's own places (Zhang et al. 2017, arXiv 1710.09412).

    A place is the same where its centre in mm is, or where places are numbered, its number. What the partner
    lacks is mixed with 0, and what it alone has is left out.

    Args:
        batch: clips of runs on one grid, or of one atlas.
        partner_B: the row that each row is blended with (B,).
        share: what a clip keeps of itself, 0 to 1.

    Raises:
        ParameterError: partners that are not one a row, a share beyond 0 to 1, or partners that have no place
            in common.
    """
    if partner_B.shape != (len(batch),):
        got = f"{tuple(partner_B.shape)} for {len(batch)} clips"
        raise ParameterError("partners", must_be="one for each clip", got=got)
    if not 0 <= share <= 1:
        raise ParameterError("share", must_be="from 0 to 1", got=share)
    partner_B = partner_B.to(batch.signal_BNV.device)
    index_BS, there_BS = _same_places(batch, partner_B)
    signal_BNV = _by_window(batch, batch.signal_BNV[partner_B])
    amplitude_BSP = batch.amplitude_BSP[partner_B]
    found_BWSV = signal_BNV.gather(
        2, index_BS[:, None, :, None].expand(-1, batch.windows, -1, signal_BNV.shape[-1])
    )
    found_BSP = amplitude_BSP.gather(1, index_BS[..., None].expand(-1, -1, amplitude_BSP.shape[-1]))
    other_BNV = (found_BWSV * there_BS[:, None, :, None]).flatten(1, 2)
    return replace(
        batch,
        signal_BNV=share * batch.signal_BNV + (1 - share) * other_BNV,
        amplitude_BSP=share * batch.amplitude_BSP + (1 - share) * found_BSP * there_BS[..., None],
    )


def _by_window(batch: TokenBatch, values_BNV: torch.Tensor) -> torch.Tensor:
    return values_BNV.reshape(len(batch), batch.windows, batch.places, -1)


def _same_places(batch: TokenBatch, partner_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each place, the number of the partner's same place (B, S), and whether there is one."""
    mask_BS = batch.mask_BN[:, : batch.places]
    if batch.numbered:
        index_BS = torch.arange(batch.places, device=mask_BS.device).expand(len(batch), -1)
        return index_BS, mask_BS & mask_BS[partner_B]
    key_BS = _keys(batch.positions_BN4[:, : batch.places, :3], mask_BS)
    sorted_BS, order_BS = key_BS[partner_B].sort(dim=1)
    slot_BS = torch.searchsorted(sorted_BS, key_BS).clamp(max=batch.places - 1)
    there_BS = mask_BS & (sorted_BS.gather(1, slot_BS) == key_BS)
    if bool((~there_BS.any(dim=1)).any()):
        raise ParameterError(
            "clips to mix",
            must_be="of one grid",
            got="two that have no place in common",
            do="resample the runs to one grid, or leave mixup out",
        )
    return order_BS.gather(1, slot_BS), there_BS


def _keys(centres_BS3: torch.Tensor, mask_BS: torch.Tensor) -> torch.Tensor:
    """A whole number for each place (B, S); padding has one that no place has."""
    steps_BS3 = (centres_BS3.double() * STEPS_A_MM).round().long() + SPAN // 2
    x, y, z = steps_BS3.unbind(-1)
    return torch.where(mask_BS, (x * SPAN + y) * SPAN + z, -1)
