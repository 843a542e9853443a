"""Tokens that their provider moves: the device takes the new one, and the delivery follows it, in one commit.

A delivery keeps the token that its caller named; where it is sent now stands in its address, and its lane is the one of
the new origin. Every later event of it tells the new token. Only lanes whose tokens are addresses have any of this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pushrpc.ledger.sqlite.memory import LaneQueue
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Address, Claimed, Lane, Outcome, Settlement
from pushrpc.words import DeliveryState, DeviceState

_DEAD, _REMOVED = int(DeviceState.DEAD), int(DeviceState.REMOVED)
_HOLDER = """
    SELECT key, device_id, registered_us, state FROM devices
    WHERE app = ? AND provider = ? AND environment = ? AND token = ? AND token <> ''"""
_TAKE = "UPDATE devices SET token = ?, origin = ?, updated_us = ? WHERE key = ?"
_LOSE = f"UPDATE devices SET token = '', state = {_REMOVED}, updated_us = ? WHERE key = ?"
_REDIRECT = "UPDATE deliveries SET lane = ?, address = ? WHERE key = ?"
_KEYS_OF = "SELECT first_delivery, first_delivery + total - 1 FROM notifications WHERE key = ?"
# Those that have reached the token, or still may. The plus sign: by the index on the token's end.
_SIBLING = f"""
    SELECT 1 FROM deliveries AS d WHERE d.key >> 12 = ?1 AND substr(d.token, -12) = substr(?2, -12) AND +d.token = ?2
    AND d.notification = ?3 AND d.key <> ?4 AND d.state <= {int(DeliveryState.SENT)}
    AND (d.device_id = '' OR d.device_id <> ?5)"""


class Moves:
    """The moves of one settling. `superseded` are devices, by app, that lost their token to one registered later."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.superseded: dict[int, list[str]] = defaultdict(list)

    def of(self, settlement: Settlement, queue: LaneQueue) -> Iterator[tuple[Settlement, LaneQueue]]:
        """What is to be settled instead, by where each delivery was sent, with the queue that a retry goes to."""
        deliveries, outcome = settlement.deliveries, settlement.outcome
        if outcome.replaced_origin:
            for place, claimed in enumerate(deliveries):
                yield self._moved(settlement.part([place]), claimed, queue)
            return
        sent_to = [claimed.moved_to for claimed in deliveries]
        if not any(sent_to):
            yield settlement, queue
            return
        for endpoint in dict.fromkeys(sent_to):
            part = settlement.part([place for place, each in enumerate(sent_to) if each == endpoint])
            yield part._replace(outcome=outcome._replace(replaced_by=outcome.replaced_by or endpoint)), queue

    def _moved(self, settlement: Settlement, claimed: Claimed, queue: LaneQueue) -> tuple[Settlement, LaneQueue]:
        """The settlement of one delivery, or its end where following would reach somebody else, or reach twice."""
        lane, new_token, time_us = queue.lane, settlement.outcome.replaced_by, settlement.time_us
        owner, superseded = self._move_device(lane, claimed.moved_to or claimed.token, settlement.outcome, time_us)
        if settlement.state is not DeliveryState.QUEUED:
            return settlement, queue
        others = bool(owner and claimed.device_id and owner != claimed.device_id)
        if others or self._reached_anyway(claimed, new_token, superseded):
            return settlement._replace(state=DeliveryState.UNREGISTERED, due_us=0), queue
        transaction = self._transaction
        new_lane = lane._replace(origin=settlement.outcome.replaced_origin)
        address = Address.of(claimed.address)
        address = address._replace(moved_to=new_token, moves=address.moves + 1)
        transaction.sql.execute(_REDIRECT, (transaction.lane_key(new_lane), address.text, claimed.key))
        return settlement, transaction.memory.queue(new_lane)

    def _move_device(self, lane: Lane, old_token: str, outcome: Outcome, time_us: int) -> tuple[str, str]:
        """The device that has the new token now, and the one that lost it; empty where there is none.

        Of two devices the one registered last has it: whoever uses the browser now need not be who used it then.
        """
        sql, app = self._transaction.sql, self._transaction.app_key(lane.app_id)
        identity = (app, int(lane.provider), int(lane.environment))
        holder = sql.execute(_HOLDER, (*identity, old_token)).fetchone()
        owner = sql.execute(_HOLDER, (*identity, outcome.replaced_by)).fetchone()
        owner_lives = owner is not None and owner[3] < _DEAD
        if holder is None or holder[3] >= _DEAD or (owner_lives and owner[2] >= holder[2]):
            return (owner[1] if owner_lives else ""), ""
        if owner is not None:
            sql.execute(_LOSE, (time_us, owner[0]))
        if owner_lives:
            self.superseded[app].append(owner[1])
        sql.execute(_TAKE, (outcome.replaced_by, outcome.replaced_origin, time_us, holder[0]))
        return holder[1], (owner[1] if owner_lives else "")

    def _reached_anyway(self, claimed: Claimed, token: str, superseded: str) -> bool:
        """Whether another delivery of the notification goes to the token: one push a notification is enough."""
        sql, number = self._transaction.sql, claimed.notification.key
        first, last = sql.execute(_KEYS_OF, (number,)).fetchone()
        buckets = range(first >> 12, (last >> 12) + 1)
        return any(
            sql.execute(_SIBLING, (bucket, token, number, claimed.key, superseded)).fetchone() for bucket in buckets
        )
