"""Limits are complete, and judge on the right side."""

from __future__ import annotations

import math

import pytest

from data.quality.limits import LIMITS, OUTLIER_MEASURES, in_unit, judge
from data.quality.run_quality import FACTS

SOUND = {
    **dict.fromkeys(FACTS, 0.0),
    **{name: 1.0 for name in FACTS if name.startswith("cover_")},
    "template_dice": 0.95,
    "tsnr": 60.0,
    "dvars": 1.0,
    "minutes_kept": 8.0,
    "flip_correlation": 0.6,
}


def test_every_limit_has_a_reason_a_source_and_a_measure_that_exists() -> None:
    known = {*FACTS, "flip_correlation"}
    assert {limit.measure for limit in LIMITS} <= known
    assert set(OUTLIER_MEASURES) <= {limit.measure for limit in LIMITS}
    assert len({limit.measure for limit in LIMITS}) == len(LIMITS)
    for limit in LIMITS:
        assert len(limit.reason) > 20
        assert limit.source
        assert limit.look is not None or limit.leave_out is not None
        if limit.look is not None and limit.leave_out is not None:
            assert (limit.leave_out > limit.look) == (limit.beyond == "above")


def test_a_sound_run_crosses_nothing() -> None:
    assert judge(SOUND) == ("ok", [])


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.measure)
def test_each_limit_is_crossed_on_its_bad_side_alone(limit) -> None:
    step = 0.001 if limit.beyond == "above" else -0.001
    for bound, verdict in ((limit.look, "look at it"), (limit.leave_out, "leave out")):
        if bound is None:
            continue
        found, reasons = judge({**SOUND, limit.measure: bound + step})
        assert (found, len(reasons)) == (verdict, 1)
        assert limit.says in reasons[0]
        assert judge({**SOUND, limit.measure: bound - step})[0] != verdict or verdict == "look at it"
    bound = limit.look if limit.look is not None else limit.leave_out
    assert judge({**SOUND, limit.measure: bound})[0] == "ok"


def test_the_worst_counts_and_every_reason_is_told() -> None:
    verdict, reasons = judge({**SOUND, "fd_mean": 0.9, "tsnr": 12.0})
    assert verdict == "leave out"
    assert reasons == [
        "mean framewise displacement 0.90 mm, over 0.55 mm",
        "temporal signal-to-noise 12.00, under 20.00",
    ]


def test_what_is_unknown_is_not_held_against_a_run() -> None:
    assert judge({**SOUND, "fd_mean": math.nan}) == ("ok", [])
    assert judge({}) == ("not measured", [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50 %"),
        (0.9996, "99.96 %"),
        (0.0004, "0.04 %"),
        (2.5e-6, "0.00025 %"),
        (0.95, "95 %"),
    ],
)
def test_shares_are_printed_so_that_little_is_not_nothing(value, text) -> None:
    assert in_unit(value, "share") == text
