"""How far a study's map is to be believed: other methods, other folds, random weights.

Letters: N runs, X Y Z voxel axes, or R regions in their place, M voxels of the brain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.explain.checks import randomised, rank_correlation
from neuro.explain.group_map import Floats, group_map, out_of_fold
from neuro.explain.methods import Options
from neuro.explain.regions import STRONG
from neuro.explain.relevance import Relevance
from neuro.tokens import RunTokens, untokenize

STEPS = 4  # of integrated gradients: the demo's map has a rank correlation of 0.995 with that of 16
COMPARED = ("integrated-gradients", "votes", "attention-gradient")  # occlusion takes a pass a place and clip
FEW = 10  # runs that are explained in other ways too, where there are more
MOST_TOKENS = 2048  # of a clip, for attention's gradient: it keeps tokens x tokens a block and head


@dataclass(frozen=True, kw_only=True, eq=False)
class Explaining:
    """Who is explained by what: an evaluation's first deal.

    Attributes:
        classifiers: the fitted one of each fold.
        runs: all runs, of one space.
        fold_of_N: the fold that each run was tested in.
        labels_N: 0 or 1.
        sites_N: where each was scanned.
    """

    classifiers: Sequence[ParkinsonClassifier]
    runs: Sequence[RunTokens]
    fold_of_N: NDArray[np.int64]
    labels_N: NDArray[np.int64]
    sites_N: NDArray[np.object_]

    def by(self, method: str) -> list[Relevance]:
        """Every run's relevance by the model that had not seen the person.

        Raises:
            ParameterError: a model cannot be explained by this method.
        """
        return out_of_fold(self.classifiers, self.runs, self.fold_of_N, method, Options(steps=STEPS))

    def at(self, rows: NDArray[np.intp]) -> Explaining:
        """Some of the runs."""
        return replace(
            self,
            runs=[self.runs[row] for row in rows],
            fold_of_N=self.fold_of_N[rows],
            labels_N=self.labels_N[rows],
            sites_N=self.sites_N[rows],
        )

    def map_of(self, found: Sequence[Relevance]) -> Floats:
        """Patients less controls, within sites, of the relevance of each run.

        Raises:
            ParameterError: labels of one kind only.
        """
        return group_map(found, self.labels_N, self.sites_N)

    def with_random_weights(self) -> Explaining:
        """The same with every weight drawn anew, from the readout down to the embeddings.

        All folds draw alike: else their maps would differ for that alone, and their mean be flatter.
        """
        drawn = []
        for classifier in self.classifiers:
            *_, (_, last) = randomised(classifier)
            drawn.append(last)
        return replace(self, classifiers=drawn)


@dataclass(frozen=True, kw_only=True)
class MapChecks:
    """Rank correlations (Spearman's, of |relevance| over the brain) of a study's map with others.

    Attributes:
        runs: that were explained by other methods and random weights too.
        methods: with that of each other method.
        not_compared: the other methods, and why they were not.
        folds: between the maps of every two folds, each of its own test people by its own model: no person in
            both, none seen by the model that explains them.
        peaks: of each fold that has such a map, whether the peak of the other folds' people is among its
            strongest 5 % of places.
        peaks_by_chance: how often it would be anywhere: that share of places, of few regions more than 5 %.
        random: with that of the same models with all weights drawn anew; None where that is flat.
        random_size: the largest |relevance| of that, as a share of the map's.
    """

    runs: int = 0
    methods: Mapping[str, float] = field(default_factory=dict)
    not_compared: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[float, ...] = ()
    peaks: tuple[bool, ...] = ()
    peaks_by_chance: float = 0.0
    random: float | None = None
    random_size: float = 0.0


def check_map(found: Sequence[Relevance], explaining: Explaining) -> MapChecks:
    """Compare the map of some relevances with others of the same study.

    Other methods and random weights explain a few of the runs, and are compared with the map of these.

    Args:
        found: the relevance of each run.
        explaining: that they come from.
    """
    brain_XYZ = painted(explaining.runs)
    maps = list(_of_folds(found, explaining, brain_XYZ))
    strong = [own_M >= np.percentile(own_M, STRONG) for own_M, _ in maps]
    rows = _few(explaining.fold_of_N, explaining.labels_N, FEW)
    some = explaining.at(rows)
    map_XYZ = some.map_of([found[row] for row in rows.tolist()])
    methods, not_compared = _other_methods(found[0].method, map_XYZ, some, brain_XYZ)
    random_XYZ = some.map_of(some.with_random_weights().by(found[0].method))
    random = rank_correlation(map_XYZ, random_XYZ, brain_XYZ)
    return MapChecks(
        runs=len(rows),
        methods=methods,
        not_compared=not_compared,
        folds=tuple(_between([own_M for own_M, _ in maps])),
        peaks=tuple(
            bool(top_M[others_M.argmax()]) for top_M, (_, others_M) in zip(strong, maps, strict=True)
        ),
        peaks_by_chance=float(np.mean(strong)) if strong else 0.0,
        random=None if np.isnan(random) else random,
        random_size=float(np.abs(random_XYZ).max() / np.abs(map_XYZ).max()) if map_XYZ.any() else 0.0,
    )


def _other_methods(
    method: str, map_XYZ: Floats, explaining: Explaining, brain_XYZ: NDArray[np.bool_]
) -> tuple[dict[str, float], dict[str, str]]:
    """The correlation with each other method's map, or why there is none."""
    methods: dict[str, float] = {}
    not_compared: dict[str, str] = {}
    for other in (name for name in COMPARED if name != method):
        try:
            _require_affordable(other, explaining.runs[0])
            other_XYZ = explaining.map_of(explaining.by(other))
        except ParameterError as error:
            not_compared[other] = str(error).rstrip(".")
            continue
        correlation = rank_correlation(map_XYZ, other_XYZ, brain_XYZ)
        if np.isnan(correlation):
            not_compared[other] = "its map is the same everywhere"
        else:
            methods[other] = correlation
    return methods, not_compared


def painted(runs: Sequence[RunTokens]) -> NDArray[np.bool_]:
    """The voxels, or regions, that a place of any run is painted on."""
    found = untokenize(runs[0], np.ones(len(runs[0].centres_S3), np.float32)) > 0
    for run in runs[1:]:
        found |= untokenize(run, np.ones(len(run.centres_S3), np.float32)) > 0
    return found


def _few(fold_of_N: NDArray[np.int64], labels_N: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Rows of at most so many runs, but of two of each fold in any case.

    Of each fold as many patients' as controls', so that what its model says of a neutral brain cancels; all
    rows, where no fold has both.
    """
    folds = [fold_of_N == fold for fold in np.unique(fold_of_N)]
    pairs = [[np.flatnonzero(here & (labels_N == label)) for label in (0, 1)] for here in folds]
    pairs = [pair for pair in pairs if len(pair[0]) and len(pair[1])]
    if not pairs:
        return np.arange(len(labels_N))
    chosen = []
    for pair in pairs:
        count = min(len(pair[0]), len(pair[1]), max(1, most // (2 * len(pairs))))
        chosen += [rows[np.arange(count) * len(rows) // count] for rows in pair]
    return np.sort(np.concatenate(chosen))


def _require_affordable(method: str, run: RunTokens) -> None:
    clip = run.clip(0)
    tokens = clip.signal_WSV.shape[0] * clip.signal_WSV.shape[1]
    if method == "attention-gradient" and tokens > MOST_TOKENS:
        raise ParameterError("tokens of a clip", must_be=f"at most {MOST_TOKENS:,}", got=f"{tokens:,}")


def _of_folds(
    found: Sequence[Relevance], explaining: Explaining, brain_XYZ: NDArray[np.bool_]
) -> Iterator[tuple[Floats, Floats]]:
    """|relevance| of the brain (M,) of each fold's test people, and of everybody else.

    A fold whose test people have one label has no map of its own.
    """
    labels_N = explaining.labels_N
    for fold in np.unique(explaining.fold_of_N):
        own_N = explaining.fold_of_N == fold
        sides = [np.flatnonzero(own_N), np.flatnonzero(~own_N)]
        if all(len(np.unique(labels_N[rows])) == 2 for rows in sides):
            own, others = (
                explaining.at(rows).map_of([found[row] for row in rows.tolist()]) for rows in sides
            )
            yield np.abs(own[brain_XYZ]), np.abs(others[brain_XYZ])


def _between(maps: Sequence[Floats]) -> Iterator[float]:
    for one_M, other_M in combinations(maps, 2):
        correlation = rank_correlation(one_M, other_M, np.ones(one_M.shape, dtype=bool))
        if not np.isnan(correlation):
            yield correlation
