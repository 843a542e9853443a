"""Tables of a TOML file as they are read: what is asked for is checked, and every mistake is kept.

What could be a key or a password is never shown.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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


@dataclass(slots=True)
class Reading:
    """What one reading gathers: mistakes, and which keys came from the environment."""

    directory: Path
    mistakes: list[Mistake] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def wrong(self, key: str, problem: str, remedy: str) -> None:
        origin = self.origins.get(key)
        self.mistakes.append(Mistake(f"{key} (from {origin})" if origin else key, problem, remedy))


@dataclass(slots=True)
class Table:
    """One table of the file. What is asked for is what is known; the rest is refused at the end."""

    reading: Reading
    key: str
    raw: dict[str, Any]
    asked: list[str] = field(default_factory=list)

    def wrong(self, name: str, problem: str, remedy: str) -> None:
        self.reading.wrong(self._dotted(name), problem, remedy)

    def table(self, name: str) -> Table:
        self.asked.append(name)
        value = self.raw.get(name, {})
        if not isinstance(value, dict):
            self.wrong(name, "is not a table", f"write [{self._dotted(name)}] and its keys below")
        return Table(self.reading, self._dotted(name), value if isinstance(value, dict) else {})

    def tables(self) -> list[tuple[str, Table]]:
        """Every table in this one, by its name."""
        return [(name, self.table(name)) for name in self.raw]

    def accounts(self, name: str) -> list[Table]:
        """A provider's tables: none, one, or an array of them, numbered from 0."""
        value = self.raw.get(name, [])
        if not isinstance(value, list):
            return [self.table(name)]
        self.asked.append(name)
        if name in self.raw and (not value or not all(isinstance(each, dict) for each in value)):
            self.wrong(name, "is not a table or an array of tables", f"write [{self._dotted(name)}] and its keys below")
            return []
        return [Table(self.reading, f"{self._dotted(name)}[{i}]", each) for i, each in enumerate(value)]

    def text(self, name: str) -> str:
        self.asked.append(name)
        value = self.raw.get(name, "")
        if isinstance(value, str) and (value or name not in self.raw):
            return value
        self.wrong(name, "is not a text, or an empty one", f'write {name} = "…", or leave it out')
        return ""

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; from the environment, with commas between them."""
        self.asked.append(name)
        value = self.raw.get(name, [])
        if isinstance(value, str):
            value = [each.strip() for each in value.split(",")]
        if isinstance(value, list) and all(isinstance(each, str) and each for each in value):
            return tuple(value)
        self.wrong(name, "is not a list of texts", f'write {name} = ["…"], or leave it out')
        return ()

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

    def refuse_unknown(self, successors: Mapping[str, str] = MappingProxyType({})) -> None:
        """`successors` are names of what is gone, and what to write in their place."""
        for name in self.raw:
            if name in self.asked:
                continue
            if name in successors:
                self.wrong(name, "is switched off", successors[name])
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
