"""pushrpc devices: the registry from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from google.protobuf.message import Message
from rich.text import Text

from pushrpc.cli.caller import (
    CALL_TIMEOUT_S,
    HUB_PLATFORMS,
    Pair,
    ProviderToken,
    Subscription,
    Target,
    app_option,
    calls_server,
    json_option,
    pairs,
)
from pushrpc.cli.caller import service as service_of
from pushrpc.cli.screen import name_of, print_json, print_line, print_table, short
from pushrpc.v1 import devices_pb2, enums_pb2, sending_pb2
from pushrpc.words import DeviceState, Environment, HubPlatform, Provider

PAGE_SIZE_MAX = 1_000
ENVIRONMENTS = [e.name.lower() for e in Environment if e]


@click.group(short_help="List, show, register and unregister devices.")
def devices() -> None:
    """The registry: which tokens an app has, and whose they are."""


@devices.command("list")
@calls_server
@app_option
@click.option("--user", "users", multiple=True, metavar="ID", help="Only devices of this user. May be repeated.")
@click.option("--state", "states", multiple=True, type=click.Choice([s.name.lower() for s in DeviceState if s]),
              help="Only these; without it all that are not removed. May be repeated.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@json_option
def list_devices(target: Target, app_id: str, users: list[str], states: list[str], limit: int, as_json: bool) -> None:
    """List devices, oldest first.

    \b
    Example:
      pushrpc devices list --app shop --user u-7
    """
    request = devices_pb2.ListDevicesRequest(
        app_id=app_id,
        filter=devices_pb2.DeviceFilter(
            user_ids=users, states=[enums_pb2.DeviceState.ValueType(DeviceState[s.upper()]) for s in states]
        ),
    )
    found: list[devices_pb2.Device] = []
    with service_of(target) as push:
        while len(found) < limit:
            request.page_size = min(PAGE_SIZE_MAX, limit - len(found))
            page = push.ListDevices(request, timeout=CALL_TIMEOUT_S)
            found += page.devices
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    _show(found, as_json)
    if request.page_token and not as_json:
        click.echo(f"there are more: --limit {limit * 10} shows them", err=True)


@devices.command("get")
@calls_server
@app_option
@click.option("--device", "device_id", default="", metavar="ID", help="By its id.")
@click.option("--token", type=ProviderToken(), help="By its token.")
@json_option
def get_device(target: Target, app_id: str, device_id: str, token: tuple[Provider, str] | None, as_json: bool) -> None:
    """Show one device, by its id or its token."""
    if bool(device_id) == bool(token):
        raise click.UsageError("name the device with --device or with --token")
    request = devices_pb2.GetDeviceRequest(app_id=app_id, device_id=device_id, **_by_token(token))
    with service_of(target) as push:
        device = push.GetDevice(request, timeout=CALL_TIMEOUT_S).device
    if as_json:
        print_json(device)
        return
    print_table(["Field", "Value"], [[name, text] for name, text in _fields(device)])


@devices.command("register")
@calls_server
@app_option
@click.option("--token", type=ProviderToken(), help="What the provider's SDK gave the app.")
@click.option("--subscription", type=Subscription(), help="What a browser gave instead, or @FILE with it.")
@click.option("--hub-platform", type=click.Choice(HUB_PLATFORMS), help="Whose handle the token is, at a hub.")
@click.option("--device", "device_id", default="", metavar="ID", help="Your own id; empty lets the server make one.")
@click.option("--user", "user_id", default="", metavar="ID", help="Who uses it.")
@click.option("--tag", "tags", multiple=True, help="A label for choosing audiences. May be repeated.")
@click.option("--locale", default="", help='Such as "pt-BR".')
@click.option("--time-zone", default="", help='Such as "Europe/Lisbon".')
@click.option("--environment", type=click.Choice(ENVIRONMENTS), help="APNs only; else the account's own.")
@click.option("--account", "provider_app_id", default="", help="Bundle id or Firebase project; else the app's first.")
@click.option("--installation", "installation_id", default="", metavar="ID", help="Groups an app install's tokens.")
@click.option("--replaces", "replaces_token", default="", metavar="TOKEN", help="The token that this one follows.")
@click.option("--metadata", type=Pair(), multiple=True, help="An entry of your own. May be repeated.")
@json_option
def register_device(
    target: Target,
    token: tuple[Provider, str] | None,
    subscription: sending_pb2.Subscription | None,
    hub_platform: str | None,
    environment: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Register a token, or change what is known about it.

    \b
    Example:
      pushrpc devices register --app shop --token apns:00fc13…de8f0 --user u-7 --locale pt-BR
    """
    options["metadata"] = pairs(options["metadata"])
    if bool(token) == bool(subscription):
        raise click.UsageError("name the token with --token, or the browser's --subscription")
    if subscription:
        token = Provider.WEB_PUSH, subscription.endpoint
        options["web_push"] = devices_pb2.WebPushKeys(p256dh=subscription.p256dh, auth=subscription.auth)
    request = devices_pb2.RegisterDeviceRequest(**_by_token(token), **options)
    if hub_platform:
        request.hub_platform = enums_pb2.HubPlatform.ValueType(HubPlatform[hub_platform.upper()])
    if environment:
        request.environment = enums_pb2.Environment.ValueType(Environment[environment.upper()])
    with service_of(target) as push:
        response = push.RegisterDevice(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response)
        return
    print_line(f"{'created' if response.created else 'updated'} device {response.device.device_id}")
    for device_id in response.superseded_device_ids:
        print_line(f"device {device_id} lost this token")


