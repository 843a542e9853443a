"""How a connection comes about: a name, its addresses, TCP, TLS; and how what goes wrong reads to a person."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohappyeyeballs

from pushrpc.exchange import Endpoint
from pushrpc.transport import guard

# RFC 8305 §5: how long one address may keep the next from being tried.
NEXT_ADDRESS_S: Final = 0.25

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int]]


class DialFailed(Exception):
    """No connection could be had. The message is one line for a person."""


class AddressForbidden(DialFailed):
    """The host was found, but at an address that is not to be dialled."""


@asynccontextmanager
async def dialling(endpoint: Endpoint, connect_s: float, what: str) -> AsyncIterator[None]:
    """Turns every failure inside into DialFailed, at the latest after `connect_s`. `what` is the thing awaited."""
    try:
        async with asyncio.timeout(connect_s):
            yield
    except TimeoutError as error:
        raise DialFailed(f"{endpoint.host}:{endpoint.port}: no {what} within {connect_s:g} s") from error
    except AddressForbidden as error:
        raise AddressForbidden(f"{endpoint.host}:{endpoint.port}: {error}") from error
    except Exception as error:  # of any kind (a name IDNA cannot encode is a UnicodeError): no slot may stay taken
        raise DialFailed(f"{endpoint.host}:{endpoint.port}: {problem(error)}") from error


async def connect(
    endpoint: Endpoint, protocol: asyncio.Protocol, connect_s: float, goodbye_s: float, alpn: str = ""
) -> None:
    """Connects `protocol`. Names are looked up and files read afresh each time. Call it inside `dialling`.

    The addresses that are checked are those that are dialled, so a name that resolves to something else a moment later
    (DNS rebinding) gains nothing.
    """
    context = None
    if endpoint.tls:
        # Trust roots and client certificates are files: read off the loop, and anew, so that a renewed one counts.
        context = await asyncio.to_thread(tls_context, endpoint.ca_file, endpoint.certificate)
        if alpn:
            context.set_alpn_protocols([alpn])
    addresses = await resolve(endpoint.host, endpoint.port)
    if endpoint.public_only and (refusal := guard.refusal(info[4][0] for info in addresses)):
        raise AddressForbidden(refusal)
    connected = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
    await asyncio.get_running_loop().create_connection(
        lambda: protocol,
        sock=connected,
        ssl=context,
        server_hostname=endpoint.host if context else None,
        ssl_handshake_timeout=connect_s if context else None,
        ssl_shutdown_timeout=goodbye_s if context else None,
    )


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Every address of a host, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, proto, name, address) for family, kind, proto, name, address in found]  # type: ignore[misc]


def tls_context(ca_file: str, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, verified against `ca_file` or the system's roots. Reads files; raises DialFailed."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise DialFailed(f"ca_file {ca_file}: {problem(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        try:
            # A password, though empty, keeps OpenSSL from asking the terminal for one.
            context.load_cert_chain(*certificate, password="")
        except OSError as error:
            raise DialFailed(f"certificate {certificate[0]}: {problem(error)}") from error
    return context


def problem(error: BaseException) -> str:
    """A network error as one line for a person."""
    match error:
        case ssl.SSLCertVerificationError():
            text = f"TLS: the server's certificate is not trusted: {error.verify_message}"
        case ssl.SSLError() if "no application protocol" in str(error).lower().replace("_", " "):
            # Python knows this alert's name, OpenSSL's own text is in other letters, and `reason` may be missing.
            text = "TLS: the server does not offer HTTP/2 (no ALPN h2)"
        case ssl.SSLError():
            text = f"TLS: {error.reason or error}"
        case socket.gaierror():
            text = f"the name does not resolve: {error.strerror}"
        case OSError(strerror=str(reason)) if reason:
            text = reason
        case _:
            text = str(error) or type(error).__name__
    return " ".join(text.split())
