"""What an evaluation leaves in its folder, from which a report can be made without the scans.

RUN/results.json     facts of the study; of each model its figures, budget and chosen settings; what permuted
                     labels gave, where they were asked; digests of the next three, which belong to it
RUN/predictions.csv  a row for each model, scheme, deal and run
RUN/cohort.csv       who was in it: phenotype, site, motion; no paths
RUN/splits.json      the folds (see `neuro.protocol.plan`)
RUN/relevance.json   and files beside it: where the first model read the difference (see
                     `neuro.explain.study_map_files`)
RUN/planted_mask.nii.gz  where a simulation planted the effect, where one did
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.caches.cache import FRACTIONS
from data.cohorts.cohort_rows import WORDS
from data.digest import sha256
from data.errors import BadFileError
from data.interval import Interval
from data.writing import whole_file, write_whole
from neuro.protocol.evaluation import Evaluation, Outcome
from neuro.protocol.permutation import PermutationTest
from neuro.protocol.plan import save_plan
from neuro.protocol.prediction_rows import ACROSS, WITHIN, long_table, predictions_of, read_rows
from neuro.protocol.predictions import Predictions

FORMAT = 1
RESULTS, PREDICTIONS, COHORT, SPLITS = "results.json", "predictions.csv", "cohort.csv", "splits.json"
PLANTED = "planted_mask.nii.gz"
ABSENT = "n/a"  # in the cohort's table, as BIDS has it
PRIVATE = ("bold", "mask", "confounds")  # paths on the machine where it ran


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelResult:
    """What was found of one model.

    Attributes:
        name, note: of the contender.
        sees_scans: False for what is known beside the scan.
        budget: settings that inner folds chose among.
        chosen: of each fold, those that were chosen.
        within, across: predictions; the latter None where sites were not compared.
        figures, figures_across: metrics with their intervals.
    """

    name: str
    note: str
    sees_scans: bool
    budget: int
    chosen: Sequence[Mapping[str, Any]]
    within: Predictions
    across: Predictions | None
    figures: dict[str, Interval]
    figures_across: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """A finished evaluation.

    Attributes:
        facts: of the study, JSON-ready: cohort, recipe, configuration, versions, command.
        table: the cohort, one row a run.
        models: in the order of the table; the first is ours.
        permuted: the whole pipeline of ours on permuted labels; None where it was not run.
    """

    facts: dict[str, Any]
    table: pd.DataFrame
    models: list[ModelResult]
    permuted: PermutationTest | None = None

    def named(self, name: str) -> ModelResult | None:
        """A model, or None."""
        return next((model for model in self.models if model.name == name), None)

    @property
    def ours(self) -> ModelResult:
        """The model that the report is about."""
        return self.models[0]


def results_of(
    evaluation: Evaluation,
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    permuted: PermutationTest | None = None,
) -> Results:
    """An evaluation without its models."""
    public = table.drop(columns=[name for name in PRIVATE if name in table])
    return Results(
        facts=dict(facts),
        table=public.reset_index(drop=True),
        models=[_model_result(outcome) for outcome in evaluation.outcomes],
        permuted=permuted,
    )


def _model_result(outcome: Outcome) -> ModelResult:
    return ModelResult(
        name=outcome.name,
        note=outcome.contender.note,
        sees_scans=outcome.contender.sees_scans,
        budget=len(outcome.contender.grid),
        chosen=outcome.chosen,
        within=outcome.within,
        across=outcome.across,
        figures=outcome.figures,
        figures_across=outcome.figures_across,
    )


def write_results(results: Results, evaluation: Evaluation, folder: Path) -> None:
    """Write all files, or none: they take their places once all are written, results.json last."""
    with ExitStack() as places:  # which are taken in the opposite order
        facts, splits, cohort, predictions = (
            places.enter_context(whole_file(folder / name)) for name in (RESULTS, SPLITS, COHORT, PREDICTIONS)
        )
        save_plan(evaluation.plan, evaluation.roster, splits)
        results.table.to_csv(cohort, index=False, na_rep=ABSENT)
        long_table(_by_scheme(results.models)).to_csv(predictions, index=False)
        beside = {PREDICTIONS: sha256(predictions), COHORT: sha256(cohort), SPLITS: sha256(splits)}
        write_whole(facts, _told(results, beside))


def _by_scheme(models: Sequence[ModelResult]) -> Iterator[tuple[str, Predictions]]:
    for model in models:
        yield WITHIN, model.within
        if model.across is not None:
            yield ACROSS, model.across


def _told(results: Results, beside: Mapping[str, str]) -> str:
    """results.json; `beside` holds the digests of the files that belong to it."""
    told = [
        {
            "name": model.name,
            "note": model.note,
            "sees_scans": model.sees_scans,
            "budget": model.budget,
            "chosen": [dict(settings) for settings in model.chosen],
            "figures": {name: asdict(value) for name, value in model.figures.items()},
            "figures_across": {name: asdict(value) for name, value in model.figures_across.items()},
        }
        for model in results.models
    ]
    content = {
        "format": FORMAT,
        "sha256": dict(beside),
        "facts": results.facts,
        "models": told,
        "permuted": asdict(results.permuted) if results.permuted is not None else None,
    }
    return json.dumps(content, indent=1, default=str) + "\n"


def load_results(folder: str | Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        BadFileError: the folder holds no finished evaluation, or a file of it is damaged.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, of another version of Chiasm")
        _require_same_files(folder, content.get("sha256", {}))
        table, rows = _read_cohort(folder / COHORT), read_rows(folder / PREDICTIONS)
        models = [_read(told, rows, table) for told in content["models"]]
        permuted = _read_permuted(content.get("permuted"))
        return Results(facts=content["facts"], table=table, models=models, permuted=permuted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(
            "evaluation",
            must_be="a folder that `neuro evaluate` wrote",
            got=f"{error}".split("\n")[0],
            do="name another, or evaluate again",
            path=folder,
        ) from error


def _require_same_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Folders of earlier versions hold no digests, and are taken as they are."""
    for name, digest in digests.items():
        if sha256(folder / Path(name).name) != digest:
            raise ValueError(f"a {name} that has changed, or is of another evaluation")


