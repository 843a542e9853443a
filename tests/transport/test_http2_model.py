"""The HTTP/2 client against hyper-h2 as its server, in any order that RFC 9113 allows, byte by byte if need be."""

from __future__ import annotations

from typing import Any

import h2.errors
from h2.settings import SettingCodes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pushrpc.transport import frames as f
from tests.transport.h2_server import Settings
from tests.transport.world import Shape, World

PIECES = st.sampled_from([1, 7, 9, 40, 1_000, 1_000_000])
RARELY = st.sampled_from([False] * 15 + [True])
SIZES = st.lists(st.sampled_from([1, 5, 100, 10_000]), max_size=5)  # of pieces in turn; none: nothing is carried
NUMBERS = st.integers(0, 1_000)  # chooses among what there is
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        SettingCodes.MAX_CONCURRENT_STREAMS: st.sampled_from([1, 2, 7, 5_000]),
        SettingCodes.INITIAL_WINDOW_SIZE: st.sampled_from([0, 1, 90, 1_000, 65_535, 1_000_000]),
        SettingCodes.HEADER_TABLE_SIZE: st.sampled_from([0, 60, 150, 4_096, 65_536]),
        SettingCodes.MAX_FRAME_SIZE: st.sampled_from([16_384, 20_000, 2**24 - 1]),
    },
)
BODIES = st.sampled_from([None, b"", b"{}", b"b" * 5_000, b"b" * 40_000])
CODES = st.sampled_from([h2.errors.ErrorCodes.REFUSED_STREAM] * 8 + list(h2.errors.ErrorCodes))
SHAPES = st.builds(
    Shape,
    status=st.sampled_from([200, 200, 200, 204, 400, 404, 410, 429, 500, 503, 599]),
    interim=st.sampled_from([0, 0, 1, 2]),
    filler=st.sampled_from([0, 10, 20_000]),
    pieces=st.lists(
        st.tuples(st.sampled_from([0, 1, 80, 4_000]), st.none() | st.sampled_from([0, 1, 255])), max_size=3
    ).map(tuple),
    trailers=st.booleans(),
)
UNHEARD = [
    f.frame(0x77, 0xFF, 0, b"unknown"),
    f.frame(f.PRIORITY, 0, 1, bytes(5)),
    f.frame(0xC, 0, 0),  # ALTSVC, of an extension that the client does not know
]


class Http2(RuleBasedStateMachine):
    """At every step the world compares the client's answers with the model; h2 watches over the client's frames."""

    world: World
    over = False

    @initialize(initial=SETTINGS)
    def connect(self, initial: Settings) -> None:
        self.world = World(initial)

    # --- the client's owner

    @rule(templates=st.lists(st.integers(0, 2), min_size=1, max_size=12), body=BODIES)
    def submit(self, templates: list[int], body: bytes | None) -> None:
        self.world.submit(templates, body)
        if not self.over:
            self.world.start()

    @rule(carried=st.sampled_from([0, 10, 1_000, 1_000_000]))
    def write(self, carried: int) -> None:
        if not self.over:
            self.world.flush()
            self.world.carry_up(carried)

    @rule(number=NUMBERS, really=RARELY)
    def cancel(self, number: int, really: bool) -> None:
        if really and self.world.batches:
            self.world.cancel(number % len(self.world.batches))

    # --- the network

    @rule(size=PIECES)
    def carry_up(self, size: int) -> None:
        self.world.carry_up(size)

    @precondition(lambda self: not self.over)
    @rule(size=PIECES)
    def carry_down(self, size: int) -> None:
        self.world.carry_down(size)

    @rule(sizes=SIZES)
    def carry_all(self, sizes: list[int]) -> None:
        self.shuttle(sizes)

    def shuttle(self, sizes: list[int]) -> bool:
        """To and fro until nothing moves, in pieces of these sizes in turn; false when nothing did."""
        world, moved = self.world, 0
        while not self.over and sizes:
            world.start()
            world.flush()
            if not (world.up or world.down):
                break
            size = sizes[moved % len(sizes)]
            world.carry_up(100 * size)
            world.carry_down(size)
            moved += 1
        return moved > 0

    @precondition(lambda self: not self.over)
    @rule(really=RARELY)
    def lose_the_connection(self, really: bool) -> None:
        if really:
            self.over = True
            self.world.lose()

    # --- the server

    @rule(number=NUMBERS, shapes=st.lists(SHAPES, max_size=8), frames=st.lists(NUMBERS, max_size=20), sizes=SIZES)
    def respond(self, number: int, shapes: list[Shape], frames: list[int], sizes: list[int]) -> None:
        """Begins responses, and writes frames of these and others that are not finished."""
        for shape in shapes:
            if streams := self.world.answerable():
                self.world.respond(streams[number % len(streams)], shape)
        for number in frames:
            if streams := self.world.writable():
                self.world.write(streams[number % len(streams)])
        self.shuttle(sizes)

    @rule(number=NUMBERS, code=CODES, sizes=SIZES)
    def reset(self, number: int, code: h2.errors.ErrorCodes, sizes: list[int]) -> None:
        streams = self.world.writable() or self.world.answerable()
        if streams:
            self.world.reset(streams[number % len(streams)], code)
        self.shuttle(sizes)

    @rule(number=NUMBERS)
    def give_a_window_back(self, number: int) -> None:
        owed = sorted(self.world.server.owed)
        self.world.give_back(owed[number % len(owed)], 1 + number * 100)

    @rule(sizes=SIZES)
    def give_all_windows_back(self, sizes: list[int]) -> None:
        for stream in list(self.world.server.owed):
            self.world.give_back(stream, 2**30)
        self.shuttle(sizes)

    @rule(changed=SETTINGS, sizes=SIZES)
    def change_settings(self, changed: Settings, sizes: list[int]) -> None:
        self.world.change_settings(changed)
        self.shuttle(sizes)

    @rule(said=st.sampled_from([b"", *UNHEARD]))
    def pass_the_time(self, said: bytes) -> None:
        """A second goes by, with PING from both sides and a frame that means nothing."""
        self.world.connection.tick()
        self.world.connection.ping()
        self.world.ping()
        self.world.insert(said)

    @rule(number=NUMBERS, really=RARELY)
    def leave(self, number: int, really: bool) -> None:
        world = self.world
        if really:
            touched = max([0, *world.server.resets, *(s for s in world.server.headers if world.begun(s))])
            lasts = [s for s in world.answerable() if touched <= s] or [touched, world.last]
            world.leave(lasts[number % len(lasts)])

    # --- the end

    def teardown(self) -> None:
        """Whatever has happened, a server that goes on gets every request whole and every answer through."""
        if not hasattr(self, "world"):
            return
        world = self.world
        if not self.over:
            self.settle()
            world.lose()
        world.check_requests()

    def settle(self) -> None:
        world = self.world
        self.shuttle([1_000])
        world.change_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535, SettingCodes.MAX_CONCURRENT_STREAMS: 10})
        while self.shuttle([1_000]):
            self.give_all_windows_back([])
            for stream in world.answerable():
                if stream in world.server.whole:
                    world.respond(stream, Shape(200, 0, 0, (), False))
            for stream in world.writable():
                world.write(stream)
        assert not world.server.settings_open and not world.server.pings_open and not world.connection.ping_open
        assert not [s for s in world.unanswered() if s <= world.last], "never answered"
        if not world.connection.draining:
            assert all(batch.taken == len(batch.requests.rows) for batch in world.batches), "never sent"


TestHttp2: Any = Http2.TestCase
TestHttp2.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
