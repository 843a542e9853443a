"""The rows of one `send` on their way, and the answers that have come back."""

from __future__ import annotations

from pushrpc.exchange import Answer, Headers, Requests


class Batch:
    """`taken` rows have a stream or had one; `page` holds the answers not yet handed over."""

    __slots__ = ("page", "requests", "status_only", "taken")

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.status_only = requests.status_only
        self.taken = 0
        self.page: list[tuple[int, Answer]] = []


class Partial:
    """A response whose headers have come and whose body has not ended. `held` are the bytes kept of it."""

    __slots__ = ("batch", "body", "headers", "held", "row", "status")

    def __init__(self, batch: Batch, row: int, status: int, headers: Headers, held: int) -> None:
        self.batch = batch
        self.row = row
        self.status = status
        self.headers = headers
        self.held = held
        self.body: bytes | bytearray = b""

    def add(self, data: bytes) -> None:
        if not self.body:
            self.body = data  # nearly every body comes in one frame
        elif isinstance(self.body, bytes):
            self.body = bytearray(self.body + data)
        else:
            self.body += data
