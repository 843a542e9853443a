"""HTTP/2 frames as numbers and bytes (RFC 9113 §4, §6, §7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
FRAME_SIZE_DEFAULT: Final = 16_384  # both the initial and the least MAX_FRAME_SIZE
WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_ID_MAX: Final = 2**31 - 1
DEBUG_DATA_BYTES_MAX: Final = 1_024  # of GOAWAY; APNs puts its JSON reason there
SETTINGS_MAX: Final = 32  # in one frame; RFC 9113 knows six, and nghttp2 takes as many

# A header block in pieces (RFC 9113 §10.5.1): more bytes or more frames than any real response needs are an attack.
BLOCK_BYTES_MAX: Final = 65_536
CONTINUATIONS_MAX: Final = 64

# Plain integers: frame types and flags are compared for every frame, and an enum's comparison costs several times more.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

_HEADER = struct.Struct(">BHBBL")  # length (24 bits as 8 + 16), type, flags, stream
_SETTING = struct.Struct(">HL")
pack_header = _HEADER.pack
unpack_header = _HEADER.unpack_from


class ErrorCode(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ProtocolViolation(Exception):
    """The peer broke a rule in a way that ends the connection (RFC 9113 §5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def error_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code:#x}"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of up to 16,777,215 bytes of payload."""
    return pack_header(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def header_frames(stream: int, flags: int, block: bytes, size_max: int) -> bytes:
    """A header block as HEADERS and as many CONTINUATION frames as the peer's MAX_FRAME_SIZE asks for."""
    if len(block) <= size_max:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[at : at + size_max] for at in range(0, len(block), size_max)]
    out = [frame(HEADERS, flags, stream, parts[0])]
    out += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    out.append(frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
    return b"".join(out)


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings in their order. Raises ProtocolViolation for values outside RFC 9113 §6.5.2."""
    if len(payload) % _SETTING.size:
        raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of an odd length")
    if len(payload) > SETTINGS_MAX * _SETTING.size:
        raise ProtocolViolation(ErrorCode.ENHANCE_YOUR_CALM, "too many settings in one frame")
    values = list(_SETTING.iter_unpack(payload))
    for key, value in values:
        if key == ENABLE_PUSH and value != 0:
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "a server may not enable push")
        if key == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
            raise ProtocolViolation(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1")
        if key == MAX_FRAME_SIZE and not FRAME_SIZE_DEFAULT <= value <= 0xFFFFFF:
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
    return values


def goaway(code: ErrorCode, detail: str) -> bytes:
    """Ours: a server opens no streams here, so the last id is 0."""
    return frame(GOAWAY, 0, 0, bytes(4) + code.to_bytes(4) + detail.encode()[:DEBUG_DATA_BYTES_MAX])


def read_goaway(payload: bytes) -> tuple[int, str]:
    """The last stream that the peer may have processed, and its reason as text of at most about 1 KiB."""
    if len(payload) < 8:
        raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
    debug = payload[8 : 8 + DEBUG_DATA_BYTES_MAX].decode(errors="replace")
    text = f"GOAWAY {error_name(int.from_bytes(payload[4:8]))} {debug}".rstrip()
    return int.from_bytes(payload[:4]) & STREAM_ID_MAX, text


class BlockPieces:
    """The header block of a HEADERS frame that CONTINUATION frames go on with. `stream` is 0 while there is none."""

    __slots__ = ("_block", "_count", "_flags", "stream")

    def __init__(self) -> None:
        self.stream = 0
        self._flags = 0
        self._block = bytearray()
        self._count = 0

    def begin(self, flags: int, stream: int, piece: bytes) -> None:
        self.stream, self._flags, self._block, self._count = stream, flags, bytearray(piece), 0

    def add(self, flags: int, piece: bytes) -> tuple[int, bytes] | None:
        """The flags of HEADERS and the whole block once it has ended. Raises ProtocolViolation past its bounds."""
        if not self.stream:
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._count += 1
        if self._count > CONTINUATIONS_MAX or len(self._block) + len(piece) > BLOCK_BYTES_MAX:
            raise ProtocolViolation(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        self._block += piece
        if not flags & END_HEADERS:
            return None
        self.stream, block, self._block = 0, bytes(self._block), bytearray()
        return self._flags, block


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


def check_size(payload: bytes, size: int, what: str) -> None:
    if len(payload) != size:
        raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, f"{what} of a wrong length")


def check_connection_frame(stream: int, what: str) -> None:
    if stream:
        raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding (RFC 9113 §6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
