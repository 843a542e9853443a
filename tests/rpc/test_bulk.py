from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from pushrpc.ledger import LedgerError, LedgerUnavailable, QueueFull
from pushrpc.model import Receipt, Send
from pushrpc.rpc import Settings
from pushrpc.rpc.limits import BULK_IN_PROGRESS_MAX
from pushrpc.v1 import sending_pb2 as sending
from pushrpc.words import Priority, Provider
from tests.rpc.harness import Running, failure, serving

Receipts = Sequence[sending.SendReceipt]


def one(request_id: str, token: str = "aa", **fields: Any) -> dict[str, Any]:
    target = {"tokens": [{"provider": Provider.APNS, "tokens": [token]}]}
    return {"request_id": request_id, "target": target} | fields


def request(*sends: dict[str, Any], sequence: int = 1, **fields: Any) -> sending.SendNotificationsRequest:
    given = {"app_id": "shop", "message": {"title": "Order shipped"}, "sequence": sequence} | fields
    return sending.SendNotificationsRequest(sends=sends, **given)  # type: ignore[arg-type]


async def receipts(running: Running, *sends: dict[str, Any], **fields: Any) -> Receipts:
    call = running.stub.SendNotifications(iter([request(*sends, **fields)]), timeout=20)
    (response,) = [response async for response in call]
    assert response.sequence == 1
    assert [each.request_id for each in response.receipts] == [send["request_id"] for send in sends]
    return response.receipts


async def test_receipts_come_in_order_and_a_bad_send_harms_no_other(running: Running) -> None:
    told = await receipts(running, one("r-1"), one("r-2", target={}), one("r-3", "no token"), one("r-4", "bb"))
    assert [each.WhichOneof("result") for each in told] == ["accepted", "error", "accepted", "accepted"]
    error = told[1].error
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "TARGET_EMPTY")
    assert [violation.field for violation in error.field_violations] == ["target"]
    assert "name at least one" in error.detail
    assert (told[2].accepted.target_count, len(told[2].accepted.rejected)) == (0, 1)
    assert await running.answer() == 2


@pytest.mark.parametrize(
    ("send", "reason", "fields"),
    [
        (one(""), "FIELD_REQUIRED", ["request_id"]),
        (one("r", wait={"seconds": 1}), "FIELDS_CONFLICT", ["wait"]),
        (one("r", app_id="news"), "FIELDS_CONFLICT", ["app_id"]),
        (one("r", message={"title": "t" * 1_025}), "FIELD_TOO_LONG", ["message.title"]),
        (one("r", options={"ttl": {"seconds": -1}}), "TTL_INVALID", ["options.ttl"]),
        (one("", wait={}, target={}), "FIELD_REQUIRED", ["request_id", "wait", "target"]),
    ],
)
async def test_what_a_send_may_not_say(running: Running, send: dict[str, Any], reason: str, fields: list[str]) -> None:
    (told,) = await receipts(running, send)
    assert told.error.reason == reason
    assert [violation.field for violation in told.error.field_violations] == fields


