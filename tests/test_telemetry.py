"""Telemetry: names exist once, counts add up, and neither secrets nor a blocked output get through."""

from __future__ import annotations

import ast
import io
import json
import os
import threading
import urllib.request
from pathlib import Path
from typing import Any, cast

import pytest

import pushrpc.telemetry
from pushrpc.model import NOT_SENT, Claimed, Lane, Outcome, Settlement
from pushrpc.policy import LaneHealth, LaneState
from pushrpc.telemetry import LINES_WAITING_MAX, LogEvent, MetricName, Telemetry, only_known_keys
from pushrpc.words import Cause, DeliveryState, Environment, OutcomeKind, Provider

APNS = Lane("shop", Provider.APNS, "com.example.shop", Environment.PRODUCTION)
FCM = Lane("shop", Provider.FCM, "shop-1", Environment.UNSPECIFIED)
TOKEN = "0a" * 32
FCM_TOKEN = "d" * 22 + ":APA91b" + "Ab-_9" * 26
JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6IkEifQ.eyJpc3MiOiJUIiwiaWF0IjoxfQfffffffff.c2lnbmF0dXJlc2lnbmF0dXJl"


def settlement(state: DeliveryState, outcome: Outcome, seconds: float = 0.03) -> Settlement:
    claimed = cast(Claimed, None)  # telemetry must not look at the delivery: it holds the token
    return Settlement(claimed, outcome, state, Cause.UNSPECIFIED, 0, True, 1_000_000, 1_000_000 + int(seconds * 1e6))


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


def logged(act: Any, log_level: str = "info") -> list[dict[str, Any]]:
    """What `act(telemetry)` logs."""
    stream = io.StringIO()
    telemetry = Telemetry(stream, log_level)
    act(telemetry)
    telemetry.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_name_is_written_once_in_the_source() -> None:
    tree = ast.parse(Path(pushrpc.telemetry.__file__).read_text())
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    for name in [*LogEvent, *MetricName]:
        assert texts.count(name.value) == 1


def test_each_metric_is_exposed_and_no_other() -> None:
    telemetry = Telemetry()
    exposed = {m.name for m in telemetry.registry.collect() if m.name.startswith("pushrpc_")}
    assert exposed == {name.removesuffix("_total") for name in MetricName}


def test_a_batch_is_counted_by_state_outcome_and_time() -> None:
    telemetry = Telemetry()
    accepted, busy = Outcome(OutcomeKind.ACCEPTED), Outcome(OutcomeKind.THROTTLED)
    telemetry.settled(APNS, [settlement(DeliveryState.SENT, accepted)] * 300)
    telemetry.settled(
        APNS,
        [
            settlement(DeliveryState.SENT, accepted, seconds=20.0),
            settlement(DeliveryState.QUEUED, busy),
            settlement(DeliveryState.QUEUED, NOT_SENT),
        ],
    )
    assert value(telemetry, MetricName.ATTEMPTS, provider="apns", outcome="accepted") == 301
    assert value(telemetry, MetricName.ATTEMPTS, provider="apns", outcome="throttled") == 1
    assert value(telemetry, f"{MetricName.ANSWER_SECONDS}_bucket", provider="apns", le="0.025") == 0
    assert value(telemetry, f"{MetricName.ANSWER_SECONDS}_bucket", provider="apns", le="0.05") == 301
    assert value(telemetry, f"{MetricName.ANSWER_SECONDS}_bucket", provider="apns", le="+Inf") == 302
    assert value(telemetry, f"{MetricName.ANSWER_SECONDS}_count", provider="apns") == 302
    total_s = value(telemetry, f"{MetricName.ANSWER_SECONDS}_sum", provider="apns")
    assert total_s == pytest.approx(301 * 0.03 + 20.0)


def test_final_states_are_counted_by_commit() -> None:
    telemetry = Telemetry()
    telemetry.told({("shop", Provider.APNS, DeliveryState.SENT): 300})
    telemetry.told({("shop", Provider.APNS, DeliveryState.SENT): 1, ("shop", Provider.FCM, DeliveryState.EXPIRED): 1})
    assert value(telemetry, MetricName.FINAL, app="shop", provider="apns", state="sent") == 301
    assert value(telemetry, MetricName.FINAL, app="shop", provider="fcm", state="expired") == 1


def test_accepts_gauges_and_streams() -> None:
    telemetry = Telemetry()
    telemetry.accepted("shop", notifications=2, deliveries=30, rejected=1)
    telemetry.measured(12, 3.5, {Provider.APNS: 2})
    telemetry.stream_opened()
    telemetry.stream_opened()
    telemetry.stream_closed()
    assert value(telemetry, MetricName.NOTIFICATIONS, app="shop") == 2
    assert value(telemetry, MetricName.DELIVERIES, app="shop") == 30
    assert value(telemetry, MetricName.TARGETS_REJECTED, app="shop") == 1
    assert value(telemetry, MetricName.QUEUE) == 12
    assert value(telemetry, MetricName.QUEUE_OLDEST) == 3.5
    assert value(telemetry, MetricName.CONNECTIONS, provider="apns") == 2
    assert value(telemetry, MetricName.STREAMS) == 1


