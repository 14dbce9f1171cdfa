"""The language of `--where`: text -> `Condition`, by recursive descent.

or   = and {"or" and}
and  = not {"and" not}
not  = "not" not | "(" or ")" | "near" "(" number "," number "," number ")" | NAME tail
tail = "is" ["not"] "null" | "contains" value | ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
     | ["not"] ("in" "(" value {"," value} ")" | "between" value "and" value)
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from data.errors import ParameterError, nearest
from vision.store.fields import FIELDS, Field, column_key
from vision.store.where import And, Compare, Condition, Near, Not, Operator, Or, Value

DEPTH = 50  # parentheses and nots within each other
SIGNS = {"=": "=", "==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "contains": "contains"}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>[+-]?(?:\d{1,400}\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.]))
    | (?P<name>[^\W\d]\w*(?:\.(?:[\w-]+|"[^"]+"))?)
    | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
    | (?P<end>$)
    | (?P<other>\S+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    written: str
    start: int

    @property
    def word(self) -> str:
        """What the grammar compares: in small letters, and nothing for a text in quotes."""
        return "" if self.kind == "text" else self.written.lower()


class WhereParser:
    """One reading of one text; `columns` are the names that may stand behind `columns.`."""

    def __init__(self, text: str, columns: Collection[str]):
        self._text = text
        self._names = {name.lower(): name for name in FIELDS} | {
            written.lower(): column_key(name)
            for name in columns
            for written in (f"columns.{name}", f'columns."{name}"')
        }
        self._tokens = [
            _Token(kind=found.lastgroup or "end", written=found[found.lastgroup or 0], start=found.end())
            for found in _TOKEN.finditer(text)
        ]
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        """The condition that the whole text is."""
        condition = self._or()
        if self._now.kind != "end":
            raise self._wrong(self._now, "`and`, `or` or the end")
        return condition

    # The grammar

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._take("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Condition:
        self._depth += 1
        if self._depth > DEPTH:
            raise self._wrong(self._now, f"at most {DEPTH} levels deep")
        condition = self._one()
        self._depth -= 1
        return condition

    def _one(self) -> Condition:
        if self._take("not"):
            return Not(self._not())
        if self._take("("):
            inside = self._or()
            self._need(")")
            return inside
        return self._near() if self._take("near") else self._tail(self._name())

    def _near(self) -> Condition:
        start = self._now
        self._need("(")
        lat = self._number()
        self._need(",")
        lon = self._number()
        self._need(",")
        km = self._number()
        self._need(")")
        try:
            return Near(lat=lat, lon=lon, km=km)
        except ParameterError as error:
            raise self._wrong(start, f"a place whose {error.what} is {error.must_be}", error.got) from error

    def _tail(self, name: _Token) -> Condition:
        """What follows the name of a column."""
        if self._take("is"):
            turned = self._take("not")
            self._need("null")
            return Not(self._missing(name)) if turned else self._missing(name)
        if self._take("not"):
            return self._other(name, self._several(name, "`in` or `between` (or `not` before the column)"))
        if self._now.word in SIGNS:
            return self._compare(name, SIGNS[self._next().word])
        if self._now.word in ("!=", "<>"):
            self._next()
            return self._other(name, self._compare(name, "="))
        return self._several(name, "a comparison (=, !=, <, <=, >, >=, in, between, contains, is null)")

    def _several(self, name: _Token, expected: str) -> Condition:
        """A comparison with several values."""
        if self._take("between"):
            low = self._compare(name, ">=")
            self._need("and")
            return And((low, self._compare(name, "<=")))
        if not self._take("in"):
            raise self._wrong(self._now, expected)
        self._need("(")
        parts: list[Condition] = [self._compare(name, "=")]
        while self._take(","):
            parts.append(self._compare(name, "="))
        self._need(")")
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _other(self, name: _Token, condition: Condition) -> Condition:
        """A value, but none that fits."""
        return And((Not(condition), Not(self._missing(name))))

    def _missing(self, name: _Token) -> Condition:
        return Compare(field=self._field(name, ""), operator="is null")

    def _compare(self, name: _Token, operator: str) -> Condition:
        token = self._next()
        field = self._field(name, value := self._value(token))
        if field.kind == "time" and isinstance(value, int):
            value = str(value)  # a year
        try:
            return Compare(field=field, operator=cast(Operator, operator), value=value)
        except ParameterError as error:
            wrong = name if error.what == "comparison" else token
            raise self._wrong(wrong, error.must_be, error.got) from error

    # Names and values

    def _name(self) -> _Token:
        token = self._next()
        if token.word in self._names:
            return token
        known = sorted({name for name in self._names.values()})
        do = nearest(token.word, known) if token.kind == "name" else ""
        raise self._wrong(token, f"a column ({', '.join(known)})", do=do)

    def _field(self, name: _Token, value: Value) -> Field:
        known = self._names[name.word]
        custom = Field(key=known, kind="text" if isinstance(value, str) else "number")
        return FIELDS.get(known, custom)

    def _value(self, token: _Token) -> Value:
        if token.kind == "text":
            quote = token.written[0]
            return token.written[1:-1].replace(2 * quote, quote)
        if token.kind != "number":
            do = f"write '{token.written}'" if token.kind == "name" else ""
            raise self._wrong(token, "a number, or a text in quotes", do=do)
        number = float(token.written)
        is_whole = token.written.lstrip("+-").isdigit() and math.isfinite(number)
        return int(token.written) if is_whole else number

    def _number(self) -> float:
        token = self._next()
        if token.kind != "number":
            raise self._wrong(token, "a number")
        return float(token.written)

    # Tokens

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._now
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _take(self, word: str) -> bool:
        if self._now.word != word:
            return False
        self._next()
        return True

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._wrong(self._now, f"`{word}`")

    def _wrong(self, token: _Token, must_be: str, got: object = None, *, do: str = "") -> ParameterError:
        found = got if got is not None else "the end" if token.kind == "end" else repr(token.written)
        place = f"{found} at character {token.start - len(token.written) + 1} of {self._text!r}"
        return ParameterError("where", must_be=must_be, got=place, do=do)
