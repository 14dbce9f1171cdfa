"""Cohorts of known truth for `benchmarks.verdicts`, the models that judge them, and what is told of each."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.demo import DEMO_PLAN, DEMO_RECIPE
from neuro.model import ModelConfig
from neuro.protocol.contenders import CONNECTIVITY, TRANSFORMER, contenders
from neuro.protocol.evaluation import evaluate
from neuro.protocol.plan import draw_plan
from neuro.protocol.results import results_of
from neuro.protocol.roster import Roster
from neuro.protocol.settling import HowCalibrated
from neuro.report.findings import Findings, find
from neuro.study import StudyConfig
from neuro.tokens import TubeletSpec
from neuro.training.config import Adaptation, TrainingConfig

SUBJECTS = 80
SHARE = 0.75  # of patients at the first site, where sites tell labels
SCENARIOS = ("planted", "null", "motion", "site")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What judges cohorts.

    Attributes:
        config: of the study.
        voxel_mm: of the cohorts.
        told: what it is.
        scenarios: those that it is asked.
    """

    config: StudyConfig
    voxel_mm: int
    told: str
    scenarios: tuple[str, ...]


# The first is affordable eighty times on two cores; the others are what `neuro evaluate` trains by default.
JUDGES = {
    "frozen": Judge(
        config=StudyConfig(
            model=ModelConfig(readout="places"),
            tokens=TubeletSpec(patch_mm=24.0),
            training=TrainingConfig(adaptation=Adaptation(method="svm")),
        ),
        voxel_mm=8,
        told="Encoder frozen at its random start, linear SVM over all tokens, cubes of 24 mm; 8 mm voxels",
        scenarios=SCENARIOS,
    ),
    "default": Judge(
        config=StudyConfig(),
        voxel_mm=4,
        told="Preset `small`, trained from scratch for 8 epochs, cubes of 16 mm; 4 mm voxels, as in the demo",
        scenarios=SCENARIOS[:2],
    ),
    "default-8mm": Judge(
        config=StudyConfig(),
        voxel_mm=8,
        told="Preset `small`, trained from scratch for 8 epochs, cubes of 16 mm; 8 mm voxels",
        scenarios=SCENARIOS[:2],
    ),
}


def cohort(folder: Path, seed: int, effect: float, voxel_mm: int) -> Cache:
    """A simulated cohort, cleaned; the simulation itself is not kept."""
    spec = SimulationSpec(
        subjects=SUBJECTS, voxel_mm=voxel_mm, effect_amplitude=effect, effect_coupling=effect, seed=seed
    )
    derivative = simulate(folder / "derivative", spec)
    cache = prepare(Cohort.from_derivatives(derivative), DEMO_RECIPE, folder / "cache", progress=False)
    shutil.rmtree(derivative)
    return cache


def relabelled(cache: Cache, scenario: str, seed: int) -> Cache:
    """The same scans, with labels that follow head motion or the site: for a cohort without any effect."""
    if scenario not in ("motion", "site"):
        return cache
    rng = np.random.default_rng([seed, SCENARIOS.index(scenario)])
    site_N, labels_N = cache.table["site"].to_numpy(), np.zeros(len(cache), dtype=np.int64)
    motion_N = np.log(cache.table["fd_mean"].to_numpy(float))
    for number, site in enumerate(np.unique(site_N)):
        here = np.flatnonzero(site_N == site)
        leaning = rng.standard_normal(len(here))
        share = 0.5
        if scenario == "motion":  # as much by motion as by lot
            leaning += (motion_N[here] - motion_N[here].mean()) / motion_N[here].std()
        else:
            share = SHARE if number == 0 else 1 - SHARE
        labels_N[here[np.argsort(leaning)[::-1][: round(share * len(here))]]] = 1
    return replace(cache, table=cache.table.assign(label=labels_N))


def judged(cache: Cache, config: StudyConfig, seed: int) -> dict[str, Any]:
    """Evaluate a cohort and tell what was found of the first contender."""
    began = time.process_time()
    config = replace(config, seed=seed, device="cpu", tangent=False, plan=replace(DEMO_PLAN, seed=seed))
    roster, how = Roster.of(cache), HowCalibrated()
    plan = draw_plan(roster, config.plan)
    rivals = [
        one
        for one in contenders(cache, config, plan)
        if one.name in (TRANSFORMER, CONNECTIVITY) or not one.sees_scans
    ]
    evaluation = evaluate(rivals, roster, plan, how=how)
    results = results_of(evaluation, cache.table, {"coverage": how.coverage})
    return _told(find(results)) | {
        "across_auc": evaluation.named(TRANSFORMER).figures_across["auc"].estimate,
        "cpu_seconds": time.process_time() - began,
    }


def _told(found: Findings) -> dict[str, Any]:
    """What is counted, and what it came of."""
    chance, coverage, beyond = found.verdict.chance, found.coverage, found.beyond
    assert coverage is not None
    return {
        "headline": found.verdict.headline,
        "auc": asdict(chance.auc),
        "chance": chance.answer,
        "p_chance": chance.p_value,
        "comparisons": [
            {
                "kind": one.kind,
                "against": one.against,
                "auc": one.auc.estimate,
                "difference": asdict(one.difference.interval),
                "p_corrected": one.p_corrected,
                "answer": one.answer,
            }
            for one in found.verdict.comparisons
        ],
        "beyond": {"p": beyond.p, "holds": beyond.holds, "residual_auc": asdict(beyond.residual_auc)},
        "groups": {
            kind: [one.words for one in found.notices if one.kind == kind] for kind in ("differs", "unsure")
        },
        "coverage": {"found": asdict(coverage.found), "asked": coverage.asked, "one": coverage.one},
        "calibration": {
            "error": asdict(found.reliability.error),
            "p_calibrated": found.reliability.p_calibrated,
        },
    }