@devices.command("unregister")
@calls_server
@app_option
@click.option("--device", "device_id", default="", metavar="ID", help="One device.")
@click.option("--token", type=ProviderToken(), help="Every device that holds this token.")
@click.option("--user", "user_id", default="", metavar="ID", help="Every device of a user.")
@click.option("--installation", "installation_id", default="", metavar="ID", help="Every device of an app install.")
@json_option
def unregister_device(target: Target, token: tuple[Provider, str] | None, as_json: bool, **options: Any) -> None:
    """Remove devices; what is queued for them is cancelled.

    \b
    Example:
      pushrpc devices unregister --app shop --user u-7
    """
    if sum(map(bool, (options["device_id"], token, options["user_id"], options["installation_id"]))) != 1:
        raise click.UsageError("name the devices with one of --device, --token, --user and --installation")
    request = devices_pb2.UnregisterDeviceRequest(**options, **_by_token(token))
    with service_of(target) as push:
        response = push.UnregisterDevice(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response)
    else:
        print_line(f"{response.unregistered_count} unregistered")


def _by_token(token: tuple[Provider, str] | None) -> dict[str, Any]:
    return {} if token is None else {"provider": enums_pb2.Provider.ValueType(token[0]), "token": token[1]}


def _show(found: Iterable[devices_pb2.Device], as_json: bool) -> None:
    if as_json:
        for device in found:
            print_json(device)
        return
    print_table(
        ["Device", "User", "Provider", "Token", "State"],
        [
            [
                d.device_id,
                d.user_id,
                name_of(Provider, d.provider),
                short(d.token),
                Text(
                    name_of(DeviceState, d.state),
                    style="green" if d.state == enums_pb2.DEVICE_STATE_ACTIVE else "yellow",
                ),
            ]
            for d in found
        ],
    )


def _fields(device: devices_pb2.Device) -> Iterable[tuple[str, str]]:
    for field, value in device.ListFields():
        if field.enum_type is not None:
            yield field.name, field.enum_type.values_by_number[value].name
        elif field.name.endswith("_time"):
            yield field.name, datetime.fromtimestamp(value.ToMilliseconds() / 1000, UTC).isoformat()
        elif isinstance(value, Message):
            yield field.name, " ".join(str(value).split())
        elif isinstance(value, str):
            yield field.name, value
        else:
            entries = value.items() if hasattr(value, "items") else value
            yield field.name, ", ".join("=".join(e) if isinstance(e, tuple) else str(e) for e in entries)
