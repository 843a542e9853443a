"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from pushrpc_client import v1
from pushrpc_client.bulk_aio import AsyncBulk
from pushrpc_client.connection import Connection, Tls, Token, authorization, connection
from pushrpc_client.errors import PushError, closed
from pushrpc_client.follow_aio import AsyncFollowing
from pushrpc_client.following import OPEN_TIMEOUT_S, wanted
from pushrpc_client.patience import Attempts
from pushrpc_client.requests import TIMEOUT_S, Request, addressed, send_timeout, sendable
from pushrpc_client.streams_aio import Streams, is_cancelled
from pushrpc_client.window import ANSWER_TIMEOUT_S

Response = TypeVar("Response")


class AsyncClient:
    """One app's connection to a server, made when it is first used and shared by all tasks of one event loop.

    `address` is "host:port". Without more it is reached over TLS with the system's roots; `tls` names files of your
    own, `plaintext` is for loopback and for meshes that encrypt. `token` is sent as a bearer token; a callable is asked
    for each call and must answer at once. `timeout` is what a call may take, in seconds, where it does not say itself.
    `stub` is the generated one on the same channel: it fills in nothing and raises grpc.aio.AioRpcError.

    Raises ValueError for options that exclude each other, OSError for a file that cannot be read.
    """

    def __init__(
        self,
        address: str,
        app_id: str,
        *,
        plaintext: bool = False,
        tls: Tls | None = None,
        token: Token | None = None,
        timeout: float = TIMEOUT_S,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.app_id = app_id
        self._timeout = timeout
        self._channel = _channel(
            connection(address, plaintext=plaintext, tls=tls, token=token, options=channel_options)
        )
        self.stub = v1.PushServiceStub(self._channel)
        self._streams = Streams()

    async def send(
        self, request: v1.SendNotificationRequest, *, timeout: float | None = None
    ) -> v1.SendNotificationResponse:
        """Has one notification accepted, durably, and returns its receipt.

        A request without `request_id` gets one. So it is safe to repeat, which happens until `timeout` while nobody
        answers or the answer is lost; `replayed` in the receipt then says that an earlier try had arrived.
        A failure has the id in PushError.request_id.
        """
        request = sendable(request, self.app_id)
        attempts = Attempts(send_timeout(request, timeout, self._timeout))
        while True:
            try:
                return await _answer(self.stub.SendNotification, request, attempts.left)
            except PushError as error:
                error.request_id = request.request_id
                await self._streams.pause(attempts.pause(error))

    def follow(
        self,
        *notification_ids: str,
        request_ids: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        cursor: str = "",
        start: v1.StreamStart.ValueType = v1.STREAM_START_UNSPECIFIED,
        final_only: bool = False,
        states: Iterable[v1.DeliveryState.ValueType] = (),
        kinds: Iterable[v1.EventKind.ValueType] = (),
        until_caught_up: bool = False,
        open_timeout: float = OPEN_TIMEOUT_S,
    ) -> AsyncFollowing:
        """Events one by one, without gap or repeat, over as many streams as it takes.

        Named notifications are told from their first event and end when all are final; without any it is the whole
        app, from now on unless `start` or `cursor` say otherwise. See `AsyncFollowing` for how to resume and to stop.
        """
        request = wanted(
            v1.StreamDeliveryStatusRequest(
                app_id=self.app_id, notification_ids=notification_ids, request_ids=request_ids, labels=labels or {},
                cursor=cursor, start=start, final_only=final_only, states=states, kinds=kinds,
                until_caught_up=until_caught_up,
            )
        )  # fmt: skip
        return AsyncFollowing(self.stub.StreamDeliveryStatus, self._streams, request, open_timeout)

    def bulk(self, *, answer_timeout: float = ANSWER_TIMEOUT_S) -> AsyncBulk:
        """Many sends over one stream, for as many as the server takes. Use it in an `async with` block."""
        return AsyncBulk(self.stub.SendNotifications, self._streams, self.app_id, answer_timeout)

    async def register(
        self, request: v1.RegisterDeviceRequest, *, timeout: float | None = None
    ) -> v1.RegisterDeviceResponse:
        """Upserts one provider token; the newest registration of a token wins it."""
        return await self._call(self.stub.RegisterDevice, request, timeout)

    async def update_device(
        self, request: v1.UpdateDeviceRequest, *, timeout: float | None = None
    ) -> v1.UpdateDeviceResponse:
        """Changes named fields of one device."""
        return await self._call(self.stub.UpdateDevice, request, timeout)

    async def unregister(
        self, request: v1.UnregisterDeviceRequest, *, timeout: float | None = None
    ) -> v1.UnregisterDeviceResponse:
        """Removes devices; what is queued for them ends CANCELLED."""
        return await self._call(self.stub.UnregisterDevice, request, timeout)

    async def get_device(self, request: v1.GetDeviceRequest, *, timeout: float | None = None) -> v1.GetDeviceResponse:
        """Reads one device."""
        return await self._call(self.stub.GetDevice, request, timeout)

    async def list_devices(
        self, request: v1.ListDevicesRequest, *, timeout: float | None = None
    ) -> v1.ListDevicesResponse:
        """One page of the app's devices, oldest first."""
        return await self._call(self.stub.ListDevices, request, timeout)

    async def get_notification(
        self, request: v1.GetNotificationRequest, *, timeout: float | None = None
    ) -> v1.GetNotificationResponse:
        """Reads one notification with its counts."""
        return await self._call(self.stub.GetNotification, request, timeout)

    async def list_notifications(
        self, request: v1.ListNotificationsRequest, *, timeout: float | None = None
    ) -> v1.ListNotificationsResponse:
        """One page of the app's notifications, newest first."""
        return await self._call(self.stub.ListNotifications, request, timeout)

    async def list_deliveries(
        self, request: v1.ListDeliveriesRequest, *, timeout: float | None = None
    ) -> v1.ListDeliveriesResponse:
        """One page of deliveries: what happened to this token?"""
        return await self._call(self.stub.ListDeliveries, request, timeout)

    async def preview(
        self, request: v1.PreviewNotificationRequest, *, timeout: float | None = None
    ) -> v1.PreviewNotificationResponse:
        """What each provider would be sent; nothing is sent."""
        return await self._call(self.stub.PreviewNotification, request, timeout)

    async def cancel(
        self, request: v1.CancelNotificationRequest, *, timeout: float | None = None
    ) -> v1.CancelNotificationResponse:
        """Takes back what no provider has yet."""
        return await self._call(self.stub.CancelNotification, request, timeout)

    async def report_engagement(
        self, request: v1.ReportEngagementRequest, *, timeout: float | None = None
    ) -> v1.ReportEngagementResponse:
        """Passes on what apps saw of their notifications."""
        return await self._call(self.stub.ReportEngagement, request, timeout)

    async def subscribe_to_topic(
        self, request: v1.SubscribeToTopicRequest, *, timeout: float | None = None
    ) -> v1.SubscribeToTopicResponse:
        """Has tokens join a topic that the provider keeps."""
        return await self._call(self.stub.SubscribeToTopic, request, timeout)

    async def unsubscribe_from_topic(
        self, request: v1.UnsubscribeFromTopicRequest, *, timeout: float | None = None
    ) -> v1.UnsubscribeFromTopicResponse:
        """Has tokens leave a topic that the provider keeps."""
        return await self._call(self.stub.UnsubscribeFromTopic, request, timeout)

    async def create_broadcast_channel(
        self, request: v1.CreateBroadcastChannelRequest, *, timeout: float | None = None
    ) -> v1.CreateBroadcastChannelResponse:
        """Opens a broadcast channel at Apple."""
        return await self._call(self.stub.CreateBroadcastChannel, request, timeout)

    async def list_broadcast_channels(
        self, request: v1.ListBroadcastChannelsRequest, *, timeout: float | None = None
    ) -> v1.ListBroadcastChannelsResponse:
        """The app's broadcast channels."""
        return await self._call(self.stub.ListBroadcastChannels, request, timeout)

    async def delete_broadcast_channel(
        self, request: v1.DeleteBroadcastChannelRequest, *, timeout: float | None = None
    ) -> v1.DeleteBroadcastChannelResponse:
        """Closes a broadcast channel."""
        return await self._call(self.stub.DeleteBroadcastChannel, request, timeout)

    async def server_info(self, *, timeout: float | None = None) -> v1.GetServerInfoResponse:
        """Versions, limits and the providers that the app can reach."""
        return await self._call(self.stub.GetServerInfo, v1.GetServerInfoRequest(), timeout)

    async def close(self) -> None:
        """Ends the connection and every call on it: they fail with CLIENT_CLOSED, as later ones do."""
        self._streams.close()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(
        self, call: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        return await _answer(call, addressed(request, self.app_id), self._timeout if timeout is None else timeout)


async def _answer(
    call: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, timeout: float
) -> Response:
    """Raises PushError, whatever gRPC's word for it is."""
    try:
        return await call(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        raise PushError.of(error) from error
    except grpc.aio.UsageError:  # of a channel that is closed
        raise closed() from None
    except asyncio.CancelledError:  # by the caller, or by gRPC with the channel
        if is_cancelled():
            raise
        raise closed() from None


def _channel(to: Connection) -> grpc.aio.Channel:
    interceptors = () if to.token is None else _authorized(to.token)
    if to.credentials is None:
        return grpc.aio.insecure_channel(to.address, to.options, interceptors=interceptors)
    return grpc.aio.secure_channel(to.address, to.credentials, to.options, interceptors=interceptors)


def _authorized(token: Token) -> list[grpc.aio.ClientInterceptor]:
    """The bearer token of each call."""

    async def intercept(continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), authorization(token))
        return await continuation(details._replace(metadata=metadata), request)

    kinds = {
        grpc.aio.UnaryUnaryClientInterceptor: "intercept_unary_unary",
        grpc.aio.UnaryStreamClientInterceptor: "intercept_unary_stream",
        grpc.aio.StreamStreamClientInterceptor: "intercept_stream_stream",
    }
    return [type("_Authorized", (kind,), {name: staticmethod(intercept)})() for kind, name in kinds.items()]
