"""The bulk stream: many small sends a message, one accept for all of them, receipts in order.

A few messages are in progress at once, so that the next is parsed while one commits. Reading waits for the answers to
be taken: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from pushrpc.content import Content
from pushrpc.ledger import LedgerError
from pushrpc.model import Receipt, Send
from pushrpc.rpc.apps import Accounts, AppAccounts, accounts_of
from pushrpc.rpc.content import content_of
from pushrpc.rpc.errors import Reason, Refusal, failure_of, refusal_of
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.gate import Gate
from pushrpc.rpc.limits import BULK_IN_PROGRESS_MAX, SENDS_PER_MESSAGE_MAX, TARGETS_PER_MESSAGE_MAX
from pushrpc.rpc.notifications import Notifications, target_count
from pushrpc.telemetry import Telemetry
from pushrpc.v1 import sending_pb2

_METHOD = "SendNotifications"
_SENDS_AT_A_STRETCH = 50  # some 2 ms of checks; then other callers get their turn

Write = Callable[[sending_pb2.SendNotificationsResponse], Awaitable[None]]


class BulkSends:
    """SendNotifications."""

    def __init__(self, notifications: Notifications, accounts: Accounts, gate: Gate, telemetry: Telemetry) -> None:
        self._notifications = notifications
        self._accounts = accounts
        self._gate = gate
        self._telemetry = telemetry

    async def run(self, requests: AsyncIterator[sending_pb2.SendNotificationsRequest], write: Write) -> None:
        """Answers until the caller is done. Raises Refusal (DRAINING) after answering what was read."""
        with self._gate.bulk_stream():
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._answer_in_order(requests, write, tasks)
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
            if self._gate.draining:
                self._gate.enter()

    async def _answer_in_order(
        self,
        requests: AsyncIterator[sending_pb2.SendNotificationsRequest],
        write: Write,
        tasks: asyncio.TaskGroup,
    ) -> None:
        room = asyncio.Semaphore(BULK_IN_PROGRESS_MAX)
        answers: asyncio.Queue[asyncio.Task[sending_pb2.SendNotificationsResponse] | None] = asyncio.Queue()

        async def read() -> None:
            while True:
                await room.acquire()
                request = await self._gate.unless_draining(anext(requests, None))
                if request is None:
                    answers.put_nowait(None)
                    return
                answers.put_nowait(tasks.create_task(self._answer(request)))

        tasks.create_task(read())
        while (answer := await answers.get()) is not None:
            await write(await answer)
            room.release()

    async def _answer(self, request: sending_pb2.SendNotificationsRequest) -> sending_pb2.SendNotificationsResponse:
        """One receipt for each send, whatever goes wrong."""
        response = sending_pb2.SendNotificationsResponse(sequence=request.sequence)
        try:
            accounts = self._checked(request)
            shared = _shared_content(request)
            prepared: list[Send | Refusal] = []
            for position, send in enumerate(request.sends, 1):
                prepared.append(self._prepare(request, send, accounts, shared))
                if position % _SENDS_AT_A_STRETCH == 0:
                    await asyncio.sleep(0)
            sends = [each for each in prepared if isinstance(each, Send)]
            accepted = iter(await self._notifications.accept(sends) if sends else ())
            for send, each in zip(request.sends, prepared, strict=True):
                receipt = response.receipts.add(request_id=send.request_id)
                self._put(receipt, each, next(accepted) if isinstance(each, Send) else each)
        except Exception as error:
            refusal = refusal_of(error, _METHOD, self._telemetry)
            response.ClearField("receipts")
            for send in request.sends:
                self._put(response.receipts.add(request_id=send.request_id), refusal, refusal)
        return response

    def _checked(self, request: sending_pb2.SendNotificationsRequest) -> AppAccounts:
        """What must hold for the message as a whole. Raises Refusal."""
        accounts = accounts_of(self._accounts, request.app_id)
        fields = Fields()
        if len(request.sends) > SENDS_PER_MESSAGE_MAX:
            fields.too_long("sends", len(request.sends), SENDS_PER_MESSAGE_MAX, "entries")
        count = sum(target_count(send.target) for send in request.sends)
        if count > TARGETS_PER_MESSAGE_MAX:
            problem = f"name {count:,} targets, the limit is {TARGETS_PER_MESSAGE_MAX:,}"
            fields.wrong(Reason.TARGET_TOO_LARGE, "sends", problem, TARGETS_PER_MESSAGE_MAX)
        fields.refuse()
        return accounts

    def _prepare(
        self,
        request: sending_pb2.SendNotificationsRequest,
        send: sending_pb2.SendNotificationRequest,
        accounts: AppAccounts,
        shared: Content | None,
    ) -> Send | Refusal:
        fields = Fields()
        if not send.request_id:
            fields.wrong(Reason.FIELD_REQUIRED, "request_id", "is not set, and a bulk send needs it")
        if send.HasField("wait"):
            fields.wrong(Reason.FIELDS_CONFLICT, "wait", "is set; a bulk send is followed with StreamDeliveryStatus")
        if send.app_id not in ("", request.app_id):
            fields.wrong(Reason.FIELDS_CONFLICT, "app_id", "differs from the message's; send another message for it")
        send.app_id = request.app_id
        if send.options.dry_run or (request.options.dry_run and not send.HasField("options")):
            fields.wrong(Reason.FIELDS_CONFLICT, "options.dry_run", "is set; a dry run is a call of SendNotification")
        content = None
        if not send.HasField("message") and request.HasField("message"):
            send.message.CopyFrom(request.message)
            content = shared
        if not send.HasField("options") and request.HasField("options"):
            send.options.CopyFrom(request.options)
        try:
            return self._notifications.prepare(send, accounts, fields, content)
        except Exception as error:
            return refusal_of(error, _METHOD, self._telemetry)

    def _put(
        self, told: sending_pb2.SendReceipt, prepared: Send | Refusal, result: Receipt | LedgerError | Refusal
    ) -> None:
        if isinstance(prepared, Send) and isinstance(result, Receipt):
            self._notifications.put_receipt(told.accepted, prepared, result)
        else:
            assert not isinstance(result, Receipt)
            told.error.CopyFrom(failure_of(refusal_of(result, _METHOD, self._telemetry)))


def _shared_content(request: sending_pb2.SendNotificationsRequest) -> Content | None:
    """What the message for all says; None when that is wrong, because every send of it is told so by itself."""
    fields = Fields()
    content = content_of(request.message, fields)
    return None if fields.violations else content
