"""Filters: the language against its own inverse, and the engines against a slow evaluator of its rules."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from vision.store.dates import span
from vision.store.edge_store import EdgeStore
from vision.store.fields import FIELDS, Field, column_key
from vision.store.server_store import ServerStore
from vision.store.vector_store import VectorStore
from vision.store.where import And, Compare, Condition, Near, Not, Or, parse_where, to_text

COLUMNS = ("label", "my label", "Score")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]


def is_(name: str, operator: Any, value: Any = None) -> Compare:
    return Compare(field=FIELDS[name], operator=operator, value=value)


# Reading


def column(name: str, value: str | int | float) -> Compare:
    field = Field(key=column_key(name), kind="text" if isinstance(value, str) else "number")
    return Compare(field=field, operator="=", value=value)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (
            "taken_at > '2024-01-01' and width > 1000",
            And((is_("taken_at", ">", "2024-01-01"), is_("width", ">", 1000))),
        ),
        ("Width == 5", is_("width", "=", 5)),
        ("width != 5", And((Not(is_("width", "=", 5)), Not(is_("width", "is null"))))),
        ("width <> -5.5", And((Not(is_("width", "=", -5.5)), Not(is_("width", "is null"))))),
        ("NOT width<=.5e1", Not(is_("width", "<=", 5.0))),
        ('camera in (\'a\', "b""c")', Or((is_("camera", "=", "a"), is_("camera", "=", 'b"c')))),
        ("camera IN ('a')", is_("camera", "=", "a")),
        ("camera not in ('a')", And((Not(is_("camera", "=", "a")), Not(is_("camera", "is null"))))),
        ("width between 1 and 2", And((is_("width", ">=", 1), is_("width", "<=", 2)))),
        (
            "width not between 1 and 2 or lat is null",
            Or(
                (
                    And(
                        (
                            Not(And((is_("width", ">=", 1), is_("width", "<=", 2)))),
                            Not(is_("width", "is null")),
                        )
                    ),
                    is_("lat", "is null"),
                )
            ),
        ),
        ("tags contains 'it''s'", is_("tags", "contains", "it's")),
        ("caption is not null", Not(is_("caption", "is null"))),
        ("near(52.5, -13, 2)", Near(lat=52.5, lon=-13, km=2)),
        ("taken_at = 2024", is_("taken_at", "=", "2024")),
        (
            "width=1 or width=2 and not width=3",
            Or((is_("width", "=", 1), And((is_("width", "=", 2), Not(is_("width", "=", 3)))))),
        ),
        (
            "(width=1 or width=2) and lat=3",
            And((Or((is_("width", "=", 1), is_("width", "=", 2))), is_("lat", "=", 3))),
        ),
        ("columns.label = 'x'", column("label", "x")),
        ("columns.score = 2", column("Score", 2)),
        ("columns.\"my label\" = 'and'", column("my label", "and")),
    ],
)
def test_a_filter_is_read(text: str, condition: Condition) -> None:
    assert parse_where(text, COLUMNS) == condition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a column (camera, caption, columns."),
        ("widht > 3", "got 'widht' at character 1 of 'widht > 3'; did you mean width"),
        ("columns.lable = 1", "did you mean columns.label"),
        ("width > ", "a number, or a text in quotes, got the end at character 9"),
        ("width > 'a'", "a number for width, got 'a' at character 9"),
        ("taken_at > 'yesterday'", "a date such as '2024'"),
        ("taken_at > '2024-02-30'", "a date such as '2024'"),
        ("camera < 'x'", "one of =, contains, is null for camera, got <"),
        ("caption = 'x'", "one of contains, is null for caption"),
        ("camera = Canon", "got 'Canon' at character 10 of 'camera = Canon'; write 'Canon'"),
        ("width 5", "a comparison (=, !=,"),
        ("width = 5 6", "`and`, `or` or the end, got '6' at character 11"),
        ("(width=1", "`)`, got the end"),
        ("width=1)", "the end, got ')' at character 8"),
        ("camera not contains 'x'", "`in` or `between` (or `not` before the column)"),
        ("near(1, 2)", "`,`, got ')'"),
        ("near(91, 2, 3)", "latitude is between -90 and 90, got 91.0"),
        ("near(nan, 2, 3)", "a number, got 'nan'"),
        ("path contains ''", "a text that is not empty"),
        ("width = 1e999", "a number for width, got inf"),
        (f"width = {'9' * 5000}", "a number"),
        ("width = '5", 'got "\'5" at character 9'),
        ("path = '\ud800'", "a text in quotes for files[].path"),
        ("not " * 60 + "width = 1", "at most 50 levels deep"),
        ("(" * 60 + "width = 1", "at most 50 levels deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_where(text, COLUMNS)
    assert str(refused.value).startswith("where must be ")
    assert said in str(refused.value)


@given(st.text(alphabet="width='(), or and not 5<>=!.\"tagscontains", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        condition = parse_where(text)
    except ParameterError:
        return
    assert parse_where(to_text(condition)) == condition


# What a date means


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("2024", datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=366)),
        ("2024-12", datetime(2024, 12, 1, tzinfo=UTC), timedelta(days=31)),
        ("2023-02", datetime(2023, 2, 1, tzinfo=UTC), timedelta(days=28)),
        ("2024-05-03", datetime(2024, 5, 3, tzinfo=UTC), timedelta(days=1)),
        ("2024-05-03 10:20", datetime(2024, 5, 3, 10, 20, tzinfo=UTC), timedelta(minutes=1)),
        ("2024-05-03T10:20:30+02:00", datetime(2024, 5, 3, 8, 20, 30, tzinfo=UTC), timedelta(seconds=1)),
        ("2024-05-03T10:20:30.5z", datetime(2024, 5, 3, 10, 20, 30, 500000, UTC), timedelta(microseconds=1)),
        ("2024-01-01 00:10 +01", datetime(2023, 12, 31, 23, 10, tzinfo=UTC), timedelta(minutes=1)),
    ],
)
def test_a_date_is_a_span(text: str, start: datetime, length: timedelta) -> None:
    assert span(text) == (start, start + length)


@pytest.mark.parametrize("text", ["", "24", "2024-13", "2024-02-30", "0000", "9999", "2024-05-03T25:00", "x"])
def test_what_the_calendar_lacks_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        span(text)


# The engines against a slow evaluator


def values_of(payload: dict[str, Any], key: str) -> list[Any]:
    """All that a key reaches, lists unpacked, nulls left out."""
    found: list[Any] = [payload]
    for step in re.findall(r'[^."\[\]]+|"[^"]+"', key.replace("[]", "")):
        found = [one[step.strip('"')] for one in found if isinstance(one, dict) and step.strip('"') in one]
        found = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [one for one in found if one is not None]


def fits(condition: Condition, payload: dict[str, Any]) -> bool:
    match condition:
        case Not(part):
            return not fits(part, payload)
        case And(parts):
            return all(fits(part, payload) for part in parts)
        case Or(parts):
            return any(fits(part, payload) for part in parts)
        case Near():
            place = payload.get("gps")
            return place is not None and kilometres(place, condition) < condition.km
    values = values_of(payload, condition.field.key)
    if condition.operator == "is null":
        return not values
    return any(compares(condition, value) for value in values)


def compares(condition: Compare, value: Any) -> bool:
    wanted, operator, kind = condition.value, condition.operator, condition.field.kind
    if kind == "words":
        return set(str(wanted).lower().split()) <= set(re.findall(r"\w+", value.lower()))
    if operator == "contains" and kind == "text":
        return str(wanted) in value
    if kind == "time":
        (moment, _), (start, end) = span(value), span(str(wanted))
        return {
            "=": start <= moment < end,
            "<": moment < start,
            "<=": moment < end,
            ">": moment >= end,
            ">=": moment >= start,
        }[operator]
    if operator in ("=", "contains"):
        return bool(value == wanted)
    return bool(
        {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[operator]
    )


def kilometres(place: dict[str, float], near: Near) -> float:
    """The great circle (haversine), Earth's mean radius."""
    a, b, c, d = map(math.radians, (place["lat"], near.lat, place["lon"], near.lon))
    chord = math.sin((a - b) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin((c - d) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(chord))


TEXTS = ["a", "b", "ab", "Ab", "a'b", "/a/b.jpg", "é"]
WORDS = ["dog", "cat", "beach", "sunset"]
NUMBERS = st.sampled_from([0, 1, 2, 2.5, -1, 1000])
DATES = [
    "2023-12-31T23:59:59Z",
    "2024-01-01",
    "2024-01-31T12:00:00",
    "2024-05-03T00:30:00+01:00",
    "2024-05-03 10:20:30.25",
]
SPANS = ["2024", "2024-01", "2024-05-03", "2024-05-02", "2024-05-03 10:20:30", "2023-12-31T23:59:59Z"]
PLACES = st.fixed_dictionaries(
    {"lat": st.sampled_from([0.0, 52.5, 52.6]), "lon": st.sampled_from([0.0, 13.4])}
)
ORDERED = ["=", "<", "<=", ">", ">="]

FILES = st.lists(
    st.fixed_dictionaries(
        {"path": st.sampled_from(TEXTS)},
        optional={
            "mtime": st.sampled_from(DATES),
            "tags": st.none() | st.lists(st.sampled_from(TEXTS), max_size=2),
        },
    ),
    max_size=2,
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "files": FILES,
        "width": st.none() | NUMBERS,
        "size": st.integers(0, 3),
        "format": st.sampled_from(TEXTS),
        "camera": st.none() | st.sampled_from(TEXTS),
        "taken_at": st.none() | st.sampled_from(DATES),
        "gps": st.none() | PLACES,
        "caption": st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(", a ".join),
        "columns": st.dictionaries(st.sampled_from(COLUMNS), NUMBERS | st.sampled_from(TEXTS), max_size=2),
    },
)


