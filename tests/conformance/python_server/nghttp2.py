"""libnghttp2's engine, through ctypes: the library that nghttpd is made of, with every frame in its own hands."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_ssize_t, c_uint8, c_uint32, c_void_p
from typing import Any, Final

from tests.conformance.python_server.engine import (
    PADDING_BYTES,
    UNKNOWN_FRAME,
    WINDOW_DEFAULT,
    Broken,
    Engine,
    Options,
    Tell,
)

END_STREAM: Final = 0x1
ACK: Final = 0x1
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0x0, 0x1, 0x3, 0x4, 0x6
DATA_FLAG_EOF: Final = 0x1
DATA_FLAG_NO_END_STREAM: Final = 0x2
DEFERRED: Final = -508


class _Name(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p),
        ("value", c_char_p),
        ("namelen", c_size_t),
        ("valuelen", c_size_t),
        ("flags", c_uint8),
    )


class _Setting(ctypes.Structure):
    _fields_ = (("id", c_int32), ("value", c_uint32))


class _FrameHeader(ctypes.Structure):
    """The part that every member of `nghttp2_frame` begins with."""

    _fields_ = (
        ("length", c_size_t),
        ("stream", c_int32),
        ("kind", c_uint8),
        ("flags", c_uint8),
        ("reserved", c_uint8),
    )


_READ = ctypes.CFUNCTYPE(
    c_ssize_t, c_void_p, c_int32, POINTER(c_uint8), c_size_t, POINTER(c_uint32), c_void_p, c_void_p
)
_FRAME = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_FrameHeader), c_void_p)
_HEADER = ctypes.CFUNCTYPE(
    c_int, c_void_p, POINTER(_FrameHeader), c_void_p, c_size_t, c_void_p, c_size_t, c_uint8, c_void_p
)
_INVALID = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_FrameHeader), c_int, c_void_p)
_CHUNK = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint8, c_int32, c_void_p, c_size_t, c_void_p)
_PADDING = ctypes.CFUNCTYPE(c_ssize_t, c_void_p, POINTER(_FrameHeader), c_size_t, c_void_p)
_PACK = ctypes.CFUNCTYPE(c_ssize_t, c_void_p, POINTER(c_uint8), c_size_t, POINTER(_FrameHeader), c_void_p)


class _Provider(ctypes.Structure):
    _fields_ = (("source", c_void_p), ("read", _READ))


def load() -> ctypes.CDLL:
    """Raises OSError where the library is not installed."""
    library = ctypes.CDLL(ctypes.util.find_library("nghttp2") or "libnghttp2.so.14")
    library.nghttp2_session_mem_recv.restype = c_ssize_t
    library.nghttp2_session_mem_send.restype = c_ssize_t
    library.nghttp2_strerror.restype = c_char_p
    return library


class Nghttp2(Engine):
    def __init__(self, options: Options, tell: Tell) -> None:
        super().__init__(options, tell)
        self._library = load()
        self._session = c_void_p()
        self._headers: dict[int, dict[str, str]] = defaultdict(dict)
        self._bodies: dict[int, deque[bytes | None]] = defaultdict(deque)  # None stands for trailers
        self._ends: set[int] = set()  # streams whose body is all queued
        self._unread: dict[int, int] = defaultdict(int)
        self._failure: BaseException | None = None
        self._kept: list[object] = []  # what C points to
        self._provider = _Provider(None, self._keep(_READ(self._read)))
        self._open_session()
        self.settings({str(key): value for key, value in options.settings.items()})
        if options.connection_window > WINDOW_DEFAULT:
            self._do("submit_window_update", 0, c_int32(0), c_int32(options.connection_window - WINDOW_DEFAULT))

    def _open_session(self) -> None:
        library, callbacks, option = self._library, c_void_p(), c_void_p()
        library.nghttp2_session_callbacks_new(ctypes.byref(callbacks))
        for name, callback in (
            ("on_header", _HEADER(self._guarded(self._on_header))),
            ("on_frame_recv", _FRAME(self._guarded(self._on_frame))),
            ("on_invalid_frame_recv", _INVALID(self._guarded(self._on_invalid))),
            ("on_data_chunk_recv", _CHUNK(self._guarded(self._on_chunk))),
            ("select_padding", _PADDING(self._padding)),
            ("pack_extension", _PACK(self._pack)),
        ):
            install = getattr(library, f"nghttp2_session_callbacks_set_{name}_callback")
            install(callbacks, self._keep(callback))
        library.nghttp2_option_new(ctypes.byref(option))
        library.nghttp2_option_set_no_auto_window_update(option, 1)
        library.nghttp2_session_server_new2(ctypes.byref(self._session), callbacks, None, option)
        library.nghttp2_option_del(option)
        library.nghttp2_session_callbacks_del(callbacks)

    def _keep(self, thing: Any) -> Any:
        self._kept.append(thing)
        return thing

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., int]:
        """ctypes swallows what a callback raises, so it is kept for `receive`."""

        def guarded(*arguments: Any) -> int:
            try:
                callback(*arguments)
            except Exception as error:
                self._failure = self._failure or error
            return 0

        return guarded

    def _do(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, f"nghttp2_{function}")(self._session, *arguments)
        if code < 0:
            raise RuntimeError(f"{function}: {self._library.nghttp2_strerror(code).decode()}")

    def receive(self, data: bytes) -> None:
        used = self._library.nghttp2_session_mem_recv(self._session, data, c_size_t(len(data)))
        if self._failure:
            raise self._failure
        if used < 0:
            raise Broken(self._library.nghttp2_strerror(c_int(used)).decode())

    def data_to_send(self) -> bytes:
        out, piece = b"", POINTER(c_uint8)()
        while (size := self._library.nghttp2_session_mem_send(self._session, ctypes.byref(piece))) > 0:
            out += ctypes.string_at(piece, size)
        return out

    # --- what the library calls

    def _on_header(
        self, _s: int, frame: Any, name: int, name_size: int, value: int, value_size: int, _f: int, _u: int
    ) -> None:
        header = ctypes.string_at(name, name_size).decode(), ctypes.string_at(value, value_size).decode()
        self._headers[frame.contents.stream].update([header])

    def _on_chunk(self, _s: int, _flags: int, stream: int, _data: int, size: int, _u: int) -> None:
        self.lengths[stream] += size
        self._unread[stream] += size
        if self.reads:
            self._give_back(stream)

    def _on_frame(self, _s: int, frame: Any, _u: int) -> None:
        kind, flags, stream = frame.contents.kind, frame.contents.flags, frame.contents.stream
        if kind == HEADERS:
            self.began(stream, self._headers.pop(stream))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended(stream)
        elif kind == RST_STREAM:
            self.tell("cancelled", token=self.tokens[stream])
        elif kind == SETTINGS and flags & ACK:
            self.tell("acknowledged")
        elif kind == PING and flags & ACK:
            self.tell("pong")

    def _on_invalid(self, _s: int, frame: Any, code: int, _u: int) -> None:
        reason = self._library.nghttp2_strerror(code).decode()
        self.tell("broken", detail=f"frame type {frame.contents.kind}, stream {frame.contents.stream}: {reason}")

    def _read(self, _s: int, stream: int, buffer: Any, room: int, flags: Any, _p: int, _u: int) -> int:
        queue = self._bodies[stream]
        if not queue:
            return DEFERRED
        body = queue.popleft()
        if body is None:
            flags[0] |= DATA_FLAG_EOF | DATA_FLAG_NO_END_STREAM
            self._do("submit_trailer", c_int32(stream), _names([(b"x-checksum", b"7")]), c_size_t(1))
            return 0
        size = min(room, len(body))
        ctypes.memmove(buffer, body, size)
        if size < len(body):
            queue.appendleft(body[size:])
        elif not queue and stream in self._ends:
            flags[0] |= DATA_FLAG_EOF
        return size

    def _padding(self, _s: int, frame: Any, size_max: int, _u: int) -> int:
        size: int = frame.contents.length
        return min(size_max, size + PADDING_BYTES) if self.options.padded else size

    @staticmethod
    def _pack(_s: int, buffer: Any, _size: int, _frame: Any, _u: int) -> int:
        ctypes.memmove(buffer, b"anything", 8)
        return 8

    def _give_back(self, stream: int) -> None:
        if size := self._unread.pop(stream, 0):
            self._do("session_consume", c_int32(stream), c_size_t(size))

    # --- steps

    def interim(self, stream: int, status: int) -> None:
        headers = self.response_headers(stream, status, 0)
        self._do("submit_headers", 0, c_int32(stream), None, _names(headers), c_size_t(len(headers)), None)

    def headers(self, stream: int, status: int, end: bool, filler: int = 0) -> None:
        headers = self.response_headers(stream, status, filler)
        provider = None if end else ctypes.byref(self._provider)
        self._do("submit_response", c_int32(stream), _names(headers), c_size_t(len(headers)), provider)

    def data(self, stream: int, size: int, end: bool) -> None:
        if end:
            self._ends.add(stream)
        self._resume(stream, self.body(stream, size))

    def trailers(self, stream: int) -> None:
        self._resume(stream, None)

    def _resume(self, stream: int, body: bytes | None) -> None:
        self._bodies[stream].append(body)
        # Refused where it is not deferred yet, which is as well: then it will be asked for.
        self._library.nghttp2_session_resume_data(self._session, c_int32(stream))

    def reset(self, stream: int, code: int) -> None:
        self._do("submit_rst_stream", 0, c_int32(stream), c_uint32(code))

    def goaway(self, last: int, code: int) -> None:
        self._do("submit_goaway", 0, c_int32(last), c_uint32(code), None, c_size_t(0))

    def shutdown(self) -> None:
        self._do("submit_shutdown_notice")
        self._do("submit_goaway", 0, c_int32(max(self.tokens, default=0)), c_uint32(0), None, c_size_t(0))

    def settings(self, values: Mapping[str, int]) -> None:
        entries = (_Setting * len(values))(*[_Setting(int(key), value) for key, value in values.items()])
        self._do("submit_settings", 0, entries, c_size_t(len(values)))

    def ping(self) -> None:
        self._do("submit_ping", 0, b"conforms")

    def unknown(self) -> None:
        self._do("submit_extension", c_uint8(UNKNOWN_FRAME), 0, c_int32(0), None)

    def release(self) -> None:
        self.reads = True
        for stream in list(self._unread):
            self._give_back(stream)


def _names(headers: Sequence[tuple[bytes, bytes]]) -> Any:
    return (_Name * len(headers))(*[_Name(name, value, len(name), len(value), 0) for name, value in headers])
