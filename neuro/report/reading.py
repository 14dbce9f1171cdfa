"""All that a report, a model card and a checklist say of an evaluation, worked out once."""

from __future__ import annotations

from dataclasses import dataclass

from neuro.protocol.results import Results
from neuro.report.findings import Findings, find
from neuro.report.quality_tests import Quality, quality_of
from neuro.report.worth import Elsewhere, Worth, elsewhere, within


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Results and what they say.

    Attributes:
        results: of the evaluation.
        findings: verdict, calibration, groups, confounds.
        within: what probabilities are worth within folds.
        elsewhere: the same at sites that were not seen; None where that was not tested.
        quality: what is known of the quality of the scans, and whether groups differ in it.
    """

    results: Results
    findings: Findings
    within: Worth
    elsewhere: Elsewhere | None
    quality: Quality

    @property
    def first_screen(self) -> list[str]:
        """Warnings that no reader may miss."""
        beyond = self.elsewhere.warnings if self.elsewhere is not None else []
        return [*self.quality.warnings, *beyond, *self.findings.first_screen]


def read(results: Results, findings: Findings | None = None) -> Reading:
    """Work it out; seeded, so that the same results say the same.

    Args:
        results: of an evaluation.
        findings: of the same, where they have been found already.
    """
    findings = findings if findings is not None else find(results)
    return Reading(
        results=results,
        findings=findings,
        within=within(results, findings.reliability),
        elsewhere=elsewhere(results),
        quality=quality_of(results.table),
    )
