"""What providers would be sent: shown to callers, and asked of providers that check without delivering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pushrpc.audience import ProviderAudience, choose
from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock
from pushrpc.exchange import Response
from pushrpc.model import NO_ADDRESS, Address, Claimed, Lane, Notification, Outcome, Refused
from pushrpc.providers import ChecksMessages, MessageRefused, Preview, ProviderAccount
from pushrpc.rpc.apps import AppAccounts
from pushrpc.rpc.content import check_not_empty
from pushrpc.rpc.errors import Reason
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import ACCOUNT_BYTES_MAX, TOKEN_BYTES_MAX
from pushrpc.v1 import sending_pb2
from pushrpc.words import Environment, HubPlatform, Provider, RejectReason

HUB_PLATFORMS = (HubPlatform.APNS, HubPlatform.FCM_V1, HubPlatform.WNS, HubPlatform.BROWSER)


def forms(
    account: ProviderAccount, audiences: Sequence[ProviderAudience], platforms: Sequence[HubPlatform]
) -> Iterator[Address]:
    """The addresses for which an account builds payloads of different forms or limits."""
    if account.provider is Provider.NOTIFICATION_HUBS:
        for platform in platforms:
            yield Address(platform=platform)
    else:
        yield NO_ADDRESS
    for audience in audiences:
        if audience.provider is account.provider and audience.provider_app_id in ("", account.provider_app_id):
            yield Address(platform=audience.platform, audience=audience.kind)


class Previews:
    """PreviewNotification."""

    def __init__(self, calls: ProviderCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def preview(
        self,
        request: sending_pb2.PreviewNotificationRequest,
        accounts: AppAccounts,
        notification: Notification,
        audiences: Sequence[ProviderAudience],
    ) -> sending_pb2.PreviewNotificationResponse:
        """`notification` and `audiences` are what the request says."""
        fields = Fields()
        wanted = fields.words("providers", request.providers, Provider) or _providers(accounts, audiences)
        platforms = fields.words("hub_platforms", request.hub_platforms, HubPlatform) or HUB_PLATFORMS
        asked = _asked(request, accounts, fields)
        if asked and asked[0].provider not in wanted:
            problem = "is none of providers, so there is no preview of it to answer beside"
            fields.wrong(Reason.FIELDS_CONFLICT, "ask_provider.provider", problem)
        fields.refuse()
        response = sending_pb2.PreviewNotificationResponse()
        for provider in wanted:
            for account in accounts.get(provider, ()):
                for address in forms(account, audiences, platforms):
                    told = response.previews.add(
                        provider=provider,
                        provider_app_id=account.provider_app_id,
                        hub_platform=address.platform,
                        audience=address.audience or "",
                    )
                    try:
                        preview = account.preview(notification, address, self._clock.now_us())
                        check_not_empty(account, notification, address)
                    except MessageRefused as error:
                        _put_refusal(told, error.reason, error.detail)
                        told.size_bytes, told.limit_bytes = error.size_bytes, error.limit_bytes
                        continue
                    _put(told, preview, request.options)
                    if asked and asked[0] is account and not address.audience:
                        _put_answer(told.answer, await self._check(account, notification, asked[1]))
            for name, audience, refused in _without_account(accounts.get(provider, ()), provider, audiences):
                told = response.previews.add(provider=provider, provider_app_id=name, audience=audience)
                _put_refusal(told, refused.reason, f"{refused.detail}; add it to the server's configuration")
        return response

    async def _check(self, account: ProviderAccount, notification: Notification, token: str) -> Outcome:
        assert isinstance(account, ChecksMessages)
        now_us = self._clock.now_us()
        checks = account
        lane = Lane(notification.app_id, account.provider, account.provider_app_id, account.environment)
        alone = (Claimed(0, notification, lane, 0, token, "", "", 0, 0),)
        answer = await self._calls.ask(
            account,
            lambda authorization: checks.check_call(notification, token, NO_ADDRESS, authorization, now_us),
            lambda response: account.classify(response, alone, now_us)[0][0],
        )
        if not isinstance(answer, Response):
            return answer
        return account.classify(answer, alone, self._clock.now_us())[0][0]


def _providers(accounts: AppAccounts, audiences: Sequence[ProviderAudience]) -> Sequence[Provider]:
    """Of a request that names none: those of the app, and of its audiences. An app without any hears it of each."""
    named = dict.fromkeys((*accounts, *(audience.provider for audience in audiences)))
    return tuple(named) or tuple(provider for provider in Provider if provider)


def _without_account(
    accounts: Sequence[ProviderAccount], provider: Provider, audiences: Sequence[ProviderAudience]
) -> Iterator[tuple[str, str, Refused]]:
    """The provider_app_id, the kind of audience and what is wrong, of all that no account could send."""
    asked = [("", "", Environment.UNSPECIFIED)]
    asked += [(a.provider_app_id, a.kind, a.environment) for a in audiences if a.provider is provider]
    for name, audience, environment in asked:
        chosen = choose(accounts, name, environment)
        if isinstance(chosen, Refused):
            yield name, audience, chosen


def _asked(
    request: sending_pb2.PreviewNotificationRequest, accounts: AppAccounts, fields: Fields
) -> tuple[ProviderAccount, str] | None:
    """The account and token of ask_provider."""
    if not request.HasField("ask_provider"):
        return None
    given, path = request.ask_provider, "ask_provider"
    provider = fields.word(f"{path}.provider", given.provider, Provider, required=True)
    name = fields.text(f"{path}.provider_app_id", given.provider_app_id, ACCOUNT_BYTES_MAX)
    if len(given.tokens) != 1:
        fields.wrong(Reason.FIELD_INVALID, f"{path}.tokens", f"names {len(given.tokens)}; one is asked about")
        return None
    token = fields.text(f"{path}.tokens[0]", given.tokens[0], TOKEN_BYTES_MAX, required=True)
    chosen = choose(accounts.get(provider, ()), name, given.environment)  # type: ignore[arg-type]
    if isinstance(chosen, Refused):
        fields.wrong(Reason.FIELD_INVALID, f"{path}.provider", chosen.detail)
        return None
    if not isinstance(chosen[0], ChecksMessages):
        fields.wrong(Reason.FIELD_INVALID, f"{path}.provider", f"{provider.name} cannot check without delivering")
        return None
    if problem := chosen[0].token_problem(token):
        fields.wrong(Reason[problem.reason.name], f"{path}.tokens[0]", problem.detail)
        return None
    return chosen[0], token


def _put(told: sending_pb2.Preview, preview: Preview, options: sending_pb2.SendOptions) -> None:
    for name, value in preview.headers:
        told.headers.add(name=name, value=value)
    told.payload = preview.payload
    told.size_bytes, told.limit_bytes = preview.size_bytes, preview.limit_bytes
    told.truncated.extend(preview.truncated)
    told.dropped.extend(filter(None, (_as_set(path, options) for path in preview.dropped)))


def _as_set(path: str, options: sending_pb2.SendOptions) -> str:
    """The path as the request has it; empty for an option that it does not set, whose default nobody misses."""
    if path == "options.ttl":
        expiry = options.WhichOneof("expiry")
        return f"options.{expiry}" if expiry else ""
    return "" if path == "options.priority" and not options.priority else path


def _put_refusal(told: sending_pb2.Preview, reason: RejectReason, detail: str) -> None:
    told.refusal.provider = told.provider
    told.refusal.reason = reason  # type: ignore[assignment]
    told.refusal.detail = detail


def _put_answer(told: sending_pb2.ProviderAnswer, outcome: Outcome) -> None:
    told.outcome = outcome.kind  # type: ignore[assignment]
    told.provider_status = outcome.provider_status
    told.reason, told.detail = outcome.reason, outcome.detail
