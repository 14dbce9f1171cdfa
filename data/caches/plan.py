"""What preparing a cohort would do: cohort + recipe -> a row for everything found, with a verdict and why.

Headers, masks and confounds are opened and the recipe is fitted to each run as `data.caches.cache.prepare`
does it; voxels are read only where a mask must be computed. Letters: T frames, V in-mask voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.cleaning.opened_run import fitted, require_memory, require_undoubled
from data.cleaning.operator import freedom, output_tr
from data.cleaning.recipe import Recipe
from data.cleaning.resample import Grid, grid_in_mm, resampled_mask
from data.cohorts.cohort import Cohort
from data.errors import ChiasmError
from data.scans.bids import RunFiles
from data.scans.bold import BoldRun
from data.scans.epi_mask import brain_mask
from data.scans.nifti import Affine, geometry_notes
from data.writing import write_whole

USE, LEAVE_OUT = "use", "leave out"
COLUMNS = (
    "what",
    "verdict",
    "why",
    "notes",
    "participant_id",
    "person",
    "session",
    "site",
    "label",
    "space",
    "frames",
    "kept",
    "tr",
    "voxel_mm",
    "voxels",
    "freedom",
    "bold",
)
OF_COHORT = ("participant_id", "person", "session", "site", "label", "space")
NUMBERS = ("frames", "kept", "tr", "voxels", "freedom")
SHORT = ("what", "verdict", "site", "label", "frames", "tr", "voxel_mm", "space", "why")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be used, what would be left out, and why; made by `plan`.

    Attributes:
        table: one row for each run, file or subject that was found: `what`; `verdict` ("use" or "leave
            out"); `why` (of what is left out); `notes` (sentences); `participant_id`, `person`, `session`,
            `site`, `label`, `space`; `frames` T and those `kept`; `tr` in seconds; `voxel_mm`; in-mask
            `voxels` V; `freedom`, the degrees of freedom that cleaning leaves; `bold`.
        identity: of the recipe.
        notes: on the tables, one sentence each.
    """

    table: pd.DataFrame
    identity: str
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> pd.DataFrame:
        """The rows that would be used."""
        return self.table[self.table["verdict"] == USE].reset_index(drop=True)

    @property
    def left_out(self) -> pd.DataFrame:
        """The rows that would be left out."""
        return self.table[self.table["verdict"] == LEAVE_OUT].reset_index(drop=True)

    @property
    def short(self) -> pd.DataFrame:
        """The table as a terminal has room for it: fewer columns, all words, empty where there is nothing."""
        words = self.table[list(SHORT)].astype(object).where(self.table[list(SHORT)].notna(), "")
        words["frames"] = [str(int(n)) if n != "" else "" for n in words["frames"]]
        words["tr"] = [f"{tr:g}" if tr != "" else "" for tr in words["tr"]]
        words["label"] = words["label"].astype(str)
        left_out = self.table["verdict"] == LEAVE_OUT
        words["why"] = self.table["why"].where(left_out, self.table["notes"])
        return words.rename(columns={"why": "why, or notes"})

    def summary(self) -> str:
        """One sentence: how many runs of how many people, and how many things are left out."""
        used = self.used
        return (
            f"would use {_counted(len(used), 'run')} of {_counted(used['person'].nunique(), 'person')} from"
            f" {_counted(used['site'].nunique(), 'site')} and leave out {len(self.left_out)};"
            f" cleaning {self.identity}"
        )

    def to_tsv(self, path: str | Path) -> Path:
        """Write the table, whole or not at all."""
        return write_whole(path, self.table.to_csv(sep="\t", index=False, na_rep="n/a"))


def plan(cohort: Cohort, recipe: Recipe) -> Plan:
    """Say what preparing a cohort with a recipe would do; nothing is written.

    A run that cannot be opened, or that the recipe does not fit, is left out with the reason.
    """
    rows = [*_run_rows(cohort, recipe), *(_left_out(what, why) for what, why in cohort.excluded)]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(NUMBERS, float))
    words = [name for name in COLUMNS if name not in NUMBERS]
    table[words] = table[words].astype(object).where(table[words].notna(), "")
    return Plan(table=table, identity=recipe.identity, notes=_notes(cohort, recipe, table))


