"""A prepared cohort -> the contenders that `neuro evaluate` compares, each with what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from data.splits.folds import Fold, subject_folds
from neuro.baselines import connectivity_features, connectivity_svm, majority, parcel_connectivity
from neuro.classify import ParkinsonClassifier
from neuro.defaults import FOLDS
from neuro.evaluate import Contender
from neuro.harmonize import after_combat, sites_tell_labels, with_sites
from neuro.model import ModelConfig
from neuro.slices import slice_features, slice_logistic
from neuro.tokens import ParcelSpec, RunTokens, SliceSpec, TokenSpec, TubeletSpec, cut
from neuro.training.config import TrainingConfig
from vision.backbones import load_backbone

COVARIATES = ("age", "sex")
RUNS_A_COLUMN = 10  # fewer training runs a column of ComBat's design fit noise: then age and sex stay out
TRANSFORMER, SLICES = "brain Transformer", "frozen picture features"

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
        folds: by person, stratified by label and site.
        seed: of folds and training.
        device: "auto" takes cuda, then mps, then cpu.
    """

    model: ModelConfig | None = None
    tokens: TokenSpec = field(default_factory=TubeletSpec)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    atlas: str | None = None
    init_from: str | None = None
    slice_backbone: str | None = None
    folds: int = FOLDS
    seed: int = 0
    device: str = "auto"

    def classifier(self) -> ParkinsonClassifier:
        """The Transformer, untrained."""
        return ParkinsonClassifier(
            model=self.model,
            training=self.training,
            init_from=self.init_from,
            seed=self.seed,
            device=self.device,
        )


def _untracked(items: Iterable[Item], _what: str, _total: int) -> Iterable[Item]:
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
    track = track or _untracked
    return [cut(cache, i, spec, backbone) for i in track(range(len(cache)), "Tokens", len(cache))]


def cached_runs(cache: Cache) -> Iterator[CachedRun]:
    """The runs of a cache, opened one after the other."""
    return (cache.run(i) for i in range(len(cache)))


def labels_and_people(cache: Cache) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Label (0 or 1) and person of each run; who was scanned at two sites is one person."""
    return cache.table["label"].to_numpy(np.int64), cache.table["person"].to_numpy(object)


def study_folds(cache: Cache, config: StudyConfig) -> list[Fold]:
    """The folds that every contender shares."""
    labels, people = labels_and_people(cache)
    return subject_folds(
        labels, people, n_splits=config.folds, seed=config.seed, strata=cache.table["site"].to_numpy()
    )


def contenders(cache: Cache, config: StudyConfig, track: Track[Any] | None = None) -> list[Contender]:
    """The Transformer and what it must stand beside; features that need no labels are computed here.

    Args:
        cache: the prepared cohort; where it holds parcel series alone, all contenders look at those.
        config: what to compare.
        track: wraps a loop over runs (runs, what, how many), for a progress bar.
    """
    track = track or _untracked
    found = [_transformer(cache, config, track)]
    if config.slice_backbone is not None and has_voxels(cache):
        found.append(_slices(cache, config.slice_backbone, config.device, track))
    for plain in [*_voxel_connectivity(cache, track), *_parcel_contenders(cache)]:
        found += [plain, *_harmonized(cache, config, plain)]
    return [*found, _majority(cache)]


def _transformer(cache: Cache, config: StudyConfig, track: Track[Any]) -> Contender:
    spec = tokens_for(cache, config.tokens, config.atlas)
    runs = cut_runs(cache, spec, track, config.device)
    note = f"{_start_in_words(config)}; {spec.kind} tokens"
    return Contender(name=TRANSFORMER, estimator=config.classifier(), X=runs, note=note)


def _slices(cache: Cache, name: str, device: str, track: Track[Any]) -> Contender:
    backbone = load_backbone(name, device=device)
    looked_at = track(cached_runs(cache), f"Slices through {name}", len(cache))
    features = np.stack([slice_features(run, backbone) for run in looked_at])
    note = f"slices through {name}, untouched; logistic regression"
    return Contender(name=SLICES, estimator=slice_logistic(), X=features, note=note)


def _voxel_connectivity(cache: Cache, track: Track[Any]) -> list[Contender]:
    """Connectivity of spheres at published places, where there are voxels."""
    if not has_voxels(cache):
        return []
    features = connectivity_features(track(cached_runs(cache), "Connectivity", len(cache)))
    note = "300 regions, correlations, linear"
    return [Contender(name="connectivity + SVM", estimator=connectivity_svm(), X=features, note=note)]


def has_voxels(cache: Cache) -> bool:
    """Whether runs hold voxels, or parcel series only."""
    return bool((cache.table["n_voxels"] > 0).any())


def _majority(cache: Cache) -> Contender:
    return Contender(
        name="majority", estimator=majority(), X=np.zeros((len(cache), 1)), note="the commoner label"
    )


def _parcel_contenders(cache: Cache) -> list[Contender]:
    """The same baseline on the parcels of each atlas that the cache has."""
    return [
        Contender(
            name=f"connectivity of {atlas} + SVM",
            estimator=connectivity_svm(),
            X=parcel_connectivity(cache, atlas),
            note=f"{len(cache.parcels(0, atlas).regions)} regions, correlations, linear",
        )
        for atlas in cache.atlases
    ]


def _harmonized(cache: Cache, config: StudyConfig, plain: Contender) -> list[Contender]:
    """A contender behind ComBat, where there are sites, and in no training fold do they tell the label."""
    sites, (labels, _) = cache.table["site"].to_numpy(), labels_and_people(cache)
    folds = study_folds(cache, config)
    if len(set(sites)) < 2 or any(sites_tell_labels(sites[train], labels[train]) for train, _ in folds):
        return []
    columns = len(set(sites)) + 1 + len(COVARIATES)
    enough = min(len(train) for train, _ in folds) >= RUNS_A_COLUMN * columns
    covariates = COVARIATES if enough else ()
    preserved = f", {' and '.join(covariates)} preserved" if covariates else ""
    return [
        Contender(
            name=plain.name.replace(" + SVM", " + ComBat + SVM"),
            estimator=after_combat(plain.estimator, covariates),
            X=with_sites(plain.X, cache.table, covariates),
            note=f"as {plain.name}, sites harmonized within each training fold{preserved}",
        )
    ]


def _start_in_words(config: StudyConfig) -> str:
    """What the Transformer begins with."""
    if config.init_from is not None:
        return f"started from {config.init_from}"
    name = (config.model or ModelConfig()).backbone
    return "small ViT, initialised from scratch" if name.startswith("scratch:") else f"{name}, fine-tuned"
