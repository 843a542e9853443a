"""Sending: a request becomes a Send, the ledger accepts it, and the caller gets a receipt."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pushrpc.audience import ProviderAudience, Route, Routes, Target, TokenGroup, plan, telling_cuts
from pushrpc.clock import Clock
from pushrpc.content import Content
from pushrpc.ledger import Ledger, LedgerError
from pushrpc.model import Address, Notification, Receipt, Refused, Send, uuid7
from pushrpc.providers import MessageRefused, ProviderAccount
from pushrpc.record import DeliverySelector, NotificationSelector, Wanted
from pushrpc.rpc.apps import AppAccounts
from pushrpc.rpc.content import (
    check_not_empty,
    content_of,
    labels_of,
    lifetime_of,
    priority_of,
    wait_of,
)
from pushrpc.rpc.cursors import Cursors
from pushrpc.rpc.errors import Reason, Refusal
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.gate import Gate
from pushrpc.rpc.limits import (
    ACCOUNT_BYTES_MAX,
    AUDIENCE_NAME_BYTES_MAX,
    EVENTS_PER_PAGE_MAX,
    ID_BYTES_MAX,
    KEY_BYTES_MAX,
    LABELS_MAX,
    PAGE_BYTES_MAX,
    PAGE_SIZE_MAX,
    TARGETS_PER_SEND_MAX,
    TOKEN_BYTES_MAX,
    USER_ID_BYTES_MAX,
    WAIT_MARGIN_S,
)
from pushrpc.rpc.records import add_deliveries, add_rejections, put_time
from pushrpc.telemetry import Telemetry
from pushrpc.v1 import sending_pb2
from pushrpc.words import AudienceKind, Environment, HubPlatform, Provider, TokenKind

Asking = sending_pb2.SendNotificationRequest | sending_pb2.PreviewNotificationRequest

RANDOM_BYTES = 8
FRAMING_BYTES = 4  # before an entry of less than 2 MiB: its tag, and its length as a varint


class Notifications:
    """SendNotification and CancelNotification, and what the bulk stream shares with them."""

    def __init__(
        self,
        ledger: Ledger,
        cursors: Cursors,
        gate: Gate,
        clock: Clock,
        telemetry: Telemetry,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ledger = ledger
        self._cursors = cursors
        self._gate = gate
        self._clock = clock
        self._telemetry = telemetry
        self._random_bytes = random_bytes

    async def send(
        self,
        request: sending_pb2.SendNotificationRequest,
        accounts: AppAccounts,
        seconds_left: Callable[[], float | None],
    ) -> sending_pb2.SendNotificationResponse:
        """`seconds_left` until the caller's own deadline, if it has one: a wait ends before it."""
        fields = Fields()
        wait_s = wait_of(request, fields)
        send = self.prepare(request, accounts, fields)
        if request.options.dry_run:
            return await self._rehearse(send)
        (result,) = await self.accept([send])
        if isinstance(result, LedgerError):
            raise result
        response = sending_pb2.SendNotificationResponse()
        self.put_receipt(response, send, result)
        if wait_s and result.target_count:
            left_s = seconds_left()
            if left_s is not None:
                wait_s = max(0.0, min(wait_s, left_s - WAIT_MARGIN_S))
            try:
                await self._wait(request.app_id, result, wait_s)
                response.complete = await self._add_statuses(response, request.app_id, result)
            except LedgerError as error:  # the send is durable: no trouble in telling of it may hide the receipt
                self._telemetry.ledger_failed("rpc.wait", str(error))
        return response

    async def _rehearse(self, send: Send) -> sending_pb2.SendNotificationResponse:
        """The answer of a dry run: whom it would reach, and nothing that names what was never stored."""
        audience = await self._ledger.resolve(send)
        response = sending_pb2.SendNotificationResponse(
            target_count=audience.target_count,
            duplicate_count=audience.duplicate_count,
            truncated_providers=audience.shortened,  # type: ignore[arg-type]
        )
        put_time(response.expire_time, send.expire_us)
        add_rejections(response, audience.rejected)
        return response

    def prepare(
        self,
        request: sending_pb2.SendNotificationRequest,
        accounts: AppAccounts,
        fields: Fields,
        content: Content | None = None,
    ) -> Send:
        """Checks the request whole and plans its audience. Raises Refusal with everything that is wrong.

        `content`: what its message says, when that is known already, and right.
        """
        fields.text("request_id", request.request_id, ID_BYTES_MAX)
        target = target_of(request, fields)
        if content is None:
            content = _message_of(request, fields)
        if request.options.dry_run and request.HasField("wait"):
            fields.wrong(Reason.FIELDS_CONFLICT, "wait", "is set, and a dry run has nothing to wait for")
        notification = self._notification(request, request.request_id, content, fields)
        routes = routes_of(accounts, notification)
        named, resolve = plan(request.app_id, target, routes)
        if notification.content.truncate:
            resolve = telling_cuts(resolve, routes)
        return Send(
            app_id=notification.app_id,
            request_id=notification.request_id,
            fingerprint=fingerprint(request) if request.request_id else b"",
            notification_id=notification.notification_id,
            content=notification.content,
            priority=notification.priority,
            collapse_key=notification.collapse_key,
            at_most_once=notification.at_most_once,
            one_try=notification.one_try,
            created_us=notification.created_us,
            expire_us=notification.expire_us,
            labels=notification.labels,
            named=named,
            resolve=resolve,
        )

    def previewed(
        self, request: sending_pb2.PreviewNotificationRequest
    ) -> tuple[Notification, Sequence[ProviderAudience]]:
        """What a preview is of. Raises Refusal with everything that is wrong with its message and options."""
        fields = Fields()
        audiences = [
            _audience(each, fields, f"provider_audiences[{place}]")
            for place, each in enumerate(request.provider_audiences)
        ]
        return self._notification(request, "", _message_of(request, fields), fields), audiences

    def _notification(self, request: Asking, request_id: str, content: Content, fields: Fields) -> Notification:
        """Raises Refusal when this, or anything that was looked at before, is wrong."""
        now_us, options = self._clock.now_us(), request.options
        lifetime = lifetime_of(options, fields, now_us)
        priority = priority_of(options, fields, content.silent)
        labels = labels_of(options, fields)
        fields.refuse()
        if options.truncate:
            content = replace(content, truncate=True)
        return Notification(
            key=0,
            app_id=request.app_id,
            notification_id=uuid7(now_us, self._random_bytes(RANDOM_BYTES)),
            request_id=request_id,
            content=content,
            priority=priority,
            collapse_key=options.collapse_key,
            at_most_once=options.at_most_once,
            one_try=lifetime.one_try,
            created_us=now_us,
            expire_us=lifetime.expire_us,
            labels=labels,
        )

    async def accept(self, sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        """One accept of the ledger, counted."""
        results = await self._ledger.accept(sends)
        fresh = [r for r in results if not isinstance(r, LedgerError) and not r.replayed]
        if fresh:
            deliveries = sum(receipt.target_count for receipt in fresh)
            rejected = sum(len(receipt.rejected) for receipt in fresh)
            self._telemetry.accepted(sends[0].app_id, len(fresh), deliveries, rejected)
        return results

    def put_receipt(self, response: sending_pb2.SendNotificationResponse, send: Send, receipt: Receipt) -> None:
        response.notification_id = receipt.notification_id
        response.target_count = receipt.target_count
        response.duplicate_count = receipt.duplicate_count
        response.replayed = receipt.replayed
        response.cursor = self._cursors.cursor(send.app_id, receipt.first_seq)
        response.complete = not receipt.target_count
        put_time(response.expire_time, receipt.expire_us)
        if receipt.rejected:
            add_rejections(response, receipt.rejected)
        if receipt.shortened:
            response.truncated_providers.extend(receipt.shortened)  # type: ignore[arg-type]

    async def cancel(self, request: sending_pb2.CancelNotificationRequest) -> sending_pb2.CancelNotificationResponse:
        fields = Fields()
        which = NotificationSelector(
            fields.text("notification_id", request.notification_id, ID_BYTES_MAX),
            fields.text("request_id", request.request_id, ID_BYTES_MAX),
            fields.entries("labels", request.labels, LABELS_MAX),
        )
        fields.exactly_one({name: bool(value) for name, value in which._asdict().items()})
        fields.refuse()
        counts = await self._ledger.cancel(request.app_id, which, self._clock.now_us())
        if counts is None:
            raise Refusal(Reason.NOTIFICATION_NOT_FOUND, "the app has no such notification")
        return sending_pb2.CancelNotificationResponse(**counts._asdict())

    async def _wait(self, app_id: str, receipt: Receipt, wait_s: float) -> None:
        """Returns when all is final, the time is up, or the server drains."""
        wanted = Wanted(app_id, (receipt.notification_id,), final_only=True)
        now = asyncio.get_running_loop().time
        seq, ends_at = receipt.first_seq, now() + wait_s
        while (left_s := ends_at - now()) > 0:
            page = await self._gate.unless_draining(self._ledger.follow(wanted, seq, EVENTS_PER_PAGE_MAX, left_s))
            if page is None or page.complete:
                return
            seq = page.through_seq

    async def _add_statuses(
        self, response: sending_pb2.SendNotificationResponse, app_id: str, receipt: Receipt
    ) -> bool:
        """Whether all are final. Told are the first that fit PAGE_BYTES_MAX; the rest is for ListDeliveries."""
        which = DeliverySelector(notification_id=receipt.notification_id)
        complete, after = True, 0
        room = PAGE_BYTES_MAX - response.ByteSize()
        while True:
            page = await self._ledger.deliveries(app_id, which, False, after, PAGE_SIZE_MAX)
            rows, after = page or ((), 0)
            for row in rows:
                complete = complete and row.final
                if room > 0:
                    add_deliveries(response, (row,))
                    room -= response.statuses[-1].ByteSize() + FRAMING_BYTES
                    if room < 0:
                        del response.statuses[-1]
            if not after:
                return complete


# --- request to values -------------------------------------------------------------------------------------------


def target_count(target: sending_pb2.Target) -> int:
    count = len(target.device_ids) + len(target.user_ids) + len(target.provider_audiences)
    for group in target.tokens:
        count += len(group.tokens) + len(group.subscriptions)
    return count


def target_of(request: sending_pb2.SendNotificationRequest, fields: Fields) -> Target:
    target = request.target
    groups, device_ids, user_ids = target.tokens[:], target.device_ids, target.user_ids
    audiences = target.provider_audiences
    tokens = [group.tokens[:] for group in groups]
    subscriptions = [group.subscriptions for group in groups]
    count = len(device_ids) + len(user_ids) + len(audiences)
    for of_group, beside in zip(tokens, subscriptions, strict=True):
        count += len(of_group) + len(beside)
    if not count:
        fields.wrong(Reason.TARGET_EMPTY, "target", "names nothing")
    elif count > TARGETS_PER_SEND_MAX:
        problem = f"names {count:,} targets, the limit is {TARGETS_PER_SEND_MAX:,}"
        fields.wrong(Reason.TARGET_TOO_LARGE, "target", problem, TARGETS_PER_SEND_MAX)
        return Target()  # not looked at further: it may be as large as a request can be
    parts = [_group(groups[position], of_group, fields, position) for position, of_group in enumerate(tokens)]
    if any(subscriptions):
        parts = _with_subscriptions(parts, subscriptions, fields)
    return Target(
        parts,
        _ids(device_ids, fields, "target.device_ids", ID_BYTES_MAX) if device_ids else (),
        _ids(user_ids, fields, "target.user_ids", USER_ID_BYTES_MAX) if user_ids else (),
        [_audience(each, fields, f"target.provider_audiences[{place}]") for place, each in enumerate(audiences)]
        if audiences
        else (),
    )


def _group(group: sending_pb2.TokenTarget, tokens: Sequence[str], fields: Fields, position: int) -> TokenGroup:
    """Nearly always tokens and a known provider: paths are written only where there is something to say."""
    provider = _PROVIDERS.get(group.provider)
    plain = not (group.environment or group.provider_app_id or group.token_kind or group.hub_platform)
    long = len(max(tokens, key=len, default="")) * 4 > TOKEN_BYTES_MAX
    if provider and plain and not long:
        return TokenGroup(provider, tokens)
    path = f"target.tokens[{position}]"
    if long:
        for place, token in enumerate(tokens):
            fields.text(f"{path}.tokens[{place}]", token, TOKEN_BYTES_MAX)
    platform = fields.word(f"{path}.hub_platform", group.hub_platform, HubPlatform)
    return TokenGroup(
        fields.word(f"{path}.provider", group.provider, Provider, required=True),
        tokens,
        fields.word(f"{path}.environment", group.environment, Environment),
        fields.text(f"{path}.provider_app_id", group.provider_app_id, ACCOUNT_BYTES_MAX),
        fields.word(f"{path}.token_kind", group.token_kind, TokenKind),
        [Address(platform=platform)] * len(tokens) if platform else (),
    )


def _with_subscriptions(
    parts: Sequence[TokenGroup], given: Sequence[Sequence[sending_pb2.Subscription]], fields: Fields
) -> list[TokenGroup]:
    """Each group, then its subscriptions: deliveries keep the order of the request."""
    both: list[TokenGroup] = []
    for position, (part, subscriptions) in enumerate(zip(parts, given, strict=True)):
        path = f"target.tokens[{position}]"
        both.append(part._replace(path=f"{path}.tokens"))
        if subscriptions:
            both.append(_subscriptions(part, subscriptions, fields, f"{path}.subscriptions"))
    return both


def _subscriptions(
    group: TokenGroup, given: Sequence[sending_pb2.Subscription], fields: Fields, path: str
) -> TokenGroup:
    """A group's subscriptions, as a group of their own: of the same provider and account."""
    platform = HubPlatform.BROWSER if group.provider is Provider.NOTIFICATION_HUBS else HubPlatform.UNSPECIFIED
    addresses = []
    for place, each in enumerate(given):
        fields.name(f"{path}[{place}].endpoint", each.endpoint, TOKEN_BYTES_MAX)
        for name in ("p256dh", "auth"):
            if " " in fields.text(f"{path}[{place}].{name}", getattr(each, name), KEY_BYTES_MAX):
                problem = "holds a space; base64url has none"
                fields.wrong(Reason.WEB_PUSH_KEYS_INVALID, f"{path}[{place}].{name}", problem)
        addresses.append(Address(each.p256dh, each.auth, platform))
    return group._replace(tokens=[each.endpoint for each in given], addresses=addresses, path=path)


def _audience(given: sending_pb2.ProviderAudience, fields: Fields, path: str) -> ProviderAudience:
    kind = given.WhichOneof("kind")
    if kind is None or (kind == "everyone" and not given.everyone):
        names = ", ".join(AudienceKind)
        fields.wrong(Reason.FIELD_REQUIRED, path, f"says not whom: set one of {names}")
    # No name begins or ends with a space: with and without one it is the same audience, reached once.
    name = "" if kind in (None, "everyone") else getattr(given, kind).strip()
    if kind not in (None, "everyone"):
        fields.name(f"{path}.{kind}", name, AUDIENCE_NAME_BYTES_MAX)
    return ProviderAudience(
        fields.word(f"{path}.provider", given.provider, Provider, required=True),
        AudienceKind(kind or "everyone"),
        name,
        fields.word(f"{path}.environment", given.environment, Environment),
        fields.text(f"{path}.provider_app_id", given.provider_app_id, ACCOUNT_BYTES_MAX),
        fields.word(f"{path}.hub_platform", given.hub_platform, HubPlatform),
    )


_PROVIDERS: Mapping[int, Provider] = {int(provider): provider for provider in Provider if provider}


def _ids(values: Sequence[str], fields: Fields, path: str, limit_bytes: int) -> Sequence[str]:
    kept = list(values)
    for position, value in enumerate(kept):
        fields.name(f"{path}[{position}]", value, limit_bytes)
    return kept


def _message_of(request: Asking, fields: Fields) -> Content:
    if not request.HasField("message"):
        fields.wrong(Reason.FIELD_REQUIRED, "message", "is not set")
        return Content()
    return content_of(request.message, fields)


def fingerprint(request: sending_pb2.SendNotificationRequest) -> bytes:
    """What makes two requests under one request_id the same: everything but request_id and wait.

    Presence that changes nothing (an empty `options`) is no difference. Ledgers keep it for days and across versions:
    its form may not change.
    """
    if request.HasField("wait") or (request.HasField("options") and not request.options.ListFields()):
        canonical = sending_pb2.SendNotificationRequest()
        canonical.CopyFrom(request)
        canonical.ClearField("wait")
        if not canonical.options.ListFields():
            canonical.ClearField("options")
        request = canonical
    request_id, request.request_id = request.request_id, ""  # for a moment: a copy costs as much as the digest
    octets = request.SerializeToString(deterministic=True)
    request.request_id = request_id
    return hashlib.sha256(octets).digest()


# --- accounts as one message sees them ---------------------------------------------------------------------------


class _AccountRoute:
    """Asks the account only when a target needs it, and whether it can carry the message only once."""

    __slots__ = (
        "_account",
        "_asked",
        "_cut",
        "_kind",
        "_notification",
        "address_problem",
        "environment",
        "origin",
        "provider_app_id",
        "token_problem",
    )

    def __init__(self, account: ProviderAccount, notification: Notification) -> None:
        self._account = account
        self._notification = notification
        self._kind = TokenKind.UNSPECIFIED
        self._asked: dict[tuple[HubPlatform, AudienceKind | None], Refused | None] = {}
        self._cut: dict[tuple[HubPlatform, AudienceKind | None], bool] = {}
        self.provider_app_id = account.provider_app_id
        self.environment = account.environment
        self.origin = account.origin
        self.token_problem = account.token_problem
        self.address_problem = account.address_problem

    def kind_for(self, platform: HubPlatform) -> TokenKind:
        if platform not in (HubPlatform.UNSPECIFIED, HubPlatform.APNS):
            return TokenKind.STANDARD  # behind a hub, only Apple tells kinds of tokens apart
        if not self._kind:
            self._kind = self._account.token_kind(self._notification)
        return self._kind

    def refused(self, address: Address) -> Refused | None:
        form = address.platform, address.audience
        if form not in self._asked:
            self._asked[form] = None
            try:
                self._account.check_message(self._notification, address)
                check_not_empty(self._account, self._notification, address)
            except MessageRefused as error:
                self._asked[form] = Refused(error.reason, error.detail)
        return self._asked[form]

    def is_cut(self, address: Address) -> bool:
        form = address.platform, address.audience
        if form not in self._cut:
            preview = self._account.preview(self._notification, address, self._notification.created_us)
            self._cut[form] = bool(preview.truncated)
        return self._cut[form]


def routes_of(accounts: AppAccounts, notification: Notification) -> Routes:
    """Routes are made for those providers only that a target names."""
    made: dict[Provider, Sequence[Route]] = {}

    def routes(provider: Provider) -> Sequence[Route]:
        if provider not in made:
            made[provider] = [_AccountRoute(account, notification) for account in accounts.get(provider, ())]
        return made[provider]

    return routes