def test_a_lane_is_in_exactly_one_state() -> None:
    telemetry = Telemetry()
    telemetry.lane_opened(FCM)
    telemetry.lane_changed(FCM, LaneHealth(LaneState.PAUSED, reason="SENDER_ID_MISMATCH"))
    labels = {"app_id": "shop", "provider": "fcm", "provider_app_id": "shop-1", "environment": ""}
    states = {s.value: value(telemetry, MetricName.LANES, **labels, state=s.value) for s in LaneState}
    assert states.pop("paused") == 1
    assert set(states.values()) == {0}


def test_a_lanes_troubles_are_warnings_with_the_providers_reason() -> None:
    def act(telemetry: Telemetry) -> None:
        telemetry.lane_opened(APNS)
        telemetry.lane_changed(APNS, LaneHealth(LaneState.OPEN))
        telemetry.lane_changed(APNS, LaneHealth(LaneState.PAUSED, reason="InvalidProviderToken"))
        telemetry.lane_changed(APNS, LaneHealth(LaneState.OPEN))

    opened, paused, resumed = logged(act)
    assert [opened["event"], paused["event"], resumed["event"]] == ["lane_opened", "lane_paused", "lane_resumed"]
    assert paused["level"] == "warning" and paused["reason"] == "InvalidProviderToken"
    assert (paused["app_id"], paused["provider"], paused["environment"]) == ("shop", "apns", "production")
    assert paused["timestamp"].endswith("Z")


def test_the_level_is_a_threshold() -> None:
    def act(telemetry: Telemetry) -> None:
        telemetry.server_started("127.0.0.1:0", 50051)
        telemetry.lane_changed(APNS, LaneHealth(LaneState.HOLDING, reason="TooManyRequests"))

    assert [line["event"] for line in logged(act, "info")] == ["server_started", "lane_held"]
    assert [line["event"] for line in logged(act, "warning")] == ["lane_held"]


def test_an_internal_error_tells_where_and_not_what_it_said() -> None:
    def act(telemetry: Telemetry) -> None:
        try:
            raise ValueError(f"bad payload {TOKEN} secret-words")
        except ValueError as error:
            telemetry.failed("dispatcher.move", error)

    (line,) = logged(act)
    assert (line["error"], line["where"], line["level"]) == ("ValueError", "dispatcher.move", "error")
    assert line["stack"][-1].startswith("test_telemetry.py:")
    assert "secret-words" not in str(line) and TOKEN not in str(line)


def test_a_failing_ledger_says_what_is_wrong_with_it() -> None:
    (line,) = logged(lambda t: t.ledger_failed("dispatcher.settle", "writing failed: disk I/O error"))
    assert (line["event"], line["level"], line["where"]) == ("ledger_failed", "error", "dispatcher.settle")
    assert line["problem"] == "writing failed: disk I/O error"


def test_unknown_keys_are_named_but_not_shown() -> None:
    event = {"event": "x", "token": "t-1", "payload": {"title": "hi"}, "authorization": "bearer b"}
    assert only_known_keys(None, "info", event) == {
        "event": "x",
        "hidden_keys": ["authorization", "payload", "token"],
    }


@pytest.mark.parametrize("secret", [TOKEN, FCM_TOKEN, JWT])
def test_what_looks_like_a_token_is_hidden_even_in_a_known_key(secret: str) -> None:
    (line,) = logged(lambda t: t.lane_changed(APNS, LaneHealth(LaneState.PAUSED, reason=f"no such token {secret}!")))
    assert line["reason"] == "no such token (hidden)!"


def test_ids_and_file_names_are_shown() -> None:
    ledger_id = "0198c8a2-7c1e-7d2b-8f3a-0123456789ab"
    (line,) = logged(lambda t: t.ledger_opened("/var/lib/pushrpc/production/pushrpc.db", ledger_id, 3))
    assert (line["ledger_file"], line["ledger_id"]) == ("/var/lib/pushrpc/production/pushrpc.db", ledger_id)


def test_a_reason_cannot_forge_a_line_and_is_cut() -> None:
    reason = "a\n\x1b[31mb" + " word" * 400
    (line,) = logged(lambda t: t.lane_changed(APNS, LaneHealth(LaneState.PAUSED, reason=reason)))
    assert "\n" not in line["reason"] and "\x1b" not in line["reason"] and len(line["reason"]) == 500


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    telemetry = Telemetry(stream)
    telemetry.server_started("127.0.0.1:50051", 50051)
    telemetry.close()
    assert "server_started" in stream.getvalue() and "listen=127.0.0.1:50051" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_an_output_that_nobody_reads_stalls_nobody_and_losses_are_counted() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as unread:
        telemetry = Telemetry(stream)

        def flood() -> None:
            for _ in range(LINES_WAITING_MAX + 2_000):
                telemetry.pruned(1)

        caller = threading.Thread(target=flood)
        caller.start()
        caller.join(30)
        assert not caller.is_alive()
        dropped = value(telemetry, MetricName.LOG_DROPPED)
        assert dropped is not None and dropped > 0
        unread.close()  # the blocked write now fails, and the writer's thread can end
        telemetry.close()


def test_metrics_are_served_on_a_free_port_until_closed() -> None:
    telemetry = Telemetry()
    port = telemetry.serve_metrics("127.0.0.1", 0)
    telemetry.accepted("shop", 1, 5)
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    assert 'pushrpc_deliveries_accepted_total{app="shop"} 5.0' in text
    assert "process_resident_memory_bytes" in text
    telemetry.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)
