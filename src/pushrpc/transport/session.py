"""One dialled connection: a socket, TLS, and the HTTP/2 connection that speaks through them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from pushrpc.exchange import Endpoint
from pushrpc.transport.batch import Batch
from pushrpc.transport.dial import DialFailed, connect, dialling, problem
from pushrpc.transport.http2 import Connection


class Limits(NamedTuple):
    """Seconds and bytes of a pool's sessions. Tests lower them; nothing else should need to."""

    connect_s: float = 5.0  # name, TCP, TLS and the peer's SETTINGS together
    redial_s: float = 1.0  # between two dials of one slot; doubles after each that brought nothing ...
    redial_max_s: float = 10.0  # ... up to this: Apple takes connection churn for an attack
    grow_after_s: float = 0.1  # rows have found every session full for this long, again and again
    ping_idle_s: float = 60.0  # nothing open and nothing heard: keeps middleboxes from forgetting us
    ping_busy_s: float = 10.0  # something open and nothing heard
    ping_timeout_s: float = 10.0  # after which the TCP connection counts as half open
    idle_s: float = 300.0  # a session beyond the first without work; the last is kept, as Apple asks
    goodbye_s: float = 1.0  # for TLS and TCP to close in order before they are cut
    gather_s: float = 0.001  # answers of a crowded session are read together: a page costs more than a few answers
    gather_bytes: int = 65_536  # ... or as soon as there are so many bytes of them
    write_high_bytes: int = 262_144  # unsent bytes at which a session takes no more rows
    write_max_bytes: int = 4_194_304  # unsent bytes at which a peer that reads nothing is given up
    tick_s: float = 1.0


# Open streams from which a session counts as crowded. With fewer, every answer is read as it comes.
CROWD = 64


class Owner(Protocol):
    """Who is told what happens on a session."""

    def answered(self, batches: Sequence[Batch]) -> None:
        """These batches have answers in their page."""
        ...

    def changed(self, session: Session) -> None:
        """There may be room now, or the session drains or has ended."""
        ...


