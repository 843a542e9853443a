"""The journal proves no loss and no duplicates, and does not grow without end."""

from __future__ import annotations

import pytest

from pushrpc.emulator import journal as subject
from pushrpc.emulator.journal import Counts, Journal, as_json
from pushrpc.emulator.service import Entry


def entry(number: int, token: str = "aa", identity: bytes | None = None) -> Entry:
    headers = [(b"apns-topic", b"com.example"), (b"authorization", b"bearer secret")]
    return Entry("apns", "sandbox", token, str(number), identity or str(number).encode(), 5, headers, b'{"aps":{}}')


def test_duplicates_are_what_was_accepted_beyond_the_distinct() -> None:
    journal = Journal()
    for number, token in enumerate(["aa", "bb", "bb", "cc"]):
        journal.accept(entry(number, token, identity=token.encode()))
    assert journal.counts("apns") == Counts(accepted=4, distinct=3, tokens=3, exact=True)
    assert journal.accepted_by_token("apns") == {"aa": 1, "bb": 2, "cc": 1}
    assert journal.counts("fcm") == Counts(0, 0, 0, exact=True)
    assert [e.message_id for e in journal.entries(token="bb")] == ["1", "2"]


def test_old_messages_are_dropped_and_stay_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "ENTRIES_MAX", 3)
    journal = Journal()
    for number in range(10):
        journal.accept(entry(number, f"{number:02x}"))
    assert [e.message_id for e in journal.entries()] == ["7", "8", "9"]
    assert journal.counts("apns").tokens == 10


def test_counts_say_when_they_are_no_longer_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "COUNTED_MAX", 3)
    journal = Journal()
    for number in range(5):
        journal.accept(entry(number, f"{number:02x}"))
    assert journal.counts("apns") == Counts(accepted=5, distinct=3, tokens=3, exact=False)


def test_credentials_are_not_kept() -> None:
    journal = Journal()
    journal.accept(entry(1))
    (kept,) = journal.entries()
    assert as_json(kept)["headers"] == {"apns-topic": "com.example"}
    assert as_json(kept)["payload"] == {"aps": {}}
    assert as_json(kept._replace(payload=b"\xff"))["payload"] == {"base64": "/w=="}


def test_whom_a_topic_reached_is_told() -> None:
    assert as_json(entry(1)._replace(reached=("aa", "bb")))["reached"] == ["aa", "bb"]
    assert "reached" not in as_json(entry(1))
