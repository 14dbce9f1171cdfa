"""From which figure on a run is worth a look, or better left out: limits with their reasons and sources.

Nothing here removes a run. A verdict is advice that a person takes or not, before the labels are looked at.
Where the field has no agreed limit the source says "ours", and the reason says what it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data.quality.coverage import REGIONS

Verdict = Literal["ok", "look at it", "leave out", "not measured"]
WORST_FIRST: tuple[Verdict, ...] = ("leave out", "look at it", "not measured", "ok")

PARKES = "Parkes et al. 2018, doi 10.1016/j.neuroimage.2017.12.073"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit.

    Attributes:
        measure: a column of `quality_table`.
        says: what it is, in words a report can print.
        unit: "mm", "min", "share" (0 to 1), "yes or no" (1 or 0), or "".
        beyond: which side of the limit is bad.
        look: from here on the run is worth a look; None for never.
        leave_out: from here on it is better left out; None for never.
        reason: why there.
        source: who says so.
    """

    measure: str
    says: str
    unit: str
    beyond: Literal["above", "below"]
    look: float | None
    leave_out: float | None
    reason: str
    source: str

    def verdict(self, value: float) -> Verdict:
        """What this limit alone says of a value; an unknown value (NaN) is ok."""
        if self._beyond(value, self.leave_out):
            return "leave out"
        return "look at it" if self._beyond(value, self.look) else "ok"

    def _beyond(self, value: float, bound: float | None) -> bool:
        if bound is None:
            return False
        return value > bound if self.beyond == "above" else value < bound


def _coverage(region: str) -> Limit:
    return Limit(
        measure=f"cover_{region}",
        says=f"{region} covered",
        unit="share",
        beyond="below",
        look=0.95,
        leave_out=0.5,
        reason="what was not scanned, or lost its signal, cannot be read, and a cut that goes with a site or"
        " a group is read as a difference; the weaker side counts, as the disease begins on one",
        source="ours: whole masks of fMRIPrep hold 1.00 of every region",
    )


LIMITS: tuple[Limit, ...] = (
    Limit(
        measure="fd_mean",
        says="mean framewise displacement",
        unit="mm",
        beyond="above",
        look=0.25,
        leave_out=0.55,
        reason="their strict and their lenient rule; they measure by Jenkinson's formula, which gives less"
        " than Power's, taken here: these limits are the stricter for it",
        source=PARKES,
    ),
    Limit(
        measure="fd_max",
        says="largest framewise displacement",
        unit="mm",
        beyond="above",
        look=5.0,
        leave_out=None,
        reason="after a jump of more than a voxel nothing in the scanner is as it was; look whether it can be"
        " cut out",
        source=PARKES,
    ),
    Limit(
        measure="censored_share",
        says="frames dropped",
        unit="share",
        beyond="above",
        look=0.2,
        leave_out=0.5,
        reason="a fifth of the frames in motion is their strict rule; of a run that lost half, the rest is"
        " seldom still",
        source=f"{PARKES}; the half: ours",
    ),
    Limit(
        measure="minutes_kept",
        says="minutes kept",
        unit="min",
        beyond="below",
        look=4.0,
        leave_out=2.0,
        reason="connectivity of one person settles at 5 minutes or more; under 4 is their rule for leaving"
        " out, under 2 ours",
        source=f"{PARKES}; Van Dijk et al. 2010, doi 10.1152/jn.00783.2009",
    ),
    Limit(
        measure="tsnr",
        says="temporal signal-to-noise",
        unit="",
        beyond="below",
        look=20.0,
        leave_out=None,
        reason="it falls with voxel size and field strength, so no limit holds for every scanner: this one"
        " finds what is broken, the comparison within the site finds the rest",
        source="ours",
    ),
    Limit(
        measure="dvars",
        says="mean standardized DVARS",
        unit="",
        beyond="above",
        look=1.5,
        leave_out=None,
        reason="1 is ordinary; above 1.5 fMRIPrep marks a single frame, here the mean frame is beyond it",
        source="Nichols 2017, arXiv 1704.01469; fMRIPrep's default",
    ),
    Limit(
        measure="constant_share",
        says="voxels that never change",
        unit="share",
        beyond="above",
        look=0.01,
        leave_out=0.1,
        reason="the mask reaches beyond the field of view, or slices were lost",
        source="ours",
    ),
    Limit(
        measure="nonfinite_share",
        says="voxels with NaN or infinity",
        unit="share",
        beyond="above",
        look=0.0,
        leave_out=0.01,
        reason="preprocessing writes none; one says that something went wrong",
        source="ours",
    ),
    Limit(
        measure="template_dice",
        says="overlap of mask and template (Dice)",
        unit="",
        beyond="below",
        look=0.85,
        leave_out=0.7,
        reason="two good masks of fMRIPrep have 0.90 and 0.93 against nilearn's template; a normalization"
        " that failed, or a cut field of view, has less",
        source="ours",
    ),
    *(_coverage(region) for region in REGIONS),
    Limit(
        measure="header_flip",
        says="qform and sform name opposite sides",
        unit="yes or no",
        beyond="above",
        look=None,
        leave_out=0.5,
        reason="which side is left cannot be known from the file",
        source="NIfTI-1 standard: both, where set, lead to the same scanner",
    ),
    Limit(
        measure="flip_correlation",
        says="asymmetry against that of the others",
        unit="",
        beyond="below",
        look=-0.3,
        leave_out=None,
        reason="a mirrored run correlates negatively with the rest, if the rest has an asymmetry in common; a"
        " suspicion to follow up in the raw data, no proof, and what it does not find may still be there",
        source="ours: simulated runs, see docs/quality.md",
    ),
)

