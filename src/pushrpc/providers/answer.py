"""What all providers' answers have in common: status classes, Retry-After, and words that are safe to store and show.

Everything here is total: a provider, or whoever stands in its place, may answer any bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from pushrpc.exchange import Response
from pushrpc.words import Cause, OutcomeKind

REASON_CHARS_MAX = 128  # the longest documented reason has 32
DETAIL_BYTES_MAX = 1024
RETRY_AFTER_S_MAX = 1e9  # far beyond what policy allows; only keeps the number finite


def by_status(status: int) -> OutcomeKind:
    """What a status means where the provider documents nothing closer.

    No token dies of a status alone, 404 and 410 included: a proxy or a wrong address answers them for every token, so
    providers that mean the token by them say so in their own tables. 408 and 5xx may pass. A 2xx is an acceptance, and
    what is no status at all counts as 5xx (RFC 9110 §15).
    """
    if 200 <= status < 300:
        return OutcomeKind.ACCEPTED
    if status == 429:
        return OutcomeKind.THROTTLED
    if status in (401, 403) or 300 <= status < 400:
        return OutcomeKind.CREDENTIAL_REFUSED
    if status == 408 or not 400 <= status < 500:
        return OutcomeKind.UNAVAILABLE
    return OutcomeKind.PAYLOAD_REFUSED


def cause_of(status: int) -> Cause:
    """Our own word for what a status alone tells: 413 is a payload too large at every provider (RFC 9110 §15.5.14)."""
    return Cause.PAYLOAD_TOO_LARGE if status == 413 else Cause.UNSPECIFIED


def retry_after_s(response: Response, now_us: int) -> float | None:
    """Retry-After in seconds from now, given as seconds or as an HTTP-date (RFC 9110 §10.2.3); None when unreadable."""
    text = response.header(b"retry-after").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        date = parsedate_to_datetime(text)
        # "-0000" gives a date without a zone, though HTTP knows only GMT.
        until_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(until_s - now_us / 1e6, 0.0), RETRY_AFTER_S_MAX)


def json_object(body: bytes) -> Mapping[str, Any]:
    """The body as a JSON object; empty when it is anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def word(value: object, chars_max: int = REASON_CHARS_MAX) -> str:
    """A provider's word as it may be stored: no lone surrogates, no control characters, bounded. Not a text: empty."""
    if not isinstance(value, str):
        return ""
    clean = value[:chars_max]
    if clean.isprintable():
        return clean
    return "".join(c if c.isprintable() else " " for c in clean)


def text(body: bytes) -> str:
    """The beginning of a body that is no JSON we know, for people: at most 1 KiB of it."""
    return clip(" ".join(word(body[:DETAIL_BYTES_MAX].decode("utf-8", "replace"), DETAIL_BYTES_MAX).split()))


def clip(detail: str) -> str:
    """At most 1 KiB, never half a character."""
    return detail.encode("utf-8", "replace")[:DETAIL_BYTES_MAX].decode("utf-8", "ignore")
