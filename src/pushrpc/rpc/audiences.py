"""Audiences that a provider keeps: who joins and leaves its topics, and Apple's broadcast channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pushrpc.audience import choose
from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock
from pushrpc.exchange import Response
from pushrpc.model import Address, Outcome, Refused
from pushrpc.providers import Call, KeepsChannels, KeepsTopics, ProviderAccount
from pushrpc.rpc.apps import AppAccounts
from pushrpc.rpc.errors import Reason, Refusal
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import ACCOUNT_BYTES_MAX, AUDIENCE_NAME_BYTES_MAX, TOKEN_BYTES_MAX, TOPIC_TOKENS_MAX
from pushrpc.v1 import audiences_pb2
from pushrpc.words import AudienceKind, Environment, OutcomeKind, Provider

TopicRequest = audiences_pb2.SubscribeToTopicRequest | audiences_pb2.UnsubscribeFromTopicRequest
ChannelRequest = (
    audiences_pb2.CreateBroadcastChannelRequest
    | audiences_pb2.ListBroadcastChannelsRequest
    | audiences_pb2.DeleteBroadcastChannelRequest
)
Keeper = TypeVar("Keeper")

_PASSING = frozenset({OutcomeKind.UNAVAILABLE, OutcomeKind.UNKNOWN, OutcomeKind.THROTTLED})


class ProviderAudiences:
    """Topics and channels. A provider that does not do what it is asked is PROVIDER_REFUSED or PROVIDER_UNAVAILABLE."""

    def __init__(self, calls: ProviderCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def subscribe(
        self, request: audiences_pb2.SubscribeToTopicRequest, accounts: AppAccounts
    ) -> audiences_pb2.SubscribeToTopicResponse:
        failures = await self._change_topic(request, accounts, join=True)
        done = len(request.tokens) - len(failures)
        return audiences_pb2.SubscribeToTopicResponse(subscribed_count=done, failures=failures)

    async def unsubscribe(
        self, request: audiences_pb2.UnsubscribeFromTopicRequest, accounts: AppAccounts
    ) -> audiences_pb2.UnsubscribeFromTopicResponse:
        failures = await self._change_topic(request, accounts, join=False)
        done = len(request.tokens) - len(failures)
        return audiences_pb2.UnsubscribeFromTopicResponse(unsubscribed_count=done, failures=failures)

    async def _change_topic(
        self, request: TopicRequest, accounts: AppAccounts, join: bool
    ) -> list[audiences_pb2.TopicFailure]:
        """Fails only when nothing could be done at all; otherwise each token that stayed as it was is told."""
        fields = Fields()
        provider = fields.word("provider", request.provider, Provider, required=True)
        topic = fields.text("topic", request.topic, AUDIENCE_NAME_BYTES_MAX, required=True)
        tokens = fields.texts("tokens", request.tokens, TOPIC_TOKENS_MAX, TOKEN_BYTES_MAX)
        if not tokens:
            fields.wrong(Reason.FIELD_REQUIRED, "tokens", "names none")
        if len(tokens) < len(request.tokens):
            fields.wrong(Reason.FIELD_INVALID, "tokens", "names one twice")
        fields.text("provider_app_id", request.provider_app_id, ACCOUNT_BYTES_MAX)
        fields.refuse()
        account, keeper = _keeper(
            accounts,
            provider,
            request.provider_app_id,
            Environment.UNSPECIFIED,
            KeepsTopics,  # type: ignore[type-abstract]
            "topics",
        )
        outcomes: list[Outcome] = []
        now_us = self._clock.now_us()
        for start in range(0, len(tokens), keeper.topic_tokens_max):
            part = tokens[start : start + keeper.topic_tokens_max]
            change = partial(keeper.topic_call, topic, part, join)
            answer = await self._calls.ask(account, change, partial(_first_result, keeper, part, now_us))
            if isinstance(answer, Response):
                outcomes += keeper.topic_results(answer, part, now_us)
            else:
                outcomes += [answer] * len(part)
        if all(outcome == outcomes[0] for outcome in outcomes) and outcomes[0].kind in _OF_ALL:
            raise _refused(provider, outcomes[0])
        return [
            audiences_pb2.TopicFailure(
                path=f"tokens[{place}]",
                token=tokens[place],
                outcome=outcome.kind,  # type: ignore[arg-type]
                reason=outcome.reason or outcome.detail,
            )
            for place, outcome in enumerate(outcomes)
            if outcome.kind is not OutcomeKind.ACCEPTED
        ]

    # --- channels

    async def create_channel(
        self, request: audiences_pb2.CreateBroadcastChannelRequest, accounts: AppAccounts
    ) -> audiences_pb2.CreateBroadcastChannelResponse:
        account, keeper, environment = _channels_of(request, accounts)
        create = partial(keeper.create_channel_call, environment, request.stores_latest)
        (channel_id,) = await self._ask_channels(account, keeper, create)
        return audiences_pb2.CreateBroadcastChannelResponse(channel_id=channel_id)

    async def list_channels(
        self, request: audiences_pb2.ListBroadcastChannelsRequest, accounts: AppAccounts
    ) -> audiences_pb2.ListBroadcastChannelsResponse:
        account, keeper, environment = _channels_of(request, accounts)
        channel_ids = await self._ask_channels(account, keeper, partial(keeper.list_channels_call, environment))
        return audiences_pb2.ListBroadcastChannelsResponse(channel_ids=channel_ids)

    async def delete_channel(
        self, request: audiences_pb2.DeleteBroadcastChannelRequest, accounts: AppAccounts
    ) -> audiences_pb2.DeleteBroadcastChannelResponse:
        fields = Fields()
        channel_id = fields.text("channel_id", request.channel_id, AUDIENCE_NAME_BYTES_MAX, required=True)
        fields.refuse()
        account, keeper, environment = _channels_of(request, accounts)
        if problem := account.address_problem(channel_id, Address(audience=AudienceKind.CHANNEL)):
            fields.wrong(Reason.FIELD_INVALID, "channel_id", problem.detail)
            fields.refuse()
        await self._ask_channels(account, keeper, partial(keeper.delete_channel_call, environment, channel_id))
        return audiences_pb2.DeleteBroadcastChannelResponse()

    async def _ask_channels(
        self, account: ProviderAccount, keeper: KeepsChannels, make: Callable[[bytes | None], Call]
    ) -> Sequence[str]:
        now_us = self._clock.now_us()
        answer = await self._calls.ask(account, make, lambda response: keeper.channel_ids(response, now_us)[0])
        if isinstance(answer, Outcome):
            raise _refused(account.provider, answer)
        outcome, channel_ids = keeper.channel_ids(answer, now_us)
        if outcome.kind is not OutcomeKind.ACCEPTED:
            raise _refused(account.provider, outcome)
        return channel_ids


def _first_result(keeper: KeepsTopics, tokens: Sequence[str], now_us: int, response: Response) -> Outcome:
    """A credential that is refused is refused for all of them."""
    return keeper.topic_results(response, tokens, now_us)[0]


_OF_ALL = _PASSING | {OutcomeKind.CREDENTIAL_REFUSED, OutcomeKind.PAYLOAD_REFUSED}


def _keeper(
    accounts: AppAccounts,
    provider: Provider,
    provider_app_id: str,
    environment: Environment,
    kind: type[Keeper],
    what: str,
) -> tuple[ProviderAccount, Keeper]:
    chosen = choose(accounts.get(provider, ()), provider_app_id, environment)
    if isinstance(chosen, Refused):
        metadata = {"field": "provider_app_id" if provider_app_id else "provider", "provider": provider.name}
        raise Refusal(Reason.PROVIDER_NOT_CONFIGURED, f"{provider.name}: {chosen.detail}", metadata=metadata)
    account = chosen[0]
    if not isinstance(account, kind):
        fields = Fields()
        fields.wrong(Reason.FIELD_INVALID, "provider", f"{provider.name} keeps no {what}")
        fields.refuse()
    return account, account  # type: ignore[return-value]


def _channels_of(request: ChannelRequest, accounts: AppAccounts) -> tuple[ProviderAccount, KeepsChannels, Environment]:
    fields = Fields()
    wanted = fields.word("environment", request.environment, Environment)
    name = fields.text("provider_app_id", request.provider_app_id, ACCOUNT_BYTES_MAX)
    fields.refuse()
    account, keeper = _keeper(accounts, Provider.APNS, name, wanted, KeepsChannels, "channels")  # type: ignore[type-abstract]
    return account, keeper, wanted or account.environment


def _refused(provider: Provider, outcome: Outcome) -> Refusal:
    reason = Reason.PROVIDER_UNAVAILABLE if outcome.kind in _PASSING else Reason.PROVIDER_REFUSED
    said = outcome.reason or outcome.detail or f"status {outcome.provider_status}"
    metadata = {"provider": provider.name, "outcome": outcome.kind.name, "provider_reason": said[:128]}
    return Refusal(reason, f"{provider.name}: {said}", metadata=metadata)
