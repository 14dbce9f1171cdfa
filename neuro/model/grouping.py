"""Which tokens of a clip attend to each other in a block, as sequences of their own.

"joint": all of them. "factorised", for long clips: blocks take turns, one over the windows of each place,
one among the places of each window, in this order as in TimeSformer (Bertasius et al. 2021, arXiv 2102.05095;
model 3 of ViViT, Arnab et al. 2021, arXiv 2103.15691, has the other). They count from the last, which is
among places: whatever the depth, what a class token reads last has all of the clip in it. The pairs of tokens
fall from (W S)^2 to W S (W + S) / 2 a block.

Letters: B clips, P prefix tokens (class, registers), W windows, S places, T tokens of a clip (P + W * S,
windows slowest), G sequences, L tokens of a sequence; _ any width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch


class Grouping(ABC):
    """Clips -> sequences whose tokens attend to each other, and back."""

    @abstractmethod
    def split(self, values_BT_: torch.Tensor) -> torch.Tensor:
        """Values of clips' tokens (B, T, _) -> of sequences (G, L, _)."""

    @abstractmethod
    def join(
        self, output_GL_: torch.Tensor, input_BT_: torch.Tensor, mask_BT: torch.Tensor | None
    ) -> torch.Tensor:
        """What a block made of the sequences -> clips' tokens (B, T, _).

        Args:
            output_GL_: from the block.
            input_BT_: what was split.
            mask_BT: True for real tokens; None where all are.
        """


class Joint(Grouping):
    """One sequence a clip."""

    def split(self, values_BT_: torch.Tensor) -> torch.Tensor:
        """As they are."""
        return values_BT_

    def join(
        self, output_GL_: torch.Tensor, input_BT_: torch.Tensor, mask_BT: torch.Tensor | None
    ) -> torch.Tensor:
        """As they are."""
        return output_GL_


class AmongPlaces(Grouping):
    """One sequence a window: its places, and a copy of the prefix, the mean of which goes on.

    Windows of nothing but padding do not count in the mean.

    Args:
        windows: W.
        prefix: P.
    """

    def __init__(self, windows: int, prefix: int):
        self.windows, self.prefix = windows, prefix

    def split(self, values_BT_: torch.Tensor) -> torch.Tensor:
        """(B, P + W * S, _) -> (B * W, P + S, _)."""
        prefix_BWP_ = values_BT_[:, None, : self.prefix].expand(-1, self.windows, -1, -1)
        places_BWS_ = _by_window(values_BT_[:, self.prefix :], self.windows)
        return torch.cat([prefix_BWP_, places_BWS_], dim=2).flatten(0, 1)

    def join(
        self, output_GL_: torch.Tensor, input_BT_: torch.Tensor, mask_BT: torch.Tensor | None
    ) -> torch.Tensor:
        """(B * W, P + S, _) -> (B, P + W * S, _)."""
        output_BWL_ = output_GL_.reshape(-1, self.windows, *output_GL_.shape[1:])
        copies_BWP_, places_BWS_ = output_BWL_.tensor_split([self.prefix], dim=2)
        if mask_BT is None:
            prefix_BP_ = copies_BWP_.mean(1)
        else:
            full_BW11 = _by_window(mask_BT[:, self.prefix :], self.windows).any(-1)[:, :, None, None]
            count_B11 = full_BW11.sum(1).clamp(min=1)
            prefix_BP_ = (copies_BWP_ * full_BW11).sum(1) / count_B11
        return torch.cat([prefix_BP_, places_BWS_.flatten(1, 2)], dim=1)


class OverTime(Grouping):
    """One sequence a place: its windows. The prefix takes no part, and goes on as it was.

    A copy of it for each place would be P more tokens to each W, half as many again or more for a model with
    registers; it hears of the other windows in the next block.

    Args:
        windows: W.
        prefix: P.
    """

    def __init__(self, windows: int, prefix: int):
        self.windows, self.prefix = windows, prefix

    def split(self, values_BT_: torch.Tensor) -> torch.Tensor:
        """(B, P + W * S, _) -> (B * S, W, _)."""
        places_BWS_ = _by_window(values_BT_[:, self.prefix :], self.windows)
        return places_BWS_.transpose(1, 2).flatten(0, 1)

    def join(
        self, output_GL_: torch.Tensor, input_BT_: torch.Tensor, mask_BT: torch.Tensor | None
    ) -> torch.Tensor:
        """(B * S, W, _) -> (B, P + W * S, _)."""
        output_BWS_ = output_GL_.reshape(len(input_BT_), -1, *output_GL_.shape[1:]).transpose(1, 2)
        # Under autocast a block may answer in another type than it was asked in.
        prefix_BP_ = input_BT_[:, : self.prefix].to(output_GL_.dtype)
        return torch.cat([prefix_BP_, output_BWS_.flatten(1, 2)], dim=1)


def groupings(attention: str, *, depth: int, windows: int, prefix: int) -> list[Grouping]:
    """The grouping of each block, first to last.

    Args:
        attention: "joint" or "factorised".
        depth: blocks.
        windows: W of the batch.
        prefix: P.
    """
    if attention == "joint":
        return [Joint()] * depth
    among, over = AmongPlaces(windows, prefix), OverTime(windows, prefix)
    return [among if (depth - number) % 2 else over for number in range(depth)]


def _by_window(values_BN_: torch.Tensor, windows: int) -> torch.Tensor:
    """(B, W * S, ...) -> (B, W, S, ...)."""
    return values_BN_.reshape(len(values_BN_), windows, -1, *values_BN_.shape[2:])
