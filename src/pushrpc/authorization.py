"""Keeps an account's credential current: one exchange with the token endpoint at a time, and ahead of expiry."""

from __future__ import annotations

import asyncio

from pushrpc.clock import Clock
from pushrpc.model import Outcome
from pushrpc.providers import Credential, ProviderAccount
from pushrpc.transport import ExchangeFailed, Fetch
from pushrpc.words import OutcomeKind

RENEWAL_TIMEOUT_S = 10.0
RENEWAL_AGAIN_S = 30.0  # between failed renewals ahead of time: the old value still serves for minutes


class Authorization:
    """One account's credential: renewed ahead of expiry and one exchange at a time, however many lanes ask."""

    def __init__(self, credential: Credential | None, fetch: Fetch, clock: Clock) -> None:
        self._credential = credential
        self._fetch = fetch
        self._clock = clock
        self._renewing: asyncio.Task[Outcome | None] | None = None
        self._not_before_us = 0  # of renewing ahead of time, after that failed

    async def ready(self) -> Outcome | None:
        """Makes sure that there is a current value. None when there is, otherwise why not."""
        if self._credential is None:
            return None
        now_us = self._clock.now_us()
        if self._credential.current(now_us) is None:
            return await self.renew()
        renew_at_us = self._credential.renew_at_us()
        if renew_at_us and now_us >= max(renew_at_us, self._not_before_us):
            self._start()  # the old value still serves
        return None

    def current(self) -> bytes | None:
        """The value of the `authorization` header; None when the TLS certificate is the credential."""
        return None if self._credential is None else self._credential.current(self._clock.now_us())

    async def renew(self) -> Outcome | None:
        """Exchanges the credential for a fresh one. None on success, otherwise what went wrong."""
        return await asyncio.shield(self._start())

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def _start(self) -> asyncio.Task[Outcome | None]:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._exchange())
        return self._renewing

    async def _exchange(self) -> Outcome | None:
        # Without an exchange an account signs for itself: what it signs next is all there is to renew.
        request = self._credential.renewal(self._clock.now_us()) if self._credential else None
        if request is None or self._credential is None:
            return None
        try:
            response = await self._fetch(request, RENEWAL_TIMEOUT_S)
        except ExchangeFailed as error:
            why_not: Outcome | None = Outcome(OutcomeKind.UNAVAILABLE, detail=f"renewing the credential: {error}")
        else:
            why_not = self._credential.renewed(response, self._clock.now_us())
        if why_not is not None:
            wait_s = max(why_not.retry_after_s or 0.0, RENEWAL_AGAIN_S)
            self._not_before_us = self._clock.now_us() + int(wait_s * 1e6)
        return why_not


class Authorizations:
    """One Authorization for each credential, whoever asks: a lane, or a call beside it."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._made: dict[int, tuple[Credential | None, Authorization]] = {}  # by the credential's identity

    def of(self, account: ProviderAccount) -> Authorization:
        credential = account.credential
        if id(credential) not in self._made:
            self._made[id(credential)] = credential, Authorization(credential, self._fetch, self._clock)
        return self._made[id(credential)][1]

    async def close(self) -> None:
        for _, authorization in self._made.values():
            await authorization.close()
