"""Who is in which of Google's topics, and whom a condition over them reaches.

Rules are from Firebase's "Topic messaging" and Google's "Instance ID server reference".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

TOPIC = re.compile(r"[a-zA-Z0-9\-_.~%]{1,900}")
TOPICS_OF_TOKEN_MAX = 2_000
"""Topics that one app instance may be in."""
TOKENS_OF_CALL_MAX = 1_000
"""Tokens that one call of batchAdd or batchRemove may name."""
MEMBERSHIPS_MAX = 1_000_000
"""Memberships remembered, of all projects together."""

_WORDS = re.compile(r"\s*(?:'([^']*)' in topics|(&&|\|\||[!()]))\s*")


class Topics:
    """Members of each project's topics, in the order in which they joined."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], dict[str, None]] = {}
        self._topics_of: Counter[tuple[str, str]] = Counter()  # by project and token
        self._count = 0

    def clear(self) -> None:
        self._members.clear()
        self._topics_of.clear()
        self._count = 0

    def join(self, project: str, topic: str, token: str) -> bool:
        """Whether there was room, for the token among its topics and here for another membership."""
        members = self._members.setdefault((project, topic), {})
        if token in members:
            return True
        if self._topics_of[project, token] >= TOPICS_OF_TOKEN_MAX or self._count >= MEMBERSHIPS_MAX:
            return False
        members[token] = None
        self._topics_of[project, token] += 1
        self._count += 1
        return True

    def leave(self, project: str, topic: str, token: str) -> bool:
        """Whether it was there."""
        members = self._members.get((project, topic), {})
        if token not in members:
            return False
        del members[token]
        self._topics_of[project, token] -= 1
        self._count -= 1
        return True

    def has(self, project: str, topic: str, token: str) -> bool:
        return token in self._members.get((project, topic), {})

    def reached(self, project: str, topic: str = "", condition: str = "") -> list[str]:
        """Tokens that a message to the topic, or on the condition, goes to; of a condition only those in any topic."""
        if topic:
            return list(self._members.get((project, topic), {}))
        everyone = dict.fromkeys(t for (of, _), members in self._members.items() if of == project for t in members)
        chosen = evaluated(
            condition, lambda name: frozenset(self._members.get((project, name), ())), frozenset(everyone)
        )
        return [token for token in everyone if token in chosen]


def evaluated(condition: str, members: Callable[[str], frozenset[str]], everyone: frozenset[str]) -> frozenset[str]:
    """Whom a condition holds for: parentheses first, then from left to right. Raises ValueError when it is none."""
    outer: list[tuple[frozenset[str] | None, str, bool]] = []
    value: frozenset[str] | None = None
    sign, negated, place = "", False, 0
    while place < len(condition):
        word = _WORDS.match(condition, place)
        if word is None:
            raise ValueError("not a condition")
        place = word.end()
        topic, mark = word.groups()
        if (mark in ("&&", "||", ")")) == (value is None or bool(sign) or negated):
            raise ValueError("a topic or an operator is missing")
        if mark in ("&&", "||"):
            sign = mark
        elif mark == "!":
            negated = not negated
        elif mark == "(":
            outer.append((value, sign, negated))
            value, sign, negated = None, "", False
        else:
            if topic is not None:
                operand = members(topic)
            elif outer and value is not None:
                operand = value
                value, sign, negated = outer.pop()
            else:
                raise ValueError("a parenthesis too many")
            operand = everyone - operand if negated else operand
            value = operand if value is None else value & operand if sign == "&&" else value | operand
            sign, negated = "", False
    if value is None or sign or negated or outer:
        raise ValueError("the condition has no end")
    return value
