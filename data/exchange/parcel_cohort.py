"""Published parcel series as a cohort and a cache without voxels: .npz -> runs/<run_id>/{run.json, parcels/}.

What came cleaned is not cleaned again: its identity says "as given", and mixes with no recipe. Series are
z-scored once more (sample standard deviation), and mean and standard deviation kept.
Letters: N runs, T frames, R regions.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.caches.cache_files import RUNS
from data.cleaning.as_given import AsGiven
from data.cohorts.cohort_rows import table_of
from data.digest import sha256
from data.errors import BadFileError, ParameterError
from data.exchange.given_cache import NO_VOXELS, UNKNOWN, Excluded, finish_cache
from data.exchange.parcel_file import ParcelFile, checked_tr, read_parcel_file
from data.parcels.series import Parcels
from data.writing import disk_told, whole_folder

Floats = NDArray[np.float32]

SPACE = "parcels"


@dataclass(frozen=True, kw_only=True, eq=False)
class ParcelCohort:
    """Runs of parcel series with what is known of their people; make one with `from_npz`.

    Attributes:
        files: one a site.
        table: one row a run, the columns of `Cohort.table` and `tr` in seconds; files in the order given,
            rows in that of the file. `site` is the file's name without its ending.
        atlases: names of the atlases that every file has.
        excluded: (what, why) for atlases that some file lacks.
    """

    files: tuple[ParcelFile, ...]
    table: pd.DataFrame
    atlases: tuple[str, ...]
    excluded: Excluded

    @classmethod
    def from_npz(
        cls, paths: Sequence[str | Path], *, tr: float | Mapping[str, float] | None = None
    ) -> ParcelCohort:
        """Read what the files say (see `data.exchange.parcel_file` for their arrays).

        A subject that stands in two files is one person, in whatever file the name stands.

        Args:
            paths: .npz files, one a site.
            tr: seconds, of all files or by site; needed for files that do not say it (an array `tr`, or
                `RepetitionTime` in a .json of the same name). It is never guessed.

        Raises:
            BadFileError: a file cannot be used, a person has two diagnoses, or regions differ between files.
            ParameterError: no file, two files of one name, a TR that nobody states, or no common atlas.
        """
        files = tuple(read_parcel_file(path) for path in paths)
        sites = [file.site for file in files]
        if not files or len(set(sites)) < len(sites):
            got = ", ".join(sites) or "none"
            raise ParameterError("files", must_be="one or more, of different names", got=got)
        times = _times(files, tr)
        rows = [row for file in files for row in _rows(file)]
        table = table_of(rows)
        table["tr"] = [times[site] for site in table["site"]]
        atlases, excluded = _common_atlases(files)
        return cls(files=files, table=table, atlases=atlases, excluded=excluded)

    def __len__(self) -> int:
        return len(self.table)


def prepare_parcels(cohort: ParcelCohort, out: str | Path, *, given: str = "") -> Cache:
    """Write a cohort of parcel series as a cache: the folder appears whole or not at all.

    Args:
        cohort: from `ParcelCohort.from_npz`.
        out: a new or empty folder.
        given: how the series were made, in words, which become the identity: caches of one wording may be
            used together. By default the files themselves, by their content.

    Raises:
        ParameterError: `out` holds something.
        BadFileError: no run can be used.
        DiskError: the folder cannot be written.
    """
    recipe = AsGiven(given=given or _contents(cohort))
    with disk_told(out), whole_folder(out) as draft:
        facts, unusable = _write_runs(cohort, draft / RUNS)
        finish_cache(draft, recipe, cohort.table, facts, [*cohort.excluded, *unusable])
    return Cache.open(out)


def _times(files: Sequence[ParcelFile], tr: float | Mapping[str, float] | None) -> dict[str, float]:
    stated = dict(tr) if isinstance(tr, Mapping) else {}
    strangers = sorted(set(stated) - {file.site for file in files})
    if strangers:
        known = ", ".join(file.site for file in files)
        raise ParameterError("tr", must_be=f"of {known}", got=f"one of {', '.join(strangers)}")
    found = {}
    for file in files:
        value = stated.get(file.site, tr if isinstance(tr, int | float) else file.tr)
        if value is None:
            raise ParameterError(
                "tr",
                must_be=f"stated for {file.path.name}, which does not say it",
                got="nothing",
                do="give the published one, in seconds",
            )
        found[file.site] = checked_tr(file.path, value)
    return found


def _rows(file: ParcelFile) -> list[dict[str, object]]:
    ages = file.facts.get("age", np.full(len(file.subjects), np.nan))
    sexes = file.facts.get("sex", np.full(len(file.subjects), "n/a"))
    people = file.facts.get("person", np.array(file.subjects))
    return [
        {
            "run_id": f"sub-{subject}_site-{file.site}",
            "participant_id": f"sub-{subject}",
            "person": str(person),
            "session": "",
            "site": file.site,
            "scanner": "unknown",
            "label": int(label),
            "age": age,
            "sex": str(sex).strip() or "n/a",
            "updrs": np.nan,
            "hoehn_yahr": np.nan,
            "medication": "n/a",
            "space": SPACE,
            "bold": "",
            "mask": "",
            "confounds": "",
        }
        for subject, label, age, sex, person in zip(
            file.subjects, file.labels, ages, sexes, people, strict=True
        )
    ]


def _common_atlases(files: Sequence[ParcelFile]) -> tuple[tuple[str, ...], Excluded]:
    common = [name for name in files[0].regions if all(name in file.regions for file in files)]
    every = dict.fromkeys(name for file in files for name in file.regions)
    excluded = [(name, "an atlas that not every file has") for name in every if name not in common]
    if not common:
        each = "; ".join(f"{file.site}: {', '.join(file.regions)}" for file in files)
        raise ParameterError("files", must_be="of at least one common atlas", got=each)
    for name in common:
        for file in files[1:]:
            if file.regions[name] != files[0].regions[name]:
                counts = f"{len(file.regions[name])} and {len(files[0].regions[name])}"
                raise BadFileError(
                    f"regions of {name}",
                    must_be=f"those of {files[0].path.name}",
                    got=f"others ({counts} regions)",
                    do="name atlases that differ differently",
                    path=file.path,
                )
    return tuple(common), excluded


def _contents(cohort: ParcelCohort) -> str:
    named = sorted(f"{file.path.name} ({sha256(file.path)[:16]})" for file in cohort.files)
    return f"as given in {', '.join(named)}"


def _write_runs(cohort: ParcelCohort, folder: Path) -> tuple[dict[str, dict[str, Any]], Excluded]:
    """Facts of each run that was written, and why others were not; an atlas of a file is read at a time."""
    unusable: dict[str, str] = {}
    for file in cohort.files:
        ids = cohort.table.loc[cohort.table["site"] == file.site, "run_id"].tolist()
        for atlas in cohort.atlases:
            digest = _digest(atlas, file.regions[atlas])
            for run_id, series_TR in zip(ids, file.series(atlas), strict=True):
                if not np.isfinite(series_TR).all():
                    unusable.setdefault(run_id, f"values of {atlas} that are not finite")
                    continue
                run_folder = folder / run_id
                run_folder.mkdir(parents=True, exist_ok=True)
                _scored(series_TR, atlas, digest, file.regions[atlas]).write(run_folder)
    facts = {}
    for run_id, site, tr in cohort.table[["run_id", "site", "tr"]].itertuples(index=False, name=None):
        if run_id in unusable:
            shutil.rmtree(folder / run_id, ignore_errors=True)
        else:
            facts[run_id] = _facts(cohort, site, tr)
    return facts, sorted(unusable.items())


def _scored(series_TR: Floats, atlas: str, digest: str, regions: tuple[str, ...]) -> Parcels:
    mean_R, std_R = series_TR.mean(0, dtype=np.float64), series_TR.std(0, ddof=1, dtype=np.float64)
    std_R[std_R <= 1e-6 * np.abs(mean_R)] = 0  # a constant, but for rounding
    z_TR = np.divide(series_TR - mean_R, std_R, out=np.zeros(series_TR.shape), where=std_R > 0)
    return Parcels(
        atlas=atlas,
        digest=digest,
        regions=regions,
        z_FR=z_TR.astype(np.float32),
        mean_R=mean_R.astype(np.float32),
        std_R=std_R.astype(np.float32),
        coverage_R=np.full(len(regions), np.nan, dtype=np.float32),
    )


def _facts(cohort: ParcelCohort, site: str, tr: float) -> dict[str, Any]:
    file = next(file for file in cohort.files if file.site == site)
    digests = {atlas: _digest(atlas, file.regions[atlas]) for atlas in cohort.atlases}
    frames = max(file.n_frames[atlas] for atlas in cohort.atlases)
    return {**NO_VOXELS, **UNKNOWN, "tr": tr, "n_frames": frames, "atlases": digests}


def _digest(atlas: str, regions: tuple[str, ...]) -> str:
    """Of names alone, since no image of the atlas is there."""
    return hashlib.sha256(repr((atlas, regions)).encode()).hexdigest()[:16]
