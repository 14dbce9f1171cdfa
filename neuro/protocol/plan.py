"""Who is tested by whom: people dealt into folds, drawn once, written down, and the same for every model.

Two schemes. "within": the people are dealt anew into folds several times, each fold holding people of every
label and site, as far as they go. "across": each site is tested by models of the other ones. In both, choices
(a penalty, a threshold, a calibration) are made on inner folds of the training side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.splits.folds import Fold, Indices, leave_one_site_out, repeated_subject_folds
from data.splits.nested_splits import NestedFold, assert_nested, nest_by_subject
from data.writing import write_whole
from neuro.defaults import FOLDS, INNER, REPEATS
from neuro.protocol.roster import Roster

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How people are dealt.

    Attributes:
        folds: of each deal; stratified by label and site.
        repeats: deals.
        inner: folds of each training side.
        across: also test each site by models of the others, where there are others.
        seed: of all draws.
    """

    folds: int = FOLDS
    repeats: int = REPEATS
    inner: int = INNER
    across: bool = True
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Folds by row of a roster.

    Attributes:
        config: how they were drawn.
        within: folds of each deal.
        across: one fold a site; empty where it cannot be asked.
    """

    config: PlanConfig
    within: list[list[NestedFold]]
    across: list[NestedFold]

    def deals(self) -> Iterator[tuple[str, int, list[NestedFold]]]:
        """Each deal with its scheme's name and its number in it."""
        for number, folds in enumerate(self.within):
            yield "within", number, folds
        if self.across:
            yield "across", 0, self.across

    @property
    def models(self) -> int:
        """Folds in all: how often a contender is trained, but for its inner folds."""
        return sum(len(folds) for _, _, folds in self.deals())


def draw_plan(roster: Roster, config: PlanConfig) -> Plan:
    """Deal the people of a roster.

    Raises:
        ParameterError: too few people for the folds, outer or inner.
    """
    deals = repeated_subject_folds(
        roster.labels,
        roster.people,
        n_splits=config.folds,
        n_repeats=config.repeats,
        seed=config.seed,
        strata=roster.sites,
    )
    within = [_nested(folds, roster, config, number) for number, folds in enumerate(deals)]
    across = _nested(_site_folds(roster), roster, config, 0) if config.across else []
    return Plan(config=config, within=within, across=across)


def _site_folds(roster: Roster) -> list[Fold]:
    """A fold a site; none where there is one site, or a side would lack a label."""
    if len(set(roster.sites)) < 2:
        return []
    folds = leave_one_site_out(roster.sites, roster.people)
    sound = all(len(set(roster.labels[rows])) == 2 for fold in folds for rows in fold)
    return folds if sound else []


def _nested(folds: Sequence[Fold], roster: Roster, config: PlanConfig, number: int) -> list[NestedFold]:
    return nest_by_subject(
        folds,
        roster.labels,
        roster.people,
        n_splits=config.inner,
        seed=(config.seed, number),
        strata=roster.sites,
    )


def save_plan(plan: Plan, roster: Roster, path: str | Path) -> Path:
    """Write the folds by the names of runs (JSON), so that any other model can be tested on the same ones."""

    def told(folds: Sequence[NestedFold]) -> list[dict[str, Any]]:
        return [
            {
                "train": _names(roster, fold.train),
                "test": _names(roster, fold.test),
                "inner": [
                    {"train": _names(roster, train), "test": _names(roster, test)}
                    for train, test in fold.inner
                ],
            }
            for fold in folds
        ]

    content = {
        "format": FORMAT,
        "config": asdict(plan.config),
        "runs": roster.run_ids.tolist(),
        "within": [told(folds) for folds in plan.within],
        "across": told(plan.across),
    }
    return write_whole(path, json.dumps(content, indent=1) + "\n")


def load_plan(path: str | Path, roster: Roster) -> Plan:
    """Read what `save_plan` wrote, for the same runs in whatever order.

    Raises:
        BadFileError: it is no such file.
        FingerprintMismatchError: it is of other runs.
        LeakError: a person stands on both sides of a fold.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, of another version of Chiasm")
        planned = {str(run) for run in content["runs"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    if planned != set(roster.run_ids):
        differ = sorted(planned ^ set(roster.run_ids))
        raise FingerprintMismatchError(
            "splits",
            must_be="of the runs that are evaluated",
            got=f"{len(differ)} runs that only one of them has ({', '.join(differ[:3])})",
            do="evaluate the cohort that they were drawn for, or draw new ones",
            path=path,
        )
    row_of = {str(run): row for row, run in enumerate(roster.run_ids)}
    try:
        config = PlanConfig(**content["config"])
        within = [[_read(fold, row_of) for fold in folds] for folds in content["within"]]
        across = [_read(fold, row_of) for fold in content["across"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    for fold in [fold for folds in [*within, across] for fold in folds]:
        assert_nested(roster.people, fold)
    return Plan(config=config, within=within, across=across)


def _names(roster: Roster, rows: Indices) -> list[str]:
    return [str(run) for run in roster.run_ids[rows]]


def _read(fold: Mapping[str, Any], row_of: Mapping[str, int]) -> NestedFold:
    def rows(side: str, within: Mapping[str, Any]) -> Indices:
        return np.array(sorted(row_of[run] for run in within[side]), dtype=np.intp)

    return NestedFold(
        train=rows("train", fold),
        test=rows("test", fold),
        inner=[(rows("train", inner), rows("test", inner)) for inner in fold["inner"]],
    )


def _unreadable(path: Path, error: Exception) -> BadFileError:
    return BadFileError(
        "splits", must_be="a file that `neuro evaluate` wrote", got=f"{error}".split("\n")[0], path=path
    )


def require_tested_once(folds: Sequence[NestedFold], rows: int) -> None:
    """Raise where a run is tested twice in a deal.

    Raises:
        ParameterError: one is.
    """
    tested = np.concatenate([fold.test for fold in folds])
    if len(np.unique(tested)) != len(tested) or (len(tested) and tested.max() >= rows):
        raise ParameterError("folds", must_be="such that no run is tested twice", got=f"{len(tested)} tests")
