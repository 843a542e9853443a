"""What all answers have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.exchange import Response
from pushrpc.providers.answer import (
    DETAIL_BYTES_MAX,
    REASON_CHARS_MAX,
    RETRY_AFTER_S_MAX,
    by_status,
    clip,
    json_object,
    retry_after_s,
    text,
    word,
)
from pushrpc.words import OutcomeKind
from tests.providers.samples import NOW_US


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"", None),
        (b"120", 120.0),
        (b" 7 ", 7.0),
        (b"0", 0.0),
        (b"-5", None),
        (b"1.5", None),
        (b"soon", None),
        (b"\xff\xfe", None),
        (b"\xb2", None),  # a digit to Unicode, not to HTTP
        (b"9" * 400, RETRY_AFTER_S_MAX),
        (b"Mon, 23 Nov 2026 06:01:30 GMT", 90.0),
        (b"Monday, 23-Nov-26 06:01:30 GMT", 90.0),
        (b"Mon, 23 Nov 2026 06:01:30 -0000", 90.0),
        (b"Mon, 23 Nov 2026 05:00:00 GMT", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_S_MAX),
        (b"Mon, 99 Nov 2026 06:01:30 GMT", None),
    ],
)
def test_retry_after_as_seconds_and_as_date(value: bytes, seconds: float | None) -> None:
    headers = ((b"retry-after", value),) if value else ()
    assert retry_after_s(Response(503, headers, b""), NOW_US) == seconds


@given(st.binary(max_size=64))
def test_any_retry_after_is_a_bounded_number_or_none(value: bytes) -> None:
    asked_s = retry_after_s(Response(429, ((b"retry-after", value),), b""), NOW_US)
    assert asked_s is None or 0.0 <= asked_s <= RETRY_AFTER_S_MAX


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((200, 201, 204), OutcomeKind.ACCEPTED),
        ((429,), OutcomeKind.THROTTLED),
        ((301, 302, 307, 401, 403), OutcomeKind.CREDENTIAL_REFUSED),
        ((408, 500, 502, 503, 504, 599, 0, 102, 600, -1), OutcomeKind.UNAVAILABLE),
        ((400, 402, 404, 405, 409, 410, 413, 422, 451), OutcomeKind.PAYLOAD_REFUSED),
    ],
)
def test_a_status_alone(statuses: tuple[int, ...], kind: OutcomeKind) -> None:
    assert {by_status(status) for status in statuses} == {kind}


@given(st.binary(max_size=3000))
def test_any_body_gives_bounded_words_that_can_be_stored(body: bytes) -> None:
    assert len(text(body).encode()) <= DETAIL_BYTES_MAX
    assert isinstance(json_object(body), dict)


def test_words_are_bounded_and_printable() -> None:
    assert word("Unregistered") == "Unregistered"
    assert word("x" * 1000) == "x" * REASON_CHARS_MAX
    assert word("a\x00b\ud800c\nd") == "a b c d"
    assert word(7) == word(None) == word(["x"]) == ""
    assert clip("ä" * 1000) == "ä" * (DETAIL_BYTES_MAX // 2)


def test_a_body_nested_beyond_reason_is_no_object() -> None:
    assert json_object(b"[" * 200_000) == {}
    assert json_object(b'{"a":' * 200_000) == {}
    assert json_object(b"[1]") == json_object(b"") == json_object(b"\xff") == {}
