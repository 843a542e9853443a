"""Flow control of request bodies (RFC 9113 §5.2, §6.9): the connection's window, and bodies that wait for theirs."""

from __future__ import annotations

from pushrpc.transport import frames as f
from pushrpc.transport.frames import ErrorCode, ProtocolViolation


class _Upload:
    __slots__ = ("rest", "window")

    def __init__(self, rest: bytes, window: int) -> None:
        self.rest = rest
        self.window = window  # of the stream; negative after the peer lowered INITIAL_WINDOW_SIZE


class Uploads:
    """What may be sent now, and the rests of bodies that do not fit, in the order they came.

    A body that goes out whole at once needs no entry: `window` is lowered by who writes it, and its stream's window
    is of no interest any more. All bytes are appended to the `out` of the connection.
    """

    def __init__(self, out: bytearray) -> None:
        self.window = f.WINDOW_DEFAULT
        self.initial_window = f.WINDOW_DEFAULT
        self.frame_max = f.FRAME_SIZE_DEFAULT
        self.waiting: dict[int, _Upload] = {}
        self._out = out
        self._grew = False

    def add(self, stream: int, body: bytes) -> None:
        """Sends what fits of a body whose stream is new, and keeps the rest."""
        self.waiting[stream] = _Upload(body, self.initial_window)
        self._send(stream)

    def drop(self, stream: int) -> bool:
        """Forgets a stream's rest; true when there was one."""
        return self.waiting.pop(stream, None) is not None

    def connection_window_grew(self, increment: int) -> None:
        self._grew = self._grew or self.window <= 0  # else nothing waits for it
        self.window += increment
        if self.window > f.WINDOW_MAX:
            raise ProtocolViolation(ErrorCode.FLOW_CONTROL_ERROR, "a connection window above 2^31-1")

    def stream_window_grew(self, stream: int, increment: int) -> bool:
        """False when the stream's window overflows, which ends the stream."""
        upload = self.waiting.get(stream)
        if upload is None:
            return True
        upload.window += increment
        if upload.window > f.WINDOW_MAX:
            return False
        self._send(stream)
        return True

    def set_initial_window(self, value: int) -> None:
        """RFC 9113 §6.9.2: the change applies to open streams too."""
        for upload in self.waiting.values():
            upload.window += value - self.initial_window
            if upload.window > f.WINDOW_MAX:
                raise ProtocolViolation(ErrorCode.FLOW_CONTROL_ERROR, "a stream window above 2^31-1")
        self.initial_window = value
        self._grew = True

    def resume(self) -> None:
        """Goes on with what newly fits. Once per read, however many updates came in it."""
        if not self._grew:
            return
        self._grew = False
        for stream in list(self.waiting):
            if self.window <= 0:
                break
            self._send(stream)

    def _send(self, stream: int) -> None:
        upload = self.waiting[stream]
        while upload.rest:
            size = min(len(upload.rest), self.window, upload.window, self.frame_max)
            if size <= 0:
                return
            part, upload.rest = upload.rest[:size], upload.rest[size:]
            upload.window -= size
            self.window -= size
            self._out += f.frame(f.DATA, 0 if upload.rest else f.END_STREAM, stream, part)
        del self.waiting[stream]
