"""What may be said of the first model of an evaluation: verdict, calibration, groups, confounds."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from neuro.calibration.coverage import Coverage, coverage_of
from neuro.calibration.reliability import Reliability, reliability
from neuro.fairness.by_group import by_group
from neuro.fairness.differences import largest_differences
from neuro.fairness.groups import groups_of
from neuro.fairness.notices import Notice, beyond_in_words, warnings
from neuro.fairness.partialled import Partialled, partialled
from neuro.protocol.contenders import CONNECTIVITY, MAJORITY, TANGENT
from neuro.protocol.results import Results
from neuro.protocol.verdict import Verdict, verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """All that is worked out from predictions alone.

    Attributes:
        verdict: above chance, confounds and baselines?
        reliability: whether its probabilities are true.
        coverage: whether its sets hold the label as often as asked; None where there are no sets.
        groups, differences: results by sex, age, site, motion and medication, and where they differ most.
        notices: what must be said of groups.
        beyond: whether the prediction holds beside age, sex, motion and site.
    """

    verdict: Verdict
    reliability: Reliability
    coverage: Coverage | None
    groups: pd.DataFrame
    differences: pd.DataFrame
    notices: list[Notice]
    beyond: Partialled

    @property
    def first_screen(self) -> list[str]:
        """Warnings that no reader may miss: groups that differ, and what confounds leave."""
        differing = [notice.words for notice in self.notices if notice.kind == "differs"]
        return [*differing, beyond_in_words(self.beyond)]


def find(results: Results) -> Findings:
    """Work it out; seeded, so that the same results say the same."""
    ours, table = results.ours.within, results.table
    baselines = [
        found.within for name in (CONNECTIVITY, TANGENT) if (found := results.named(name)) is not None
    ]
    confounds = [one.within for one in results.models if not one.sees_scans and one.name != MAJORITY]
    groups = groups_of(table)
    by_groups, differences = by_group(ours, groups), largest_differences(ours, groups)
    asked = results.facts.get("coverage")
    return Findings(
        verdict=verdict(ours, baselines, confounds, chance=results.permuted),
        reliability=reliability(ours),
        coverage=coverage_of(ours.sets, ours, asked) if ours.sets is not None and asked else None,
        groups=by_groups,
        differences=differences,
        notices=warnings(by_groups, differences),
        beyond=partialled(ours, table),
    )
