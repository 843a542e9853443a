from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.rpc.errors import Reason, Refusal, Violation, invalid, rich_status
from pushrpc.rpc.fields import Fields, passes
from pushrpc.words import Priority


@given(st.text(), st.integers(0, 64))
def test_limits_count_utf8_bytes(value: str, limit: int) -> None:
    assert passes(value, limit) == (len(value.encode()) > limit)


def test_all_that_is_wrong_is_told_at_once_and_the_first_gives_the_reason() -> None:
    fields = Fields()
    fields.text("user_id", "é" * 65, 128)
    fields.word("priority", 99, Priority)
    with pytest.raises(Refusal) as refused:
        fields.refuse()
    refusal = refused.value
    assert refusal.reason is Reason.FIELD_TOO_LONG
    assert [(v.field, v.reason) for v in refusal.violations] == [
        ("user_id", Reason.FIELD_TOO_LONG),
        ("priority", Reason.ENUM_UNKNOWN),
    ]
    assert refusal.metadata == {"field": "user_id", "limit": "128"}
    assert "user_id has 130 bytes, the limit is 128 (and 1 more)" in str(refusal)


def test_nothing_wrong_refuses_nothing() -> None:
    fields = Fields()
    assert fields.text("user_id", "u-1", 128) == "u-1"
    fields.refuse()


@pytest.mark.parametrize(
    ("seconds", "nanos", "us"),
    [(0, 0, 0), (1, 5_000, 1_000_005), (-1, 0, None), (253_402_300_800, 0, None), (1, -1, None), (1, 10**9, None)],
)
def test_times_are_between_1970_and_9999(seconds: int, nanos: int, us: int | None) -> None:
    fields = Fields()
    value = fields.time_us("t", Timestamp(seconds=seconds, nanos=nanos))
    assert value == (us or 0)
    assert [v.reason for v in fields.violations] == ([] if us is not None else [Reason.FIELD_INVALID])


@pytest.mark.parametrize(
    ("seconds", "nanos", "us"), [(0, 0, 0), (30, 1_000, 30_000_001), (-1, 0, None), (0, -1, None), (10**12, 0, None)]
)
def test_spans_may_not_be_negative(seconds: int, nanos: int, us: int | None) -> None:
    fields = Fields()
    assert fields.span_us("ttl", Duration(seconds=seconds, nanos=nanos), Reason.TTL_INVALID) == (us or 0)
    assert [v.reason for v in fields.violations] == ([] if us is not None else [Reason.TTL_INVALID])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_numbers_stay_in_their_range(value: float) -> None:
    fields = Fields()
    fields.number("score", value, 0.0, 1.0)
    assert [v.reason for v in fields.violations] == [Reason.FIELD_INVALID]


def test_a_nul_character_is_refused() -> None:
    fields = Fields()
    fields.text("user_id", "u\0x", 128)
    assert [v.reason for v in fields.violations] == [Reason.FIELD_INVALID]


def test_a_thousand_violations_still_fit_a_clients_header_limit() -> None:
    violations = [Violation(f"target.user_ids[{i}]", Reason.FIELD_INVALID, "is empty") for i in range(1_000)]
    status = rich_status(invalid(violations))
    assert status.ByteSize() < 5_000
    assert invalid(violations).metadata["position"] == "0"
