"""pushrpc doctor: what would keep a server from working here, and what to do about it."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

import click
import grpc
from cryptography import x509
from rich.table import Table
from rich.text import Text

from pushrpc import __version__
from pushrpc.accounts import ApnsAccount
from pushrpc.cli.caller import json_option
from pushrpc.cli.screen import console, is_terminal, print_json, print_line
from pushrpc.cli.serve import config_option
from pushrpc.config import Config, ConfigError
from pushrpc.exchange import Endpoint
from pushrpc.ledger.sqlite.store import SCHEMA_DIR
from pushrpc.model import Lane
from pushrpc.providers import ProviderAccount
from pushrpc.tables import split_listen
from pushrpc.words import Provider

REACH_TIMEOUT_S = 3.0
REACHES_AT_ONCE = 8
EXPIRY_WARNING_DAYS = 30
# Apple refuses provider tokens an hour old and our windows are half of that; Google's assertions allow five minutes.
CLOCK_ERROR_MAX_S = 60.0
WAL_RESET_FIXED = (3, 51, 3)


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


MARKS = {Verdict.GOOD: ("✔", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.BAD: ("✘", "bold red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` says what to do, unless it is good."""

    verdict: Verdict
    subject: str
    detail: str
    remedy: str = ""


@click.command(short_help="Check what a server needs.", epilog="Exit code 0: nothing is in the way. 1: something is.")
@config_option
@click.option("--offline", is_flag=True, help="Reach out to nobody.")
@json_option
def doctor(config_file: Path, offline: bool, as_json: bool) -> None:
    """Check configuration, key files, certificates, clock, ports, ledger and providers, and say what to do.

    Nothing is changed and nothing is sent: providers are greeted (TCP and TLS), at most 3 seconds each.
    """
    bad = False
    for finding in examine(config_file, os.environ, offline):
        bad = bad or finding.verdict is Verdict.BAD
        if as_json:
            print_json(asdict(finding))
        else:
            show(finding)
    raise SystemExit(1 if bad else 0)


def examine(config_file: Path, environ: Mapping[str, str], offline: bool) -> Iterator[Finding]:
    """Every finding, as it is made."""
    yield from versions()
    from pushrpc.server import prepare

    try:
        config, accounts = prepare(config_file, environ)
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding(Verdict.BAD, mistake.key, mistake.problem, mistake.remedy)
        return
    yield Finding(Verdict.GOOD, "configuration", f"{config_file}: {', '.join(config.apps)}")
    yield from certificates(config)
    yield from ports(config)
    yield ledger(Path(config.ledger_file))
    every = [account for app in accounts.values() for of in app.values() for account in of]
    for app_id, app in accounts.items():
        for of in app.values():
            for account in of:
                yield Finding(
                    Verdict.GOOD, f"apps.{app_id}", f"{account.provider.name} {account.provider_app_id} loads"
                )
    if not offline:
        yield from providers(every)


def show(finding: Finding) -> None:
    mark, style = MARKS[finding.verdict]
    if not is_terminal():
        remedy = f"\t{finding.remedy}" if finding.remedy else ""
        print_line(f"{finding.verdict}\t{finding.subject}\t{finding.detail}{remedy}")
        return
    lines = Table.grid(padding=(0, 1))
    lines.add_row(Text(mark, style=style), Text.assemble((finding.subject, "bold"), f"  {finding.detail}"))
    if finding.remedy:
        lines.add_row("", Text(f"→ {finding.remedy}", style=style))
    console().print(lines)


def versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(Verdict.GOOD, "versions", f"pushrpc {__version__}, Python {python}, grpcio {grpc.__version__}")
    yield Finding(Verdict.GOOD, "TLS", ssl.OPENSSL_VERSION)
    detail = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED:
        yield Finding(Verdict.GOOD, "ledger engine", detail)
        return
    # sqlite.org/wal.html, "the WAL-reset bug", 3.7.0 to 3.51.2.
    detail += " has the WAL-reset bug, which one writing connection, as here, does not meet"
    remedy = "let no other program write to or checkpoint the ledger's file (Litestream does)"
    yield Finding(Verdict.WARNING, "ledger engine", detail, remedy)


def certificates(config: Config) -> Iterator[Finding]:
    pairs = [("server.tls", config.tls.cert_file, config.tls.key_file)] if config.tls else []
    for app_id, accounts in config.apps.items():
        for account in accounts:
            if isinstance(account, ApnsAccount) and account.cert_file:
                pairs.append((f"apps.{app_id}.apns", account.cert_file, account.cert_key_file))
    for key, cert_file, key_file in pairs:
        yield certificate(key, Path(cert_file), Path(key_file), datetime.now(UTC))


def certificate(key: str, cert_file: Path, key_file: Path, now: datetime) -> Finding:
    """Whether a certificate can be read, has its key and is not about to end."""
    try:
        found = x509.load_pem_x509_certificate(cert_file.read_bytes())
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, ssl.SSLError) else str(error).splitlines()[0]
        remedy = "give PEM files of a certificate and of its own key, without a password"
        return Finding(Verdict.BAD, key, f"{cert_file.name} and {key_file.name} cannot be used ({why})", remedy)
    days = (found.not_valid_after_utc - now).days
    if days < 0:
        return Finding(Verdict.BAD, key, f"{cert_file.name} ended {-days} days ago", "renew it")
    if found.not_valid_before_utc > now:
        return Finding(Verdict.BAD, key, f"{cert_file.name} is not valid yet", "set the clock, or wait")
    verdict = Verdict.WARNING if days < EXPIRY_WARNING_DAYS else Verdict.GOOD
    return Finding(
        verdict, key, f"{cert_file.name} ends in {days} days", "renew it" if days < EXPIRY_WARNING_DAYS else ""
    )