@pytest.mark.parametrize(
    ("sends", "fields", "reason"),
    [
        ([one("r")], {"app_id": ""}, "APP_ID_REQUIRED"),
        ([one("r")], {"app_id": "nobody"}, "APP_NOT_FOUND"),
        ([one(f"r-{i}") for i in range(501)], {}, "FIELD_TOO_LONG"),
        ([one(f"r-{i}", target={"user_ids": ["u"] * 1_000}) for i in range(11)], {}, "TARGET_TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_with_a_message_is_told_for_every_send(
    running: Running, sends: list[dict[str, Any]], fields: dict[str, Any], reason: str
) -> None:
    told = await receipts(running, *sends, **fields)
    assert {each.error.reason for each in told} == {reason}


async def test_a_sub_message_of_a_send_replaces_the_shared_one(running: Running, accepted: list[Send]) -> None:
    own: dict[str, Any] = {"message": {"body": "own"}, "options": {"collapse_key": "own"}}
    await receipts(running, one("r-1"), one("r-2", **own), options={"priority": Priority.LOW, "collapse_key": "shared"})
    assert [(s.content.title, s.content.body, s.priority, s.collapse_key) for s in accepted] == [
        ("Order shipped", "", Priority.LOW, "shared"),
        ("", "own", Priority.HIGH, "own"),
    ]


async def test_sends_of_a_shared_message_share_its_content(running: Running, accepted: list[Send]) -> None:
    await receipts(running, one("r-1"), one("r-2", message={"title": "Order shipped"}), one("r-3"))
    first, own, last = (send.content for send in accepted)
    assert first is last
    assert own is not first
    assert own == first


async def test_what_is_wrong_with_a_shared_message_is_told_by_those_sends_that_use_it(running: Running) -> None:
    wrong = {"title": "t" * 1_025}
    told = await receipts(running, one("r-1"), one("r-2", message={"title": "own"}), one("r-3"), message=wrong)
    assert [each.WhichOneof("result") for each in told] == ["error", "accepted", "error"]
    fields = [violation.field for violation in told[0].error.field_violations]
    assert fields == ["message.title"]
    assert told[0].error == told[2].error


@pytest.fixture
def accepted(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[Send]:
    sends: list[Send] = []
    accept = running.ledger.accept

    async def spy(batch: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        sends.extend(batch)
        return await accept(batch)

    monkeypatch.setattr(running.ledger, "accept", spy)
    return sends


async def test_a_repeat_is_replayed_whichever_way_it_comes(running: Running) -> None:
    unary = await running.send("aa", request_id="r-1")
    same, other, twin = await receipts(running, one("r-1"), one("r-1", "bb"), one("r-2"))
    assert (same.accepted.notification_id, same.accepted.replayed) == (unary.notification_id, True)
    assert other.error.reason == "REQUEST_ID_REUSED"
    assert not twin.accepted.replayed


async def test_ledger_errors_of_one_send_and_of_all(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = running.ledger.accept

    async def full_for_the_second(sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        return [*(await accept(sends[:1])), QueueFull("x")]

    monkeypatch.setattr(running.ledger, "accept", full_for_the_second)
    first, second = await receipts(running, one("r-1"), one("r-2"))
    assert first.accepted.target_count == 1
    assert (second.error.reason, second.error.retry_after.seconds) == ("QUEUE_FULL", 5)

    async def away(sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        raise LedgerUnavailable("x")

    monkeypatch.setattr(running.ledger, "accept", away)
    told = await receipts(running, one("r-3"), one("r-4"))
    assert [each.error.reason for each in told] == ["LEDGER_UNAVAILABLE"] * 2
    assert told[0].error.code == grpc.StatusCode.UNAVAILABLE.value[0]


class SlowLedger:
    """Holds back every accept until it is let go, and tells how many are held."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = 0
        self.changed = asyncio.Condition()
        self.let_go = asyncio.Event()
        self._accept = running.ledger.accept
        monkeypatch.setattr(running.ledger, "accept", self.accept)

    async def accept(self, sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        async with self.changed:
            self.held += 1
            self.changed.notify_all()
        await self.let_go.wait()
        return await self._accept(sends)

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: self.held == count)


async def test_messages_overlap_up_to_a_bound_and_are_answered_in_order(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLedger(running, monkeypatch)
    messages = [request(one(f"r-{i}"), sequence=i) for i in range(BULK_IN_PROGRESS_MAX * 3)]
    call = running.stub.SendNotifications(iter(messages), timeout=20)
    await slow.holds(BULK_IN_PROGRESS_MAX)
    slow.let_go.set()
    assert [response.sequence async for response in call] == list(range(BULK_IN_PROGRESS_MAX * 3))


async def test_draining_answers_what_was_read_and_then_says_so(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLedger(running, monkeypatch)
    call = running.stub.SendNotifications(timeout=20)
    await call.write(request(one("r-1")))
    await slow.holds(1)
    running.service.drain()
    slow.let_go.set()
    response: Any = await call.read()
    assert response.receipts[0].accepted.target_count == 1
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()
    told = failure(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_a_caller_that_leaves_midway_leaves_nothing_behind(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await receipts(running, one("r-0"))
    before = asyncio.all_tasks()
    slow = SlowLedger(running, monkeypatch)
    call = running.stub.SendNotifications(timeout=20)
    await call.write(request(one("r-1")))
    await slow.holds(1)
    left = {task for task in asyncio.all_tasks() - before if "AioServer._request" not in repr(task)}
    call.cancel()
    _, pending = await asyncio.wait(left, timeout=5)
    assert not pending


async def test_bulk_streams_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, Settings(bulk_streams_max=1)) as running:
        first = running.stub.SendNotifications(timeout=20)
        await first.write(request(one("r-1")))
        await first.read()
        second = running.stub.SendNotifications(timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await second.read()
        told = failure(error.value)
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        await first.done_writing()
        assert await first.read() == grpc.aio.EOF
        third = running.stub.SendNotifications(iter([request(one("r-2"))]), timeout=20)
        assert len([response async for response in third]) == 1


async def test_a_bulk_message_is_one_accept(running: Running, accepted: list[Send]) -> None:
    told = await receipts(running, *(one(f"r-{i}", f"{i:04x}") for i in range(500)))
    assert len(accepted) == 500
    assert all(each.accepted.target_count == 1 for each in told)
    assert await running.answer() == 500
