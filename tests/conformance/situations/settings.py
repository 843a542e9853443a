"""SETTINGS that change while requests are on their way (RFC 9113 §6.5)."""

from __future__ import annotations

from pushrpc.transport.frames import HEADERS, SETTINGS
from tests.conformance.stage import ANSWERS, HOLDS, Place, stage

HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 3, 4, 5
UNKNOWN = 0xFA


async def streams_1000_1_1000(place: Place) -> None:
    async with stage(place, sessions_max=1) as there:
        first = there.send(200)
        await there.whole(first.tokens)
        await there.settings({MAX_CONCURRENT_STREAMS: 1})
        second = there.send(100)
        await there.respond(first.tokens)
        done: set[str] = set()
        for n in range(1, 11):
            await there.whole(second.tokens, n)
            here = {token for token in second.tokens if token in there.listener.began}
            assert len(here) == n, "more than one stream at a time"
            if n == 10:
                await there.settings({MAX_CONCURRENT_STREAMS: 1_000})
            await there.respond(here - done)
            done |= here
        await there.whole(second.tokens)
        await there.respond(token for token in second.tokens if token not in done)
        await there.all_answered(first, second)
        await there.usable()


async def streams_0_and_again(place: Place) -> None:
    async with stage(place, sessions_max=1) as there:
        first = there.send(100)
        await there.whole(first.tokens)
        await there.settings({MAX_CONCURRENT_STREAMS: 0})
        second = there.send(100)
        await there.respond(first.tokens)
        await there.all_answered(first)
        await there.heard_all()
        assert not there.listener.began.keys() & set(second.tokens)
        await there.settings({MAX_CONCURRENT_STREAMS: 100})
        await there.served(second)
        await there.all_answered(second)


async def smaller_header_table(place: Place) -> None:
    """The servers check the headers of each request, which come from the table.

    Go's engine does not know of SETTINGS that are written past it: there it is what we wrote that is checked.
    """
    options = ANSWERS._replace(settings={**ANSWERS.settings, HEADER_TABLE_SIZE: 4_096})
    async with stage(place, options) as there:
        await there.usable(100)
        blocks = [frame.length for frame in there.wire.written if frame.kind == HEADERS]
        assert min(blocks) < blocks[0] / 2, "the table is not used"
        for size in (0, 64, 200, 4_096):
            during = there.send(100)
            await there.settings({HEADER_TABLE_SIZE: size})
            await there.usable(100)
            await there.all_answered(during)
            block = next(frame for frame in there.wire.after_our_ack() if frame.kind == HEADERS)
            assert block.first & 0xE0 == 0x20, "the next block does not begin with the new size (RFC 7541 §4.2)"
        assert there.listener.connections == 1


async def smaller_frames(place: Place) -> None:
    """The engines refuse longer frames once we have acknowledged.

    Go's does not know of SETTINGS that are written past it: there it is what we wrote that is checked.
    """
    wide = {INITIAL_WINDOW_SIZE: 1 << 20, MAX_FRAME_SIZE: 65_536}
    options = HOLDS._replace(settings={**HOLDS.settings, **wide}, connection_window=1 << 25)
    async with stage(place, options) as there:
        first = there.send(50, b"b" * 100_000)
        await there.whole(first.tokens)
        await there.settings({MAX_FRAME_SIZE: 16_384})
        assert max(frame.length for frame in there.wire.written) > 16_384
        second = there.send(50, b"b" * 100_000)
        await there.served(first)
        await there.served(second)
        await there.all_answered(first, second)
        assert max(frame.length for frame in there.wire.after_our_ack()) == 16_384
        assert all(there.listener.whole[token] == 100_000 for token in first.tokens + second.tokens)


async def smaller_window_below_zero(place: Place) -> None:
    """RFC 9113 §6.9.2: windows of open streams go down with the setting, below 0, and back by WINDOW_UPDATE."""
    options = HOLDS._replace(reads=False, connection_window=1 << 25)
    async with stage(place, options) as there:
        first = there.send(50, b"b" * 100_000)
        await there.began(first.tokens)
        await there.heard_all()
        await there.settings({INITIAL_WINDOW_SIZE: 1_000})
        second = there.send(50, b"b" * 2_500)
        await there.began(second.tokens)
        await there.heard_all()
        assert not there.listener.whole
        await there.do(["release", 1])
        await there.served(first)
        await there.served(second)
        await there.all_answered(first, second)
        assert {there.listener.whole[token] for token in first.tokens} == {100_000}
        assert {there.listener.whole[token] for token in second.tokens} == {2_500}


async def unknown_setting(place: Place) -> None:
    async with stage(place) as there:
        sent = there.send(100)
        await there.whole(sent.tokens)
        await there.settings({UNKNOWN: 7})
        assert there.wire.of(SETTINGS)[-1].length == 6
        await there.respond(sent.tokens)
        await there.all_answered(sent)
        await there.usable()
        assert there.listener.connections == 1
