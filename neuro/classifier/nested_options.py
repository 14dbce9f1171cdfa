"""Options within options by the names that scikit-learn gives them: `training__optimizer__warmup`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from data.errors import UnknownNameError, nearest

Options = TypeVar("Options")


def flattened(prefix: str, options: object) -> dict[str, Any]:
    """Fields of a dataclass, and of those within it, by the names that scikit-learn would give them.

    Anything else has none.
    """
    if not is_dataclass(options) or isinstance(options, type):
        return {}
    found: dict[str, Any] = {}
    for field in fields(options):
        name, value = f"{prefix}__{field.name}", getattr(options, field.name)
        found |= {name: value, **flattened(name, value)}
    return found


def changed(options: Options, path: str, value: object) -> Options:
    """A copy of a dataclass with the field at `path` ("group__field") set.

    Raises:
        UnknownNameError: there is no such field.
        ParameterError: the options do not take the value.
    """
    name, _, rest = path.partition("__")
    known = [field.name for field in fields(options)]  # type: ignore[arg-type]
    inner = getattr(options, name, None)
    if name not in known or (rest and not is_dataclass(inner)):
        raise UnknownNameError(
            "option",
            must_be=f"one of {', '.join(known)} of {type(options).__name__}",
            got=path,
            do=nearest(name, known),
        )
    return replace(options, **{name: changed(inner, rest, value) if rest else value})  # type: ignore[type-var]
