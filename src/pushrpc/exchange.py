"""What travels between providers and transport: requests by the batch, and their answers.

A provider writes requests without knowing sockets; transport moves them without knowing providers. Header names are
lower case; names, values and paths are bytes, so that nothing is encoded twice on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

Headers = Sequence[tuple[bytes, bytes]]


class Endpoint(NamedTuple):
    """Where sessions of a lane connect. `certificate` is (chain file, key file) for TLS client authentication.

    `host` and `port` are dialled, and `host` is verified against the server's certificate. `ca_file` replaces the
    system's trust roots when set. `http2` false means HTTP/1.1. `tls` false means plaintext with prior knowledge
    (RFC 9113 §3.3), for loopback and tests only. `public_only` is for hosts that strangers name: nothing is dialled
    when any of the host's addresses is not public.
    """

    host: str
    port: int
    ca_file: str = ""
    certificate: tuple[str, str] | None = None
    http2: bool = True
    tls: bool = True
    public_only: bool = False


class Template(NamedTuple):
    """What the rows of one notification share. A row's body, when it has one, takes the place of this one."""

    method: bytes
    authority: bytes
    headers: Headers
    body: bytes | None = None


class Row(NamedTuple):
    """One request. `covers` are the positions in the batch that its answer speaks for, in request order."""

    template: int
    path: bytes
    headers: Headers
    body: bytes | None
    covers: Sequence[int]


# A Row of its five values in one tuple, at half of what Row's own __new__ costs: there is one for every push.
new_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)


class Requests(NamedTuple):
    """`status_only`: an empty answer of status 200 says all, so its headers need not be told."""

    templates: Sequence[Template]
    rows: Sequence[Row]
    status_only: bool = False


class Response(NamedTuple):
    """A complete answer. `session` names the connection it came on, for closing one that is of no more use."""

    status: int
    headers: Headers
    body: bytes
    session: int = 0

    def header(self, name: bytes) -> bytes:
        """The first value of a header, empty when absent."""
        return next((v for k, v in self.headers if k == name), b"")


class NotSent(NamedTuple):
    """The request surely was not processed: never written, or refused before processing.

    REFUSED_STREAM and streams above GOAWAY's last id are refused before processing (RFC 9113 §6.8, §8.7).
    `failed_connect` is true when no session could be had at all, `forbidden` when that is because the host has an
    address that is not to be dialled (`Endpoint.public_only`).
    """

    detail: str
    failed_connect: bool = False
    forbidden: bool = False


class NoAnswer(NamedTuple):
    """The request left, and the answer was not seen: it may have been processed."""

    detail: str
    session: int = 0


class Request(NamedTuple):
    """A single request outside a lane's batches, such as a credential renewal."""

    method: str
    url: str
    headers: Headers
    body: bytes
    ca_file: str = ""


Answer = Response | NotSent | NoAnswer
Page = Sequence[tuple[int, Answer]]
