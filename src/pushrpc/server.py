"""The server: builds the parts, owns every task, and stops them in an order one can read here.

Starting: provider accounts, the port (callers hear STARTING), the ledger, the dispatcher, then SERVING.
Stopping on SIGTERM or SIGINT: health says NOT_SERVING, new work is refused, streams leave with a cursor, what is on
the wire gets its answer and is settled, then gRPC, ledger and metrics close.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock, SystemClock
from pushrpc.config import Config, ConfigError, Tls, read_config
from pushrpc.dispatcher import Dispatcher
from pushrpc.feedback import ProviderFeedback
from pushrpc.ledger import Ledger, LedgerError, open_ledger
from pushrpc.model import Lane
from pushrpc.providers import AccountError, KeepsDevices, ProviderAccount, file_errors, open_account
from pushrpc.providers.credentials import check_ca_file, check_certificate
from pushrpc.rpc import PushService, add_to
from pushrpc.rpc.apps import Accounts
from pushrpc.rpc.limits import Settings
from pushrpc.tables import Mistake, split_listen
from pushrpc.telemetry import Telemetry
from pushrpc.transport import open_sessions
from pushrpc.transport.calls import Calls
from pushrpc.transport.http1 import HttpFetch
from pushrpc.words import Provider

SERVICE = "pushrpc.v1.PushService"
EXPIRE_EVERY_S = 1.0
PRUNE_EVERY_S = 60.0
GAUGES_EVERY_S = 1.0
DRAIN_S = 10.0  # a provider's request timeout: whatever can still be answered is
GRACE_S = 5.0
RPCS_MAX = 4_096

# New containers between two collections of cyclic garbage. What moves through the server is freed by counting its
# references, so collections find next to nothing: at Python's own 700 they took 15 % of all CPU under load.
GC_THRESHOLD = 50_000

GRPC_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 256),
    # A burst waits here until the event loop takes it. Past gRPC's own bound of 1,000, calls end with a bare CANCELLED
    # (grpc/grpc pull request 34782); RPCS_MAX, which says why it refuses, shall be met first.
    ("grpc.server.max_pending_requests", RPCS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", 2 * RPCS_MAX),
    # Quiet status streams live for long: callers may ping every 20 s, also without calls (gRPC keepalive guide).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Connections are renewed so that load spreads over new servers; gRPC adds ±10 % jitter itself.
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    ("grpc.max_connection_age_ms", 60 * 60_000),
    ("grpc.max_connection_age_grace_ms", 5 * 60_000),
    # A second server on the same port must fail to start, not silently take half of the calls.
    ("grpc.so_reuseport", 0),
)


class StartFailed(Exception):
    """The server cannot start. The message is one line that says what to do."""


def prepare(path: Path, environ: Mapping[str, str]) -> tuple[Config, Accounts]:
    """Reads the configuration and every file it names. Raises ConfigError with the mistakes of all of them."""
    mistakes: list[Mistake] = []
    try:
        config = read_config(path, environ)
    except ConfigError as error:
        if error.readable is None:
            raise
        config, mistakes = error.readable, list(error.mistakes)
    accounts = _open_accounts(config, mistakes)
    _check_tls(config, mistakes)
    if mistakes:
        raise ConfigError(path, mistakes)
    return config, accounts


def _open_accounts(config: Config, mistakes: list[Mistake]) -> Accounts:
    """Loads the key files of every account; where its table has a mistake already, only checks each file."""
    opened: dict[str, dict[Provider, list[ProviderAccount]]] = {}
    keepers: dict[str, str] = {}  # the app whose devices a provider's registry keeps
    now_us = SystemClock().now_us()
    for app_id, accounts in config.apps.items():
        by_provider = opened.setdefault(app_id, {})
        for account in accounts:
            if _is_told(account.table, mistakes):
                found = [_mistake(f"{account.table}.{e.setting}", e) for e in file_errors(account, now_us)]
                mistakes += found
                continue
            try:
                provider_account = open_account(account, now_us)
            except AccountError as error:
                others = [e for e in file_errors(account, now_us) if e.setting != error.setting]
                mistakes += [_mistake(f"{account.table}.{e.setting}", e) for e in (error, *others)]
            else:
                by_provider.setdefault(provider_account.provider, []).append(provider_account)
                if isinstance(provider_account, KeepsDevices):
                    keeper = keepers.setdefault(provider_account.registry, app_id)
                    if keeper != app_id:
                        mistakes.append(_shared(account.table, app_id, keeper, provider_account.provider_app_id))
    return opened


def _shared(table: str, app_id: str, keeper: str, name: str) -> Mistake:
    problem = (
        f"{name} is the hub of app {keeper} too: {keeper} and {app_id} would overwrite each other's installations, "
        "and what one sends to tags or to everyone would reach the other's users"
    )
    return Mistake(table, problem, f"give {app_id} a hub of its own, or keep the devices of both in one app")


def _check_tls(config: Config, mistakes: list[Mistake]) -> None:
    """What gRPC would only say in a log of its own."""
    if config.tls is None or _is_told("server.tls", mistakes):
        return
    names = {"cert_file": "cert_file", "cert_key_file": "key_file", "ca_file": "client_ca_file"}
    try:
        now_us = SystemClock().now_us()
        check_certificate(config.tls.cert_file, config.tls.key_file, now_us)
        check_ca_file(config.tls.client_ca_file, now_us)
    except AccountError as error:
        mistakes.append(_mistake(f"server.tls.{names[error.setting]}", error))


def _is_told(table: str, mistakes: Sequence[Mistake]) -> bool:
    return any(mistake.key == table or mistake.key.startswith(f"{table}.") for mistake in mistakes)


def _mistake(key: str, error: AccountError) -> Mistake:
    problem, _, remedy = error.problem.partition("; ")
    return Mistake(key, problem, remedy or "correct or replace the file")


class Server:
    """One running server. `port` is the bound one once `started` is set."""

    def __init__(self, config: Config, accounts: Accounts, telemetry: Telemetry, clock: Clock | None = None) -> None:
        self.port = 0
        self.started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._config = config
        self._accounts = accounts
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self._health = HealthServicer()

    def stop(self) -> None:
        """Begins the ordered stop; `run` returns when it is done."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until `stop`. Raises StartFailed and LedgerRefused before anything was served."""
        service = PushService(self._accounts, self._settings(), self._clock, self._telemetry)
        grpc_server = await self._listen(service)
        fetch = HttpFetch()
        calls = Calls(open_sessions)
        try:
            ledger = await self._open_ledger()
            try:
                await self._serve(service, ledger, self._dispatcher(ledger, fetch), calls)
                await grpc_server.stop(GRACE_S)  # calls that are still answered need the ledger
            finally:
                await ledger.close()
        finally:
            await grpc_server.stop(0)
            await calls.close()
            await fetch.close()
        self._telemetry.server_stopped()

    async def _serve(self, service: PushService, ledger: Ledger, dispatcher: Dispatcher, calls: Calls) -> None:
        async with asyncio.TaskGroup() as tasks:
            dispatching = tasks.create_task(dispatcher.run(self._stopping, DRAIN_S))
            keepers = [
                tasks.create_task(self._every(EXPIRE_EVERY_S, lambda: self._expire(ledger, dispatcher))),
                tasks.create_task(self._every(PRUNE_EVERY_S, lambda: self._prune(ledger))),
                tasks.create_task(self._every(GAUGES_EVERY_S, lambda: self._measure(ledger, dispatcher))),
            ]
            provider_calls = ProviderCalls(calls, dispatcher.authorizations)
            feedback = ProviderFeedback(
                ledger, provider_calls, lambda lane: account_of(self._accounts, lane), self._clock, self._telemetry
            )
            keepers.append(tasks.create_task(feedback.run()))
            service.begin(ledger, provider_calls)
            await self._say(health_pb2.HealthCheckResponse.SERVING)
            self._telemetry.server_started(self._config.listen, self.port)
            self.started.set()
            await self._stopping.wait()
            self._telemetry.server_stopping()
            await self._health.enter_graceful_shutdown()
            service.drain()
            await dispatching
            for keeper in keepers:
                keeper.cancel()

    # --- starting

    async def _listen(self, service: PushService) -> grpc.aio.Server:
        server = grpc.aio.server(options=GRPC_OPTIONS, maximum_concurrent_rpcs=RPCS_MAX)
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_to(server, service, reflection=self._config.reflection)
        listen = self._config.listen
        try:
            if self._config.tls is None:
                self.port = server.add_insecure_port(listen)
            else:
                self.port = server.add_secure_port(listen, credentials(self._config.tls))
        except (RuntimeError, OSError) as error:
            raise StartFailed(f"server.listen: cannot listen on {listen}; free the port or choose another") from error
        await server.start()
        return server

    async def _open_ledger(self) -> Ledger:
        config = self._config
        ledger = await open_ledger(
            f"sqlite:///{config.ledger_file}",
            self._clock,
            base=Path(config.ledger_file).parent,
            event_retention_us=config.event_retention_s * 1_000_000,
            request_id_retention_us=config.request_id_retention_s * 1_000_000,
            queue_max=config.queue_max,
            told=self._telemetry.told,
        )
        open_deliveries, _ = ledger.queue(self._clock.now_us())
        self._telemetry.ledger_opened(config.ledger_file, ledger.ledger_id, open_deliveries)
        return ledger

    def _dispatcher(self, ledger: Ledger, fetch: HttpFetch) -> Dispatcher:
        return Dispatcher(
            ledger,
            lambda lane: account_of(self._accounts, lane),
            open_sessions,
            fetch,
            self._clock,
            self._telemetry,
            random.random,
            in_flight_max=self._config.in_flight_max,
            attempts_max=self._config.attempts_max,
        )

    def _settings(self) -> Settings:
        return Settings(
            event_retention_s=self._config.event_retention_s,
            request_id_retention_s=self._config.request_id_retention_s,
        )

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)

    # --- keeping

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        """A failed ledger reopens itself, so its errors end a step and not the server."""
        while True:
            try:
                await step()
            except LedgerError as error:
                self._telemetry.ledger_failed("server.keeping", str(error))
            except Exception as error:  # a bug in keeping house is no reason to stop serving
                self._telemetry.failed("server.keeping", error)
            await self._clock.sleep(seconds)

    async def _expire(self, ledger: Ledger, dispatcher: Dispatcher) -> None:
        await ledger.expire(self._clock.now_us(), dispatcher.paused)

    async def _prune(self, ledger: Ledger) -> None:
        pruned = 0
        while rows := await ledger.prune(self._clock.now_us()):
            pruned += rows
            await asyncio.sleep(0)  # between slices everybody else has a turn
        if pruned:
            self._telemetry.pruned(pruned)

    async def _measure(self, ledger: Ledger, dispatcher: Dispatcher) -> None:
        connections: Counter[Provider] = Counter()
        for lane, runner in dispatcher.runners.items():
            connections[lane.provider] += runner.sessions.open_count
        queued, oldest_s = ledger.queue(self._clock.now_us())
        self._telemetry.measured(queued, oldest_s, connections)


