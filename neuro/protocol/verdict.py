"""What may be said of a model: above chance, above what confounds tell, above the baseline? In words.

Three answers: above, below, and not shown. "Not shown" is no evidence of no difference, and the words say how
large a difference is still possible.

Chance comes first, at the full level. Comparisons with other models are corrected by Holm 1979, all together;
that a model is above any is claimed only where it is above chance, that it is below may be said in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.interval import Interval
from data.quality.group_differences import holm
from neuro.protocol.chance import ChanceTest, auc_with_training, chance_test
from neuro.protocol.differences import Difference, difference
from neuro.protocol.permutation import PermutationTest
from neuro.protocol.predictions import Predictions
from neuro.protocol.verdict_words import (
    BY_PERMUTATION,
    BY_SCORES,
    PAIRED,
    chance_in_words,
    comparison_in_words,
    headline,
)

PERMUTATIONS_A_RESAMPLE = 5  # of ranks, which cost next to nothing

Answer = Literal["above", "below", "not shown"]
Kind = Literal["confound", "baseline"]


@dataclass(frozen=True, kw_only=True)
class VerdictConfig:
    """How a verdict is reached.

    Attributes:
        alpha: level, two-sided.
        resamples: of people; labels are permuted as often, ranks five times so.
        seed: of all draws.
    """

    alpha: float = 0.05
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AgainstChance:
    """Whether the model is above chance.

    Attributes:
        auc: within folds, training counted in the interval.
        expected: mean AUC of permuted labels: 0.5, but for what sites tell.
        p_value: two-sided.
        answer: at the level of the verdict.
        test: how it was asked.
        words: a sentence or two.
        permuted, given: the pipeline's permutation test, or the test of scores as they are; one is None.
    """

    auc: Interval
    expected: float
    p_value: float
    answer: Answer
    test: str
    words: str
    permuted: PermutationTest | None
    given: ChanceTest | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Whether the model is above another one.

    Attributes:
        kind: what the other one stands for.
        against: its name.
        auc: of the other one, within folds, training counted in the interval.
        difference: AUC of ours less that of the other one, by all tests.
        p_corrected: two-sided, after Holm's correction.
        answer: at the level of the verdict.
        words: a sentence or two.
    """

    kind: Kind
    against: str
    auc: Interval
    difference: Difference
    p_corrected: float
    answer: Answer
    words: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All that may be said.

    Attributes:
        model: ours.
        people, positive: how many were tested, and how many of them carry label 1.
        chance: against chance.
        comparisons: against confounds, then against baselines.
        alpha: the level, two-sided.
        headline: the answer in one or two sentences.
        tests: how the tests were made, in words.
    """

    model: str
    people: int
    positive: int
    chance: AgainstChance
    comparisons: tuple[Comparison, ...]
    alpha: float
    headline: str
    tests: str

    @property
    def words(self) -> tuple[str, ...]:
        """Headline, then each answer."""
        return self.headline, self.chance.words, *(one.words for one in self.comparisons)


def verdict(
    ours: Predictions,
    baselines: Sequence[Predictions],
    confounds: Sequence[Predictions],
    chance: PermutationTest | None = None,
    config: VerdictConfig | None = None,
) -> Verdict:
    """Ask the three questions.

    Args:
        ours: the model that the verdict is about.
        baselines: other models of the scans, connectivity above all.
        confounds: models that see no scan: age and sex, head motion, the site.
        chance: the whole pipeline on permuted labels; without it labels are permuted against the scores as
            they are, and training counted by formula.
        config: level, effort and seed; None takes the defaults.

    Raises:
        ParameterError: a model was tested on other runs or folds.
    """
    config = config or VerdictConfig()
    against_chance = _against_chance(ours, chance, config)
    others: list[tuple[Kind, Predictions]] = [
        *(("confound", other) for other in confounds),
        *(("baseline", other) for other in baselines),
    ]
    comparisons = tuple(_compared(ours, others, against_chance.answer, config))
    answers = [(one.kind, one.against, one.answer) for one in comparisons]
    tested = ours.tested.any(0)
    return Verdict(
        model=ours.model,
        people=len(set(ours.people[tested])),
        positive=len(set(ours.people[tested & (ours.labels == 1)])),
        chance=against_chance,
        comparisons=comparisons,
        alpha=config.alpha,
        headline=headline(
            ours.model, against_chance.answer, against_chance.auc, answers, against_chance.expected
        ),
        tests=" ".join([f"Chance: {against_chance.test}.", *([PAIRED] if comparisons else [])]),
    )


def _against_chance(
    ours: Predictions, chance: PermutationTest | None, config: VerdictConfig
) -> AgainstChance:
    auc = auc_with_training(ours, resamples=config.resamples, seed=config.seed)
    given = None
    if chance is not None:
        p_value, direction, least = chance.two_sided, 0.5 - chance.p_value, chance.least
        expected = float(np.mean(chance.null))
    else:
        given = chance_test(ours, permutations=config.resamples, seed=config.seed)
        p_value, direction, least = given.p_value, given.observed - given.expected, 0.0
        expected = given.expected
    answer = _answer(p_value, direction, config.alpha)
    return AgainstChance(
        auc=auc,
        expected=expected,
        p_value=p_value,
        answer=answer,
        test=f"{BY_PERMUTATION}; {chance.made_in_words}" if chance is not None else BY_SCORES,
        words=chance_in_words(
            ours.model, auc, p_value, answer, expected=expected, least=least, alpha=config.alpha
        ),
        permuted=chance,
        given=given,
    )


def _compared(
    ours: Predictions, others: Sequence[tuple[Kind, Predictions]], chance: Answer, config: VerdictConfig
) -> Iterator[Comparison]:
    """Each comparison, its p corrected for all of them."""
    effort = {"resamples": config.resamples, "seed": config.seed}
    differences = [
        difference(ours, other, permutations=PERMUTATIONS_A_RESAMPLE * config.resamples - 1, **effort)
        for _, other in others
    ]
    corrected = holm([found.p_value for found in differences])
    for (kind, other), found, p_corrected in zip(others, differences, corrected, strict=True):
        answer = _answer(p_corrected, found.interval.estimate, config.alpha)
        gated = answer == "above" and chance != "above"
        answer = "not shown" if gated else answer
        auc = auc_with_training(other, **effort)
        yield Comparison(
            kind=kind,
            against=other.model,
            auc=auc,
            difference=found,
            p_corrected=p_corrected,
            answer=answer,
            words=comparison_in_words(
                kind, other.model, auc, found.interval, p_corrected, answer, gated=gated
            ),
        )


def _answer(p_value: float, direction: float, alpha: float) -> Answer:
    if p_value > alpha:
        return "not shown"
    return "above" if direction > 0 else "below"
