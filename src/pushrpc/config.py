"""The configuration: read once, checked whole, frozen. Every mistake is reported together, before anything opens.

TOML file, then environment: `PUSHRPC_SERVER__LISTEN` stands for `server.listen`; names without `__` are not ours.
Relative file paths, from either, are relative to the configuration file. What could be a key is never shown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from pushrpc.accounts import Account, ApnsAccount, FcmAccount, HmsAccount, HubAccount, WebPushAccount, WnsAccount
from pushrpc.tables import HOUR_S, Mistake, Reading, Table, is_loopback, split_listen
from pushrpc.words import Environment

APP_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
ENVIRONMENT_PREFIX = "PUSHRPC_"
LEDGER_SCHEME = "sqlite:///"
LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """Every mistake of a configuration, in the order of the file.

    `readable` is what could be read all the same, so that the files it names can be checked too; never to be served.
    """

    def __init__(self, path: Path, mistakes: Sequence[Mistake], readable: Config | None = None) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.path = path
        self.mistakes = tuple(mistakes)
        self.readable = readable


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. With `client_ca_file` callers must show a certificate that it signed."""

    cert_file: str
    key_file: str
    client_ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """`listen` and `metrics_listen` are host:port, port 0 any free one; no `metrics_listen`, no metrics server.

    `ledger_file` is absolute. `in_flight_max` is per lane, `queue_max` counts open deliveries of the whole server.
    An app's accounts keep the order of the file: its first one at a provider is its default there.
    """

    ledger_file: str
    apps: Mapping[str, tuple[Account, ...]]
    listen: str = "127.0.0.1:50051"
    metrics_listen: str = ""
    tls: Tls | None = None
    insecure: bool = False
    reflection: bool = True
    log_level: str = "info"
    event_retention_s: int = 168 * HOUR_S
    request_id_retention_s: int = 72 * HOUR_S
    in_flight_max: int = 768
    attempts_max: int = 50
    queue_max: int = 2_000_000


_DEFAULT = Config(ledger_file="pushrpc.db", apps={})


