"""What a leak is worth: labels by lot, samples split at random or by person -> two AUCs.

Yagis et al. 2021 (Scientific Reports 11:22544) found that splitting MRI by slice raises the accuracy of
Alzheimer's and Parkinson's classifiers by 29 to 55 points, and gives 96 % on labels by lot, where a split by
person gives 50 %. Here the classifier asks for the five most similar training samples. It cannot learn a
disease, as there is none; it recognises people, and where a person stands on both sides that is enough.
Letters: S samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from data.errors import LeakError, ParameterError
from data.interval import Interval
from data.splits.folds import Fold, subject_folds
from data.writing import write_whole
from neuro.protocol.corrected import corrected_t
from neuro.protocol.leak_figure import save_figure
from neuro.protocol.leak_guard import assert_units_by_person, plural
from neuro.protocol.leak_samples import Samples
from neuro.protocol.resampling import Floats, Ints

NEIGHBOURS, FOLDS = 5, 5
PAGE, FIGURE, FACTS = "leak.md", "leak.png", "leak.json"


@dataclass(frozen=True, kw_only=True)
class LeakDemo:
    """What both splits gave.

    Attributes:
        source: whose scans, in words.
        unit: what a sample is, in the singular.
        people, samples: how many.
        by_unit: AUC of each draw of labels, samples split at random.
        by_person: AUC of each draw of labels, people split.
        mean_by_unit, mean_by_person: mean over draws and its 95 % interval, by t.
        refusal: what the guard says to the first of the random splits.
    """

    source: str
    unit: str
    people: int
    samples: int
    by_unit: tuple[float, ...]
    by_person: tuple[float, ...]
    mean_by_unit: Interval
    mean_by_person: Interval
    refusal: str


def leak_demo(samples: Samples, *, draws: int = 20, seed: int = 0) -> LeakDemo:
    """Draw labels for people by lot, again and again, and split their samples in both ways.

    Raises:
        ParameterError: fewer than two draws, or too few people for the folds.
    """
    if draws < 2:
        raise ParameterError("--draws", must_be="at least 2", got=draws)
    distance_SS = pairwise_distances(samples.features_SF)
    by_unit, by_person, refusal = [], [], ""
    for draw in range(draws):
        labels_S = _by_lot(samples, np.random.default_rng((seed, draw)))
        wrong = _split_at_random(labels_S, draw)
        by_unit.append(_auc(distance_SS, labels_S, wrong))
        right = subject_folds(labels_S, samples.people_S, n_splits=FOLDS, seed=(seed, draw))
        for train, test in right:
            assert_units_by_person(samples.people_S, train, test, samples.unit)
        by_person.append(_auc(distance_SS, labels_S, right))
        refusal = refusal or _refused(samples, wrong[0])
    return LeakDemo(
        source=samples.source,
        unit=samples.unit,
        people=len(samples.people),
        samples=len(labels_S),
        by_unit=tuple(by_unit),
        by_person=tuple(by_person),
        mean_by_unit=corrected_t(by_unit, 0.0).interval,  # draws are independent: a plain t
        mean_by_person=corrected_t(by_person, 0.0).interval,
        refusal=refusal,
    )


def write_leak_demo(found: LeakDemo, out: str | Path) -> Path:
    """Write leak.md, leak.png and leak.json into a folder; give the page's path.

    Raises:
        ParameterError: `out` is a file.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ParameterError("--out", must_be="a folder", got=f"a file, {folder}", do="name another")
    folder.mkdir(parents=True, exist_ok=True)
    save_figure(found, folder / FIGURE)
    write_whole(folder / FACTS, json.dumps(asdict(found), indent=1) + "\n")
    return write_whole(folder / PAGE, "\n".join(_page(found)) + "\n")


def in_words(found: LeakDemo) -> list[str]:
    """The two figures, as lines."""
    return [
        f"split by {found.unit}: AUC {found.mean_by_unit}, of labels that mean nothing",
        f"split by person: AUC {found.mean_by_person}, as it must be",
    ]


def _by_lot(samples: Samples, rng: np.random.Generator) -> Ints:
    """Half of the people, drawn by lot, get label 1; their samples with them."""
    people = samples.people
    positive = set(rng.permutation(people)[: len(people) // 2])
    return np.array([person in positive for person in samples.people_S.astype(str)], dtype=np.int64)


def _split_at_random(labels_S: Ints, seed: int) -> list[Fold]:
    """The mistake: samples dealt into folds without asking whose they are."""
    cut = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    return list(cut.split(np.zeros((len(labels_S), 1)), labels_S))


def _auc(distance_SS: Floats, labels_S: Ints, folds: list[Fold]) -> float:
    """Mean over folds."""
    found = []
    for train, test in folds:
        model = KNeighborsClassifier(NEIGHBOURS, metric="precomputed")
        model.fit(distance_SS[np.ix_(train, train)], labels_S[train])
        share = model.predict_proba(distance_SS[np.ix_(test, train)])[:, 1]
        found.append(roc_auc_score(labels_S[test], share))
    return float(np.mean(found))


def _refused(samples: Samples, fold: tuple[NDArray[np.intp], NDArray[np.intp]]) -> str:
    try:
        assert_units_by_person(samples.people_S, *fold, samples.unit)
    except LeakError as error:
        return str(error)
    return ""


def _page(found: LeakDemo) -> list[str]:
    units = plural(found.unit)
    return [
        f"# What a split by {found.unit} would have shown",
        "",
        f"{found.source[0].upper()}{found.source[1:]}; {found.samples} {units}. Labels were drawn by lot "
        f"{len(found.by_unit)} times, so there is nothing to be found. {NEIGHBOURS} nearest neighbours, "
        f"{FOLDS} folds; mean AUC over the draws with its 95 % interval, and the range of the draws.",
        "",
        "| split | AUC | lowest draw | highest draw |",
        "|---|---|---|---|",
        f"| by {found.unit}, at random | {found.mean_by_unit} | {min(found.by_unit):.3f} | "
        f"{max(found.by_unit):.3f} |",
        f"| by person | {found.mean_by_person} | {min(found.by_person):.3f} | {max(found.by_person):.3f} |",
        "",
        f"![AUC of each draw of labels, split by {found.unit} and by person]({FIGURE})",
        "",
        f"Split at random, each person has {units} on both sides. The classifier recognises the person, not "
        "a disease, and the person's label comes along. Chiasm refuses such a split:",
        "",
        f"> {found.refusal}",
        "",
        "Yagis et al. 2021, *Effect of data leakage in brain MRI classification using 2D convolutional "
        "neural networks*, Scientific Reports 11:22544: 96 % accuracy on randomly labelled MRI split by "
        "slice, 50 % split by subject; on real diagnoses of Alzheimer's and Parkinson's disease 29 to 55 "
        "points too many.",
    ]
