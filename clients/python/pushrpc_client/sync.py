"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from pushrpc_client import v1
from pushrpc_client.bulk import ANSWER_TIMEOUT_S, Bulk
from pushrpc_client.connection import Connection, Tls, Token, authorization, connection
from pushrpc_client.errors import PushError, closed
from pushrpc_client.follow import Following
from pushrpc_client.following import OPEN_TIMEOUT_S, wanted
from pushrpc_client.patience import Attempts, Pauses
from pushrpc_client.requests import TIMEOUT_S, Request, addressed, send_timeout, sendable

Response = TypeVar("Response")


class Client:
    """One app's connection to a server, made when it is first used and shared by any number of threads.

    `address` is "host:port". Without more it is reached over TLS with the system's roots; `tls` names files of your
    own, `plaintext` is for loopback and for meshes that encrypt. `token` is sent as a bearer token; a callable is asked
    for each call and must answer at once. `timeout` is what a call may take, in seconds, where it does not say itself.
    `stub` is the generated one on the same channel: it fills in nothing and raises grpc.RpcError.

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
        self._pauses = Pauses()
        self._channel = _channel(
            connection(address, plaintext=plaintext, tls=tls, token=token, options=channel_options)
        )
        self.stub = v1.PushServiceStub(self._channel)

    def send(self, request: v1.SendNotificationRequest, *, timeout: float | None = None) -> v1.SendNotificationResponse:
        """Has one notification accepted, durably, and returns its receipt.

        A request without `request_id` gets one. So it is safe to repeat, which happens until `timeout` while nobody
        answers or the answer is lost; `replayed` in the receipt then says that an earlier try had arrived.
        A failure has the id in PushError.request_id.
        """
        request = sendable(request, self.app_id)
        attempts = Attempts(send_timeout(request, timeout, self._timeout))
        while True:
            try:
                return self.stub.SendNotification(request, timeout=attempts.left)
            except (grpc.RpcError, ValueError) as error:
                failed = self._told(error)
                failed.request_id = request.request_id
                self._pauses.pause(attempts.pause(failed))

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
    ) -> Following:
        """Events one by one, without gap or repeat, over as many streams as it takes.

        Named notifications are told from their first event and end when all are final; without any it is the whole
        app, from now on unless `start` or `cursor` say otherwise. See `Following` for how to resume and to stop.
        """
        request = wanted(
            v1.StreamDeliveryStatusRequest(
                app_id=self.app_id, notification_ids=notification_ids, request_ids=request_ids, labels=labels or {},
                cursor=cursor, start=start, final_only=final_only, states=states, kinds=kinds,
                until_caught_up=until_caught_up,
            )
        )  # fmt: skip
        return Following(self.stub.StreamDeliveryStatus, self._pauses, request, open_timeout)

    def bulk(self, *, answer_timeout: float = ANSWER_TIMEOUT_S) -> Bulk:
        """Many sends over one stream, for as many as the server takes. Use it in a `with` block."""
        return Bulk(self.stub.SendNotifications, self._pauses, self.app_id, answer_timeout)

    def register(self, request: v1.RegisterDeviceRequest, *, timeout: float | None = None) -> v1.RegisterDeviceResponse:
        """Upserts one provider token; the newest registration of a token wins it."""
        return self._call(self.stub.RegisterDevice, request, timeout)

    def update_device(
        self, request: v1.UpdateDeviceRequest, *, timeout: float | None = None
    ) -> v1.UpdateDeviceResponse:
        """Changes named fields of one device."""
        return self._call(self.stub.UpdateDevice, request, timeout)

    def unregister(
        self, request: v1.UnregisterDeviceRequest, *, timeout: float | None = None
    ) -> v1.UnregisterDeviceResponse:
        """Removes devices; what is queued for them ends CANCELLED."""
        return self._call(self.stub.UnregisterDevice, request, timeout)

    def get_device(self, request: v1.GetDeviceRequest, *, timeout: float | None = None) -> v1.GetDeviceResponse:
        """Reads one device."""
        return self._call(self.stub.GetDevice, request, timeout)

    def list_devices(self, request: v1.ListDevicesRequest, *, timeout: float | None = None) -> v1.ListDevicesResponse:
        """One page of the app's devices, oldest first."""
        return self._call(self.stub.ListDevices, request, timeout)

    def get_notification(
        self, request: v1.GetNotificationRequest, *, timeout: float | None = None
    ) -> v1.GetNotificationResponse:
        """Reads one notification with its counts."""
        return self._call(self.stub.GetNotification, request, timeout)

    def list_notifications(
        self, request: v1.ListNotificationsRequest, *, timeout: float | None = None
    ) -> v1.ListNotificationsResponse:
        """One page of the app's notifications, newest first."""
        return self._call(self.stub.ListNotifications, request, timeout)

    def list_deliveries(
        self, request: v1.ListDeliveriesRequest, *, timeout: float | None = None
    ) -> v1.ListDeliveriesResponse:
        """One page of deliveries: what happened to this token?"""
        return self._call(self.stub.ListDeliveries, request, timeout)

    def preview(
        self, request: v1.PreviewNotificationRequest, *, timeout: float | None = None
    ) -> v1.PreviewNotificationResponse:
        """What each provider would be sent; nothing is sent."""
        return self._call(self.stub.PreviewNotification, request, timeout)

    def cancel(
        self, request: v1.CancelNotificationRequest, *, timeout: float | None = None
    ) -> v1.CancelNotificationResponse:
        """Takes back what no provider has yet."""
        return self._call(self.stub.CancelNotification, request, timeout)

    def report_engagement(
        self, request: v1.ReportEngagementRequest, *, timeout: float | None = None
    ) -> v1.ReportEngagementResponse:
        """Passes on what apps saw of their notifications."""
        return self._call(self.stub.ReportEngagement, request, timeout)

    def subscribe_to_topic(
        self, request: v1.SubscribeToTopicRequest, *, timeout: float | None = None
    ) -> v1.SubscribeToTopicResponse:
        """Has tokens join a topic that the provider keeps."""
        return self._call(self.stub.SubscribeToTopic, request, timeout)

    def unsubscribe_from_topic(
        self, request: v1.UnsubscribeFromTopicRequest, *, timeout: float | None = None
    ) -> v1.UnsubscribeFromTopicResponse:
        """Has tokens leave a topic that the provider keeps."""
        return self._call(self.stub.UnsubscribeFromTopic, request, timeout)

    def create_broadcast_channel(
        self, request: v1.CreateBroadcastChannelRequest, *, timeout: float | None = None
    ) -> v1.CreateBroadcastChannelResponse:
        """Opens a broadcast channel at Apple."""
        return self._call(self.stub.CreateBroadcastChannel, request, timeout)

    def list_broadcast_channels(
        self, request: v1.ListBroadcastChannelsRequest, *, timeout: float | None = None
    ) -> v1.ListBroadcastChannelsResponse:
        """The app's broadcast channels."""
        return self._call(self.stub.ListBroadcastChannels, request, timeout)

    def delete_broadcast_channel(
        self, request: v1.DeleteBroadcastChannelRequest, *, timeout: float | None = None
    ) -> v1.DeleteBroadcastChannelResponse:
        """Closes a broadcast channel."""
        return self._call(self.stub.DeleteBroadcastChannel, request, timeout)

    def server_info(self, *, timeout: float | None = None) -> v1.GetServerInfoResponse:
        """Versions, limits and the providers that the app can reach."""
        return self._call(self.stub.GetServerInfo, v1.GetServerInfoRequest(), timeout)

    def close(self) -> None:
        """Ends the connection and every call on it: they fail with CLIENT_CLOSED, as later ones do."""
        self._pauses.is_closed = True  # first: what the end of the channel breaks finds out why
        self._channel.close()
        self._pauses.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        try:
            return call(addressed(request, self.app_id), timeout=self._timeout if timeout is None else timeout)
        except (grpc.RpcError, ValueError) as error:
            raise self._told(error) from error

    def _told(self, error: grpc.RpcError | ValueError) -> PushError:
        """Raises a ValueError that is not gRPC's word for a channel that is closed."""
        told = PushError.of(error) if isinstance(error, grpc.RpcError) else None
        if self._pauses.is_closed and (told is None or told.code is grpc.StatusCode.CANCELLED):
            return closed()
        if told is None:
            raise error
        return told


def _channel(to: Connection) -> grpc.Channel:
    if to.credentials is None:
        channel = grpc.insecure_channel(to.address, to.options)
    else:
        channel = grpc.secure_channel(to.address, to.credentials, to.options)
    return channel if to.token is None else grpc.intercept_channel(channel, _Authorized(to.token))


class _Authorized(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """The bearer token of each call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details, authorization(self._token)), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self.intercept_unary_unary(continuation, client_call_details, request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self.intercept_unary_unary(continuation, client_call_details, request_iterator)


class _Details(grpc.ClientCallDetails):
    def __init__(self, details: grpc.ClientCallDetails, more: tuple[str, str]) -> None:
        self.method, self.timeout, self.credentials = details.method, details.timeout, details.credentials
        self.wait_for_ready, self.compression = details.wait_for_ready, details.compression
        self.metadata = (*(details.metadata or ()), more)
