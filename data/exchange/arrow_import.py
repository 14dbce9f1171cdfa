"""Brainmarks' layout -> a cache: parcel series, or voxels of the template's mask, each row a run.

Letters: T frames, D dimensions of the space, V voxels in C order of the template's mask.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.caches.cache_files import RUNS
from data.caches.cached_run import MASK, MEAN, SERIES, STD
from data.cleaning.as_given import AsGiven
from data.cohorts.cohort_rows import table_of
from data.cohorts.table_file import is_absent
from data.errors import BadFileError, ParameterError
from data.exchange.arrow_layout import MNI_AFFINE, VOLUMES
from data.exchange.arrow_rows import ArrowRow, arrow_rows, bad_layout
from data.exchange.arrow_voxels import TemplateVoxels
from data.exchange.given_cache import NO_VOXELS, UNKNOWN, Excluded, finish_cache
from data.exchange.parcel_file import NAME, checked_tr
from data.parcels.series import Parcels
from data.writing import disk_told, whole_folder

Floats = NDArray[np.float32]

PERSON = ("sub", "subject", "participant_id")
SESSION = ("ses", "visit", "session")
ODD = re.compile(r"[^A-Za-z0-9.-]")  # what the name of a folder does without


@dataclass(frozen=True, kw_only=True)
class Imported:
    """How a folder of Brainmarks' layout is read.

    Attributes:
        label: column of the diagnosis.
        positive, negative: what it says of patients and controls; letter case does not count. Rows that say
            anything else are left out and listed.
        mask: for `mni` and `mni_cortex`: the mask that says which voxels the space has (`ArrowSpec.mask`).
        given: how the series were made, in words, which become the identity; by default what the folder says
            of itself.
    """

    label: str = "dx"
    positive: str = "PD"
    negative: str = "HC"
    mask: str | Path | None = None
    given: str = ""


def import_arrow(folder: str | Path, out: str | Path, how: Imported | None = None) -> Cache:
    """Read `<dataset>.<space>.arrow` into a cache, which appears whole or not at all.

    The table has two columns more: `split`, and `age_bin` where the rows have it. Series are taken as they
    are given (`data.cleaning.as_given`); z-scores come to the sample standard deviation that caches have.

    Args:
        folder: holds train, validation and test, or some of them.
        out: a new or empty folder.
        how: which words mean what.

    Raises:
        BadFileError: not of this layout, a person has two diagnoses, or no row can be used.
        ParameterError: a mask is needed or does not fit, or `out` holds something.
        MissingDependencyError: pyarrow is not installed.
        DiskError: `out` cannot be written.
    """
    how, source = how or Imported(), Path(folder)
    dataset, space = _named(source)
    voxels = _voxels(space, how)
    rows: list[dict[str, object]] = []
    facts: dict[str, dict[str, Any]] = {}
    excluded: Excluded = []
    told: dict[str, Any] = {}
    with disk_told(out), whole_folder(out) as draft:
        for item in arrow_rows(source):
            told = item.own
            row = _row(item, how, dataset, {str(known["run_id"]) for known in rows})
            problem = _unusable(item, how, row)
            if problem:
                excluded.append((str(row["run_id"]), problem))
                continue
            run_folder = draft / RUNS / str(row["run_id"])
            run_folder.mkdir(parents=True)
            found = (
                _into_voxels(item, run_folder, voxels) if voxels else _into_parcels(item, run_folder, space)
            )
            facts[str(row["run_id"])] = {**UNKNOWN, **found, "tr": row["tr"], "n_frames": len(item.bold_TD)}
            rows.append(row)
        given = how.given or f"{dataset}.{space}.arrow: {told.get('description') or _content(source)}"
        finish_cache(draft, AsGiven(given=given), _table(rows), facts, excluded)
    return Cache.open(out)


def _named(folder: Path) -> tuple[str, str]:
    parts = folder.name.removesuffix(".arrow").split(".", 1)
    if len(parts) != 2 or not all(NAME.fullmatch(part) for part in parts) or not folder.is_dir():
        got = f"{folder.name!r}" if folder.is_dir() else "no folder"
        raise BadFileError(
            "Brainmarks' data", must_be="a folder <dataset>.<space>.arrow", got=got, path=folder
        )
    return parts[0], parts[1]


def _voxels(space: str, how: Imported) -> TemplateVoxels | None:
    if space not in VOLUMES:
        return None
    if how.mask is None:
        raise ParameterError(
            "mask", must_be=f"given for the space {space}", got="none", do="see `Imported.mask`"
        )
    return TemplateVoxels.read(Path(how.mask))


def _row(item: ArrowRow, how: Imported, dataset: str, known: set[str]) -> dict[str, object]:
    """The row of the cohort's table; `label` -1 where the diagnosis is neither word."""
    person = _word(item, PERSON)
    if person is None:
        got = f"the columns {', '.join(item.words)}"
        raise bad_layout(item.path, "subject", f"in a column ({', '.join(PERSON)})", got)
    subject = ODD.sub("-", person)
    if how.label not in item.words:
        got = f"the columns {', '.join(item.words)}"
        raise bad_layout(item.path, "diagnosis", f"a column {how.label!r}", got)
    session = _word(item, SESSION) or ""
    run_id = f"sub-{subject}" + (f"_ses-{ODD.sub('-', session)}" if session else "")
    number = next(
        n for n in range(1, len(known) + 2) if (run_id if n == 1 else f"{run_id}_run-{n}") not in known
    )
    said = str(item.words[how.label]).strip().casefold()
    codes = {how.positive.casefold(): 1, how.negative.casefold(): 0}
    age, sex = item.words.get("age"), _word(item, ("sex", "gender"))
    return {
        "run_id": run_id if number == 1 else f"{run_id}_run-{number}",
        "participant_id": f"sub-{subject}",
        "person": person,
        "session": session,
        "site": _word(item, ("site",)) or dataset,
        "scanner": _word(item, ("scanner",)) or "unknown",
        "label": codes.get(said, -1),
        "age": float(age) if isinstance(age, int | float) else math.nan,
        "sex": sex or "n/a",
        "updrs": math.nan,
        "hoehn_yahr": math.nan,
        "medication": "n/a",
        "space": item.own.get("space", item.path.parents[1].name.split(".")[1]),
        "bold": "",
        "mask": "",
        "confounds": "",
        "tr": checked_tr(item.path, item.words["tr"]),
        "split": item.split,
        "age_bin": _word(item, ("age_bin",)) or "n/a",
    }


