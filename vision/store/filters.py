"""A `Condition` -> the filter of a Qdrant: its engines in this process and over the wire share one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vision.store.dates import span
from vision.store.fields import PLACE
from vision.store.where import And, Compare, Condition, Near, Not, Operator

_BOUND: dict[Operator, str] = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def to_filter(condition: Condition | None, dialect: Any) -> Any:
    """The engine's `Filter`, or None for no condition.

    Args:
        dialect: has the engine's `Filter`, `FieldCondition`, `MatchValue`, `MatchText`, `MatchSubstring`,
            `RangeFloat`, `RangeDateTime`, `GeoRadius` and `GeoPoint`, as `qdrant_edge` does.
    """
    return None if condition is None else dialect.Filter(must=[_part(condition, dialect)])


def _part(condition: Condition, dialect: Any) -> Any:
    if isinstance(condition, Compare):
        return _compare(condition, dialect)
    if isinstance(condition, Near):
        centre = dialect.GeoPoint(lon=condition.lon, lat=condition.lat)
        radius = dialect.GeoRadius(center=centre, radius=1000.0 * condition.km)
        return dialect.FieldCondition(key=PLACE, geo_radius=radius)
    if isinstance(condition, Not):
        return dialect.Filter(must_not=[_part(condition.part, dialect)])
    parts = [_part(part, dialect) for part in condition.parts]
    return dialect.Filter(must=parts) if isinstance(condition, And) else dialect.Filter(should=parts)


def _compare(condition: Compare, dialect: Any) -> Any:
    key = condition.field.key
    if condition.operator == "is null":
        return dialect.FieldCondition(key=key, is_empty=True)
    if condition.field.kind in ("number", "time"):
        return dialect.FieldCondition(key=key, range=_RANGES[condition.field.kind](condition, dialect))
    return dialect.FieldCondition(key=key, match=_match(condition, dialect))


def _match(condition: Compare, dialect: Any) -> Any:
    if condition.operator == "contains" and condition.field.kind == "words":
        return dialect.MatchText(text=condition.value)
    if condition.operator == "contains" and condition.field.kind == "text":
        return dialect.MatchSubstring(substring=condition.value)
    return dialect.MatchValue(value=condition.value)


def _numbers(condition: Compare, dialect: Any) -> Any:
    if condition.operator == "=":  # an engine that matches whole numbers only has no `=` for others
        return dialect.RangeFloat(gte=condition.value, lte=condition.value)
    return dialect.RangeFloat(**{_BOUND[condition.operator]: condition.value})


def _times(condition: Compare, dialect: Any) -> Any:
    start, end = (time.isoformat() for time in span(str(condition.value)))
    bounds: dict[Operator, dict[str, str]] = {
        "=": {"gte": start, "lt": end},
        "<": {"lt": start},
        "<=": {"lt": end},
        ">": {"gte": end},
        ">=": {"gte": start},
    }
    return dialect.RangeDateTime(**bounds[condition.operator])


_RANGES: dict[str, Callable[[Compare, Any], Any]] = {"number": _numbers, "time": _times}
