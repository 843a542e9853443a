"""The registry's calls: protobuf to values and back, and every check a token passes before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pushrpc.audience import choose
from pushrpc.clock import Clock
from pushrpc.ledger import Ledger
from pushrpc.model import (
    NO_ADDRESS,
    Address,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    Location,
    Refused,
    Registration,
    one_form,
)
from pushrpc.providers import KeepsDevices, ProviderAccount
from pushrpc.rpc.apps import AppAccounts
from pushrpc.rpc.cursors import Cursors
from pushrpc.rpc.errors import Reason, Refusal, Violation, invalid
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import (
    ACCOUNT_BYTES_MAX,
    FILTER_VALUES_MAX,
    ID_BYTES_MAX,
    KEY_BYTES_MAX,
    LOCALE_BYTES_MAX,
    METADATA_MAX,
    TAGS_MAX,
    TOKEN_BYTES_MAX,
    USER_ID_BYTES_MAX,
)
from pushrpc.rpc.pages import requested_page
from pushrpc.rpc.records import put_time
from pushrpc.v1 import devices_pb2
from pushrpc.words import DeviceState, Environment, HubPlatform, Permission, Provider, RejectReason, TokenKind

_ACCURACY_MAX_M = 21_000_000.0  # half the way around the Earth: further off is nowhere


class Devices:
    """RegisterDevice, UpdateDevice, UnregisterDevice, GetDevice, ListDevices. `app_id` is known by the caller."""

    def __init__(self, ledger: Ledger, cursors: Cursors, clock: Clock) -> None:
        self._ledger = ledger
        self._cursors = cursors
        self._clock = clock

    async def register(
        self, request: devices_pb2.RegisterDeviceRequest, accounts: AppAccounts
    ) -> devices_pb2.RegisterDeviceResponse:
        """Raises Refusal, with TOKEN_MALFORMED and PROVIDER_NOT_CONFIGURED besides what any request can get."""
        now_us = self._clock.now_us()
        registration = await self._with_address(_registration(request, accounts, now_us), accounts)
        await self._check_tags(registration, accounts)
        registered = await self._ledger.register(registration, now_us)
        response = devices_pb2.RegisterDeviceResponse(
            created=registered.created, superseded_device_ids=registered.superseded_device_ids
        )
        put_device(response.device, registered.device)
        return response

    async def _with_address(self, registration: Registration, accounts: AppAccounts) -> Registration:
        """What must come beside the token may be known from an earlier registration of it. Raises Refusal."""
        account, _ = _account(accounts, registration.provider, registration.provider_app_id, registration.environment)
        problem = account.address_problem(registration.token, registration.address)
        if problem and registration.address == NO_ADDRESS:
            which = DeviceSelector(provider=registration.provider, token=registration.token)
            stored = await self._ledger.device(registration.app_id, which)
            if stored and stored.state is not DeviceState.REMOVED:
                problem = account.address_problem(registration.token, stored.address)
        if problem:
            beside = "web_push" if problem.reason is RejectReason.WEB_PUSH_KEYS_INVALID else "hub_platform"
            of_token = problem.reason in (RejectReason.ENDPOINT_FORBIDDEN, RejectReason.PROVIDER_RETIRED)
            if problem.reason is RejectReason.TOKEN_MALFORMED:
                of_token = registration.provider is Provider.NOTIFICATION_HUBS  # others refused it before
            raise invalid([Violation("token" if of_token else beside, _reason(problem), problem.detail)])
        return registration

    async def _check_tags(self, registration: Registration, accounts: AppAccounts) -> None:
        """Raises Refusal, but never for what the device has already: it would be lost to whoever repeats it."""
        account, _ = _account(accounts, registration.provider, registration.provider_app_id, registration.environment)
        fields = _not_kept(account, "tags", registration.tags)
        for which in _earlier(registration) if fields.violations else ():
            if stored := await self._ledger.device(registration.app_id, which):
                fields = _not_kept(account, "tags", registration.tags, stored.tags)
                break
        fields.refuse()

    async def update(
        self, request: devices_pb2.UpdateDeviceRequest, accounts: AppAccounts
    ) -> devices_pb2.UpdateDeviceResponse:
        fields = Fields()
        device_id = fields.text("device_id", request.device_id, ID_BYTES_MAX, required=True)
        change = _change(request, fields)
        fields.refuse()
        if change.add_tags or change.add_topics or "tags" in change.values:
            stored = _existing(await self._ledger.device(request.app_id, DeviceSelector(device_id=device_id)))
            _refuse_growth(stored, change)
            _refuse_what_is_not_kept(stored, change, accounts)
        device = await self._ledger.update(request.app_id, device_id, change, self._clock.now_us())
        response = devices_pb2.UpdateDeviceResponse()
        put_device(response.device, _existing(device))
        return response

    async def unregister(self, request: devices_pb2.UnregisterDeviceRequest) -> devices_pb2.UnregisterDeviceResponse:
        fields = Fields()
        provider = fields.word("provider", request.provider, Provider)
        which = DeviceSelector(
            device_id=fields.text("device_id", request.device_id, ID_BYTES_MAX),
            provider=provider,
            token=one_form(provider, fields.text("token", request.token, TOKEN_BYTES_MAX)),
            user_id=fields.text("user_id", request.user_id, USER_ID_BYTES_MAX),
            installation_id=fields.text("installation_id", request.installation_id, ID_BYTES_MAX),
        )
        _one_selector(which, fields, ("device_id", "token", "user_id", "installation_id"))
        count = await self._ledger.unregister(request.app_id, which, self._clock.now_us())
        return devices_pb2.UnregisterDeviceResponse(unregistered_count=count)

    async def get(self, request: devices_pb2.GetDeviceRequest) -> devices_pb2.GetDeviceResponse:
        fields = Fields()
        provider = fields.word("provider", request.provider, Provider)
        which = DeviceSelector(
            device_id=fields.text("device_id", request.device_id, ID_BYTES_MAX),
            provider=provider,
            token=one_form(provider, fields.text("token", request.token, TOKEN_BYTES_MAX)),
        )
        _one_selector(which, fields, ("device_id", "token"))
        response = devices_pb2.GetDeviceResponse()
        put_device(response.device, _existing(await self._ledger.device(request.app_id, which)))
        return response

    async def list(self, request: devices_pb2.ListDevicesRequest) -> devices_pb2.ListDevicesResponse:
        fields = Fields()
        wanted = _filter(request.filter, fields)
        page = requested_page(request, fields, self._cursors)

        def build(rows: Sequence[Device]) -> devices_pb2.ListDevicesResponse:
            response = devices_pb2.ListDevicesResponse()
            for row in rows:
                put_device(response.devices.add(), row)
            return response

        return await page.fill(lambda after, limit: self._ledger.devices(request.app_id, wanted, after, limit), build)


def _existing(device: Device | None) -> Device:
    if device is None:
        raise Refusal(Reason.DEVICE_NOT_FOUND, "the app has no such device")
    return device


def _one_selector(which: DeviceSelector, fields: Fields, choices: Sequence[str]) -> None:
    """Exactly one choice, and token only together with provider. Raises Refusal."""
    fields.exactly_one({name: bool(getattr(which, name)) for name in choices})
    if which.token and not which.provider:
        fields.wrong(Reason.FIELD_REQUIRED, "provider", "is not set, and token needs it")
    elif which.provider and not which.token:
        fields.wrong(Reason.FIELD_REQUIRED, "token", "is not set, and provider needs it")
    fields.refuse()


# --- RegisterDevice ----------------------------------------------------------------------------------------------


def _registration(request: devices_pb2.RegisterDeviceRequest, accounts: AppAccounts, now_us: int) -> Registration:
    fields = Fields()
    provider = fields.word("provider", request.provider, Provider, required=True)
    environment = fields.word("environment", request.environment, Environment)
    platform = fields.word("hub_platform", request.hub_platform, HubPlatform)
    token = one_form(provider, fields.text("token", request.token, TOKEN_BYTES_MAX, required=True), platform)
    replaced = fields.text("replaces_token", request.replaces_token, TOKEN_BYTES_MAX)
    fields.text("provider_app_id", request.provider_app_id, ACCOUNT_BYTES_MAX)
    registered_us = fields.time_us("registered_time", request.registered_time)
    values = {name: read(request, fields) for name, read in _SETTABLE.items()}
    values |= {
        "device_id": fields.text("device_id", request.device_id, ID_BYTES_MAX),
        "token_kind": fields.word("token_kind", request.token_kind, TokenKind),
        # A clock ahead of ours must not protect the device from a later "gone".
        "registered_us": min(registered_us, now_us) or now_us,
        "address": Address(
            fields.text("web_push.p256dh", request.web_push.p256dh, KEY_BYTES_MAX),
            fields.text("web_push.auth", request.web_push.auth, KEY_BYTES_MAX),
            platform,
        ),
        "token_expire_us": fields.time_us("token_expire_time", request.token_expire_time),
        "replaces_token": one_form(provider, replaced, platform),
    }
    for name in ("p256dh", "auth"):
        if " " in getattr(request.web_push, name):
            fields.wrong(Reason.WEB_PUSH_KEYS_INVALID, f"web_push.{name}", "holds a space; base64url has none")
    fields.refuse()

    account, environment = _account(accounts, provider, request.provider_app_id, environment)
    if problem := account.token_problem(token):
        fields.wrong(_reason(problem), "token", problem.detail)
        fields.refuse()
    return Registration(
        app_id=request.app_id,
        provider=provider,
        provider_app_id=account.provider_app_id,
        environment=environment,
        token=token,
        origin=account.origin(token),
        **values,
    )


def _reason(problem: Refused) -> Reason:
    """What makes a rejection in a send makes an error here; both have the same names."""
    return Reason.FIELD_REQUIRED if problem.reason is RejectReason.FIELD_MISSING else Reason[problem.reason.name]


def _account(
    accounts: AppAccounts, provider: Provider, provider_app_id: str, environment: Environment
) -> tuple[ProviderAccount, Environment]:
    chosen = choose(accounts.get(provider, ()), provider_app_id, environment)
    if isinstance(chosen, Refused):
        metadata = {"field": "provider_app_id" if provider_app_id else "provider", "provider": provider.name}
        raise Refusal(Reason.PROVIDER_NOT_CONFIGURED, f"{provider.name}: {chosen.detail}", metadata=metadata)
    return chosen


# --- the fields of a device that callers set --------------------------------------------------------------------

_Settable = devices_pb2.RegisterDeviceRequest | devices_pb2.Device


def _location(source: _Settable, fields: Fields) -> Location | None:
    if not source.HasField("location"):
        return None
    given = source.location
    return Location(
        fields.number("location.latitude", given.latitude, -90.0, 90.0),
        fields.number("location.longitude", given.longitude, -180.0, 180.0),
        fields.number("location.accuracy_m", given.accuracy_m, 0.0, _ACCURACY_MAX_M),
        fields.time_us("location.time", given.time),
    )


# Also what update_mask may name: each by its field's name, read from a registration or from a device.
_SETTABLE: Mapping[str, Callable[[_Settable, Fields], Any]] = {
    "user_id": lambda source, fields: fields.text("user_id", source.user_id, USER_ID_BYTES_MAX),
    "tags": lambda source, fields: fields.texts("tags", source.tags),
    "topics": lambda source, fields: fields.texts("topics", source.topics),
    "locale": lambda source, fields: fields.text("locale", source.locale, LOCALE_BYTES_MAX),
    "time_zone": lambda source, fields: fields.text("time_zone", source.time_zone, LOCALE_BYTES_MAX),
    "location": _location,
    "permission": lambda source, fields: fields.word("permission", source.permission, Permission),
    "installation_id": lambda source, fields: fields.text("installation_id", source.installation_id, ID_BYTES_MAX),
    "metadata": lambda source, fields: fields.entries("metadata", source.metadata, METADATA_MAX),
}


def _change(request: devices_pb2.UpdateDeviceRequest, fields: Fields) -> DeviceChange:
    masked = tuple(dict.fromkeys(request.update_mask.paths))
    for position, path in enumerate(masked):
        if path not in _SETTABLE:
            known = ", ".join(_SETTABLE)
            fields.wrong(Reason.MASK_INVALID, f"update_mask.paths[{position}]", f"is none of {known}")
    change = DeviceChange(
        values={path: _SETTABLE[path](request.device, fields) for path in masked if path in _SETTABLE},
        add_tags=fields.texts("add_tags", request.add_tags),
        remove_tags=fields.texts("remove_tags", request.remove_tags),
        add_topics=fields.texts("add_topics", request.add_topics),
        remove_topics=fields.texts("remove_topics", request.remove_topics),
    )
    changes = {"tags": change.add_tags + change.remove_tags, "topics": change.add_topics + change.remove_topics}
    for name, steps in changes.items():
        if steps and name in masked:
            fields.wrong(
                Reason.FIELDS_CONFLICT, f"add_{name}", f"and remove_{name} cannot stand beside {name} in the mask"
            )
    if not masked and not any(changes.values()):
        fields.wrong(Reason.MASK_INVALID, "update_mask", "names nothing, and no tag or topic is added or removed")
    return change


def _refuse_growth(device: Device, change: DeviceChange) -> None:
    """Steps may not lead past what a registration may carry. Raises Refusal."""
    fields = Fields()
    for field, stored, added, removed in (
        ("add_tags", device.tags, change.add_tags, change.remove_tags),
        ("add_topics", device.topics, change.add_topics, change.remove_topics),
    ):
        count = len({*stored, *added} - set(removed))
        if added and count > TAGS_MAX:
            fields.too_long(field, count, TAGS_MAX, "entries with those stored")
    fields.refuse()


def _refuse_what_is_not_kept(device: Device, change: DeviceChange, accounts: AppAccounts) -> None:
    """Tags that the provider's own registry would leave out. Raises Refusal."""
    account = choose(accounts.get(device.provider, ()), device.provider_app_id, device.environment)
    if isinstance(account, Refused):
        return  # it is no longer configured
    if "tags" in change.values:
        _not_kept(account[0], "tags", change.values["tags"], device.tags).refuse()
    elif change.add_tags:
        kept = [tag for tag in device.tags if tag not in change.remove_tags]
        _not_kept(account[0], "add_tags", change.add_tags, device.tags, kept).refuse()


