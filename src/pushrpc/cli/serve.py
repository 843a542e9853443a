"""pushrpc serve: the server, for real."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from pushrpc.cli.screen import is_terminal
from pushrpc.config import ConfigError
from pushrpc.tables import Mistake

CANNOT_START = 2

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default="pushrpc.toml",
    show_default=True,
    metavar="FILE",
    help="The configuration, TOML.",
)


@click.command(short_help="Run the server.", epilog="Exit code 0: stopped as asked. 2: could not start.")
@config_option
def serve(config_file: Path) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Every key can be set from the environment too: PUSHRPC_SERVER__LISTEN stands for server.listen. Logs go to standard
    output, as JSON when that is no terminal.
    """
    # What gRPC's core would write beside our log is said in our own words below.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pushrpc.ledger import LedgerRefused
    from pushrpc.server import StartFailed, prepare, run

    try:
        code = run(*prepare(config_file, os.environ))
    except ConfigError as error:
        refuse(config_file, error.mistakes)
    except (LedgerRefused, StartFailed) as error:
        click.echo(f"pushrpc cannot start: {error}", err=True)
        sys.exit(CANNOT_START)
    sys.exit(code)


def refuse(config_file: Path, mistakes: Sequence[Mistake]) -> NoReturn:
    """Every mistake on standard error, and exit code 2."""
    what = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    click.echo(f"pushrpc cannot start: {what} in {config_file}", err=True)
    for mistake in mistakes:
        click.echo(f"  {mistake}", err=True)
    if not is_terminal():
        _log(mistakes)
    sys.exit(CANNOT_START)


def _log(mistakes: Sequence[Mistake]) -> None:
    """For whoever only reads the log of a container that does not come up."""
    from pushrpc.telemetry import Telemetry

    telemetry = Telemetry(sys.stdout)
    for mistake in mistakes:
        telemetry.config_refused(*mistake)
    telemetry.close()
