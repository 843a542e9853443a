"""Cursors and page tokens: positions that callers keep for us, opaque, URL-safe and authenticated.

Text form: base64url of a version byte, the position in 8 bytes, and 12 bytes of HMAC-SHA256 (RFC 2104, truncated by its
§5) under the ledger's secret. The MAC also covers what the position is bound to, so it is of no use elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

from google.protobuf.message import Message

from pushrpc.rpc.errors import Reason, Refusal, Violation, invalid

_VERSION = 1
_MAC_BYTES = 12
_POSITION = struct.Struct(">BQ")
TEXT_CHARS = 28  # 21 bytes in base64, which needs no padding


class Cursors:
    """Writes and reads positions of one ledger."""

    def __init__(self, ledger_id: str, secret: bytes) -> None:
        self._secret = secret
        self._ledger = ledger_id.encode()
        self._cursor_bound: dict[str, bytes] = {}  # by app; only apps of this server ever get here
        self._last_cursor = ("", -1, "")

    def cursor(self, app_id: str, seq: int) -> str:
        """A place in an app's events, whatever filter reads them."""
        last = self._last_cursor
        if last[:2] != (app_id, seq):  # sends that share a commit begin at one place
            last = self._last_cursor = app_id, seq, self._seal(self._of_app(app_id), seq)
        return last[2]

    def seq(self, app_id: str, cursor: str) -> int:
        """Raises Refusal (CURSOR_INVALID) for a text that `cursor` did not write for this app and ledger."""
        seq = self._open(self._of_app(app_id), cursor)
        if seq is None:
            problem = "is not a cursor of this app"
            raise invalid([Violation("cursor", Reason.CURSOR_INVALID, problem)])
        return seq

    def page_token(self, app_id: str, scope: bytes, after: int) -> str:
        return self._seal(self._bound(b"page", app_id, scope), after)

    def page_after(self, app_id: str, scope: bytes, token: str) -> int:
        """Raises Refusal (PAGE_TOKEN_INVALID) for a token of another method, filter, app or ledger."""
        after = self._open(self._bound(b"page", app_id, scope), token)
        if after is None:
            problem = "does not belong to this call"
            raise invalid([Violation("page_token", Reason.PAGE_TOKEN_INVALID, problem)])
        return after

    def expired(self, app_id: str, oldest_seq: int) -> Refusal:
        """What a follower gets whose position is older than what is kept."""
        oldest = self.cursor(app_id, oldest_seq)
        problem = "cursor is older than the events kept"
        return Refusal(Reason.CURSOR_EXPIRED, problem, metadata={"field": "cursor", "oldest_cursor": oldest})

    def _of_app(self, app_id: str) -> bytes:
        bound = self._cursor_bound.get(app_id)
        if bound is None:
            bound = self._cursor_bound[app_id] = self._bound(b"cursor", app_id)
        return bound

    def _bound(self, *parts: bytes | str) -> bytes:
        texts = [part.encode() if isinstance(part, str) else part for part in parts]
        # Lengths in front, so that no two lists of parts read the same.
        return b"".join(len(text).to_bytes(4, "big") + text for text in (self._ledger, *texts))

    def _seal(self, bound: bytes, position: int) -> str:
        raw = _POSITION.pack(_VERSION, position)
        return base64.urlsafe_b64encode(raw + self._mac(bound, raw)).decode("ascii")

    def _open(self, bound: bytes, text: str) -> int | None:
        if len(text) != TEXT_CHARS:
            return None
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        head, mac = raw[: _POSITION.size], raw[_POSITION.size :]
        if not hmac.compare_digest(mac, self._mac(bound, head)):
            return None
        version, position = _POSITION.unpack(head)
        return int(position) if version == _VERSION else None

    def _mac(self, bound: bytes, raw: bytes) -> bytes:
        return hmac.digest(self._secret, bound + raw, "sha256")[:_MAC_BYTES]


def scope_of(request: Message) -> bytes:
    """What a page token is bound to: the method, and the filter apart from size and token of the page."""
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    name = request.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(name + b"\0" + filters.SerializeToString(deterministic=True)).digest()
