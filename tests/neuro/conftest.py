"""A small simulated cohort, made once: 12 people, 2 sites, voxels of 8 mm; and a model trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import save_run
from neuro.model import ModelConfig
from neuro.protocol.plan import PlanConfig
from neuro.study import StudyConfig, cut_runs, labels_and_people
from neuro.tokens import RunTokens
from neuro.training.config import OptimizerConfig, TrainingConfig

TINY_BACKBONE = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2"


@pytest.fixture(scope="session")
def derivative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SimulationSpec(subjects=12, sites=2, voxel_mm=8, frames=48, seed=3)
    return simulate(tmp_path_factory.mktemp("simulated") / "derivative", spec)


@pytest.fixture(scope="session")
def cache(derivative: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cohort = Cohort.from_derivatives(derivative)
    return prepare(cohort, Recipe(confounds="6p"), tmp_path_factory.mktemp("cache"), progress=False)


@pytest.fixture(scope="session")
def study() -> StudyConfig:
    return StudyConfig(
        model=ModelConfig(backbone=TINY_BACKBONE),
        training=TrainingConfig(epochs=2, optimizer=OptimizerConfig(learning_rate=1e-2)),
        plan=PlanConfig(folds=2, repeats=1, inner=2),
        tangent=False,
        device="cpu",
    )


@pytest.fixture(scope="session")
def tokens(cache: Cache, study: StudyConfig) -> list[RunTokens]:
    return cut_runs(cache, study.tokens)


@pytest.fixture(scope="session")
def fitted(cache: Cache, study: StudyConfig, tokens: list[RunTokens]) -> ParkinsonClassifier:
    return study.classifier().fit(tokens, labels_and_people(cache)[0])


@pytest.fixture(scope="session")
def run_folder(fitted: ParkinsonClassifier, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(fitted, cache, tmp_path_factory.mktemp("trained") / "run")
