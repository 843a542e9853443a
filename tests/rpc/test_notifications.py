from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.clock import SystemClock
from pushrpc.content import (
    ApnsOptions,
    Content,
    FcmOptions,
    HmsOptions,
    HubOptions,
    LiveActivity,
    WebPushOptions,
    WnsOptions,
)
from pushrpc.ledger import LedgerError, LedgerUnavailable
from pushrpc.model import Receipt, Send, uuid7
from pushrpc.rpc import notifications
from pushrpc.rpc.content import content_of
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import PAGE_BYTES_MAX
from pushrpc.rpc.notifications import fingerprint
from pushrpc.telemetry import MetricName
from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from pushrpc.v1 import service_pb2 as service
from pushrpc.words import (
    ApnsPushType,
    DeliveryState,
    InterruptionLevel,
    LiveActivityEvent,
    OutcomeKind,
    Priority,
    Provider,
    RejectReason,
    Urgency,
    WnsType,
)
from tests.rpc.harness import APNS_LANE, FCM_LANE, TOO_LARGE, Running, send_request, serving


@pytest.fixture
def accepted(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[Send]:
    """Every send that reaches the ledger."""
    sends: list[Send] = []
    accept = running.ledger.accept

    async def spy(batch: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        sends.extend(batch)
        return await accept(batch)

    monkeypatch.setattr(running.ledger, "accept", spy)
    return sends


async def register(running: Running, token: str, **fields: Any) -> None:
    given: dict[str, Any] = {"app_id": "shop", "provider": Provider.APNS, "token": token} | fields
    await running.stub.RegisterDevice(devices.RegisterDeviceRequest(**given), timeout=10)


# --- the receipt -------------------------------------------------------------------------------------------------


async def test_a_receipt_says_what_was_made(running: Running) -> None:
    receipt = await running.send("aa", "bb", "aa", "no token", request_id="r-1")
    assert uuid.UUID(receipt.notification_id).version == 7
    assert (receipt.target_count, receipt.duplicate_count, receipt.replayed) == (2, 1, False)
    assert receipt.rejected == [
        sending.Rejection(
            path="target.tokens[0].tokens[3]",
            value="no token",
            provider=e.PROVIDER_APNS,
            reason=e.REJECT_REASON_TOKEN_MALFORMED,
            detail="tokens are hexadecimal",
        )
    ]
    assert re.fullmatch("[A-Za-z0-9_-]+", receipt.cursor)
    assert receipt.expire_time.seconds == pytest.approx(time.time() + 86_400, abs=60)
    assert not receipt.complete
    assert not receipt.statuses


async def test_all_rejected_is_ok_and_complete_at_once(running: Running) -> None:
    receipt = await running.send("no token", wait={"seconds": 5})
    assert (receipt.target_count, receipt.complete, len(receipt.rejected)) == (0, True, 1)
    assert (await status(running, receipt)).state == e.NOTIFICATION_STATE_COMPLETE


async def test_a_rejection_quotes_no_more_than_256_characters(running: Running) -> None:
    receipt = await running.send("x" * 4_000)
    assert receipt.rejected[0].value == "x" * 256 + "…"


async def test_every_reason_for_rejecting_a_target(running: Running) -> None:
    for token, device_id in (("d1", "dead"), ("a1", "voip"), ("f1", "other")):
        kind = e.TOKEN_KIND_VOIP if device_id == "voip" else e.TOKEN_KIND_STANDARD
        await register(running, token, device_id=device_id, token_kind=kind)
    await running.send("d1")
    await running.answer(state=DeliveryState.UNREGISTERED, kind=OutcomeKind.TOKEN_INVALID)
    apns = {"provider": Provider.APNS}
    target = {
        "tokens": [
            {**apns, "tokens": ["x"]},
            {"provider": Provider.WNS, "tokens": ["aa"]},
            {**apns, "tokens": ["aa"], "provider_app_id": "com.other"},
            {**apns, "tokens": ["aa"], "token_kind": e.TOKEN_KIND_VOIP},
        ],
        "device_ids": ["nobody", "dead", "voip"],
        "user_ids": ["nobody"],
    }
    receipt = await running.send(target=target)
    assert [(each.path, each.value, RejectReason(each.reason).name) for each in receipt.rejected] == [
        ("target.tokens[0].tokens[0]", "x", "TOKEN_MALFORMED"),
        ("target.tokens[1].tokens[0]", "aa", "PROVIDER_NOT_CONFIGURED"),
        ("target.tokens[2].tokens[0]", "aa", "PROVIDER_APP_UNKNOWN"),
        ("target.tokens[3].tokens[0]", "aa", "TOKEN_KIND_MISMATCH"),
        ("target.device_ids[0]", "nobody", "DEVICE_UNKNOWN"),
        ("target.device_ids[1]", "dead", "DEVICE_DEAD"),
        ("target.device_ids[2]", "voip", "TOKEN_KIND_MISMATCH"),
        ("target.user_ids[0]", "nobody", "USER_WITHOUT_DEVICE"),
    ]
    assert all(each.detail for each in receipt.rejected)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"body": TOO_LARGE}, e.REJECT_REASON_PAYLOAD_TOO_LARGE),
        ({"title": "needs a body"}, e.REJECT_REASON_FIELD_MISSING),
    ],
)
async def test_what_one_provider_cannot_carry_goes_to_the_others(
    running: Running, message: dict[str, str], reason: int
) -> None:
    await register(running, "a1", device_id="d-1")
    tokens = [{"provider": Provider.APNS, "tokens": ["aa"]}, {"provider": Provider.FCM, "tokens": ["ff"]}]
    receipt = await running.send(target={"tokens": tokens, "device_ids": ["d-1"]}, message=message)
    assert receipt.target_count == 1
    assert [(each.path, each.reason) for each in receipt.rejected] == [
        ("target.tokens[0].tokens[0]", reason),
        ("target.device_ids[0]", reason),
    ]
    assert await running.answer(FCM_LANE) == 1


