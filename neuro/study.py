"""A prepared cohort -> the contenders that `neuro evaluate` compares, each with what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.splits.folds import Fold, subject_folds
from neuro.baselines import connectivity_features, connectivity_svm, majority, parcel_connectivity
from neuro.classify import ParkinsonClassifier
from neuro.defaults import FOLDS
from neuro.evaluate import Contender
from neuro.harmonize import after_combat, sites_tell_labels, with_sites
from neuro.model import DEFAULT_BACKBONE
from neuro.slices import slice_features, slice_logistic
from neuro.tokens import RunTokens, TubeletSpec, cubes
from neuro.training.supervised import TrainingConfig
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
        backbone: model whose trunk and inflated patch embedding the Transformer is.
        slice_backbone: model that looks at slices, frozen; None leaves that contender out.
        tubelet: how runs are cut.
        training: of the Transformer.
        folds: by person, stratified by label and site.
        seed: of folds and training.
        device: "auto" takes cuda, then mps, then cpu.
    """

    backbone: str = DEFAULT_BACKBONE
    slice_backbone: str | None = None
    tubelet: TubeletSpec = field(default_factory=TubeletSpec)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    folds: int = FOLDS
    seed: int = 0
    device: str = "auto"

    def classifier(self) -> ParkinsonClassifier:
        """The Transformer, untrained."""
        return ParkinsonClassifier(self.backbone, self.training, self.seed, self.device)


def _untracked(items: Iterable[Item], _what: str, _total: int) -> Iterable[Item]:
    return items


def cut_runs(cache: Cache, spec: TubeletSpec) -> list[RunTokens]:
    """All runs of a cache as tubelets."""
    return [cubes(run, spec) for run in cached_runs(cache)]


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


def contenders(cache: Cache, config: StudyConfig, track: Track[CachedRun] = _untracked) -> list[Contender]:
    """The Transformer and what it must stand beside; features that need no labels are computed here.

    A cache of parcel series alone has no voxels for the Transformer: the baselines are compared.

    Args:
        cache: the prepared cohort.
        config: what to compare.
        track: wraps a loop over runs (runs, what, how many), for a progress bar.
    """
    if not has_voxels(cache):
        parcels = _parcel_contenders(cache)
        harmonized = [also for plain in parcels for also in _harmonized(cache, config, plain)]
        return [*parcels, *harmonized, _majority(cache)]
    runs = cut_runs(cache, config.tubelet)
    connectivity = connectivity_features(track(cached_runs(cache), "Connectivity", len(cache)))
    found = [
        Contender(name=TRANSFORMER, estimator=config.classifier(), X=runs, note=_backbone_note(config)),
        Contender(
            name="connectivity + SVM",
            estimator=connectivity_svm(),
            X=connectivity,
            note="300 regions, correlations, linear",
        ),
        *_parcel_contenders(cache),
        _majority(cache),
    ]
    found[2:2] = _harmonized(cache, config, found[1])
    if config.slice_backbone is not None:
        backbone = load_backbone(config.slice_backbone, device=config.device)
        looked_at = track(cached_runs(cache), f"Slices through {config.slice_backbone}", len(cache))
        features = np.stack([slice_features(run, backbone) for run in looked_at])
        note = f"slices through {config.slice_backbone}, untouched; logistic regression"
        found.insert(1, Contender(name=SLICES, estimator=slice_logistic(), X=features, note=note))
    return found


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


def _backbone_note(config: StudyConfig) -> str:
    if config.backbone.startswith("scratch:"):
        return "small ViT, initialised from scratch; tubelet tokens"
    return f"{config.backbone}, fine-tuned; tubelet tokens"
