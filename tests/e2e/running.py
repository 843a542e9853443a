"""A real server as a real process, for tests that kill it, restart it and talk to it over a socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pushrpc.cli.emulator import accounts
from pushrpc.emulator import Emulator
from pushrpc.v1 import service_pb2_grpc

START_DEADLINE_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


class Tls(NamedTuple):
    cert_file: str
    key_file: str
    ca_file: str


class ServerProcess:
    """`pushrpc serve` in a child process, on one port and one ledger across restarts."""

    def __init__(
        self,
        directory: Path,
        apps: Mapping[str, Mapping[str, Mapping[str, object]]],
        tls: Tls | None = None,
        **server: object,
    ) -> None:
        self.directory = directory
        self.tls = tls
        self.target = f"127.0.0.1:{free_port()}"
        self.metrics_target = f"127.0.0.1:{free_port()}"
        self.log_file = directory / "server.log"
        self.config_file = directory / "pushrpc.toml"
        self.program: tuple[str, ...] = (sys.executable, "-m", "pushrpc")
        self._process: asyncio.subprocess.Process | None = None
        listen = {"listen": self.target, "metrics_listen": self.metrics_target}
        settings = listen | {"ledger": "sqlite:///ledger.db", "log_level": "debug"} | server
        lines = ["[server]", *(f"{key} = {toml(value)}" for key, value in settings.items())]
        if tls is not None:
            lines += ["[server.tls]", f"cert_file = {toml(tls.cert_file)}", f"key_file = {toml(tls.key_file)}"]
        for app_id, providers in apps.items():
            for provider, account in providers.items():
                lines += [f"[apps.{app_id}.{provider}]", *(f"{key} = {toml(value)}" for key, value in account.items())]
        self.config_file.write_text("\n".join(lines) + "\n")

    def channel(self) -> grpc.aio.Channel:
        if self.tls is None:
            return grpc.aio.insecure_channel(self.target)
        trust = grpc.ssl_channel_credentials(Path(self.tls.ca_file).read_bytes())
        return grpc.aio.secure_channel(self.target, trust)

    async def start(self) -> None:
        """Returns once health says SERVING."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PUSHRPC_")}
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self.program, "serve", "--config", str(self.config_file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        async with self.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(START_DEADLINE_S):
                while True:
                    if self._process.returncode is not None:
                        raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log()}")
                    try:
                        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True)
                    except grpc.aio.AioRpcError:
                        continue
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                    await asyncio.sleep(0.02)  # paces the polling only

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL: no goodbye."""
        await self._end(signal.SIGKILL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP until the end: what comes meanwhile waits in its sockets."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(how)
        code = await asyncio.wait_for(self._process.wait(), 30)
        self._process = None
        return code

    def rss_bytes(self) -> int:
        """Resident memory, as the kernel counts it."""
        (line,) = (line for line in self._proc("status").splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def cpu_s(self) -> float:
        """CPU time of all threads so far."""
        after_name = self._proc("stat").rpartition(")")[2].split()  # the name may hold spaces; proc(5)
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def writes(self) -> set[Path]:
        """The regular files that it has open for writing."""
        assert self._process is not None
        found = set()
        for each in Path(f"/proc/{self._process.pid}/fd").iterdir():
            flags = self._proc(f"fdinfo/{each.name}").partition("flags:")[2].split()[0]  # octal; proc(5)
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY and each.is_file():
                found.add(each.readlink())
        return found

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    async def metrics(self) -> str:
        return await asyncio.to_thread(_read, f"http://{self.metrics_target}/metrics")

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-20_000:]

    async def __aenter__(self) -> ServerProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def stub(channel: grpc.aio.Channel) -> service_pb2_grpc.PushServiceAsyncStub:
    return service_pb2_grpc.PushServiceStub(channel)


def apps_at(emulator: Emulator) -> dict[str, dict[str, dict[str, object]]]:
    """An app `shop` with every provider at the emulator."""
    directory = emulator.ca_file.parent
    return {
        "shop": {
            name: {key: directory / value if key.endswith("_file") else value for key, value in table.items()}
            for name, table in accounts(emulator, directory).items()
        }
    }
