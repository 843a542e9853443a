"""Realistic tokens, and the book that says what is believed of them."""

from __future__ import annotations

import pytest

from pushrpc.emulator import tokens as subject
from pushrpc.emulator.tokens import APNS_TOKEN, FCM_TOKEN, Token, TokenBook, TokenState, apns_tokens, fcm_tokens


def test_made_tokens_look_real_differ_and_repeat() -> None:
    apns, fcm = apns_tokens(500, seed=1), fcm_tokens(500, seed=1)
    assert all(APNS_TOKEN.fullmatch(token) and len(token) == 64 for token in apns)
    assert all(FCM_TOKEN.fullmatch(token) and token[22:29] == ":APA91b" for token in fcm)
    assert len({*apns, *fcm}) == 1000
    assert (apns, fcm) == (apns_tokens(500, seed=1), fcm_tokens(500, seed=1))
    assert not {*apns} & {*apns_tokens(500, seed=2)}


def test_a_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TOKENS_MAX", 2)
    book = TokenBook()
    book.put(["a", "b"], Token())
    book.put(["a"], Token(TokenState.EXPIRED))
    with pytest.raises(ValueError, match="no more than 2"):
        book.put(["c"], Token())
    assert book.get("a") == Token(TokenState.EXPIRED)


def test_a_state_may_be_given_by_name() -> None:
    assert Token("expired", since_ms=17e11) == Token(TokenState.EXPIRED, since_ms=1_700_000_000_000)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Token("asleep")  # type: ignore[arg-type]
