"""Filters over the columns of `vision.retrieval.fields`: what `--where` says, as data that each store translates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision.retrieval.fields import Field

Operator = Literal["=", "<", "<=", ">", ">=", "contains", "is null"]
Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Compare:
    """One column against one value: of a list, any element may fit. "is null" takes no value."""

    field: Field
    operator: Operator
    value: Value | None = None


@dataclass(frozen=True, kw_only=True)
class Near:
    """Taken within `km` of a place, latitude and longitude in degrees."""

    lat: float
    lon: float
    km: float


@dataclass(frozen=True)
class Not:
    """What does not fit."""

    part: Condition


@dataclass(frozen=True)
class And:
    """What fits all of the parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """What fits at least one of the parts."""

    parts: tuple[Condition, ...]


Condition = Compare | Near | Not | And | Or
