"""What an emulated service is to the shell: requests in, verdicts out, and no sockets on either side.

A provider is decided without I/O: a `Connection` holds what the real service remembers about one connection, and
`answer` maps one complete request to a `Verdict`. Time is handed in, in microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pushrpc.exchange import Response


class Call(NamedTuple):
    """One complete request. `path` has its query; `headers` are in order of arrival, without pseudo headers."""

    method: bytes
    path: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: bytes) -> bytes:
        """The first value of a header, empty when absent."""
        return next((value for key, value in self.headers if key == name), b"")


class Entry(NamedTuple):
    """One accepted message, as the journal keeps it.

    `message_id` is what the provider named it; `identity` is what makes a second one a duplicate: the apns-id for
    APNs; for FCM, which has no id of the sender's, a digest of the target with what the person would see. Where the
    target is a topic or a channel, `reached` are tokens that the service spread it to: at most 1,000 of them.
    """

    provider: str
    environment: str
    token: str
    message_id: str
    identity: bytes
    time_us: int
    headers: Sequence[tuple[bytes, bytes]]
    payload: bytes
    reached: Sequence[str] = ()


class Verdict(NamedTuple):
    """The answer to one request, and what was taken by it: None when nothing was.

    Where one request reaches many tokens, `accepted_many` has an entry for each of them instead.
    """

    response: Response
    accepted: Entry | None = None
    accepted_many: Sequence[Entry] = ()

    @property
    def taken(self) -> Sequence[Entry]:
        return self.accepted_many if self.accepted is None else (self.accepted,)


class Connection(Protocol):
    """What a service remembers about one connection. `streams_max` may grow; the shell then announces it."""

    streams_max: int

    def answer(self, call: Call, now_us: int) -> Verdict: ...


class Service(Protocol):
    """`name` is the provider's; `http1` and `http2` are what its port speaks, chosen by ALPN when it is both."""

    name: str
    client_certificates: bool
    http1: bool
    http2: bool

    def connect(self, certificate: bytes | None) -> Connection:
        """A new connection; `certificate` is the client's in DER, already verified against the emulator's CA."""
        ...

    def subject(self, call: Call) -> tuple[str, str]:
        """Which provider and token a request is about, for matching faults, before anything is checked."""
        ...

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        """The body and headers of a refusal in the service's own form, for scripted faults."""
        ...
