"""Rotary position codes: queries and keys turned by angles of their places in mm and seconds.

Su et al. 2021 (RoPE, arXiv 2104.09864): a pair of numbers of a query or key is turned by an angle in
proportion to its place, so that their product depends on the difference of places alone. Axial: each of the
four axes has its own pairs, a fourth of them, as the two axes of pictures have (EVA-02, arXiv 2303.11331) and
the three of videos (Qwen2-VL, arXiv 2409.12191). Numbers that are left over are not turned, nor are tokens
without a place. A trunk's blocks are used as they are: a mode sees their attention, and turns its queries.

Letters: B sequences, T tokens, H heads, D width of a head, A pairs that are turned.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model.positions import AXES, Band, phases
from vision.backbones.attention_calls import AttentionCall, AttentionCalls

# The shortest wave spans more than two cubes of the usual 16 mm or windows of the usual run, so that a
# neighbour is nearer than what lies beyond it; the longest is never half gone round within a brain.
TURNED = Band(shortest_mm=40.0, longest_mm=800.0, shortest_s=8.0, longest_s=2400.0)


class Rotary(AttentionCalls):
    """Within it, in this thread, each attention is the trunk's own with queries and keys turned.

    Args:
        positions_BT4: mm (x, y, z) and seconds of the tokens that attend to each other; an axis that is NaN
            does not turn them.

    Raises:
        ParameterError: heads of fewer than 8 numbers, or attention of a kind that is not known here.
    """

    def __init__(self, positions_BT4: torch.Tensor):
        super().__init__()
        self.positions_BT4 = positions_BT4
        self.calls = 0
        self._turns: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """The heads' outputs (B, H, Q, D)."""
        self.calls += 1
        cosine_B1TA, sine_B1TA = self._turn(call.query_BHQD.shape[-1])
        return F.scaled_dot_product_attention(
            turned(call.query_BHQD, cosine_B1TA, sine_B1TA),
            turned(call.key_BHKD, cosine_B1TA, sine_B1TA),
            call.value_BHKD,
            attn_mask=call.mask,
            dropout_p=call.dropout,
            scale=call.scale,
        )

    def _turn(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (B, 1, T, A) for heads of a width."""
        if width not in self._turns:
            count = width // (2 * AXES)
            if not count:
                raise self.unknown(f"heads of {width} numbers, fewer than {2 * AXES}")
            # An angle of 0 turns nothing.
            angles_B1TA = phases(self.positions_BT4, count, TURNED).nan_to_num(nan=0.0).unsqueeze(1)
            self._turns[width] = angles_B1TA.cos(), angles_B1TA.sin()
        return self._turns[width]

    def unknown(self, found: str) -> ParameterError:
        """What is raised for a kind of attention whose queries cannot be turned."""
        return ParameterError(
            "positions",
            must_be="sincos for this backbone",
            got=f"rotary with {found}",
            do="add the codes to its tokens instead",
        )


def turned(x_BHTD: torch.Tensor, cosine_B1TA: torch.Tensor, sine_B1TA: torch.Tensor) -> torch.Tensor:
    """Queries or keys (B, H, T, D) with number i and number A + i turned as a pair, for i below A."""
    count = cosine_B1TA.shape[-1]
    first, second, rest = x_BHTD.tensor_split([count, 2 * count], dim=-1)
    cosine, sine = cosine_B1TA.to(x_BHTD.dtype), sine_B1TA.to(x_BHTD.dtype)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=-1)
