"""Where the difference was read, and how far that is to be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from neuro.explain import StudyMap
from neuro.explain.study_map_files import PAGE
from neuro.report.blocks import Block, Bullets, Picture, Section, Table, Words, table
from neuro.report.figures import brain_map

REGIONS, CLUSTERS = 10, 5  # as many rows as are shown
POINTER = (
    "It shows where the models read the difference between the groups, after attention has mixed places: a"
    " pointer, not a proof, and no map of the disease."
)
PLANTED = " Yellow: the region where the simulation planted the effect."
NO_MAP = "There is no map: the evaluation left none."


def where_it_was_read(found: StudyMap | None, planted: Any | None) -> Section:
    """The map, its tables, and words; or why there is none.

    Args:
        found: of the evaluation.
        planted: NIfTI image of the region where a simulation planted its effect, or None.
    """
    title = "Where the difference was read"
    if found is None:
        return Section(title=title, blocks=(Words(NO_MAP),))
    blocks: list[Block] = []
    if found.image is not None and found.in_mni:
        blocks.append(_picture(found.image, planted))
    if found.words:
        blocks.append(Bullets(found.words))
    if found.regions is not None and len(found.regions):
        blocks += [Words(_first("regions", found.regions, REGIONS)), _regions(found.regions)]
    if found.clusters is not None and len(found.clusters):
        blocks += [Words(_first("clusters", found.clusters, CLUSTERS)), _clusters(found.clusters)]
    if found.image is not None and found.in_mni:
        blocks.append(Words(f"To move through the map: {PAGE} in the folder of the evaluation."))
    return Section(title=title, blocks=tuple(blocks))


def _picture(image: Any, planted: Any | None) -> Picture:
    return Picture(
        name="relevance",
        uri=brain_map(image, planted),
        alt="Map of relevance over the brain in three planes",
        caption="Relevance: mean over patients less mean over controls, out of fold; the strongest tenth is"
        f" shown at its peak. Red speaks for a patient.{PLANTED if planted is not None else ''} {POINTER}",
        dark=True,
    )


def _first(what: str, rows: pd.DataFrame, shown: int) -> str:
    if len(rows) <= shown:
        return f"All {what} that it reaches, the strongest first." if what == "regions" else f"All {what}."
    order = "strongest" if what == "regions" else "largest"
    return f"The {shown} {order} of {len(rows)} {what}; the others are in {what}.tsv."


Column = tuple[str, Callable[[Any], str]]


def _regions(rows: pd.DataFrame) -> Table:
    columns: dict[str, Column] = {
        "region": ("Region", str),
        "mean": ("mean", _figure),
        "share": ("share of all", lambda value: f"{100 * value:.1f} %"),
        "peak": ("peak", _figure),
    }
    return _table(rows.head(REGIONS), columns)


def _clusters(rows: pd.DataFrame) -> Table:
    columns: dict[str, Column] = {
        "at_peak": ("Region at the peak", str),
        "regions": ("Regions in it", str),
        "volume_mm3": ("cm³", lambda value: f"{value / 1000:.1f}"),
        "mean": ("mean", _figure),
        "peak": ("peak", _figure),
    }
    return _table(rows.head(CLUSTERS), columns, words=2)


def _table(rows: pd.DataFrame, columns: dict[str, Column], words: int = 1) -> Table:
    """Those of the columns that there are, and where the peak lies."""
    there = {name: column for name, column in columns.items() if name in rows}
    placed = {"peak_x", "peak_y", "peak_z"} <= set(rows)
    heads = [*(head for head, _ in there.values()), *(["peak at, mm"] if placed else [])]
    told = []
    for row in rows.to_dict("records"):
        cells = [form(row[name]) for name, (_, form) in there.items()]
        if placed:
            cells.append(", ".join(f"{row[f'peak_{axis}']:.0f}" for axis in "xyz"))
        told.append(cells)
    return table(heads, told, words=words)


def _figure(value: float) -> str:
    return f"{value:#.3g}"
