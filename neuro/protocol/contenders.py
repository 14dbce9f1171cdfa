"""A prepared cohort -> the contenders that `neuro evaluate` compares, each with what it looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.splits.folds import Indices
from neuro.baselines.connectivity import (
    connectivity_features,
    connectivity_svm,
    majority,
    parcel_connectivity,
)
from neuro.baselines.slices import slice_features, slice_logistic
from neuro.baselines.tangent import network_series, parcel_series, tangent_logistic
from neuro.model import ModelConfig
from neuro.protocol.confound_models import confound_contenders
from neuro.protocol.contender import Contender
from neuro.protocol.plan import Plan
from neuro.sites.harmonize import after_combat, sites_tell_labels, with_sites
from neuro.study import StudyConfig, Track, cached_runs, cut_runs, has_voxels, tokens_for, untracked
from neuro.tokens import ParcelSpec
from vision.backbones import load_backbone

COVARIATES = ("age", "sex")
RUNS_A_COLUMN = 10  # fewer training runs a column of ComBat's design fit noise: then age and sex stay out
TRANSFORMER, SLICES, MAJORITY = "brain Transformer", "frozen picture features", "majority"
TANGENT = "tangent space + logistic"
CONNECTIVITY = "connectivity + SVM"  # the baseline that the verdict is about


def contenders(
    cache: Cache, config: StudyConfig, plan: Plan, track: Track[Any] | None = None
) -> list[Contender]:
    """The Transformer and what it must stand beside; features that need no labels are computed here.

    Args:
        cache: the prepared cohort; where it holds parcel series alone, all contenders look at those.
        config: what to compare.
        plan: the folds, in none of which sites may tell the label where ComBat takes part.
        track: wraps a loop over runs (runs, what, how many), for a progress bar.
    """
    track = track or untracked
    found = [_transformer(cache, config, track)]
    if config.slice_backbone is not None and has_voxels(cache):
        found.append(_slices(cache, config.slice_backbone, config.device, track))
    for plain in [*_voxel_connectivity(cache, track), *_parcel_connectivity(cache, config)]:
        found += [plain, *_harmonized(cache, plan, plain)]
    if config.tangent:
        found.append(_tangent(cache, config, track))
    return [*found, *confound_contenders(cache.table), _majority(cache)]


def _transformer(cache: Cache, config: StudyConfig, track: Track[Any]) -> Contender:
    spec = tokens_for(cache, config.tokens, config.atlas)
    runs = cut_runs(cache, spec, track, config.device)
    note = f"{_start_in_words(config)}; {spec.kind} tokens"
    return Contender(name=TRANSFORMER, estimator=config.classifier(), X=runs, note=note, grid=config.grid)


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
    return [_connectivity(CONNECTIVITY, features, 300)]


def _parcel_connectivity(cache: Cache, config: StudyConfig) -> list[Contender]:
    """The same on the parcels of each atlas that the cache has; the one that stands for it first."""
    found: list[Contender] = []
    for atlas in sorted(cache.atlases, key=lambda name: name != atlas_in_focus(cache, config)):
        plain = not found and not has_voxels(cache)
        name = CONNECTIVITY if plain else f"connectivity of {atlas} + SVM"
        features = parcel_connectivity(cache, atlas)
        found.append(_connectivity(name, features, len(cache.parcels(0, atlas).regions), atlas))
    return found


def _connectivity(name: str, features: NDArray[np.float32], regions: int, atlas: str = "") -> Contender:
    of = f" of {atlas}" if atlas else ""
    note = f"{regions} regions{of}, correlations, linear"
    return Contender(name=name, estimator=connectivity_svm(), X=features, note=note)


def atlas_in_focus(cache: Cache, config: StudyConfig) -> str | None:
    """Whose regions stand for connectivity where the cache holds several: the Transformer's, or the first."""
    spec = tokens_for(cache, config.tokens, config.atlas)
    if isinstance(spec, ParcelSpec):
        return spec.atlas
    return cache.atlases[0] if cache.atlases else None


def _tangent(cache: Cache, config: StudyConfig, track: Track[Any]) -> Contender:
    atlas = atlas_in_focus(cache, config)
    if atlas is None:
        series = network_series(track(cached_runs(cache), "Tangent space", len(cache)))
    else:
        series = parcel_series(cache, atlas)
    regions = f"{series[0].shape[1]} regions{f' of {atlas}' if atlas else ''}"
    return Contender(
        name=TANGENT,
        estimator=tangent_logistic(),
        X=series,
        note=f"{regions}, covariances at the training group's mean, logistic regression",
    )


def _harmonized(cache: Cache, plan: Plan, plain: Contender) -> list[Contender]:
    """A contender behind ComBat, where there are sites, and on no training side do they tell the label."""
    sites, labels = cache.table["site"].to_numpy(), cache.table["label"].to_numpy(np.int64)
    outer, other = _training_sides(plan)
    sides = [*outer, *other]
    if len(set(sites)) < 2 or any(sites_tell_labels(sites[train], labels[train]) for train in sides):
        return []
    columns = len(set(sites)) + 1 + len(COVARIATES)
    enough = min(map(len, outer)) >= RUNS_A_COLUMN * columns and min(map(len, sides)) > columns
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


def _training_sides(plan: Plan) -> tuple[list[Indices], list[Indices]]:
    """Of the people dealt into folds; and wherever else a contender is fitted: inner folds, other sites."""
    outer = [fold.train for deal in plan.within for fold in deal]
    inner = [train for _, _, folds in plan.deals() for fold in folds for train, _ in fold.inner]
    return outer, [*inner, *(fold.train for fold in plan.across)]


def _majority(cache: Cache) -> Contender:
    nothing = np.zeros((len(cache), 1))
    return Contender(
        name=MAJORITY, estimator=majority(), X=nothing, note="the commoner label", sees_scans=False
    )


def _start_in_words(config: StudyConfig) -> str:
    """What the Transformer begins with."""
    if config.init_from is not None:
        return f"started from {config.init_from}"
    name = (config.model or ModelConfig()).backbone
    return "small ViT, initialised from scratch" if name.startswith("scratch:") else f"{name}, fine-tuned"
