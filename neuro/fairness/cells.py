"""What was said of each person in each group: `Predictions` and groups -> sums that resampling only reweighs.

A cell is a person in a group (most people have one; who was scanned on two sites has two). Everything over
deals, folds and runs is summed once, so that a bootstrap or a permutation is a product of matrices, however
many deals there are. Letters: C cells, P and N those of patients and of controls, R resamples, G people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import drawn_within

Floats = NDArray[np.float64]
METRICS = ("auc", "balanced_accuracy", "sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Sums over all tests of a person in a group; a test is a run in a deal.

    Attributes:
        groups: names, in order.
        group_C, person_C: the cell's group and person, as numbers.
        patient_C: whether its label is 1.
        tests_C: how often its runs were tested.
        called_C: how often they were called 1.
        ordered_PN: of pairs of a patient's and a control's test in one fold, how many stand in the right
            order (ties count half).
        pairs_PN: how many such pairs there are.
    """

    groups: tuple[str, ...]
    group_C: NDArray[np.intp]
    person_C: NDArray[np.intp]
    patient_C: NDArray[np.bool_]
    tests_C: Floats
    called_C: Floats
    ordered_PN: Floats
    pairs_PN: Floats

    def of_group(self, group: int) -> Floats:
        """Weights (1, C) of a group: one for its cells, none for others."""
        return np.where(self.group_C == group, 1.0, 0.0)[None, :]

    def people(self, group: int, *, patients: bool) -> int:
        """How many patients, or controls, a group has."""
        here = (self.group_C == group) & (self.patient_C == patients)
        return len(np.unique(self.person_C[here]))


def cells_of(predictions: Predictions, groups_N: NDArray[np.object_], order: Sequence[str]) -> Cells:
    """Sum what was said of each person in each group.

    Args:
        predictions: of one model.
        groups_N: the group of each run, as a word.
        order: names of the groups.
    """
    codes = {name: code for code, name in enumerate(order)}
    group_N = np.array([codes[str(group)] for group in groups_N], dtype=np.intp)
    _, person_N = np.unique(predictions.people.astype(str), return_inverse=True)
    keys_N3 = np.stack([person_N, group_N, predictions.labels], axis=1)
    keys_C3, cell_N = np.unique(keys_N3, axis=0, return_inverse=True)
    patient_C = keys_C3[:, 2] == 1
    tested_DN = predictions.tested
    count = len(keys_C3)
    called_N = (tested_DN * predictions.called).sum(axis=0)
    ordered_PN, pairs_PN = _pairs(predictions, cell_N, patient_C)
    return Cells(
        groups=tuple(order),
        group_C=keys_C3[:, 1],
        person_C=keys_C3[:, 0],
        patient_C=patient_C,
        tests_C=np.bincount(cell_N, tested_DN.sum(axis=0), count).astype(float),
        called_C=np.bincount(cell_N, called_N, count).astype(float),
        ordered_PN=ordered_PN,
        pairs_PN=pairs_PN,
    )


def _pairs(
    predictions: Predictions, cell_N: NDArray[np.intp], patient_C: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Pairs in order, and all pairs, between cells of patients and cells of controls; only within a fold."""
    place_C = np.where(patient_C, np.cumsum(patient_C), np.cumsum(~patient_C)) - 1
    ordered_PN = np.zeros((int(patient_C.sum()), int((~patient_C).sum())))
    pairs_PN = np.zeros_like(ordered_PN)
    for fold_N, score_N in zip(predictions.folds, predictions.scores, strict=True):
        for fold in np.unique(fold_N[fold_N >= 0]):
            here = np.flatnonzero(fold_N == fold)
            positive, negative = (here[predictions.labels[here] == label] for label in (1, 0))
            gap = score_N[positive][:, None] - score_N[negative][None, :]
            at = place_C[cell_N[positive]][:, None], place_C[cell_N[negative]][None, :]
            np.add.at(ordered_PN, at, (gap > 0) + 0.5 * (gap == 0))
            np.add.at(pairs_PN, at, 1.0)
    return ordered_PN, pairs_PN


def figures(cells: Cells, weights_RC: Floats) -> dict[str, Floats]:
    """`METRICS` and `selection_rate` (the share called 1) for each row of weights, (R,); NaN for none."""
    patient_RP, control_RN = weights_RC[:, cells.patient_C], weights_RC[:, ~cells.patient_C]
    said = cells.called_C
    sensitivity = _ratio(patient_RP @ said[cells.patient_C], patient_RP @ cells.tests_C[cells.patient_C])
    false_alarms = _ratio(control_RN @ said[~cells.patient_C], control_RN @ cells.tests_C[~cells.patient_C])
    in_order = np.einsum("rn,rn->r", patient_RP @ cells.ordered_PN, control_RN)
    pairs = np.einsum("rn,rn->r", patient_RP @ cells.pairs_PN, control_RN)
    return {
        "auc": _ratio(in_order, pairs),
        "balanced_accuracy": (sensitivity + 1 - false_alarms) / 2,
        "sensitivity": sensitivity,
        "specificity": 1 - false_alarms,
        "selection_rate": _ratio(weights_RC @ said, weights_RC @ cells.tests_C),
    }


def drawn_people(cells: Cells, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each cell stands in each bootstrap sample (R, C): people drawn within their label."""
    sides = [np.unique(cells.person_C[side_C]) for side_C in (cells.patient_C, ~cells.patient_C)]
    people = int(cells.person_C.max()) + 1
    return drawn_within(sides, people, resamples, rng)[:, cells.person_C]


def _ratio(part_R: Floats, whole_R: Floats) -> Floats:
    ratio_R: Floats = np.divide(part_R, whole_R, out=np.full(len(whole_R), np.nan), where=whole_R > 0)
    return ratio_R