def account_of(accounts: Accounts, lane: Lane) -> ProviderAccount | None:
    """The lane's account; of two with one bundle id, the one whose own environment is the lane's."""
    of_provider = accounts.get(lane.app_id, {}).get(lane.provider, ())
    candidates = [a for a in of_provider if a.provider_app_id == lane.provider_app_id]
    candidates.sort(key=lambda account: account.environment is not lane.environment)
    return candidates[0] if candidates else None


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """Raises OSError when a file cannot be read."""
    client_ca = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file else None
    pair = (Path(tls.key_file).read_bytes(), Path(tls.cert_file).read_bytes())
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def run(config: Config, accounts: Accounts) -> int:
    """Serves in this process until SIGTERM or SIGINT. Raises StartFailed, LedgerRefused."""
    telemetry = Telemetry(sys.stdout, config.log_level)
    try:
        if config.metrics_listen:
            _serve_metrics(telemetry, config.metrics_listen)
        gc.collect()
        gc.freeze()  # modules and classes stay for good: no collection needs to walk them
        gc.set_threshold(GC_THRESHOLD, 10, 10)
        runner = asyncio.Runner(loop_factory=_loop_factory())
        with runner:
            runner.run(_until_signalled(Server(config, accounts, telemetry)))
        return 0
    finally:
        telemetry.close()


def _serve_metrics(telemetry: Telemetry, listen: str) -> None:
    try:
        telemetry.serve_metrics(*split_listen(listen))
    except OSError as error:
        raise StartFailed(
            f"server.metrics_listen: cannot listen on {listen} ({error.strerror}); free the port or choose another"
        ) from error


async def _until_signalled(server: Server) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: measurably less CPU for each call and each socket read."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
