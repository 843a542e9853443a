"""The push service that Chromium subscribes to, played: Google's check-in, registration and push connection.

So a subscription in these tests is the browser's own, with keys that it made, and a message is decrypted by the browser
itself. Only as much is spoken as one browser needs. Source: Chromium, google_apis/gcm (protocol/*.proto, engine/).
"""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.tls import make_authority
from tests.web import WAIT_S

MESSAGE_BYTES_MAX = 1 << 16

_VERSION = 41
_HEARTBEAT_PING, _HEARTBEAT_ACK, _LOGIN_REQUEST, _LOGIN_RESPONSE, _DATA_MESSAGE = 0, 1, 2, 3, 8


@dataclass(frozen=True)
class Registered:
    """Who a token belongs to: the application server's key, and what the browser calls the subscription."""

    sender: str
    category: str
    subtype: str


@dataclass
class PushService:
    spki: str
    port: int = 0
    registered: dict[str, Registered] = field(default_factory=dict)
    _browser: asyncio.StreamWriter | None = None
    _logged_in: asyncio.Event = field(default_factory=asyncio.Event)
    _count: int = 0

    async def push(self, endpoint: str, body: bytes) -> None:
        """What a POST to the endpoint does: hands the encrypted body to the browser."""
        owner = self.registered[endpoint.rpartition("/")[2]]
        self._count += 1
        headers = {"subtype": owner.subtype, "content-encoding": "aes128gcm"}
        message = (
            _bytes(3, owner.sender)
            + _bytes(5, owner.category)
            + b"".join(_bytes(7, _bytes(1, name) + _bytes(2, value)) for name, value in headers.items())
            + _bytes(9, f"message-{self._count}")
            + _bytes(21, body)
        )
        async with asyncio.timeout(WAIT_S):
            await self._logged_in.wait()
            assert self._browser
            self._browser.write(_framed(_DATA_MESSAGE, message))
            await self._browser.drain()

    async def check_in(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\x08\x01" + b"\x39" + struct.pack("<Q", 1) + b"\x41" + struct.pack("<Q", 2))

    async def register(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        subtype = form.get("X-subtype", "")
        if "delete" in form:
            self.registered = {token: owner for token, owner in self.registered.items() if owner.subtype != subtype}
            return web.Response(text=f"token={form['app']}")
        self._count += 1
        token = f"token-{self._count}"
        self.registered[token] = Registered(form["sender"], form["app"], subtype)
        return web.Response(text=f"token={token}")

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the browser's, from login to its end."""
        try:
            await reader.readexactly(1)  # its version
            writer.write(bytes((_VERSION,)))
            while True:
                tag = (await reader.readexactly(1))[0]
                length = await _varint(reader)
                assert length <= MESSAGE_BYTES_MAX
                await reader.readexactly(length)
                if tag == _LOGIN_REQUEST:
                    writer.write(_framed(_LOGIN_RESPONSE, _bytes(1, "login")))
                    self._browser = writer
                    self._logged_in.set()
                elif tag == _HEARTBEAT_PING:
                    writer.write(_framed(_HEARTBEAT_ACK, b""))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has gone, as it does at the end
        finally:
            if self._browser is writer:
                self._logged_in.clear()
            writer.close()

    def flags(self, http: str) -> tuple[str, ...]:
        """What makes Chromium take this service for Google's."""
        return (
            f"--gcm-checkin-url={http}/checkin",
            f"--gcm-registration-url={http}/register",
            f"--gcm-mcs-endpoint=https://localhost:{self.port}",
            f"--ignore-certificate-errors-spki-list={self.spki}",
        )


@asynccontextmanager
async def push_service(directory: Path) -> AsyncIterator[tuple[PushService, tuple[str, ...]]]:
    """Runs the service and yields it with the flags for the browser."""
    chain, key = make_authority(directory).issue(["localhost"])
    public = x509.load_pem_x509_certificate(Path(chain).read_bytes()).public_key()
    spki = sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    service = PushService(b64encode(spki).decode())
    tls = SSLContext(PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    app = web.Application()
    app.add_routes([web.post("/checkin", service.check_in), web.post("/register", service.register)])
    runner = web.AppRunner(app)
    await runner.setup()
    server = await asyncio.start_server(service.converse, "127.0.0.1", 0, ssl=tls)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.port = server.sockets[0].getsockname()[1]
        yield service, service.flags(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), WAIT_S)
        await runner.cleanup()


def _framed(tag: int, message: bytes) -> bytes:
    return bytes((tag,)) + _encoded_varint(len(message)) + message


def _bytes(number: int, value: str | bytes) -> bytes:
    """A protobuf field of wire type 2."""
    raw = value.encode() if isinstance(value, str) else value
    return _encoded_varint(number << 3 | 2) + _encoded_varint(len(raw)) + raw


def _encoded_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


async def _varint(reader: asyncio.StreamReader) -> int:
    number = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number
        shift += 7
