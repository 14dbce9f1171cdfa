"""How the blocks of a trunk are run: who attends to whom, turned or not, dropped, computed again.

One pass of a batch makes one `BlockRunning`, which is an `Around` of `vision.backbones.trunk`.
Letters: B clips, T tokens with the prefix in front, D width, G sequences, L tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from neuro.model.grouping import Grouping, Joint
from neuro.model.rotary import Rotary
from vision.adapt import dropped
from vision.backbones.backbone import attention_bias
from vision.backbones.trunk import Block


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """What the blocks must know of a batch's tokens.

    Attributes:
        mask_BT: True for real tokens; None where all are.
        positions_BT4: mm and seconds to turn queries and keys by, NaN for the prefix; None to turn none.
    """

    mask_BT: torch.Tensor | None = None
    positions_BT4: torch.Tensor | None = None


class BlockRunning:
    """Runs each block in its turn: (number, block, tokens (B, T, D), bias) -> tokens (B, T, D).

    Args:
        tokens: masks and places.
        groupings: of each block.
        drop_rates: of each block; 0 where it is always run.
        checkpointing: keep no activations of a block, and run it again for the gradients.
    """

    def __init__(
        self,
        tokens: Pass,
        groupings: Sequence[Grouping],
        *,
        drop_rates: Sequence[float],
        checkpointing: bool = False,
    ):
        self.tokens = tokens
        self.groupings = groupings
        self.drop_rates = drop_rates
        self.checkpointing = checkpointing
        self._rotaries = {
            grouping: Rotary(grouping.split(tokens.positions_BT4))
            for grouping in dict.fromkeys(groupings)
            if tokens.positions_BT4 is not None
        }

    def __call__(
        self, number: int, block: Block, tokens_BTD: torch.Tensor, bias_B11T: torch.Tensor | None
    ) -> torch.Tensor:
        """One block."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._run(number, block, tokens_BTD, bias_B11T)
        # The mode that turns queries is entered within: the second time another thread may do the work.
        out_BTD: torch.Tensor = checkpoint(
            self._run, number, block, tokens_BTD, bias_B11T, use_reentrant=False
        )
        return out_BTD

    def _run(
        self, number: int, block: Block, tokens_BTD: torch.Tensor, bias_B11T: torch.Tensor | None
    ) -> torch.Tensor:
        grouping, mask_BT = self.groupings[number], self.tokens.mask_BT
        parts_GLD = grouping.split(tokens_BTD)
        if mask_BT is not None and not isinstance(grouping, Joint):
            bias_B11T = attention_bias(grouping.split(mask_BT[..., None]).squeeze(-1), parts_GLD)
        output_GLD = self._attended(grouping, block, parts_GLD, bias_B11T)
        output_BTD = grouping.join(output_GLD, tokens_BTD, mask_BT)
        # The rates are zero but in training.
        return dropped(output_BTD, tokens_BTD, self.drop_rates[number])

    def _attended(
        self, grouping: Grouping, block: Block, parts_GLD: torch.Tensor, bias_G11L: torch.Tensor | None
    ) -> torch.Tensor:
        rotary = self._rotaries.get(grouping)
        if rotary is None:
            return block(parts_GLD, bias_G11L)
        before = rotary.calls
        with rotary:
            output_GLD = block(parts_GLD, bias_G11L)
        if rotary.calls == before:
            raise rotary.unknown("an attention that calls no function of PyTorch's for it")
        return output_GLD
