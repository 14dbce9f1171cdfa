"""Photographs, captions, brain scans, cohorts: files in, arrays out. No models live here.

`from data import Cohort, Recipe, plan, prepare, Cache`, which are loaded when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.caches.cache import Cache, prepare
    from data.caches.plan import plan
    from data.cleaning.recipe import Recipe
    from data.cohorts.cohort import Cohort

__all__ = ["Cache", "Cohort", "Recipe", "plan", "prepare"]

_PLACES = {
    "Cache": "data.caches.cache",
    "Cohort": "data.cohorts.cohort",
    "Recipe": "data.cleaning.recipe",
    "plan": "data.caches.plan",
    "prepare": "data.caches.cache",
}


def __getattr__(name: str) -> object:
    # A search for pictures must not pay for pandas.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
