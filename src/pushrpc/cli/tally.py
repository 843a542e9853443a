"""The demo's book-keeping, pure: what was accepted, streamed and taken by the emulators, and whether it adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pushrpc.v1 import following_pb2, sending_pb2
from pushrpc.v1.enums_pb2 import EVENT_KIND_ATTEMPT
from pushrpc.words import DeliveryState, Provider

ON_STAGE = tuple(provider for provider in Provider if provider)
NAMES = {
    Provider.APNS: "APNs",
    Provider.FCM: "FCM",
    Provider.WNS: "WNS",
    Provider.WEB_PUSH: "Web Push",
    Provider.HMS: "HMS",
    Provider.NOTIFICATION_HUBS: "Hubs",
}


class Taken(NamedTuple):
    """What one emulator journaled: messages, how many of them were different, and its answers by HTTP status."""

    accepted: int
    distinct: int
    answers: Mapping[int, int]


class Check(NamedTuple):
    """One sum: what it is about, and both sides."""

    name: str
    left: int
    right: int

    @property
    def adds_up(self) -> bool:
        return self.left == self.right


@dataclass(slots=True)
class Tally:
    """Counts as receipts and events come in."""

    accepted: int = 0
    rejected: int = 0
    notifications: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # sends of the bulk stream, by reason
    final: Counter[tuple[Provider, DeliveryState]] = field(default_factory=Counter)
    tries: Counter[Provider] = field(default_factory=Counter)
    retries: Counter[Provider] = field(default_factory=Counter)
    finals_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    finals_in_second: Counter[int] = field(default_factory=Counter)

    def receipt(self, response: sending_pb2.SendNotificationResponse) -> None:
        self.notifications += 1
        self.accepted += response.target_count
        self.rejected += len(response.rejected)

    def page(self, response: following_pb2.StreamDeliveryStatusResponse) -> None:
        for event in response.events:
            if event.final:
                provider = Provider(event.provider)
                self.final[provider, DeliveryState(event.state)] += 1
                self.tries[provider] += event.attempt
                self.finals_of[event.notification_id, event.token] += 1
                self.finals_in_second[event.time.seconds] += 1
            elif event.kind == EVENT_KIND_ATTEMPT:
                self.retries[Provider(event.provider)] += 1

    @property
    def finals(self) -> int:
        return self.final.total()

    def finals_at(self, provider: Provider) -> int:
        return sum(count for (whose, _), count in self.final.items() if whose is provider)

    def of(self, state: DeliveryState) -> int:
        return sum(self.final[provider, state] for provider in ON_STAGE)

    def states(self) -> Sequence[DeliveryState]:
        """Those that occurred, in the order of the contract."""
        return sorted({state for _, state in self.final})

    def best_second(self) -> int:
        """Most deliveries that ended within one second."""
        return max(self.finals_in_second.values(), default=0)

    def checks(
        self,
        planned: int,
        dead: int,
        malformed: int,
        taken: Mapping[Provider, Taken],
        counts: following_pb2.DeliveryCounts,
        replay: sending_pb2.SendNotificationResponse,
    ) -> Sequence[Check]:
        """Every sum that must hold. `counts` is what the ledger says of all notifications together."""
        sent = {provider: self.final[provider, DeliveryState.SENT] for provider in ON_STAGE}
        return [
            Check("targets accepted = targets sent out", self.accepted, planned),
            Check("malformed tokens rejected, typed", self.rejected, malformed),
            Check("final events = accepted", self.finals, self.accepted),
            Check("deliveries with one final event = accepted", _ones(self.finals_of), self.accepted),
            Check(
                "final rows in the ledger = accepted", counts.total - counts.queued - counts.in_flight, self.accepted
            ),
            Check("ledger SENT = streamed SENT", counts.sent, self.of(DeliveryState.SENT)),
            Check("UNREGISTERED = dead tokens", self.of(DeliveryState.UNREGISTERED), dead),
            *(Check(f"{NAMES[p]} took, distinct = SENT", taken[p].distinct, sent[p]) for p in ON_STAGE),
            Check("new deliveries made by a replay = 0", 0 if replay.replayed else replay.target_count, 0),
        ]


def _ones(counts: Counter[tuple[str, str]]) -> int:
    return sum(1 for count in counts.values() if count == 1)
