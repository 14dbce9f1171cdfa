"""A small simulated cohort, made once: 12 people, 2 sites, voxels of 8 mm."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.cache import Cache, prepare
from data.clean import Recipe
from data.cohort import Cohort
from data.simulate import SimulationSpec, simulate

TINY_BACKBONE = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2"


@pytest.fixture(scope="session")
def derivative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SimulationSpec(subjects=12, sites=2, voxel_mm=8, frames=48, seed=3)
    return simulate(tmp_path_factory.mktemp("simulated") / "derivative", spec)


@pytest.fixture(scope="session")
def cache(derivative: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cohort = Cohort.from_derivatives(derivative)
    return prepare(cohort, Recipe(confounds="6p"), tmp_path_factory.mktemp("cache"), progress=False)
