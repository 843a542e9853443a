"""pushrpc emulator: stand-ins for Apple and Google, with credentials and a ready configuration."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
@click.option("--port", "ports", type=(str, int), multiple=True, metavar="SERVICE PORT",
              help="Such as: --port apns 2197. Else any free one.")  # fmt: skip
@click.option("--control-port", type=int, default=0, help="Of the control API; else any free one.")
@json_option
def emulator(
    directory: Path | None, seed: int, ports: Sequence[tuple[str, int]], control_port: int, as_json: bool
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
            asyncio.run(_emulate(chosen, seed, dict(ports), control_port, as_json))
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


async def _emulate(directory: Path, seed: int, ports: Mapping[str, int], control_port: int, as_json: bool) -> None:
    from pushrpc.emulator import Emulator

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Emulator.start(directory, seed=seed, ports=ports, control_port=control_port) as running:
        config_file = directory / "pushrpc.toml"
        config_file.write_text(configuration(running, running.credentials(directory)))
        if as_json:
            print_json(
                {
                    "event": EMULATOR_READY,
                    "endpoints": running.endpoints,
                    "control_url": running.control_url,
                    "ca_file": str(running.ca_file),
                    "config_file": str(config_file),
                }
            )
        else:
            places = {**running.endpoints, "control": running.control_url, "CA": str(running.ca_file)}
            for name, place in places.items():
                print_line(f"{name:18}{place}")
            print_line(f"\n{'Now run':18}{program()} serve --config {config_file}")
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
