"""Tags of a hub's installations, and tag expressions, which choose among them.

Source: Microsoft, "Routing and tag expressions" (Azure Notification Hubs): tags joined by &&, || and !, with
parentheses; up to 20 tags with || alone, otherwise up to 6.
"""

from __future__ import annotations

import re

TAG_CHARS_MAX = 120
TAGS_MAX_ANY = 20  # in an expression of || alone
TAGS_MAX = 6

_TAG = r"[A-Za-z0-9_@#.:-]+"
# What a hub makes of every installation by itself.
_IMPLICIT = r"\$(?:InstallationId|UserId):\{[\x21-\x7a|~]+\}"
_TOKENS = re.compile(rf" *(?:(?P<tag>{_TAG}|{_IMPLICIT})|(?P<operator>&&|\|\||[!()]))")
_PLAIN = re.compile(_TAG)


def tag_problem(tag: str) -> str:
    """Empty when a hub would keep it as an installation's tag, otherwise what is wrong with it."""
    if len(tag) > TAG_CHARS_MAX:
        return f"has {len(tag)} characters, a hub's tags have at most {TAG_CHARS_MAX}"
    return "" if _PLAIN.fullmatch(tag) else "is no tag of a hub, which are letters, digits and _@#.:-"


def expression_problem(expression: str) -> str:
    """Empty when a hub would take the expression, otherwise what is wrong with it and where.

    What passes is printable ASCII, and so can be a header's value.
    """
    depth = tags = at = 0
    expects_tag, only_or = True, True
    end = len(expression.rstrip(" "))
    while at < end:
        found = _TOKENS.match(expression, at)
        if found is None:
            return f"cannot be read at character {at + 1}; tags are letters, digits and _@#.:-"
        at = found.end()
        tag, operator = found["tag"], found["operator"]
        if expects_tag != (operator in ("!", "(", None)):
            return f"has {tag or operator} at character {at} where {'a tag' if expects_tag else '&& or ||'} is expected"
        if tag:
            if len(tag) > TAG_CHARS_MAX:
                return f"has a tag of {len(tag)} characters, {TAG_CHARS_MAX} are allowed"
            tags += 1
            expects_tag = False
        elif operator in ("&&", "||"):
            expects_tag = True
        elif operator != "!":
            depth += 1 if operator == "(" else -1
        if depth < 0:
            return f"closes a parenthesis at character {at} that was never opened"
        only_or = only_or and operator not in ("&&", "!")
    if expects_tag or depth:
        return "ends too early" if end else "is empty"
    allowed = TAGS_MAX_ANY if only_or else TAGS_MAX
    return f"has {tags} tags, {allowed} are allowed {'at most' if only_or else 'beside && and !'}" * (tags > allowed)