def read_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Reads and checks everything. Raises ConfigError."""
    raw = _parse(path)
    reading = Reading(path.absolute().parent)
    _apply_environment(raw, environ, reading)
    root = Table(reading, "", raw)
    server = _server(root.table("server"))
    apps = {app_id: tuple(_app(app_id, app)) for app_id, app in root.table("apps").tables()}
    if not raw.get("apps"):
        reading.wrong("apps", "no app is configured", "add a table such as [apps.shop.apns]")
    root.refuse_unknown()
    config = replace(server, apps=apps)
    if reading.mistakes:
        raise ConfigError(path, reading.mistakes, config)
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problem, remedy = f"cannot be read ({error.strerror})", "name an existing, readable TOML file with --config"
    except UnicodeDecodeError:
        problem, remedy = "is not UTF-8 text", "save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem, remedy = f"is not TOML: {error}", "correct that line; nothing else was checked"
    raise ConfigError(path, [Mistake(str(path), problem, remedy)])


def _apply_environment(raw: dict[str, Any], environ: Mapping[str, str], reading: Reading) -> None:
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        *tables, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        at: Any = raw
        for depth, table in enumerate(tables, 1):
            if isinstance(at, dict) and table not in at:
                reading.origins[".".join(tables[:depth])] = name
            at = at.setdefault(table, {}) if isinstance(at, dict) else None
        if isinstance(at, dict) and not isinstance(at.get(key), dict | list):
            at[key] = environ[name]
            reading.origins[".".join([*tables, key])] = name
        else:
            dotted = ".".join([*tables, key])
            reading.wrong(dotted, f"{name} names no single value", "unset it, and set an array or table in the file")


def _server(table: Table) -> Config:
    listen = table.address("listen", _DEFAULT.listen)
    metrics_listen = table.address("metrics_listen", "")
    tls = table.table("tls")
    files = Tls(tls.file("cert_file"), tls.file("key_file"), tls.file("client_ca_file"))
    if any((files.cert_file, files.key_file, files.client_ca_file)):
        tls.require("cert_file", "key_file")
    tls.refuse_unknown()
    insecure = table.flag("insecure", _DEFAULT.insecure)
    if listen and not files.cert_file and not insecure and not is_loopback(split_listen(listen)[0]):
        problem = f"{listen} is reachable from other machines, in plain text"
        table.wrong(
            "listen", problem, "set server.tls.cert_file and key_file, listen on 127.0.0.1, or set insecure = true"
        )
    if metrics_listen and metrics_listen == listen and not listen.endswith(":0"):
        table.wrong("metrics_listen", "is the same address as listen", "give metrics a port of their own")
    config = Config(
        ledger_file=_ledger_file(table),
        apps={},
        listen=listen,
        metrics_listen=metrics_listen,
        tls=files if files.cert_file else None,
        insecure=insecure,
        reflection=table.flag("reflection", _DEFAULT.reflection),
        log_level=table.one_of("log_level", _DEFAULT.log_level, LOG_LEVELS),
        # Shorter than a minute, and a follower that reconnects could never catch up.
        event_retention_s=table.span_s("event_retention", _DEFAULT.event_retention_s, least_s=60),
        request_id_retention_s=table.span_s("request_id_retention", _DEFAULT.request_id_retention_s, least_s=60),
        in_flight_max=table.number("in_flight_max", _DEFAULT.in_flight_max, most=100_000),
        attempts_max=table.number("attempts_max", _DEFAULT.attempts_max, most=1_000),
        queue_max=table.number("queue_max", _DEFAULT.queue_max, most=1_000_000_000),
    )
    table.refuse_unknown()
    return config


def _ledger_file(table: Table) -> str:
    url = table.text("ledger") or LEDGER_SCHEME + _DEFAULT.ledger_file
    name = url.removeprefix(LEDGER_SCHEME)
    if name == url or not name or name.endswith("/"):
        # Not shown: the address of a database may hold its password.
        remedy = 'write "sqlite:///file.db", relative to this file, or "sqlite:////absolute/file.db"'
        table.wrong("ledger", "is not the address of an SQLite file, the only ledger of this release", remedy)
        return ""
    file = table.reading.directory / name
    if not file.parent.is_dir():
        table.wrong("ledger", f"the directory {file.parent} does not exist", "create it or name another")
    elif file.is_dir():
        table.wrong("ledger", f"{file} is a directory", "name a file in it")
    return str(file)


def _app(app_id: str, table: Table) -> list[Account]:
    if not APP_ID.fullmatch(app_id):
        table.reading.wrong(
            table.key, "is no app id", "use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit"
        )
    accounts: list[Account] = [_apns(app_id, each) for each in table.accounts("apns")]
    accounts += [_fcm(app_id, each) for each in table.accounts("fcm")]
    accounts += [_wns(app_id, each) for each in table.accounts("wns")]
    accounts += [_web_push(app_id, each) for each in table.accounts("web_push")]
    accounts += [_hms(app_id, each) for each in table.accounts("hms")]
    accounts += [_hub(app_id, each) for each in table.accounts("notification_hubs")]
    if not table.raw:
        table.reading.wrong(table.key, "has no provider", f"add [{table.key}.apns], [{table.key}.fcm] or another")
    table.refuse_unknown(
        {
            "gcm": f"write [{table.key}.fcm]: Firebase Cloud Messaging took its tokens over",
            "mpns": f"write [{table.key}.wns]: Windows Push Notification Services followed it, with new channels",
        }
    )
    seen: set[tuple[type[Account], str]] = set()
    for account in accounts:
        name = _NAMES[type(account)](account)
        if name and (type(account), name) in seen:
            table.reading.wrong(table.key, f"has two accounts for {name}", "keep one of them")
        seen.add((type(account), name))
    return accounts


# What tells an app's accounts at one provider apart.
_NAMES: Mapping[type[Account], Callable[[Any], str]] = {
    ApnsAccount: attrgetter("topic"),
    FcmAccount: attrgetter("service_account_file"),
    WnsAccount: attrgetter("client_id"),
    WebPushAccount: attrgetter("vapid_key_file"),
    HmsAccount: attrgetter("hms_app_id"),
    HubAccount: attrgetter("hub"),
}


def _apns(app_id: str, table: Table) -> ApnsAccount:
    """A token key or a certificate, as Apple's "Establishing a connection to APNs" offers them; never both."""
    environments = {"production": Environment.PRODUCTION, "sandbox": Environment.SANDBOX}
    account = ApnsAccount(
        app_id=app_id,
        topic=table.text("topic"),
        environment=environments[table.one_of("environment", "production", tuple(environments))],
        key_file=table.file("key_file"),
        key_id=table.text("key_id"),
        team_id=table.text("team_id"),
        cert_file=table.file("cert_file"),
        cert_key_file=table.file("cert_key_file"),
        endpoint=table.endpoint(),
        ca_file=table.file("ca_file"),
        table=table.key,
    )
    table.require("topic")
    by_token = table.has("key_file", "key_id", "team_id")
    by_certificate = table.has("cert_file", "cert_key_file")
    if by_token and by_certificate:
        remedy = "keep key_file, key_id and team_id, or cert_file and cert_key_file"
        table.reading.wrong(table.key, "has a token key and a certificate", remedy)
    elif by_certificate:
        table.require("cert_file", "cert_key_file")
    else:
        table.require("key_file", "key_id", "team_id")
    table.refuse_unknown()
    return account


def _fcm(app_id: str, table: Table) -> FcmAccount:
    account = FcmAccount(app_id, table.file("service_account_file"), table.endpoint(), table.file("ca_file"), table.key)
    table.require("service_account_file")
    table.refuse_unknown()
    return account


def _wns(app_id: str, table: Table) -> WnsAccount:
    account = WnsAccount(
        app_id,
        client_id=table.text("client_id"),
        client_secret_file=table.file("client_secret_file"),
        tenant_id=table.text("tenant_id"),
        endpoint=table.endpoint(),
        ca_file=table.file("ca_file"),
        table=table.key,
    )
    table.require("client_id", "client_secret_file")
    table.refuse_unknown()
    return account


def _web_push(app_id: str, table: Table) -> WebPushAccount:
    account = WebPushAccount(
        app_id,
        vapid_key_file=table.file("vapid_key_file"),
        subject=table.text("subject"),
        hosts=table.texts("hosts"),
        endpoint=table.endpoint(),
        ca_file=table.file("ca_file"),
        table=table.key,
    )
    table.require("vapid_key_file", "subject")
    table.refuse_unknown()
    return account


def _hms(app_id: str, table: Table) -> HmsAccount:
    account = HmsAccount(
        app_id,
        hms_app_id=table.text("app_id"),
        client_secret_file=table.file("client_secret_file"),
        endpoint=table.endpoint(),
        ca_file=table.file("ca_file"),
        table=table.key,
    )
    table.require("app_id", "client_secret_file")
    table.refuse_unknown()
    return account


def _hub(app_id: str, table: Table) -> HubAccount:
    account = HubAccount(
        app_id,
        connection_string_file=table.file("connection_string_file"),
        hub=table.text("hub"),
        endpoint=table.endpoint(),
        ca_file=table.file("ca_file"),
        table=table.key,
    )
    table.require("connection_string_file", "hub")
    table.refuse_unknown()
    return account
