"""One HTTP/2 client connection without I/O (RFC 9113): bytes in, answers out; requests in, bytes out.

Work moves in batches. `start` writes as many requests as limits allow into one buffer, `receive` reads frames by
offset and leaves answers in their batch's page. The common answer, a HEADERS frame that says 200, alone or with one
DATA frame (seldom its neighbour: servers write the HEADERS of many answers first), never leaves the inner loop; all
else takes the careful path. What breaks the rules ends the connection; what is wrong with one response, its stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import hpack

from pushrpc.exchange import Answer, Headers, NoAnswer, NotSent, Response, Template
from pushrpc.transport import frames as f
from pushrpc.transport.batch import Batch, Partial
from pushrpc.transport.frames import ErrorCode, ProtocolViolation, error_name
from pushrpc.transport.headers import (
    RESPONSE_HEADERS_BYTES_MAX,
    Decoder,
    Encoder,
    LateHeaders,
    Malformed,
    content_length,
    path,
    regular,
    status_of,
)
from pushrpc.transport.patience import INFORMATIONAL_BYTES_PER_FRAME, UPLOADS_PER_FRAME, Patience
from pushrpc.transport.uploads import Uploads

# Open streams per connection when the peer names no lower number: what Apple and Google announce in practice.
STREAMS_MAX: Final = 1_000

# Bytes written by one `start` before the caller must take them away: big enough that writes are few, small enough that
# a slow peer stops us before much is in memory.
OUTBOX_BYTES_MAX: Final = 131_072

# A response body longer than this is cut here: push services answer with a few hundred bytes of JSON.
BODY_BYTES_MAX: Final = 65_536

# What the peer may send before we acknowledge any of it, over all streams: a full set of error bodies.
RECEIVE_WINDOW: Final = 1_048_576

_OK_WHOLE: Final = f.END_STREAM | f.END_HEADERS
_STATUS_200: Final = 0x88  # `:status 200` in the static table


class Connection:
    """A client connection: it starts with the preface in its outbox and takes requests once the peer's SETTINGS came.

    `ended` says why it is over, empty while it lives. Bodies above 64 KiB are cut and their stream is reset: the
    status was seen, so the answer is a Response. Answers of a batch come in the order the peer sent them.
    """

    def __init__(self, session: int = 0, tls: bool = True) -> None:
        self.session = session
        self.ready = False  # the peer's first SETTINGS have come
        self.draining = False  # no new streams: GOAWAY, or ids used up
        self.ended = ""
        self.ping_open = False
        self.worked = False  # at least one response has come
        self.progress = False  # the last read ended a frame, and left no header block unfinished
        self._scheme = b"https" if tls else b"http"
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._outbox = bytearray(f.PREFACE)
        self._inbox = b""
        self._answered: list[Batch] = []

        # A stream is in `_open` until its final response headers come, then in `_partial` until its body ends.
        self._open: dict[int, tuple[Batch, int]] = {}
        self._partial: dict[int, Partial] = {}
        self._uploads = Uploads(self._outbox)
        self._next_stream = 1
        self._first_unwritten = 1  # streams from here on are only in the outbox
        self._goaway = ""

        self._streams_max = STREAMS_MAX
        self._receive_window = RECEIVE_WINDOW

        self._pieces = f.BlockPieces()
        self._patience = Patience()

        self._outbox += f.settings(
            {
                f.HEADER_TABLE_SIZE: 0,
                f.ENABLE_PUSH: 0,
                f.INITIAL_WINDOW_SIZE: BODY_BYTES_MAX,
                f.MAX_HEADER_LIST_SIZE: RESPONSE_HEADERS_BYTES_MAX,
            }
        )
        self._outbox += f.window_update(0, RECEIVE_WINDOW - f.WINDOW_DEFAULT)

    # --- requests in, bytes out

    @property
    def open_count(self) -> int:
        return len(self._open) + len(self._partial)

    @property
    def room(self) -> int:
        """How many more requests may be started now."""
        if not self.ready or self.draining or self.ended or self._uploads.window <= 0:
            return 0
        return max(0, self._streams_max - len(self._open) - len(self._partial))

    def start(self, batch: Batch) -> int:
        """Writes the next rows of a batch, until a limit or the outbox is full; says how many.

        Headers must not hold `content-length`: it is added where there is a body.
        """
        out, opened, uploads, pack = self._outbox, self._open, self._uploads, f.pack_header
        templates, rows, _ = batch.requests
        literals, frame_max = self._encoder.literals, uploads.frame_max
        whole_max = min(uploads.initial_window, frame_max)
        shared: dict[int, tuple[bytes, bytes, bytes, bytes | None]] = {}
        position, stop, stream = batch.taken, min(len(rows), batch.taken + self.room), self._next_stream
        while position < stop and len(out) < OUTBOX_BYTES_MAX and stream <= f.STREAM_ID_MAX:
            number, row_path, row_headers, body, _ = rows[position]
            before, after, length, common = shared.get(number) or self._shared(templates, number, shared)
            if body is None:
                body = common
            else:
                length = content_length(len(body)) if body else b""
            block = before + path(row_path) + after + literals(row_headers) + length
            opened[stream] = batch, position
            position += 1
            flags = f.END_HEADERS if body else _OK_WHOLE
            size = len(block)
            if size <= frame_max:
                out += pack(size >> 16, size & 0xFFFF, f.HEADERS, flags, stream) + block
            else:
                out += f.header_frames(stream, flags & f.END_STREAM, block, frame_max)
            if body:
                size = len(body)
                if size <= whole_max and size <= uploads.window:
                    uploads.window -= size
                    out += pack(size >> 16, size & 0xFFFF, f.DATA, f.END_STREAM, stream) + body
                else:
                    uploads.add(stream, body)
                if uploads.window <= 0:
                    stop = position
            stream += 2
        taken = position - batch.taken
        batch.taken, self._next_stream = position, stream
        self._patience.requested(taken)
        self.draining = self.draining or stream > f.STREAM_ID_MAX
        return taken

    def _shared(
        self, templates: Sequence[Template], number: int, known: dict[int, tuple[bytes, bytes, bytes, bytes | None]]
    ) -> tuple[bytes, bytes, bytes, bytes | None]:
        """What the rows of a template share: the block around the path, the length of its body, and the body.

        Must be sent next, because it may change the peer's header table.
        """
        template = templates[number]
        before, after, final = self._encoder.shared(template, self._scheme)
        parts = before, after, content_length(len(template.body)) if template.body else b"", template.body
        if final:
            known[number] = parts
        else:
            known.clear()  # the table moved, so every index written so far is off
        return parts

    def cancel(self, batch: Batch, detail: str) -> None:
        """Resets the batch's open streams; their rows become NoAnswer."""
        for stream in [s for s, (owner, _) in self._open.items() if owner is batch]:
            self._reset(stream, ErrorCode.CANCEL, detail)
        for stream in [s for s, partial in self._partial.items() if partial.batch is batch]:
            self._reset(stream, ErrorCode.CANCEL, detail)
        self._answered = [b for b in self._answered if b is not batch]

    def ping(self) -> None:
        """Asks for a sign of life; `ping_open` until it comes."""
        if not self.ended:
            self.ping_open = True
            self._outbox += f.frame(f.PING, 0, 0, bytes(8))

    def tick(self) -> None:
        """To be called once a second: bounds on frames without answers count from tick to tick."""
        self._patience.tick()

    def data_to_send(self) -> bytes:
        """What must go to the peer now. Once taken, it counts as written."""
        data = bytes(self._outbox)
        self._outbox.clear()
        self._first_unwritten = self._next_stream
        return data

    def close(self, detail: str) -> Sequence[Batch]:
        """Says goodbye with GOAWAY; what is open becomes NoAnswer. Returns the batches with new answers."""
        self._end(ErrorCode.NO_ERROR, detail)
        return self._take_answered()

    def lost(self, detail: str) -> Sequence[Batch]:
        """The bytes stopped flowing. What was never taken by `data_to_send` is NotSent, the rest NoAnswer."""
        self._outbox.clear()  # what is called NotSent must not leave any more
        self._give_up(f"{detail} after {self._goaway}" if self._goaway else detail)
        return self._take_answered()

    # --- bytes in, answers out

    def receive(self, data: bytes) -> Sequence[Batch]:
        """Reads what the peer sent. Returns the batches whose page was empty and now has answers."""
        if self.ended:
            return ()
        try:
            used = self._read_frames(data := self._inbox + data)
        except ProtocolViolation as violation:
            self._end(violation.code, violation.detail)
        else:
            self._inbox = data[used:]
            self.progress = used > 0 and not self._pieces.stream
            self._uploads.resume()
        return self._take_answered()

    def _take_answered(self) -> Sequence[Batch]:
        answered, self._answered = self._answered, []
        return answered

    def _read_frames(self, data: bytes) -> int:
        opened, partials, answered, session = self._open, self._partial, self._answered, self.session
        pieces, uploads, patience, decoder = self._pieces, self._uploads, self._patience, self._decoder
        plain = Response(200, (), b"", session)
        unpack, end, at = f.unpack_header, len(data), 0
        while at + f.HEADER_BYTES <= end:
            high, low, kind, flags, stream = unpack(data, at)
            size = high << 16 | low
            start = at + f.HEADER_BYTES
            at_next = start + size
            if size > f.FRAME_SIZE_DEFAULT:
                raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if at_next > end:
                break
            at = at_next
            plain_sailing = not (pieces.stream or uploads.waiting)
            if (
                plain_sailing
                and kind == f.HEADERS
                and flags | f.END_STREAM == _OK_WHOLE
                and stream in opened
                and size
                and data[start] == _STATUS_200
            ):
                batch, row = opened.pop(stream)
                if flags == f.END_HEADERS:
                    partials[stream] = Partial(batch, row, 200, LateHeaders(decoder, data[start:at_next]), size)
                    patience.hold(size)
                    continue
                answer = plain
                if not batch.status_only:
                    answer = Response(200, LateHeaders(decoder, data[start:at_next]), b"", session)
            elif (
                plain_sailing
                and kind == f.DATA
                and flags == f.END_STREAM
                and stream in partials
                and size <= BODY_BYTES_MAX
                and not partials[stream].body
                and self._receive_window > RECEIVE_WINDOW // 2 + f.FRAME_SIZE_DEFAULT
            ):
                self._receive_window -= size
                partial = partials.pop(stream)
                patience.held_bytes -= partial.held
                batch, row = partial.batch, partial.row
                answer = Response(partial.status, partial.headers, data[start:at_next], session)
            else:
                self._frame(kind, flags, stream & 0x7FFFFFFF, data[start:at_next])
                continue
            if not batch.page:
                answered.append(batch)
            batch.page.append((row, answer))
            patience.resets, self.worked = 0, True
        return at

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._pieces.stream and (kind != f.CONTINUATION or stream != self._pieces.stream):
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "a frame inside a header block")
        if not self.ready and (kind != f.SETTINGS or flags & f.ACK):
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        match kind:
            case f.HEADERS:
                self._on_headers(flags, stream, payload)
            case f.DATA:
                self._on_data(flags, stream, payload)
            case f.WINDOW_UPDATE:
                self._on_window_update(stream, payload)
            case f.RST_STREAM:
                self._on_reset(stream, payload)
            case f.SETTINGS:
                self._on_settings(flags, stream, payload)
            case f.PING:
                self._on_ping(flags, stream, payload)
            case f.GOAWAY:
                self._on_goaway(stream, payload)
            case f.CONTINUATION:
                if ended := self._pieces.add(flags, payload):
                    self._on_block(ended[0], stream, ended[1])
            case f.PUSH_PROMISE:
                raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE though push is off")
            case f.PRIORITY if stream == 0:
                raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
            case _:  # PRIORITY is deprecated, unknown types are ignored (RFC 9113 §5.3.2, §5.5)
                self._patience.idle()

    # --- responses

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_opened(stream, "HEADERS")
        block = f.unpadded(flags, payload)
        if flags & f.HAS_PRIORITY:
            if len(block) < 5:
                raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            block = block[5:]
        if flags & f.END_HEADERS:
            self._on_block(flags, stream, block)
        else:
            self._pieces.begin(flags, stream, block)

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        try:
            if stream in self._open:
                self._response(flags, stream, block)
            elif stream in self._partial:
                self._trailers(flags, stream, block)
            else:
                self._patience.idle()  # of a stream that we have reset
        except hpack.HPACKError as error:
            # Its own words may hold an address in memory, another each time.
            raise ProtocolViolation(ErrorCode.COMPRESSION_ERROR, f"a header block: {type(error).__name__}") from error
        except Malformed as error:
            self._reset(stream, ErrorCode.PROTOCOL_ERROR, f"malformed response: {error}")

    def _response(self, flags: int, stream: int, block: bytes) -> None:
        headers: Headers
        if block[:1] == b"\x88":
            status, headers = 200, LateHeaders(self._decoder, block)
        else:
            decoded = self._decoder.decode(block)
            status, headers = status_of(decoded), regular(decoded)
        if status < 200:
            if flags & f.END_STREAM or status == 101:
                raise Malformed(f"status {status}")
            self._patience.idle(1 + len(block) // INFORMATIONAL_BYTES_PER_FRAME)
        elif flags & f.END_STREAM:
            self._answer(stream, Response(status, headers, b"", self.session))
        else:
            self._partial[stream] = Partial(*self._open.pop(stream), status, headers, len(block))
            self._patience.hold(len(block))

    def _trailers(self, flags: int, stream: int, block: bytes) -> None:
        if not flags & f.END_STREAM:
            raise Malformed("headers after headers")
        if any(name.startswith(b":") for name, _ in self._decoder.decode(block)):
            raise Malformed("a pseudo-header in trailers")
        self._complete(stream)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_opened(stream, "DATA")
        self._receive_window -= len(payload)
        if self._receive_window < 0:
            raise ProtocolViolation(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._receive_window < RECEIVE_WINDOW // 2:
            self._outbox += f.window_update(0, RECEIVE_WINDOW - self._receive_window)
            self._receive_window = RECEIVE_WINDOW
        data = f.unpadded(flags, payload)
        partial = self._partial.get(stream)
        if partial is None:
            if stream in self._open:
                self._reset(stream, ErrorCode.PROTOCOL_ERROR, "malformed response: DATA before HEADERS")
            else:
                self._patience.idle()  # of a stream that we have reset
            return
        partial.add(data)
        if flags & f.END_STREAM:
            self._complete(stream)
        elif len(partial.body) >= BODY_BYTES_MAX:
            self._outbox += f.rst_stream(stream, ErrorCode.CANCEL)
            self._complete(stream)
        elif data:
            partial.held += len(data)
            self._patience.hold(len(data))
        else:
            self._patience.idle()
        if len(payload) > len(data) and stream in self._partial:
            # The stream's window is the bound on bodies, so only padding is ever given back.
            self._outbox += f.window_update(stream, len(payload) - len(data))

    def _complete(self, stream: int) -> None:
        partial = self._partial[stream]
        body = bytes(partial.body[:BODY_BYTES_MAX])
        self._answer(stream, Response(partial.status, partial.headers, body, self.session))

    def _answer(self, stream: int, answer: Answer) -> None:
        """Ends a stream with what its row came to."""
        partial = self._partial.pop(stream, None)
        batch, row = (partial.batch, partial.row) if partial else self._open.pop(stream)
        if partial:
            self._patience.held_bytes -= partial.held
        unfinished = self._uploads.drop(stream)
        if isinstance(answer, Response):
            self._patience.resets, self.worked = 0, True
            if unfinished:  # answered before we were done: the rest of the body is not wanted
                self._outbox += f.rst_stream(stream, ErrorCode.CANCEL)
        if not batch.page:
            self._answered.append(batch)
        batch.page.append((row, answer))

    def _on_reset(self, stream: int, payload: bytes) -> None:
        self._check_opened(stream, "RST_STREAM")
        f.check_size(payload, 4, "RST_STREAM")
        code = int.from_bytes(payload)
        if stream in self._open and code == ErrorCode.REFUSED_STREAM:
            self._answer(stream, NotSent("RST_STREAM REFUSED_STREAM"))
        elif stream in self._open or stream in self._partial:
            self._answer(stream, NoAnswer(f"RST_STREAM {error_name(code)}", self.session))
        else:
            self._patience.idle()
            return
        self._patience.reset()

    def _reset(self, stream: int, code: ErrorCode, detail: str) -> None:
        self._outbox += f.rst_stream(stream, code)
        self._answer(stream, NoAnswer(detail, self.session))

    # --- the connection

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        f.check_connection_frame(stream, "SETTINGS")
        self._patience.idle()
        if flags & f.ACK:
            if payload:
                raise ProtocolViolation(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            return
        for key, value in f.read_settings(payload):
            if key == f.MAX_CONCURRENT_STREAMS:
                self._streams_max = min(value, STREAMS_MAX)
            elif key == f.HEADER_TABLE_SIZE:
                self._encoder.set_table_size(value)
            elif key == f.MAX_FRAME_SIZE:
                self._uploads.frame_max = value
            elif key == f.INITIAL_WINDOW_SIZE:
                self._patience.idle(len(self._uploads.waiting) // UPLOADS_PER_FRAME)
                self._uploads.set_initial_window(value)
        self.ready = True
        self._outbox += f.frame(f.SETTINGS, f.ACK, 0)

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        f.check_connection_frame(stream, "PING")
        f.check_size(payload, 8, "PING")
        self._patience.idle()
        if flags & f.ACK:
            self.ping_open = False
        else:
            self._outbox += f.frame(f.PING, f.ACK, 0, payload)

    def _on_goaway(self, stream: int, payload: bytes) -> None:
        """RFC 9113 §6.8: streams above the last id were not processed, those up to it may still be answered."""
        f.check_connection_frame(stream, "GOAWAY")
        self._patience.idle()
        last, self._goaway = f.read_goaway(payload)
        self.draining = True
        for above in [s for s in self._open if s > last]:
            self._answer(above, NotSent(self._goaway))

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        f.check_size(payload, 4, "WINDOW_UPDATE")
        increment = int.from_bytes(payload) & 0x7FFFFFFF
        self._patience.idle()
        if stream:
            self._check_opened(stream, "WINDOW_UPDATE")
        if increment == 0:
            if stream not in self._open and stream not in self._partial:
                raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._reset(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        elif stream == 0:
            self._uploads.connection_window_grew(increment)
        elif not self._uploads.stream_window_grew(stream, increment):
            self._reset(stream, ErrorCode.FLOW_CONTROL_ERROR, "a stream window above 2^31-1")

    def _check_opened(self, stream: int, what: str) -> None:
        """A client's streams are odd, and one that was never opened is idle (RFC 9113 §5.1)."""
        if stream % 2 == 0 or stream >= self._next_stream:
            raise ProtocolViolation(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream}, which was never opened")

    def _end(self, code: ErrorCode, detail: str) -> None:
        if not self.ended:
            self._outbox.clear()  # what is called NotSent must not leave any more
            self._outbox += f.goaway(code, detail)
            self._give_up(detail if code is ErrorCode.NO_ERROR else f"{code.name}: {detail}")

    def _give_up(self, detail: str) -> None:
        self.ended = self.ended or detail
        for stream in [*self._open, *self._partial]:
            unwritten = stream >= self._first_unwritten
            self._answer(stream, NotSent(detail) if unwritten else NoAnswer(detail, self.session))
