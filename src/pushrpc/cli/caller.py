"""Talking to a server: the options every calling command has, and its errors in one line."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pushrpc.cli.screen import program
from pushrpc.v1 import sending_pb2
from pushrpc.v1.service_pb2_grpc import PushServiceStub
from pushrpc.words import HubPlatform, Provider

CALL_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
HUB_PLATFORMS = [p.name.lower() for p in HubPlatform if p]
SPAN_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Target(NamedTuple):
    """Where to call, and how to trust it."""

    server: str
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None

    def channel(self) -> grpc.Channel:
        if not (self.tls or self.ca or self.cert):
            return grpc.insecure_channel(self.server)
        files = (file.read_bytes() if file else None for file in (self.ca, self.key, self.cert))
        return grpc.secure_channel(self.server, grpc.ssl_channel_credentials(*files))


class CallFailed(click.ClickException):
    """A call that failed: `REASON: message (field: what is wrong)`, as the server's ErrorInfo and BadRequest say."""

    def __init__(self, error: grpc.RpcError, server: str) -> None:
        super().__init__(explain(error, server))


def explain(error: grpc.RpcError, server: str) -> str:
    call = cast(grpc.Call, error)
    details = _details(call)
    info = next((d for d in details if isinstance(d, error_details_pb2.ErrorInfo)), None)
    if info is None:
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            return (
                f"no server answers at {server}: start one with '{program()} up', name it with --server, "
                "or add --tls or --ca FILE when it uses TLS"
            )
        return f"{call.code().name}: {call.details()}"
    text = f"{info.reason}: {call.details()}"
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest):
            wrong = [f"{v.field}: {v.description}" for v in detail.field_violations if v.description not in text]
            text += f" ({'; '.join(wrong)})" if wrong else ""
        if isinstance(detail, error_details_pb2.RetryInfo):
            text += f" (try again after {detail.retry_delay.ToTimedelta().total_seconds():g} s)"
    return text


def _details(call: grpc.Call) -> Sequence[Any]:
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        return []
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    found: list[Any] = []
    for packed in status.details if status else ():
        for kind in kinds:
            detail = kind()
            if packed.Unpack(detail):
                found.append(detail)
    return found


def calls_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --server, --tls, --ca, --cert and --key; the command gets a `Target` as `target`."""

    @click.option("--server", envvar="PUSHRPC_TARGET", default="127.0.0.1:50051", show_default=True, show_envvar=True,
                  metavar="HOST:PORT", help="The server to call.")  # fmt: skip
    @click.option("--tls", is_flag=True, help="Use TLS with the system's trust roots.")
    @click.option("--ca", type=_FILE, help="Use TLS and trust these PEM certificates instead.")
    @click.option("--cert", type=_FILE, help="Client certificate, PEM; with --key.")
    @click.option("--key", type=_FILE, help="The client certificate's key, PEM.")
    @functools.wraps(command)
    def with_target(
        *args: Any, server: str, tls: bool, ca: Path | None, cert: Path | None, key: Path | None, **options: Any
    ) -> Any:
        if (cert is None) != (key is None):
            raise click.UsageError("--cert and --key belong together")
        context = click.get_current_context()
        context.meta["pushrpc.target"] = server
        return command(*args, target=Target(server, tls, ca, cert, key), **options)

    return with_target


app_option = click.option("--app", "app_id", required=True, metavar="ID", help="The app, as in the configuration.")
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON each, for scripts.")


@contextmanager
def service(target: Target) -> Iterator[PushServiceStub]:
    with target.channel() as channel:
        yield PushServiceStub(channel)


class Span(click.ParamType):  # type: ignore[type-arg]
    """A length of time, such as 30s, 15m, 24h or 28d; a bare number is seconds. A Duration of the contract."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Duration:
        if isinstance(value, Duration):
            return value
        number, unit = (value[:-1], value[-1:]) if value[-1:] in SPAN_UNIT_S else (value, "s")
        try:
            seconds = float(number) * SPAN_UNIT_S[unit]
            span = Duration()
            span.FromMilliseconds(round(seconds * 1000))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time: write 30s, 15m, 24h or 28d", param, ctx)
        return span


SUCCESSORS = {"GCM": "FCM", "MPNS": "WNS"}


class ProviderToken(click.ParamType):  # type: ignore[type-arg]
    """PROVIDER:TOKEN. The token is taken as it is: the server says what is wrong with it.

    The names of services that are gone stand for their successors, which took their tokens over or say why not.
    """

    name = "provider:token"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Provider, str]:
        if isinstance(value, tuple):
            return value
        word, colon, token = str(value).partition(":")
        name = word.upper().replace("-", "_")
        name = SUCCESSORS.get(name, name)
        if not colon or not token or name not in Provider.__members__ or name == "UNSPECIFIED":
            known = ", ".join(p.name.lower() for p in Provider if p)
            self.fail(f"{value!r} is not PROVIDER:TOKEN; providers are {known}", param, ctx)
        return Provider[name], token


class Subscription(click.ParamType):  # type: ignore[type-arg]
    """A browser's subscription: the JSON of PushSubscription.toJSON(), or @FILE that holds it."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> sending_pb2.Subscription:
        if isinstance(value, sending_pb2.Subscription):
            return value
        try:
            told = json.loads(Path(value[1:]).read_text() if value.startswith("@") else value)
            return sending_pb2.Subscription(endpoint=told["endpoint"], **told["keys"])
        except (OSError, ValueError, KeyError, TypeError):
            form = '{"endpoint": "https://…", "keys": {"p256dh": "…", "auth": "…"}}'
            self.fail(f"not a subscription: pass {form}, or @FILE with it", param, ctx)


class Pair(click.ParamType):  # type: ignore[type-arg]
    """KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


def pairs(entries: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    return dict(entries)
