"""The sides: pushrpc and its peers, each a process that does a load and is measured doing it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench.children import START_DEADLINE_S, BenchError, Child, build, child
from bench.machine import cpu_s, rss_peak_mib
from bench.stats import Sample
from pushrpc.cli.children import child as pushrpc_child
from pushrpc.emulator.authority import Authority, private_pem, write_private

TITLE = "Order shipped"
BODY = "Your order is on its way and will be with you in two or three days"
TOPIC = "com.example.bench"
KEY_ID, TEAM_ID, PROJECT = "ABC123DEFG", "DEF123GHIJ", "bench"
# Names that senders with constant hosts ask for; the sink's certificate and its proxy know them all.
PROVIDER_HOSTS = ("api.push.apple.com", "fcm.googleapis.com", "oauth2.googleapis.com")


@dataclass(frozen=True, slots=True)
class Load:
    """`calls` calls of `tokens` new tokens each, made by `callers` at once."""

    provider: str
    tokens: int
    calls: int
    callers: int

    @property
    def pushes(self) -> int:
        return self.calls * self.tokens


class Side:
    """A measured process. Commands go to `told`: the rig as its callers, or the process itself."""

    def __init__(self, name: str, pid: int, told: Child, rig: Child, key: str = "") -> None:
        """`key` is what the rig knows it by, when several processes play one side."""
        self.name = name
        self.pid = pid
        self._told = told
        self._rig = rig
        self._key = key or name

    async def run(self, load: Load, op: str = "send", **more: object) -> Sample:
        """Does a load. The CPU is that of the process from the first call until the last push is settled."""
        before = await self._pushes()
        started = cpu_s(self.pid)
        answer = await self._told.ask({"op": op, "side": self._key, **asdict(load), **more})
        spent = cpu_s(self.pid) - started
        self._check(load, await self._pushes() - before, answer, op)
        per_s = load.pushes / answer["seconds"]
        return Sample(spent / load.pushes * 1e6, per_s, load.pushes, _extra(answer))

    @property
    def rss_peak_mib(self) -> float:
        return rss_peak_mib(self.pid)

    async def _pushes(self) -> int:
        return int((await self._rig.ask({"op": "count"}))["pushes"])

    def _check(self, load: Load, reached: int, answer: dict[str, Any], op: str) -> None:
        """A side that loses or repeats pushes would look faster than it is."""
        expected = 0 if self.name == "echo" else load.pushes
        if op != "cancel" and reached != expected:
            raise BenchError(f"{self.name}: {reached} pushes reached the sink instead of {expected}")
        if op != "cancel" and (answer.get("states") or {}).keys() - {"sent"}:
            raise BenchError(f"{self.name}: not every push was sent: {answer['states']}")


def _extra(answer: dict[str, Any]) -> dict[str, float]:
    extra: dict[str, float] = {}
    for key, value in answer.items():
        if key.endswith("_ms"):
            extra |= {f"{key}.{q}": v for q, v in value.items()} if isinstance(value, dict) else {key: value}
    extra |= {f"states.{state}": n for state, n in (answer.get("states") or {}).items()}
    return extra


class Stage:
    """One sink with its callers, and whatever sides are started beside it; all of it ends with the context."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Stage:
        await asyncio.to_thread(self._write_credentials)
        program = await build("rig")
        argv = (program, "-cert", self._file("sink.pem"))
        self.rig = await self._stack.enter_async_context(child("rig", self.directory, *argv))
        self.endpoint = f"https://{self.rig.ready['address']}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _write_credentials(self) -> None:
        authority = Authority(self.directory)
        authority.issue_server(self._file("sink.pem"), ["127.0.0.1", *PROVIDER_HOSTS])
        write_private(self._file("key.p8"), private_pem(ec.generate_private_key(ec.SECP256R1())))
        google = private_pem(rsa.generate_private_key(65537, 2048)).decode()
        account = {"type": "service_account", "project_id": PROJECT, "private_key_id": "1", "private_key": google}
        account |= {"client_email": f"push@{PROJECT}.iam.gserviceaccount.com", "client_id": "1"}
        account |= {"token_uri": "https://oauth2.googleapis.com/token"}
        write_private(self._file("service.json"), _json(account))

    @asynccontextmanager
    async def pushrpc(
        self, name: str, apps: Sequence[str] = ("shop",), providers: Sequence[str] = ("apns",)
    ) -> AsyncIterator[Side]:
        """`pushrpc serve` on a new, durable SQLite ledger, with a follower of every app; its own process each time."""
        directory = self._file(name)
        directory.mkdir()
        config = directory / "pushrpc.toml"
        config.write_text(pushrpc_config(apps, providers, self.endpoint))
        try:
            async with pushrpc_child(name, "serve", "--config", str(config), ready_event="server_started") as server:
                await self._connect(name, "pushrpc", f"127.0.0.1:{server.ready['port']}", apps)
                side = Side("pushrpc", server.pid, self.rig, self.rig, name)
                # A lane's credential is accepted with its first push; from then on batches move.
                for provider in providers:
                    await side.run(Load(provider, 1, len(apps), len(apps)))
                yield side
                await self.rig.ask({"op": "close", "side": name})
        finally:
            shutil.rmtree(directory)

    async def echo(self) -> Side:
        argv = (sys.executable, "-m", "bench.echo")
        server = await self._stack.enter_async_context(child("echo", self.directory, *argv))
        await self._connect("echo", "echo", server.ready["target"], ("shop",))
        return Side("echo", server.pid, self.rig, self.rig)

    async def aioapns(self) -> Side:
        about = (self.endpoint, self._file("ca.pem"), self._file("key.p8"), TOPIC, TITLE, BODY)
        argv = (sys.executable, "-m", "bench.aioapns_sender", *about)
        sender = await self._stack.enter_async_context(child("aioapns", self.directory, *argv))
        return Side("aioapns", sender.pid, sender, self.rig)

    async def apns2(self) -> Side:
        files = ("-ca", self._file("ca.pem"), "-key", self._file("key.p8"))
        about = ("-host", self.endpoint, "-topic", TOPIC, "-title", TITLE, "-body", BODY)
        argv = (await build("apns2pool"), *files, *about)
        sender = await self._stack.enter_async_context(child("apns2", self.directory, *argv))
        return Side("apns2", sender.pid, sender, self.rig)

    async def gorush(self, provider: str) -> tuple[Side, Side]:
        """gorush as released, for one provider: its REST door with results told (`core.sync`), and its gRPC door.

        A process for each provider, because with `core.http_proxy`, which APNs needs to reach the sink, its FCM client
        fails to fetch an access token over HTTP/2; FCM takes the proxy from the environment.
        """
        program = await build("gorush")
        name, proxy, ports = f"gorush-{provider}", f"http://{self.rig.ready['proxy']}", (_free_port(), _free_port())
        config = self._file(f"{name}.yml")
        config.write_text(gorush_config(*ports, proxy if provider == "apns" else "", self.directory))
        environ = {"SSL_CERT_FILE": str(self._file("ca.pem")), "HTTPS_PROXY": proxy}
        starting = child(name, self.directory, program, "-c", config, environ=environ, is_quiet=True)
        server = await self._stack.enter_async_context(starting)
        sides = []
        for port, kind in zip(ports, ("gorush-rest", "gorush-grpc"), strict=True):
            await _until_listening(port)
            key = f"{kind}-{provider}"
            await self._connect(key, kind, f"127.0.0.1:{port}", ("shop",))
            sides.append(Side(kind, server.pid, self.rig, self.rig, key))
        return sides[0], sides[1]

    async def slow_sink(self, latency_ms: float) -> None:
        """Every answer of the sink takes this long from now on."""
        await self.rig.ask({"op": "sink", "latency_ms": latency_ms})

    async def _connect(self, side: str, kind: str, target: str, apps: Sequence[str]) -> None:
        about = {"title": TITLE, "body": BODY, "topic": TOPIC, "apps": apps}
        await self.rig.ask({"op": "connect", "side": side, "kind": kind, "target": target, **about})


