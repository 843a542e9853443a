"""Rows of the ledger as protobuf, built in place: a message built apart and copied in costs twice as much."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from pushrpc.model import Rejection
from pushrpc.record import Counts, DeliveryStatus, NotificationStatus
from pushrpc.rpc.limits import VALUE_SHOWN_BYTES_MAX
from pushrpc.v1 import following_pb2, sending_pb2


def put_time(time: Timestamp, us: int) -> None:
    time.seconds = us // 1_000_000
    time.nanos = us % 1_000_000 * 1_000


Deliveries = sending_pb2.SendNotificationResponse | following_pb2.ListDeliveriesResponse


def add_deliveries(response: Deliveries, rows: Sequence[DeliveryStatus]) -> None:
    listing = isinstance(response, following_pb2.ListDeliveriesResponse)
    add = response.deliveries.add if listing else response.statuses.add  # type: ignore[union-attr]
    for row in rows:
        told = add(
            notification_id=row.notification_id,
            request_id=row.request_id,
            device_id=row.device_id,
            user_id=row.user_id,
            token=row.token,
            provider=row.provider,
            state=row.state,
            outcome=row.outcome,
            cause=row.cause,
            reason=row.reason,
            provider_message_id=row.provider_message_id,
            attempt=row.attempt,
            token_replaced_by=row.token_replaced_by,
            final=row.final,
        )
        put_time(told.time, row.time_us)
        if row.retry_us:
            put_time(told.retry_time, row.retry_us)
        if row.labels:
            told.labels.update(row.labels)
        for attempt in row.attempts:
            tried = told.attempts.add(
                number=attempt.number,
                outcome=attempt.outcome,
                provider_status=attempt.provider_status,
                reason=attempt.reason,
                provider_detail=attempt.provider_detail,
            )
            put_time(tried.time, attempt.time_us)
            tried.duration.FromMicroseconds(attempt.duration_us)


def put_notification(told: following_pb2.Notification, row: NotificationStatus, cursor: str) -> None:
    told.app_id = row.app_id
    told.notification_id = row.notification_id
    told.request_id = row.request_id
    told.state = row.state  # type: ignore[assignment]
    told.counts.CopyFrom(counts_of(row.counts))
    told.title = row.title
    told.cursor = cursor
    told.labels.update(row.labels)
    put_time(told.create_time, row.created_us)
    put_time(told.expire_time, row.expire_us)
    if row.completed_us:
        put_time(told.complete_time, row.completed_us)
    if row.cancelled_us:
        put_time(told.cancel_time, row.cancelled_us)


def counts_of(counts: Counts) -> following_pb2.DeliveryCounts:
    return following_pb2.DeliveryCounts(**counts._asdict())


def summed(all_counts: Sequence[Counts]) -> Counts:
    return Counts(*map(sum, zip(*all_counts, strict=True))) if all_counts else Counts()


def add_rejections(response: sending_pb2.SendNotificationResponse, rejected: Sequence[Rejection]) -> None:
    add = response.rejected.add
    for each in rejected:
        value = each.value if len(each.value) <= VALUE_SHOWN_BYTES_MAX else each.value[:VALUE_SHOWN_BYTES_MAX] + "…"
        add(path=each.path, value=value, provider=each.provider, reason=each.reason, detail=each.detail)
