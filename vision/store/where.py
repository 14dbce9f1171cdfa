"""Filters over the columns of `vision.store.fields`, as data that each store translates, and as text.

    taken_at > '2024-01-01' and width > 1000
    not tags contains 'people' or near(52.5, 13.4, 20) and caption contains 'dog'

What a row lacks, no comparison fits, `!=` and `not in` neither: `width != 100` is for rows that have another
width. `not` alone turns round whatever follows: `not width = 100` fits rows without a width too.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from data.errors import ParameterError
from vision.store.dates import span
from vision.store.fields import FIELDS, Field, Kind

Operator = Literal["=", "<", "<=", ">", ">=", "contains", "is null"]
Value = str | int | float

OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    "number": ("=", "<", "<=", ">", ">=", "is null"),
    "time": ("=", "<", "<=", ">", ">=", "is null"),
    "text": ("=", "contains", "is null"),
    "word": ("=", "contains", "is null"),
    "words": ("contains", "is null"),
}


@dataclass(frozen=True, kw_only=True)
class Compare:
    """One column against one value: of a list, any element may fit. "is null" takes no value.

    "contains" is for a part of a text (as written, capitals matter), for an element of a list of words, and
    for whole words of a caption, all of which must be there, in any order.
    A date of less precision is a span of time: "=" within it, "<" before it, ">" after its end.

    Raises:
        ParameterError: the column cannot be compared so, or not with such a value.
    """

    field: Field
    operator: Operator
    value: Value | None = None

    def __post_init__(self) -> None:
        allowed = OPERATORS[self.field.kind]
        if self.operator not in allowed:
            must_be = f"one of {', '.join(allowed)} for {self.field.key}"
            raise ParameterError("comparison", must_be=must_be, got=self.operator)
        if wrong := _why_not(self):
            must_be = f"{wrong} for {self.field.key}"
            raise ParameterError("value of a comparison", must_be=must_be, got=repr(self.value))


@dataclass(frozen=True, kw_only=True)
class Near:
    """Taken within `km` of a place, latitude and longitude in degrees.

    Raises:
        ParameterError: not on the globe.
    """

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("latitude", self.lat, -90, 90),
            ("longitude", self.lon, -180, 180),
            ("distance in km", self.km, 0, 20_038),
        ):
            if not low <= value <= high:
                raise ParameterError(name, must_be=f"between {low} and {high}", got=value)


@dataclass(frozen=True)
class Not:
    """What does not fit, rows that lack the column included."""

    part: Condition


@dataclass(frozen=True)
class And:
    """What fits all of the parts, one or more."""

    parts: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_parts(self.parts)


@dataclass(frozen=True)
class Or:
    """What fits at least one of the parts, one or more."""

    parts: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_parts(self.parts)


Condition = Compare | Near | Not | And | Or


def parse_where(text: str, columns: Collection[str] = ()) -> Condition:
    """Read a filter as a person writes it.

    Comparisons (`= == != <> < <= > >=`), `in (…)`, `not in`, `between … and …`, `contains`, `is null`,
    `is not null`, `near(lat, lon, km)`, joined by `and`, `or`, `not` and parentheses. Texts and dates stand
    in quotes, doubled within; names and words of the language may be in capitals.

    Args:
        columns: names that may stand behind `columns.`, as `vision classify` adds them; a value's own type
            says whether such a column is compared as text or as a number.

    Raises:
        ParameterError: anything else; it says where, and which known name is nearest.
    """
    from vision.store.where_parser import WhereParser

    return WhereParser(text, columns).whole()


def to_text(condition: Condition) -> str:
    """The inverse of `parse_where`."""
    match condition:
        case Compare(operator="is null"):
            return f"{_name(condition.field)} is null"
        case Compare():
            return f"{_name(condition.field)} {condition.operator} {_literal(condition.value)}"
        case Near():
            return f"near({', '.join(map(_literal, (condition.lat, condition.lon, condition.km)))})"
        case Not(part=Compare(operator="is null", field=field)):
            return f"{_name(field)} is not null"
        case Not(part):
            return f"not {_within(part)}"
        case And(parts):
            return " and ".join(map(_within, parts))
        case Or(parts):
            return " or ".join(map(_within, parts))


def _within(part: Condition) -> str:
    return f"({to_text(part)})" if isinstance(part, And | Or) else to_text(part)


def _name(field: Field) -> str:
    return next((name for name, known in FIELDS.items() if known.key == field.key), field.key)


def _literal(value: Value | None) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _require_parts(parts: tuple[Condition, ...]) -> None:
    if not parts:
        raise ParameterError("parts of a filter", must_be="at least one", got="none")


def _why_not(compare: Compare) -> str:
    """What the value would have to be, or nothing where it is right."""
    value = compare.value
    if compare.operator == "is null":
        return "" if value is None else "left out"
    if compare.field.kind == "number":
        return "" if _is_finite(value) else "a number"
    if not isinstance(value, str) or not _is_unicode(value):
        return "a text in quotes"
    if compare.field.kind == "time":
        return "" if _is_date(value) else "a date such as '2024', '2024-05-03' or '2024-05-03 10:20:00+02:00'"
    return "" if value or compare.operator == "=" else "a text that is not empty"


def _is_finite(value: Value | None) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _is_date(text: str) -> bool:
    try:
        span(text)
    except ValueError:
        return False
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, from a file name that is no text
        return False
    return True
