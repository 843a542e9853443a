"""What the server tells its operators: every log event and every metric, named once.

Logs carry ids, never tokens, payloads or credentials: only keys of `LOG_KEYS` pass, and a value that looks like a token
is hidden. Counting is a few dictionary additions for a whole batch, because it runs beside every push.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum, unique
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pushrpc import __version__
from pushrpc.model import Lane, Settlement
from pushrpc.policy import LaneHealth, LaneState
from pushrpc.record import EventRun
from pushrpc.words import DeliveryState, OutcomeKind, Provider


@unique
class LogEvent(StrEnum):
    """Every event a log line can be about."""

    CONFIG_REFUSED = "config_refused"
    METRICS_STARTED = "metrics_started"
    SERVER_STARTED = "server_started"
    SERVER_STOPPING = "server_stopping"
    SERVER_STOPPED = "server_stopped"
    LEDGER_OPENED = "ledger_opened"
    LEDGER_PRUNED = "ledger_pruned"
    LEDGER_FAILED = "ledger_failed"
    LANE_OPENED = "lane_opened"
    LANE_PAUSED = "lane_paused"
    LANE_HELD = "lane_held"
    LANE_RENEWING = "lane_renewing"
    LANE_RESUMED = "lane_resumed"
    CREDENTIAL_RENEWED = "credential_renewed"
    TAGS_LEFT_OUT = "tags_left_out"
    FEEDBACK_DOUBTED = "feedback_doubted"
    INTERNAL_ERROR = "internal_error"


@unique
class MetricName(StrEnum):
    """Every metric."""

    BUILD = "pushrpc_build_info"
    NOTIFICATIONS = "pushrpc_notifications_accepted_total"
    DELIVERIES = "pushrpc_deliveries_accepted_total"
    TARGETS_REJECTED = "pushrpc_targets_rejected_total"
    FINAL = "pushrpc_deliveries_final_total"
    ATTEMPTS = "pushrpc_attempts_total"
    ANSWER_SECONDS = "pushrpc_answer_seconds"
    QUEUE = "pushrpc_queue_deliveries"
    QUEUE_OLDEST = "pushrpc_queue_oldest_seconds"
    CONNECTIONS = "pushrpc_connections"
    STREAMS = "pushrpc_streams"
    LANES = "pushrpc_lane_state"
    LOG_DROPPED = "pushrpc_log_lines_dropped_total"


LANE_KEYS = ("app_id", "provider", "provider_app_id", "environment")
LOG_KEYS = frozenset(
    {
        *("event", "level", "timestamp", "version", "listen", "port", "ledger_file", "ledger_id"),
        *("open_deliveries", "key", "problem", "remedy", "rows"),
        *LANE_KEYS,
        *("state", "reason", "hold_seconds", "where", "error", "stack", "hidden_keys", "device_id"),
    }
)
VALUE_CHARS_MAX = 500
# Tokens, JWTs and keys are long runs of these; ids, file names and words are shorter.
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_:%+=-]{60,}|[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

ANSWER_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LINES_WAITING_MAX = 10_000  # some megabytes of lines, while whoever reads our output sleeps
FLUSH_TIMEOUT_S = 1.0

_LANE_EVENTS = {
    LaneState.OPEN: LogEvent.LANE_RESUMED,
    LaneState.PROVING: LogEvent.LANE_RESUMED,
    LaneState.HOLDING: LogEvent.LANE_HELD,
    LaneState.RENEWING: LogEvent.LANE_RENEWING,
    LaneState.PAUSED: LogEvent.LANE_PAUSED,
}


class LineWriter:
    """Writes lines on a thread of its own, so that a blocked or broken output never stalls the server.

    Lines beyond LINES_WAITING_MAX, and all after the output broke, are dropped and counted.
    """

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        # Below Python's buffer, whose lock a blocked write would hold and so hang the interpreter's exit.
        self._raw: Any = getattr(getattr(stream, "buffer", None), "raw", None)
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        """The call structlog makes."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    debug = info = warning = error = msg

    def close(self) -> None:
        """Waits up to FLUSH_TIMEOUT_S for what was logged to be written."""
        try:
            self._lines.put(None, timeout=FLUSH_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(FLUSH_TIMEOUT_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                if self._raw is None:
                    self._stream.write(line + "\n")
                    continue
                rest = (line + "\n").encode("utf-8", "backslashreplace")
                while rest:
                    rest = rest[self._raw.write(rest) :]
            except (OSError, ValueError):  # ValueError: closed under us
                self.dropped += 1


class Telemetry:
    """One per server. Verbs never raise and never wait; all but `close` are called on the event loop's thread.

    Without a `stream` nothing is logged, and metrics still count.
    """

    def __init__(self, stream: TextIO | None = None, log_level: str = "info") -> None:
        self.registry = CollectorRegistry()
        self._figures = _Figures()
        self._writer = LineWriter(stream) if stream is not None else None
        self._log = (
            _logger(self._writer, stream, log_level) if self._writer is not None and stream is not None else None
        )
        self._metrics_server: tuple[Any, threading.Thread] | None = None
        self._figures.log_dropped = lambda: self._writer.dropped if self._writer is not None else 0
        self.registry.register(self._figures)
        ProcessCollector(registry=self.registry)

    # --- life of the server

    def serve_metrics(self, host: str, port: int) -> int:
        """Starts the HTTP exposition on a thread of its own; returns the port. Raises OSError."""
        server, thread = start_http_server(port, host, self.registry)
        self._metrics_server = (server, thread)
        bound = int(server.server_port)
        self._tell("info", LogEvent.METRICS_STARTED, listen=host, port=bound)
        return bound

    def close(self) -> None:
        """Stops the exposition and writes what was logged."""
        if self._metrics_server is not None:
            server, thread = self._metrics_server
            server.shutdown()
            server.server_close()
            thread.join(FLUSH_TIMEOUT_S)
            self._metrics_server = None
        if self._writer is not None:
            self._writer.close()

    def config_refused(self, key: str, problem: str, remedy: str) -> None:
        self._tell("error", LogEvent.CONFIG_REFUSED, key=key, problem=problem, remedy=remedy)

    def server_started(self, listen: str, port: int) -> None:
        """`listen` as configured, `port` as bound."""
        self._tell("info", LogEvent.SERVER_STARTED, version=__version__, listen=listen, port=port)

    def server_stopping(self) -> None:
        self._tell("info", LogEvent.SERVER_STOPPING)

    def server_stopped(self) -> None:
        self._tell("info", LogEvent.SERVER_STOPPED)

    def ledger_opened(self, ledger_file: str, ledger_id: str, open_deliveries: int) -> None:
        about = {"ledger_file": ledger_file, "ledger_id": ledger_id, "open_deliveries": open_deliveries}
        self._tell("info", LogEvent.LEDGER_OPENED, **about)

    def pruned(self, rows: int) -> None:
        self._tell("info", LogEvent.LEDGER_PRUNED, rows=rows)

    def ledger_failed(self, where: str, problem: str) -> None:
        """`problem` is the text of a LedgerError: it tells of the disk and the engine, never of a payload or token."""
        self._tell("error", LogEvent.LEDGER_FAILED, where=where, problem=problem)

    # --- the hot path: once per batch

    def accepted(self, app_id: str, notifications: int, deliveries: int, rejected: int = 0) -> None:
        """Sends that became durable; replays are not counted."""
        figures = self._figures
        figures.notifications[app_id] += notifications
        figures.deliveries[app_id] += deliveries
        if rejected:
            figures.rejected[app_id] += rejected

    def settled(self, lane: Lane, settlements: Sequence[Settlement]) -> None:
        """What one commit settled: attempts by outcome, and how long answers took."""
        figures = self._figures
        provider = lane.provider
        for settlement in settlements:
            kind, count = settlement.outcome.kind, len(settlement.deliveries)
            if kind is not OutcomeKind.UNSPECIFIED:
                figures.attempts[provider, kind] += count
                figures.answered(provider, (settlement.time_us - settlement.started_us) / 1e6, count)

    def told(self, runs: Sequence[EventRun]) -> None:
        """The events of one commit: every delivery that became final, with or without a provider, counts once."""
        for run in runs:
            if run.final:
                self._figures.final[run.app_id, run.provider, run.state] += len(run.tokens)

    def measured(self, queued: int, oldest_s: float, connections: Mapping[Provider, int]) -> None:
        """What the server reads off its parts now and then: the queue, and open connections to providers."""
        self._figures.queue = (queued, oldest_s)
        self._figures.connections = dict(connections)

    def stream_opened(self) -> None:
        self._figures.streams += 1

    def stream_closed(self) -> None:
        self._figures.streams -= 1

    # --- lanes and their credentials

    def lane_opened(self, lane: Lane) -> None:
        self._figures.lanes[lane] = LaneState.PROVING
        self._tell("info", LogEvent.LANE_OPENED, **_lane(lane))

    def lane_changed(self, lane: Lane, health: LaneHealth) -> None:
        before = self._figures.lanes.get(lane)
        self._figures.lanes[lane] = health.state
        if before is LaneState.PROVING and health.state is LaneState.OPEN:
            return  # the first answer of a lane is no news
        hold_s = max(0.0, health.hold_until_us / 1e6 - time.time()) if health.hold_until_us else 0.0
        trouble = health.state in (LaneState.PAUSED, LaneState.HOLDING)
        about = {"state": health.state.value, "reason": health.reason, "hold_seconds": round(hold_s, 1)}
        self._tell("warning" if trouble else "info", _LANE_EVENTS[health.state], **_lane(lane), **about)

    def credential_renewed(self, lane: Lane) -> None:
        self._tell("info", LogEvent.CREDENTIAL_RENEWED, **_lane(lane))

    def feedback_doubted(self, lane: Lane, reason: str) -> None:
        """So many tokens in a row are told to be dead that the hub's own credentials may be the wrong ones."""
        self._tell("warning", LogEvent.FEEDBACK_DOUBTED, **_lane(lane), reason=reason)

    def tags_left_out(self, lane: Lane, device_id: str, count: int) -> None:
        """So many tags of a device do not reach the registry that its provider keeps: sends by tag miss it."""
        self._tell("warning", LogEvent.TAGS_LEFT_OUT, **_lane(lane), device_id=device_id, rows=count)

    # --- bugs

    def failed(self, where: str, error: BaseException) -> None:
        """An error nobody expected. Its kind and place, not its text: that may quote a payload."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        stack = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames]  # noqa: PTH119
        self._tell("error", LogEvent.INTERNAL_ERROR, where=where, error=type(error).__name__, stack=stack)

    def _tell(self, level: str, event: LogEvent, **about: Any) -> None:
        if self._log is not None:
            getattr(self._log, level)(event.value, **about)


def _lane(lane: Lane) -> dict[str, str]:
    environment = lane.environment.name.lower() if lane.environment else ""
    return dict(
        zip(LANE_KEYS, (lane.app_id, lane.provider.name.lower(), lane.provider_app_id, environment), strict=True)
    )


def _logger(writer: LineWriter, stream: TextIO, log_level: str) -> Any:
    terminal = stream.isatty()
    render: Any = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    if terminal:
        render = structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ, pad_event_to=20)
    return structlog.wrap_logger(
        writer,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_known_keys,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        cache_logger_on_first_use=True,
    )


def only_known_keys(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The processor that keeps secrets out: unknown keys are named but not shown, values are cut and cleaned."""
    shown: dict[str, Any] = {key: _clean(value) for key, value in event.items() if key in LOG_KEYS}
    hidden = sorted(event.keys() - LOG_KEYS)
    if hidden:
        shown["hidden_keys"] = hidden
    return shown


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, int | float) or value is None:
        return value
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)[: 4 * VALUE_CHARS_MAX])
    return _TOKEN_LIKE.sub("(hidden)", text)[:VALUE_CHARS_MAX]


