"""What deliveries were told, sorted by it: a page of a thousand acceptances is judged and settled as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pushrpc.exchange import NoAnswer, NotSent
from pushrpc.model import NOT_SENT, Claimed, Outcome, Settlement
from pushrpc.policy import Decision, nowhere_to_send
from pushrpc.providers import Classified
from pushrpc.words import OutcomeKind


class Alike(NamedTuple):
    """Deliveries that were told the same, with the provider's id for each, empty where it made none."""

    outcome: Outcome
    deliveries: list[Claimed]
    message_ids: list[str]


def sort_by_outcome(covered: Sequence[Claimed], classified: Sequence[Classified], told: dict[int, Alike]) -> None:
    """Adds deliveries to what was told the same. A page of plain acceptances is one addition, not one for each."""
    if len(covered) > 1 and classified.count(classified[0]) == len(covered):
        outcome, message_id = classified[0]
        same = told.setdefault(id(outcome), Alike(outcome, [], []))
        same.deliveries.extend(covered)
        same.message_ids.extend([message_id] * len(covered))
        return
    for delivery, (outcome, message_id) in zip(covered, classified, strict=True):
        alike = told.get(id(outcome))
        if alike is None:
            alike = told[id(outcome)] = Alike(outcome, [], [])
        alike.deliveries.append(delivery)
        alike.message_ids.append(message_id)


def settlement_of(alike: Alike, decision: Decision, started_us: int, now_us: int) -> Settlement:
    outcome, deliveries, message_ids = alike
    state, cause, due_us, spend = decision
    told_ids = message_ids if any(message_ids) else ()
    return Settlement(deliveries, outcome, told_ids, state, cause, due_us, spend, started_us, now_us)


def spared(outcome: Outcome) -> Outcome:
    """While so many tokens are refused that it must be us who are, no device dies of it."""
    suspect = outcome.misdirected or outcome.ambiguous
    return outcome._replace(kind=OutcomeKind.CREDENTIAL_REFUSED) if suspect else outcome


def unanswered(answer: NotSent | NoAnswer, covered: Sequence[Claimed], looks: int, now: int) -> Sequence[Classified]:
    if isinstance(answer, NotSent) and answer.forbidden:
        return [(nowhere_to_send(delivery, answer.detail, looks, now), "") for delivery in covered]
    outcome = NOT_SENT if isinstance(answer, NotSent) else Outcome(OutcomeKind.UNKNOWN, detail=answer.detail)
    return [(outcome, "")] * len(covered)
