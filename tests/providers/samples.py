"""Notifications and deliveries to try providers on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pushrpc.content import Content
from pushrpc.exchange import Headers, Requests, Row
from pushrpc.model import Batch, Claimed, Lane, Notification, Refused
from pushrpc.providers import ProviderAccount
from pushrpc.words import Environment, Priority, Provider

NOW_US = 1_795_413_600_000_000  # 2026-11-23 06:00:00 UTC
HOUR_US = 3_600_000_000
LANE = Lane("shop", Provider.APNS, "com.example.shop", Environment.PRODUCTION)
NOTIFICATION_ID = "0193f2a4-5b6c-7d8e-9fa0-b1c2d3e4f506"


def notification(content: Content | None = None, **given: Any) -> Notification:
    values: dict[str, Any] = {
        "key": 1,
        "app_id": "shop",
        "notification_id": NOTIFICATION_ID,
        "request_id": "",
        "content": content or Content(title="Order shipped", body="On its way"),
        "priority": Priority.HIGH,
        "collapse_key": "",
        "at_most_once": False,
        "one_try": False,
        "created_us": NOW_US,
        "expire_us": NOW_US + HOUR_US,
        "labels": {},
    }
    return Notification(**(values | given))


def claimed(of: Notification, token: str = "ab" * 32, ordinal: int = 0, address: str = "") -> Claimed:
    return Claimed(ordinal + 1, of, LANE, ordinal, token, "", "", 0, 0, address=address)


def batch(
    account: ProviderAccount, deliveries: Sequence[Claimed], environment: Environment = Environment.UNSPECIFIED
) -> Batch:
    return Batch(Lane("shop", account.provider, account.provider_app_id, environment), deliveries)


def lane(environment: Environment = Environment.UNSPECIFIED, **parts: Any) -> Lane:
    return LANE._replace(environment=environment, **parts)


def refused(problem: Refused | None) -> str:
    """What people are told of it."""
    assert problem is not None
    return problem.detail


def headers_of(requests: Requests, row: Row) -> Headers:
    return [*requests.templates[row.template].headers, *row.headers]


def body_of(requests: Requests, row: Row) -> bytes:
    return row.body or requests.templates[row.template].body or b""


def json_of(requests: Requests, position: int = 0) -> Any:
    return json.loads(body_of(requests, requests.rows[position]))


def legal(headers: Headers) -> bool:
    """Whether HTTP/2 may carry them (RFC 9113 §8.2.1), and none is there twice."""
    names: Sequence[bytes] = [name for name, _ in headers]
    values_fine = all(
        not set(value) & {0, 10, 13} and value == value.strip(b" \t") and value and min(value) >= 0x20
        for _, value in headers
    )
    return values_fine and len(set(names)) == len(names) and all(name == name.lower() for name in names)
