"""The stage of one cell: a pool of ours, a server of theirs, many requests, and the judge of what each came to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Requests, Response, Row
from pushrpc.transport.frames import STREAM_ID_MAX, ErrorCode
from pushrpc.transport.pool import Pool
from pushrpc.transport.session import Limits, Session
from tests.conformance.relay import Relay
from tests.conformance.servers import Listener, Listening, Server, Step
from tests.conformance.wire import Wire, tapped
from tests.tls import Authority
from tests.transport.requests import TEMPLATE

BATCHES: Final = 5  # sends at a time, so that a row could also be mistaken for one of another batch
TIMEOUT_S: Final = 15.0
LATE_S: Final = 1.0  # past its deadline, no request may be unresolved

# A machine under load answers late, so only cells that wait for a timeout on purpose have short ones.
LIMITS: Final = Limits(redial_s=0.05, goodbye_s=0.2, grow_after_s=0.05, tick_s=0.05)
QUICK: Final = LIMITS._replace(connect_s=1.0, ping_busy_s=0.2, ping_timeout_s=0.2)

ECHO: Final[Sequence[Step]] = (("headers", 200, True),)
HOLDS: Final = Listening(settings={3: 1_000})  # every answer is ordered
ANSWERS: Final = HOLDS._replace(plan=ECHO)
NAMES: Final = ("localhost", "127.0.0.1")
_cells = itertools.count(1)


@dataclass
class Sent:
    """Rows on their way; `answers` by token."""

    tokens: list[str]
    timeout_s: float
    answers: dict[str, Answer] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def of(self, kind: type[Answer]) -> list[str]:
        return [token for token in self.tokens if isinstance(self.answers[token], kind)]


class Stage:
    """Tokens are unique, so that an answer in the wrong place is seen wherever it went."""

    def __init__(self, pool: Pool, listener: Listener, wire: Wire) -> None:
        self.pool = pool
        self.listener = listener
        self.wire = wire
        self.name = f"c{next(_cells)}"
        self._reset: set[str] = set()  # with REFUSED_STREAM, before response headers
        self._headed: set[str] = set()
        self._last_ids: dict[int, int] = {}  # of the last GOAWAY on each connection
        self.lossy = False  # the network ate bytes: an answer of the server may be lost, and is then NoAnswer
        self.sent: list[Sent] = []
        self._numbers = itertools.count()

    # --- the client's side

    def send(self, count: int, body: bytes | None = None, timeout_s: float = TIMEOUT_S) -> Sent:
        tokens = [f"{self.name}-{next(self._numbers)}" for _ in range(count)]
        sent = Sent(tokens, timeout_s)
        self.sent.append(sent)
        size = -(-count // BATCHES)
        for at in range(0, count, size):
            sent.tasks.append(asyncio.create_task(self._send(sent, tokens[at : at + size], body)))
        return sent

    async def _send(self, sent: Sent, tokens: list[str], body: bytes | None) -> None:
        rows = [
            Row(0, b"/3/device/" + token.encode(), [(b"apns-id", token.encode())], body, (n,))
            for n, token in enumerate(tokens)
        ]
        async with asyncio.timeout(sent.timeout_s + LATE_S):
            async for page in self.pool.send(Requests([TEMPLATE], rows), sent.timeout_s):
                for row, answer in page:
                    assert tokens[row] not in sent.answers, f"{tokens[row]} was answered twice"
                    sent.answers[tokens[row]] = answer

    async def judged(self, sent: Sent) -> Sent:
        """Waits for every answer and judges each against the server's log."""
        await asyncio.gather(*sent.tasks)
        assert sorted(sent.answers) == sorted(sent.tokens), "a request has no answer"
        assert not self.listener.broken, f"the server says that we broke a rule: {self.listener.broken}"
        assert not self.listener.twice, f"requests came twice: {self.listener.twice}"
        for token, answer in sent.answers.items():
            match answer:
                case Response():
                    assert answer.header(b"x-token") == token.encode(), f"{token} was given {answer}"
                    assert self.processed(token), f"{token} was not processed: {answer}"
                case NotSent():
                    assert not self.processed(token), f"{token} was processed: {answer}"
                case NoAnswer():
                    assert not self.refused(token), f"{token} was refused: {answer}"
                    lost = token in self.listener.answered
                    assert not lost or self.lossy, f"the answer to {token} was lost: {answer}"
        return sent

    async def all_answered(self, *sents: Sent) -> None:
        for sent in sents:
            await self.judged(sent)
            failures = [answer for answer in sent.answers.values() if not isinstance(answer, Response)]
            assert not failures, f"{len(failures)} of {len(sent.tokens)} have no response: {failures[0]}"

    async def usable(self, count: int = 50) -> None:
        """The pool goes on with this server."""
        sent = self.send(count)
        await self.served(sent)
        await self.all_answered(sent)

    async def served(self, sent: Sent) -> None:
        """Answers requests as they come, where no plan does, until each is resolved one way or another."""
        done = asyncio.gather(*sent.tasks)
        done.add_done_callback(lambda _: self.listener.news.set())
        while not done.done():
            await self.listener.until(lambda: done.done() or self._unanswered(sent))
            await self.respond(self._unanswered(sent))
        await done

    def _unanswered(self, sent: Sent) -> list[str]:
        if self.listener.plan:
            return []
        return [t for t in sent.tokens if t in self.listener.whole and t not in self._headed and t not in sent.answers]

    async def recovers(self) -> None:
        """As `usable`, after a time in which the pool may wait before it dials again."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                sent = self.send(1)
                await self.served(sent)
                await self.judged(sent)
                if sent.of(Response):
                    break
                await asyncio.sleep(LIMITS.redial_s)
        await self.usable()

    async def heard_all(self, connection: int = 1) -> None:
        """Everything that the client has written so far has reached the server: a PING comes back after it."""
        pongs = self.listener.counts["pong", connection]
        await self.do(["ping", connection])
        await self.listener.until(lambda: self.listener.counts["pong", connection] > pongs)

    async def settings(self, values: Mapping[int, int], connection: int = 1) -> None:
        """New SETTINGS, and the client's acknowledgement."""
        known = self.listener.counts["acknowledged", connection]
        await self.do(["settings", connection, values])
        await self.listener.until(lambda: self.listener.counts["acknowledged", connection] > known)

    async def seen(self, condition: Callable[[], object]) -> None:
        """Waits for a state of the client, which has no event of its own."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    @property
    def sessions(self) -> list[Session]:
        return self.pool._sessions()

    # --- the server's side

    def refused(self, token: str) -> bool:
        """Whether the server has said, in the protocol's words, that it did not process the request."""
        heard = self.listener.began.get(token)
        above = heard is not None and heard.stream > self._last_ids.get(heard.connection, STREAM_ID_MAX)
        return above or token in self._reset

    def processed(self, token: str) -> bool:
        return token in self.listener.began and not self.refused(token)

    async def began(self, tokens: Sequence[str], count: int = 0) -> None:
        wanted = set(tokens)
        await self.listener.until(lambda: len(wanted & self.listener.began.keys()) >= (count or len(wanted)))

    async def whole(self, tokens: Sequence[str], count: int = 0) -> None:
        wanted = set(tokens)
        await self.listener.until(lambda: len(wanted & self.listener.whole.keys()) >= (count or len(wanted)))

    async def do(self, *steps: Step) -> None:
        for verb, target, *rest in steps:
            match verb, target, rest:
                case "headers", str(), _:
                    self._headed.add(target)
                case "reset", str(), [ErrorCode.REFUSED_STREAM] if target not in self._headed:
                    self._reset.add(target)
                case "goaway", int(), [int(last), _]:
                    self._last_ids[target] = last
        await self.listener.do(*steps)

    async def respond(self, tokens: Iterable[str], status: int = 200) -> None:
        await self.do(*(["headers", token, status, True] for token in tokens))

    def in_order(self, tokens: Iterable[str]) -> list[str]:
        """By stream, as the server knows them."""
        return sorted(tokens, key=lambda token: self.listener.began[token].stream)


