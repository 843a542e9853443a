"""Pages of lists (AIP-158): sizes coerced, tokens bound to the call, and an answer that fits a client's limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from pushrpc.rpc.cursors import Cursors, scope_of
from pushrpc.rpc.errors import Reason
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import PAGE_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from pushrpc.v1 import devices_pb2, following_pb2

ListRequest = (
    devices_pb2.ListDevicesRequest | following_pb2.ListNotificationsRequest | following_pb2.ListDeliveriesRequest
)


class ListResponse(Protocol):
    next_page_token: str

    def ByteSize(self) -> int: ...


Row = TypeVar("Row")
Response = TypeVar("Response", bound=ListResponse)


class Page(NamedTuple):
    """Which page a list request asks for."""

    cursors: Cursors
    app_id: str
    scope: bytes
    size: int
    after: int

    async def fill(
        self,
        read: Callable[[int, int], Awaitable[tuple[Sequence[Row], int]]],
        build: Callable[[Sequence[Row]], Response],
    ) -> Response:
        """Reads rows by (after, limit) and builds the response; takes fewer rows when they are very long."""
        limit = self.size
        while True:
            rows, after = await read(self.after, limit)
            response = build(rows)
            if response.ByteSize() <= PAGE_BYTES_MAX or len(rows) <= 1:
                break
            limit = len(rows) // 2
        if after:
            response.next_page_token = self.cursors.page_token(self.app_id, self.scope, after)
        return response


def requested_page(request: ListRequest, fields: Fields, cursors: Cursors) -> Page:
    """Checks size and token, then refuses if anything in `fields` was wrong. Raises Refusal."""
    if request.page_size < 0:
        fields.wrong(Reason.FIELD_INVALID, "page_size", f"is {request.page_size}, it may not be negative", 0)
    fields.refuse()
    scope = scope_of(request)
    after = cursors.page_after(request.app_id, scope, request.page_token) if request.page_token else 0
    size = min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
    return Page(cursors, request.app_id, scope, size, after)
