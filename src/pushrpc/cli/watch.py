"""pushrpc watch: deliveries as they change, live on a terminal, a line each without one."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import click
import grpc
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pushrpc.cli.caller import Pair, Target, app_option, calls_server, explain, json_option, pairs, service
from pushrpc.cli.screen import console, errors, is_terminal, name_of, print_json, print_line, short, state_text, table
from pushrpc.v1 import following_pb2
from pushrpc.v1.enums_pb2 import DELIVERY_STATE_QUEUED, STREAM_START_NOW, STREAM_START_OLDEST
from pushrpc.v1.service_pb2_grpc import PushServiceStub
from pushrpc.words import Cause, Provider

RECONNECTS_MAX = 6  # with growing waits about half a minute: a server's restart
ROWS_SHOWN = 12
NARROW_COLUMNS = 70
REDRAWS_PER_S = 8


@click.command(short_help="Follow deliveries as they change.")
@calls_server
@app_option
@click.option(
    "--notification", "notification_ids", multiple=True, metavar="ID", help="Follow this one. May be repeated."
)
@click.option("--request-id", "request_ids", multiple=True, metavar="ID", help="The same, by your own id.")
@click.option("--label", "labels", type=Pair(), multiple=True, help="Only notifications with this label.")
@click.option("--cursor", default="", help="Continue where an earlier watch ended.")
@click.option("--from", "start", type=click.Choice(["now", "oldest"]), default="now", show_default=True,
              help="Where to begin with a whole app.")  # fmt: skip
@click.option("--final-only", is_flag=True, help="Leave out retries.")
@click.option("--until-caught-up", is_flag=True, help="End when everything there is has been told.")
@json_option
def watch(target: Target, as_json: bool, **options: Any) -> None:
    """Follow deliveries until all named notifications are final, or until Ctrl-C with a whole app.

    A broken connection is taken up again without gap or repeat. The last line on standard error is the cursor to
    continue from.

    \b
    Examples:
      pushrpc watch --app shop
      pushrpc watch --app shop --notification 0198c8a2-7c1e-7d2b-8f3a-0123456789ab
      pushrpc watch --app shop --from oldest --until-caught-up --json > events.jsonl
    """
    request = following_pb2.StreamDeliveryStatusRequest(
        app_id=options["app_id"],
        notification_ids=options["notification_ids"],
        request_ids=options["request_ids"],
        labels=pairs(options["labels"]),
        cursor=options["cursor"],
        final_only=options["final_only"],
        until_caught_up=options["until_caught_up"],
    )
    named = options["notification_ids"] or options["request_ids"]
    if not (options["cursor"] or named):
        request.start = STREAM_START_OLDEST if options["start"] == "oldest" else STREAM_START_NOW
    view: View = _Json() if as_json else LiveView(console()) if is_terminal() else _Lines()
    try:
        with service(target) as push, view:
            for response in follow(push, request, target.server):
                view.show(response)
    except KeyboardInterrupt:
        pass
    finally:
        if request.cursor:
            errors().print(f"cursor: {request.cursor}", soft_wrap=True)


def follow(
    push: PushServiceStub, request: following_pb2.StreamDeliveryStatusRequest, server: str
) -> Iterator[following_pb2.StreamDeliveryStatusResponse]:
    """Every response until the end, across reconnects; keeps `request.cursor` at the last one."""
    failures = 0
    while True:
        try:
            again = False
            for response in push.StreamDeliveryStatus(request, timeout=None):
                failures = 0
                if response.cursor:
                    request.cursor = response.cursor
                    request.ClearField("start")
                yield response
                if response.HasField("reconnect"):
                    again = True
                    time.sleep(response.reconnect.delay.ToTimedelta().total_seconds())
            if not again:
                return
        except grpc.RpcError as error:
            failures += 1
            worth_it = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
            if not (worth_it and request.cursor and failures <= RECONNECTS_MAX):
                raise
            errors().print(f"[yellow]{explain(error, server)}; trying again[/yellow]", soft_wrap=True)
            time.sleep(min(10.0, 0.5 * 2.0**failures))


class View(Protocol):
    """How responses are shown."""

    def __enter__(self) -> View: ...
    def __exit__(self, *failure: object) -> None: ...
    def show(self, response: following_pb2.StreamDeliveryStatusResponse) -> None: ...


class _Json:
    def __enter__(self) -> View:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def show(self, response: following_pb2.StreamDeliveryStatusResponse) -> None:
        print_json(response)


class _Lines(_Json):
    def show(self, response: following_pb2.StreamDeliveryStatusResponse) -> None:
        for event in response.events:
            print_line("\t".join(str(cell) for cell in row(event, whole=True)))
        if response.HasField("end"):
            counts = {field.name: value for field, value in response.end.counts.ListFields()}
            print_line("\t".join(["end", *(f"{name}={value}" for name, value in counts.items())]))


class LiveView(_Json):
    """The newest events, and how many ended how."""

    def __init__(self, screen: Console) -> None:
        self._narrow = screen.width < NARROW_COLUMNS
        self._newest: deque[following_pb2.DeliveryEvent] = deque(maxlen=ROWS_SHOWN)
        self._final: Counter[int] = Counter()
        self._retries = 0
        self._live = Live(console=screen, get_renderable=self._render, refresh_per_second=REDRAWS_PER_S)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.stop()

    def show(self, response: following_pb2.StreamDeliveryStatusResponse) -> None:
        for event in response.events:
            self._newest.append(event)
            if event.final:
                self._final[event.state] += 1
            else:
                self._retries += 1

    def _render(self) -> RenderableType:
        counts = Text(f"{self._final.total()} final")
        for state, count in sorted(self._final.items()):
            counts.append(f"  {count} ").append_text(state_text(state))
        counts.append(f"  {self._retries} retries", style="dim")
        columns = ["Time", "Provider", "Target", "State", "Try", "Reason"]
        first = 1 if self._narrow else 0  # then without the time
        rows = [row(event, whole=False)[first:] for event in self._newest]
        return Group(table(columns[first:], rows, one_line=True), counts)


def row(event: following_pb2.DeliveryEvent, whole: bool) -> list[Text | str]:
    """An event's cells; `whole` adds the date and the notification, and leaves ids whole."""
    time_of = datetime.fromtimestamp(event.time.ToMilliseconds() / 1000, UTC)
    retry = event.state == DELIVERY_STATE_QUEUED
    cells: list[Text | str] = [
        time_of.isoformat(timespec="milliseconds") if whole else time_of.strftime("%H:%M:%S"),
        name_of(Provider, event.provider),
        event.device_id if whole and event.device_id else short(event.device_id or event.token),
        Text("RETRY", style="yellow") if retry else state_text(event.state),
        str(event.attempt),
        event.reason or name_of(Cause, event.cause) or (str(event.provider_status) if not event.final else ""),
    ]
    return [event.notification_id, *cells] if whole else cells
