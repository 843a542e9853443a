"""pushrpc emulator: stand-ins for Apple and Google, with credentials and a ready configuration."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushrpc.cli.caller import json_option
from pushrpc.cli.playground import EMULATOR_READY
from pushrpc.cli.screen import print_json, print_line, program

if TYPE_CHECKING:
    from pushrpc.emulator import Credentials, Emulator

APP_ID = "shop"


@click.command(short_help="Run emulated Apple and Google push services.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path),
              help="Where credentials and pushrpc.toml go; else a temporary one.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the faults.")
@click.option("--apns-port", type=int, default=0, help="Else any free one.")
@click.option("--fcm-port", type=int, default=0, help="Else any free one.")
@click.option("--control-port", type=int, default=0, help="Of the control API; else any free one.")
@json_option
def emulator(
    directory: Path | None, seed: int, apns_port: int, fcm_port: int, control_port: int, as_json: bool
) -> None:
    """Run emulated APNs and FCM over TLS until Ctrl-C, believable enough for real clients.

    Writes an APNs key and certificate, a Firebase service account, the CA to trust, and a pushrpc.toml that points a
    server at all of it. What goes wrong is scripted over the control API; its own page lists the calls.

    \b
    Example:
      pushrpc emulator --directory sandbox
      pushrpc serve --config sandbox/pushrpc.toml
    """
    with _directory(directory) as chosen:
        try:
            asyncio.run(_emulate(chosen, seed, apns_port, fcm_port, control_port, as_json))
        except OSError as error:
            raise click.ClickException(f"the emulator cannot start: {error}; choose other ports or directory") from None


@contextmanager
def _directory(directory: Path | None) -> Iterator[Path]:
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="pushrpc-emulator-") as temporary:
            yield Path(temporary)
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be made: {error.strerror}; name another --directory") from None
    yield directory.absolute()


async def _emulate(directory: Path, seed: int, apns_port: int, fcm_port: int, control_port: int, as_json: bool) -> None:
    from pushrpc.emulator import Emulator

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    starting = Emulator.start(directory, seed=seed, apns_port=apns_port, fcm_port=fcm_port, control_port=control_port)
    async with starting as running:
        config_file = directory / "pushrpc.toml"
        config_file.write_text(configuration(running, running.credentials(directory)))
        if as_json:
            print_json(
                {
                    "event": EMULATOR_READY,
                    "apns_endpoint": running.apns_endpoint,
                    "fcm_endpoint": running.fcm_endpoint,
                    "control_url": running.control_url,
                    "ca_file": str(running.ca_file),
                    "config_file": str(config_file),
                }
            )
        else:
            print_line(f"APNs      {running.apns_endpoint}")
            print_line(f"FCM       {running.fcm_endpoint}")
            print_line(f"Control   {running.control_url}")
            print_line(f"CA        {running.ca_file}")
            print_line(f"\nNow run   {program()} serve --config {config_file}")
        await stopping.wait()


def configuration(running: Emulator, credentials: Credentials) -> str:
    """A server's configuration for this emulator; file names are relative to it."""
    return f"""\
[server]
listen = "127.0.0.1:50051"
ledger = "sqlite:///pushrpc.db"

[apps.{APP_ID}.apns]
key_file = "{credentials.apns_key_file.name}"
key_id = "{credentials.key_id}"
team_id = "{credentials.team_id}"
topic = "{credentials.bundle_id}"
endpoint = "{running.apns_endpoint}"
ca_file = "{running.ca_file.name}"

[apps.{APP_ID}.fcm]
service_account_file = "{credentials.service_account_file.name}"
endpoint = "{running.fcm_endpoint}"
ca_file = "{running.ca_file.name}"
"""
