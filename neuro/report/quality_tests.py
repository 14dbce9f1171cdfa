"""The quality of the scans of an evaluation, as far as its table knows: by site and group, and tested.

The table holds what `neuro prepare` measured of every run; that of `neuro qc`, which needs the cache, holds
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from data.quality.group_differences import GroupTest, group_tests
from neuro.quality.words import MOTION, motion_in_words

SECONDS_A_MINUTE = 60


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure of quality: its column, its name, and how it is written."""

    column: str
    name: str
    form: str


MEASURES = (
    Measure(column=MOTION, name="mean framewise displacement", form="{:.2f} mm"),
    Measure(column="dvars", name="mean DVARS", form="{:.2f}"),
    Measure(column="tsnr", name="temporal SNR", form="{:.0f}"),
    Measure(column="minutes", name="minutes kept", form="{:.1f}"),
    Measure(column="tr", name="repetition time", form="{:.2f} s"),
    Measure(column="freedom", name="degrees of freedom left", form="{:.0f}"),
    Measure(column="n_voxels", name="voxels in the mask", form="{:.0f}"),
)
WANTED = (MOTION, "dvars", "tsnr")  # without these a reader cannot judge quality, and is told so


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """What is known of the quality of the scans.

    Attributes:
        runs: `site`, `label`, and the measures that are known of any run.
        known: those measures.
        tests: of differences between patients and controls, for measures that vary within a site.
        missing: words for what is not known, or not of everybody.
    """

    runs: pd.DataFrame
    known: tuple[Measure, ...]
    tests: tuple[GroupTest, ...]
    missing: tuple[str, ...]

    @property
    def motion(self) -> GroupTest | None:
        """The test of head motion; None where it is not known, or of one group only."""
        return next((test for test in self.tests if test.measure == MOTION), None)

    @property
    def warnings(self) -> list[str]:
        """That groups moved differently, and what follows; nothing where it is not shown."""
        motion = self.motion
        return [" ".join(motion_in_words(motion))] if motion is not None and motion.shown else []


def quality_of(table: pd.DataFrame) -> Quality:
    """Look a cohort's table through.

    Args:
        table: one row a run, of an evaluation.
    """
    runs = table.copy()
    if {"n_frames", "tr"} <= set(runs):
        runs["minutes"] = runs["n_frames"].astype(float) * runs["tr"].astype(float) / SECONDS_A_MINUTE
    known = tuple(one for one in MEASURES if _known(runs, one.column))
    varying = [one.column for one in known if _varies_within_sites(runs, one.column)]
    return Quality(
        runs=runs,
        known=known,
        tests=tuple(group_tests(runs, varying)) if varying else (),
        missing=tuple(_missing(runs)),
    )


def name_of(measure: str) -> str:
    """What a column is called."""
    return next(one.name for one in MEASURES if one.column == measure)


def _known(runs: pd.DataFrame, column: str) -> bool:
    """Whether any run has it; a cache of parcels alone has no voxels, which is no figure of quality."""
    if column not in runs or not runs[column].notna().any():
        return False
    return column != "n_voxels" or bool((runs[column] > 0).any())


def _varies_within_sites(runs: pd.DataFrame, column: str) -> bool:
    spans = runs.groupby("site")[column].agg(lambda values: values.max() - values.min())
    return bool((spans > 0).any())


def _missing(runs: pd.DataFrame) -> list[str]:
    told = []
    if not _known(runs, MOTION):
        told.append(
            "Head motion is known of nobody: whether patients moved more than controls, and whether the model"
            " reads motion instead of the disease, cannot be told from this cohort."
        )
    unmeasured = [one for one in MEASURES if one.column in WANTED[1:] and not _known(runs, one.column)]
    if unmeasured:
        names = " and ".join(one.name for one in unmeasured)
        told.append(
            f"{names[0].upper()}{names[1:]} {_are(unmeasured)} not in the table of this evaluation; where a"
            " cache was made from images, neuro qc tells of them."
        )
    for one in MEASURES:
        absent = int(runs[one.column].isna().sum()) if _known(runs, one.column) else 0
        if absent:
            told.append(f"The {one.name} of {absent} of {len(runs)} runs is not known.")
    return told


def _are(things: Sequence[Measure]) -> str:
    return "is" if len(things) == 1 else "are"
