"""Every command explains itself, and refuses with one line instead of a stack trace."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pushrpc import __version__
from pushrpc.cli import commands
from tests.cli.conftest import Run

COMMANDS = sorted(commands.commands)


@pytest.mark.parametrize(
    "command", [*COMMANDS, "devices list", "devices get", "devices register", "devices unregister"]
)
def test_every_command_and_option_explains_itself(run: Run, command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    named = commands
    for word in command.split():
        named = named.commands[word]  # type: ignore[assignment]
    assert named.help
    options = [param for param in named.params if isinstance(param, click.Option)]
    assert all(option.help or option.hidden for option in options)


def test_the_version_is_told(run: Run) -> None:
    assert __version__ in run("--version").output


def test_an_unknown_command_is_refused(run: Run) -> None:
    result = run("sned")
    assert result.exit_code == 2 and "No such command 'sned'" in result.stderr


def test_serve_reports_every_mistake_and_starts_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pushrpc.toml"
    file.write_text(
        '[server]\nlisten = "0.0.0.0:1"\nlog_levle = "x"\n[apps.shop.fcm]\nservice_account_file = "absent"\n'
    )
    result = run("serve", "--config", str(file))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == f"pushrpc cannot start: 3 mistakes in {file}"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "server.listen",
        "server.log_levle",
        "apps.shop.fcm.service_account_file",
    ]
    logged = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["event"], line["key"]) for line in logged] == [
        ("config_refused", "server.listen"),
        ("config_refused", "server.log_levle"),
        ("config_refused", "apps.shop.fcm.service_account_file"),
    ]
    assert list(tmp_path.iterdir()) == [file]


def test_an_emulator_that_cannot_write_says_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    result = run("emulator", "--directory", str(file / "below"))
    assert result.exit_code == 1 and "cannot be made: Not a directory" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--port foo 1", "'foo' is no service; there are apns, apns_sandbox, fcm, wns, web_push, hms,"),
        ("--port apns 99999", "99999 is not in the range 0<=x<=65535"),
        ("--control-port 65536", "65536 is not in the range"),
    ],
)
def test_a_port_of_no_service_and_no_port_at_all_are_usage_errors(run: Run, arguments: str, told: str) -> None:
    result = run("emulator", *arguments.split())
    assert (result.exit_code, told in " ".join(result.stderr.split())) == (2, True), result.stderr
