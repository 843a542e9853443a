"""Following: the status stream, and notifications and deliveries as they stand now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.duration_pb2 import Duration

from pushrpc.ledger import CursorExpired, Ledger
from pushrpc.model import DeviceSelector, one_form
from pushrpc.record import (
    DeliverySelector,
    DeliveryStatus,
    EventPage,
    NotificationFilter,
    NotificationStatus,
    Wanted,
)
from pushrpc.rpc import events
from pushrpc.rpc.cursors import TEXT_CHARS, Cursors
from pushrpc.rpc.errors import Reason, Refusal
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.gate import Gate
from pushrpc.rpc.limits import (
    EVENTS_BYTES_MAX,
    EVENTS_PER_PAGE_MAX,
    GATHER_S,
    ID_BYTES_MAX,
    LABELS_MAX,
    STREAM_IDS_MAX,
    TOKEN_BYTES_MAX,
    USER_ID_BYTES_MAX,
    Settings,
)
from pushrpc.rpc.pages import requested_page
from pushrpc.rpc.records import add_deliveries, counts_of, put_notification, summed
from pushrpc.v1 import following_pb2
from pushrpc.words import DeliveryState, EventKind, NotificationState, Provider, StreamStart

Response = following_pb2.StreamDeliveryStatusResponse
Write = Callable[[bytes], Awaitable[None]]  # a serialised Response
_CURSOR_BYTES = Response(cursor=TEXT_CHARS * "c").ByteSize()


class Statuses:
    """GetNotification, ListNotifications and ListDeliveries."""

    def __init__(self, ledger: Ledger, cursors: Cursors) -> None:
        self._ledger = ledger
        self._cursors = cursors

    async def notification(
        self, request: following_pb2.GetNotificationRequest
    ) -> following_pb2.GetNotificationResponse:
        fields = Fields()
        notification_id = fields.text("notification_id", request.notification_id, ID_BYTES_MAX)
        request_id = fields.text("request_id", request.request_id, ID_BYTES_MAX)
        fields.exactly_one({"notification_id": bool(notification_id), "request_id": bool(request_id)})
        fields.refuse()
        ids, request_ids = [[each] if each else [] for each in (notification_id, request_id)]
        found = await self._ledger.find(request.app_id, ids, request_ids)
        if not found:
            raise Refusal(Reason.NOTIFICATION_NOT_FOUND, "the app has no such notification")
        response = following_pb2.GetNotificationResponse()
        self._put(response.notification, found[0])
        return response

    async def notifications(
        self, request: following_pb2.ListNotificationsRequest
    ) -> following_pb2.ListNotificationsResponse:
        fields = Fields()
        wanted = NotificationFilter(
            fields.entries("labels", request.labels, LABELS_MAX),
            frozenset(fields.words("states", request.states, NotificationState)),
            fields.time_us("created_after", request.created_after),
            fields.time_us("created_before", request.created_before),
        )
        page = requested_page(request, fields, self._cursors)

        def build(rows: Sequence[NotificationStatus]) -> following_pb2.ListNotificationsResponse:
            response = following_pb2.ListNotificationsResponse()
            for row in rows:
                self._put(response.notifications.add(), row)
            return response

        return await page.fill(
            lambda after, limit: self._ledger.notifications(request.app_id, wanted, after, limit), build
        )

    async def deliveries(self, request: following_pb2.ListDeliveriesRequest) -> following_pb2.ListDeliveriesResponse:
        fields = Fields()
        which = DeliverySelector(
            fields.text("notification_id", request.notification_id, ID_BYTES_MAX),
            fields.text("request_id", request.request_id, ID_BYTES_MAX),
            fields.text("device_id", request.device_id, ID_BYTES_MAX),
            fields.text("user_id", request.user_id, USER_ID_BYTES_MAX),
            one_form(Provider.UNSPECIFIED, fields.text("token", request.token, TOKEN_BYTES_MAX)),
            frozenset(fields.words("states", request.states, DeliveryState)),
        )
        fields.exactly_one({name: bool(value) for name, value in which._asdict().items() if name != "states"})
        page = requested_page(request, fields, self._cursors)

        async def read(after: int, limit: int) -> tuple[Sequence[DeliveryStatus], int]:
            found = await self._ledger.deliveries(request.app_id, which, request.with_attempts, after, limit)
            if found is None:
                raise Refusal(Reason.NOTIFICATION_NOT_FOUND, "the app has no such notification")
            if which.device_id and not found[0]:
                await self._refuse_unknown_device(request.app_id, which.device_id)
            return found

        def build(rows: Sequence[DeliveryStatus]) -> following_pb2.ListDeliveriesResponse:
            response = following_pb2.ListDeliveriesResponse()
            add_deliveries(response, rows)
            return response

        return await page.fill(read, build)

    async def _refuse_unknown_device(self, app_id: str, device_id: str) -> None:
        if await self._ledger.device(app_id, DeviceSelector(device_id=device_id)) is None:
            raise Refusal(Reason.DEVICE_NOT_FOUND, "the app has no such device", metadata={"field": "device_id"})

    def _put(self, told: following_pb2.Notification, row: NotificationStatus) -> None:
        put_notification(told, row, self._cursors.cursor(row.app_id, row.first_seq))


class StatusStreams:
    """StreamDeliveryStatus: reads the ledger at the caller's pace and keeps no queue in memory.

    `random` in [0, 1) spreads the ages of streams and the times at which callers come back.
    """

    def __init__(
        self, ledger: Ledger, cursors: Cursors, gate: Gate, settings: Settings, random: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._cursors = cursors
        self._gate = gate
        self._settings = settings
        self._random = random

    async def run(self, request: following_pb2.StreamDeliveryStatusRequest, write: Write) -> None:
        """Returns when the stream ends as it should. Raises Refusal."""
        wanted = _wanted(request)
        with self._gate.stream(request.app_id):
            stream = _Stream(self._ledger, self._cursors, self._gate, wanted, write)
            try:
                stream.seq = await self._start(request, wanted)
                age_s = self._settings.stream_age_s * (0.9 + 0.2 * self._random())
                is_over = await stream.tell(self._settings.heartbeat_s, age_s, request.until_caught_up)
                if not is_over:
                    await stream.leave(0.5 + self._random())
            except CursorExpired as error:
                raise self._cursors.expired(request.app_id, error.oldest_seq) from None

    async def _start(self, request: following_pb2.StreamDeliveryStatusRequest, wanted: Wanted) -> int:
        """The position to begin after. Raises Refusal for a cursor or a notification_id that is not ours."""
        cursor_seq = self._cursors.seq(request.app_id, request.cursor) if request.cursor else None
        tail = await self._ledger.tail()  # first: what is accepted meanwhile comes after it
        found: Sequence[NotificationStatus] = ()
        if wanted.notification_ids or wanted.request_ids:
            found = await self._ledger.find(wanted.app_id, wanted.notification_ids, wanted.request_ids)
            _refuse_unknown(request.notification_ids, found)
        if cursor_seq is not None:
            return cursor_seq
        if found:
            return max(min(tail, *(each.first_seq for each in found)), await self._ledger.oldest())
        return await self._ledger.oldest() if StreamStart(request.start) is StreamStart.OLDEST else tail


def _refuse_unknown(notification_ids: Sequence[str], found: Sequence[NotificationStatus]) -> None:
    known = {each.notification_id for each in found}
    for position, notification_id in enumerate(notification_ids):
        if notification_id not in known:
            field = f"notification_ids[{position}]"
            metadata = {"field": field, "position": str(position)}
            raise Refusal(Reason.NOTIFICATION_NOT_FOUND, f"the app has no notification {field}", metadata=metadata)


def _wanted(request: following_pb2.StreamDeliveryStatusRequest) -> Wanted:
    """Raises Refusal with everything that is wrong."""
    fields = Fields()
    count = len(request.notification_ids) + len(request.request_ids)
    if count > STREAM_IDS_MAX:
        fields.too_long("notification_ids", count, STREAM_IDS_MAX, "ids with those of request_ids")
        fields.refuse()
    start = fields.word("start", request.start, StreamStart)
    if start and request.cursor:
        fields.wrong(Reason.FIELDS_CONFLICT, "start", "is set beside cursor; a cursor is where a stream begins")
    elif start and count:
        problem = "is set beside ids; named notifications are told from their first event"
        fields.wrong(Reason.FIELDS_CONFLICT, "start", problem)
    wanted = Wanted(
        request.app_id,
        fields.texts("notification_ids", request.notification_ids, STREAM_IDS_MAX, ID_BYTES_MAX),
        fields.texts("request_ids", request.request_ids, STREAM_IDS_MAX, ID_BYTES_MAX),
        fields.entries("labels", request.labels, LABELS_MAX),
        request.final_only,
        frozenset(fields.words("states", request.states, DeliveryState)),
        frozenset(fields.words("kinds", request.kinds, EventKind)),
    )
    fields.refuse()
    return wanted


class _Stream:
    """One open stream. `seq`: everything up to here was told, or filtered out."""

    def __init__(self, ledger: Ledger, cursors: Cursors, gate: Gate, wanted: Wanted, write: Write) -> None:
        self.seq = 0
        self._ledger = ledger
        self._event_prefix = ledger.ledger_id[-12:]
        self._cursors = cursors
        self._gate = gate
        self._wanted = wanted
        self._named = bool(wanted.notification_ids or wanted.request_ids)
        self._write = write

    async def tell(self, heartbeat_s: float, age_s: float, until_caught_up: bool) -> bool:
        """Writes pages and heartbeats. True when all is told, False when the stream shall come back elsewhere."""
        now = asyncio.get_running_loop().time
        spoke_at, leaves_at = now(), now() + age_s
        caught_up = False
        while not self._gate.draining and now() < leaves_at:
            # Nothing is waited for until the caller was told once that it has caught up.
            wait_s = max(0.0, min(spoke_at + heartbeat_s, leaves_at) - now()) if caught_up else 0.0
            page = await self._next(wait_s)
            if page is None:
                break
            if page.runs:
                await self._write_events(page)
                spoke_at = now()
            self.seq = page.through_seq
            if (self._named and page.complete) or (until_caught_up and page.caught_up):
                await self._end()
                return True
            if (page.caught_up and not caught_up) or now() >= spoke_at + heartbeat_s:
                caught_up = caught_up or page.caught_up
                await self._heartbeat(page.caught_up)
                spoke_at = now()
            if page.runs and page.caught_up:
                await asyncio.sleep(GATHER_S)
        return False

    async def leave(self, delay_s: float) -> None:
        delay = Duration()
        delay.FromMilliseconds(int(delay_s * 1000))
        response = Response(cursor=self._cursor(self.seq))
        response.reconnect.delay.CopyFrom(delay)
        await self._write(response.SerializeToString())

    async def _next(self, wait_s: float) -> EventPage | None:
        following = self._ledger.follow(self._wanted, self.seq, EVENTS_PER_PAGE_MAX, wait_s)
        return await (self._gate.unless_draining(following) if wait_s else following)

    async def _write_events(self, page: EventPage) -> None:
        for told, seq in events.messages(page, self._event_prefix, EVENTS_BYTES_MAX - _CURSOR_BYTES):
            await self._write(told + Response(cursor=self._cursor(seq)).SerializeToString())

    async def _heartbeat(self, caught_up: bool) -> None:
        response = Response(cursor=self._cursor(self.seq))
        response.heartbeat.caught_up = caught_up
        response.heartbeat.SetInParent()
        await self._write(response.SerializeToString())

    async def _end(self) -> None:
        response = Response(cursor=self._cursor(self.seq))
        response.end.SetInParent()
        if self._named:
            wanted = self._wanted
            found = await self._ledger.find(wanted.app_id, wanted.notification_ids, wanted.request_ids)
            response.end.counts.CopyFrom(counts_of(summed([each.counts for each in found])))
        await self._write(response.SerializeToString())

    def _cursor(self, seq: int) -> str:
        return self._cursors.cursor(self._wanted.app_id, seq)
