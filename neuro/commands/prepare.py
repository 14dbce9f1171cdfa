"""`neuro prepare`: runs found, joined to the table of people, and cleaned once into a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data.errors import ParameterError

if TYPE_CHECKING:
    from data.caches.cache import Cache
    from data.cleaning.recipe import Recipe
    from data.cohorts.cohort import Cohort

FINDING, CLEANING, KEEPING = "What is used", "How it is cleaned", "How it is kept"


def _option(panel: str, help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def prepare(
    derivatives: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Output folders of fMRIPrep or XCP-D; several are several sites. None: --table lists files."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; not needed with --plan.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Write nothing: say what would be used, what left out, and why.")
    ] = False,
    from_npz: Annotated[
        list[str] | None,
        _option(FINDING, "Instead: parcel series cleaned by others, FILE or FILE:TR; may be repeated."),
    ] = None,
    from_arrow: Annotated[
        Path | None, _option(FINDING, "Instead: a folder of Brainmarks' layout, DATASET.SPACE.arrow.")
    ] = None,
    given: Annotated[str, _option(FINDING, "How those series were made, in words.")] = "",
    table: Annotated[
        list[Path] | None, _option(FINDING, "Table of people, or of files; may be repeated.")
    ] = None,
    label: Annotated[str, _option(FINDING, "Its column with the diagnosis.")] = "group",
    positive: Annotated[str, _option(FINDING, "The value that means patient.")] = "PD",
    negative: Annotated[str, _option(FINDING, "The value that means control.")] = "HC",
    site: Annotated[
        str | None, _option(FINDING, "The column of the site, or `session` or `dataset`.")
    ] = None,
    task: Annotated[str | None, _option(FINDING, "Only this task.")] = None,
    space: Annotated[str | None, _option(FINDING, "Only this space.")] = None,
    confounds: Annotated[
        str,
        _option(
            CLEANING,
            "none, 6p, 9p, simple, scrubbing, compcor, ica_aroma, or columns: a,b,c_*.",
        ),
    ] = "simple",
    detrend: Annotated[bool, _option(CLEANING, "Remove the linear trend.")] = True,
    high_pass: Annotated[float, _option(CLEANING, "Hz; 0 for none.")] = 0.01,
    low_pass: Annotated[float, _option(CLEANING, "Hz; 0 for none.")] = 0.1,
    smooth_mm: Annotated[float, _option(CLEANING, "Smoothing in mm (FWHM); 0 for none.")] = 0.0,
    drop_frames: Annotated[int, _option(CLEANING, "Frames dropped at the start.")] = 0,
    fd_mm: Annotated[
        float, _option(CLEANING, "Drop frames of more displacement; 0 leaves it to the strategy.")
    ] = 0.0,
    intensity: Annotated[str, _option(CLEANING, "Units kept: none, grand-mean or percent.")] = "none",
    voxel_mm: Annotated[float, _option(CLEANING, "Resample to cubes of this edge; 0 for none.")] = 0.0,
    tr: Annotated[float, _option(CLEANING, "Resample to this repetition time in seconds; 0 for none.")] = 0.0,
    precision: Annotated[str, _option(KEEPING, "float16, or int8 with a scale a voxel.")] = "float16",
    atlas: Annotated[
        list[str] | None,
        _option(KEEPING, "Also keep regions' series: a label image, or a name (aal); may be repeated."),
    ] = None,
    skip_bad: Annotated[bool, _option(KEEPING, "List runs that cannot be used instead of stopping.")] = False,
    workers: Annotated[int, _option(KEEPING, "Processes; -1 for every core.")] = 1,
) -> None:
    """Clean every run once into a memory-mapped cache, with its quality measured beside it.

    With --plan nothing is written: what would be used, and what left out and why, is shown as a table.
    """
    from data.cleaning.recipe import Recipe

    if out is None and not plan:
        raise ParameterError("--out", must_be="a folder to write", got="none", do="name it, or give --plan")
    if from_npz or from_arrow:
        if out is None or plan or derivatives or (from_npz and from_arrow):
            raise ParameterError(
                "--from-npz and --from-arrow",
                must_be="alone, with --out",
                got="other sources or --plan",
                do="prepare each into a folder of its own",
            )
        _say(_as_given(from_npz, from_arrow, out, given, label, positive, negative), out)
        return
    recipe = Recipe(
        confounds=_columns(confounds),
        detrend=detrend,
        high_pass=high_pass or None,
        low_pass=low_pass or None,
        smooth_mm=smooth_mm or None,
        drop_frames=drop_frames,
        fd_limit_mm=fd_mm or None,
        intensity=intensity,
        voxel_mm=voxel_mm or None,
        tr=tr or None,
        precision=precision,
    )
    cohort = _cohort(
        derivatives or [],
        table or [],
        task=task,
        label=label,
        positive=positive,
        negative=negative,
        site=site,
        space=space,
    )
    if plan or out is None:
        _show_plan(cohort, recipe)
        return
    _say(_prepare(cohort, recipe, out, atlas or [], skip_bad, workers), out)


def _columns(confounds: str) -> str | tuple[str, ...]:
    """A strategy's name, or the columns that commas and wildcards make of it."""
    names = tuple(name.strip() for name in confounds.split(",") if name.strip())
    return names if "," in confounds or "*" in confounds else confounds


