"""`neuro simulate`: write a cohort of realistic runs with a known, planted effect, in fMRIPrep's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import Seed


def simulate(
    out: Annotated[Path, typer.Argument(help="New folder for the derivative.")],
    subjects: Annotated[int, typer.Option(help="People in all, half of them patients.")] = 40,
    sites: Annotated[int, typer.Option(help="Scanners they are spread over.")] = 2,
    effect: Annotated[
        float, typer.Option(help="Share of amplitude and coupling that patients lose, 0 to 1.")
    ] = 0.5,
    effect_amplitude: Annotated[
        float | None, typer.Option(help="Amplitude alone, instead of --effect.")
    ] = None,
    effect_coupling: Annotated[
        float | None, typer.Option(help="Coupling alone, instead of --effect.")
    ] = None,
    seed: Seed = 0,
    voxel_mm: Annotated[int, typer.Option(help="Voxel edge in mm.")] = 4,
    frames: Annotated[int, typer.Option(help="Frames a run.")] = 60,
    tr: Annotated[float, typer.Option(help="Repetition time in seconds.")] = 2.0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Write a cohort of realistic runs with a known, planted effect, in fMRIPrep's layout."""
    from rich.console import Console
    from rich.progress import track

    from data.simulation.cohort import SimulationSpec, iter_simulate

    spec = SimulationSpec(
        subjects=subjects,
        sites=sites,
        effect_amplitude=effect if effect_amplitude is None else effect_amplitude,
        effect_coupling=effect if effect_coupling is None else effect_coupling,
        seed=seed,
        voxel_mm=voxel_mm,
        frames=frames,
        tr=tr,
    )
    written = iter_simulate(out, spec, workers=workers)
    for _ in track(written, "Simulating people", total=subjects, console=Console(stderr=True)):
        pass
    print(f"{subjects} people at {sites} sites in {out}; the planted region is {out / 'planted_mask.nii.gz'}")
