"""`neuro demo`: the whole chain on a simulated cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import BackboneName, Device, Out, Seed, chosen_preset, study_config
from neuro.defaults import DEMO_EFFECT, DEMO_SUBJECTS


def demo(
    out: Out = Path("demo-out/brain"),
    subjects: Annotated[int, typer.Option(help="People to simulate at two sites.")] = DEMO_SUBJECTS,
    effect: Annotated[
        float, typer.Option(help="Planted effect, 0 to 1; 0 shows what chance looks like.")
    ] = DEMO_EFFECT,
    backbone: BackboneName = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Simulate a two-site cohort, evaluate the brain Transformer beside its rivals, write report.html."""
    from rich.console import Console

    from neuro.console import show_results
    from neuro.demo import SLICE_MODEL
    from neuro.demo import run as run_demo

    preset = chosen_preset(backbone=backbone)
    config = study_config(preset, slice_backbone=SLICE_MODEL, seed=seed, device=device)
    result = run_demo(out, subjects=subjects, effect=effect, seed=seed, config=config)
    show_results(result.study.reading, Console())
    print(f"report: {result.report}")
