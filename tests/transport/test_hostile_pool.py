"""Hostile servers over real sockets: what they do to one session touches no other, and no buffer grows with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from pushrpc.exchange import Endpoint, NoAnswer, Response
from pushrpc.transport import frames as f
from pushrpc.transport.patience import IDLE_FRAMES_MAX
from pushrpc.transport.pool import Pool
from pushrpc.transport.session import Limits
from tests.transport.loopback import Loopback, Served, collect, listening, until
from tests.transport.peer import goaway, reset, window_update

QUICK = Limits(redial_s=0.05, redial_max_s=0.2, grow_after_s=0.02, goodbye_s=0.2, tick_s=0.02)

Attack = Callable[["Hostile"], Coroutine[Any, Any, None]]


class Hostile(Served):
    """A connection that turns bad with its first request; what it is asked then is of no interest to it."""

    def __init__(self, server: Loopback, attack: Attack) -> None:
        super().__init__(server)
        self.attack = attack
        self.h2._on_request = self._turn
        self.attacking: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def _turn(self, stream: int) -> None:
        if self.attacking is None:
            self.attacking = asyncio.get_running_loop().create_task(self.attack(self))

    def flush(self) -> None:
        if self.attacking is None:
            super().flush()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._writable.set()
        if self.attacking:
            self.attacking.cancel()

    async def write(self, data: bytes) -> None:
        """As much as the client takes."""
        self.transport.write(data)
        await self._writable.wait()
        await asyncio.sleep(0)

    async def flood(self, unit: bytes) -> None:
        while True:
            await self.write(unit * (65_536 // len(unit) + 1))


@contextlib.asynccontextmanager
async def attacked(attack: Attack, limits: Limits = QUICK, sessions_max: int = 2) -> AsyncIterator[Pool]:
    """A pool whose first connection turns hostile; every other one answers 200 to everything."""
    server = Loopback()

    def accept() -> Served:
        return Served(server) if server.connections else Hostile(server, attack)

    async with listening(server, None, accept):
        pool = Pool(Endpoint("127.0.0.1", server.port, tls=False), sessions_max, limits)
        try:
            yield pool
        finally:
            await pool.close()
            assert pool.open_count == 0


def floods(unit: bytes) -> Attack:
    return lambda hostile: hostile.flood(unit)


async def endless_block(hostile: Hostile) -> None:
    await hostile.write(f.frame(f.HEADERS, 0, 1, b"\x88"))
    await hostile.flood(f.frame(f.CONTINUATION, 0, 1, b"x" * 100))


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(endless_block, id="CONTINUATION"),
        pytest.param(floods(f.settings({})), id="SETTINGS"),
        pytest.param(floods(window_update(0, 1)), id="WINDOW_UPDATE"),
        pytest.param(floods(reset(1, f.ErrorCode.CANCEL)), id="RST_STREAM"),
        pytest.param(floods(goaway(2**31 - 1)), id="GOAWAY"),
        pytest.param(floods(f.frame(f.HEADERS, f.END_HEADERS, 1, b"\x08\x03103" + b"\xa0" * 100)), id="1xx"),
        pytest.param(floods(f.frame(f.HEADERS, f.END_HEADERS, 1, b"\x8d" + b"\xa0" * 16_000)), id="header bomb"),
        pytest.param(floods(b"\x00" * 9), id="zeros"),
    ],
)
async def test_one_hostile_session_costs_only_what_was_on_it(attack: Attack) -> None:
    async with attacked(attack, QUICK._replace(tick_s=1.0)) as pool:
        kinds = Counter(type(answer) for answer in await collect(pool, 2_500))
        assert kinds[NoAnswer] <= 1_001 and kinds[NoAnswer] + kinds[Response] == 2_500
        assert Counter(type(answer) for answer in await collect(pool, 500)) == {Response: 500}


async def test_pings_from_a_server_that_never_reads_fill_no_memory() -> None:
    """Each asks for an answer that cannot be written. So many a second are borne; the buffer's bound ends it."""
    hostile: list[Hostile] = []

    async def pings(of: Hostile) -> None:
        hostile.append(of)
        of.transport.pause_reading()
        while True:
            await of.write(f.frame(f.PING, 0, 0, bytes(8)) * (IDLE_FRAMES_MAX // 4))
            await asyncio.sleep(0.01)

    most = 0

    def ended() -> bool:
        nonlocal most
        for session in pool._sessions():
            if session.number == 1 and session._transport:
                most = max(most, session._transport.get_write_buffer_size())
        return sending.done()

    limits = QUICK._replace(write_high_bytes=65_536, write_max_bytes=262_144, tick_s=0.02)
    async with attacked(pings, limits, sessions_max=1) as pool:
        sending = asyncio.create_task(collect(pool, 1))
        await until(ended)
        assert await sending == [NoAnswer("the peer does not read what we send", 1)]
        assert 65_536 < most <= 262_144 + 17 * IDLE_FRAMES_MAX
        hostile[0].transport.abort()


@pytest.mark.parametrize("piece", [b"\x00", f.frame(f.CONTINUATION, 0, 1, b"x")], ids=["a frame", "a header block"])
async def test_a_response_in_drips_is_silence(piece: bytes) -> None:
    """Bytes that complete nothing are no sign of life: else a session could be held for ever."""

    async def drip(hostile: Hostile) -> None:
        if len(piece) > 1:
            await hostile.write(f.frame(f.HEADERS, 0, 1, b"\x88"))
        else:
            await hostile.write(b"\x00\x40\x00\x00\x00\x00\x00\x00\x01")
        while True:
            await hostile.write(piece)
            await asyncio.sleep(0.02)

    limits = QUICK._replace(ping_busy_s=0.1, ping_timeout_s=0.2)
    async with attacked(drip, limits) as pool:
        (answer,) = await collect(pool, 1, timeout_s=5)
        assert answer == NoAnswer("no answer to a PING within 0.2 s", 1)


async def test_nothing_is_read_from_a_server_that_has_been_given_up() -> None:
    async with attacked(floods(f.frame(f.PING, 0, 0, bytes(8))), QUICK._replace(tick_s=1.0)) as pool:
        (answer,) = await collect(pool, 1)
        assert answer == NoAnswer("ENHANCE_YOUR_CALM: too many frames that bring no answer", 1)
        await until(lambda: pool.open_count == 0)
