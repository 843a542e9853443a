"""TLS and ALPN: connections that never come about, and the pool when the server is mended."""

from __future__ import annotations

import datetime

from pushrpc.exchange import NotSent
from pushrpc.transport.session import Limits
from tests.conformance.relay import relaying
from tests.conformance.servers import Listening
from tests.conformance.stage import ANSWERS, LIMITS, NAMES, QUICK, Place, stage

ROWS = 100


async def untrusted_ca(place: Place) -> None:
    await _never_connects(place, "not trusted", certificate=place.stranger.issue(NAMES))


async def wrong_host_name(place: Place) -> None:
    await _never_connects(place, "not trusted", certificate=place.authority.issue(["push.example"]))


async def expired_certificate(place: Place) -> None:
    ended = place.authority.issue(NAMES, lasts=datetime.timedelta(hours=-1))
    await _never_connects(place, "expired", certificate=ended)


async def handshake_stalls(place: Place) -> None:
    await _never_connects(place, "no HTTP/2 session within", Listening(stalls=True), limits=QUICK)


async def only_http1_offered(place: Place) -> None:
    await _never_connects(place, "no ALPN h2", Listening(alpn=["http/1.1"]))


async def no_alpn(place: Place) -> None:
    await _never_connects(place, "no ALPN h2", Listening(alpn=[]))


async def _never_connects(
    place: Place,
    says: str,
    options: Listening = ANSWERS,
    certificate: tuple[str, str] | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Every row is told so, none reaches the server; with a good server on the same port the pool goes on."""
    async with relaying() as relay, stage(place, ANSWERS, limits, relay=relay) as there:
        async with place.server.listening(options, certificate or place.authority.issue(NAMES)) as bad:
            good, relay.target = relay.target, bad.port
            sent = await there.judged(there.send(ROWS))
            for answer in sent.answers.values():
                assert isinstance(answer, NotSent) and answer.failed_connect and says in answer.detail, answer
            assert not bad.began
        relay.target = good
        await there.recovers()
