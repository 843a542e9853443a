"""The sessions of one lane over HTTP/1.1: connections that are kept, each with one request at a time.

A row goes out on a connection that is free or newly dialled. Nothing is pipelined and nothing repeated: a row is
NotSent until its first byte is handed to a connection, and NoAnswer from then on until its answer has come whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from pushrpc.exchange import Endpoint, NoAnswer, NotSent, Requests, Response
from pushrpc.transport.dial import AddressForbidden, DialFailed, connect, dialling
from pushrpc.transport.http1_wire import Broken, Wire, request_head
from pushrpc.transport.sends import Send, Sends

# At 100 ms an answer these carry 640 requests a second to one host, which is more than a channel or hub without
# HTTP/2 takes from one sender, and few enough files and handshakes for hundreds of lanes.
CONNECTIONS_MAX: Final = 64

# Connections in a row that ended without any answer. A single one says more of its request than of the server.
FRUITLESS_MAX: Final = 3


class Limits(NamedTuple):
    """Seconds of a lane's connections. Tests lower them; nothing else should need to."""

    connect_s: float = 5.0  # name, TCP and TLS together
    redial_s: float = 1.0  # without a dial after one that brought nothing; doubles with each in a row ...
    redial_max_s: float = 10.0  # ... up to this
    idle_s: float = 15.0  # servers close idle connections, and a request that meets the close has no answer
    idle_margin_s: float = 1.0  # closed so long before the server would, where it says when (Keep-Alive)
    goodbye_s: float = 1.0  # for TLS and TCP to close in order before they are cut


class _Written(Send):
    """A send whose rows have their bytes, up to the bodies."""

    __slots__ = ("heads",)

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests)
        self.heads = [request_head(requests.templates[row.template], row) for row in requests.rows]


class _Exchange(NamedTuple):
    """What a busy connection is busy with."""

    send: Send
    row: int
    task: asyncio.Task[None]


