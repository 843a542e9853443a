"""The gRPC edge: protobuf to values and back, nothing else.

`PushService` lets calls in, hands them on, and turns whatever goes wrong into a status, in one place.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Never, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health

from pushrpc import __version__
from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock
from pushrpc.ledger import Ledger
from pushrpc.rpc import limits
from pushrpc.rpc.apps import Accounts, AppAccounts, accounts_of
from pushrpc.rpc.audiences import ProviderAudiences
from pushrpc.rpc.bulk import BulkSends
from pushrpc.rpc.cursors import Cursors
from pushrpc.rpc.devices import Devices
from pushrpc.rpc.engagement import EngagementReports
from pushrpc.rpc.errors import DOMAIN, Reason, Refusal, abort, refusal_of
from pushrpc.rpc.gate import Gate, Phase
from pushrpc.rpc.limits import Settings
from pushrpc.rpc.notifications import Notifications
from pushrpc.rpc.previews import Previews
from pushrpc.rpc.reflection import enable_reflection
from pushrpc.rpc.status import Statuses, StatusStreams
from pushrpc.telemetry import Telemetry
from pushrpc.v1 import audiences_pb2 as audiences
from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from pushrpc.v1 import service_pb2, service_pb2_grpc

__all__ = ["SERVICE_NAME", "Accounts", "Phase", "PushService", "Settings", "add_to"]

_SERVICE: ServiceDescriptor = service_pb2.DESCRIPTOR.services_by_name["PushService"]
SERVICE_NAME: str = _SERVICE.full_name

Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar("Response")


class PushService(service_pb2_grpc.PushServiceServicer):
    """The whole contract. Callers hear STARTING until `begin`, and DRAINING from `drain` on."""

    _devices: Devices
    _notifications: Notifications
    _bulk: BulkSends
    _statuses: Statuses
    _streams: StatusStreams
    _previews: Previews
    _engagement: EngagementReports
    _audiences: ProviderAudiences

    def __init__(
        self,
        accounts: Accounts,
        settings: Settings,
        clock: Clock,
        telemetry: Telemetry,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` in [0, 1) spreads the ages of streams, so that they do not all come back at once."""
        self._accounts = accounts
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._gate = Gate(self._settings)

    @property
    def phase(self) -> Phase:
        return self._gate.phase

    def begin(self, ledger: Ledger, calls: ProviderCalls) -> None:
        """The ledger is open: serve."""
        cursors = Cursors(ledger.ledger_id, ledger.secret)
        self._devices = Devices(ledger, cursors, self._clock)
        self._notifications = Notifications(ledger, cursors, self._gate, self._clock, self._telemetry)
        self._bulk = BulkSends(self._notifications, self._accounts, self._gate, self._telemetry)
        self._statuses = Statuses(ledger, cursors)
        self._streams = StatusStreams(ledger, cursors, self._gate, self._settings, self._jitter)
        self._previews = Previews(calls, self._clock)
        self._engagement = EngagementReports(ledger, self._clock)
        self._audiences = ProviderAudiences(calls, self._clock)
        self._gate.phase = Phase.SERVING

    def drain(self) -> None:
        """New calls are refused, waits end with what is known, status streams leave with a cursor."""
        self._gate.drain()

    # --- devices

    async def RegisterDevice(
        self, request: devices.RegisterDeviceRequest, context: Context
    ) -> devices.RegisterDeviceResponse:
        return await self._answer(context, request, lambda accounts: self._devices.register(request, accounts))

    async def UpdateDevice(
        self, request: devices.UpdateDeviceRequest, context: Context
    ) -> devices.UpdateDeviceResponse:
        return await self._answer(context, request, lambda accounts: self._devices.update(request, accounts))

    async def UnregisterDevice(
        self, request: devices.UnregisterDeviceRequest, context: Context
    ) -> devices.UnregisterDeviceResponse:
        return await self._answer(context, request, lambda _: self._devices.unregister(request))

    async def GetDevice(self, request: devices.GetDeviceRequest, context: Context) -> devices.GetDeviceResponse:
        return await self._answer(context, request, lambda _: self._devices.get(request))

    async def ListDevices(self, request: devices.ListDevicesRequest, context: Context) -> devices.ListDevicesResponse:
        return await self._answer(context, request, lambda _: self._devices.list(request))

    # --- sending

    async def SendNotification(
        self, request: sending.SendNotificationRequest, context: Context
    ) -> sending.SendNotificationResponse:
        return await self._answer(
            context, request, lambda accounts: self._notifications.send(request, accounts, context.time_remaining)
        )

    async def SendNotifications(  # type: ignore[override]  # writes itself, so that a write can have a deadline
        self, request_iterator: AsyncIterator[sending.SendNotificationsRequest], context: Context
    ) -> None:
        try:
            self._gate.enter()
            await self._bulk.run(request_iterator, self._writer(context))
        except Exception as error:
            await self._refuse(context, error, "SendNotifications")

    async def PreviewNotification(
        self, request: sending.PreviewNotificationRequest, context: Context
    ) -> sending.PreviewNotificationResponse:
        async def preview(accounts: AppAccounts) -> sending.PreviewNotificationResponse:
            return await self._previews.preview(request, accounts, *self._notifications.previewed(request))

        return await self._answer(context, request, preview)

    async def CancelNotification(
        self, request: sending.CancelNotificationRequest, context: Context
    ) -> sending.CancelNotificationResponse:
        return await self._answer(context, request, lambda _: self._notifications.cancel(request))

    # --- following

    async def StreamDeliveryStatus(  # type: ignore[override]  # writes itself, so that a write can have a deadline
        self, request: following.StreamDeliveryStatusRequest, context: Context
    ) -> None:
        self._telemetry.stream_opened()
        try:
            await self._answer(context, request, lambda _: self._streams.run(request, self._writer(context)))
        finally:
            self._telemetry.stream_closed()

    async def GetNotification(
        self, request: following.GetNotificationRequest, context: Context
    ) -> following.GetNotificationResponse:
        return await self._answer(context, request, lambda _: self._statuses.notification(request))

    async def ListNotifications(
        self, request: following.ListNotificationsRequest, context: Context
    ) -> following.ListNotificationsResponse:
        return await self._answer(context, request, lambda _: self._statuses.notifications(request))

    async def ListDeliveries(
        self, request: following.ListDeliveriesRequest, context: Context
    ) -> following.ListDeliveriesResponse:
        return await self._answer(context, request, lambda _: self._statuses.deliveries(request))

    async def ReportEngagement(
        self, request: following.ReportEngagementRequest, context: Context
    ) -> following.ReportEngagementResponse:
        return await self._answer(context, request, lambda _: self._engagement.report(request))

    # --- audiences that a provider keeps

    async def SubscribeToTopic(
        self, request: audiences.SubscribeToTopicRequest, context: Context
    ) -> audiences.SubscribeToTopicResponse:
        return await self._answer(context, request, lambda accounts: self._audiences.subscribe(request, accounts))

    async def UnsubscribeFromTopic(
        self, request: audiences.UnsubscribeFromTopicRequest, context: Context
    ) -> audiences.UnsubscribeFromTopicResponse:
        return await self._answer(context, request, lambda accounts: self._audiences.unsubscribe(request, accounts))

    async def CreateBroadcastChannel(
        self, request: audiences.CreateBroadcastChannelRequest, context: Context
    ) -> audiences.CreateBroadcastChannelResponse:
        return await self._answer(context, request, lambda accounts: self._audiences.create_channel(request, accounts))

    async def ListBroadcastChannels(
        self, request: audiences.ListBroadcastChannelsRequest, context: Context
    ) -> audiences.ListBroadcastChannelsResponse:
        return await self._answer(context, request, lambda accounts: self._audiences.list_channels(request, accounts))

    async def DeleteBroadcastChannel(
        self, request: audiences.DeleteBroadcastChannelRequest, context: Context
    ) -> audiences.DeleteBroadcastChannelResponse:
        return await self._answer(context, request, lambda accounts: self._audiences.delete_channel(request, accounts))

    # --- the server itself

    async def GetServerInfo(
        self, request: service_pb2.GetServerInfoRequest, context: Context
    ) -> service_pb2.GetServerInfoResponse:
        async def info(accounts: AppAccounts) -> service_pb2.GetServerInfoResponse:
            return _server_info(accounts, self._settings)

        return await self._answer(context, request, info)

    # --- every call

    async def _answer(
        self, context: Context, request: Any, work: Callable[[AppAccounts], Awaitable[Response]]
    ) -> Response:
        """Lets the call in, finds the app of its request and does the work for it, or ends it with a status."""
        try:
            self._gate.enter()
            return await work(accounts_of(self._accounts, request.app_id))
        except Exception as error:
            await self._refuse(context, error, request.DESCRIPTOR.name)

    async def _refuse(self, context: Context, error: Exception, where: str) -> Never:
        """The only place where an exception becomes a status."""
        await abort(context, refusal_of(error, where, self._telemetry))

    def _writer(self, context: Context) -> Callable[[Any], Awaitable[None]]:
        """Writes one message; a caller that does not take it in time is SLOW_READER."""
        timeout_s = self._settings.write_timeout_s

        async def write(message: Any) -> None:
            try:
                async with asyncio.timeout(timeout_s):
                    await context.write(message)
            except TimeoutError:
                raise Refusal(Reason.SLOW_READER, f"no message was taken for {timeout_s:g} s") from None

        return write