def body(token: str, *sizes: int) -> bytes:
    """What `data` steps of these sizes come to."""
    return b"".join((token.encode() * (size // len(token) + 1))[:size] for size in sizes)


class Place(NamedTuple):
    """Where a cell is played."""

    server: Server
    authority: Authority  # whom the client trusts
    stranger: Authority  # whom it does not


@asynccontextmanager
async def stage(
    place: Place,
    options: Listening = HOLDS,
    limits: Limits = LIMITS,
    sessions_max: int = 2,
    certificate: tuple[str, str] | None = None,
    relay: Relay | None = None,
) -> AsyncIterator[Stage]:
    """`relay` lies between the two when there is one."""
    certificate = certificate or place.authority.issue(NAMES)
    async with place.server.listening(options, certificate) as listener:
        if relay:
            relay.target = listener.port
        endpoint = Endpoint("127.0.0.1", relay.port if relay else listener.port, place.authority.ca_file)
        pool = Pool(endpoint, sessions_max, limits)
        with tapped() as wire:
            there = Stage(pool, listener, wire)
            try:
                yield there
            finally:
                await pool.close()
                for task in (task for sent in there.sent for task in sent.tasks):
                    task.cancel()
    assert not listener.broken, f"the server says that we broke a rule: {listener.broken}"
