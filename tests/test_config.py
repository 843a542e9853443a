"""The configuration: every kind of mistake is found, all of them at once, and none of them shows a secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pushrpc.accounts import ApnsAccount, FcmAccount
from pushrpc.config import Config, ConfigError, Tls, read_config
from pushrpc.tables import Mistake, is_loopback, split_listen
from pushrpc.words import Environment

PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"
APNS = (
    '[apps.shop.apns]\nkey_file = "key.p8"\nkey_id = "K234567890"\nteam_id = "T234567890"\ntopic = "com.example.shop"\n'
)
FCM = '[apps.shop.fcm]\nservice_account_file = "google.json"\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("key.p8", "google.json", "cert.pem", "cert.key", "ca.pem"):
        (tmp_path / name).write_text(PEM)
    return tmp_path


def read(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    file = directory / "pushrpc.toml"
    file.write_text(text)
    return read_config(file, environ or {})


def mistakes(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> list[Mistake]:
    with pytest.raises(ConfigError) as raised:
        read(directory, text, environ)
    return list(raised.value.mistakes)


def test_the_smallest_file_has_the_documented_defaults(directory: Path) -> None:
    config = read(directory, FCM)
    assert config == Config(
        ledger_file=str(directory / "pushrpc.db"),
        apps={"shop": (FcmAccount("shop", str(directory / "google.json")),)},
        listen="127.0.0.1:50051",
        metrics_listen="",
        tls=None,
        insecure=False,
        reflection=True,
        log_level="info",
        event_retention_s=168 * 3600,
        request_id_retention_s=72 * 3600,
        in_flight_max=768,
        attempts_max=50,
        queue_max=2_000_000,
    )


def test_every_key_is_read(directory: Path) -> None:
    config = read(
        directory,
        """
        [server]
        listen = "0.0.0.0:443"
        metrics_listen = "[::1]:9090"
        ledger = "sqlite:///data.db"
        insecure = true
        reflection = false
        log_level = "debug"
        event_retention = "90m"
        request_id_retention = "2d"
        in_flight_max = 16
        attempts_max = 3
        queue_max = 1000
        [server.tls]
        cert_file = "cert.pem"
        key_file = "cert.key"
        client_ca_file = "ca.pem"
        [[apps.shop.apns]]
        key_file = "key.p8"
        key_id = "K"
        team_id = "T"
        topic = "com.example.shop"
        environment = "sandbox"
        endpoint = "https://127.0.0.1:8443/"
        ca_file = "ca.pem"
        [[apps.shop.apns]]
        cert_file = "cert.pem"
        cert_key_file = "cert.key"
        topic = "com.example.watch"
        [apps.shop.fcm]
        service_account_file = "google.json"
        endpoint = "https://localhost"
        ca_file = "ca.pem"
        """,
    )

    def at(name: str) -> str:
        return str(directory / name)

    assert config == Config(
        ledger_file=at("data.db"),
        listen="0.0.0.0:443",
        metrics_listen="[::1]:9090",
        tls=Tls(at("cert.pem"), at("cert.key"), at("ca.pem")),
        insecure=True,
        reflection=False,
        log_level="debug",
        event_retention_s=5400,
        request_id_retention_s=172_800,
        in_flight_max=16,
        attempts_max=3,
        queue_max=1000,
        apps={
            "shop": (
                ApnsAccount(
                    "shop",
                    "com.example.shop",
                    Environment.SANDBOX,
                    key_file=at("key.p8"),
                    key_id="K",
                    team_id="T",
                    endpoint="https://127.0.0.1:8443",
                    ca_file=at("ca.pem"),
                ),
                ApnsAccount("shop", "com.example.watch", cert_file=at("cert.pem"), cert_key_file=at("cert.key")),
                FcmAccount("shop", at("google.json"), "https://localhost", at("ca.pem")),
            )
        },
    )


def test_five_mistakes_are_five_reports(directory: Path) -> None:
    text = """
        [server]
        listen = "0.0.0.0:50051"
        log_levle = "debug"
        event_retention = "a week"
        [apps.shop.apns]
        key_file = "absent.p8"
        key_id = "K"
        topic = "com.example.shop"
        """
    found = mistakes(directory, text)
    assert [m.key for m in found] == [
        "server.listen",
        "server.event_retention",
        "server.log_levle",
        "apps.shop.apns.key_file",
        "apps.shop.apns.team_id",
    ]
    assert found[2].remedy == "did you mean log_level?"
    assert all(m.problem and m.remedy for m in found)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("[server]\nlisten = 5", "server.listen", "is not a text"),
        ('[server]\nlisten = ""', "server.listen", "an empty one"),
        ('[server]\nlisten = "127.0.0.1"', "server.listen", "is not host:port"),
        ('[server]\nlisten = "127.0.0.1:70000"', "server.listen", "is not host:port"),
        ('[server]\nlisten = "[::zz]:1"', "server.listen", "is not host:port"),
        ('[server]\nlisten = "push.example.com:50051"', "server.listen", "in plain text"),
        ('[server]\nlisten = "[::]:50051"', "server.listen", "in plain text"),
        ('[server]\nmetrics_listen = "127.0.0.1:50051"', "server.metrics_listen", "same address"),
        ('[server]\nledger = "postgresql://u:hunter2@db/push"', "server.ledger", "not the address of an SQLite file"),
        ('[server]\nledger = "sqlite:///"', "server.ledger", "not the address of an SQLite file"),
        ('[server]\nledger = "sqlite:///absent/push.db"', "server.ledger", "does not exist"),
        ('[server]\nledger = "sqlite:////"', "server.ledger", "not the address of an SQLite file"),
        ('[server]\ninsecure = "yes"', "server.insecure", "is not true or false"),
        ("[server]\ninsecure = []", "server.insecure", "is not true or false"),
        ("[server]\nreflection = 1", "server.reflection", "is not true or false"),
        ('[server]\nlog_level = "loud"', "server.log_level", '"loud" is not one of debug, info, warning, error'),
        ('[server]\nevent_retention = "1w"', "server.event_retention", "is not a span"),
        ('[server]\nevent_retention = "59s"', "server.event_retention", "is not a span"),
        ('[server]\nrequest_id_retention = "99999d"', "server.request_id_retention", "is not a span"),
        ("[server]\nin_flight_max = 0", "server.in_flight_max", "is not a whole number from 1 to 100000"),
        ("[server]\nin_flight_max = true", "server.in_flight_max", "is not a whole number"),
        ("[server]\nattempts_max = 1001", "server.attempts_max", "is not a whole number from 1 to 1000"),
        ("[server]\nqueue_max = 1.5", "server.queue_max", "is not a whole number"),
        ('[server.tls]\ncert_file = "cert.pem"', "server.tls.key_file", "is missing"),
        ('[server.tls]\nclient_ca_file = "ca.pem"', "server.tls.cert_file", "is missing"),
        ('[server.tls]\nkey = "cert.pem"', "server.tls.key", "is not known"),
        ("[servers]\nlisten = 1", "servers", "is not known"),
        ("server = 1", "server", "is not a table"),
        ("apps = 1", "apps", "is not a table"),
        ("[apps.Shop.fcm]\nservice_account_file = 'google.json'", "apps.Shop", "is no app id"),
        ("[apps.empty]", "apps.empty", "has no provider"),
        ("[apps.other.fcn]", "apps.other.fcn", "is not known"),
        ("[apps.other.gcm]", "apps.other.gcm", "is switched off"),
        ("[apps.other]\nfcm = []", "apps.other.fcm", "is not a table or an array of tables"),
        ("[apps.other]\nfcm = [1]", "apps.other.fcm", "is not a table or an array of tables"),
        ("[apps.other]\nfcm = 1", "apps.other.fcm", "is not a table"),
        ("[apps.other.fcm]", "apps.other.fcm.service_account_file", "is missing"),
        ("[apps.other.fcm]\nservice_account_file = '.'", "apps.other.fcm.service_account_file", "cannot be read"),
        (
            f"[apps.other.fcm]\nservice_account_file = '{'x' * 300}'",
            "apps.other.fcm.service_account_file",
            "(File name too long)",
        ),
        (
            '[apps.other.fcm]\nservice_account_file = "a\\u0000b"',
            "apps.other.fcm.service_account_file",
            "(hidden) cannot be read (not a path)",
        ),
        ("[apps.other.wns]\nclient_id = 'x'", "apps.other.wns.client_secret_file", "is missing"),
        ("[apps.other.web_push]", "apps.other.web_push.vapid_key_file", "is missing"),
        ("[apps.other.web_push]\nhosts = 'a.example, '", "apps.other.web_push.hosts", "is not a list of texts"),
        ("[apps.other.hms]", "apps.other.hms.app_id", "is missing"),
        ("[apps.other.notification_hubs]", "apps.other.notification_hubs.hub", "is missing"),
        ("[apps.other.apns]", "apps.other.apns.topic", "is missing"),
        ("[[apps.other.apns]]\ntopic = 'a'\ncert_file = 'cert.pem'", "apps.other.apns[0].cert_key_file", "is missing"),
        (f"{APNS.replace('shop', 'other')}cert_file = 'cert.pem'", "apps.other.apns", "a token key and a certificate"),
        (f"{APNS.replace('shop', 'other')}environment = 'test'", "apps.other.apns.environment", "is not one of"),
        (
            f"{APNS.replace('shop', 'other')}endpoint = 'http://a'",
            "apps.other.apns.endpoint",
            "is not https://host:port",
        ),
        (f"{APNS.replace('shop', 'other')}endpoint = 'https://a:b'", "apps.other.apns.endpoint", "is not https://"),
        (f"{APNS.replace('shop', 'other')}endpoint = 'https://a/v1'", "apps.other.apns.endpoint", "is not https://"),
        (
            f"{APNS.replace('shop', 'other')}endpoint = 'https://u:hunter2@a'",
            "apps.other.apns.endpoint",
            "is not https",
        ),
        (f"{APNS.replace('shop', 'other')}ca_file = 'absent'", "apps.other.apns.ca_file", '"absent" cannot be read'),
        ("[[apps.other.fcm]]\nservice_account_file = 'google.json'\n" * 2, "apps.other", "has two accounts for"),
    ],
)
def test_each_kind_of_mistake(directory: Path, text: str, key: str, problem: str) -> None:
    found = mistakes(directory, f"{text}\n{FCM}" if "apps = 1" not in text else text)
    assert key in [m.key for m in found]
    assert problem in next(m.problem for m in found if m.key == key)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(("retired", "successor"), [("gcm", "fcm"), ("mpns", "wns")])
def test_services_that_are_gone_are_answered_with_their_successors(
    directory: Path, retired: str, successor: str
) -> None:
    (found,) = mistakes(directory, f"[apps.shop.{retired}]\nauth_key = 'x'\n{FCM}")
    assert (found.key, found.problem) == (f"apps.shop.{retired}", "is switched off")
    assert found.remedy.startswith(f"write [apps.shop.{successor}]")


@pytest.mark.parametrize(("text", "problem"), [("[server\n", "is not TOML"), (None, "cannot be read")])
def test_a_file_that_cannot_be_read_at_all_is_one_mistake(directory: Path, text: str | None, problem: str) -> None:
    file = directory / "pushrpc.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config(file, {})
    (mistake,) = raised.value.mistakes
    assert problem in mistake.problem and mistake.key == str(file)


def test_a_file_that_is_no_text_is_one_mistake(directory: Path) -> None:
    file = directory / "pushrpc.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_config(file, {})


def test_no_app_is_a_mistake(directory: Path) -> None:
    assert [m.key for m in mistakes(directory, "")] == ["apps"]


def test_the_environment_overrides_the_file(directory: Path) -> None:
    environ = {
        "PUSHRPC_SERVER__LISTEN": "127.0.0.1:1",
        "PUSHRPC_SERVER__INSECURE": "true",
        "PUSHRPC_SERVER__REFLECTION": "false",
        "PUSHRPC_SERVER__IN_FLIGHT_MAX": "7",
        "PUSHRPC_APPS__SHOP__APNS__KEY_ID": "1234567890",
        "PUSHRPC_APPS__SHOP__APNS__KEY_FILE": "key.p8",
        "PUSHRPC_TARGET": "elsewhere:1",
        "HOME": "/",
    }
    config = read(directory, '[server]\nlisten = "127.0.0.1:2"\n' + APNS, environ)
    assert (config.listen, config.insecure, config.reflection, config.in_flight_max) == ("127.0.0.1:1", True, False, 7)
    (account,) = config.apps["shop"]
    assert isinstance(account, ApnsAccount)
    assert (account.key_id, account.key_file) == ("1234567890", str(directory / "key.p8"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("PUSHRPC_SERVER__LISTNE", "server.listne (from PUSHRPC_SERVER__LISTNE)"),
        ("PUSHRPC_SERVRE__LISTEN", "servre (from PUSHRPC_SERVRE__LISTEN)"),
        ("PUSHRPC_SERVER__LISTEN", "server.listen (from PUSHRPC_SERVER__LISTEN)"),
        ("PUSHRPC_APPS__SHOP__FCM", "apps.shop.fcm"),
        ("PUSHRPC_APPS__SHOP__FCM__SERVICE_ACCOUNT_FILE__X", "apps.shop.fcm.service_account_file.x"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(directory: Path, name: str, key: str) -> None:
    (mistake,) = mistakes(directory, FCM, {name: "nonsense"})
    assert mistake.key == key and (name in str(mistake))


def test_a_key_in_place_of_a_file_name_is_never_shown(directory: Path) -> None:
    text = f"""
        [apps.shop.fcm]
        service_account_file = '''{PEM}'''
        private_key = '''{PEM}'''
        [apps.other.fcm]
        service_account_file = '{{"private_key": "MIGHAgEAMBMGByqGSM49"}}'
        """
    with pytest.raises(ConfigError) as raised:
        read(directory, text)
    assert len(raised.value.mistakes) == 3
    assert "MIGH" not in str(raised.value) and "MIGH" not in repr(raised.value.mistakes)


def test_printing_a_configuration_shows_no_file_content(directory: Path) -> None:
    assert "MIGH" not in repr(read(directory, APNS + FCM))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_address_is_split_into_host_and_port() -> None:
    assert split_listen("[::1]:50051") == ("::1", 50051)
    assert split_listen("localhost:0") == ("localhost", 0)
