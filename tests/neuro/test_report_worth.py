"""What probabilities are worth: against a slow twin, and bad words only where it is bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from neuro.protocol.predictions import Predictions
from neuro.protocol.results import Results
from neuro.report.reading import read
from neuro.report.worth import WORTH_HEADS, Elsewhere, base_rates, elsewhere, within, worth_of, worth_row

from .made_predictions import made
from .made_results import made_results

BELIEVE, PROMISE, ANEW = "must not be believed", "do not keep their promise", "not calibrated at a new site"


def site_to_site(shift: float = 0.0, spread: float = 1.0, people: int = 80) -> Results:
    """Log odds of calibrated scores, multiplied by `spread`, and moved by `shift` up at A and down at B."""
    results = made_results(people=people)
    across = results.ours.across
    assert across is not None
    rng = np.random.default_rng(5)
    odds = rng.normal(across.labels * 3.0 - 1.5, np.sqrt(3))  # variance = distance: true log odds
    odds = spread * odds + np.where(across.sites == "A", shift, -shift)
    given = (1 / (1 + np.exp(-odds)))[None]
    sets = np.stack([given < 0.8, given > 0.2], axis=-1)
    moved = replace(across, probabilities=given, sets=sets)
    return replace(results, models=[replace(results.ours, across=moved), *results.models[1:]])


def found(results: Results) -> Elsewhere:
    told = elsewhere(results)
    assert told is not None
    return told


def test_the_base_rate_is_that_of_whom_the_model_was_trained_on() -> None:
    one = made(3, [1.0], people=20, runs=2, deals=2, splits=4)[0]
    expected = np.full(one.folds.shape, np.nan)
    for deal in range(one.deals):
        for run in range(len(one.labels)):
            tested_with = {
                one.people[j] for j in range(len(one.labels)) if one.folds[deal, j] == one.folds[deal, run]
            }
            trained = [one.labels[j] for j in range(len(one.labels)) if one.people[j] not in tested_with]
            expected[deal, run] = np.mean(trained)
    np.testing.assert_allclose(base_rates(one), expected)


def test_a_person_of_two_sites_trains_neither_sides_base_rate() -> None:
    one = made(3, [1.0], people=8, deals=1, splits=2)[0]
    people = one.people.copy()
    first, other = (np.flatnonzero((one.folds[0] == fold) & (one.labels == 1))[0] for fold in (0, 1))
    people[first] = people[other]
    base = base_rates(replace(one, people=people))
    without = np.delete(
        one.labels[one.folds[0] == 1], np.flatnonzero(np.flatnonzero(one.folds[0] == 1) == other)
    )
    assert base[0, first] == pytest.approx(without.mean())
    assert base_rates(one)[0, first] != pytest.approx(without.mean())


def test_losses_are_scikit_learns() -> None:
    one = made(4, [1.5], people=40, deals=3)[0]
    base = base_rates(one)
    told = worth_of(one, base, None)
    losses = [
        np.mean([log_loss(one.labels, given[deal]) for deal in range(one.deals)])
        for given in (one.probabilities, base)
    ]
    assert told.log_loss == pytest.approx(losses[0])
    assert told.base == pytest.approx(losses[1])
    assert told.more.estimate == pytest.approx(losses[0] - losses[1])
    assert told.more.low < told.more.estimate < told.more.high
    assert told.coverage is None


def test_what_was_not_tested_counts_nowhere() -> None:
    one = made(4, [1.5], people=40, deals=1)[0]
    gone = np.arange(40) < 4
    part = replace(
        one,
        folds=np.where(gone, -1, one.folds),
        probabilities=np.where(gone, np.nan, one.probabilities),
        scores=np.where(gone, np.nan, one.scores),
    )
    assert np.isnan(base_rates(part)[0, gone]).all()
    told = worth_of(part, base_rates(part), None)
    assert told.log_loss == pytest.approx(log_loss(one.labels[~gone], one.probabilities[0, ~gone]))
    assert told.patients == pytest.approx(one.labels[~gone].mean())


def test_probabilities_that_hold_at_a_new_site_are_not_warned_of() -> None:
    told = found(site_to_site())
    assert told.overall.better
    assert told.warnings == []
    text = " ".join(told.in_words())
    assert "worth more than the base rate" in text
    for bad in (BELIEVE, PROMISE, ANEW, "too often"):
        assert bad not in text


def test_sure_and_wrong_probabilities_are_told_on_the_first_screen() -> None:
    results = site_to_site(shift=4.0)
    told = found(results)
    assert told.overall.worse
    assert told.overall.short
    assert [any(words in line for line in told.warnings) for words in (BELIEVE, PROMISE)] == [True, True]
    text = " ".join(told.in_words())
    assert "At A it says patient too often" in text
    assert "At B it says control too often" in text
    assert f"{told.overall.log_loss:.2f}" in told.warnings[0]
    assert f"{told.overall.base:.2f}" in told.warnings[0]
    reading = read(results)
    assert set(told.warnings) <= set(reading.first_screen)
    assert BELIEVE not in reading.within.in_words()


def test_too_sure_but_informative_probabilities_are_to_be_calibrated_anew() -> None:
    told = found(site_to_site(spread=2.2, people=240))
    assert not told.overall.worse
    assert told.overall.reliability.p_calibrated < 0.05
    assert any(ANEW in line for line in told.warnings)
    assert not any(BELIEVE in line for line in told.warnings)


def test_probabilities_that_know_nothing_are_not_shown_to_be_worth_anything() -> None:
    results = made_results()
    rng = np.random.default_rng(0)
    vague = replace(
        results.ours.within, probabilities=rng.uniform(0.45, 0.55, results.ours.within.folds.shape)
    )
    results = replace(results, models=[replace(results.ours, within=vague), *results.models[1:]])
    told = within(results)
    assert not told.worse
    assert not told.better
    assert "is not shown" in told.in_words()


def test_without_other_sites_there_is_nothing_of_them() -> None:
    reading = read(made_results(sites=("A",), across=False))
    assert reading.elsewhere is None
    assert not any("new site" in line for line in reading.first_screen)


def test_every_row_has_its_columns_and_no_negative_zero() -> None:
    results = site_to_site()
    alike: Predictions = replace(
        results.ours.within, probabilities=np.full(results.ours.within.folds.shape, 0.5)
    )
    for worth in (within(results), *found(results).sites.values(), worth_of(alike, base_rates(alike), None)):
        row = worth_row("somewhere", worth)
        assert len(row) == len(WORTH_HEADS)
        assert not any("-0.00" in str(cell) for cell in row)
    assert "none" in str(worth_row("somewhere", worth_of(alike, base_rates(alike), None)))
