"""pushrpc import-gorush: what gorush was asked to push, as requests of ours, printed or sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import click

from pushrpc.cli.caller import CALL_TIMEOUT_S, Target, app_option, calls_server, json_option, service
from pushrpc.cli.gorush import Importer, bodies
from pushrpc.cli.screen import name_of, print_json, print_line
from pushrpc.v1 import sending_pb2
from pushrpc.v1.service_pb2_grpc import PushServiceStub
from pushrpc.words import RejectReason


@click.command(
    "import-gorush",
    short_help="Turn gorush's requests into ours.",
    epilog="Exit code 0: every notification became a request and, with --send, no target was rejected. 1: not so.",
)
@calls_server
@app_option
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--send", is_flag=True, help="Send the requests instead of printing them.")
@json_option
def import_gorush(target: Target, app_id: str, file: TextIO, send: bool, as_json: bool) -> None:
    """Read gorush's push requests from FILE (- for standard input) and print ours, one line of JSON each.

    FILE holds one request body, or many after each other. What has no place in our requests is told on standard error,
    field by field; docs/migrating.md lists where each field goes. A notif_id becomes the request_id, so that sending a
    file again sends nothing twice.

    \b
    Examples:
      pushrpc import-gorush --app shop push.json
      pushrpc import-gorush --app shop --send push.json
      pushrpc import-gorush --app shop push.json | while read -r request; do
        grpcurl -plaintext -d "$request" 127.0.0.1:50051 pushrpc.v1.PushService/SendNotification
      done
    """
    report = _Report()
    requests = _requests(file, app_id, report)
    if send:
        with service(target) as push:
            for request in requests:
                _send(push, request, as_json, report)
    else:
        for request in requests:
            print_json(request)
    raise click.exceptions.Exit(1 if report.unhappy else 0)


class _Report:
    """Notes go to standard error, where they do not mix with the requests."""

    def __init__(self) -> None:
        self.unhappy = False

    def note(self, position: int, text: str) -> None:
        click.echo(f"notification {position}: {text}", err=True)


def _requests(file: TextIO, app_id: str, report: _Report) -> Iterator[sending_pb2.SendNotificationRequest]:
    importer, position = Importer(app_id), 0
    try:
        for body in bodies(file.read()):
            for imported in importer.push(body):
                position += 1
                for note in imported.notes:
                    report.note(position, note)
                report.unhappy |= not imported.requests
                yield from imported.requests
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name} is not UTF-8 text") from None
    except ValueError as error:
        raise click.ClickException(f"{file.name} is not what gorush takes: {error}") from None


def _send(push: PushServiceStub, request: sending_pb2.SendNotificationRequest, as_json: bool, report: _Report) -> None:
    response = push.SendNotification(request, timeout=CALL_TIMEOUT_S)
    report.unhappy |= bool(response.rejected)
    if as_json:
        print_json(response)
        return
    replay = ", sent before" if response.replayed else ""
    print_line(f"notification {response.notification_id}: {response.target_count} accepted{replay}")
    for rejected in response.rejected:
        print_line(f"{rejected.path}\t{name_of(RejectReason, rejected.reason)}\t{rejected.detail}")
