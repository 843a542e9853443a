"""What a bulk stream has in hand: a message that is being filled, and a few that are unanswered."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from pushrpc_client.errors import PushError, garbled, of_failure, too_long
from pushrpc_client.requests import fill_in
from pushrpc_client.v1 import (
    SendNotificationRequest,
    SendNotificationResponse,
    SendNotificationsRequest,
    SendNotificationsResponse,
    Target,
)

# The contract's limits of one message; a little is left for what frames it.
SENDS_MAX = 500
TARGETS_MAX = 10_000
BYTES_MAX = 4 * 1024 * 1024 - 4096
UNANSWERED_MAX = 4
FILL_S = 0.005
FILLED_IN_BYTES = 128  # app_id, request_id, and what frames a send
ANSWER_TIMEOUT_S = 60.0
OPENING_S = 20.0  # what another stream has to answer, after one was given up; as long as a follower's first
RECONNECT_FIRST_S = 0.1
RECONNECT_LAST_S = 5.0

Ticket = TypeVar("Ticket")
Receipt = SendNotificationResponse | PushError


class Group(Generic[Ticket]):
    """One message of the stream and, in its order, whom to give the receipts to."""

    def __init__(self, sequence: int, app_id: str, now: float) -> None:
        self.message = SendNotificationsRequest(app_id=app_id, sequence=sequence)
        self.tickets: list[Ticket] = []
        self.began = now
        self._targets = 0
        self._bytes = 0

    def takes(self, size: int, targets: int) -> bool:
        """A first send is always taken: what is wrong with it alone is the server's to say."""
        count = len(self.tickets)
        fits = self._bytes + size <= BYTES_MAX and self._targets + targets <= TARGETS_MAX
        return not count or (count < SENDS_MAX and fits)

    def add(self, request: SendNotificationRequest, ticket: Ticket, size: int, targets: int) -> None:
        self.message.sends.append(request)
        fill_in(self.message.sends[-1], self.message.app_id)
        self.tickets.append(ticket)
        self._bytes += size
        self._targets += targets

    @property
    def is_full(self) -> bool:
        return len(self.tickets) >= SENDS_MAX or self._targets >= TARGETS_MAX or self._bytes >= BYTES_MAX


class Window(Generic[Ticket]):
    """Groups in order: the first `_written` of them are on the stream, the last may still be filled.

    A broken stream's groups are written again: their sends have request_ids. A stream that brings no answer for
    `answer_timeout` seconds shall be left for another, and OPENING_S later what is here shall be given up.
    """

    def __init__(self, app_id: str, answer_timeout: float = ANSWER_TIMEOUT_S) -> None:
        self._app_id = app_id
        self._answer_timeout = answer_timeout
        self._heard = 0.0  # when an answer came, or the first send that waits for one
        self._groups: deque[Group[Ticket]] = deque()
        self._forming: Group[Ticket] | None = None
        self._written = 0
        self._sequence = 0

    def __bool__(self) -> bool:
        return bool(self._groups or self._forming)

    def add(self, request: SendNotificationRequest, ticket: Ticket, now: float) -> bool:
        """False when there is no room until something is answered. Raises PushError when there never can be."""
        size, targets = request.ByteSize() + FILLED_IN_BYTES, count(request.target)
        if size > BYTES_MAX:
            raise too_long(size, BYTES_MAX, request.request_id)
        if self._forming is not None and not self._forming.takes(size, targets) and not self._seal():
            return False
        if not self:
            self._heard = now
        if self._forming is None:
            self._sequence += 1
            self._forming = Group(self._sequence, self._app_id, now)
        self._forming.add(request, ticket, size, targets)
        return True

    def next(self, now: float, hurry: bool = False) -> Group[Ticket] | None:
        """What to write now. One that is not full waits a moment for more, unless in a hurry."""
        forming = self._forming
        is_due = forming is not None and (forming.is_full or hurry or now >= forming.began + FILL_S)
        if self._written == len(self._groups) and not (is_due and self._seal()):
            return None
        self._written += 1
        return self._groups[self._written - 1]

    def due_in(self, now: float) -> float | None:
        """Seconds until `next` may have something though nothing happens; None if it never will."""
        if self._forming is None or len(self._groups) >= UNANSWERED_MAX:
            return None
        return max(0.0, self._forming.began + FILL_S - now)

    @property
    def patience(self) -> float:
        """Seconds without any answer after which what is here shall be given up."""
        return self._answer_timeout + OPENING_S

    def left(self, now: float) -> float:
        """How many of them are left."""
        return self._heard + self.patience - now

    def left_to(self, opened: float, now: float) -> float:
        """Seconds until a stream that was opened then shall be left; it is silent only while something is here."""
        return min(max(self._heard, opened) + self._answer_timeout - now, self.left(now))

    def answered(self, response: SendNotificationsResponse, now: float) -> list[tuple[Ticket, Receipt]]:
        """Raises PushError when it is not the answer to what was written first."""
        if not self._written or self._groups[0].message.sequence != response.sequence:
            raise garbled(f"the answer to message {response.sequence} came out of turn")
        group = self._groups[0]
        if len(group.tickets) != len(response.receipts):
            raise garbled(f"{len(response.receipts)} receipts came for {len(group.tickets)} sends")
        self._heard = now
        self._groups.popleft()
        self._written -= 1
        return [
            (ticket, of_failure(each.error, each.request_id) if each.HasField("error") else each.accepted)
            for ticket, each in zip(group.tickets, response.receipts, strict=True)
        ]

    def broke(self) -> None:
        self._written = 0

    def give_up(self) -> list[tuple[Ticket, str]]:
        """Empties the window, into each ticket with its request_id."""
        groups = [*self._groups, *([self._forming] if self._forming else ())]
        self._groups.clear()
        self._forming, self._written = None, 0
        return [(t, send.request_id) for g in groups for t, send in zip(g.tickets, g.message.sends, strict=True)]

    def _seal(self) -> bool:
        if self._forming is None or len(self._groups) >= UNANSWERED_MAX:
            return False
        self._groups.append(self._forming)
        self._forming = None
        return True


def count(target: Target) -> int:
    """How many targets it names, as the server counts them."""
    listed = sum(len(group.tokens) + len(group.subscriptions) for group in target.tokens)
    return listed + len(target.device_ids) + len(target.user_ids) + len(target.provider_audiences)