class HttpSessions(Sends):
    """Connections to one endpoint, dialled when rows need them. All methods belong to one event loop.

    A connection is what `Sessions` calls a session. Deadlines: a row ends at the latest `timeout_s` after its pages
    were first asked for, and takes its connection with it, because HTTP/1.1 has no way to call off a request; a dial
    ends after `Limits.connect_s`. After a dial that failed, or the third connection in a row without an answer, none
    is dialled for 1 s, 2 s, … 10 s, and rows sent meanwhile are refused at once with `failed_connect` when no other
    connection is there. `send` raises
    ValueError, before anything is sent, for headers and paths that cannot be written.
    """

    def __init__(
        self, endpoint: Endpoint, connections_max: int = CONNECTIONS_MAX, limits: Limits | None = None
    ) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._limits = limits or Limits()
        self._connections_max = connections_max
        self._idle: dict[Wire, asyncio.TimerHandle] = {}  # in the order they became free
        self._busy: dict[Wire, _Exchange] = {}
        self._dials: dict[Wire, asyncio.Task[None]] = {}
        self._open: set[Wire] = set()  # all that have a socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        self._fruitless = 0
        self._reached = False  # the last dial succeeded: more than one at a time may be tried
        self._redial_s = self._limits.redial_s
        self._not_before = 0.0
        self._refusal = NotSent("")  # why there is no dial before that
        self._closed = False

    # --- Sessions

    def retire(self, session: int) -> None:
        self._retire([wire for wire in self._open if wire.number == session])

    def retire_all(self) -> None:
        self._retire([*self._open, *self._dials])

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def room(self) -> int:
        return max(0, self._connections_max - len(self._busy) - self._waiting)

    async def close(self) -> None:
        """Ends every connection. What is on the wire becomes NoAnswer, what waits NotSent; sends end by themselves."""
        self._closed = True
        for dial in self._dials.values():
            dial.cancel()
        for wire in list(self._busy):
            self._call_off(wire, "the sessions are closed")
        for wire in list(self._idle):
            self._leave(wire)
        self._refuse(NotSent("the sessions are closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._open:
            await asyncio.wait([wire.gone for wire in self._open], timeout=2 * self._limits.goodbye_s)

    # --- placing rows

    def _admit(self, requests: Requests) -> Send:
        return _Written(requests)

    def _place(self) -> None:
        for send in self._sends:
            while send.waiting:
                wire = self._free_wire()
                if wire is None:
                    return self._seek_room()
                self._start(wire, send)
        if self.room:
            self.on_room()
        return None

    def _free_wire(self) -> Wire | None:
        """The one that was used last: it is the least likely to be closed by the server, and the others may go."""
        while self._idle:
            wire, timer = self._idle.popitem()
            timer.cancel()
            if wire.usable:
                return wire
            wire.leave(self._limits.goodbye_s)
        return None

    def _seek_room(self) -> None:
        """Rows wait and no connection is free: dial, wait or refuse."""
        if self._closed:
            return self._refuse(NotSent("the sessions are closed"))
        if asyncio.get_running_loop().time() < self._not_before:
            if not self._busy and not self._dials:
                self._refuse(self._refusal)
            return None
        room = self._connections_max - len(self._busy)
        wanted = min(self._waiting, room if self._reached else 1)
        for _ in range(wanted - len(self._dials)):
            self._dial()
        return None

    def _start(self, wire: Wire, send: Send) -> None:
        assert isinstance(send, _Written)
        row = send.taken
        send.taken += 1
        asked = send.requests.rows[row]
        wire.write(send.requests.templates[asked.template], asked, send.heads[row])
        self._busy[wire] = _Exchange(send, row, self._own(self._exchange(wire, send, row)))

    async def _exchange(self, wire: Wire, send: Send, row: int) -> None:
        answer: Response | NoAnswer
        try:
            answer = await wire.answer()
            self._redial_s = self._limits.redial_s
            self._fruitless = 0
        except Broken as error:
            answer = NoAnswer(str(error), wire.number)
            if not wire.worked:
                self._fruitless += 1
            if self._fruitless >= FRUITLESS_MAX:
                self._hold(f"{self._endpoint.host}:{self._endpoint.port}: {error}")
        del self._busy[wire]
        wire.busy = False
        send.page.append((row, answer))
        send.wake()
        self._free(wire)
        self._place()

    def _withdraw(self, send: Send, detail: str) -> None:
        for wire in [wire for wire, exchange in self._busy.items() if exchange.send is send]:
            self._call_off(wire, detail)
        self._place()

    def _call_off(self, wire: Wire, detail: str) -> None:
        send, row, task = self._busy.pop(wire)
        task.cancel()
        send.page.append((row, NoAnswer(detail, wire.number)))
        send.wake()
        wire.cut()

    # --- connections

    def _dial(self) -> None:
        self._number += 1
        wire = Wire(self._number)
        self._dials[wire] = self._own(self._connect(wire))

    async def _connect(self, wire: Wire) -> None:
        limits = self._limits
        try:
            async with dialling(self._endpoint, limits.connect_s, "connection"):
                await connect(self._endpoint, wire, limits.connect_s, limits.goodbye_s)
                if not (wire.usable or wire.retiring):
                    raise DialFailed("the server closed the connection at once")
        except DialFailed as error:
            self._hold(str(error), isinstance(error, AddressForbidden))
        else:
            self._reached = True
            self._open.add(wire)
            wire.gone.add_done_callback(lambda _: self._lost(wire))
            self._free(wire)
        finally:
            del self._dials[wire]
        self._place()

    def _hold(self, problem: str, forbidden: bool = False) -> None:
        """No dial for a while, which grows with each problem in a row; those of one moment count once."""
        now = asyncio.get_running_loop().time()
        self._reached = False
        if now >= self._not_before:
            self._refusal = NotSent(problem, failed_connect=True, forbidden=forbidden)
            self._not_before = now + self._redial_s
            self._redial_s = min(2 * self._redial_s, self._limits.redial_max_s)

    def _free(self, wire: Wire) -> None:
        """Keeps a connection for the next row, or closes it."""
        limits = self._limits
        idle_s = limits.idle_s
        if wire.idle_s is not None:
            idle_s = min(idle_s, wire.idle_s - limits.idle_margin_s)
        if wire.usable and idle_s > 0 and not self._closed:
            self._idle[wire] = asyncio.get_running_loop().call_later(idle_s, self._leave, wire)
        else:
            wire.leave(limits.goodbye_s)

    def _leave(self, wire: Wire) -> None:
        if timer := self._idle.pop(wire, None):
            timer.cancel()
        wire.leave(self._limits.goodbye_s)

    def _lost(self, wire: Wire) -> None:
        self._open.discard(wire)
        if timer := self._idle.pop(wire, None):
            timer.cancel()

    def _retire(self, wires: list[Wire]) -> None:
        for wire in wires:
            wire.retiring = True
            if wire in self._idle:
                self._leave(wire)

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
