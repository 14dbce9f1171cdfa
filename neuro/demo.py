"""The brain half of the demo: simulate a two-site cohort, prepare it, evaluate, report."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from data.caches.cache import prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, holds, iter_simulate
from neuro.conduct import Occasion, Study, conduct
from neuro.defaults import DEMO_EFFECT, DEMO_SUBJECTS
from neuro.protocol.plan import PlanConfig
from neuro.study import StudyConfig

SLICE_MODEL = "embedded:lite"  # where the picture half has loaded it, this is the same instance
# Sixty frames leave few degrees of freedom: six motion parameters are what such a run can pay for.
DEMO_RECIPE = Recipe(confounds="6p")
WORKERS = 2
DEMO_PLAN = PlanConfig(repeats=1, inner=2)  # and no tangent space: for two cores and a minute or two


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Where the demo put things, and what it found."""

    derivative: Path
    cache: Path
    report: Path
    study: Study


def run(
    out: str | Path,
    *,
    subjects: int = DEMO_SUBJECTS,
    effect: float = DEMO_EFFECT,
    seed: int = 0,
    config: StudyConfig | None = None,
) -> DemoResult:
    """Simulate, prepare, evaluate and report under `out`, reusing what an earlier demo left there.

    Args:
        out: folder of the demo.
        subjects: people to simulate at two sites.
        effect: share of amplitude and coupling that patients lose in the posterior putamen; 0 for none.
        seed: of the simulation, the folds and the training.
        config: of the study; by default small enough for two cores, with `embedded:lite` looking at slices.
    """
    spec = SimulationSpec(subjects=subjects, effect_amplitude=effect, effect_coupling=effect, seed=seed)
    config = config or StudyConfig(slice_backbone=SLICE_MODEL, seed=seed)
    folder = Path(out) / f"{subjects}-people-effect-{effect:g}-seed-{seed}"
    derivative, cache_folder = folder / "derivative", folder / "cache"
    console = Console(stderr=True)
    if not holds(derivative, spec):
        shutil.rmtree(folder, ignore_errors=True)  # another version of the simulation: its runs are no use
        runs = iter_simulate(derivative, spec, workers=WORKERS)
        for _ in track(runs, "Simulating people", total=subjects, console=console):
            pass
    cache = prepare(Cohort.from_derivatives(derivative), DEMO_RECIPE, cache_folder)
    command = f"neuro demo --subjects {subjects} --effect {effect:g} --seed {seed}"
    occasion = Occasion(
        command=command,
        remark=_remark(effect),
        planted=derivative / "planted_mask.nii.gz" if effect else None,
    )
    study = conduct(cache, replace(config, plan=replace(DEMO_PLAN, seed=seed), tangent=False), out, occasion)
    return DemoResult(
        derivative=derivative, cache=cache_folder, report=Path(out) / "report.html", study=study
    )


def _remark(effect: float) -> str:
    if not effect:
        return "Simulated, with no effect: whatever tells these groups apart is chance."
    return f"Simulated: patients lose {effect:.0%} of amplitude and coupling in the posterior putamen."