def _word(item: ArrowRow, names: tuple[str, ...]) -> str | None:
    """The first of these columns that says something."""
    for name in names:
        value = item.words.get(name)
        if value is not None and not is_absent(str(value).strip()):
            return str(value).strip()
    return None


def _unusable(item: ArrowRow, how: Imported, row: dict[str, object]) -> str:
    if row["label"] == -1:
        return f"{how.label} is {item.words[how.label]!r}; wanted {how.negative} or {how.positive}"
    if not all(np.isfinite(values).all() for values in (item.bold_TD, item.mean_D, item.std_D)):
        return "values that are not finite"
    return ""


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    table = table_of(rows)
    more = pd.DataFrame(rows, columns=["tr", "split", "age_bin"])
    return pd.concat([table, more], axis=1)


def _sample(item: ArrowRow) -> tuple[Floats, Floats]:
    """z-scores and standard deviation of the sample, as caches have them, from the population's."""
    wider = np.float32(math.sqrt(len(item.bold_TD) / (len(item.bold_TD) - 1)))
    return item.bold_TD.astype(np.float32) / wider, item.std_D * wider


def _into_parcels(item: ArrowRow, folder: Path, space: str) -> dict[str, Any]:
    z_FR, std_R = _sample(item)
    count = z_FR.shape[1]
    regions = tuple(item.own.get("regions", map(str, range(1, count + 1))))
    digest = item.own.get("digest") or hashlib.sha256(repr((space, regions)).encode()).hexdigest()[:16]
    if len(regions) != count:
        raise bad_layout(item.path, "regions", f"{count}", len(regions))
    parcels = Parcels(
        atlas=space,
        digest=digest,
        regions=regions,
        z_FR=z_FR,
        mean_R=item.mean_D,
        std_R=std_R,
        coverage_R=np.full(count, np.nan, dtype=np.float32),
    )
    parcels.write(folder)
    return {**NO_VOXELS, "atlases": {space: digest}}


def _into_voxels(item: ArrowRow, folder: Path, voxels: TemplateVoxels) -> dict[str, Any]:
    z_TD, std_D = _sample(item)
    if z_TD.shape[1] != voxels.count:
        raise bad_layout(item.path, "bold", f"of the mask's {voxels.count:,} voxels", f"{z_TD.shape[1]:,}")
    order_V = voxels.in_run_order
    np.save(folder / SERIES, z_TD[:, order_V].astype(np.float16))
    np.save(folder / MEAN, item.mean_D[order_V])
    np.save(folder / STD, std_D[order_V])
    np.save(folder / MASK, np.packbits(voxels.mask_XYZ))
    return {
        "shape": list(voxels.mask_XYZ.shape),
        "affine": MNI_AFFINE.tolist(),
        "precision": "float16",
        "n_voxels": voxels.count,
        "n_constant": int((std_D == 0).sum()),
        "n_nonfinite": 0,
        "atlases": {},
    }


def _content(folder: Path) -> str:
    """The files' names and sizes: what tells one folder from another that says nothing of itself."""
    files = sorted(folder.glob("*/*.arrow"))
    text = repr([(path.parent.name, path.name, path.stat().st_size) for path in files])
    return f"files {hashlib.sha256(text.encode()).hexdigest()[:16]}"