def _run_rows(cohort: Cohort, recipe: Recipe) -> Iterator[dict[str, Any]]:
    known = cohort.table[list(OF_COHORT)].to_dict("records")
    for files, of_cohort in zip(cohort.runs, known, strict=True):
        row = {"what": files.run_id, "bold": str(files.bold), **{str(k): v for k, v in of_cohort.items()}}
        row["notes"] = "; ".join(files.notes)
        try:
            require_undoubled(files, recipe)
            run = BoldRun.of(files)
            row |= _header(files, run)
            row |= {"verdict": USE, **_fit(files, run, recipe)}
            row["notes"] = "; ".join(filter(None, [row["notes"], *_recipe_notes(files, row, recipe)]))
        except ChiasmError as error:
            row |= {"verdict": LEAVE_OUT, "why": str(error)}
        yield row


def _left_out(what: str, why: str) -> dict[str, Any]:
    return {"what": what, "verdict": LEAVE_OUT, "why": why}


def _header(files: RunFiles, run: BoldRun) -> dict[str, Any]:
    """What the header tells."""
    return {
        "notes": "; ".join([*files.notes, *run.notes, *geometry_notes(run.shape, run.affine)]),
        "frames": run.n_frames,
        "tr": run.tr,
        "voxel_mm": _edges(run.shape, run.affine),
    }


def _fit(files: RunFiles, run: BoldRun, recipe: Recipe) -> dict[str, Any]:
    """What is left of the run after cleaning.

    Raises:
        BadFileError: its confounds or its mask cannot be used.
        ParameterError: the recipe does not fit it.
    """
    operator_FT = fitted(run, recipe).operator_FT
    mask_XYZ = brain_mask(run, files)
    if recipe.voxel_mm is not None:
        source = Grid(shape=run.shape[:3], affine=run.affine)
        mask_XYZ = resampled_mask(mask_XYZ, source, grid_in_mm(source, recipe.voxel_mm, files.space))
    voxels = int(mask_XYZ.sum())
    require_memory(files, run.n_frames * voxels * 4)
    return {
        "kept": operator_FT.shape[0],
        "voxels": voxels,
        "freedom": round(freedom(operator_FT, output_tr(run.tr, recipe) / run.tr), 1),
    }


def _edges(shape: tuple[int, int, int, int], affine: Affine) -> str:
    """Edges of a voxel in words: `2` or `3 x 3 x 4`."""
    edges = [f"{edge:.3g}" for edge in Grid(shape=shape[:3], affine=affine).voxel_mm]
    return edges[0] if len(set(edges)) == 1 else " x ".join(edges)


def _recipe_notes(files: RunFiles, row: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    if files.denoised and (recipe.high_pass or recipe.low_pass):
        yield (
            f"already denoised (desc-{files.desc}), and probably filtered: without a band here"
            " (--high-pass 0 --low-pass 0) nothing is done twice"
        )
    if recipe.tr is None and row["kept"] < row["frames"]:
        yield f"{row['frames'] - row['kept']} frames are dropped (non-steady at the start, or motion)"


def _notes(cohort: Cohort, recipe: Recipe, table: pd.DataFrame) -> tuple[str, ...]:
    """On the tables, and on what differs between runs that go into one cache."""
    used = table[table["verdict"] == USE]
    notes = list(cohort.notes)
    trs = sorted({round(tr, 3) for tr in used["tr"]})
    if len(trs) > 1 and recipe.tr is None:
        notes.append(f"repetition times differ ({_listed(trs)} s): a common one is set with --tr")
    sizes = sorted(set(used["voxel_mm"]))
    if len(sizes) > 1 and recipe.voxel_mm is None:
        notes.append(f"voxel sizes differ ({_listed(sizes)} mm): a common grid is set with --voxel-mm")
    return tuple(notes)


def _counted(count: int, noun: str) -> str:
    plural = {"person": "people"}.get(noun, f"{noun}s")
    return f"{count} {noun if count == 1 else plural}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
