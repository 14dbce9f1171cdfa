"""A cache of series that came cleaned: the files beside its runs, and each run's run.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from data.caches.cache_files import COHORT, EXCLUDED, FORMAT, RECIPE, RUNS
from data.caches.cached_run import FACTS
from data.cleaning.as_given import AsGiven
from data.errors import BadFileError

Excluded = list[tuple[str, str]]

NO_VOXELS: dict[str, Any] = {"shape": None, "n_voxels": 0, "n_constant": 0, "n_nonfinite": 0}
# Somebody else's cleaning: what it left, and how much people moved, is not known.
UNKNOWN: dict[str, Any] = {"freedom": None, "fd_mean": None, "notes": []}
MEASURED = ("n_frames", "n_voxels", "n_constant", "n_nonfinite", "freedom", "fd_mean")


def finish_cache(
    folder: Path,
    recipe: AsGiven,
    table: pd.DataFrame,
    facts: Mapping[str, dict[str, Any]],
    excluded: Excluded,
) -> None:
    """Write run.json of every run, and then the files that make `folder` a finished cache.

    Args:
        folder: where runs/<run_id>/ holds the series of every run in `facts`.
        recipe: what stands in the place of a recipe.
        table: the cohort's, with `tr`; rows without facts are left out.
        facts: what run.json says, by run.
        excluded: (what, why) for what was left out.

    Raises:
        BadFileError: there is no run.
    """
    if not facts:
        first = excluded[0][1] if excluded else "there is none"
        raise BadFileError(
            "cohort", must_be="at least one usable run", got="none", do=f"the first reason: {first}"
        )
    for run_id, told in facts.items():
        (folder / RUNS / run_id / FACTS).write_text(json.dumps(told, indent=1), encoding="utf-8")
    kept = table[table["run_id"].isin(list(facts))].reset_index(drop=True)
    for name in MEASURED:
        kept[name] = [facts[run_id][name] for run_id in kept["run_id"]]
    left_out = pd.DataFrame(excluded, columns=["what", "why"])
    left_out.to_csv(folder / EXCLUDED, sep="\t", index=False)
    kept.to_csv(folder / COHORT, sep="\t", index=False, na_rep="n/a")
    content = {
        "format": FORMAT,
        "identity": recipe.identity,
        "recipe": asdict(recipe),
        "versions": {name: version(name) for name in ("chiasm", "numpy")},
    }
    (folder / RECIPE).write_text(json.dumps(content, indent=1), encoding="utf-8")
