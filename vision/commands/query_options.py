"""From options on the command line to a `Query`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import ParameterError

if TYPE_CHECKING:
    from vision.retrieval.query import Content, Query

KINDS = ("query", "plus", "minus", "like", "captions")

Weights = Mapping[str, Sequence[float]]


def read_weights(items: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """["minus=0.5", "plus=1,0.3"] -> {"minus": (0.5,), "plus": (1.0, 0.3)}.

    Raises:
        ParameterError: another kind, or no number.
    """
    weights: dict[str, tuple[float, ...]] = {}
    for item in items:
        kind, _, numbers = item.partition("=")
        try:
            values = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            values = ()
        if kind not in KINDS or not values:
            raise ParameterError(
                "weight", must_be=f"KIND=NUMBER with one of the kinds {', '.join(KINDS)}", got=repr(item)
            )
        weights[kind] = values
    return weights


def read_query(
    query: str | None,
    plus: Sequence[str],
    minus: Sequence[str],
    like: Sequence[Path | bytes],
    weights: Weights,
) -> Query:
    """Words and pictures with their weights; a kind with one weight takes it for all that is of that kind.

    Raises:
        ParameterError: as many weights as fit neither one nor all.
    """
    from vision.retrieval.query import Query

    whole = Query()
    given: dict[str, Sequence[Content]] = {
        "query": [] if query is None else [query],
        "plus": plus,
        "minus": minus,
        "like": like,
    }
    for kind, contents in given.items():
        sign = -1.0 if kind == "minus" else 1.0
        for content, weight in zip(contents, _spread(kind, weights, len(contents)), strict=True):
            whole = whole.plus(content, sign * weight)
    return whole


def _spread(kind: str, weights: Weights, count: int) -> Sequence[float]:
    values = weights.get(kind, (1.0,))
    if len(values) == 1:
        return [*values] * count
    if len(values) != count:
        raise ParameterError(f"weights of {kind}", must_be=f"one, or {count}", got=len(values))
    return values