class _Figures(Collector):
    """The counts behind the metrics. Added to on the event loop, read by the exposition's threads as copies."""

    def __init__(self) -> None:
        self.notifications: dict[str, int] = defaultdict(int)
        self.deliveries: dict[str, int] = defaultdict(int)
        self.rejected: dict[str, int] = defaultdict(int)
        self.final: dict[tuple[str, Provider, DeliveryState], int] = defaultdict(int)
        self.attempts: dict[tuple[Provider, OutcomeKind], int] = defaultdict(int)
        self.answers: dict[Provider, list[int]] = {}
        self.answer_seconds: dict[Provider, float] = defaultdict(float)
        self.queue = (0, 0.0)
        self.connections: dict[Provider, int] = {}
        self.streams = 0
        self.lanes: dict[Lane, LaneState] = {}
        self.log_dropped: Callable[[], int] = lambda: 0

    def answered(self, provider: Provider, seconds: float, count: int) -> None:
        if provider not in self.answers:
            self.answers[provider] = [0] * (len(ANSWER_BUCKETS_S) + 1)
        self.answers[provider][bisect_left(ANSWER_BUCKETS_S, seconds)] += count
        self.answer_seconds[provider] += seconds * count

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(MetricName.BUILD, "The running release.", labels=["version", "python"])
        build.add_metric([__version__, sys.version.split()[0]], 1)
        yield build
        yield self._by_app(MetricName.NOTIFICATIONS, "Notifications accepted durably.", self.notifications)
        yield self._by_app(MetricName.DELIVERIES, "Deliveries accepted durably.", self.deliveries)
        yield self._by_app(MetricName.TARGETS_REJECTED, "Named targets that made no delivery.", self.rejected)
        final = CounterMetricFamily(MetricName.FINAL, "Deliveries by final state.", labels=["app", "provider", "state"])
        for (app_id, provider, state), count in self.final.copy().items():
            final.add_metric([app_id, _word(provider), _word(state)], count)
        yield final
        attempts = CounterMetricFamily(MetricName.ATTEMPTS, "Attempts by outcome.", labels=["provider", "outcome"])
        for (provider, kind), count in self.attempts.copy().items():
            attempts.add_metric([_word(provider), _word(kind)], count)
        yield attempts
        yield self._answer_histogram()
        yield from self._gauges()
        dropped = CounterMetricFamily(MetricName.LOG_DROPPED, "Log lines lost because nobody read the output.")
        dropped.add_metric([], self.log_dropped())
        yield dropped

    @staticmethod
    def _by_app(name: MetricName, about: str, counts: dict[str, int]) -> Metric:
        family = CounterMetricFamily(name, about, labels=["app"])
        for app_id, count in counts.copy().items():
            family.add_metric([app_id], count)
        return family

    def _answer_histogram(self) -> Metric:
        about = "From claiming a batch to the provider's answer."
        family = HistogramMetricFamily(MetricName.ANSWER_SECONDS, about, labels=["provider"])
        for provider, counts in self.answers.copy().items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip([*map(str, ANSWER_BUCKETS_S), "+Inf"], list(counts), strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([_word(provider)], buckets, self.answer_seconds[provider])
        return family

    def _gauges(self) -> Iterator[Metric]:
        queued, oldest_s = self.queue
        yield GaugeMetricFamily(MetricName.QUEUE, "Open deliveries.", value=queued)
        yield GaugeMetricFamily(MetricName.QUEUE_OLDEST, "Age of the oldest delivery that is due.", value=oldest_s)
        connections = GaugeMetricFamily(MetricName.CONNECTIONS, "Open provider connections.", labels=["provider"])
        for provider, count in self.connections.items():
            connections.add_metric([_word(provider)], count)
        yield connections
        yield GaugeMetricFamily(MetricName.STREAMS, "Open status streams.", value=self.streams)
        lanes = GaugeMetricFamily(MetricName.LANES, "1 for the state each lane is in.", labels=[*LANE_KEYS, "state"])
        for lane, now in self.lanes.copy().items():
            for state in LaneState:
                lanes.add_metric([*_lane(lane).values(), state.value], float(state is now))
        yield lanes


def _word(value: Provider | DeliveryState | OutcomeKind) -> str:
    return value.name.lower() if value else ""