# Runs that are unlike the others of their site, whatever the scanner's level: the modified z-score of
# Iglewicz & Hoaglin 1993, with their 3.5, where a site has enough runs to have a level.
OUTLIER_MEASURES = {"fd_mean": "above", "tsnr": "below", "dvars": "above", "template_dice": "below"}
OUTLIER_SCORE = 3.5
OUTLIER_RUNS = 6
OUTLIER_SOURCE = "Iglewicz & Hoaglin 1993, How to detect and handle outliers"


def judge(figures: Mapping[str, float]) -> tuple[Verdict, list[str]]:
    """The worst verdict of all limits on a run's figures, and a sentence for each that is crossed.

    Figures that are absent or NaN cross nothing; where all are, the verdict is "not measured".
    """
    verdicts: list[Verdict] = []
    reasons = []
    for limit in LIMITS:
        value = figures.get(limit.measure, math.nan)
        if math.isnan(value):
            continue
        verdict = limit.verdict(value)
        verdicts.append(verdict)
        if verdict != "ok":
            bound = limit.leave_out if verdict == "leave out" else limit.look
            assert bound is not None
            reasons.append(_sentence(limit, value, bound))
    worst: Verdict = min(verdicts, key=WORST_FIRST.index, default="not measured")
    return worst, reasons


def _sentence(limit: Limit, value: float, bound: float) -> str:
    if limit.unit == "yes or no":
        return limit.says
    side = "over" if limit.beyond == "above" else "under"
    shown, allowed = in_unit(value, limit.unit), in_unit(bound, limit.unit)
    if shown == allowed:  # a hair beyond it
        return f"{limit.says} just {side} {allowed}"
    return f"{limit.says} {shown}, {side} {allowed}"


def in_unit(value: float, unit: str) -> str:
    """A figure as a report prints it."""
    if unit != "share":
        return f"{value:.2f} {unit}".strip()
    percent = 100 * value
    if percent in (0, 100) or 1 <= percent <= 99:
        return f"{percent:.0f} %"
    # 99.96 % is not the whole, and one voxel of many is not nothing.
    return f"{percent:.2f} %" if percent > 1 else f"{percent:.2g} %"
