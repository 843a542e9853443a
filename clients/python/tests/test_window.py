"""What a bulk stream has in hand, without a stream."""

from __future__ import annotations

import pytest
from fake import receipts

from pushrpc_client import PushError, v1
from pushrpc_client.window import FILL_S, SENDS_MAX, UNANSWERED_MAX, Window


def send(request_id: str = "", targets: int = 1) -> v1.SendNotificationRequest:
    target = v1.Target(user_ids=["u"] * max(0, targets - 3), device_ids=["d"] * (targets > 2))
    target.tokens.add(tokens=["t"], subscriptions=[v1.Subscription()] * (targets > 1))
    return v1.SendNotificationRequest(request_id=request_id, target=target)


@pytest.fixture
def window() -> Window[str]:
    return Window("shop")


def fill(window: Window[str]) -> int:
    added = 0
    while window.add(send(), f"{added}", 0.0):
        added += 1
    return added


def test_a_message_waits_for_more_a_moment_only(window: Window[str]) -> None:
    assert window.due_in(0.0) is None
    window.add(send("a"), "A", 10.0)
    assert window.next(10.0) is None
    assert window.due_in(10.001) == pytest.approx(FILL_S - 0.001)
    group = window.next(10.0 + FILL_S)
    assert group is not None and group.tickets == ["A"]
    assert window.due_in(10.0 + FILL_S) is None
    assert window.next(20.0) is None, "it was written already"


def test_a_full_message_or_a_hurry_waits_for_nothing(window: Window[str]) -> None:
    for number in range(SENDS_MAX):
        window.add(send(), f"{number}", 0.0)
    full = window.next(0.0)
    assert full is not None and len(full.tickets) == SENDS_MAX
    window.add(send(), "last", 0.0)
    assert window.next(0.0, hurry=True) is not None


def test_what_it_holds_is_bounded_until_an_answer_comes(window: Window[str]) -> None:
    assert fill(window) == SENDS_MAX * (UNANSWERED_MAX + 1)
    written = [window.next(0.0) for _ in range(UNANSWERED_MAX)]
    assert window.next(99.0) is None
    assert written[0] is not None
    assert len(window.answered(receipts(written[0].message), 0.0)) == SENDS_MAX
    assert fill(window) == SENDS_MAX


def test_targets_of_every_kind_count(window: Window[str]) -> None:
    for _ in range(2):
        window.add(send(targets=5_000), "", 0.0)
    assert window.next(0.0) is not None, "10,000 targets are a full message"
    for _ in range(2):
        window.add(send(targets=5_001), "", 0.0)
    group = window.next(0.0)
    assert group is not None and len(group.tickets) == 1


def test_a_broken_stream_writes_the_same_again(window: Window[str]) -> None:
    window.add(send(), "A", 0.0)
    first = window.next(9.0)
    window.add(send(), "B", 9.0)
    second = window.next(19.0)
    window.broke()
    assert [window.next(19.0), window.next(19.0), window.next(19.0)] == [first, second, None]


def test_answers_come_in_order_or_are_none(window: Window[str]) -> None:
    window.add(send("a"), "A", 0.0)
    group = window.next(9.0)
    assert group is not None
    with pytest.raises(PushError, match="out of turn"):
        window.answered(v1.SendNotificationsResponse(sequence=7), 9.0)
    with pytest.raises(PushError, match="0 receipts"):
        window.answered(v1.SendNotificationsResponse(sequence=group.message.sequence), 9.0)
    ((ticket, receipt),) = window.answered(receipts(group.message), 9.0)
    assert ticket == "A" and isinstance(receipt, v1.SendNotificationResponse)
    assert receipt.notification_id == "n-a"
    assert not window


def test_silence_counts_from_the_last_answer_or_the_first_send(window: Window[str]) -> None:
    window.add(send("a"), "A", 100.0)
    window.add(send("b"), "B", 150.0)
    assert (window.left(150.0), window.left_to(90.0, 150.0)) == (30.0, 10.0)
    assert window.left_to(110.0, 150.0) == 20.0, "a stream has its own time"
    assert window.left_to(140.0, 150.0) == 30.0, "but not beyond that of all"
    group = window.next(150.0)
    assert group is not None
    with pytest.raises(PushError):
        window.answered(v1.SendNotificationsResponse(sequence=7), 155.0)
    assert window.left(155.0) == 25.0
    window.add(send("c"), "C", 155.0)
    window.answered(receipts(group.message), 160.0)
    assert (window.left(160.0), window.left_to(140.0, 160.0)) == (80.0, 60.0)


def test_giving_up_empties_it(window: Window[str]) -> None:
    window.add(send("a"), "A", 0.0)
    window.next(9.0)
    window.add(send("b"), "B", 9.0)
    assert window.give_up() == [("A", "a"), ("B", "b")]
    assert not window and window.next(99.0) is None