async def test_targets_meet_the_registry(running: Running) -> None:
    await register(running, "a1", device_id="d-1", user_id="u-7")
    await register(running, "a2", device_id="d-2", user_id="u-7", installation_id="i-1")
    await register(running, "f1", device_id="d-3", user_id="u-7", installation_id="i-1", provider=Provider.FCM)
    target = {"tokens": [{"provider": Provider.APNS, "tokens": ["a1", "bb"]}], "user_ids": ["u-7"]}
    receipt = await running.send(target=target)
    assert (receipt.target_count, receipt.duplicate_count) == (3, 2)
    rows = await deliveries(running, receipt)
    assert [(row.token, row.device_id, row.user_id) for row in rows] == [
        ("a1", "d-1", "u-7"),
        ("bb", "", ""),
        ("f1", "d-3", "u-7"),
    ]


# --- what the ledger gets ----------------------------------------------------------------------------------------


async def test_defaults_of_a_send(running: Running, accepted: list[Send]) -> None:
    await running.send("aa")
    await running.send("aa", message={"silent": True, "data": {"k": "v"}})
    visible, silent = accepted
    assert (visible.priority, silent.priority) == (Priority.HIGH, Priority.NORMAL)
    assert visible.expire_us - visible.created_us == 24 * 3600 * 1_000_000
    assert not (visible.one_try or visible.at_most_once or visible.request_id or visible.fingerprint)


async def test_options_reach_the_ledger(running: Running, accepted: list[Send]) -> None:
    options = {
        "ttl": {"seconds": 90, "nanos": 500_000_000},
        "priority": Priority.LOW,
        "collapse_key": "score",
        "at_most_once": True,
        "labels": {"campaign": "spring"},
    }
    await running.send("aa", options=options, request_id="r-1")
    (send,) = accepted
    assert send.expire_us - send.created_us == 90_500_000
    assert (send.priority, send.collapse_key, send.at_most_once) == (Priority.LOW, "score", True)
    assert (send.labels, send.request_id) == ({"campaign": "spring"}, "r-1")


async def test_ttl_0_is_one_try_within_half_a_minute(running: Running, accepted: list[Send]) -> None:
    await running.send("aa", options={"ttl": {}})
    (send,) = accepted
    assert send.one_try
    assert send.expire_us - send.created_us == 30_000_000


