"""Events as protobuf bytes, run by run: every push passes here, and what a run shares is said once.

A serialised message is its fields one after another, in any order (Protocol Buffers, "Encoding", Field Order). So a
run's shared fields are serialised once, by protobuf, and each event is those octets and its own fields behind them.
Until a message is whole its octets are kept as text, a character for each (ISO 8859-1), which is put together faster.
Measured for each, serialised: 0.4 µs so, 0.5 µs with bytes, 1.1 µs as copies of a message, 2.4 µs field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from google.protobuf.descriptor import Descriptor

from pushrpc.record import EventPage, EventRun
from pushrpc.rpc.records import put_time
from pushrpc.v1 import following_pb2
from pushrpc.words import Engagement, EventKind

_OCTETS = "latin-1"
_LENGTH_DELIMITED = 2  # the wire type of texts and messages


def varint(number: int) -> str:
    """Protocol Buffers, "Encoding", Base 128 Varints."""
    octets = ""
    while number > 0x7F:
        octets += chr(number & 0x7F | 0x80)
        number >>= 7
    return octets + chr(number)


class _Sizes(dict[int, str]):
    """Lengths as varints. There are never more of them than octets in the longest event."""

    def __missing__(self, size: int) -> str:
        self[size] = written = varint(size)
        return written


def _tag(message: Descriptor, field: str) -> str:
    return varint(message.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


_SIZES = _Sizes()
_EVENTS = _tag(following_pb2.StreamDeliveryStatusResponse.DESCRIPTOR, "events")
_TOKEN, _MESSAGE_ID, _EVENT_ID, _DEVICE_ID, _USER_ID = (
    _tag(following_pb2.DeliveryEvent.DESCRIPTOR, field)
    for field in ("token", "provider_message_id", "event_id", "device_id", "user_id")
)
# What a run and an event have under the same name.
_SHARED = [
    (name, place)
    for place, name in enumerate(EventRun._fields)
    if name in following_pb2.DeliveryEvent.DESCRIPTOR.fields_by_name
]


def messages(page: EventPage, ledger: str, bytes_max: int) -> Iterator[tuple[bytes, int]]:
    """A page as serialised `events` of at most `bytes_max`, each with the position after it.

    An event that is longer comes alone. `ledger` goes into event_id, because numbers of two ledgers may meet at one
    caller.
    """
    entries = [entry for run in page.runs for entry in entries_of(run, ledger)]
    whole = "".join(entries)
    if len(whole) <= bytes_max:
        if whole:
            yield whole.encode(_OCTETS), page.through_seq
        return
    seqs = [seq for run in page.runs for seq in range(run.first_seq, run.last_seq + 1)]
    first, size = 0, 0
    for place, entry in enumerate(entries):
        if size + len(entry) > bytes_max and place > first:
            yield "".join(entries[first:place]).encode(_OCTETS), seqs[place - 1]
            first, size = place, 0
        size += len(entry)
    yield "".join(entries[first:]).encode(_OCTETS), page.through_seq


def entries_of(run: EventRun, ledger: str) -> Sequence[str]:
    """The octets of each event of a run, as an entry of StreamDeliveryStatusResponse.events."""
    shared = _shared(run)
    numbers = map(str, range(run.first_seq, run.last_seq + 1))
    message_ids = _octets(run.message_ids) or repeat("")
    registered = _registered(run) if run.device_ids or run.user_ids else repeat("")
    between: dict[tuple[int, int, int, int], tuple[str, str, str, str]] = {}
    entries = []
    for number, token, message_id, device in zip(numbers, _octets(run.tokens), message_ids, registered, strict=False):
        lengths = len(token), len(message_id), len(number), len(device)
        told = between.get(lengths)
        if told is None:
            told = between[lengths] = _between(shared, ledger, *lengths)
        first, second, third, fourth = told
        entries.append(f"{first}{device}{second}{token}{third}{message_id}{fourth}{number}")
    return entries


def _between(
    shared: str, ledger: str, token: int, message_id: int, number: int, device: int
) -> tuple[str, str, str, str]:
    """What stands before each part of an entry that differs between events: the same while their lengths are."""
    before_token = f"{_TOKEN}{_SIZES[token]}"
    before_id = f"{_MESSAGE_ID}{_SIZES[message_id]}"
    before_number = f"{_EVENT_ID}{_SIZES[len(ledger) + 1 + number]}{ledger}-"
    said = len(shared) + device + len(before_token) + token + len(before_id) + message_id + len(before_number) + number
    return f"{_EVENTS}{_SIZES[said]}{shared}", before_token, before_id, before_number


def _shared(run: EventRun) -> str:
    """Fields that say nothing are left out: a run may be one event."""
    said: dict[str, Any] = {name: value for name, place in _SHARED if (value := run[place])}
    if run.kind is EventKind.ENGAGEMENT:
        said["engagement"] = Engagement[said.pop("reason")]
    event = following_pb2.DeliveryEvent(**said)
    put_time(event.time, run.time_us)
    if run.retry_us:
        put_time(event.retry_time, run.retry_us)
    return event.SerializeToString().decode(_OCTETS)


def _registered(run: EventRun) -> Sequence[str]:
    none = ("",) * len(run.tokens)
    devices = zip(_octets(run.device_ids) or none, _octets(run.user_ids) or none, strict=True)
    return [_text(_DEVICE_ID, device_id) + _text(_USER_ID, user_id) for device_id, user_id in devices]


def _text(tag: str, octets: str) -> str:
    return f"{tag}{_SIZES[len(octets)]}{octets}" if octets else ""


def _octets(texts: Sequence[str]) -> Sequence[str]:
    """Texts in UTF-8, as this module keeps octets; ASCII is the same in both."""
    if all(map(str.isascii, texts)):
        return texts
    return [text.encode().decode(_OCTETS) for text in texts]
