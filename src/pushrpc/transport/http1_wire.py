"""One HTTP/1.1 connection (RFC 9112): a request's bytes out, its answer in, one at a time.

Answers are read by aiohttp's parser and its client protocol. Its client session is not used: that repeats idempotent
requests by itself when a kept connection ends, and cannot say whether a request had begun to leave.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import ClientPayloadError, ServerDisconnectedError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from pushrpc.exchange import Response, Row, Template
from pushrpc.transport.dial import problem

BODY_BYTES_MAX: Final = 65_536  # as over HTTP/2: what is beyond it is not read
INTERIM_MAX: Final = 32  # 1xx before one answer; real servers send one or two

# Answers are small, and an uncompressed one cannot grow while it is read.
_ALWAYS: Final = b"accept-encoding: identity"
# Methods whose requests are expected to have a body tell its length even when there is none (RFC 9110 §8.6).
_WITH_BODY: Final = frozenset((b"POST", b"PUT", b"PATCH"))


class Broken(Exception):
    """No answer can be read any more. The message is for a person, and repeats nothing that was sent."""


def request_head(template: Template, row: Row) -> bytes:
    """The request up to its body, byte for byte as given, with Content-Length and never chunked.

    Raises ValueError for bytes that would end a line early: one request must not become two (RFC 9112 §11.1).
    """
    body = _body(template, row)
    lines = [b"%b %b HTTP/1.1" % (template.method, row.path), b"host: " + template.authority, _ALWAYS]
    lines += [b"%b: %b" % header for header in template.headers]
    lines += [b"%b: %b" % header for header in row.headers]
    if body or template.method in _WITH_BODY:
        lines.append(b"content-length: %d" % len(body))
    head = b"\r\n".join(lines)
    if b" " in row.path or b"\0" in head or not head.count(b"\n") == head.count(b"\r") == len(lines) - 1:
        raise ValueError("a request's path or headers hold bytes that HTTP/1.1 cannot carry")
    return head + b"\r\n\r\n"


def _body(template: Template, row: Row) -> bytes:
    return (template.body if row.body is None else row.body) or b""


class Wire(ResponseHandler):
    """A connection, kept for the next request when the last answer has ended in order. Nothing here waits for others.

    `busy` from `write` until the owner has taken the answer; what a server says outside of that ends the connection.
    """

    def __init__(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.number = number
        self.busy = False
        self.retiring = False
        self.worked = False  # has brought an answer
        self.idle_s: float | None = None  # how long the server keeps it, as far as it has said so
        self.gone: asyncio.Future[None] = loop.create_future()
        self._body: StreamReader | None = None  # of the answer that is being read

    @property
    def usable(self) -> bool:
        """Whether it may carry another request."""
        return self.is_connected() and not self.retiring and not self.should_close

    def write(self, template: Template, row: Row, head: bytes) -> None:
        """Sends a request on a usable wire. From here on any of it may have left."""
        assert self.transport is not None
        self.busy = True
        self.set_response_params(
            skip_payload=template.method == b"HEAD", read_until_eof=True, auto_decompress=False, read_timeout=None
        )
        self.transport.write(head + _body(template, row))

    async def answer(self) -> Response:
        """The answer to what was written. Raises Broken. Without a deadline: who waits holds it."""
        try:
            message, content = await self._final()
            self._body = content
            body = await _first_bytes(content)
        except ServerDisconnectedError:
            raise Broken("the server closed the connection before its answer") from None
        except ClientPayloadError:
            raise Broken("the connection ended within the answer") from None
        except HttpProcessingError:
            raise Broken("the answer is not HTTP/1.1") from None
        except OSError as error:
            raise Broken(problem(error)) from None
        finally:
            self._body = None
        self.worked = True
        self.idle_s = _kept_s(message)
        headers = [(name.lower(), value) for name, value in message.raw_headers]
        return Response(message.code, headers, body, self.number)

    def leave(self, goodbye_s: float) -> None:
        """Closes in order, and by force when that takes too long."""
        self.retiring = True
        if self.transport is not None and not self.transport.is_closing():
            self._loop.call_later(goodbye_s, self.transport.abort)
            self.transport.close()

    def cut(self) -> None:
        """Closes at once."""
        if self.transport is not None:
            self.transport.abort()

    # --- what asyncio calls

    def data_received(self, data: bytes) -> None:
        if self.busy:
            super().data_received(data)
        else:
            # Such as a 408 before an idle connection is closed: it belongs to no request of ours.
            self.cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(ClientPayloadError("the connection ended"))  # the parser had given up on it
        if not self.gone.done():
            self.gone.set_result(None)

    async def _final(self) -> tuple[RawResponseMessage, StreamReader]:
        for _ in range(INTERIM_MAX):
            message, content = await self.read()
            if message.code >= 200:
                return message, content
            if message.code == 101:
                raise Broken("the server switched to another protocol")
        raise Broken("the server sends 1xx and no answer")


async def _first_bytes(content: StreamReader) -> bytes:
    """The body, as far as it is read at all. A connection with an unread rest is not used again."""
    body = bytearray()
    while len(body) < BODY_BYTES_MAX and (part := await content.readany()):
        body += part
    return bytes(body[:BODY_BYTES_MAX])


def _kept_s(message: RawResponseMessage) -> float | None:
    """`Keep-Alive: timeout=5`: Node.js and Apache say after how many idle seconds they close."""
    for part in message.headers.get("Keep-Alive", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit():
            return float(value[:6])
    return None