async def test_a_repeat_after_its_expire_time_is_still_a_replay(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"expire_time": {"seconds": int(time.time()) + 60}}
    first = await running.send("aa", options=options, request_id="r")
    monkeypatch.setattr(SystemClock, "now_us", lambda _: time.time_ns() // 1000 + 120_000_000)
    again = await running.send("aa", options=options, request_id="r")
    assert again.replayed
    assert again.notification_id == first.notification_id
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.send("aa", options=options, request_id="another")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "options.expire_time is in the past" in str(refused.value.details())


async def test_expire_time_is_kept_to_the_microsecond(running: Running, accepted: list[Send]) -> None:
    at_s = int(time.time()) + 3_600
    receipt = await running.send("aa", options={"expire_time": {"seconds": at_s, "nanos": 1_000}})
    assert accepted[0].expire_us == at_s * 1_000_000 + 1
    assert (receipt.expire_time.seconds, receipt.expire_time.nanos) == (at_s, 1_000)


def test_every_field_of_a_message_becomes_content() -> None:
    texts = ("title", "body", "subtitle", "sound", "category", "thread_id", "link", "android_channel_id")
    values: dict[str, Any] = {name: f"a {name}" for name in (*texts, "title_loc_key", "body_loc_key")}
    values |= {"image_url": "https://x.example/p.png", "data": {"k": "v"}, "badge": 0}
    values |= {"title_loc_args": ["1", "2"], "body_loc_args": ["3"], "apns_json": '{"a":1}', "fcm_json": '{"b":1}'}
    apns: dict[str, Any] = {"push_type": 3, "interruption_level": 3, "relevance_score": 0.0, "mutable_content": False}
    apns |= {"content_available": True, "target_content_id": "w", "filter_criteria": "f", "topic": "t"}
    apns |= {"critical_sound_volume": 1.0}
    activity: dict[str, Any] = {"event": 1, "content_state_json": "{}", "attributes_type": "Trip", "channel_id": "c"}
    activity |= {"attributes_json": "{}", "stale_time": {"seconds": 1}, "dismissal_time": {"seconds": 2}}
    activity |= {"timestamp": {"seconds": 3}}
    fcm: dict[str, Any] = {
        "analytics_label": "spring",
        "direct_boot_ok": True,
        "data_only": True,
        "live_activity_token": "t",
    }
    values |= {"web_push_json": '{"c":1}', "hms_json": '{"d":1}', "wns_xml": "<toast/>"}
    icons = {"icon_url": "https://x.example/i.png", "badge_url": "https://x.example/b.png"}
    web_push: dict[str, Any] = {
        "urgency": 1,
        "topic": "t",
        "actions_json": "[{}]",
        "require_interaction": True,
        **icons,
    }
    wns: dict[str, Any] = {"type": 4, "raw": b"raw", "tag": "a1", "group": "b2", "cache": False}
    hms: dict[str, Any] = {"category": "IM", "bi_tag": "spring", "test_message": True}
    hubs = {"headers": {"apns-priority": "5"}, "template_properties": {"name": "Ann"}}
    options = {"web_push": web_push, "wns": wns, "hms": hms, "notification_hubs": hubs}
    fields = Fields()
    given: dict[str, Any] = {**values, **options, "apns": {**apns, "live_activity": activity}, "fcm": fcm}
    content = content_of(sending.NotificationContent(**given), fields)
    fields.refuse()
    values |= {"title_loc_args": ("1", "2"), "body_loc_args": ("3",)}
    apns |= {"push_type": ApnsPushType.LIVE_ACTIVITY, "interruption_level": InterruptionLevel.TIME_SENSITIVE}
    stale_us, dismissal_us, timestamp_us = 1_000_000, 2_000_000, 3_000_000
    live = LiveActivity(LiveActivityEvent.START, "{}", "Trip", "{}", stale_us, dismissal_us, timestamp_us, "c")
    assert content == Content(
        **values,
        apns=ApnsOptions(**apns, live_activity=live),
        fcm=FcmOptions(**fcm),
        web_push=WebPushOptions(**web_push | {"urgency": Urgency.VERY_LOW}),
        wns=WnsOptions(**wns | {"type": WnsType.RAW}),
        hms=HmsOptions(**hms),
        notification_hubs=HubOptions(**hubs),
    )
    assert Content.from_json(content.to_json()) == content
    assert set(sending.NotificationContent.DESCRIPTOR.fields_by_name) - set(values) == {
        "silent",
        "apns",
        "fcm",
        *options,
    }


# --- idempotency -------------------------------------------------------------------------------------------------


async def test_a_repeat_is_a_replay_that_makes_nothing(running: Running) -> None:
    first = await running.send("aa", "no token", request_id="r-1", options={"labels": {"b": "1", "a": "2"}})
    again = await running.send("aa", "no token", request_id="r-1", options={"labels": {"a": "2", "b": "1"}})
    assert again.replayed
    again.replayed = False
    assert again == first
    assert await running.answer() == 1


async def test_concurrent_twins_are_accepted_once(running: Running) -> None:
    receipts = await asyncio.gather(*(running.send("aa", request_id="r-1") for _ in range(20)))
    assert len({receipt.notification_id for receipt in receipts}) == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1


async def test_many_callers_at_once_each_get_their_own(running: Running) -> None:
    receipts = await asyncio.gather(*(running.send(f"{i:04x}", request_id=f"r-{i}") for i in range(100)))
    assert len({receipt.notification_id for receipt in receipts}) == 100
    assert await running.answer() == 100


@pytest.mark.parametrize(
    "change",
    [
        {"message": {"title": "Order shipped", "badge": 0}},
        {"target": {"user_ids": ["u"]}},
        {"options": {"ttl": {"seconds": 1}}},
        {"app_id": "news"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_fingerprint_tells_requests_apart(change: dict[str, Any]) -> None:
    assert fingerprint(send_request("aa")) != fingerprint(send_request("aa", **change))


def test_a_fingerprint_is_the_one_that_older_ledgers_hold() -> None:
    """Else a repeat across an upgrade would be refused as another request."""
    request = sending.SendNotificationRequest(app_id="shop", request_id="order-1234")
    request.target.tokens.add(provider=e.PROVIDER_APNS, tokens=["aa"])
    request.message.title = "Order shipped"
    assert fingerprint(request).hex() == "4a4e9e93669153d02215a902d2fd797977117e4836272c4758db3329c8142266"
    assert request.request_id == "order-1234"


@pytest.mark.parametrize("change", [{"request_id": "r"}, {"wait": {"seconds": 3}}, {"options": {}}], ids=str)
def test_a_fingerprint_leaves_out_what_is_no_difference(change: dict[str, Any]) -> None:
    assert fingerprint(send_request("aa")) == fingerprint(send_request("aa", **change))


@given(st.lists(st.integers(0, 2**48 * 1_000 - 1), min_size=2, max_size=2), st.binary(min_size=8, max_size=8))
def test_ids_are_uuids_that_sort_by_time(times: list[int], random: bytes) -> None:
    ids = [uuid7(us, random) for us in sorted(times)]
    assert ids == sorted(ids)
    for us, text in zip(sorted(times), ids, strict=True):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
        assert parsed.int >> 80 == us // 1_000


# --- waiting -----------------------------------------------------------------------------------------------------


async def test_wait_returns_when_all_is_final(running: Running) -> None:
    call = asyncio.ensure_future(running.send("aa", "bb", wait={"seconds": 20}))
    assert await running.answer(APNS_LANE, limit=1) == 1
    await running.answer(state=DeliveryState.REJECTED, kind=OutcomeKind.PAYLOAD_REFUSED, reason="BadTopic")
    async with asyncio.timeout(5):
        receipt = await call
    assert receipt.complete
    assert [(row.token, row.state, row.reason, row.final) for row in receipt.statuses] == [
        ("aa", e.DELIVERY_STATE_SENT, "", True),
        ("bb", e.DELIVERY_STATE_REJECTED, "BadTopic", True),
    ]


async def test_wait_ends_with_what_is_known(running: Running) -> None:
    receipt = await running.send("aa", wait={"nanos": 50_000_000})
    assert not receipt.complete
    assert [row.state for row in receipt.statuses] == [e.DELIVERY_STATE_QUEUED]


async def test_wait_ends_before_the_callers_deadline(running: Running) -> None:
    receipt = await running.stub.SendNotification(send_request("aa", wait={"seconds": 30}), timeout=0.6)
    assert not receipt.complete
    assert len(receipt.statuses) == 1


async def test_a_caller_without_a_deadline_may_wait_too(running: Running) -> None:
    receipt = await running.stub.SendNotification(send_request("aa", wait={"nanos": 10_000_000}))
    assert len(receipt.statuses) == 1


async def test_draining_ends_a_wait_with_what_is_known(running: Running) -> None:
    call = asyncio.ensure_future(running.send("aa", wait={"seconds": 30}))
    await running.ledger.claim(APNS_LANE, 1)
    running.service.drain()
    async with asyncio.timeout(5):
        assert not (await call).complete


async def test_a_replay_tells_what_is_known_now(running: Running) -> None:
    await running.send("aa", request_id="r-1")
    await running.answer()
    replay = await running.send("aa", request_id="r-1", wait={"seconds": 5})
    assert (replay.replayed, replay.complete) == (True, True)
    assert [row.state for row in replay.statuses] == [e.DELIVERY_STATE_SENT]


async def test_an_answer_fits_a_clients_default_limit_however_long_its_labels(running: Running) -> None:
    labels = {f"{i:064}": "v" * 256 for i in range(16)}
    tokens = [f"{i:04x}" for i in range(999)]
    receipt = await running.send(*tokens, "no token", options={"labels": labels}, wait={"nanos": 1_000})
    assert receipt.target_count == 999
    assert [row.token for row in receipt.statuses] == tokens[: len(receipt.statuses)]
    row_bytes = receipt.statuses[0].ByteSize()
    assert PAGE_BYTES_MAX - 2 * row_bytes < receipt.ByteSize() <= PAGE_BYTES_MAX


async def test_what_is_not_told_still_counts_as_not_final(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PAGE_BYTES_MAX", 250)
    replays = []
    await running.send("aa", "bb", "cc", request_id="r-1")
    for _ in range(3):
        await running.answer(limit=1)
        replays.append(await running.send("aa", "bb", "cc", request_id="r-1", wait={"nanos": 1_000}))
    assert [replay.complete for replay in replays] == [False, False, True]
    assert [len(replay.statuses) for replay in replays] == [2, 2, 2]
    assert max(replay.ByteSize() for replay in replays) <= 250


@pytest.mark.parametrize("verb", ["follow", "deliveries"])
async def test_a_ledger_that_fails_during_a_wait_does_not_hide_the_receipt(
    running: Running, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(running.service._telemetry, "ledger_failed", lambda *about: logged.append(about))

    async def fail(*_: object) -> None:
        raise LedgerUnavailable("disk I/O error")

    monkeypatch.setattr(running.ledger, verb, fail)
    receipt = await running.send("aa", wait={"nanos": 1_000_000})
    assert (receipt.target_count, receipt.complete, len(receipt.statuses)) == (1, False, 0)
    assert await running.ledger.find("shop", [receipt.notification_id], [])
    assert logged == [("rpc.wait", "disk I/O error")]


async def test_a_caller_that_leaves_while_waiting_leaves_nothing_behind(running: Running) -> None:
    await running.send("bb")  # whatever runs from the first call on, runs now
    before = asyncio.all_tasks()
    call = running.stub.SendNotification(send_request("aa", request_id="r", wait={"seconds": 30}))
    while not await running.ledger.find("shop", [], ["r"]):
        pass
    # Without those that only listen for the next call.
    waiting = {task for task in asyncio.all_tasks() - before if "AioServer._request" not in repr(task)}
    assert waiting
    call.cancel()
    _, pending = await asyncio.wait(waiting, timeout=5)
    assert not pending


# --- reading and cancelling --------------------------------------------------------------------------------------


async def status(running: Running, receipt: sending.SendNotificationResponse) -> following.Notification:
    request = following.GetNotificationRequest(app_id="shop", notification_id=receipt.notification_id)
    return (await running.stub.GetNotification(request, timeout=10)).notification


async def deliveries(
    running: Running, receipt: sending.SendNotificationResponse, **fields: Any
) -> Sequence[following.Delivery]:
    request = following.ListDeliveriesRequest(app_id="shop", notification_id=receipt.notification_id, **fields)
    return (await running.stub.ListDeliveries(request, timeout=10)).deliveries


async def test_a_notification_tells_where_it_stands(running: Running) -> None:
    receipt = await running.send("aa", "bb", request_id="r-1", options={"labels": {"a": "b"}})
    await running.answer(limit=1)
    told = await status(running, receipt)
    assert (told.app_id, told.request_id, told.title, dict(told.labels)) == ("shop", "r-1", "Order shipped", {"a": "b"})
    assert (told.counts.total, told.counts.queued, told.counts.sent) == (2, 1, 1)
    assert (told.state, told.cursor) == (e.NOTIFICATION_STATE_ACTIVE, receipt.cursor)
    assert told.expire_time == receipt.expire_time
    assert not told.HasField("complete_time")
    await running.answer()
    by_request = following.GetNotificationRequest(app_id="shop", request_id="r-1")
    told = (await running.stub.GetNotification(by_request, timeout=10)).notification
    assert told.state == e.NOTIFICATION_STATE_COMPLETE
    assert told.HasField("complete_time")


async def test_notifications_are_listed_newest_first(running: Running) -> None:
    for i in range(3):
        await running.send("aa", request_id=f"r-{i}", options={"labels": {"odd": str(i % 2)}})

    async def listed(**fields: Any) -> list[str]:
        request = following.ListNotificationsRequest(app_id="shop", **fields)
        answer = await running.stub.ListNotifications(request, timeout=10)
        return [each.request_id for each in answer.notifications]

    assert await listed() == ["r-2", "r-1", "r-0"]
    assert await listed(labels={"odd": "0"}) == ["r-2", "r-0"]
    assert await listed(states=[e.NOTIFICATION_STATE_COMPLETE]) == []
    assert await listed(created_after={"seconds": int(time.time()) + 60}) == []
    assert await listed(created_before={"seconds": 1}) == []
    request = following.ListNotificationsRequest(app_id="shop", page_size=2)
    page = await running.stub.ListNotifications(request, timeout=10)
    assert await listed(page_size=2, page_token=page.next_page_token) == ["r-0"]


async def test_deliveries_with_their_attempts(running: Running) -> None:
    receipt = await running.send("aa")
    retry, unavailable = DeliveryState.QUEUED, OutcomeKind.UNAVAILABLE
    await running.answer(state=retry, kind=unavailable, provider_status=503, reason="Shutdown", detail="later")
    await running.answer(message_ids=["apns-1"], provider_status=200)
    (row,) = await deliveries(running, receipt, with_attempts=True)
    assert (row.state, row.attempt, row.provider_message_id) == (e.DELIVERY_STATE_SENT, 2, "apns-1")
    assert [(a.number, a.outcome, a.provider_status, a.reason, a.provider_detail) for a in row.attempts] == [
        (1, e.OUTCOME_UNAVAILABLE, 503, "Shutdown", "later"),
        (2, e.OUTCOME_ACCEPTED, 200, "", ""),
    ]
    assert not (await deliveries(running, receipt))[0].attempts
    assert not await deliveries(running, receipt, states=[e.DELIVERY_STATE_FAILED])


@pytest.mark.parametrize("which", [{"request_id": "r-1"}, {"labels": {"a": "b"}}], ids=str)
async def test_cancelling_takes_back_what_nobody_has(running: Running, which: dict[str, Any]) -> None:
    receipt = await running.send("aa", "bb", "cc", request_id="r-1", options={"labels": {"a": "b"}})
    await running.answer(limit=1)
    await running.ledger.claim(APNS_LANE, 1)
    counts = await running.stub.CancelNotification(sending.CancelNotificationRequest(app_id="shop", **which))
    assert counts == sending.CancelNotificationResponse(
        notification_count=1, cancelled_count=1, in_flight_count=1, already_final_count=1
    )
    assert [(row.state, row.cause) for row in await deliveries(running, receipt)][2] == (
        e.DELIVERY_STATE_CANCELLED,
        e.CAUSE_CANCELLED_BY_CALLER,
    )
    labels = {"app": "shop", "provider": "apns", "state": "cancelled"}
    assert running.service._telemetry.registry.get_sample_value(MetricName.FINAL, labels) == 1


async def test_labels_that_match_nothing_cancel_nothing(running: Running) -> None:
    request = sending.CancelNotificationRequest(app_id="shop", labels={"no": "body"})
    assert await running.stub.CancelNotification(request) == sending.CancelNotificationResponse()


async def test_server_info(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        info = await running.stub.GetServerInfo(service.GetServerInfoRequest(app_id="shop"), timeout=10)
    assert (info.api_version, info.limits.targets_per_send_max, info.limits.wait_max.seconds) == (
        "pushrpc.v1",
        1_000,
        30,
    )
    assert (info.event_retention.seconds, info.request_id_retention.seconds) == (168 * 3600, 72 * 3600)
    assert [(each.provider, list(each.provider_app_ids)) for each in info.providers] == [
        (e.PROVIDER_APNS, ["com.shop", "com.shop.lite"]),
        (e.PROVIDER_FCM, ["shop-1"]),
    ]


async def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            call: Any = channel.unary_unary("/pushrpc.v1.PushService/Nothing")
            await call(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
