"""The verdict on made-up cohorts: right where something was planted, silent where nothing was, in words."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from data.errors import ParameterError
from data.interval import Interval
from neuro.protocol.chance import auc_with_training, chance_test
from neuro.protocol.metrics import metric_intervals, metric_value
from neuro.protocol.permutation import PermutationTest
from neuro.protocol.predictions import Predictions
from neuro.protocol.verdict import Verdict, VerdictConfig, verdict
from neuro.protocol.verdict_words import headline, sites_in_words

from .made_predictions import made

COHORTS = 200
QUICK = VerdictConfig(resamples=400)


def of(models: list[Predictions], chance: PermutationTest | None = None) -> Verdict:
    """Ours first, connectivity last, confounds between."""
    return verdict(models[0], models[-1:], models[1:-1], chance, QUICK)


def permuted(observed: float, *, beaten_by: int = 0, of: int = 399) -> PermutationTest:
    """As if a pipeline had been run on permuted labels, with so many at least as good."""
    null = (0.4,) * (of - beaten_by) + (observed,) * beaten_by
    p_value = (1 + beaten_by) / (1 + of)
    return PermutationTest(observed=observed, null=null, p_value=p_value, asked=of, seconds=1.0)


def at_most(rate: float, cohorts: int) -> int:
    """What a rate gives in so many cohorts, but for one case in a thousand."""
    return int(stats.binom.ppf(0.999, cohorts, rate))


def test_null_cohorts_are_seldom_called() -> None:
    """Nothing tells anything: any claim is an error, and all of a verdict's together are held to 5 %."""
    above = wrong = 0
    for seed in range(COHORTS):
        found = of(made(seed, [0.0, 0.0, 0.0], people=36, names=("ours", "head motion", "connectivity")))
        above += found.chance.answer == "above"
        claims = {found.chance.answer, *(one.answer for one in found.comparisons)}
        wrong += claims != {"not shown"}
        assert not ("above" in claims and found.chance.answer != "above")
    assert above <= at_most(0.025, COHORTS)
    assert wrong <= at_most(0.05, COHORTS)


def test_planted_cohorts_are_called_and_equals_are_not() -> None:
    """Ours and the baseline see the same effect, the confound nothing."""
    counts: Counter[str] = Counter()
    cohorts = 60
    for seed in range(cohorts):
        found = of(made(seed, [2.0, 0.0, 2.0], people=60, names=("ours", "head motion", "connectivity")))
        confound, baseline = found.comparisons
        counts["chance"] += found.chance.answer == "above"
        counts["confound"] += confound.answer == "above"
        counts["baseline"] += baseline.answer != "not shown"
    assert counts["chance"] >= cohorts - at_most(0.01, cohorts)
    assert counts["confound"] >= cohorts - at_most(0.15, cohorts)
    assert counts["baseline"] <= at_most(0.05, cohorts)


def test_a_worse_model_is_called_worse_even_where_it_is_not_above_chance() -> None:
    found = of(made(3, [0.0, 0.0, 3.0], people=80))
    assert found.chance.answer == "not shown"
    assert found.comparisons[-1].answer == "below"
    assert found.headline.endswith("It is below head motion.")
    assert found.comparisons[-1].words.startswith("It is below head motion: ")


def test_above_another_model_is_claimed_only_of_what_is_above_chance() -> None:
    """Ours against one that is wrong side up: the difference is there, but says nothing for ours."""
    models = made(3, [0.0, -3.0], people=80)
    found = verdict(models[0], [], models[1:])
    (one,) = found.comparisons
    assert one.p_corrected < 0.001
    assert one.difference.interval.low > 0
    assert (found.chance.answer, one.answer) == ("not shown", "not shown")
    assert "as it is not shown to be above chance" in one.words


def test_not_shown_is_never_told_as_no_difference() -> None:
    found = of(made(1, [0.3, 0.0, 0.3], people=30))
    for words in found.words:
        assert "no evidence" in words
        assert "compatible with these data" in words
        for lie in ("no difference", "no better", "are equal:", "does not differ", "fails"):
            assert lie not in words.replace("no evidence that they are equal:", "")
    interval = found.comparisons[0].difference.interval
    assert f"{interval.high:.2f} better" in found.comparisons[0].words
    assert f"{found.chance.auc.high:.2f}" in found.headline


def test_a_confound_that_tells_as_much_is_named_in_the_headline() -> None:
    found = of(made(0, [2.5, 2.5, 0.0, 0.0], people=60))
    assert found.chance.answer == "above"
    assert [one.answer for one in found.comparisons] == ["not shown", "above", "above"]
    assert "above what head motion alone would tell, and above connectivity + SVM." in found.headline
    assert "not shown to be above what age + sex alone would tell" in found.headline
    assert "it may read that instead of the disease" in found.headline


def test_without_confounds_the_headline_says_that_none_were_asked() -> None:
    (one,) = made(0, [3.0], people=60)
    found = verdict(one, [], [])
    assert found.comparisons == ()
    assert "not compared with models of confounds alone" in found.headline
    assert "Other models" not in found.tests


