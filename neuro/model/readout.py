"""What the encoder made of a clip -> one logit: the contract of all readouts, and the plain ones.

Letters: B clips, P prefix tokens, N tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model.encoder import Encoded
from neuro.tokens.batch import TokenBatch
from vision.adapt import AttentiveProbe
from vision.explain.attention import AttentionRecorder


class Readout(nn.Module, ABC):
    """`Encoded` -> logits (B,); and the votes of the tokens, where a logit is the sum of them and a bias."""

    @abstractmethod
    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,).

        Args:
            encoded: from the encoder.
            batch: what was encoded.
        """

    @abstractmethod
    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N), 0 for padding; `bias` is not in it.

        Raises:
            ParameterError: the logit is no such sum.
        """

    @property
    @abstractmethod
    def bias(self) -> torch.Tensor:
        """What the logit is without any vote, ()."""


class ClassReadout(Readout):
    """Linear on the first prefix token, the class token.

    Args:
        dim: width D.
        prefix: prefix tokens P of the backbone.

    Raises:
        ParameterError: there is none.
    """

    def __init__(self, dim: int, prefix: int):
        super().__init__()
        if not prefix:
            raise ParameterError(
                "readout",
                must_be="regions, places, mean or attention for a backbone without a class token",
                got="class",
            )
        self.head = _silent_linear(dim)

    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        logits_B1: torch.Tensor = self.head(encoded.prefix_BPD[:, 0])
        return logits_B1.squeeze(-1)

    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """There are none.

        Raises:
            ParameterError: always.
        """
        raise ParameterError(
            "readout",
            must_be="one whose logit is a sum of votes of places: regions, places, mean or attention",
            got="class",
            do="explain the model by its attention or its gradients",
        )

    @property
    def bias(self) -> torch.Tensor:
        """Of the linear layer, ()."""
        return self.head.bias[0]


class MeanReadout(Readout):
    """Linear on the mean of the tokens.

    Args:
        dim: width D.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.head = _silent_linear(dim)

    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        return self.votes(encoded, batch).sum(1) + self.bias

    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N)."""
        votes_BN = F.linear(encoded.tokens_BND, self.head.weight).squeeze(-1)
        return votes_BN * batch.mask_BN / batch.mask_BN.sum(1, keepdim=True).clamp(min=1)

    @property
    def bias(self) -> torch.Tensor:
        """Of the linear layer, ()."""
        return self.head.bias[0]


class AttentionReadout(Readout):
    """A learned query attends over the tokens, and what it gathers is read linearly (`AttentiveProbe`).

    Args:
        dim: width D.
        heads: ways of looking; they divide D.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.probe = AttentiveProbe(dim, 1, heads=heads)

    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        logits_B1: torch.Tensor = self.probe(encoded.tokens_BND, batch.mask_BN if batch.padded else None)
        return logits_B1.squeeze(-1)

    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N): its weight in each head times what it says there."""
        with AttentionRecorder() as recorder:
            self.probe(encoded.tokens_BND, batch.mask_BN)
        (layer,) = recorder.layers
        head_Hd = self.probe.head.weight.reshape(self.probe.heads, -1)
        votes_BN = torch.einsum("bhqn,bhnd,hd->bn", layer.weights_BHQK, layer.value_BHKD, head_Hd)
        return votes_BN * batch.mask_BN

    @property
    def bias(self) -> torch.Tensor:
        """Of the linear layer, ()."""
        return self.probe.head.bias[0]


def _silent_linear(dim: int) -> nn.Linear:
    """(.., D) -> (.., 1), which begins at 0: at first both classes are as likely."""
    head = nn.Linear(dim, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
