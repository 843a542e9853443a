"""What goes on with a provider beside pushes: what it tells later of those it took, and what it is told of devices.

Both are kept by the ledger until they are done, so a restart forgets neither. Each account has workers of its own, so a
provider that is slow or silent keeps nobody waiting but itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock
from pushrpc.exchange import Response
from pushrpc.ledger import Ledger, LedgerError
from pushrpc.model import Device, Lane, Outcome
from pushrpc.providers import GivesFeedback, KeepsDevices, ProviderAccount
from pushrpc.record import Confirmation, Synced, Unconfirmed, Unsynced
from pushrpc.telemetry import Telemetry
from pushrpc.words import DeviceState, OutcomeKind

LOOK_EVERY_S = 1.0
AT_ONCE = 16  # a worker's questions on the wire; a hub's answer comes in milliseconds
SLICE = 256  # of what is due in a lane, read from the ledger at once
AGAIN_S = 5.0  # after a question without an answer
AGAIN_MAX_S = 3600.0
DEAD_IN_ROW_MAX = 20  # a row as long as that after which a lane's answers are doubted
AGAIN_PART = 4  # a question is repeated after this part of the message's age, so that old ones cost little
GIVE_UP_S = 2 * 3600.0  # a hub drops what it cannot hand on for 30 minutes (Azure, "Push notifications FAQ")

AccountOf = Callable[[Lane], ProviderAccount | None]
_NEVER_TOLD = Outcome(OutcomeKind.UNKNOWN, detail="the provider never told what came of it")

Due = TypeVar("Due")
Result = TypeVar("Result")


class _Workers(Generic[Due, Result]):
    """For one kind of question, a worker for each lane in which something is due.

    `ask` comes to a result in any case, and says whether the provider was well; `name` tells what is being asked from
    what is due besides.
    """

    def __init__(
        self,
        lanes: Callable[[int], Awaitable[Sequence[Lane]]],
        due: Callable[[Lane, int, int], Awaitable[Sequence[Due]]],
        name: Callable[[Due], Hashable],
        ask: Callable[[Due], Coroutine[Any, Any, tuple[Result, bool]]],
        keep: Callable[[Sequence[Result]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._lanes = lanes
        self._due = due
        self._name = name
        self._ask = ask
        self._keep = keep
        self._clock = clock
        self._working: set[Lane] = set()

    async def lanes(self) -> list[Lane]:
        """Those in which something is due and nobody works."""
        return [lane for lane in await self._lanes(self._clock.now_us()) if lane not in self._working]

    async def work(self, lane: Lane) -> None:
        """Asks until nothing is due, and keeps each result as it comes.

        Begins with one question, and ends when there is no answer: a provider that is not there costs one question a
        look, and not a window full of them.
        """
        self._working.add(lane)
        under_way: dict[asyncio.Task[tuple[Result, bool]], Hashable] = {}
        todo: deque[Due] = deque()
        room = 1
        try:
            while True:
                if room and not todo:
                    busy = set(under_way.values())
                    due = await self._due(lane, self._clock.now_us(), SLICE)
                    todo.extend(each for each in due if self._name(each) not in busy)
                while todo and len(under_way) < room:
                    each = todo.popleft()
                    under_way[asyncio.create_task(self._ask(each))] = self._name(each)
                if not under_way:
                    return
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                results = [task.result() for task in done]
                await self._keep([result for result, _ in results])
                room = AT_ONCE if all(well for _, well in results) else 0
                for task in done:
                    del under_way[task]
        finally:
            self._working.discard(lane)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


class ProviderFeedback:
    """Asks and tells whatever is due. A provider that does not answer is asked again later, and delays no other."""

    def __init__(
        self, ledger: Ledger, calls: ProviderCalls, account_of: AccountOf, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._calls = calls
        self._account_of = account_of
        self._clock = clock
        self._telemetry = telemetry
        self._asking: _Workers[Unconfirmed, Confirmation] = _Workers(
            ledger.unconfirmed_lanes, ledger.unconfirmed, _message_id, self._asked, ledger.confirm, clock
        )
        self._telling: _Workers[Unsynced, Synced] = _Workers(
            ledger.unsynced_lanes, ledger.unsynced, _device_id, self._told, ledger.synced, clock
        )
        self._dead_in_row: dict[Lane, int] = {}  # since a push of the lane was last told to have arrived
        self._unwell: set[Lane] = set()  # whose last question about a message had no answer

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._guarded(self._begin(self._asking, tasks))
                await self._guarded(self._begin(self._telling, tasks))
                await self._clock.sleep(LOOK_EVERY_S)

    async def _begin(self, workers: _Workers[Any, Any], tasks: asyncio.TaskGroup) -> None:
        for lane in await workers.lanes():
            tasks.create_task(self._guarded(workers.work(lane)))

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except LedgerError as error:
            self._telemetry.ledger_failed("feedback", str(error))
        except Exception as error:  # a bug in asking is no reason to stop serving
            self._telemetry.failed("feedback", error)

    # --- what came of a message

    async def _asked(self, message: Unconfirmed) -> tuple[Confirmation, bool]:
        try:
            return await self._ask(message)
        except Exception as error:  # a bug that one message meets shall not keep the others waiting
            self._telemetry.failed("feedback.ask", error)
            return self._later(message, AGAIN_MAX_S, self._clock.now_us()), True

    async def _ask(self, message: Unconfirmed) -> tuple[Confirmation, bool]:
        lane, message_id, accepted_us = message
        account = self._account_of(lane)
        now_us = self._clock.now_us()
        if account is None or not isinstance(account, GivesFeedback):
            return self._later(message, AGAIN_MAX_S if account is None else 0.0, now_us), True
        wait_us = accepted_us + int(account.feedback_after_s * 1e6) - now_us
        if wait_us > 0:
            return self._later(message, wait_us / 1e6, now_us), True
        if lane in self._unwell and -wait_us > GIVE_UP_S * 1e6:  # or they would pile up
            return self._later(message, AGAIN_S, now_us), True
        ask = partial(account.feedback_call, message_id)
        answer = await self._calls.ask(account, ask, partial(_of_feedback, account, now_us))
        now_us, well = self._clock.now_us(), _is_well(answer)
        (self._unwell.discard if well else self._unwell.add)(lane)
        if not isinstance(answer, Response):
            return self._later(message, AGAIN_S, now_us), False
        outcome, due_s = account.feedback(answer, now_us)
        if due_s:
            told = answer.status == 200 and outcome.kind is not OutcomeKind.UNKNOWN
            return self._later(message, due_s, now_us, outcome if told else _NEVER_TOLD), well
        return Confirmation(lane, message_id, self._doubted(lane, outcome), 0, now_us), True

    def _doubted(self, lane: Lane, outcome: Outcome) -> Outcome:
        """A hub with another app's credentials calls every handle bad: of so many in a row no device dies."""
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._dead_in_row.pop(lane, None)
        if outcome.kind is not OutcomeKind.TOKEN_INVALID:
            return outcome
        in_row = self._dead_in_row[lane] = self._dead_in_row.get(lane, 0) + 1
        if in_row == DEAD_IN_ROW_MAX:
            self._telemetry.feedback_doubted(lane, outcome.reason)
        return outcome._replace(misdirected=True) if in_row >= DEAD_IN_ROW_MAX else outcome

    def _later(self, message: Unconfirmed, wait_s: float, now_us: int, so_far: Outcome = _NEVER_TOLD) -> Confirmation:
        """Asks again, unless that has gone on for too long: then `so_far` is all there is. 0 is nothing to ask."""
        lane, message_id, accepted_us = message
        if not wait_s:
            return Confirmation(lane, message_id, None, 0, now_us)
        age_s = (now_us - accepted_us) / 1e6
        if age_s > GIVE_UP_S:
            return Confirmation(lane, message_id, self._doubted(lane, so_far), 0, now_us)
        return Confirmation(lane, message_id, None, now_us + int(max(wait_s, age_s / AGAIN_PART) * 1e6), now_us)

    # --- what a provider knows of a device

    async def _told(self, unsynced: Unsynced) -> tuple[Synced, bool]:
        try:
            return await self._tell(*unsynced)
        except Exception as error:  # as above
            self._telemetry.failed("feedback.tell", error)
            return Synced(unsynced.device, self._clock.now_us() + int(AGAIN_MAX_S * 1e6)), True

    async def _tell(self, device: Device, tries: int) -> tuple[Synced, bool]:
        lane = Lane(device.app_id, device.provider, device.provider_app_id, device.environment, device.origin)
        account = self._account_of(lane)
        now_us = self._clock.now_us()
        if account is None:
            return Synced(device, now_us + int(AGAIN_MAX_S * 1e6)), True
        if not isinstance(account, KeepsDevices):
            return Synced(device), True
        tell = partial(account.device_call, device)
        answer = await self._calls.ask(account, tell, partial(_of_device, account, now_us))
        now_us = self._clock.now_us()
        outcome = account.device_result(answer, now_us) if isinstance(answer, Response) else answer
        if outcome.kind is OutcomeKind.ACCEPTED:
            if left_out := _left_out(account, device):
                self._telemetry.tags_left_out(lane, device.device_id, left_out)
            return Synced(device), True
        wait_s = max(outcome.retry_after_s or 0.0, min(AGAIN_S * 2 ** min(tries, 16), AGAIN_MAX_S))
        return Synced(device, now_us + int(wait_s * 1e6)), _is_well(answer)


def _is_well(answer: Response | Outcome) -> bool:
    return isinstance(answer, Response) and answer.status != 429 and answer.status < 500


def _message_id(message: Unconfirmed) -> Hashable:
    return message.message_id


def _device_id(unsynced: Unsynced) -> Hashable:
    return unsynced.device.device_id


def _of_feedback(account: GivesFeedback, now_us: int, response: Response) -> Outcome:
    return account.feedback(response, now_us).outcome


def _of_device(account: KeepsDevices, now_us: int, response: Response) -> Outcome:
    return account.device_result(response, now_us)


def _left_out(account: KeepsDevices, device: Device) -> int:
    """How many tags of a device its provider's registry does not keep: of one that was stored before it was checked."""
    if device.state in (DeviceState.DEAD, DeviceState.REMOVED):
        return 0
    kept = sum(not account.tag_problem(tag) for tag in device.tags)
    return len(device.tags) - min(kept, account.tags_max)
