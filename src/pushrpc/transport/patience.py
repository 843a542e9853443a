"""How much a peer may ask of us that brings no answer (RFC 9113 §10.5): beyond it the connection ends."""

from __future__ import annotations

from typing import Final

from pushrpc.transport.frames import ErrorCode, ProtocolViolation

# Frames that bring no answer (PING, SETTINGS, GOAWAY, WINDOW_UPDATE, empty DATA, 1xx, unknown types, anything late for
# a stream that we have reset) between two ticks. Late answers to a whole session's cancelled streams stay below it.
IDLE_FRAMES_MAX: Final = 10_000

# A request's body is given back with a WINDOW_UPDATE for its stream and one for the connection; those are no idle
# frames. What a peer with windows of a few bytes needs beyond that is counted (CVE-2019-9511, data dribble).
UPDATES_PER_REQUEST: Final = 2

# A new INITIAL_WINDOW_SIZE is applied to every body that waits, which costs as much as an idle frame for each so many.
UPLOADS_PER_FRAME: Final = 16

# Reading a 1xx costs as much as an idle frame for each so many bytes of its header block.
INFORMATIONAL_BYTES_PER_FRAME: Final = 16

# Resets in a row without a single response. A server that lowers its stream limit stays below it.
RESETS_MAX: Final = 2_000

# Unfinished responses of one connection, header blocks and bodies together: 4 KiB for each of a thousand streams,
# where push services answer with a few hundred bytes in one piece.
HELD_BYTES_MAX: Final = 4_194_304


class Patience:
    """Counts for one connection. Every method raises ProtocolViolation where its bound is passed.

    `resets` goes back to 0 with every response, which the connection does itself: that is its busiest line.
    """

    __slots__ = ("held_bytes", "idle_frames", "resets")

    def __init__(self) -> None:
        self.idle_frames = 0
        self.resets = 0
        self.held_bytes = 0

    def tick(self) -> None:
        """A second has passed."""
        self.idle_frames = 0

    def requested(self, count: int) -> None:
        """So many requests were sent, whose bodies the peer will give back."""
        self.idle_frames -= UPDATES_PER_REQUEST * count

    def idle(self, frames: int = 1) -> None:
        self.idle_frames += frames
        if self.idle_frames > IDLE_FRAMES_MAX:
            raise ProtocolViolation(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that bring no answer")

    def reset(self) -> None:
        """The peer has reset one more request."""
        self.resets += 1
        if self.resets > RESETS_MAX:
            raise ProtocolViolation(ErrorCode.ENHANCE_YOUR_CALM, "every request is reset")

    def hold(self, size: int) -> None:
        """So much more of a response is kept until it ends."""
        self.held_bytes += size
        if self.held_bytes > HELD_BYTES_MAX:
            raise ProtocolViolation(ErrorCode.ENHANCE_YOUR_CALM, "too much of unfinished responses")
