"""One request on its way: the script may interfere, the service answers, the journal keeps what was taken."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import NamedTuple

from pushrpc.emulator.faults import Action, Fault, Script
from pushrpc.emulator.journal import Journal
from pushrpc.emulator.service import Call, Connection, Service
from pushrpc.exchange import Response

_ANSWERED = frozenset({Action.STATUS, Action.DELAY, Action.SETTINGS})


class Cue(NamedTuple):
    """What the shell plays: this answer, unless `fault` has it broken, late or never."""

    response: Response
    fault: Fault | None


class Stage:
    """A service with its script, journal and clock (microseconds since 1970)."""

    def __init__(self, service: Service, script: Script, journal: Journal, now_us: Callable[[], int]) -> None:
        self.service = service
        self._script = script
        self._journal = journal
        self._now_us = now_us

    def decide(self, call: Call, connection: Connection) -> Cue:
        now_us = self._now_us()
        provider, token = self.service.subject(call)
        fault = self._script.next(provider, token)
        if fault and fault.action is Action.STATUS:
            response = self._refusal(call, fault, now_us)
        else:
            verdict = connection.answer(call, now_us)
            response = verdict.response
            if fault is None or fault.taken or _is_answered(fault):
                for entry in verdict.taken:
                    self._journal.accept(entry)
        if fault is None or _is_answered(fault):
            self._journal.answers[provider, response.status] += 1
        return Cue(response, fault)

    def _refusal(self, call: Call, fault: Fault, now_us: int) -> Response:
        response = self.service.refusal(call, fault.status, fault.reason, now_us)
        if fault.retry_after_s is None:
            return response
        after = str(fault.retry_after_s)
        if fault.retry_after_date:
            after = formatdate(now_us // 1_000_000 + fault.retry_after_s, usegmt=True)
        return response._replace(headers=[*response.headers, (b"retry-after", after.encode())])


def _is_answered(fault: Fault) -> bool:
    return fault.action in _ANSWERED or (fault.action is Action.GOAWAY and fault.last_offset >= 0)
