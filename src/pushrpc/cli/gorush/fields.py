"""Somebody else's JSON object, read field by field: what is of a wrong type or was never asked for becomes a note."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

WHOLE_MAX = 2**31 - 1
Word = TypeVar("Word")
_SECONDS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?s?")


class Fields:
    """Each field is asked for once. What Go writes for absent ("", 0, false, null, empty ones) is absent here too.

    But for numbers: those that may be zero are pointers in gorush, and zero says something.
    """

    def __init__(self, values: Mapping[str, Any], notes: list[str], path: str = "") -> None:
        self._left = dict(values)
        self._notes = notes
        self._path = path

    def tell(self, name: str, why: str) -> None:
        self._notes.append(f"{self._path}{name}: {why}")

    def any(self, name: str) -> Any:
        return self._left.pop(name, None) or None

    def text(self, name: str) -> str:
        return self._typed(name, str, "a text") or ""

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, "true or false") or False

    def object(self, name: str) -> dict[str, Any]:
        return self._typed(name, dict, "an object") or {}

    def inner(self, name: str) -> Fields:
        return Fields(self.object(name), self._notes, f"{self._path}{name}.")

    def texts(self, name: str) -> Sequence[str]:
        values = self._typed(name, list, "a list of texts") or []
        if all(isinstance(value, str) for value in values):
            return values
        self.tell(name, "left out; it is not a list of texts")
        return []

    def whole(self, name: str, most: int = WHOLE_MAX) -> int | None:
        """Here zero is told from absent: a badge of 0 clears it, an expiration of 0 is one try."""
        value = self._left.pop(name, None)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= most):
            return value
        self.tell(name, f"left out; it is not a whole number up to {most}")
        return None

    def seconds(self, name: str) -> tuple[int, int] | None:
        """A number or a text such as "3600.5s", in seconds and nanoseconds. Zero is now or never."""
        value = self._left.pop(name, None)
        if value is None or value == "":
            return None
        if match := _SECONDS.fullmatch(str(value)):
            return int(match[1]), int((match[2] or "").ljust(9, "0"))
        self.tell(name, "left out; it is not a number of seconds")
        return None

    def real(self, name: str) -> float | None:
        value = self._left.pop(name, None)
        try:
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                return None if value is None else float(value)
        except OverflowError:
            pass
        self.tell(name, "left out; it is not a number")
        return None

    def word(self, name: str, known: Mapping[str, Word], absent: Word) -> Word:
        """What a word stands for."""
        word = self.text(name)
        if word and word not in known:
            self.tell(name, f"left out; {word!r} is not one of {', '.join(known)}")
        return known.get(word, absent)

    def finish(self, why: str) -> None:
        """Notes whatever was not asked for."""
        for name, value in self._left.items():
            if value:
                self.tell(name, why)

    def _typed(self, name: str, kind: type, what: str) -> Any:
        value = self.any(name)
        if value is None or isinstance(value, kind):
            return value
        self.tell(name, f"left out; it is not {what}")
        return None
