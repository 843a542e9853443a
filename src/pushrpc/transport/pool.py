"""The sessions of one lane: rows are placed where streams are free, and every row is answered exactly once.

Nothing waits for a whole batch: each look at a session wakes the sends it has answers for, and its free streams take
the next rows at once. Rows go out in the order of their sends. A row that no session can take is refused as soon as
that is known, because only the caller knows what else to do with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from pushrpc.exchange import Endpoint, NotSent
from pushrpc.transport.batch import Batch
from pushrpc.transport.dial import AddressForbidden, DialFailed
from pushrpc.transport.sends import Send, Sends
from pushrpc.transport.session import Limits, Session, dial

# One session carries tens of thousands of pushes a second; the second one keeps a lane moving while the first drains
# after a GOAWAY, or when a peer allows few streams. More would be many connections from one sender.
SESSIONS_MAX: Final = 2

# What a session that has not announced its limit is expected to take: RFC 9113 §6.5.2 asks servers for no less.
NEW_SESSION_ROOM: Final = 100


class _Slot:
    """One place for a session, and when it may be dialled again."""

    __slots__ = ("forbidden", "not_before", "problem", "redial_s", "session")

    def __init__(self, redial_s: float) -> None:
        self.session: Session | None = None
        self.redial_s = redial_s
        self.not_before = 0.0
        self.problem = ""  # why the last session was of no use; empty after one that was
        self.forbidden = False  # and whether that was the host's address


class Pool(Sends):
    """Sessions to one endpoint, dialled when rows need them. All methods belong to one event loop.

    Deadlines: a row ends at the latest `timeout_s` after its pages were first asked for; a dial after
    `Limits.connect_s`. After sessions that brought nothing the next dial waits 1 s, 2 s, … 10 s, and rows sent
    meanwhile are refused at once with `failed_connect`, when no other session is there.
    """

    def __init__(self, endpoint: Endpoint, sessions_max: int = SESSIONS_MAX, limits: Limits | None = None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._limits = limits or Limits()
        self._slots = [_Slot(self._limits.redial_s) for _ in range(sessions_max)]
        self._leaving: set[Session] = set()  # no new rows, but streams or a socket still open
        self._dials: set[asyncio.Task[None]] = set()
        self._session_number = 0
        self._growth: asyncio.TimerHandle | None = None
        self._full_at = 0.0  # when rows last found every session full
        self._redial: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._closed = False

    # --- Sessions

    def retire(self, session: int) -> None:
        for open_session in self._sessions():
            if open_session.number == session:
                self._retire(open_session)
        self._place()

    def retire_all(self) -> None:
        for session in self._sessions():
            self._retire(session)
        self._place()

    @property
    def open_count(self) -> int:
        """Sessions that have a socket."""
        return sum(session.connected for session in [*self._sessions(), *self._leaving])

    @property
    def room(self) -> int:
        free = sum(session.room for session in self._sessions()) - self._waiting
        unknown = any(slot.session is None or not slot.session.up for slot in self._slots)
        return max(0, free + NEW_SESSION_ROOM if free <= 0 and unknown else free)

    async def close(self) -> None:
        """Ends every session. What is on the wire becomes NoAnswer, what waits NotSent; sends end by themselves."""
        self._closed = True
        for timer in (self._growth, self._redial, self._ticker):
            if timer:
                timer.cancel()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for session in self._sessions():
            self._vacate(session, "")
            session.close("the pool is closed")
        for session in list(self._leaving):
            session.close("the pool is closed")
        self._place()
        going = [session.gone for session in self._leaving if session.connected]
        if going:
            await asyncio.wait(going, timeout=2 * self._limits.goodbye_s)

    # --- Owner: what sessions tell

    def answered(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            assert isinstance(batch, Send)
            batch.wake()

    def changed(self, session: Session) -> None:
        if session.gone.done():
            self._leaving.discard(session)
        if not session.up:
            return  # its dial is waiting for it and will say what is wrong
        if not session.live:
            connection = session.connection
            # What GOAWAY leaves open may still be answered: such a session is no reason to refuse rows for a while.
            of_use = connection.worked or connection.open_count
            self._vacate(session, "" if of_use else connection.ended or "GOAWAY at once")
        self._place()

    # --- placing rows

    def _place(self) -> None:
        """Gives waiting rows to the sessions with the most free streams; sees to it that none waits in vain."""
        for send in self._sends:
            while send.waiting:
                session = max(self._sessions(), key=_room, default=None)
                if session is None or not session.start(send):
                    self._seek_room()
                    return
        self.on_room()

    def _seek_room(self) -> None:
        """Rows wait and no session has room: dial, wait or refuse."""
        if self._closed:
            return self._refuse(NotSent("the pool is closed"))
        loop = asyncio.get_running_loop()
        now = loop.time()
        sessions = self._sessions()
        if sessions:
            self._full_at = now
            if self._growth is None and len(sessions) < len(self._slots) and all(session.up for session in sessions):
                # Being full for a moment is normal; only rows that wait again and again are worth another connection.
                self._growth = loop.call_later(self._limits.grow_after_s, self._grow)
            return None
        held = next((slot for slot in self._slots if slot.problem and slot.not_before > now), None)
        if held:
            return self._refuse(NotSent(held.problem, failed_connect=True, forbidden=held.forbidden))
        slot = min(self._slots, key=_not_before)
        if slot.not_before <= now:
            return self._dial(slot)
        if self._redial is None:
            self._redial = loop.call_at(slot.not_before, self._dial_later)
        return None

    def _grow(self) -> None:
        self._growth = None
        now = asyncio.get_running_loop().time()
        if not self._waiting and now - self._full_at > self._limits.grow_after_s / 2:
            return
        free = [slot for slot in self._slots if slot.session is None and slot.not_before <= now]
        if free and self._sessions():
            self._dial(free[0])
        else:
            self._place()

    def _dial_later(self) -> None:
        self._redial = None
        self._place()

    def _withdraw(self, send: Send, detail: str) -> None:
        for session in [*self._sessions(), *self._leaving]:
            session.cancel(send, detail)
        self._place()

    # --- sessions

    def _sessions(self) -> list[Session]:
        return [slot.session for slot in self._slots if slot.session]

    def _dial(self, slot: _Slot) -> None:
        loop = asyncio.get_running_loop()
        self._session_number += 1
        slot.session = Session(self._session_number, self._endpoint, self, self._limits)
        slot.not_before = loop.time() + self._limits.redial_s
        task = loop.create_task(self._connect(slot.session))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        if self._ticker is None:
            self._ticker = loop.call_later(self._limits.tick_s, self._tick)

    async def _connect(self, session: Session) -> None:
        try:
            await dial(session, self._endpoint, self._limits)
        except DialFailed as error:
            self._vacate(session, str(error), isinstance(error, AddressForbidden))
            if session.gone.done():
                self._leaving.discard(session)
        self._place()

    def _retire(self, session: Session) -> None:
        self._vacate(session, "")
        session.retire()

    def _vacate(self, session: Session, problem: str, forbidden: bool = False) -> None:
        """Frees a session's slot. With each problem in a row the next dial waits longer, counted from now."""
        slot = next((slot for slot in self._slots if slot.session is session), None)
        if slot is None:
            return
        slot.session = None
        slot.problem, slot.forbidden = problem, forbidden
        if problem:
            slot.not_before = asyncio.get_running_loop().time() + slot.redial_s
            slot.redial_s = min(2 * slot.redial_s, self._limits.redial_max_s)
        elif session.connection.worked:
            slot.redial_s = self._limits.redial_s
        if not session.gone.done():
            self._leaving.add(session)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for session in [*self._sessions(), *self._leaving]:
            session.tick()
        spare = sorted((s for s in self._sessions() if s.up), key=lambda s: s.used_at)[:-1]
        for session in spare:
            if session.connection.open_count == 0 and loop.time() - session.used_at >= self._limits.idle_s:
                self._retire(session)
        busy = self._sessions() or self._leaving
        self._ticker = loop.call_later(self._limits.tick_s, self._tick) if busy else None


def _room(session: Session) -> int:
    return session.room


def _not_before(slot: _Slot) -> float:
    return slot.not_before
