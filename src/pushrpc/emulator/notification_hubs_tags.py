"""Tag expressions as a hub evaluates them: which installations a send reaches.

Rules are from Microsoft's "Routing and tag expressions": && binds closer than ||, ! closest; 20 tags with || alone,
otherwise 6.
"""

from __future__ import annotations

import re
from collections.abc import Set

TAG = re.compile(r"[A-Za-z0-9_@#.:-]{1,120}")
TAGS_MAX_ANY = 20
TAGS_MAX = 6

_LEXEMES = re.compile(r"\s*(?:(&&|\|\||[!()])|(\$(?:InstallationId|UserId):\{[^{}]+\}|[A-Za-z0-9_@#.:-]+))")
_BINDS = {"!": 3, "&&": 2, "||": 1, "(": 0}


class TagExpression:
    """Raises ValueError for what is none, saying why."""

    def __init__(self, text: str) -> None:
        self._postfix = list(_postfix(text))
        tags = sum(word not in _BINDS for word in self._postfix)
        allowed = TAGS_MAX if {"&&", "!"} & set(self._postfix) else TAGS_MAX_ANY
        if tags > allowed:
            raise ValueError(f"{tags} tags where {allowed} are allowed")

    def matches(self, tags: Set[str]) -> bool:
        stack: list[bool] = []
        for word in self._postfix:
            if word == "!":
                stack.append(not stack.pop())
            elif word in _BINDS:
                right, left = stack.pop(), stack.pop()
                stack.append(left and right if word == "&&" else left or right)
            else:
                stack.append(word in tags)
        return stack[0]


def _postfix(text: str) -> list[str]:
    """Dijkstra's shunting yard, which needs no recursion however deep the parentheses are."""
    done: list[str] = []
    waiting: list[str] = []
    operand_next = True
    at, end = 0, len(text.rstrip())
    while at < end:
        lexeme = _LEXEMES.match(text, at)
        if lexeme is None:
            raise ValueError(f"unexpected character at {at}")
        at, (operator, tag) = lexeme.end(), lexeme.groups()
        if operand_next != (tag is not None or operator in ("!", "(")):
            raise ValueError(f"unexpected {operator or 'tag'} before {at}")
        operand_next = operator is not None and operator != ")"
        if tag is not None:
            if not (TAG.fullmatch(tag) or tag.startswith("$")):
                raise ValueError("a tag is longer than 120 characters")
            done.append(tag)
        elif operator == ")":
            while waiting and waiting[-1] != "(":
                done.append(waiting.pop())
            if not waiting:
                raise ValueError("a parenthesis too many")
            waiting.pop()
        else:
            while operator in ("&&", "||") and waiting and _BINDS[waiting[-1]] >= _BINDS[operator]:
                done.append(waiting.pop())
            waiting.append(operator)
    if operand_next or "(" in waiting:
        raise ValueError("the expression ends too early")
    return done + waiting[::-1]
