"""The configuration: read once, checked whole, frozen. Every mistake is reported together, before anything opens.

TOML file, then environment: `PUSHRPC_SERVER__LISTEN` stands for `server.listen`; names without `__` are not ours.
Relative file paths, from either, are relative to the configuration file. What could be a key is never shown.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pushrpc.model import Account, ApnsAccount, FcmAccount
from pushrpc.words import Environment

APP_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
ENVIRONMENT_PREFIX = "PUSHRPC_"
LEDGER_SCHEME = "sqlite:///"
LOG_LEVELS = ("debug", "info", "warning", "error")
PROVIDERS_TO_COME = ("wns", "web_push", "hms", "notification_hubs")
HOUR_S = 3600
_SPAN = re.compile(r"(\d{1,9})(s|m|h|d)")
_SPAN_UNIT_S = {"s": 1, "m": 60, "h": HOUR_S, "d": 24 * HOUR_S}


class Mistake(NamedTuple):
    """One thing wrong: which key (dotted), what is wrong with it, and what to do."""

    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}; {self.remedy}"


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
    reading = _Reading(path.absolute().parent)
    _apply_environment(raw, environ, reading)
    root = _Table(reading, "", raw)
    server = _server(root.table("server"))
    apps = {app_id: tuple(_app(app_id, app)) for app_id, app in root.table("apps").tables()}
    if not raw.get("apps"):
        reading.wrong("apps", "no app is configured", "add a table such as [apps.shop.apns]")
    root.refuse_unknown()
    config = replace(server, apps=apps)
    if reading.mistakes:
        raise ConfigError(path, reading.mistakes, config)
    return config


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost counts as reachable by others."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(listen)
    if ":" in host:
        ipaddress.IPv6Address(host)
    return host, int(port)


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


def _apply_environment(raw: dict[str, Any], environ: Mapping[str, str], reading: _Reading) -> None:
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


def _server(table: _Table) -> Config:
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


def _ledger_file(table: _Table) -> str:
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


def _app(app_id: str, table: _Table) -> list[Account]:
    if not APP_ID.fullmatch(app_id):
        table.reading.wrong(
            table.key, "is no app id", "use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit"
        )
    accounts: list[Account] = [_apns(app_id, each) for each in table.accounts("apns")]
    accounts += [_fcm(app_id, each) for each in table.accounts("fcm")]
    for name in PROVIDERS_TO_COME:
        if table.accounts(name):
            table.wrong(name, "this release has APNs and FCM only", "remove it, or use a later release")
    if not table.raw:
        table.reading.wrong(table.key, "has no provider", f"add [{table.key}.apns] or [{table.key}.fcm]")
    table.refuse_unknown()
    seen: set[str] = set()
    for account in accounts:
        name = account.topic if isinstance(account, ApnsAccount) else account.service_account_file
        if name and name in seen:
            table.reading.wrong(table.key, f"has two accounts for {name}", "keep one of them")
        seen.add(name)
    return accounts


def _apns(app_id: str, table: _Table) -> ApnsAccount:
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


def _fcm(app_id: str, table: _Table) -> FcmAccount:
    account = FcmAccount(app_id, table.file("service_account_file"), table.endpoint(), table.file("ca_file"), table.key)
    table.require("service_account_file")
    table.refuse_unknown()
    return account


@dataclass(slots=True)
class _Reading:
    """What one reading gathers: mistakes, and which keys came from the environment."""

    directory: Path
    mistakes: list[Mistake] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def wrong(self, key: str, problem: str, remedy: str) -> None:
        origin = self.origins.get(key)
        self.mistakes.append(Mistake(f"{key} (from {origin})" if origin else key, problem, remedy))


@dataclass(slots=True)
class _Table:
    """One table of the file. What is asked for is what is known; the rest is refused at the end."""

    reading: _Reading
    key: str
    raw: dict[str, Any]
    asked: list[str] = field(default_factory=list)

    def wrong(self, name: str, problem: str, remedy: str) -> None:
        self.reading.wrong(self._dotted(name), problem, remedy)

    def table(self, name: str) -> _Table:
        self.asked.append(name)
        value = self.raw.get(name, {})
        if not isinstance(value, dict):
            self.wrong(name, "is not a table", f"write [{self._dotted(name)}] and its keys below")
        return _Table(self.reading, self._dotted(name), value if isinstance(value, dict) else {})

    def tables(self) -> list[tuple[str, _Table]]:
        """Every table in this one, by its name."""
        return [(name, self.table(name)) for name in self.raw]

    def accounts(self, name: str) -> list[_Table]:
        """A provider's tables: none, one, or an array of them, numbered from 0."""
        value = self.raw.get(name, [])
        if not isinstance(value, list):
            return [self.table(name)]
        self.asked.append(name)
        if name in self.raw and (not value or not all(isinstance(each, dict) for each in value)):
            self.wrong(name, "is not a table or an array of tables", f"write [{self._dotted(name)}] and its keys below")
            return []
        return [_Table(self.reading, f"{self._dotted(name)}[{i}]", each) for i, each in enumerate(value)]

    def text(self, name: str) -> str:
        self.asked.append(name)
        value = self.raw.get(name, "")
        if isinstance(value, str) and (value or name not in self.raw):
            return value
        self.wrong(name, "is not a text, or an empty one", f'write {name} = "…", or leave it out')
        return ""

    def one_of(self, name: str, default: str, allowed: Sequence[str]) -> str:
        value = self.text(name) or default
        if value in allowed:
            return value
        self.wrong(name, f"{_shown(value)} is not one of {', '.join(allowed)}", "choose one of them")
        return default

    def flag(self, name: str, default: bool) -> bool:
        self.asked.append(name)
        value = self.raw.get(name, default)
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):  # values from the environment are texts
            return bool(value == "true")
        self.wrong(name, "is not true or false", f"write {name} = {str(default).lower()}")
        return default

    def number(self, name: str, default: int, most: int) -> int:
        self.asked.append(name)
        value = self.raw.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        self.wrong(name, f"is not a whole number from 1 to {most}", f"write one; {default} is the default")
        return default

    def span_s(self, name: str, default_s: int, least_s: int) -> int:
        value = self.text(name)
        if not value:
            return default_s
        matched = _SPAN.fullmatch(value)
        span_s = int(matched[1]) * _SPAN_UNIT_S[matched[2]] if matched else 0
        if least_s <= span_s <= 3650 * 24 * HOUR_S:
            return span_s
        self.wrong(
            name, f"{_shown(value)} is not a span of {least_s}s to 3650d", 'write a number and s, m, h or d: "168h"'
        )
        return default_s

    def address(self, name: str, default: str) -> str:
        value = self.text(name) or default
        try:
            if value:
                split_listen(value)
        except ValueError:
            self.wrong(name, f"{_shown(value)} is not host:port", 'write "127.0.0.1:50051" or "[::1]:50051"')
            return ""
        return value

    def endpoint(self) -> str:
        value = self.text("endpoint")
        try:
            url = urlsplit(value)
            bad = bool(value) and (
                url.scheme != "https" or not url.hostname or "@" in url.netloc or url.path.strip("/") or url.query
            )
            _ = url.port
        except ValueError:
            bad = True
        if bad:
            # Not shown: it may hold a password.
            self.wrong("endpoint", "is not https://host:port", "credentials travel there, so only https, and no path")
        return "" if bad else value.rstrip("/")

    def file(self, name: str) -> str:
        """The absolute path of a file that can be read, empty when not set or not readable."""
        value = self.text(name)
        if not value:
            return ""
        file = self.reading.directory / value
        try:
            with file.open("rb"):
                return str(file)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a path"
            remedy = f"name a readable file, relative to {self.reading.directory}"
            self.wrong(name, f"{_shown(value)} cannot be read ({why})", remedy)
            return ""

    def has(self, *names: str) -> bool:
        return any(name in self.raw for name in names)

    def require(self, *names: str) -> None:
        for name in names:
            if name not in self.raw:
                self.wrong(name, "is missing", f"set it in [{self.key}]")

    def refuse_unknown(self) -> None:
        for name in self.raw:
            if name in self.asked:
                continue
            near = difflib.get_close_matches(name, self.asked, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(self.asked)}"
            self.wrong(name, "is not known", remedy)

    def _dotted(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


def _shown(value: str) -> str:
    """A value for an error text. Somebody may have put the key itself where its file's name belongs."""
    if len(value) > 200 or "-----" in value or not value.isprintable() or value.startswith("{"):
        return "(hidden)"
    return f'"{value}"'
