"""What an evaluation leaves in its folder, from which a report can be made without the scans.

RUN/results.json     facts of the study; of each model its figures, budget and chosen settings
RUN/predictions.csv  a row for each model, scheme, deal and run
RUN/cohort.csv       who was in it: phenotype, site, motion; no paths
RUN/splits.json      the folds (see `neuro.protocol.plan`)
RUN/votes.nii.gz     where the first model read the difference, where there is such a map
RUN/planted_mask.nii.gz  where a simulation planted the effect, where one did
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.caches.cache import FRACTIONS
from data.cohorts.cohort_rows import WORDS
from data.errors import BadFileError
from data.interval import Interval
from data.writing import whole_file, write_whole
from neuro.protocol.evaluation import Evaluation, Outcome
from neuro.protocol.plan import save_plan
from neuro.protocol.predictions import Predictions

FORMAT = 1
RESULTS, PREDICTIONS, COHORT, SPLITS = "results.json", "predictions.csv", "cohort.csv", "splits.json"
VOTES, PLANTED = "votes.nii.gz", "planted_mask.nii.gz"
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
    """

    facts: dict[str, Any]
    table: pd.DataFrame
    models: list[ModelResult]

    def named(self, name: str) -> ModelResult | None:
        """A model, or None."""
        return next((model for model in self.models if model.name == name), None)

    @property
    def ours(self) -> ModelResult:
        """The model that the report is about."""
        return self.models[0]


def results_of(evaluation: Evaluation, table: pd.DataFrame, facts: Mapping[str, Any]) -> Results:
    """An evaluation without its models."""
    public = table.drop(columns=[name for name in PRIVATE if name in table])
    return Results(
        facts=dict(facts),
        table=public.reset_index(drop=True),
        models=[_model_result(outcome) for outcome in evaluation.outcomes],
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
        _long(results.models).to_csv(predictions, index=False)
        write_whole(facts, _told(results))


def _told(results: Results) -> str:
    """results.json."""
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
    content = {"format": FORMAT, "facts": results.facts, "models": told}
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
        table, rows = _read_cohort(folder / COHORT), _read_rows(folder / PREDICTIONS)
        models = [_read(told, rows, table) for told in content["models"]]
        return Results(facts=content["facts"], table=table, models=models)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(
            "evaluation",
            must_be="a folder that `neuro evaluate` wrote",
            got=f"{error}".split("\n")[0],
            do="name another, or evaluate again",
            path=folder,
        ) from error


def _read_cohort(path: Path) -> pd.DataFrame:
    """As in a cache: words stay words ("01" and "NA" are sites), and only numbers may be `n/a`."""
    table = pd.read_csv(
        path,
        dtype=dict.fromkeys(WORDS, str),
        keep_default_na=False,
        na_values={name: [ABSENT] for name in FRACTIONS},
    )
    return table.astype({name: float for name in FRACTIONS if name in table})


def _read_rows(path: Path) -> pd.DataFrame:
    words = ("model", "scheme", "run_id")
    absent = {name: [""] for name in ("score", "probability")}  # of runs that were not tested
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(words, str),
        keep_default_na=False,
        na_values=absent,
    )


def _long(models: Sequence[ModelResult]) -> pd.DataFrame:
    """A row for each model, scheme, deal and run; where the run was not tested, its fold is -1."""
    parts = []
    for model in models:
        for scheme, found in (("within", model.within), ("across", model.across)):
            for deal in range(found.deals if found is not None else 0):
                assert found is not None
                parts.append(
                    pd.DataFrame(
                        {
                            "model": model.name,
                            "scheme": scheme,
                            "deal": deal,
                            "fold": found.folds[deal],
                            "run_id": found.run_ids,
                            "label": found.labels,
                            "score": found.scores[deal],
                            "probability": found.probabilities[deal],
                            "called": found.called[deal],
                            **_sets(found, deal),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def _sets(found: Predictions, deal: int) -> dict[str, Any]:
    if found.sets is None:
        return {}
    return {f"set_{label}": found.sets[deal, :, label].astype(int) for label in (0, 1)}


def _read(told: Mapping[str, Any], rows: pd.DataFrame, table: pd.DataFrame) -> ModelResult:
    own = rows[rows["model"] == told["name"]]
    schemes = {name: part for name, part in own.groupby("scheme")}
    within = _predictions(told["name"], schemes["within"], table)
    return ModelResult(
        name=told["name"],
        note=told["note"],
        sees_scans=told["sees_scans"],
        budget=told["budget"],
        chosen=told["chosen"],
        within=within,
        across=_predictions(told["name"], schemes["across"], table) if "across" in schemes else None,
        figures={name: Interval(**value) for name, value in told["figures"].items()},
        figures_across={name: Interval(**value) for name, value in told["figures_across"].items()},
    )


def _predictions(name: str, rows: pd.DataFrame, table: pd.DataFrame) -> Predictions:
    if len(rows) != rows["deal"].nunique() * len(table):
        raise ValueError(f"{len(rows)} predictions by {name}, not one for each run and deal")

    def deals(column: str, kind: type) -> Any:
        wide = rows.pivot(index="deal", columns="run_id", values=column)
        return wide[table["run_id"]].to_numpy(kind)

    return Predictions(
        model=name,
        run_ids=table["run_id"].to_numpy(object),
        labels=table["label"].to_numpy(np.int64),
        people=table["person"].to_numpy(object),
        sites=table["site"].to_numpy(object),
        folds=deals("fold", np.int64),
        scores=deals("score", np.float64),
        probabilities=deals("probability", np.float64),
        called=deals("called", np.int64),
        sets=np.stack([deals("set_0", bool), deals("set_1", bool)], axis=-1) if "set_0" in rows else None,
    )
