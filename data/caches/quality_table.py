"""The quality of a whole cohort: cache -> one row a run with its figures, verdict and reasons.

What a run alone shows was measured when it was cleaned (`data.quality.run_quality.measure`, kept in its
run.json); what shows only beside the others, mirrored runs and runs unlike their site, is worked out here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import BadFileError
from data.quality.coverage import REGIONS, is_mni
from data.quality.laterality import asymmetry_map, flip_correlation
from data.quality.limits import LIMITS, OUTLIER_MEASURES, OUTLIER_RUNS, OUTLIER_SCORE, WORST_FIRST, judge
from data.quality.run_quality import FACTS

ABOUT = ("run_id", "participant_id", "person", "site", "label", "age", "sex", "space")
SAYS = {limit.measure: limit.says for limit in LIMITS}
FEWEST_AT_A_SITE = 4  # runs of other people, to compare a run's asymmetry with


def quality_table(cache: Cache) -> pd.DataFrame:
    """One row a run, in the cache's order.

    Returns:
        The columns of the cohort that say who it is; those of `data.quality.run_quality.FACTS`, NaN where
        unknown; `cover_lowest` of all regions; `flip_correlation` (see `data.quality.laterality`; MNI spaces
        only); `outliers` (measures in which it is unlike its site); `verdict` ("ok", "look at it", "leave
        out", "not measured"); `reasons`.

    Raises:
        BadFileError: the cache holds parcel series alone, or a run's files are gone.
    """
    _must_hold_voxels(cache)
    about = [name for name in ABOUT if name in cache.table]
    table = cache.table[about].copy()
    facts = pd.DataFrame([_facts(cache, str(run_id)) for run_id in table["run_id"]], index=table.index)
    table[list(FACTS)] = facts.reindex(columns=list(FACTS)).astype(float)
    table["cover_lowest"] = table[[f"cover_{region}" for region in REGIONS]].min(axis=1)
    table["flip_correlation"] = _flips(cache)
    table["outliers"] = _outliers(table)
    verdicts = [_verdict(row) for row in table.to_dict("records")]
    table["verdict"] = [verdict for verdict, _ in verdicts]
    table["reasons"] = ["; ".join(reasons) for _, reasons in verdicts]
    return table


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a quality table by verdict, then by how many limits they cross, then by motion."""
    rank = table["verdict"].map({verdict: i for i, verdict in enumerate(WORST_FIRST)})
    crossed = table["reasons"].str.count("; ") + (table["reasons"] != "")
    order = pd.DataFrame({"rank": rank, "crossed": -crossed, "fd": -table["fd_mean"]})
    return table.loc[order.sort_values(["rank", "crossed", "fd"], kind="stable").index]


def read_trace(cache: Cache, run_id: str) -> pd.DataFrame | None:
    """A run's trace (one row a raw frame: `time`, `fd`, `dvars`, `kept`), or None where none was kept."""
    path = cache.root / "runs" / run_id / "trace.tsv"
    if not path.is_file():
        return None
    return pd.read_csv(path, sep="\t").astype({"kept": bool})


def _must_hold_voxels(cache: Cache) -> None:
    runs = cache.root / "runs"
    if not any((runs / str(run_id) / "mean.npy").is_file() for run_id in cache.table["run_id"]):
        raise BadFileError(
            "cache",
            must_be="one that was made from images, for its quality to be seen",
            got="parcel series without voxels",
            do="look at the quality where the images are; of parcels alone only motion tables could tell",
            path=cache.root,
        )


def _facts(cache: Cache, run_id: str) -> dict[str, Any]:
    path = cache.root / "runs" / run_id / "run.json"
    try:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFileError(
            "cached run", must_be="whole", got=str(error), do="run `neuro prepare` again", path=Path(path)
        ) from error
    return dict(written.get("quality", {}))


def _flips(cache: Cache) -> NDArray[np.float64]:
    """Each run's correlation with other people's asymmetry: of its site if there are enough, else of all."""
    table = cache.table
    found = np.full(len(table), np.nan)
    person = table["person"] if "person" in table else table["participant_id"]
    mni = np.flatnonzero([is_mni(str(space)) for space in table["space"]])
    if not len(mni):
        return found
    maps_NL = np.stack([_asymmetry(cache, int(i)) for i in mni])
    people, sites = person.to_numpy()[mni], table["site"].to_numpy()[mni]
    found[mni] = flip_correlation(maps_NL, people)
    for site in np.unique(sites):
        here = sites == site
        if len(np.unique(people[here])) > FEWEST_AT_A_SITE:
            found[mni[here]] = flip_correlation(maps_NL[here], people[here])
    return found


def _asymmetry(cache: Cache, i: int) -> NDArray[np.float32]:
    run = cache.run(i)
    return asymmetry_map(np.asarray(run.mean_V), run.mask_XYZ, run.affine)


def _outliers(table: pd.DataFrame) -> list[str]:
    """For each run the measures in which it is unlike its site, joined by commas."""
    found: list[list[str]] = [[] for _ in range(len(table))]
    for _, rows in table.reset_index(drop=True).groupby("site"):
        for measure, beyond in OUTLIER_MEASURES.items():
            values = rows[measure].dropna()
            scores = modified_z(values.to_numpy()) * (1 if beyond == "above" else -1)
            for row in values.index[scores > OUTLIER_SCORE]:
                found[int(row)].append(measure)
    return [", ".join(names) for names in found]


def modified_z(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """0.6745 (x - median) / MAD (Iglewicz & Hoaglin 1993); zero for fewer than 6 values or no spread."""
    if len(values_N) < OUTLIER_RUNS:
        return np.zeros(len(values_N))
    away_N = values_N - np.median(values_N)
    spread = np.median(np.abs(away_N))
    return 0.6745 * away_N / spread if spread > 0 else np.zeros(len(values_N))


def _verdict(row: dict[Any, Any]) -> tuple[str, list[str]]:
    if all(np.isnan(row[name]) for name in FACTS):
        return "not measured", ["prepared by a version that measured nothing: run `neuro prepare` anew"]
    verdict, reasons = judge(row)
    if row["outliers"]:
        names = [SAYS[measure] for measure in row["outliers"].split(", ")]
        reasons.append(f"unlike its site in {' and '.join(names)}")
        verdict = min(verdict, "look at it", key=WORST_FIRST.index)
    return verdict, reasons