def pushrpc_config(apps: Sequence[str], providers: Sequence[str], endpoint: str) -> str:
    """The server's own defaults; every app has accounts of its own at the sink, with the same keys."""
    where = f'endpoint = "{endpoint}"\nca_file = "../ca.pem"\n'
    keys = {
        "apns": f'key_file = "../key.p8"\nkey_id = "{KEY_ID}"\nteam_id = "{TEAM_ID}"\ntopic = "{TOPIC}"\n',
        "fcm": 'service_account_file = "../service.json"\n',
    }
    accounts = (f"[apps.{app}.{provider}]\n{keys[provider]}{where}" for app in apps for provider in providers)
    return '[server]\nlisten = "127.0.0.1:0"\nledger = "sqlite:///ledger.db"\n' + "".join(accounts)


def gorush_config(rest: int, grpc: int, proxy: str, directory: Path) -> str:
    """Its own defaults, but: results told (`sync`), a worker for every caller instead of one a core, and no access log.

    Each of these was measured to make it faster here, or no slower. Its gRPC door has no address to set: while a run
    lasts it listens on every interface.
    """
    return f"""
core: {{enabled: true, address: "127.0.0.1", port: "{rest}", worker_num: 64, queue_num: 8192, max_notification: 100,
  sync: true, mode: release, shutdown_timeout: 1, http_proxy: "{proxy}"}}
grpc: {{enabled: true, port: "{grpc}"}}
api: {{push_uri: /api/push, stat_go_uri: /api/stat/go, stat_app_uri: /api/stat/app, config_uri: /api/config,
  sys_stat_uri: /sys/stats, metric_uri: /metrics, health_uri: /healthz}}
android: {{enabled: true, key_path: "{directory / "service.json"}"}}
ios: {{enabled: true, key_path: "{directory / "key.p8"}", key_id: "{KEY_ID}", team_id: "{TEAM_ID}", production: true,
  max_concurrent_pushes: 100}}
queue: {{engine: local}}
log: {{format: string, access_log: stdout, access_level: error, error_log: stderr, error_level: error}}
stat: {{engine: memory}}
"""


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(START_DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)  # paces the polling only
            else:
                writer.close()
                return
