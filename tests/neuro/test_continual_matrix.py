"""Accuracy matrix and transfer: against scikit-learn, the paper's formulas, and resampling row by row."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from data.errors import ParameterError
from neuro.continual.config import Margins
from neuro.continual.decision import decide
from neuro.continual.matrix import Matrix, Panel, matrix_of
from neuro.protocol.intervals import fold_auc

SITES = ("A", "B", "C")


def made(rng: np.random.Generator, **changed: object) -> Panel:
    """Three sites, people with one run or two, two folds."""
    people = np.array([f"p{i}" for i in rng.integers(0, 40, 60)], dtype=object)
    names, first = np.unique(people.astype(str), return_index=True)
    who = {name: number for number, name in enumerate(names)}
    numbers = np.array([who[p] for p in people])
    values = {
        "labels": (numbers % 2).astype(np.int64),
        "people": people,
        "sites": np.array([SITES[n % 3] for n in numbers], dtype=object),
        "folds": (numbers % 7 > 3).astype(np.int64),
        "learned": {"A": 0, "B": 1, "C": 2},
        "resamples": 200,
    }
    assert len(first) > 15
    return Panel(**{**values, **changed})  # type: ignore[arg-type]


def logits(of: Panel, rng: np.random.Generator, steps: int = 3) -> np.ndarray:
    return rng.standard_normal((steps, len(of.labels))) + of.labels


def twin_auc(of: Panel, scores: np.ndarray, rows: np.ndarray) -> float:
    """Pair by pair, within folds."""
    ordered = total = 0.0
    for i in rows:
        for j in rows:
            if of.labels[i] == 1 and of.labels[j] == 0 and of.folds[i] == of.folds[j]:
                ordered += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
                total += 1
    return ordered / total


def test_its_cells_are_those_of_slow_twins(rng: np.random.Generator) -> None:
    of = made(rng)
    said = logits(of, rng)
    said[0, :20] = 0.25  # ties
    found = matrix_of(of, said)
    for j, site in enumerate(SITES):
        rows = of.rows(site)
        for step in range(3):
            assert found.auc(step, site).estimate == pytest.approx(twin_auc(of, said[step], rows))
            chances = 1 / (1 + np.exp(-said[step, rows]))
            wanted = log_loss(of.labels[rows], chances, labels=[0, 1])
            assert found.log_loss_BIJ[0, step, j] == pytest.approx(wanted)


def test_in_one_fold_it_is_scikit_learns_auc_and_within_folds_that_of_evaluate(
    rng: np.random.Generator,
) -> None:
    of = made(rng, folds=np.zeros(60, dtype=np.int64))
    said = logits(of, rng)
    rows = of.rows("B")
    found = matrix_of(of, said).auc(1, "B").estimate
    assert found == pytest.approx(roc_auc_score(of.labels[rows], said[1, rows]))
    folded = made(rng)
    said = logits(folded, rng)
    rows = folded.rows("C")
    wanted = fold_auc(folded.labels[rows], said[2, rows], folded.folds[rows], folded.people[rows])
    assert matrix_of(folded, said).auc(2, "C").estimate == pytest.approx(wanted.estimate)


def test_a_resample_repeats_all_runs_of_a_person(rng: np.random.Generator) -> None:
    of = made(rng)
    said = logits(of, rng)
    found = matrix_of(of, said)
    for b in (1, 7, 30):
        times = of.draws[b, of.person_numbers].astype(int)
        for j, site in enumerate(SITES):
            rows = np.repeat(of.rows(site), times[of.rows(site)])
            assert found.auc_BIJ[b, 2, j] == pytest.approx(twin_auc(of, said[2], rows))
            chances = 1 / (1 + np.exp(-said[2, rows]))
            assert found.log_loss_BIJ[b, 2, j] == pytest.approx(log_loss(of.labels[rows], chances))


def test_people_are_drawn_within_label_and_site(rng: np.random.Generator) -> None:
    of = made(rng)
    first = np.unique(of.person_numbers, return_index=True)[1]
    for site in SITES:
        for label in (0, 1):
            here = (of.sites[first] == site) & (of.labels[first] == label)
            assert set(of.draws[:, here].sum(1)) == {here.sum()}
    assert (of.draws[0] == 1).all()
    assert of.draws[1:].std() > 0.5


def test_transfer_is_that_of_the_paper(rng: np.random.Generator) -> None:
    of = made(rng)
    found = matrix_of(of, logits(of, rng))
    R = [[found.auc(i, site).estimate for site in SITES] for i in range(3)]
    assert found.backward().estimate == pytest.approx(((R[2][0] - R[0][0]) + (R[2][1] - R[1][1])) / 2)
    assert found.forward().estimate == pytest.approx(((R[0][1] - 0.5) + (R[1][2] - 0.5)) / 2)
    assert found.auc_change("B").estimate == pytest.approx(R[2][1] - R[1][1])
    assert found.backward().low < found.backward().estimate < found.backward().high


def test_changes_are_of_the_same_people(rng: np.random.Generator) -> None:
    of = made(rng)
    said = logits(of, rng)
    found = matrix_of(of, np.stack([said[0], said[1], said[0]]))  # the last step undoes the second
    change = found.auc_change("A")
    assert (change.estimate, change.low, change.high) == (0, 0, 0)
    assert found.auc(0, "A").high > found.auc(0, "A").low


def test_where_there_is_nobody_to_compare_nothing_is_said(rng: np.random.Generator) -> None:
    of = made(rng, learned={"A": 0, "B": 0, "C": 1})
    labels = of.labels.copy()
    labels[of.rows("A")] = 1
    found = matrix_of(with_labels(of, labels), logits(of, rng, steps=2))
    assert np.isnan(found.auc(1, "A").estimate)
    assert np.isfinite(found.log_loss(1, "A").estimate)
    with pytest.raises(ParameterError, match="sites must be of A, B"):
        made(rng, learned={"A": 0, "B": 0})


def with_labels(of: Panel, labels: np.ndarray) -> Panel:
    return Panel(
        labels=labels,
        people=of.people,
        sites=of.sites,
        folds=of.folds,
        learned=of.learned,
        resamples=of.resamples,
    )


def moved(of: Panel, site: str, by: float) -> Matrix:
    """A site whose patients' logits all move by so much in the last step; perfect before."""
    before = np.where(of.labels == 1, 2.0, -2.0)
    after = before.copy()
    rows = of.rows(site)
    after[rows] += np.where(of.labels[rows] == 1, by, 0.0)
    return matrix_of(of, np.stack([before, after]))


