"""Recipes: what they accept, and the identity that tells them apart."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import numpy as np
import pytest

from data.cleaning.recipe import Recipe
from data.errors import ParameterError, UnknownNameError

OPEN = {"high_pass": None, "low_pass": None}


def test_identity_is_readable_stable_and_tells_recipes_apart():
    assert Recipe().identity == "simple+detrend+0.01-0.1Hz-07b08c14"
    assert Recipe(high_pass=None).identity.startswith("simple+detrend+below0.1Hz-")
    assert Recipe(low_pass=None, confounds="6p", detrend=False).identity.startswith("6p+above0.01Hz-")
    full = Recipe(confounds="none", smooth_mm=6, drop_frames=4, **OPEN)
    assert full.identity.startswith("none+detrend+smooth6mm+drop4-")
    assert full.identity == Recipe(confounds="none", smooth_mm=6.0, drop_frames=4, **OPEN).identity
    # Numbers that print alike are still told apart.
    assert Recipe(low_pass=0.1).identity != Recipe(low_pass=0.1 + 1e-9).identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high_pass": 0}, "high_pass must be a positive number or None, got 0"),
        ({"low_pass": np.nan}, "low_pass must be"),
        ({"smooth_mm": -1}, "smooth_mm must be"),
        ({"high_pass": 0.2}, "high_pass must be below low_pass"),
        ({"drop_frames": -1}, "drop_frames must be zero or more"),
    ],
)
def test_impossible_recipes_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        Recipe(**options)


def test_an_unknown_strategy_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"one of none, 6p, .* got simpel; did you mean simple"):
        Recipe(confounds="simpel")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intensity": "percentage"}, "intensity must be one of none, grand-mean, percent, .* percent"),
        ({"precision": "int16"}, "precision must be one of float16, int8, got int16; did you mean"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(options, message):
    with pytest.raises(UnknownNameError, match=message):
        Recipe(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fd_limit_mm": 0}, "fd_limit_mm must be a positive number or None, got 0"),
        ({"voxel_mm": -2.0}, "voxel_mm must be a positive number"),
        ({"tr": np.inf}, "tr must be a positive number"),
        ({"tr": 5.0}, r"low_pass must be below 0.1 Hz, half the rate of the common TR of 5 s, got 0.1 Hz"),
        ({"tr": 60.0, "low_pass": None}, r"high_pass must be below 0.008333 Hz"),
        ({"confounds": ()}, "confounds must be a strategy or names of columns, got an empty list"),
        ({"confounds": ("csf", " ")}, "confounds must be a strategy or names of columns"),
        ({"confounds": ("csf", 3)}, "confounds must be a strategy or names of columns"),
    ],
)
def test_impossible_resampling_censoring_and_columns_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        Recipe(**options)


EVERYTHING = {
    "confounds": ("csf", "rot_*"),
    "detrend": False,
    "high_pass": 0.02,
    "low_pass": 0.09,
    "smooth_mm": 5,
    "drop_frames": 3,
    "fd_limit_mm": 0.4,
    "intensity": "percent",
    "voxel_mm": 3,
    "tr": 2,
    "precision": "int8",
}


def test_every_field_is_in_the_identity():
    """A field that the hash does not cover would let two recipes mix."""
    assert EVERYTHING.keys() == {field.name for field in fields(Recipe)}
    identities = [Recipe().identity, *(Recipe(**{key: EVERYTHING[key]}).identity for key in EVERYTHING)]
    assert len({identity.rpartition("-")[2] for identity in identities}) == len(EVERYTHING) + 1
    # ... and each can be read in it, not only in its hash.
    assert len({identity.rpartition("-")[0] for identity in identities}) == len(EVERYTHING) + 1
    assert Recipe(**EVERYTHING).identity.rpartition("-")[0] == (
        "own2+0.02-0.09Hz+smooth5mm+drop3+fd0.4mm+percent+grid3mm+tr2s+int8"
    )


def test_a_recipe_comes_back_from_json_the_same():
    recipe = Recipe(**EVERYTHING)
    again = Recipe(**json.loads(json.dumps(asdict(recipe))))
    assert again == recipe
    assert again.identity == recipe.identity


def test_the_order_and_the_spelling_of_columns_change_nothing():
    one, other = Recipe(confounds=("rot_x", "csf", "csf ")), Recipe(confounds=["csf", "rot_x"])
    assert one == other
    assert one.confounds == ("csf", "rot_x")
    assert one.identity == other.identity != Recipe(confounds=("csf", "rot_y")).identity
    assert Recipe(tr=np.float32(2), voxel_mm=3).identity == Recipe(tr=2, voxel_mm=3.0).identity
