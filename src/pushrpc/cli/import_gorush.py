"""pushrpc import-gorush: what gorush was asked to push, as requests of ours, printed or sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import click
import grpc

from pushrpc.cli.caller import CALL_TIMEOUT_S, Target, app_option, calls_server, explain, json_option, service
from pushrpc.cli.gorush import Importer, bodies
from pushrpc.cli.screen import print_json
from pushrpc.cli.send import print_receipt
from pushrpc.v1 import sending_pb2
from pushrpc.v1.service_pb2_grpc import PushServiceStub

# Nobody answered: the next request would only wait for the same.
UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@click.command(
    "import-gorush",
    short_help="Turn gorush's requests into ours.",
    epilog="Exit code 0: every notification became a request and, with --send, none of them and of their targets was "
    "refused. 1: not so.",
)
@calls_server
@app_option
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--send", is_flag=True, help="Send the requests instead of printing them.")
@json_option
def import_gorush(target: Target, app_id: str, file: TextIO, send: bool, as_json: bool) -> None:
    """Read gorush's push requests from FILE (- for standard input) and print ours, one line of JSON each.

    FILE holds one request body, or many after each other. What has no place in our requests is told on standard error,
    field by field; docs/migrating.md lists where each field goes. A notif_id, or a hash of it, becomes the request_id,
    so that sending a file again sends nothing twice that has one. A request that the server refuses is told, and the
    next one is sent.

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
    if not send:
        for _, request in requests:
            print_json(request)
    else:
        try:
            with service(target) as push:
                for position, request in requests:
                    _send(push, position, request, target.server, as_json, report)
        finally:
            report.sum_up()
    raise click.exceptions.Exit(1 if report.unhappy else 0)


class _Report:
    """Notes go to standard error, where they do not mix with the requests."""

    def __init__(self) -> None:
        self.unmade = 0  # notifications without a request
        self.accepted = 0
        self.refused = 0
        self.rejected_targets = 0

    @property
    def unhappy(self) -> bool:
        return bool(self.unmade or self.refused or self.rejected_targets)

    def note(self, position: int, text: str) -> None:
        click.echo(f"notification {position}: {text}", err=True)

    def sum_up(self) -> None:
        click.echo(
            f"requests: {self.accepted} accepted, {self.refused} refused; targets rejected: {self.rejected_targets}; "
            f"notifications without a request: {self.unmade}",
            err=True,
        )


def _requests(file: TextIO, app_id: str, report: _Report) -> Iterator[tuple[int, sending_pb2.SendNotificationRequest]]:
    """Each with the position of its notification, from 1; one with more than 1,000 targets has several."""
    importer, position = Importer(app_id), 0
    try:
        for body in bodies(file.read()):
            for imported in importer.push(body):
                position += 1
                for note in imported.notes:
                    report.note(position, note)
                report.unmade += not imported.requests
                yield from ((position, request) for request in imported.requests)
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name} is not UTF-8 text") from None
    except ValueError as error:
        raise click.ClickException(f"{file.name} is not what gorush takes: {error}") from None


def _send(
    push: PushServiceStub,
    position: int,
    request: sending_pb2.SendNotificationRequest,
    server: str,
    as_json: bool,
    report: _Report,
) -> None:
    """Raises grpc.RpcError when nobody answered."""
    try:
        response = push.SendNotification(request, timeout=CALL_TIMEOUT_S)
    except grpc.RpcError as error:
        report.refused += 1
        report.note(position, f"refused: {explain(error, server)}")
        if error.code() in UNANSWERED:
            raise
        return
    report.accepted += 1
    report.rejected_targets += len(response.rejected)
    if as_json:
        print_json(response)
    else:
        print_receipt(response)
