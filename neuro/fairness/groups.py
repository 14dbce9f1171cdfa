"""Who is in which group: a cache's table -> one column a grouping, one row a run, in words.

Age and motion are cut into thirds of the cohort, not into decades or fixed limits: cohorts have some forty
people, and a decade of them is often two. The bounds are whole years and thousandths of a millimetre, and are
part of the group's name, so that who is meant can be read off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ParameterError

NOT_KNOWN = "not known"
GROUPINGS = ("sex", "age", "site", "motion", "medication")
SEXES = {"F": "women", "M": "men", "O": "other"}
ABSENT = frozenset({"", "n/a", "nan", "none", "unknown"})


def groups_of(table: pd.DataFrame) -> pd.DataFrame:
    """The groups of every run. What is not known is a group of its own, in every grouping.

    Motion is that of the run (`fd_mean`, mm), so a person's runs may stand in different thirds; it is cut
    over the whole cohort, so where sites differ in motion its thirds follow the sites.

    Args:
        table: of a cache: `run_id`, and of `person`, `age`, `sex`, `site`, `fd_mean`, `medication` those that
            there are.

    Returns:
        `GROUPINGS` as ordered categories (the last one `NOT_KNOWN`), by `run_id`.

    Raises:
        ParameterError: the table has no `run_id`.
    """
    if "run_id" not in table:
        raise ParameterError("table", must_be="one with a column run_id", got=", ".join(map(str, table)))
    sex = _words(table, "sex")
    medication = _words(table, "medication")
    columns = {
        "sex": _named([SEXES.get(word, NOT_KNOWN) for word in sex], list(SEXES.values())),
        "age": _thirds(_numbers(table, "age"), _people(table), _age_names, decimals=0),
        "site": _named(_words(table, "site"), None),
        "motion": _thirds(_numbers(table, "fd_mean"), _people(table), _motion_names, decimals=3),
        "medication": _named(
            [word if word in ("on", "off") else NOT_KNOWN for word in medication], ["on", "off"]
        ),
    }
    return pd.DataFrame(columns, index=pd.Index(table["run_id"].astype(str), name="run_id"))


def aligned(run_ids: Sequence[str] | NDArray[np.object_], groups: pd.DataFrame) -> pd.DataFrame:
    """The rows of these runs, in their order.

    Raises:
        ParameterError: a run has none, or two.
    """
    names = [str(run_id) for run_id in run_ids]
    missing = sorted(set(names) - set(groups.index.astype(str)))
    if missing or not groups.index.is_unique:
        got = f"none for {missing[0]} ({len(missing)} in all)" if missing else "two rows of one run"
        raise ParameterError("groups", must_be="one row a run, by run_id", got=got, do="see groups_of")
    return groups.set_axis(groups.index.astype(str), axis=0).loc[names]


def in_words(grouping: str, group: str) -> str:
    """Whom a group holds, for a sentence: "women", "people of 61 to 67", "runs with motion below 0.1 mm"."""
    if group == NOT_KNOWN:
        return f"those whose {grouping} is not known"
    forms = {
        "age": f"people {group}" if group.startswith("under") else f"people of {group}",
        "motion": f"runs with motion {'' if group.startswith('below') else 'of '}{group}",
        "medication": f"people {group} medication",
    }
    if (grouping, group) == ("sex", "other"):
        return "people of another sex"
    return forms.get(grouping, group)


def _people(table: pd.DataFrame) -> pd.Series:
    return table["person"] if "person" in table else table["run_id"]


def _words(table: pd.DataFrame, column: str) -> list[str]:
    """The column's words, `NOT_KNOWN` where it has none."""
    if column not in table:
        return [NOT_KNOWN] * len(table)
    words = ["" if pd.isna(value) else str(value).strip() for value in table[column].tolist()]
    return [NOT_KNOWN if word.casefold() in ABSENT else word for word in words]


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    if column not in table:
        return np.full(len(table), np.nan)
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _named(words: list[str], order: list[str] | None) -> pd.Categorical:
    """Words as categories in this order, else sorted; only those that there are, and `NOT_KNOWN` last."""
    there = set(words) - {NOT_KNOWN}
    names = sorted(there) if order is None else [name for name in order if name in there]
    named: list[object] = list(words)
    found: pd.Categorical = pd.Categorical(named, categories=[*names, NOT_KNOWN], ordered=True)
    return found


def _thirds(
    values_N: NDArray[np.float64],
    people: pd.Series,
    names_of: Callable[[list[float]], list[str]],
    *,
    decimals: int,
) -> pd.Categorical:
    """Bands of about a third of the people each; fewer where values are too alike for three."""
    known_N = np.isfinite(values_N)
    each = pd.Series(values_N[known_N]).groupby(people.to_numpy()[known_N]).mean().to_numpy()
    edges: list[float] = []
    if len(each):
        cuts = np.unique(np.round(np.quantile(each, [1 / 3, 2 / 3]), decimals))
        lowest, highest = values_N[known_N].min(), values_N[known_N].max()
        edges = [float(cut) for cut in cuts if lowest < cut <= highest]
    names = names_of(edges)
    band_N = np.digitize(np.nan_to_num(values_N), edges)
    words = [names[band] if known else NOT_KNOWN for band, known in zip(band_N, known_N, strict=True)]
    return _named(words, names)


def _age_names(edges: list[float]) -> list[str]:
    """In completed years: below 61, from 61 to 67, from 68 on."""
    years = [int(edge) for edge in edges]
    if not years:
        return ["any age"]
    between = [f"{low} to {high - 1}" if high - 1 > low else f"{low}" for low, high in pairwise(years)]
    return [f"under {years[0]}", *between, f"{years[-1]} or over"]


def _motion_names(edges: list[float]) -> list[str]:
    if not edges:
        return ["any motion"]
    between = [f"{low:.3f} to {high:.3f} mm" for low, high in pairwise(edges)]
    return [f"below {edges[0]:.3f} mm", *between, f"{edges[-1]:.3f} mm or more"]
