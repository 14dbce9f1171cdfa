"""Series that somebody else cleaned: a recipe of nothing, with an identity that mixes with no other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.cleaning.recipe import Recipe
from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class AsGiven(Recipe):
    """What stands in the place of a recipe where series came cleaned; nothing is done to them here.

    Attributes:
        given: how they were made, as far as known. Caches of one wording count as cleaned alike, and may be
            used together; others may not.

    Raises:
        ParameterError: no word of it, or a choice of cleaning.
    """

    confounds: str | tuple[str, ...] = "none"
    detrend: bool = False
    high_pass: float | None = None
    low_pass: float | None = None
    given: str = ""

    def __post_init__(self) -> None:
        if not self.given.strip():
            raise ParameterError(
                "given", must_be="some words on how the series were made", got=repr(self.given)
            )
        super().__post_init__()
        if (self.confounds, self.detrend, self.high_pass, self.low_pass) != ("none", False, None, None):
            raise ParameterError(
                "recipe of series as given",
                must_be="without choices: nothing is done to them",
                got="a choice of cleaning",
            )

    @property
    def identity(self) -> str:
        """`as-given-1a2b3c4d`, a hash of the words."""
        return f"as-given-{hashlib.sha256(self.given.strip().encode()).hexdigest()[:8]}"


def recipe_of(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from the fields that `dataclasses.asdict` gave, of either kind.

    Raises:
        TypeError: a field that neither has.
        ParameterError: a value that cannot work.
    """
    return AsGiven(**fields) if "given" in fields else Recipe(**fields)