class Session(asyncio.Protocol):
    """A live connection. `Owner` hears of answers and changes; nothing here waits or retries."""

    def __init__(self, number: int, endpoint: Endpoint, owner: Owner, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.connection = Connection(number, endpoint.tls)
        self.retiring = False
        self.used_at = loop.time()
        self.ready: asyncio.Future[None] = loop.create_future()  # the peer's SETTINGS have come
        self.gone: asyncio.Future[None] = loop.create_future()  # the socket is closed
        self._endpoint = endpoint
        self._owner = owner
        self._limits = limits
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._unread = b""
        self._gathering: asyncio.TimerHandle | None = None
        self._heard_at = self._pinged_at = loop.time()

    # --- work

    @property
    def up(self) -> bool:
        """Whether it was ever ready for work; until then, who dials it hears of its end."""
        return self.ready.done() and self.ready.exception() is None

    @property
    def connected(self) -> bool:
        return self._transport is not None and not self.gone.done()

    @property
    def live(self) -> bool:
        """Whether it may take new rows, now or later."""
        return not (self.retiring or self.connection.draining or self.connection.ended)

    @property
    def room(self) -> int:
        if self._paused or self.retiring or self._transport is None or self._transport.is_closing():
            return 0
        return self.connection.room

    def start(self, batch: Batch) -> int:
        """Sends the next rows of a batch; 0 when nothing more fits now."""
        if not self.room:
            return 0
        started = self.connection.start(batch)
        self.used_at = self._loop.time()
        self._flush()
        return started

    def cancel(self, batch: Batch, detail: str) -> None:
        """Resets what a batch has open here; its rows become NoAnswer, and nobody else is told."""
        self._read()  # an answer that has come counts
        self.connection.cancel(batch, detail)
        self._flush()
        self._settle()

    def retire(self) -> None:
        """Takes no more rows; closes when the last open one has ended."""
        self.retiring = True
        self._settle()

    def close(self, detail: str) -> None:
        """Ends it in order, and by force when that takes too long. What is open becomes NoAnswer."""
        self.retiring = True
        batches = self._receive()
        self._owner.answered([*batches, *self.connection.close(detail)])
        self._leave()

    def abort(self, detail: str) -> None:
        """Ends it now: what is open becomes NoAnswer."""
        self.retiring = True
        batches = [*self._receive(), *self.connection.lost(detail)]
        if self._transport is not None:
            self._transport.abort()
        elif not self.gone.done():
            self.gone.set_result(None)
        self._owner.answered(batches)

    def tick(self) -> None:
        """Once a second: pings a silent peer, and gives up one that is half open or reads nothing."""
        now, limits = self._loop.time(), self._limits
        self.connection.tick()
        if self._transport is None or not self.ready.done() or self.connection.ended:
            return
        silent_s = now - self._heard_at
        if self._transport.get_write_buffer_size() > limits.write_max_bytes:
            self.abort("the peer does not read what we send")
        elif self.connection.ping_open:
            if now - self._pinged_at >= limits.ping_timeout_s:
                self.abort(f"no answer to a PING within {limits.ping_timeout_s:g} s")
        elif silent_s >= (limits.ping_busy_s if self.connection.open_count else limits.ping_idle_s):
            self._pinged_at = now
            self.connection.ping()
            self._flush()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are of no asyncio class
        self._transport = transport
        if self.connection.ended:  # retired while it was dialled
            self._failed(self.connection.ended)
            transport.abort()
            return
        transport.set_write_buffer_limits(high=self._limits.write_high_bytes)
        if self._endpoint.tls:
            tls = transport.get_extra_info("ssl_object")
            if tls is None or tls.selected_alpn_protocol() != "h2":
                self._failed("the server does not offer HTTP/2 (no ALPN h2)")
                transport.abort()
                return
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._unread = self._unread + data if self._unread else data
        if self.connection.open_count < CROWD or len(self._unread) >= self._limits.gather_bytes:
            self._read()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(self._limits.gather_s, self._read)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._owner.changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        detail = problem(exc) if exc else "the server closed the connection"
        if not self.connection.ready:
            detail += " before its SETTINGS"
        batches = [*self._receive(), *self.connection.lost(detail)]
        self._failed(self.connection.ended)
        if not self.gone.done():
            self.gone.set_result(None)
        self._owner.answered(batches)
        self._owner.changed(self)

    # --- reading

    def _read(self) -> None:
        batches = self._receive()
        self._flush()
        if batches:
            self._owner.answered(batches)
        if self.connection.ready and not self.ready.done():
            self.ready.set_result(None)
        self._settle()
        self._owner.changed(self)

    def _receive(self) -> Sequence[Batch]:
        """Takes in what has come. Returns the batches whose page was empty and now has answers."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if not self._unread:
            return ()
        data, self._unread = self._unread, b""
        batches = self.connection.receive(data)
        now = self._loop.time()
        if self.connection.progress:  # a peer that only drips is as good as silent
            self._heard_at = now
        if batches:
            self.used_at = now
        return batches

    # --- ends

    def _failed(self, detail: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(DialFailed(detail))
            self.ready.exception()  # whoever dials may have left; that is no error

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return  # what stays in the connection's outbox counts as not sent
        if data := self.connection.data_to_send():
            self._transport.write(data)

    def _settle(self) -> None:
        """Closes when it is over, or when nothing is open on a session that takes nothing new."""
        if self.connection.ended:
            self._leave()
        elif not self.live and self.connection.open_count == 0:
            self.close("retired")

    def _leave(self) -> None:
        self._flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(self._limits.goodbye_s, self._transport.abort)


async def dial(session: Session, endpoint: Endpoint, limits: Limits) -> None:
    """Connects a session and waits for the peer's SETTINGS. Raises DialFailed, at the latest after `connect_s`."""
    try:
        async with dialling(endpoint, limits.connect_s, "HTTP/2 session"):
            await connect(endpoint, session, limits.connect_s, limits.goodbye_s, alpn="h2")
            await asyncio.shield(session.ready)
    except asyncio.CancelledError:
        session.abort("no longer wanted")
        raise
    except DialFailed:
        session.abort("dialling failed")
        raise
