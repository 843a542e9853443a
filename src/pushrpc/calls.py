"""Calls to providers beside the lanes' batches: topics, channels, validation, what came of a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pushrpc.authorization import Authorization, Authorizations
from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Requests, Response
from pushrpc.model import Outcome
from pushrpc.providers import Call, ProviderAccount
from pushrpc.words import OutcomeKind

CALL_TIMEOUT_S = 10.0  # as long as a push may take

Carry = Callable[[Endpoint, Requests, float], Awaitable[Answer]]


class ProviderCalls:
    """Asks a provider one thing at a time, with the credential that the account's lanes use."""

    def __init__(self, carry: Carry, authorizations: Authorizations) -> None:
        self._carry = carry
        self._authorizations = authorizations

    async def ask(
        self, account: ProviderAccount, make: Callable[[bytes | None], Call], read: Callable[[Response], Outcome]
    ) -> Response | Outcome:
        """The answer, whatever it says; an Outcome tells why there is none. `make` gets the current authorization.

        Where `read` finds in the answer that a fresh credential may help, it is renewed, and asked once more.
        """
        authorization = self._authorizations.of(account)
        answer, value = await self._once(authorization, make)
        if not isinstance(answer, Response) or not read(answer).renew:
            return answer
        if await authorization.renew(refused=value) is not None:
            return answer
        answer, _ = await self._once(authorization, make)
        return answer

    async def _once(
        self, authorization: Authorization, make: Callable[[bytes | None], Call]
    ) -> tuple[Response | Outcome, bytes | None]:
        """The answer, and the authorization that it is an answer to."""
        why_not = await authorization.ready()
        if why_not is not None:
            return why_not, None
        value = authorization.current()
        call = make(value)
        answer = await self._carry(call.endpoint, call.requests, CALL_TIMEOUT_S)
        match answer:
            case NotSent():
                return Outcome(OutcomeKind.UNAVAILABLE, detail=answer.detail), value
            case NoAnswer():
                return Outcome(OutcomeKind.UNKNOWN, detail=answer.detail), value
        return answer, value
