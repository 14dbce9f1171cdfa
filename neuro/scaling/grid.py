"""What a scaling study trains: sizes x shares of people x seeds -> cells."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product

from data.errors import ParameterError
from neuro.scaling.law import FEWEST_CELLS, FEWEST_SIZES

HEAD_WIDTH = 32  # of attention: 64, the usual width, would leave narrow models one head
ARCH = "vit_tiny_patch16_224"


@dataclass(frozen=True, kw_only=True, order=True)
class Size:
    """A size of the encoder.

    Attributes:
        width: of its tokens, a multiple of 32, which attention's heads are wide.
        depth: number of its blocks.

    Raises:
        ParameterError: the width is no such multiple, or there is no block.
    """

    width: int
    depth: int

    def __post_init__(self) -> None:
        if self.width < HEAD_WIDTH or self.width % HEAD_WIDTH:
            raise ParameterError("width", must_be=f"a multiple of {HEAD_WIDTH}", got=self.width)
        if self.depth < 1:
            raise ParameterError("depth", must_be="1 or more", got=self.depth)

    @property
    def backbone(self) -> str:
        """Name of an untrained model of this size, for `load_backbone`."""
        heads = self.width // HEAD_WIDTH
        return f"scratch:{ARCH}/embed_dim={self.width},depth={self.depth},num_heads={heads}"

    def __str__(self) -> str:
        return f"{self.width} x {self.depth}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training.

    Attributes:
        size: of the encoder.
        share: of the training people; `neuro.scaling.people_share` with this seed says who.
        passes: over the runs of these people.
        seed: of the weights, the order of people and the training.
    """

    size: Size
    share: float
    passes: float
    seed: int

    @property
    def backbone(self) -> str:
        """Name of the untrained model."""
        return self.size.backbone

    @property
    def name(self) -> str:
        """A short one, no other cell's in its plan."""
        return f"w{self.size.width}-d{self.size.depth}-s{self.share:g}-r{self.seed}"


@dataclass(frozen=True, kw_only=True)
class ScalingPlan:
    """A grid of small trainings, and how far to extrapolate from it.

    Attributes:
        sizes: of the encoder, three or more.
        shares: of the training people, three or more.
        seeds: repetitions of each; two at least tell noise from law.
        passes: over its people that each cell makes: what is seen grows with the share alone.
        budget: FLOP that all cells together may cost; once they have, no other is begun. None is no limit.
        reach: how many times the largest compute of a cell the law is extrapolated to.

    Raises:
        ParameterError: too few or repeated sizes, shares or seeds, or a number out of its range.
    """

    sizes: tuple[Size, ...] = (
        Size(width=32, depth=2),
        Size(width=64, depth=3),
        Size(width=96, depth=4),
        Size(width=160, depth=6),
    )
    shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    passes: float = 20
    budget: float | None = None
    reach: float = 10

    def __post_init__(self) -> None:
        for name, fewest in (("sizes", FEWEST_SIZES), ("shares", FEWEST_SIZES), ("seeds", 1)):
            given = getattr(self, name)
            if len(set(given)) < max(fewest, len(given)):
                found = f"{len(given)}, of which {len(set(given))} differ"
                raise ParameterError(name, must_be=f"{fewest} or more that differ", got=found)
        if len(self.sizes) * len(self.shares) < FEWEST_CELLS:
            raise ParameterError("sizes and shares", must_be=f"{FEWEST_CELLS} cells or more", got="fewer")
        if not all(0 < share <= 1 for share in self.shares):
            raise ParameterError("shares", must_be="above 0 and at most 1", got=self.shares)
        if not self.passes > 0:
            raise ParameterError("passes", must_be="positive", got=self.passes)
        if self.budget is not None and not self.budget > 0:
            raise ParameterError("budget", must_be="positive, or None for no limit", got=self.budget)
        if not self.reach > 1:
            raise ParameterError("reach", must_be="above 1", got=self.reach)

    def cells(self) -> list[Cell]:
        """All trainings, small before large, so that an early end leaves whole small grids."""
        crossed = product(sorted(self.sizes, key=_weight), sorted(self.shares), self.seeds)
        found = [Cell(size=size, share=share, passes=self.passes, seed=seed) for size, share, seed in crossed]
        return sorted(found, key=lambda cell: _weight(cell.size) * cell.share)

    @property
    def identity(self) -> str:
        """Of what its cells train; budget and reach may change from one call to the next."""
        facts = {
            "arch": ARCH,
            "sizes": sorted((size.width, size.depth) for size in self.sizes),
            "shares": sorted(self.shares),
            "seeds": sorted(self.seeds),
            "passes": self.passes,
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _weight(size: Size) -> int:
    """What a block's weights, and so its products with tokens, grow with."""
    return size.width**2 * size.depth