def compared(name: str) -> st.SearchStrategy[Condition]:
    field = FIELDS[name]
    if field.kind == "words":
        value = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)
        return value.map(lambda words: is_(name, "contains", words))
    if field.kind == "number":
        return st.builds(is_, st.just(name), st.sampled_from(ORDERED), NUMBERS)
    if field.kind == "time":
        return st.builds(is_, st.just(name), st.sampled_from(ORDERED), st.sampled_from(SPANS))
    return st.builds(is_, st.just(name), st.sampled_from(["=", "contains"]), st.sampled_from(TEXTS))


LEAVES = (
    st.sampled_from(sorted(FIELDS)).flatmap(compared)
    | st.sampled_from(sorted(FIELDS)).map(lambda name: is_(name, "is null"))
    | st.builds(
        Near,
        lat=st.sampled_from([52.5, 0.0]),
        lon=st.sampled_from([13.4, 0.1]),
        km=st.sampled_from([1, 12.5, 5000]),
    )
    | st.builds(column, st.sampled_from(COLUMNS), NUMBERS | st.sampled_from(TEXTS))
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda parts: (
        st.builds(Not, parts)
        | st.lists(parts, min_size=2, max_size=3).map(lambda several: And(tuple(several)))
        | st.lists(parts, min_size=2, max_size=3).map(lambda several: Or(tuple(several)))
    ),
    max_leaves=5,
)


