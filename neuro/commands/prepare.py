"""`neuro prepare`: clean every run once into a memory-mapped cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import Out


def prepare(
    derivatives: Annotated[Path, typer.Argument(help="fMRIPrep's output folder.")],
    out: Out,
    table: Annotated[Path | None, typer.Option(help="Participants table, if it is elsewhere.")] = None,
    label: Annotated[str, typer.Option(help="Its column with the diagnosis.")] = "group",
    positive: Annotated[str, typer.Option(help="The value that means patient.")] = "PD",
    negative: Annotated[str, typer.Option(help="The value that means control.")] = "HC",
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    space: Annotated[str | None, typer.Option(help="Only this space.")] = None,
    confounds: Annotated[str, typer.Option(help="none, 6p, 9p, simple, scrubbing or compcor.")] = "simple",
    high_pass: Annotated[float, typer.Option(help="Hz; 0 for none.")] = 0.01,
    low_pass: Annotated[float, typer.Option(help="Hz; 0 for none.")] = 0.1,
    smooth_mm: Annotated[float, typer.Option(help="Smoothing in mm (FWHM); 0 for none.")] = 0.0,
    skip_bad: Annotated[
        bool, typer.Option(help="List runs that cannot be used instead of stopping.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Clean every run once into a memory-mapped cache."""
    from data.cache import prepare as prepare_cache
    from data.cohort import Cohort
    from data.recipe import Recipe

    recipe = Recipe(
        confounds=confounds,
        high_pass=high_pass or None,
        low_pass=low_pass or None,
        smooth_mm=smooth_mm or None,
    )
    cohort = Cohort.from_derivatives(
        derivatives, table=table, label=label, positive=positive, negative=negative, task=task, space=space
    )
    cache = prepare_cache(cohort, recipe, out, on_error="exclude" if skip_bad else "raise", workers=workers)
    print(f"{len(cache)} runs in {out}, {len(cache.excluded)} left out; cleaned by {cache.identity}")
    for what, why in cache.excluded:
        print(f"  left out {what}: {why}")
