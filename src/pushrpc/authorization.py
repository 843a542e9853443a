"""Keeps an account's credential current: one exchange with the token endpoint at a time, and ahead of expiry."""

from __future__ import annotations

import asyncio

from pushrpc.clock import Clock
from pushrpc.model import Outcome
from pushrpc.providers import Credential, ProviderAccount
from pushrpc.transport import ExchangeFailed, Fetch
from pushrpc.words import OutcomeKind

RENEWAL_TIMEOUT_S = 10.0
RENEWAL_AGAIN_S = 30.0  # after a refused renewal, and after any that failed ahead of time: the old value still serves
RENEWAL_AGAIN_MAX_S = 3600.0  # whatever a Retry-After says


class Authorization:
    """One account's credential: renewed ahead of expiry and one exchange at a time, however many lanes ask."""

    def __init__(self, credential: Credential | None, fetch: Fetch, clock: Clock) -> None:
        self._credential = credential
        self._fetch = fetch
        self._clock = clock
        self._renewing: asyncio.Task[Outcome | None] | None = None
        self._why_not: Outcome | None = None  # why the last exchange failed, and when
        self._failed_us = 0
        self._failures_in_row = 0

    async def ready(self) -> Outcome | None:
        """Makes sure that there is a current value. None when there is, otherwise why not."""
        if self._credential is None:
            return None
        now_us = self._clock.now_us()
        if self._credential.current(now_us) is None:
            return await self.renew()
        renew_at_us = self._credential.renew_at_us()
        if renew_at_us and now_us >= renew_at_us and not self._is_paused(now_us, RENEWAL_AGAIN_S):
            self._start()  # the old value still serves
        return None

    def current(self) -> bytes | None:
        """The value of the `authorization` header; None when the TLS certificate is the credential."""
        return None if self._credential is None else self._credential.current(self._clock.now_us())

    async def renew(self, refused: bytes | None = None) -> Outcome | None:
        """Exchanges the credential for a fresh one. None on success, otherwise what went wrong.

        `refused` is the value that the provider refused: where another one is current by now, that is success at once.
        Whoever comes while an exchange is under way shares it; after a failed one there is a pause, in which everybody
        gets the same answer.
        """
        current = self.current()
        if refused is not None and current is not None and current != refused:
            return None
        if not self._is_renewing() and self._is_paused(self._clock.now_us()):
            return self._why_not
        return await asyncio.shield(self._start())

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def _is_renewing(self) -> bool:
        return self._renewing is not None and not self._renewing.done()

    def _start(self) -> asyncio.Task[Outcome | None]:
        if self._renewing is None or not self._is_renewing():
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
        self._why_not = why_not
        self._failed_us = self._clock.now_us()
        self._failures_in_row = 0 if why_not is None else self._failures_in_row + 1
        return why_not

    def _is_paused(self, now_us: int, least_s: float = 0.0) -> bool:
        """Whether nothing is exchanged yet after a failure. A clock that was set back ends the pause."""
        why_not = self._why_not
        if why_not is None:
            return False
        # Where nobody refused anything, sends are waiting for a token endpoint that may be back in a moment.
        refused = why_not.kind is OutcomeKind.CREDENTIAL_REFUSED
        pause_s = RENEWAL_AGAIN_S if refused else min(2.0 ** min(self._failures_in_row - 1, 10), RENEWAL_AGAIN_S)
        pause_s = max(pause_s, least_s, min(why_not.retry_after_s or 0.0, RENEWAL_AGAIN_MAX_S))
        return self._failed_us <= now_us < self._failed_us + int(pause_s * 1e6)


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
