"""Plain data (TOML) -> frozen dataclasses; an unknown name and a value of another type are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from data.errors import ParameterError, UnknownNameError, nearest

Options = TypeVar("Options")


def options_from(kind: type[Options], given: Mapping[str, Any], place: str) -> Options:
    """A dataclass of options, and those within it; what is not given is as by default.

    Args:
        kind: the class.
        given: its fields by name; a table for each dataclass within it.
        place: what the fields are called in a message ("training").

    Raises:
        UnknownNameError: a field that the class has not.
        ParameterError: a value of another type, or one that cannot work.
    """
    if not isinstance(given, Mapping):
        raise ParameterError(place, must_be="a table", got=repr(given))
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in known:
            choices = f"one of {', '.join(known)}"
            raise UnknownNameError(f"{place}.{name}", must_be=choices, got=name, do=nearest(name, known))
        values[name] = _value(hints[name], value, f"{place}.{name}")
    return kind(**values)


def _value(hint: Any, value: Any, place: str) -> Any:
    if is_dataclass(hint):
        return options_from(hint, value, place)  # type: ignore[arg-type]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if float in kinds and type(value) is int:
        return float(value)
    if value is None and NoneType in kinds:
        return None
    plain = [str if get_origin(kind) is Literal else kind for kind in kinds]
    if type(value) not in plain:  # `isinstance` would take True for a number
        words = " or ".join("none" if kind is NoneType else kind.__name__ for kind in plain)
        raise ParameterError(place, must_be=f"of type {words}", got=repr(value))
    return value
