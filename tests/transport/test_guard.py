"""Address rules, and that the very addresses which were checked are dialled, over HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator, Sequence

import pytest

from pushrpc.exchange import Endpoint, NotSent
from pushrpc.transport import dial, open_sessions
from pushrpc.transport.guard import refusal
from tests.transport.http1_server import RawServer
from tests.transport.loopback import collect

PUBLIC = ["8.8.8.8", "17.188.143.34", "192.0.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "an unspecified"),
        ("0.1.2.3", "an unspecified"),
        ("10.0.0.1", "a private"),
        ("100.64.0.1", "a carrier's inner"),
        ("100.127.255.254", "a carrier's inner"),
        ("127.0.0.1", "a loopback"),
        ("127.255.255.254", "a loopback"),
        ("169.254.169.254", "a link-local"),
        ("172.16.0.1", "a private"),
        ("172.31.255.255", "a private"),
        ("192.0.0.9", "a reserved"),
        ("192.0.0.170", "a reserved"),
        ("192.0.2.1", "a documentation"),
        ("192.88.99.1", "a relay's"),
        ("192.168.1.1", "a private"),
        ("198.18.0.1", "a benchmark"),
        ("198.19.255.255", "a benchmark"),
        ("198.51.100.1", "a documentation"),
        ("203.0.113.1", "a documentation"),
        ("224.0.0.1", "a multicast"),
        ("239.255.255.250", "a multicast"),
        ("240.0.0.1", "a reserved"),
        ("255.255.255.255", "a reserved"),
        ("::", "a reserved"),
        ("::1", "a loopback"),
        ("::7f00:1", "a reserved"),
        ("::ffff:127.0.0.1", "a mapped IPv4"),
        ("::ffff:8.8.8.8", "a mapped IPv4"),
        ("64:ff9b::127.0.0.1", "a loopback"),
        ("64:ff9b::a9fe:a9fe", "a link-local"),
        ("64:ff9b:1::808:808", "a reserved"),
        ("100::1", "a reserved"),
        ("2001::1", "a reserved"),  # Teredo
        ("2001:0:7f00:1::", "a reserved"),
        ("2001:20::1", "a reserved"),
        ("2001:db8::1", "a documentation"),
        ("2002:7f00:1::", "a tunnelled IPv4"),
        ("2002:808:808::1", "a tunnelled IPv4"),
        ("3fff::1", "a documentation"),
        ("4000::1", "a reserved"),
        ("5f00::1", "a reserved"),
        ("fc00::1", "a private"),
        ("fd12:3456::1", "a private"),
        ("fe80::1", "a link-local"),
        ("fe80::1%eth0", "a link-local"),
        ("fec0::1", "a reserved"),
        ("ff02::1", "a multicast"),
        ("push.example", "an unreadable"),
        ("", "an unreadable"),
    ],
)
def test_what_is_not_public_is_refused(address: str, kind: str) -> None:
    said = refusal([address])
    assert said == f"the host has {kind} address, and only public ones are allowed here"
    assert refusal([*PUBLIC, address]) == refusal([address, *PUBLIC]) == said, "one is enough"


@pytest.mark.parametrize("address", [*PUBLIC, "64:ff9b::8.8.8.8"])
def test_what_is_public_is_allowed(address: str) -> None:
    assert refusal([address]) == ""


def test_nothing_that_python_calls_inner_passes() -> None:
    """A second opinion, for the edges of every block that Python knows."""
    for network in _python_knows():
        for address in (network[0], network[-1]):
            assert address.is_global or refusal([str(address)]), address


def _python_knows() -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for constants in (ipaddress._IPv4Constants, ipaddress._IPv6Constants):  # type: ignore[attr-defined]
        yield from constants._private_networks


# --- dialling


class Names:
    """A resolver whose answers are given in turn; the last stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[dial.AddressInfo]:
        self.asked.append((host, port))
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


@pytest.mark.parametrize("http2", [True, False])
@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"]])
async def test_a_host_with_an_inner_address_is_not_dialled(
    monkeypatch: pytest.MonkeyPatch, http2: bool, answer: Sequence[str]
) -> None:
    server = RawServer()
    async with server.listening(None):
        names = Names(answer)
        monkeypatch.setattr(dial, "resolve", names.resolve)
        target = Endpoint("push.test", server.port, http2=http2, tls=False, public_only=True)
        sessions = open_sessions(target)
        (refused,) = await collect(sessions, 1)
        await sessions.close()
        assert isinstance(refused, NotSent) and refused.failed_connect and refused.forbidden
        assert refused.detail.startswith(f"push.test:{server.port}: the host has a")
        assert not any(address in refused.detail for address in answer)
        assert names.asked == [("push.test", server.port)] and not server.connections


@pytest.mark.parametrize("http2", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "::1", "::ffff:127.0.0.1"])
async def test_an_address_for_a_name_is_no_way_round(http2: bool, host: str) -> None:
    server = RawServer()
    async with server.listening(None):
        sessions = open_sessions(Endpoint(host, server.port, http2=http2, tls=False, public_only=True))
        (refused,) = await collect(sessions, 1)
        await sessions.close()
        assert isinstance(refused, NotSent) and refused.failed_connect
        assert "only public ones are allowed here" in refused.detail and not server.connections


@pytest.mark.parametrize("http2", [True, False])
async def test_the_addresses_that_were_checked_are_dialled(monkeypatch: pytest.MonkeyPatch, http2: bool) -> None:
    """A name that says something else when asked again gains nothing: it is not asked again."""
    names = Names(["8.8.8.8", "8.8.4.4"], ["127.0.0.1"])
    dialled: list[tuple[str, int]] = []

    async def start_connection(infos: Sequence[dial.AddressInfo], **options: object) -> socket.socket:
        dialled.extend(info[4] for info in infos)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(dial, "resolve", names.resolve)
    monkeypatch.setattr("aiohappyeyeballs.start_connection", start_connection)
    sessions = open_sessions(Endpoint("push.test", 443, http2=http2, tls=False, public_only=True))
    (refused,) = await collect(sessions, 1)
    await sessions.close()
    assert refused == NotSent("push.test:443: Connection refused", failed_connect=True)
    assert names.asked == [("push.test", 443)]
    assert dialled == [("8.8.8.8", 443), ("8.8.4.4", 443)]


async def test_other_endpoints_may_be_anywhere() -> None:
    server = RawServer()
    async with server.listening(None):
        sessions = open_sessions(Endpoint("localhost", server.port, http2=False, tls=False))
        assert len(await collect(sessions, 3)) == len(server.asked) == 3
        await sessions.close()
