"""The command line: a file for each command; `screen` prints, `caller` calls a server, `playground` runs one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import click
import grpc

from pushrpc import __version__
from pushrpc.cli.caller import CallFailed
from pushrpc.cli.demo import demo
from pushrpc.cli.devices import devices
from pushrpc.cli.doctor import doctor
from pushrpc.cli.emulator import emulator
from pushrpc.cli.import_gorush import import_gorush
from pushrpc.cli.send import send
from pushrpc.cli.serve import serve
from pushrpc.cli.up import up
from pushrpc.cli.watch import watch


class Commands(click.Group):
    """Turns the errors that a caller can expect into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except grpc.RpcError as error:
            raise CallFailed(error, ctx.meta.get("pushrpc.target", "")) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pushrpc")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def commands(until_stdin_closes: bool) -> None:
    """Durable push notifications over gRPC to APNs, FCM, WNS, Web Push, HMS and Notification Hubs, with one typed final
    answer for every token.

    \b
    See it move       pushrpc demo
    Try it yourself   pushrpc up, then pushrpc send and pushrpc watch
    Run it for real   pushrpc doctor, then pushrpc serve
    """
    if until_stdin_closes:
        threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()


def _stop_when_stdin_closes() -> None:
    """Ends this process with the one that started it, however that one ended."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


for command in (demo, up, serve, doctor, send, watch, devices, emulator, import_gorush):
    commands.add_command(command)
