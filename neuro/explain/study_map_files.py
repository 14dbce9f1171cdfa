"""What an evaluation leaves of its map, to be read back without scans and models.

RUN/relevance.json     method, words and figures; there after every evaluation
RUN/relevance.nii.gz   the map, where it is one of voxels, or of regions of a known atlas
RUN/regions.tsv        by region, the strongest first
RUN/clusters.tsv       clusters of the strongest voxels, the largest first
RUN/relevance.html     a page to move through the map, where it lies in MNI space
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from data.errors import BadFileError
from data.scans.nifti import open_image
from data.writing import write_whole
from neuro.explain.explain_run import IMAGE, TABLE
from neuro.explain.figures import write_interactive
from neuro.explain.image import write_image
from neuro.explain.map_checks import MapChecks
from neuro.explain.study_map import DIGITS, StudyMap

FORMAT = 1
TOLD, CLUSTERS, PAGE = "relevance.json", "clusters.tsv", "relevance.html"
FILES = (TOLD, IMAGE, TABLE, CLUSTERS, PAGE)
PAGE_TITLE = "Relevance: patients less controls"
WORDS = ("region", "at_peak", "regions")  # columns of tables that hold no figures


def write_study_map(found: StudyMap, folder: str | Path) -> None:
    """Write a map's files into a folder that is there; those of an earlier map are removed."""
    folder = Path(folder)
    for name in FILES:  # of an earlier evaluation: they would not be of these figures
        (folder / name).unlink(missing_ok=True)
    if found.image is not None:
        write_image(found.image, folder / IMAGE)
        if found.in_mni:
            write_interactive(found.image, folder / PAGE, title=PAGE_TITLE)
    for name, table in ((TABLE, found.regions), (CLUSTERS, found.clusters)):
        if table is not None:
            write_whole(folder / name, table.to_csv(sep="\t", index=False, float_format=f"%.{DIGITS}g"))
    told = {
        "format": FORMAT,
        "method": found.method,
        "in_mni": found.in_mni,
        "words": list(found.words),
        "checks": asdict(found.checks) if found.checks is not None else None,
    }
    write_whole(folder / TOLD, json.dumps(told, indent=1, allow_nan=False) + "\n")  # the last: all is there


def read_study_map(folder: str | Path) -> StudyMap | None:
    """What `write_study_map` wrote, the image's voxels unread; None where it wrote nothing.

    Raises:
        BadFileError: a file is damaged, or of another version.
    """
    folder = Path(folder)
    if not (folder / TOLD).is_file():
        return None
    image = open_image(folder / IMAGE) if (folder / IMAGE).is_file() else None
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}, of another version of Chiasm")
        return StudyMap(
            image=image,
            regions=_table(folder / TABLE),
            clusters=_table(folder / CLUSTERS),
            in_mni=bool(told["in_mni"]),
            method=told["method"],
            checks=_checks(told["checks"]),
            words=tuple(map(str, told["words"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(
            "map of an evaluation",
            must_be="as `neuro evaluate` wrote it",
            got=f"{error}".split("\n")[0],
            do="evaluate again",
            path=folder / TOLD,
        ) from error


def _checks(told: Any) -> MapChecks | None:
    if told is None:
        return None
    given: dict[str, Any] = {**told, "folds": tuple(told["folds"]), "peaks": tuple(told["peaks"])}
    return MapChecks(**given)


def _table(path: Path) -> pd.DataFrame | None:
    """Words stay words ("12" may be a region's name), and only figures may be missing."""
    if not path.is_file():
        return None
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for name in table:
        if name not in WORDS:
            table[name] = pd.to_numeric(table[name]).astype(float)
    return table