def test_an_update_is_refused_where_one_old_site_alone_gets_worse(rng: np.random.Generator) -> None:
    of = made(rng, learned={"A": 0, "B": 0, "C": 1})
    lost = decide(moved(of, "B", -6.0), Margins())
    assert not lost.accepted
    assert [old.site for old in lost.old_sites] == ["A", "B"]
    assert [reason.partition(":")[0] for reason in lost.reasons] == ["B"]
    assert "AUC -1.000, where -0.050 is allowed; log loss +" in lost.reasons[0]
    assert decide(moved(of, "B", -6.0), Margins(auc=0.99, log_loss=9)).reasons == [
        "B: AUC -1.000, where -0.990 is allowed"
    ]
    assert decide(moved(of, "C", -6.0), Margins()).accepted  # the new site is not an old one
    assert decide(moved(of, "B", 1.0), Margins(auc=0, log_loss=0)).accepted


def test_the_log_loss_alone_refuses_too(rng: np.random.Generator) -> None:
    of = made(rng, learned={"A": 0, "B": 0, "C": 1})
    unsure = decide(moved(of, "A", -3.0), Margins(auc=0.05, log_loss=0.1))
    assert unsure.reasons[0].startswith("A: log loss +")
    assert not unsure.accepted


def test_what_the_interval_does_not_rule_out_is_said(rng: np.random.Generator) -> None:
    of = made(rng, learned={"A": 0, "B": 0, "C": 1})
    said = logits(of, rng, steps=2)
    said[1] = said[0] + 0.6 * rng.standard_normal(len(said[0]))
    found = decide(matrix_of(of, said), Margins(auc=0.5, log_loss=5))
    assert found.accepted
    assert not found.open
    change = matrix_of(of, said).auc_change("A")
    margin = -(change.low + min(change.estimate, 0)) / 2
    assert margin > 0
    close = decide(matrix_of(of, said), Margins(auc=margin, log_loss=5))
    assert any(line.startswith(f"A: AUC down to {change.low:+.3f}") for line in close.open)
