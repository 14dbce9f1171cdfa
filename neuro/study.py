"""What a study compares and how; and a prepared cohort cut as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.protocol.permutation import Permutations
from neuro.protocol.plan import PlanConfig
from neuro.tokens import ParcelSpec, RunTokens, SliceSpec, TokenSpec, TubeletSpec, cut
from neuro.training.config import TrainingConfig
from vision.backbones import load_backbone

Item = TypeVar("Item")
Track = Callable[[Iterable[Item], str, int], Iterable[Item]]


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What to compare and how.

    Attributes:
        model: what the Transformer is like; None takes the defaults.
        tokens: how runs are cut; where a cache holds parcel series alone, and these need voxels, the
            Transformer sees parcels (see `tokens_for`).
        training: of the Transformer.
        atlas: whose regions the Transformer sees, where it sees parcels; None for that of `tokens`, or the
            cache's first.
        init_from: folder of a pretrained or trained encoder that its training starts from.
        slice_backbone: model that looks at slices, frozen; None leaves that contender out.
        grid: settings of the Transformer that inner folds choose among (`training__adaptation__svm_c`).
        tangent: let tangent-space connectivity take part; it takes its time where regions are many.
        calibration: how scores become probabilities (see `neuro.calibration.calibrators`).
        plan: how people are dealt into folds.
        permutations: how often the Transformer's whole pipeline is run on permuted labels; 0 for not at all.
        permutation_minutes: no permutation is begun after so long; None for no limit.
        seed: of training, and of permutations.
        device: "auto" takes cuda, then mps, then cpu.
    """

    model: ModelConfig | None = None
    tokens: TokenSpec = field(default_factory=TubeletSpec)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    atlas: str | None = None
    init_from: str | None = None
    slice_backbone: str | None = None
    grid: tuple[Mapping[str, Any], ...] = ({},)
    tangent: bool = True
    calibration: str = "platt"
    plan: PlanConfig = field(default_factory=PlanConfig)
    permutations: int = 0
    permutation_minutes: float | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.how_permuted()  # which refuses what can say nothing

    def how_permuted(self) -> Permutations:
        """How often labels are permuted.

        Raises:
            ParameterError: too seldom to show anything, or no time.
        """
        return Permutations(count=self.permutations, minutes=self.permutation_minutes, seed=self.seed)

    def classifier(self) -> ParkinsonClassifier:
        """The Transformer, untrained."""
        return ParkinsonClassifier(
            model=self.model,
            training=self.training,
            init_from=self.init_from,
            seed=self.seed,
            device=self.device,
        )


def untracked(items: Iterable[Item], _what: str, _total: int) -> Iterable[Item]:
    """Items as they are: no progress is told."""
    return items


def tokens_for(cache: Cache, spec: TokenSpec, atlas: str | None = None) -> TokenSpec:
    """How the runs of a cache are cut: as `spec` says, where they can be.

    Of runs without voxels, parcels become the tokens: each region's correlations with all regions, over as
    many frames as the shortest run has.

    Args:
        cache: the prepared cohort.
        spec: what is wanted.
        atlas: whose regions to take, where parcels are the tokens; None for that of `spec`, or the cache's
            first.

    Raises:
        ParameterError: the cache has no such atlas, or neither voxels nor an atlas that all runs have; or an
            atlas was chosen, and the tokens are no parcels.
    """
    if isinstance(spec, ParcelSpec):
        chosen = replace(spec, atlas=atlas or spec.atlas)
    elif not has_voxels(cache):
        if not cache.atlases:
            raise ParameterError("cache", must_be="one with voxels, or an atlas of all runs", got="neither")
        shortest = int(cache.table["n_frames"].min())
        chosen = ParcelSpec(atlas=atlas or cache.atlases[0], frames=shortest, profile="correlation")
    elif atlas is not None:
        do = "take --preset parcels, too"
        raise ParameterError("atlas", must_be="left out where tokens are no parcels", got=atlas, do=do)
    else:
        return spec
    cache.parcels(0, chosen.atlas)  # which says what there is, where this is not
    return chosen


def cut_runs(
    cache: Cache, spec: TokenSpec, track: Track[int] | None = None, device: str = "auto"
) -> list[RunTokens]:
    """All runs of a cache as tokens.

    Args:
        cache: the prepared cohort.
        spec: how they are cut (see `tokens_for`).
        track: wraps a loop over their numbers, for a progress bar: slices take their time.
        device: of the model that looks at slices.
    """
    backbone = load_backbone(spec.backbone, device=device) if isinstance(spec, SliceSpec) else None
    track = track or untracked
    return [cut(cache, i, spec, backbone) for i in track(range(len(cache)), "Tokens", len(cache))]


def cached_runs(cache: Cache) -> Iterator[CachedRun]:
    """The runs of a cache, opened one after the other."""
    return (cache.run(i) for i in range(len(cache)))


def labels_and_people(cache: Cache) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Label (0 or 1) and person of each run; who was scanned at two sites is one person."""
    return cache.table["label"].to_numpy(np.int64), cache.table["person"].to_numpy(object)


def has_voxels(cache: Cache) -> bool:
    """Whether runs hold voxels, or parcel series only."""
    return bool((cache.table["n_voxels"] > 0).any())
