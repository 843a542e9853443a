"""doctor: each finding, good and bad, against real files, ports, locks and the emulators."""

from __future__ import annotations

import fcntl
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pushrpc.cli.children import Child, child
from pushrpc.cli.doctor import Finding, Verdict, certificate, clock, examine, ledger, ports, reach
from pushrpc.cli.playground import EMULATOR_READY
from pushrpc.config import Config
from pushrpc.emulator.authority import Authority
from pushrpc.exchange import Endpoint
from pushrpc.ledger.sqlite.store import SCHEMA_DIR
from pushrpc.words import Provider
from tests.cli.conftest import Run


def endpoint(emulator: Child, name: str = "fcm", ca_file: str = "") -> Endpoint:
    host, _, port = emulator.ready["endpoints"][name].removeprefix("https://").partition(":")
    return Endpoint(host, int(port), ca_file or emulator.ready["ca_file"])


async def test_a_working_set_up_is_all_good(tmp_path: Path) -> None:
    arguments = ("emulator", "--directory", str(tmp_path), "--json")
    async with child("the emulator", *arguments, ready_event=EMULATOR_READY) as emulator:
        environ = {"PUSHRPC_SERVER__LISTEN": "127.0.0.1:0"}
        findings = list(examine(Path(emulator.ready["config_file"]), environ, offline=False))
        assert not [f for f in findings if f.verdict is Verdict.BAD]
        about = " | ".join(f"{f.subject} {f.detail}" for f in findings)
        for part in (
            "APNS com.example.shop loads",
            "FCM shop-example loads",
            "reachable in",
            "clock agrees",
            "is free",
        ):
            assert part in about
        assert "reachable" not in str(list(examine(Path(emulator.ready["config_file"]), environ, offline=True)))
        # The same against the wrong trust root, and a port where nobody listens.
        assert reach(endpoint(emulator, ca_file=str(own_ca(tmp_path))), Provider.FCM).remedy.startswith("set ca_file")
        assert reach(endpoint(emulator)._replace(port=1), Provider.FCM).verdict is Verdict.BAD
    assert not (tmp_path / "pushrpc.db").exists()


def own_ca(directory: Path) -> Path:
    (directory / "other").mkdir()
    return Authority(directory / "other").ca_file


def test_mistakes_are_found_and_the_exit_code_says_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pushrpc.toml"
    file.write_text('[server]\nlog_levle = "x"\n[apps.shop.fcm]\nservice_account_file = "absent"\n')
    result = run("doctor", "--config", str(file), "--offline")
    assert result.exit_code == 1
    assert "bad\tserver.log_levle\tis not known\tdid you mean log_level?" in result.stdout.splitlines()
    as_json = run("doctor", "--config", str(file), "--offline", "--json")
    findings = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert {f["subject"] for f in findings if f["verdict"] == "bad"} == {
        "server.log_levle",
        "apps.shop.fcm.service_account_file",
    }


def test_a_key_file_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    (tmp_path / "google.json").write_text("{}")
    file = tmp_path / "pushrpc.toml"
    file.write_text('[apps.shop.fcm]\nservice_account_file = "google.json"\n')
    bad = [f for f in examine(file, {"PUSHRPC_SERVER__LISTEN": "127.0.0.1:0"}, True) if f.verdict is Verdict.BAD]
    assert len(bad) == 1 and bad[0].subject.startswith("apps.shop") and bad[0].remedy


@pytest.fixture
def pem(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "server.pem"
    Authority(tmp_path).issue_server(file, ["localhost"])
    yield file


@pytest.mark.parametrize(
    ("days", "verdict", "detail"),
    [
        (0, Verdict.WARNING, "ends in 29 days"),
        (-20, Verdict.BAD, "is not valid yet"),
        (28, Verdict.WARNING, "ends in 1 days"),
        (32, Verdict.BAD, "ended 3 days ago"),
    ],
)
def test_a_certificates_days_are_counted(pem: Path, days: int, verdict: Verdict, detail: str) -> None:
    found = certificate("server.tls", pem, pem, datetime.now(UTC) + timedelta(days=days))
    assert found.verdict is verdict and detail in found.detail and found.remedy


def test_a_certificate_needs_its_own_key(pem: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    Authority(tmp_path).issue_server(other, ["localhost"])
    (tmp_path / "text.pem").write_text("hello")
    now = datetime.now(UTC)
    assert "KEY_VALUES_MISMATCH" in certificate("server.tls", pem, other, now).detail
    assert certificate("server.tls", tmp_path / "text.pem", pem, now).verdict is Verdict.BAD


def test_a_port_in_use_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        (found,) = ports(Config(ledger_file="", apps={}, listen=listen))
        assert found.verdict is Verdict.BAD and "stop what listens there" in found.remedy
    found, metrics = ports(Config(ledger_file="", apps={}, listen=listen, metrics_listen="[::1]:0"))
    assert found.verdict is Verdict.GOOD and metrics.subject == "server.metrics_listen"


def test_the_ledgers_file_is_looked_at_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "push.db"
    assert ledger(file) == Finding(Verdict.GOOD, "server.ledger", f"{file} will be made")
    assert not file.exists()
    file.write_text("this is not a database" * 100)
    assert "file is not a database" in ledger(file).detail
    file.unlink()
    newest = len(list(SCHEMA_DIR.glob("*.sql")))
    told = {
        1: (Verdict.GOOD, f"{file}, schema 1; the next start makes it schema {newest}, which older releases refuse"),
        newest + 1: (Verdict.BAD, f"{file} has schema {newest + 1}, this release knows up to {newest}"),
        newest: (Verdict.GOOD, f"{file}, schema {newest}"),
    }
    for version, finding in told.items():
        with closing(sqlite3.connect(file)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        assert (ledger(file).verdict, ledger(file).detail) == finding
    lock_file = tmp_path / "push.db.lock"
    lock_file.touch()
    with lock_file.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use by another process" in ledger(file).detail
    assert ledger(file).verdict is Verdict.GOOD


def test_a_clock_nobody_can_confirm_is_a_warning() -> None:
    assert clock(Endpoint("127.0.0.1", 1)).verdict is Verdict.WARNING
