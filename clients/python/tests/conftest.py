"""A server of our own making, and both clients before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from blocking import Blocking
from fake import Fake, serving

from pushrpc_client import Client


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    with serving(fake) as address:
        fake.address = address
        yield fake


@pytest.fixture(params=["threads", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients of one of the two APIs, and closes them."""
    made: list[Any] = []
    kind = Client if request.param == "threads" else Blocking

    def connect(address: str, **options: Any) -> Any:
        made.append(kind(address, "shop", **({"plaintext": True} | options)))
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture
def push(fake: Fake, connect: Callable[..., Any]) -> Any:
    return connect(fake.address)
