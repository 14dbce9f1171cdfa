"""Who was in a study: table of a cohort -> sentences and rows for the report."""

from __future__ import annotations

from typing import Any

import pandas as pd


def cohort_in_words(table: pd.DataFrame) -> str:
    """How many of each group, from how many sites."""
    people = table.drop_duplicates("person")
    patients = int((people["label"] == 1).sum())
    sites = table["site"].nunique()
    return f"{patients} patients and {len(people) - patients} controls from {sites} site{'s' * (sites != 1)}."


def cohort_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each site and group."""
    rows = []
    for (site, label), part in table.groupby(["site", "label"], sort=True):
        people = part.drop_duplicates("person")
        sex = people["sex"].astype(str).str.upper().str[:1]
        known = sex[sex.isin(["F", "M"])]
        rows.append(
            {
                "site": site,
                "group": group_name(label),
                "people": len(people),
                "runs": len(part),
                "age": _mean_and_spread(people["age"]),
                "female": f"{(known == 'F').mean():.0%}" if len(known) else "unknown",
                "fd": f"{part['fd_mean'].mean():.2f} mm" if part["fd_mean"].notna().any() else "unknown",
            }
        )
    return rows


def group_name(label: Any) -> str:
    """What those of a label are called."""
    return "patients" if label == 1 else "controls"


def _mean_and_spread(values: pd.Series) -> str:
    if not values.notna().any():
        return "unknown"
    spread = f" ± {values.std():.1f}" if values.notna().sum() > 1 else ""
    return f"{values.mean():.1f}{spread}"