@given(CONDITIONS)
def test_writing_and_reading_are_inverse(condition: Condition) -> None:
    assert parse_where(to_text(condition), COLUMNS) == condition


@pytest.fixture(scope="module", params=["edge", "server"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    if request.param == "edge":
        store: VectorStore = EdgeStore.create(tmp_path_factory.mktemp("where") / "store", 4)
    else:
        from qdrant_client import QdrantClient

        store = ServerStore.create(QdrantClient(":memory:"), "pictures", 4, stemming=False)
    yield store
    store.close()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    payloads=st.lists(PAYLOADS, min_size=1, max_size=8),
    conditions=st.lists(CONDITIONS, min_size=4, max_size=12),
)
def test_engines_keep_what_a_slow_evaluator_keeps(
    store: VectorStore, payloads: list[dict[str, Any]], conditions: list[Condition]
) -> None:
    store.delete([row.id for row in store.scan()])
    ids = [str(uuid.UUID(int=number)) for number in range(len(payloads))]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
    store.upsert(ids, vectors, payloads)
    for condition in conditions:
        kept = {id for id, payload in zip(ids, payloads, strict=True) if fits(condition, payload)}
        assert {row.id for row in store.scan(condition)} == kept, to_text(condition)
        assert {row.id for row in store.search(vectors[0], 8, where=condition)} == kept, to_text(condition)
        assert store.count(condition) == len(kept), to_text(condition)


def test_python_conditions_are_checked_too() -> None:
    with pytest.raises(
        ParameterError, match=r"comparison must be one of =, contains, is null for camera, got <"
    ):
        is_("camera", "<", "x")
    with pytest.raises(ParameterError, match="value of a comparison must be a number for width, got None"):
        is_("width", "=")
    with pytest.raises(ParameterError, match="left out for width, got 3"):
        is_("width", "is null", 3)
    with pytest.raises(ParameterError, match="longitude must be between -180 and 180, got 181"):
        Near(lat=0, lon=181, km=1)
    with pytest.raises(ParameterError, match="at least one"):
        And(())
