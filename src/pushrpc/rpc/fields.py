"""Checks of request fields: collects everything that is wrong with one request, so that a caller learns it at once.

Every check returns the value it was given, or a harmless one where that was wrong; `refuse` then raises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pushrpc.rpc.errors import Reason, Violation, invalid
from pushrpc.rpc.limits import MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX

_VIOLATIONS_MAX = 100  # more help nobody, and a hostile request could have a million
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z, the end of google.protobuf.Timestamp
_DURATION_SECONDS_MAX = 315_576_000_000  # 10,000 years, the end of google.protobuf.Duration

Word = TypeVar("Word", bound=IntEnum)


@cache
def _words_of(kind: type[Word]) -> Mapping[int, Word]:
    """An enum by number: a third of the cost of calling it."""
    return {int(word): word for word in kind}


def passes(value: str, limit_bytes: int) -> bool:
    """Whether a text is longer than `limit_bytes` in UTF-8."""
    if len(value) * 4 <= limit_bytes:  # no character takes more than 4 bytes
        return False
    return len(value) > limit_bytes or (not value.isascii() and len(value.encode()) > limit_bytes)


def flawed(value: str, limit_bytes: int) -> bool:
    """Whether `Fields.text` would say anything; for hot paths, which need not name their fields then."""
    return "\0" in value or passes(value, limit_bytes)


class Fields:
    """The violations of one request, in the order of its fields."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def wrong(self, reason: Reason, field: str, problem: str, limit: int | None = None) -> None:
        if len(self.violations) < _VIOLATIONS_MAX:
            self.violations.append(Violation(field, reason, problem, limit))

    def refuse(self) -> None:
        """Raises Refusal when anything was wrong."""
        if self.violations:
            raise invalid(self.violations)

    def text(self, field: str, value: str, limit_bytes: int, required: bool = False) -> str:
        if required and not value:
            self.wrong(Reason.FIELD_REQUIRED, field, "is not set")
        elif passes(value, limit_bytes):
            self.too_long(field, len(value.encode()), limit_bytes, "bytes")
        elif "\0" in value:  # databases end a text there
            self.wrong(Reason.FIELD_INVALID, field, "holds a NUL character")
        return value

    def name(self, field: str, value: str, limit_bytes: int) -> str:
        """One of a list: it may not be empty."""
        if not value:
            self.wrong(Reason.FIELD_INVALID, field, "is empty")
        return self.text(field, value, limit_bytes)

    def too_long(self, field: str, given: int, limit: int, unit: str) -> None:
        self.wrong(Reason.FIELD_TOO_LONG, field, f"has {given:,} {unit}, the limit is {limit:,}", limit)

    def texts(
        self, field: str, values: Iterable[str], count_max: int = TAGS_MAX, limit_bytes: int = TAG_BYTES_MAX
    ) -> tuple[str, ...]:
        """A list of non-empty texts; a repeated one is kept once."""
        kept = tuple(values)
        if len(kept) > count_max:
            self.too_long(field, len(kept), count_max, "entries")
        for position, value in enumerate(kept):
            self.name(f"{field}[{position}]", value, limit_bytes)
        return tuple(dict.fromkeys(kept))

    def entries(self, field: str, values: Mapping[str, str], count_max: int) -> dict[str, str]:
        """A map of the caller's own. Its keys are not quoted: they may be anything."""
        if not values:
            return {}
        kept = dict(values)
        if len(kept) > count_max:
            self.too_long(field, len(kept), count_max, "entries")
        for key, value in kept.items():
            self.name(f"{field} key", key, MAP_KEY_BYTES_MAX)
            self.text(f"{field} value", value, MAP_VALUE_BYTES_MAX)
        return kept

    def word(self, field: str, value: int, kind: type[Word], required: bool = False) -> Word:
        """An enum's number as one of our words."""
        if required and not value:
            self.wrong(Reason.FIELD_REQUIRED, field, "is not set")
        word: Word | None = _words_of(kind).get(value)
        if word is None:
            self.wrong(Reason.ENUM_UNKNOWN, field, f"has the unknown number {value}")
            return kind(0)
        return word

    def words(self, field: str, values: Sequence[int], kind: type[Word]) -> tuple[Word, ...]:
        """A filter's alternatives. Each is a real value, and there are never more than the enum has."""
        known = _words_of(kind)
        for position, value in enumerate(values):
            if not value or value not in known:
                self.wrong(Reason.ENUM_UNKNOWN, f"{field}[{position}]", f"has the unknown number {value}")
        return tuple(known[value] for value in dict.fromkeys(values) if value in known)

    def number(self, field: str, value: float, least: float, most: float) -> float:
        if math.isnan(value) or not least <= value <= most:
            self.wrong(Reason.FIELD_INVALID, field, f"is {value:g}, it must be from {least:g} to {most:g}")
        return value

    def time_us(self, field: str, value: Timestamp) -> int:
        """Microseconds since 1970; 0 for an unset timestamp."""
        seconds, nanos = value.seconds, value.nanos
        if not (0 <= seconds <= _SECONDS_MAX and 0 <= nanos < 1_000_000_000):
            self.wrong(Reason.FIELD_INVALID, field, "must be between 1970 and 9999")
            return 0
        return seconds * 1_000_000 + nanos // 1_000

    def span_us(self, field: str, value: Duration, reason: Reason) -> int:
        """Microseconds of a span that may not be negative; otherwise `reason`.

        Rounded up, so that a nanosecond over a limit is over it, and only 0 is 0.
        """
        seconds, nanos = value.seconds, value.nanos
        if not (0 <= seconds <= _DURATION_SECONDS_MAX and 0 <= nanos < 1_000_000_000):
            problem = "is negative" if seconds < 0 or nanos < 0 else "is out of a Duration's range"
            self.wrong(reason, field, problem)
            return 0
        return seconds * 1_000_000 + -(-nanos // 1_000)

    def exactly_one(self, choices: Mapping[str, bool]) -> None:
        """Of the named fields, just one may be set."""
        given = [field for field, is_set in choices.items() if is_set]
        names = ", ".join(choices)
        if not given:
            self.wrong(Reason.FIELD_REQUIRED, next(iter(choices)), f"is not set, and exactly one of {names} must be")
        elif len(given) > 1:
            self.wrong(Reason.FIELDS_CONFLICT, given[1], f"is set beside {given[0]}; exactly one of {names} may be")