def _cohort(derivatives: list[Path], tables: list[Path], *, task: str | None, **wanted: Any) -> Cohort:
    from data.cohorts.cohort import Cohort

    if derivatives:
        return Cohort.from_derivatives(derivatives, table=tables or None, task=task, **wanted)
    if len(tables) != 1:
        raise ParameterError(
            "DERIVATIVES",
            must_be="folders, or one --table that lists files",
            got=f"no folder and {len(tables)} tables",
            do="give fMRIPrep's output, or a table with the columns participant_id and bold",
        )
    if task is not None:
        raise ParameterError("--task", must_be="left out with a table of files", got=task)
    return Cohort.from_table(tables[0], **wanted)


def _show_plan(cohort: Cohort, recipe: Recipe) -> None:
    from rich.console import Console

    from data.caches.plan import plan
    from neuro.console import show_plan

    show_plan(plan(cohort, recipe), Console())


def _prepare(
    cohort: Cohort, recipe: Recipe, out: Path, atlases: list[str], skip_bad: bool, workers: int
) -> Cache:
    from data.caches.cache import prepare as prepare_cache

    on_error: Literal["raise", "exclude"] = "exclude" if skip_bad else "raise"
    return prepare_cache(cohort, recipe, out, on_error=on_error, workers=workers, atlases=atlases)


def _as_given(files: list[str] | None, folder: Path | None, out: Path, given: str, *words: str) -> Cache:
    """Series that somebody else cleaned, as a cache."""
    if folder is not None:
        from data.exchange.arrow_import import Imported, import_arrow

        label, positive, negative = words
        how = Imported(
            label="dx" if label == "group" else label, positive=positive, negative=negative, given=given
        )
        return import_arrow(folder, out, how)
    from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels

    paths, times = _files_and_times(files or [])
    return prepare_parcels(ParcelCohort.from_npz(paths, tr=times), out, given=given)


def _files_and_times(named: list[str]) -> tuple[list[Path], dict[str, float]]:
    """FILE or FILE:TR -> the files, and the repetition times that are given, by the file's name."""
    paths, times = list[Path](), dict[str, float]()
    for one in named:
        name, colon, tr = one.rpartition(":")
        if not colon or tr.endswith(".npz"):
            paths.append(Path(one))
            continue
        paths.append(Path(name))
        try:
            times[Path(name).stem] = float(tr)
        except ValueError:
            raise ParameterError(
                "--from-npz", must_be="FILE or FILE:TR with TR in seconds", got=one, do="write taowu.npz:2"
            ) from None
    return paths, times


def _say(cache: Cache, out: Path) -> None:
    print(f"{len(cache)} runs in {out}, {len(cache.excluded)} left out; cleaned by {cache.identity}")
    for what, why in cache.excluded:
        print(f"  left out {what}: {why}")
