"""What cannot be served is said in a clear line, with an exit code, before anything opens."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushrpc.emulator import Emulator
from pushrpc.server import prepare
from tests.e2e.running import ServerProcess, Tls, apps_at
from tests.tls import make_authority


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator.start(tmp_path) as running:
        yield running


async def refused(config_file: Path) -> str:
    """Runs the server, which must end by itself with an error, and returns what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pushrpc", "serve", "--config", str(config_file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    text = said.decode()
    assert process.returncode not in (0, None), text
    assert "Traceback" not in text
    return text


async def test_five_mistakes_are_reported_together_and_nothing_is_opened(tmp_path: Path) -> None:
    config_file = tmp_path / "pushrpc.toml"
    config_file.write_text(
        """
        [server]
        listen = "0.0.0.0:50051"
        log_level = "loud"
        legder = "sqlite:///x.db"
        [apps.Shop.apns]
        key_file = "missing.p8"
        key_id = "ABC123DEFG"
        team_id = "DEF123GHIJ"
        topic = "com.example.shop"
        """
    )
    text = await refused(config_file)
    for word in ("server.listen", "server.log_level", "server.legder", "apps.Shop", "key_file"):
        assert word in text, text
    assert not list(tmp_path.glob("*.db*"))


async def test_mistakes_in_the_file_and_in_what_it_names_are_told_together(tmp_path: Path, emulator: Emulator) -> None:
    for name in ("key.p8", "service.json", "tls.pem", "tls.key"):
        (tmp_path / name).write_text("junk")
    config_file = tmp_path / "pushrpc.toml"
    config_file.write_text(
        """
        [server]
        log_level = "loud"
        legder = "sqlite:///x.db"
        [server.tls]
        cert_file = "tls.pem"
        key_file = "tls.key"
        [apps.shop.apns]
        key_file = "key.p8"
        key_id = "ABC123DEFG"
        topic = "com.example.shop"
        [apps.shop.fcm]
        service_account_file = "service.json"
        """
    )
    text = await refused(config_file)
    keys = ("server.log_level", "server.legder", "server.tls.cert_file", "apps.shop.apns.key_file")
    for key in (*keys, "apps.shop.apns.team_id", "apps.shop.fcm.service_account_file"):
        assert f"\n  {key}:" in text, text
    assert "6 mistakes" in text


async def test_values_and_files_of_one_account_are_told_together(tmp_path: Path) -> None:
    for name in ("two.lines", "vapid.pem", "hub.connection"):
        (tmp_path / name).write_text("junk\nand more")
    config_file = tmp_path / "pushrpc.toml"
    config_file.write_text(
        """
        [apps.shop.wns]
        client_id = "no-package-sid"
        client_secret_file = "two.lines"
        [apps.shop.web_push]
        vapid_key_file = "vapid.pem"
        subject = "nobody"
        [apps.shop.hms]
        app_id = "no number"
        client_secret_file = "two.lines"
        [apps.shop.notification_hubs]
        connection_string_file = "hub.connection"
        hub = "/"
        """
    )
    text = await refused(config_file)
    for key in (
        *("wns.client_id", "wns.client_secret_file", "web_push.subject", "web_push.vapid_key_file"),
        *("hms.app_id", "hms.client_secret_file", "notification_hubs.hub", "notification_hubs.connection_string_file"),
    ):
        assert f"\n  apps.shop.{key}:" in text, text
    assert "8 mistakes" in text


async def test_a_tls_key_of_another_certificate_is_named(tmp_path: Path, emulator: Emulator) -> None:
    authority = make_authority(tmp_path)
    (cert_file, _), (_, key_file) = authority.issue(["localhost"]), authority.issue(["127.0.0.1"])
    tls = Tls(str(cert_file), str(key_file), "")
    text = await refused(ServerProcess(tmp_path, apps_at(emulator), tls).config_file)
    assert "server.tls.key_file: is not the key of cert_file" in text


async def test_an_unreadable_key_names_the_setting(tmp_path: Path, emulator: Emulator) -> None:
    apps = apps_at(emulator)
    key_file = tmp_path / "not-a-key.p8"
    key_file.write_text("not a key")
    apps["shop"]["apns"]["key_file"] = key_file
    text = await refused(ServerProcess(tmp_path, apps).config_file)
    assert "apps.shop.apns.key_file:" in text
    assert not (tmp_path / "ledger.db").exists()


async def test_a_ledger_of_a_newer_schema_is_left_alone(tmp_path: Path, emulator: Emulator) -> None:
    server = ServerProcess(tmp_path, apps_at(emulator))
    await server.start()
    assert await server.stop() == 0
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        ledger.execute("PRAGMA user_version = 999")
    ledger.close()
    text = await refused(server.config_file)
    assert "ledger.db" in text
    assert "999" in text


async def test_a_second_process_on_the_same_ledger_is_refused_and_the_first_goes_on(
    tmp_path: Path, emulator: Emulator
) -> None:
    apps = apps_at(emulator)
    async with ServerProcess(tmp_path, apps) as first:
        (tmp_path / "second").mkdir()
        second = ServerProcess(tmp_path / "second", apps, ledger=f"sqlite:///{tmp_path}/ledger.db")
        text = await refused(second.config_file)
        assert "ledger.db" in text
        assert await first.stop() == 0


async def test_a_port_that_is_taken_is_named(tmp_path: Path, emulator: Emulator) -> None:
    apps = apps_at(emulator)
    async with ServerProcess(tmp_path, apps) as first:
        (tmp_path / "second").mkdir()
        second = ServerProcess(tmp_path / "second", apps, listen=first.target)
        assert first.target in await refused(second.config_file)


HUB_FILE = "Endpoint=sb://{0}.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey=a2V5\n"


async def test_one_hub_for_two_apps_is_refused_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "shop.connection").write_text(HUB_FILE.format("shop-ns"))
    (tmp_path / "game.connection").write_text(HUB_FILE.format("Shop-NS"))  # another policy of the same namespace
    config_file = tmp_path / "pushrpc.toml"
    config_file.write_text(
        """
        [apps.shop.notification_hubs]
        connection_string_file = "shop.connection"
        hub = "hub"
        [apps.game.notification_hubs]
        connection_string_file = "game.connection"
        hub = "Hub"
        """
    )
    text = " ".join((await refused(config_file)).split())
    assert "apps.game.notification_hubs: shop-ns/Hub is the hub of app shop too" in text, text
    assert "give game a hub of its own" in text, text
    assert not list(tmp_path.glob("*.db*"))


@pytest.mark.parametrize(
    ("namespace", "hub", "more"),
    [("shop-ns", "other", ""), ("game-ns", "hub", ""), ("shop-ns", "hub", 'endpoint = "https://127.0.0.1:8443"')],
)
def test_hubs_of_their_own_may_be_alike(tmp_path: Path, namespace: str, hub: str, more: str) -> None:
    (tmp_path / "shop.connection").write_text(HUB_FILE.format("shop-ns"))
    (tmp_path / "game.connection").write_text(HUB_FILE.format(namespace))
    config_file = tmp_path / "pushrpc.toml"
    config_file.write_text(
        f"""
        [apps.shop.notification_hubs]
        connection_string_file = "shop.connection"
        hub = "hub"
        [apps.game.notification_hubs]
        connection_string_file = "game.connection"
        hub = "{hub}"
        {more}
        """
    )
    _, accounts = prepare(config_file, {})
    assert set(accounts) == {"shop", "game"}
