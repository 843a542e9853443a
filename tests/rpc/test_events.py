from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pushrpc.record import Event, EventPage, EventRun
from pushrpc.rpc.events import entries_of, messages, varint
from pushrpc.rpc.records import put_time
from pushrpc.v1 import following_pb2 as following
from pushrpc.words import Cause, DeliveryState, DeviceState, Engagement, EventKind, OutcomeKind, Provider

LEDGER = "0123456789ab"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
TIMES = st.integers(1, 2**52)


@st.composite
def runs(draw: st.DrawFn) -> EventRun:
    """Whatever a ledger could tell, and more: texts of any kind, columns with and without values."""
    count = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(EventKind))
    engagements = st.sampled_from([each.name for each in Engagement])

    def column(may_be_missing: bool) -> st.SearchStrategy[list[str]]:
        full = st.lists(TEXTS, min_size=count, max_size=count)
        return full | st.just([]) if may_be_missing else full

    given: Mapping[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("app_id", "notification_id", "request_id", "reason", "provider_detail"), TEXTS),
        **({"reason": engagements} if kind is EventKind.ENGAGEMENT else {}),
        **{name: column(True) for name in ("device_ids", "user_ids", "message_ids")},
        "first_seq": st.integers(1, 2**60),
        "labels": st.dictionaries(TEXTS, TEXTS, max_size=3),
        "provider": st.sampled_from(Provider),
        "kind": st.just(kind),
        "state": st.sampled_from(DeliveryState),
        "outcome": st.sampled_from(OutcomeKind),
        "cause": st.sampled_from(Cause),
        "device_state": st.sampled_from(DeviceState),
        "provider_status": st.integers(0, 999),
        "attempt": st.integers(0, 1_000),
        "time_us": TIMES,
        "retry_us": st.just(0) | TIMES,
        "token_replaced_by": TEXTS,
        "final": st.booleans(),
        "tokens": column(False),
    }
    return EventRun(**{name: draw(values) for name, values in given.items()})


def field_by_field(event: Event) -> following.DeliveryEvent:
    """The same through protobuf alone."""
    told = following.DeliveryEvent(event_id=f"{LEDGER}-{event.seq}")
    for name in set(told.DESCRIPTOR.fields_by_name) & set(Event._fields) - {"labels"}:
        setattr(told, name, getattr(event, name))
    if event.kind is EventKind.ENGAGEMENT:
        told.ClearField("reason")
        told.engagement = Engagement[event.reason]  # type: ignore[assignment]
    told.labels.update(event.labels)
    put_time(told.time, event.time_us)
    if event.retry_us:
        put_time(told.retry_time, event.retry_us)
    return told


def parsed(octets: bytes) -> list[following.DeliveryEvent]:
    return list(following.StreamDeliveryStatusResponse.FromString(octets).events)


@given(runs())
def test_octets_say_what_protobuf_would_write(run: EventRun) -> None:
    octets = "".join(entries_of(run, LEDGER)).encode("latin-1")
    assert parsed(octets) == [field_by_field(event) for event in run.events()]


@given(st.lists(runs(), max_size=4), st.integers(0, 2_000))
def test_a_page_is_cut_between_events_wherever_it_grows_too_long(given: list[EventRun], bytes_max: int) -> None:
    page_runs, seq = [], 0
    for run in given:
        page_runs.append(run._replace(first_seq=seq + 2))  # between runs are numbers of others
        seq = page_runs[-1].last_seq
    page = EventPage(page_runs, seq + 5, True, False)
    told = list(messages(page, LEDGER, bytes_max))
    events = [parsed(octets) for octets, _ in told]
    assert [event for each in events for event in each] == [field_by_field(event) for event in page.events]
    assert all(each for each in events)
    for (octets, _), each in zip(told, events, strict=True):
        assert len(octets) <= bytes_max or len(each) == 1
    assert [position for _, position in told][-1:] == ([page.through_seq] if given else [])
    for (_, position), each in zip(told[:-1], events[:-1], strict=True):
        assert each[-1].event_id == f"{LEDGER}-{position}"


@given(st.integers(1, 2**31 - 1))
def test_a_varint_is_one(number: int) -> None:
    tag = b"\x60"  # attempt, field 12
    assert following.DeliveryEvent.FromString(tag + varint(number).encode("latin-1")).attempt == number
