"""Rows that wait for a session: their order, their deadlines, and the pages their answers come back in."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable

from pushrpc.exchange import NotSent, Page, Requests
from pushrpc.transport.batch import Batch


class Send(Batch):
    """A batch with the task that waits for its answers."""

    __slots__ = ("_news",)

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests)
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self.requests.rows) - self.taken

    def wake(self) -> None:
        self._news.set()

    async def next_page(self) -> Page:
        """What has been answered since the last page, at least one row."""
        while not self.page:
            self._news.clear()
            await self._news.wait()
        page, self.page = self.page, []
        return page

    def refuse(self, answer: NotSent) -> None:
        """Answers every row that no session has taken."""
        rows = range(self.taken, len(self.requests.rows))
        self.taken = len(self.requests.rows)
        self.page.extend((row, answer) for row in rows)
        self.wake()


class Sends(ABC):
    """What all `Sessions` have alike. Whoever has sessions places rows on them, and takes them off again."""

    def __init__(self) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._sends: dict[Send, None] = {}  # in the order they began

    async def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        """Yields pages of (row position, answer): what has come in since the last one was taken."""
        send = self._admit(requests)
        self._sends[send] = None
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(timeout_s, self._expire, send, timeout_s)
        too_late = None
        if start_within_s is not None and start_within_s < timeout_s:
            too_late = loop.call_later(start_within_s, send.refuse, NotSent(f"not started within {start_within_s:g} s"))
        unanswered = len(requests.rows)
        try:
            if timeout_s <= 0:
                self._expire(send, timeout_s)
            self._place()
            while unanswered:
                page = await send.next_page()
                unanswered -= len(page)
                yield page
        finally:
            deadline.cancel()
            if too_late is not None:
                too_late.cancel()
            del self._sends[send]
            if unanswered:
                self._withdraw(send, "the caller left")

    def _admit(self, requests: Requests) -> Send:
        return Send(requests)

    @abstractmethod
    def _place(self) -> None:
        """Gives waiting rows to sessions, in the order of their sends; sees to it that none waits in vain."""

    @abstractmethod
    def _withdraw(self, send: Send, detail: str) -> None:
        """Takes what a send has open off the wire: NoAnswer."""

    @property
    def _waiting(self) -> int:
        return sum(send.waiting for send in self._sends)

    def _refuse(self, answer: NotSent) -> None:
        for send in self._sends:
            if send.waiting:
                send.refuse(answer)

    def _expire(self, send: Send, timeout_s: float) -> None:
        send.refuse(NotSent(f"no session had room within {timeout_s:g} s"))
        self._withdraw(send, f"no answer within {timeout_s:g} s")
        send.wake()
