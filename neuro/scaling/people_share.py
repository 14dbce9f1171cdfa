"""Nested shares of people: persons of runs (M,) -> which runs a share of the people brings (M,).

Who is in a smaller share is in every larger one of the same seed, so that amounts of data differ in amount
alone. A person brings all of their runs or none.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from data.splits.split_columns import column, persons, require_same_length


def people_share(
    groups: ArrayLike, share: float, *, seed: int = 0, strata: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Mark the runs of a share of the people.

    Args:
        groups: (M,), the person of each run; the order of runs does not matter.
        share: of the people, above 0 and up to 1; rounded up to whole people.
        seed: of their order.
        strata: (M,), e.g. sites or labels: each share then holds them in proportion, as far as whole people
            can. A person seen in several counts in that of the first run.

    Raises:
        ParameterError: the share is none, lengths differ, or a run has no person.
    """
    if not 0 < share <= 1:
        raise ParameterError("share of people", must_be="above 0 and at most 1", got=share)
    person_M = persons(groups)
    stratum_M = column(strata) if strata is not None else [0] * len(person_M)
    require_same_length(groups=person_M, strata=stratum_M)
    order = _order(dict(zip(reversed(person_M), reversed(stratum_M), strict=True)), seed)
    # 0.1 * 30 is 3.0000000000000004, and three people.
    taken = set(order[: math.ceil(round(share * len(order), 9))])
    return np.array([person in taken for person in person_M], dtype=bool)


def _order(stratum_of: dict[object, object], seed: int) -> list[object]:
    """All people, shuffled, such that any first part holds the strata in proportion."""
    people = sorted(stratum_of, key=str)
    np.random.default_rng(seed).shuffle(people)
    members: dict[object, list[object]] = defaultdict(list)
    for person in people:
        members[stratum_of[person]].append(person)
    place = {
        person: (number + 0.5) / len(group)
        for group in members.values()
        for number, person in enumerate(group)
    }
    return sorted(people, key=lambda person: place[person])
