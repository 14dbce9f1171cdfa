"""Pairs as indices: each picture and each caption once, and which belong together.

Shape suffixes: N pairs, B pairs of a batch, P pictures, C captions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.captions import Pair
from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTable:
    """Pictures, captions, and pairs (picture_N[i], caption_N[i]) of them.

    A picture is its path, a caption its words: several captions of a picture, and a caption that stands at
    several pictures, are known as such.
    """

    pictures: tuple[Path, ...]
    captions: tuple[str, ...]
    picture_N: torch.Tensor
    caption_N: torch.Tensor

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> PairTable:
        """The table of some pairs; the same pair twice counts once."""
        unique = list(dict.fromkeys((pair.image, pair.caption) for pair in pairs))
        pictures = {image: number for number, image in enumerate(dict.fromkeys(image for image, _ in unique))}
        captions = {text: number for number, text in enumerate(dict.fromkeys(text for _, text in unique))}
        return cls(
            pictures=tuple(pictures),
            captions=tuple(captions),
            picture_N=torch.tensor([pictures[image] for image, _ in unique], dtype=torch.long),
            caption_N=torch.tensor([captions[text] for _, text in unique], dtype=torch.long),
        )

    def __len__(self) -> int:
        return len(self.picture_N)

    def known(self, rows_B: torch.Tensor) -> torch.Tensor:
        """Pair numbers (B,) -> (B, B), true where caption j belongs to picture i: no negatives of each other.

        So captions of the same picture never push it away, nor do pictures that share a caption.
        """
        return self.belong(self.picture_N[rows_B], self.caption_N[rows_B])

    def belong(self, pictures_P: torch.Tensor, captions_C: torch.Tensor) -> torch.Tensor:
        """Picture and caption numbers (P,), (C,) -> (P, C), true where they are a pair."""
        keys = (self.picture_N * len(self.captions) + self.caption_N).numpy()
        asked_PC = (pictures_P[:, None] * len(self.captions) + captions_C[None, :]).numpy()
        return torch.from_numpy(np.isin(asked_PC, keys, kind="sort"))

    def batches(self, size: int, *, seed: int, epoch: int) -> list[torch.Tensor]:
        """All pairs in a random order of this epoch's own, in equal batches of at most `size`."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        return [torch.from_numpy(part) for part in np.array_split(order, -(-len(self) // size))]

    def digest(self) -> str:
        """SHA-256 of the pairs, with the sizes of the pictures' files."""
        digest = hashlib.sha256()
        for picture, caption in zip(self.picture_N.tolist(), self.caption_N.tolist(), strict=True):
            path = self.pictures[picture]
            digest.update(repr((str(path), path.stat().st_size, self.captions[caption])).encode())
        return digest.hexdigest()


def split_pairs(pairs: Sequence[Pair], share: float, *, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train with and pairs to validate with; no picture stands on both sides.

    Raises:
        ParameterError: too few pictures for a validation of at least two.
    """
    if share == 0:
        return list(pairs), []
    pictures = list(dict.fromkeys(pair.image for pair in pairs))
    count = max(2, round(share * len(pictures)))
    if len(pictures) < count + 2:
        raise ParameterError(
            "pairs",
            must_be=f"of {count + 2} pictures or more, to keep {count} for validation",
            got=len(pictures),
            do="give more pairs, or a validation share of 0",
        )
    chosen = np.random.default_rng([seed, 0, 1]).permutation(len(pictures))[:count]
    held = {pictures[number] for number in chosen}
    train = [pair for pair in pairs if pair.image not in held]
    return train, [pair for pair in pairs if pair.image in held]
