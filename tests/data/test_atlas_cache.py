"""A named atlas through `prepare`: refused outside MNI space, and beside the voxels within it."""

from __future__ import annotations

import numpy as np
import pytest

from data.caches.cache import prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import ParameterError

RECIPE = Recipe(confounds="6p")


def test_a_named_atlas_is_prepared_by_its_name(derivative, tmp_path) -> None:
    cache = prepare(Cohort.from_derivatives(derivative), RECIPE, tmp_path / "cache", False, atlases=["aal"])
    assert cache.atlases == ("aal",)
    parcels = cache.parcels(0, "aal")
    assert parcels.z_FR.shape == (cache.run(0).n_frames, 120)
    covered = parcels.coverage_R > 0
    assert 0 < covered.sum() < 120  # the field of view of the fixture is small
    assert (parcels.z_FR.std(axis=0) > 0)[covered].all()
    assert not parcels.z_FR[:, ~covered].any()
    assert np.isfinite(parcels.coverage_R).all()


def test_and_refused_on_runs_of_another_space(derivative, tmp_path) -> None:
    cohort = Cohort.from_derivatives(derivative)
    cohort.table["space"] = "T1w"
    with pytest.raises(ParameterError, match="atlas aal must be used on runs in MNI space, got runs in T1w"):
        prepare(cohort, RECIPE, tmp_path / "cache", False, atlases=["aal"])
    assert not (tmp_path / "cache").exists()
