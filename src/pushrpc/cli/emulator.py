"""pushrpc emulator: stand-ins for six push services, with credentials and a ready configuration."""

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
    from pushrpc.emulator import Emulator

PORT = click.IntRange(0, 65535)
APP_ID = "shop"
HUB = "shop-hub"


@click.command(short_help="Run emulated push services.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path),
              help="Where credentials and pushrpc.toml go; else a temporary one.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the faults.")
@click.option("--port", "ports", type=(str, PORT), multiple=True, metavar="SERVICE PORT",
              help="Such as: --port apns 2197. Else any free one.")  # fmt: skip
@click.option("--control-port", type=PORT, default=0, help="Of the control API; else any free one.")
@json_option
def emulator(
    directory: Path | None, seed: int, ports: Sequence[tuple[str, int]], control_port: int, as_json: bool
) -> None:
    """Run emulated APNs, FCM, WNS, Web Push, HMS and Notification Hubs over TLS until Ctrl-C, believable enough for
    real clients.

    Writes every key and secret that a sender needs, the CA to trust, and a pushrpc.toml that points a server at all
    of it. What goes wrong is scripted over the control API; its own page lists the calls.

    \b
    Example:
      pushrpc emulator --directory sandbox
      pushrpc serve --config sandbox/pushrpc.toml
    """
    from pushrpc.emulator import SERVICES

    for name, _ in ports:
        if name not in SERVICES:
            raise click.BadParameter(f"{name!r} is no service; there are {', '.join(SERVICES)}", param_hint="'--port'")
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
        config_file.write_text(configuration(running, directory))
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


def configuration(running: Emulator, directory: Path) -> str:
    """A server's configuration for this emulator, with credentials issued into the directory."""
    lines = ["[server]", 'listen = "127.0.0.1:50051"', 'ledger = "sqlite:///pushrpc.db"']
    for name, settings in accounts(running, directory).items():
        lines += ["", f"[apps.{APP_ID}.{name}]", *(f'{key} = "{value}"' for key, value in settings.items())]
    return "\n".join(lines) + "\n"


def accounts(running: Emulator, directory: Path) -> dict[str, dict[str, str]]:
    """An app's table at each provider, as in the configuration; file names are relative to the directory."""
    from pushrpc.emulator.credentials import issue_hms_app, issue_hub, issue_vapid_key, issue_wns_app

    apple_and_google = running.credentials(directory)
    wns_id, wns_secret = issue_wns_app(running.wns, directory)
    hms_id, hms_secret = issue_hms_app(running.hms, directory)
    _, vapid_key = issue_vapid_key(directory)
    hub_endpoint = running.endpoints["notification_hubs"]
    connection_string = issue_hub(running.notification_hubs, directory, endpoint=hub_endpoint, hub=HUB)
    tables = {
        "apns": {
            "key_file": apple_and_google.apns_key_file.name,
            "key_id": apple_and_google.key_id,
            "team_id": apple_and_google.team_id,
            "topic": apple_and_google.bundle_id,
        },
        "fcm": {"service_account_file": apple_and_google.service_account_file.name},
        "wns": {"client_id": wns_id, "client_secret_file": wns_secret.name},
        "web_push": {"vapid_key_file": vapid_key.name, "subject": "mailto:push@shop.example"},
        "hms": {"app_id": hms_id, "client_secret_file": hms_secret.name},
        "notification_hubs": {"connection_string_file": connection_string.name, "hub": HUB},
    }
    trust = running.ca_file.name
    return {name: {**table, "endpoint": running.endpoints[name], "ca_file": trust} for name, table in tables.items()}
