"""Requests for transport tests."""

from __future__ import annotations

from collections.abc import Sequence

from pushrpc.exchange import Requests, Row, Template

TEMPLATE = Template(
    b"POST", b"push.test", [(b"authorization", b"bearer t"), (b"apns-topic", b"com.example.shop")], b'{"aps":{}}'
)


def requests(
    count: int, body: bytes | None = None, template: Template = TEMPLATE, paths: Sequence[bytes] | None = None
) -> Requests:
    """Rows /0, /1, … with an `apns-id` of their own; `body` takes the place of the template's."""
    names = paths or [b"/%d" % n for n in range(count)]
    rows = [Row(0, name, [(b"apns-id", b"id-%d" % n)], body, (n,)) for n, name in enumerate(names)]
    return Requests([template], rows)
