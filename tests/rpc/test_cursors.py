from __future__ import annotations

import re

import pytest

from pushrpc.rpc.cursors import Cursors, scope_of
from pushrpc.rpc.errors import Reason, Refusal
from pushrpc.v1 import devices_pb2, following_pb2

SECRET = bytes(range(32))
CURSORS = Cursors("ledger-1", SECRET)


@pytest.mark.parametrize("seq", [0, 1, 2**32, 2**63 - 1])
def test_a_cursor_gives_its_position_back_and_is_url_safe(seq: int) -> None:
    cursor = CURSORS.cursor("shop", seq)
    assert CURSORS.seq("shop", cursor) == seq
    assert re.fullmatch(r"[A-Za-z0-9_-]{28}", cursor)


def altered(text: str, position: int) -> str:
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


@pytest.mark.parametrize("position", range(28))
def test_no_character_of_a_cursor_can_be_changed(position: int) -> None:
    with pytest.raises(Refusal) as refused:
        CURSORS.seq("shop", altered(CURSORS.cursor("shop", 77), position))
    assert refused.value.reason is Reason.CURSOR_INVALID


@pytest.mark.parametrize("text", ["x", "é" * 28, "=" * 28, "a" * 5_000, " " * 28])
def test_other_texts_are_no_cursors(text: str) -> None:
    with pytest.raises(Refusal):
        CURSORS.seq("shop", text)


@pytest.mark.parametrize("other", [Cursors("ledger-2", SECRET), Cursors("ledger-1", bytes(32))])
def test_cursors_are_bound_to_their_ledger(other: Cursors) -> None:
    with pytest.raises(Refusal):
        other.seq("shop", CURSORS.cursor("shop", 1))


def test_cursors_are_bound_to_their_app() -> None:
    with pytest.raises(Refusal):
        CURSORS.seq("news", CURSORS.cursor("shop", 1))


def test_page_tokens_are_bound_to_method_and_filter_and_are_no_cursors() -> None:
    request = devices_pb2.ListDevicesRequest(app_id="shop", page_size=7)
    token = CURSORS.page_token("shop", scope_of(request), 5)
    same = devices_pb2.ListDevicesRequest(app_id="shop", page_size=9, page_token=token)
    assert CURSORS.page_after("shop", scope_of(same), token) == 5

    narrower = devices_pb2.ListDevicesRequest(app_id="shop")
    narrower.filter.installation_id = "i-1"
    other_method = following_pb2.ListNotificationsRequest(app_id="shop")
    for scope in (scope_of(narrower), scope_of(other_method)):
        with pytest.raises(Refusal) as refused:
            CURSORS.page_after("shop", scope, token)
        assert refused.value.reason is Reason.PAGE_TOKEN_INVALID
    with pytest.raises(Refusal):
        CURSORS.seq("shop", token)
