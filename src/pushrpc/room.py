"""How much a lane may claim: what may be in flight, counted in deliveries, and what can be written, in requests.

Both are the same where a request carries one token. Where it carries many, which is known only once deliveries are
claimed, a lane learns how full requests get, and gives back what there are no requests for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pushrpc.ledger import Limit
from pushrpc.model import Claimed
from pushrpc.policy import LaneHealth
from pushrpc.providers import ProviderAccount, SharesRequests
from pushrpc.transport import Sessions

# Fewer, larger claims: a lane in full flow waits until this part of all that fits is free again.
ROOM_PART = 8


class LaneRoom:
    """One lane's. `in_flight` counts what is claimed and not settled, `unplaced` requests that sessions do not know of
    yet. `cutting`: what is due goes also where a request of it cannot be filled.
    """

    def __init__(self, account: ProviderAccount, sessions: Sessions, in_flight_max: int) -> None:
        self.in_flight = 0
        self.unplaced = 0
        self.cutting = False
        self.shares = account if isinstance(account, SharesRequests) else None
        self._sessions = sessions
        self._whole = self.shares.tokens_per_request if self.shares else 1
        self._carried = self._whole  # tokens that a request may be counted on to take
        self._bound = 0  # of the last claim, where that was `_carried`
        # A request that carries many tokens is sent whole, whatever the limit for single ones.
        self._in_flight_max = max(in_flight_max, self._whole)

    def free(self, health: LaneHealth, now_us: int) -> int:
        """How much may be claimed now; 0 also where it is so little that waiting for more costs less."""
        limit = self._limit(health, now_us)
        room = min(limit - self.in_flight, self._requests() * self._carried)
        # Of what fits, not of the limit: a few slow answers on few streams shall not keep all others waiting.
        return room if room > 0 and room * ROOM_PART >= min(limit, self.in_flight + room) else 0

    def limit(self, health: LaneHealth, now_us: int) -> Limit:
        """What a claim may take where requests are shared. Notifications are cut only for want of another way."""
        limit = self._limit(health, now_us)
        left = max(0, limit - self.in_flight)
        by_requests = self._requests() * self._carried
        self._bound = by_requests if by_requests < left else 0
        cut = by_requests < min(left, self._whole) or limit < self._whole or (self.cutting and left < self._whole)
        return Limit(min(left, by_requests), 1 if cut else self._whole)

    def takes_whole(self, health: LaneHealth, now_us: int) -> bool:
        """Whether there is room for a request that is full."""
        return self._limit(health, now_us) - self.in_flight >= self._whole

    def admit(self, deliveries: Sequence[Claimed], health: LaneHealth, now_us: int) -> tuple[int, int]:
        """How many of the claimed deliveries may go, the first ones, and in how many requests.

        A claim may have waited for hours: what the lane may take now is what counts.
        """
        count = min(len(deliveries), max(0, self._limit(health, now_us) - self.in_flight))
        shares = self.shares
        if shares is None or not count:
            return count, count

        def requests_of(count: int) -> int:
            return shares.requests_of(deliveries[:count], now_us)

        wanted, room = requests_of(count), max(self._sessions.room - self.unplaced, 1)
        fits = wanted <= room
        # Notifications of one token each fill a request with one: claiming for full ones would only give back.
        self._carried = max(1, count // wanted) if not fits or count == self._bound else self._whole
        if not fits:
            count = bisect_right(range(1, count), room, key=requests_of)
            wanted = requests_of(count)
        return count, wanted

    def _limit(self, health: LaneHealth, now_us: int) -> int:
        limit = health.limit(now_us, self._in_flight_max)
        return max(limit, self._whole) if limit > 1 else limit

    def _requests(self) -> int:
        return max(self._sessions.room - self.unplaced, 0 if self.in_flight else 1)
