"""Four HTTP/2 servers as child processes, told what to do and telling what they see, in one language of JSON lines.

Orders on standard input, each answered by a line with the same `id` (and `error` when it failed):
  listen  listener, cert, key, alpn, stalls, settings, plan, reads, padded, connection_window -> port
  steps   listener, steps, in their order -> nothing, once all were handed to the engine
  close   listener -> added: frames that were written past the engine's own interface
A step is [verb, target, ...]. A stream is named by its token, the last part of its path; a connection by its number,
counted from 1 for each listener. Requests bring `authorization: bearer t` and their token as `apns-id`.
  interim token status            headers token status end [filler bytes]      data token bytes end
  trailers token                  reset token code
  goaway connection last code     shutdown connection     settings connection {id: value}     ping connection
  unknown connection              release connection      cut connection reset
`plan` holds the steps, without token, that answer each request when it has come whole.
Events, each with its connection: opened, closed, broken (the client broke a rule, or its headers are not those),
began (token, stream), whole (token, length), answered (token), cancelled (token), acknowledged (SETTINGS), pong.
Responses carry `x-token`; a body is its token again and again. A server ends with its standard input.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
WAIT_S: Final = 10.0  # for anything a healthy server does at once
BUILD_S: Final = 100.0
NODE_MAJOR_MIN: Final = 20  # older ones cannot send settings of their user's choice
LINE_BYTES_MAX: Final = 1 << 20

Step = Sequence[object]


class Missing(Exception):
    """What a server needs is not on this machine."""


class Kind(NamedTuple):
    """One column of the table. `command` builds what has to be built, in a directory that it may fill."""

    name: str
    title: str
    command: Callable[[Path], Sequence[str]]


class Listening(NamedTuple):
    """How a listener's connections begin."""

    settings: Mapping[int, int] = {}
    plan: Sequence[Step] = ()
    alpn: Sequence[str] = ("h2",)
    reads: bool = True
    padded: bool = False
    stalls: bool = False
    connection_window: int = 65_535


class Heard(NamedTuple):
    """Where a request came in."""

    connection: int
    stream: int


@dataclass
class Listener:
    """A listening port of a server, and the log of what came there."""

    server: Server
    number: int
    plan: Sequence[Step] = ()
    port: int = 0
    began: dict[str, Heard] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)  # (event, connection)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, line: dict[str, Any]) -> None:
        event, token = line["event"], line.get("token", "")
        self.counts[event, line["connection"]] += 1
        match event:
            case "began":
                self.twice |= {token} & self.began.keys()
                self.began[token] = Heard(line["connection"], line["stream"])
            case "whole":
                self.whole[token] = line["length"]
            case "answered":
                self.answered.add(token)
            case "cancelled":
                self.cancelled.add(token)
            case "broken":
                self.broken.append(line["detail"])
        self.news.set()

    @property
    def connections(self) -> int:
        return sum(event == "opened" for event, _ in self.counts)

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for the log to say so. Fails after a while, and at once where the client broke a rule."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    assert not self.broken, self.broken
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError as error:
            raise AssertionError(f"waited in vain; the server's log: {dict(self.counts)}") from error

    async def do(self, *steps: Step) -> None:
        await self.server.order("steps", listener=self.number, steps=steps)


class Server:
    """A child process that stays for many cells."""

    def __init__(self, kind: Kind, process: asyncio.subprocess.Process) -> None:
        self.kind = kind
        self.added = 0  # frames past the engine's own interface, on listeners that are closed
        self._process = process
        self._orders: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listeners: dict[int, Listener] = {}
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def listening(self, options: Listening, certificate: tuple[str, str]) -> AsyncIterator[Listener]:
        listener = Listener(self, next(self._numbers), options.plan)
        self._listeners[listener.number] = listener
        cert, key = certificate
        said = await self.order("listen", listener=listener.number, cert=cert, key=key, **options._asdict())
        listener.port = said["port"]
        try:
            yield listener
        finally:
            self.added += (await self.order("close", listener=listener.number))["added"]
            del self._listeners[listener.number]

    async def order(self, verb: str, **fields: object) -> dict[str, Any]:
        number = next(self._numbers)
        self._orders[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"id": number, "do": verb, **fields}).encode() + b"\n")
        said = await asyncio.wait_for(self._orders[number], WAIT_S)
        assert "error" not in said, f"{self.kind.name}: {verb}: {said['error']}"
        return said

    def stop(self) -> None:
        """The process reads and writes nothing until `go_on`, while its kernel keeps the connections."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def read(self) -> None:
        """Hands out what the process says, until it ends."""
        assert self._process.stdout
        while text := await self._process.stdout.readline():
            line = json.loads(text)
            if "id" in line:
                self._orders.pop(line["id"]).set_result(line)
            elif listener := self._listeners.get(line["listener"]):
                listener.hear(line)
        for waiting in self._orders.values():
            if not waiting.done():
                waiting.set_exception(AssertionError(f"the {self.kind.name} server has ended"))


@asynccontextmanager
async def running(kind: Kind, directory: Path) -> AsyncIterator[Server]:
    """Raises Missing."""
    command = await asyncio.to_thread(kind.command, directory)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    server = Server(kind, process)
    reading = asyncio.create_task(server.read())
    try:
        yield server
    finally:
        server.go_on()
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), WAIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


def _go(directory: Path) -> Sequence[str]:
    go = shutil.which("go")
    if go is None:
        raise Missing("no Go toolchain")
    source, binary = HERE / "go_server", directory / "go_server"
    modules = subprocess.run([go, "mod", "download"], cwd=source, capture_output=True, timeout=BUILD_S)
    if modules.returncode:
        raise Missing(f"Go modules could not be fetched: {modules.stderr.decode()[-200:]}")
    subprocess.run(
        [go, "build", "-mod=readonly", "-buildvcs=false", "-o", binary, "."], cwd=source, check=True, timeout=BUILD_S
    )
    return [str(binary)]


def _node(directory: Path) -> Sequence[str]:
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=WAIT_S).stdout if node else ""
    if node is None or int(version.lstrip("v").partition(".")[0]) < NODE_MAJOR_MIN:
        raise Missing(f"no Node.js {NODE_MAJOR_MIN} or newer")
    return [node, str(HERE / "node_server" / "main.mjs")]


def _nghttp2(directory: Path) -> Sequence[str]:
    if ctypes.util.find_library("nghttp2") is None:
        raise Missing("no libnghttp2 (Debian: libnghttp2-14)")
    return [sys.executable, "-m", "tests.conformance.python_server", "nghttp2"]


def _h2(directory: Path) -> Sequence[str]:
    return [sys.executable, "-m", "tests.conformance.python_server", "h2"]


KINDS: Final = (
    Kind("go", "Go net/http", _go),
    Kind("nghttp2", "nghttp2", _nghttp2),
    Kind("node", "Node.js http2", _node),
    Kind("h2", "hyper-h2", _h2),
)
