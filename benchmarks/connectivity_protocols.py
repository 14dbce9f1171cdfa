"""What `benchmarks.connectivity` compares: tasks, features, classifiers and ways to deal people into folds.

Letters: N runs, R regions, E edges of a connectome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from data.caches.cache import Cache
from data.splits.folds import Fold, assert_no_leak, repeated_subject_folds
from neuro.baselines.connectivity import connectivity_svm, parcel_connectivity
from neuro.study import labels_and_people

PUBLISHED_TR = {"taowu": 2.0, "neurocon": 3.48}
Edges = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which sites and which atlas, and what the anchors say of them (AUC and its spread over ten deals)."""

    name: str
    sites: tuple[str, ...]
    atlas: str
    anchor: float
    spread: float


TASKS = (
    Task(name="TaoWu, AAL116", sites=("taowu",), atlas="AAL116", anchor=0.796, spread=0.044),
    Task(
        name="NEUROCON, Harvard-Oxford 48", sites=("neurocon",), atlas="harvard48", anchor=0.734, spread=0.046
    ),
    Task(name="pooled, AAL116", sites=("taowu", "neurocon"), atlas="AAL116", anchor=0.753, spread=0.033),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Features (N, E), labels, people and sites of the runs of a task."""

    features: Edges
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Deal:
    """Figures of one deal of people into folds."""

    pooled: float
    within: float
    balanced: float


def shrunk(cache: Cache, atlas: str) -> Edges:
    """Correlations of the Ledoit-Wolf covariance, nilearn's default in ConnectivityMeasure: (N, E)."""
    rows = []
    for i in range(len(cache)):
        cov_RR = LedoitWolf(store_precision=False).fit(cache.parcels(i, atlas).z_FR).covariance_
        scale_R = np.sqrt(np.diag(cov_RR))
        rows.append((cov_RR / np.outer(scale_R, scale_R))[np.tril_indices(len(cov_RR), -1)])
    return np.array(rows, dtype=np.float32)


def fisher(features_NE: Edges) -> Edges:
    """Fisher's z of correlations."""
    return np.arctanh(np.clip(features_NE, -1 + 1e-6, 1 - 1e-6))


KINDS: dict[str, Callable[[Cache, str], Edges]] = {
    "Pearson": parcel_connectivity,
    "Pearson, Fisher's z": lambda cache, atlas: fisher(parcel_connectivity(cache, atlas)),
    "Ledoit-Wolf": shrunk,
    "Ledoit-Wolf, Fisher's z": lambda cache, atlas: fisher(shrunk(cache, atlas)),
}
OURS, ANCHORS = "Pearson", "Ledoit-Wolf, Fisher's z"


def sample(cache: Cache, task: Task, kind: str) -> Sample:
    """The runs of a task."""
    chosen = cache.table["site"].isin(task.sites).to_numpy()
    labels, people = labels_and_people(cache)
    return Sample(
        features=KINDS[kind](cache, task.atlas)[chosen],
        labels=labels[chosen],
        people=people[chosen],
        sites=cache.table["site"].to_numpy(object)[chosen],
    )


def classifier(scaled: bool) -> Pipeline | SVC:
    """The contender of `neuro evaluate`, or the same without scaling."""
    return connectivity_svm() if scaled else SVC(kernel="linear", C=1.0, class_weight="balanced")


def deal(found: Sample, folds: Sequence[Fold], labels: NDArray[np.int64], scaled: bool = True) -> Deal:
    """Train and test one deal of people into folds."""
    scores, within = np.zeros(len(labels)), []
    for train, test in folds:
        assert_no_leak(found.people, train, test)
        model = classifier(scaled).fit(found.features[train], labels[train])
        scores[test] = model.decision_function(found.features[test])
        within.append(roc_auc_score(labels[test], scores[test]))
    return Deal(
        pooled=float(roc_auc_score(labels, scores)),
        within=float(np.mean(within)),
        balanced=float(balanced_accuracy_score(labels, scores > 0)),
    )


def anchor_folds(labels: NDArray[np.int64], count: int) -> list[list[Fold]]:
    """Deals as those of the anchors; one run a person, so rows are people."""
    return [
        list(StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels))
        for seed in range(count)
    ]


def own_folds(found: Sample, count: int) -> list[list[Fold]]:
    """Deals of `data.splits`, stratified by label and site."""
    return repeated_subject_folds(found.labels, found.people, n_repeats=count, strata=found.sites)