def _server_info(accounts: AppAccounts, settings: Settings) -> service_pb2.GetServerInfoResponse:
    info = service_pb2.GetServerInfoResponse(server_version=__version__, api_version=DOMAIN)
    told = info.limits
    told.targets_per_send_max = limits.TARGETS_PER_SEND_MAX
    told.sends_per_message_max = limits.SENDS_PER_MESSAGE_MAX
    told.targets_per_message_max = limits.TARGETS_PER_MESSAGE_MAX
    told.request_bytes_max = limits.REQUEST_BYTES_MAX
    told.page_size_max = limits.PAGE_SIZE_MAX
    told.stream_ids_max = limits.STREAM_IDS_MAX
    told.wait_max.seconds = limits.WAIT_MAX_S
    info.event_retention.seconds = settings.event_retention_s
    info.request_id_retention.seconds = settings.request_id_retention_s
    info.ttl_default.seconds = limits.TTL_DEFAULT_S
    info.ttl_max.seconds = limits.TTL_MAX_S
    for provider, its_accounts in accounts.items():
        names = dict.fromkeys(account.provider_app_id for account in its_accounts)
        info.providers.add(provider=provider, provider_app_ids=names)
    return info


def add_to(server: grpc.aio.Server, service: PushService, reflection: bool = True) -> None:
    """Registers the service, and with `reflection` both reflection services. The health service is the server's own.

    Not by the generated function: status streams write messages that are serialised already, and of methods that are
    known to gRPC's core its server waits for each by itself, anew with every call.
    """
    handlers = {method.name: _handler(service, method) for method in _SERVICE.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
    if reflection:
        enable_reflection(server, (SERVICE_NAME, health.SERVICE_NAME))


def _handler(service: PushService, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    return _HANDLERS[method.client_streaming, method.server_streaming](
        getattr(service, method.name),
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=(
            None if method.name in _WRITES_BYTES else GetMessageClass(method.output_type).SerializeToString
        ),
    )


_WRITES_BYTES = {"StreamDeliveryStatus"}
_HANDLERS: Mapping[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