def _not_kept(
    account: ProviderAccount,
    field: str,
    given: Sequence[str],
    stored: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Fields:
    """What is wrong with tags for the registry of a provider that has one; nothing with those that are stored already.

    `beside` are those that stay beside the given ones.
    """
    fields = Fields()
    if isinstance(account, KeepsDevices):
        for position, tag in enumerate(given):
            if tag not in stored and (problem := account.tag_problem(tag)):
                fields.wrong(Reason.FIELD_INVALID, f"{field}[{position}]", problem)
        count = len({*given, *beside})
        if count > max(account.tags_max, len(stored)):
            fields.too_long(field, count, account.tags_max, "tags of a device, as many as a hub keeps")
    return fields


def _earlier(registration: Registration) -> Iterator[DeviceSelector]:
    """How what is registered may be known already."""
    for token in filter(None, (registration.token, registration.replaces_token)):
        yield DeviceSelector(provider=registration.provider, token=token)
    if registration.device_id:
        yield DeviceSelector(device_id=registration.device_id)


def _filter(given: devices_pb2.DeviceFilter, fields: Fields) -> DeviceFilter:
    return DeviceFilter(
        user_ids=fields.texts("filter.user_ids", given.user_ids, FILTER_VALUES_MAX, USER_ID_BYTES_MAX),
        providers=fields.words("filter.providers", given.providers, Provider),
        token_kinds=fields.words("filter.token_kinds", given.token_kinds, TokenKind),
        states=fields.words("filter.states", given.states, DeviceState),
        installation_id=fields.text("filter.installation_id", given.installation_id, ID_BYTES_MAX),
        updated_after_us=fields.time_us("filter.updated_after", given.updated_after),
        seen_before_us=fields.time_us("filter.seen_before", given.seen_before),
    )


_SAME_NAME = (
    *("app_id", "device_id", "provider", "token", "user_id", "locale", "time_zone", "permission", "environment"),
    *("provider_app_id", "token_kind", "installation_id", "state", "dead_reason", "token_replaced_by"),
)
_TIMES = {
    "registered_time": "registered_us",
    "token_expire_time": "token_expire_us",
    "dead_time": "dead_us",
    "create_time": "created_us",
    "update_time": "updated_us",
    "seen_time": "seen_us",
}


def put_device(told: devices_pb2.Device, device: Device) -> None:
    for name in _SAME_NAME:
        setattr(told, name, getattr(device, name))
    for name, ours in _TIMES.items():
        if time_us := getattr(device, ours):
            put_time(getattr(told, name), time_us)
    told.tags.extend(device.tags)
    told.topics.extend(device.topics)
    told.metadata.update(device.metadata)
    told.hub_platform = device.address.platform  # type: ignore[assignment]
    if device.address.p256dh:
        told.web_push.p256dh, told.web_push.auth = device.address.p256dh, device.address.auth
    if device.location is not None:
        place = told.location
        place.latitude, place.longitude = device.location.latitude, device.location.longitude
        place.accuracy_m = device.location.accuracy_m
        if device.location.time_us:
            put_time(place.time, device.location.time_us)
