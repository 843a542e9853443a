"""What both engines share: the order of a connection's steps, and what is told of its requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

UNKNOWN_FRAME: Final = 0xFA
WINDOW_DEFAULT: Final = 65_535
PADDING_BYTES: Final = 37


class Options(NamedTuple):
    """How a listener's connections begin. `plan` answers each request that has come whole."""

    settings: Mapping[int, int]
    plan: Sequence[Sequence[Any]]
    reads: bool  # false: bodies are left unread, so that no window is given back
    padded: bool
    connection_window: int


class Tell(Protocol):
    def __call__(self, event: str, **fields: object) -> None: ...


class Broken(Exception):
    """The client broke a rule of HTTP/2, says the engine."""


class Engine(ABC):
    """A server's side of one connection: bytes in, bytes out, and steps in between. Streams go by their token."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self.options = options
        self.tell = tell
        self.reads = options.reads
        self.streams: dict[str, int] = {}
        self.tokens: dict[int, str] = {}
        self.lengths: dict[int, int] = {}

    def step(self, verb: str, target: str | int, *arguments: Any) -> None:
        """Streams are named by their token, connections by the number that was used to find this engine."""
        if isinstance(target, str):
            getattr(self, verb)(self.streams[target], *arguments)
            if verb == "trailers" or (verb in ("headers", "data") and arguments[1]):
                self.tell("answered", token=target)
        else:
            getattr(self, verb)(*arguments)

    def began(self, stream: int, headers: Mapping[str, str]) -> None:
        token = headers[":path"].rpartition("/")[2]
        if (headers.get("apns-id"), headers.get("authorization")) != (token, "bearer t"):
            self.tell("broken", detail=f"headers of {token}: {headers}")
        self.streams[token], self.tokens[stream], self.lengths[stream] = stream, token, 0
        self.tell("began", token=token, stream=stream)

    def ended(self, stream: int) -> None:
        token = self.tokens[stream]
        self.tell("whole", token=token, length=self.lengths[stream])
        for verb, *arguments in self.options.plan:
            self.step(verb, token, *arguments)

    def response_headers(self, stream: int, status: int, filler: int) -> list[tuple[bytes, bytes]]:
        headers = [(b":status", b"%d" % status), (b"x-token", self.tokens[stream].encode())]
        return headers + [(b"x-filler", b"f" * filler)] * bool(filler)

    def body(self, stream: int, size: int) -> bytes:
        """The token again and again, so that a byte in a wrong place is seen."""
        token = self.tokens[stream].encode()
        return (token * (size // len(token) + 1))[:size]

    @property
    def added(self) -> int:
        """Frames written or altered past the engine's own interface."""
        return 0

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Raises Broken."""

    @abstractmethod
    def data_to_send(self) -> bytes: ...

    @abstractmethod
    def interim(self, stream: int, status: int) -> None: ...

    @abstractmethod
    def headers(self, stream: int, status: int, end: bool, filler: int = 0) -> None: ...

    @abstractmethod
    def data(self, stream: int, size: int, end: bool) -> None: ...

    @abstractmethod
    def trailers(self, stream: int) -> None: ...

    @abstractmethod
    def reset(self, stream: int, code: int) -> None: ...

    @abstractmethod
    def goaway(self, last: int, code: int) -> None: ...

    @abstractmethod
    def shutdown(self) -> None:
        """The engine's own way to say that no new streams are wanted."""

    @abstractmethod
    def settings(self, values: Mapping[str, int]) -> None: ...

    @abstractmethod
    def ping(self) -> None: ...

    @abstractmethod
    def unknown(self) -> None:
        """A frame of a type that no client knows."""

    @abstractmethod
    def release(self) -> None:
        """Reads bodies from now on, and gives back the windows of what has come."""