def test_labels_the_wrong_way_round_are_told() -> None:
    found = of(made(0, [-3.0, 0.0, 0.0], people=60))
    assert found.chance.answer == "below"
    assert "Look for an error in labels or folds" in found.headline


def test_comparisons_are_corrected_together_by_holm() -> None:
    models = made(5, [1.5, 0.8, 0.4, 0.6], people=60)
    found = verdict(models[0], models[3:], models[1:3])
    raw = [one.difference.p_value for one in found.comparisons]
    order = np.argsort(raw)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (3 - rank) * raw[place]))
        assert found.comparisons[place].p_corrected == pytest.approx(largest)
    assert [(one.kind, one.against) for one in found.comparisons] == [
        ("confound", "age + sex"),
        ("confound", "head motion"),
        ("baseline", "connectivity + SVM"),
    ]


def test_the_pipelines_permutations_decide_where_they_were_made() -> None:
    models = made(2, [2.5, 0.0, 0.0], people=60)
    auc = metric_value(models[0], "auc")
    shown, unshown = of(models, permuted(auc)), of(models, permuted(auc, beaten_by=60))
    assert (shown.chance.answer, shown.chance.p_value) == ("above", 2 / 400)
    assert (unshown.chance.answer, unshown.chance.p_value) == ("not shown", 2 * 61 / 400)
    assert {one.answer for one in unshown.comparisons} == {"not shown"}
    assert "whole pipeline on labels permuted" in shown.tests
    assert "was not run on permuted labels" in of(models).tests


def test_too_few_permutations_are_said_to_be_too_few() -> None:
    models = made(2, [2.5, 0.0, 0.0], people=60)
    found = of(models, permuted(metric_value(models[0], "auc"), of=19))
    assert found.chance.answer == "not shown"
    assert "so few permutations can show no p below 0.1" in found.chance.words


def test_a_verdict_is_ready_for_json() -> None:
    found = of(made(0, [1.0, 0.0, 0.0]), None)
    content = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert content["headline"] == found.headline
    assert content["people"] == 40
    assert content["positive"] == 20
    assert len(content["comparisons"]) == 2


def test_models_of_other_folds_are_refused() -> None:
    first, second = made(0, [1.0, 0.0])
    with pytest.raises(ParameterError, match="the same saved splits"):
        verdict(first, [replace(second, folds=(second.folds + 1) % 4)], [])


def test_chance_by_given_scores_is_the_rank_sum_test_with_its_variance_doubled() -> None:
    """One fold, one run a person, one site: the permutation variance is Mann and Whitney's."""
    (one,) = made(4, [0.8], people=40, deals=1)
    flat = replace(one, folds=np.zeros_like(one.folds), sites=np.full(40, "A", dtype=object))
    found = chance_test(flat, permutations=20_000)
    doubled = 2 * (40 + 1) / (12 * 20 * 20)
    expected = 2 * stats.norm.sf(abs(metric_value(flat, "auc") - 0.5) / np.sqrt(doubled))
    assert found.p_value == pytest.approx(expected, rel=0.1)
    assert found.expected == pytest.approx(0.5, abs=0.005)


def test_sites_of_one_label_each_leave_chance_to_permutations_over_sites() -> None:
    (one,) = made(4, [0.0], people=40)
    told = replace(one, sites=np.where(one.labels == 1, "A", "B").astype(object))
    assert 0 < chance_test(told).p_value <= 1


def test_what_sites_tell_is_part_of_chance() -> None:
    """Scores that know the site alone, in folds of both sites, where one site has more patients."""
    (one,) = made(0, [0.0], people=60, splits=2)
    sites = np.where((np.arange(60) % 2 == 1) & (np.arange(60) < 40) | (np.arange(60) >= 54), "A", "B")
    read = replace(
        one, sites=sites.astype(object), scores=np.broadcast_to((sites == "A").astype(float), one.folds.shape)
    )
    found = chance_test(read)
    assert found.observed > 0.75
    assert found.expected == pytest.approx(found.observed, abs=0.03)
    assert found.p_value > 0.5
    said = verdict(read, [], [])
    assert f"not shown to tell more than the site of a scan (AUC {said.chance.auc})" in said.headline
    assert f"labels permuted within them give an AUC of {found.expected:.2f}" in said.chance.words
    opposed = verdict(replace(read, scores=-read.scores), [], [])
    assert opposed.chance.answer == "not shown"
    assert opposed.chance.expected == pytest.approx(1 - found.expected, abs=0.03)


def test_below_what_sites_tell_is_no_error_in_labels() -> None:
    words = headline("model", "below", Interval(estimate=0.66, low=0.5, high=0.8), [], 0.75)
    assert "below what sites alone would tell" in words
    assert "wrong way round" not in words
    assert sites_in_words(0.53) == ""


def test_an_auc_with_training_counted_is_never_the_narrower_one() -> None:
    for seed, effect in ((0, 0.0), (1, 1.0), (2, 50.0)):
        (one,) = made(seed, [effect])
        wide, given = auc_with_training(one), metric_intervals(one)["auc"]
        assert wide.low <= given.low <= wide.estimate <= given.high <= wide.high
        assert 0 <= wide.low < wide.high <= 1