def _read_permuted(told: Mapping[str, Any] | None) -> PermutationTest | None:
    if told is None:
        return None
    if not told["null"]:
        raise ValueError("a permutation test without permutations")
    return PermutationTest(
        observed=float(told["observed"]),
        null=tuple(float(value) for value in told["null"]),
        p_value=float(told["p_value"]),
        asked=int(told["asked"]),
        seconds=float(told["seconds"]),
    )


def _read_cohort(path: Path) -> pd.DataFrame:
    """As in a cache: words stay words ("01" and "NA" are sites), and only numbers may be `n/a`."""
    table = pd.read_csv(
        path,
        dtype=dict.fromkeys(WORDS, str),
        keep_default_na=False,
        na_values={name: [ABSENT] for name in FRACTIONS},
    )
    return table.astype({name: float for name in FRACTIONS if name in table})


def _read(told: Mapping[str, Any], rows: pd.DataFrame, table: pd.DataFrame) -> ModelResult:
    own = rows[rows["model"] == told["name"]]
    schemes = {name: part for name, part in own.groupby("scheme")}
    within = predictions_of(told["name"], schemes[WITHIN], table)
    return ModelResult(
        name=told["name"],
        note=told["note"],
        sees_scans=told["sees_scans"],
        budget=told["budget"],
        chosen=told["chosen"],
        within=within,
        across=predictions_of(told["name"], schemes[ACROSS], table) if ACROSS in schemes else None,
        figures={name: Interval(**value) for name, value in told["figures"].items()},
        figures_across={name: Interval(**value) for name, value in told["figures_across"].items()},
    )