def ports(config: Config) -> Iterator[Finding]:
    for key, listen in (("server.listen", config.listen), ("server.metrics_listen", config.metrics_listen)):
        if not listen:
            continue
        host, port = split_listen(listen)
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            yield Finding(Verdict.GOOD, key, f"{listen} is free")
        except OSError as error:
            remedy = "stop what listens there (is a server running?) or choose another address"
            yield Finding(Verdict.BAD, key, f"{listen} cannot be had ({error.strerror})", remedy)


def ledger(file: Path) -> Finding:
    """Whether the file, or its directory while there is none, can be used, and nobody has it open."""
    lock_file = file.with_name(file.name + ".lock")
    with suppress(FileNotFoundError), lock_file.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "stop the other server, or give this one a ledger of its own"
            return Finding(Verdict.BAD, "server.ledger", f"{file} is in use by another process", remedy)
    where = file if file.exists() else file.parent
    if not os.access(where, os.R_OK | os.W_OK):
        return Finding(
            Verdict.BAD, "server.ledger", f"{where} is not writable", "let the server's user read and write it"
        )
    if not file.exists():
        return Finding(Verdict.GOOD, "server.ledger", f"{file} will be made")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=1.0)) as database:
            (schema,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        remedy = "restore a backup, or name another file"
        return Finding(Verdict.BAD, "server.ledger", f"{file} cannot be read ({error})", remedy)
    newest = max(int(script.stem) for script in SCHEMA_DIR.glob("*.sql"))
    if schema > newest:
        detail = f"{file} has schema {schema}, this release knows up to {newest}"
        return Finding(Verdict.BAD, "server.ledger", detail, "start the newer release")
    later = f"; the next start makes it schema {newest}, which older releases refuse" if schema < newest else ""
    return Finding(Verdict.GOOD, "server.ledger", f"{file}, schema {schema}{later}")


def providers(accounts: list[ProviderAccount]) -> Iterator[Finding]:
    """Greets every endpoint once; where one tells the time (HTTP/1.1 Date), compares the clock."""
    endpoints: dict[Endpoint, Provider] = {}
    for account in accounts:
        endpoint = account.endpoint(Lane("", account.provider, account.provider_app_id, account.environment))
        if endpoint is not None:  # a browser's and a Windows channel's is told by its token only
            endpoints.setdefault(endpoint, account.provider)
    looks: list[Callable[[], Finding]] = []
    for endpoint, provider in endpoints.items():
        looks.append(lambda e=endpoint, p=provider: reach(e, p))  # type: ignore[misc]
        if provider is Provider.FCM:
            looks.append(lambda e=endpoint: clock(e))  # type: ignore[misc]
    with ThreadPoolExecutor(REACHES_AT_ONCE) as threads:
        yield from threads.map(lambda look: look(), looks)


def reach(endpoint: Endpoint, provider: Provider) -> Finding:
    subject = f"{provider.name} {endpoint.host}:{endpoint.port}"
    started_s = time.monotonic()
    try:
        with closing(_connect(endpoint, ["h2" if endpoint.http2 else "http/1.1"])) as connection:
            spoken = connection.selected_alpn_protocol()
    except OSError as error:
        return Finding(Verdict.BAD, subject, f"cannot be reached ({_why(error)})", _remedy(error))
    if endpoint.http2 and spoken != "h2":
        return Finding(
            Verdict.BAD, subject, "does not speak HTTP/2", "is a proxy in between? let TLS through untouched"
        )
    return Finding(Verdict.GOOD, subject, f"reachable in {(time.monotonic() - started_s) * 1000:.0f} ms")


def clock(endpoint: Endpoint) -> Finding:
    """Compares our clock with the Date of an HTTP answer; credentials carry times, and wrong ones are refused."""
    connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=REACH_TIMEOUT_S)
    try:
        with closing(_connect(endpoint, ["http/1.1"])) as connected:
            connection.sock = connected
            connection.request("GET", "/")
            date = connection.getresponse().getheader("date")
        error_s = abs(parsedate_to_datetime(date or "").timestamp() - time.time())
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return Finding(Verdict.WARNING, "clock", f"not compared: {endpoint.host} tells no time", "check it against NTP")
    if error_s > CLOCK_ERROR_MAX_S:
        detail = f"{error_s:.0f} s off, by {endpoint.host}'s time"
        return Finding(Verdict.BAD, "clock", detail, "set it: providers refuse credentials from another time")
    return Finding(Verdict.GOOD, "clock", f"agrees with {endpoint.host}")


def _connect(endpoint: Endpoint, alpn: list[str]) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=endpoint.ca_file or None)
    context.set_alpn_protocols(alpn)
    if endpoint.certificate:
        context.load_cert_chain(*endpoint.certificate)
    plain = socket.create_connection((endpoint.host, endpoint.port), timeout=REACH_TIMEOUT_S)
    try:
        return context.wrap_socket(plain, server_hostname=endpoint.host)
    except BaseException:
        plain.close()
        raise


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error) or type(error).__name__


def _remedy(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "set ca_file to the certificate that signed the other side's"
    if isinstance(error, socket.gaierror):
        return "check the name and this machine's DNS"
    return "check endpoint, network and firewall: HTTPS must get out"
