"""What goes on with a provider beside pushes: what it tells later of those it took, and what it is told of devices.

Both are kept by the ledger until they are done, so a restart forgets neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

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
AT_ONCE = 16  # questions on the wire; a hub's answer comes in milliseconds
SLICE = 256  # of what is due, read from the ledger at once
AGAIN_S = 5.0  # after a question without an answer
AGAIN_MAX_S = 3600.0
DEAD_IN_ROW_MAX = 20  # a row as long as that after which a lane's answers are doubted
AGAIN_PART = 4  # a question is repeated after this part of the message's age, so that old ones cost little
GIVE_UP_S = 2 * 3600.0  # a hub drops what it cannot hand on for 30 minutes (Azure, "Push notifications FAQ")

AccountOf = Callable[[Lane], ProviderAccount | None]
_NEVER_TOLD = Outcome(OutcomeKind.UNKNOWN, detail="the provider never told what came of it")


class ProviderFeedback:
    """Asks and tells whatever is due, a slice at a time. A provider that does not answer is asked again later."""

    def __init__(
        self, ledger: Ledger, calls: ProviderCalls, account_of: AccountOf, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._ledger = ledger
        self._calls = calls
        self._account_of = account_of
        self._clock = clock
        self._telemetry = telemetry
        self._free = asyncio.Semaphore(AT_ONCE)
        self._dead_in_row: dict[Lane, int] = {}  # since a push of the lane was last told to have arrived

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                busy = await self.step()
            except LedgerError as error:
                self._telemetry.ledger_failed("feedback", str(error))
                busy = False
            except Exception as error:  # a bug in asking is no reason to stop serving
                self._telemetry.failed("feedback", error)
                busy = False
            if not busy:
                await self._clock.sleep(LOOK_EVERY_S)

    async def step(self) -> bool:
        """Does one slice of what is due now. Whether there may be more."""
        now_us = self._clock.now_us()
        messages = await self._ledger.unconfirmed(now_us, SLICE)
        devices = await self._ledger.unsynced(now_us, SLICE)
        if messages:
            await self._ledger.confirm(await asyncio.gather(*map(self._asked, messages)))
        if devices:
            await self._ledger.synced(await asyncio.gather(*map(self._told, devices)))
        return len(messages) == SLICE or len(devices) == SLICE

    # --- what came of a message

    async def _asked(self, message: Unconfirmed) -> Confirmation:
        lane, message_id, accepted_us = message
        account = self._account_of(lane)
        now_us = self._clock.now_us()
        if account is None or not isinstance(account, GivesFeedback):
            return self._later(message, AGAIN_MAX_S if account is None else 0.0, now_us)
        wait_us = accepted_us + int(account.feedback_after_s * 1e6) - now_us
        if wait_us > 0:
            return self._later(message, wait_us / 1e6, now_us)
        async with self._free:
            ask = partial(account.feedback_call, message_id)
            answer = await self._calls.ask(account, ask, partial(_of_feedback, account, now_us))
        now_us = self._clock.now_us()
        if not isinstance(answer, Response):
            return self._later(message, AGAIN_S, now_us)
        outcome, due_s = account.feedback(answer, now_us)
        if due_s:
            told = answer.status == 200 and outcome.kind is not OutcomeKind.UNKNOWN
            return self._later(message, due_s, now_us, outcome if told else _NEVER_TOLD)
        return Confirmation(lane, message_id, self._doubted(lane, outcome), 0, now_us)

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

    async def _told(self, unsynced: Unsynced) -> Synced:
        device, tries = unsynced
        lane = Lane(device.app_id, device.provider, device.provider_app_id, device.environment, device.origin)
        account = self._account_of(lane)
        now_us = self._clock.now_us()
        if account is None:
            return Synced(device, now_us + int(AGAIN_MAX_S * 1e6))
        if not isinstance(account, KeepsDevices):
            return Synced(device)
        async with self._free:
            tell = partial(account.device_call, device)
            answer = await self._calls.ask(account, tell, partial(_of_device, account, now_us))
        now_us = self._clock.now_us()
        outcome = account.device_result(answer, now_us) if isinstance(answer, Response) else answer
        if outcome.kind is OutcomeKind.ACCEPTED:
            if left_out := _left_out(account, device):
                self._telemetry.tags_left_out(lane, device.device_id, left_out)
            return Synced(device)
        wait_s = max(outcome.retry_after_s or 0.0, min(AGAIN_S * 2 ** min(tries, 16), AGAIN_MAX_S))
        return Synced(device, now_us + int(wait_s * 1e6))


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
