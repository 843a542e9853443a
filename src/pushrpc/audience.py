"""Whom a target reaches. Pure: what it must know of accounts and of the registry is handed in.

`plan` runs before the ledger's transaction and does all it can there; the `resolve` it returns runs inside, with the
devices that were found. The rules: parts of a target add up; each token and each app install is reached once; raw
tokens make no device but are matched to the registry; an audience takes only the kind of token the message needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeVar

from pushrpc.model import Audience, Found, Lane, Named, Planned, Rejection
from pushrpc.words import DeviceState, Environment, Provider, RejectReason, TokenKind


class TokenGroup(NamedTuple):
    """Raw tokens of one provider. UNSPECIFIED and "" leave the choice to the account and to the message."""

    provider: Provider
    tokens: Sequence[str]
    environment: Environment = Environment.UNSPECIFIED
    provider_app_id: str = ""
    token_kind: TokenKind = TokenKind.UNSPECIFIED


class Target(NamedTuple):
    groups: Sequence[TokenGroup] = ()
    device_ids: Sequence[str] = ()
    user_ids: Sequence[str] = ()


class Refused(NamedTuple):
    """Why a target makes no delivery."""

    reason: RejectReason
    detail: str


class Account(Protocol):
    """Enough of an account to choose it."""

    @property
    def provider_app_id(self) -> str: ...

    @property
    def environment(self) -> Environment: ...


class Route(Account, Protocol):
    """One account as one message sees it."""

    @property
    def kind(self) -> TokenKind:
        """The kind of token that the message needs there."""
        ...

    def token_problem(self, *tokens: str) -> str:
        """Empty when the provider could have issued every one of the tokens."""
        ...

    def refused(self) -> Refused | None:
        """Why the provider can never carry the message; the same on every call."""
        ...


Routes = Callable[[Provider], Sequence[Route]]  # the app's accounts at a provider, its default first
Resolve = Callable[[Sequence[Found]], Audience]
Chosen = TypeVar("Chosen", bound=Account)


def choose(
    accounts: Sequence[Chosen], provider_app_id: str, environment: Environment
) -> tuple[Chosen, Environment] | Refused:
    """The account that is meant, the app's first when none is named, and the environment a token lives in there."""
    if not accounts:
        return Refused(RejectReason.PROVIDER_NOT_CONFIGURED, "the app has no account at this provider")
    if not (provider_app_id or environment):
        return accounts[0], accounts[0].environment
    wanted = provider_app_id or accounts[0].provider_app_id
    named = [account for account in accounts if account.provider_app_id == wanted]
    if not named:
        return Refused(RejectReason.PROVIDER_APP_UNKNOWN, "the app has no account of this provider_app_id")
    account = next((a for a in named if a.environment is environment), named[0])
    if account.environment is Environment.UNSPECIFIED:  # only APNs tells environments apart
        return account, Environment.UNSPECIFIED
    return account, environment or account.environment


def plan(app_id: str, target: Target, routes: Routes) -> tuple[Named, Resolve]:
    """What the ledger must look up, and what then makes the audience of it."""
    rejected: list[Rejection] = []
    parts: list[_Part] = []
    for position, group in enumerate(target.groups):
        part = _part(app_id, position, group, routes, rejected)
        if part is not None:
            parts.append(part)
    named = Named(target.device_ids, target.user_ids, [(part.lane, part.tokens) for part in parts])

    if len(parts) == 1 and not (target.device_ids or target.user_ids) and parts[0].distinct:
        alone = Audience([Planned(parts[0].lane, parts[0].tokens)], 0, rejected)
        return named, lambda found: _resolve(target, parts, rejected, routes, found) if found else alone
    return named, lambda found: _resolve(target, parts, rejected, routes, found)


class _Part(NamedTuple):
    """What is left of a token group: `places` are the positions of its tokens in the request."""

    group: int
    kind: TokenKind
    lane: Lane
    tokens: Sequence[str]
    places: Sequence[int]

    @property
    def distinct(self) -> bool:
        return len(set(self.tokens)) == len(self.tokens)


def _part(app_id: str, position: int, group: TokenGroup, routes: Routes, rejected: list[Rejection]) -> _Part | None:
    """Rejects what can be known without the registry; None when that leaves nothing."""
    provider, tokens = group.provider, group.tokens
    chosen = choose(routes(provider), group.provider_app_id, group.environment)
    if isinstance(chosen, Refused):
        rejected += [_rejected_token(position, i, token, provider, chosen) for i, token in enumerate(tokens)]
        return None
    route, environment = chosen
    kind = route.kind
    refused = _kind_mismatch(group.token_kind or kind, kind) or route.refused()
    if refused is not None:
        rejected += [_rejected_token(position, i, token, provider, refused) for i, token in enumerate(tokens)]
        return None
    places: Sequence[int] = range(len(tokens))
    if route.token_problem(*tokens):
        problems = list(map(route.token_problem, tokens))
        for i, problem in enumerate(problems):
            if problem:
                malformed = Refused(RejectReason.TOKEN_MALFORMED, problem)
                rejected.append(_rejected_token(position, i, tokens[i], provider, malformed))
        places = [i for i, problem in enumerate(problems) if not problem]
        tokens = [tokens[i] for i in places]
    if not tokens:
        return None
    lane = Lane(app_id, provider, route.provider_app_id, environment)
    return _Part(position, kind, lane, tokens, places)


def _rejected_token(group: int, position: int, token: str, provider: Provider, refused: Refused) -> Rejection:
    return Rejection(f"target.tokens[{group}].tokens[{position}]", token, provider, refused.reason, refused.detail)


def _kind_mismatch(given: TokenKind, needed: TokenKind) -> Refused | None:
    if given is needed:
        return None
    detail = f"the token is of kind {given.name}, this message needs {needed.name}"
    return Refused(RejectReason.TOKEN_KIND_MISMATCH, detail)


class _Draft:
    """The audience as it grows, in target order."""

    def __init__(self, rejected: Sequence[Rejection]) -> None:
        self.rejected = list(rejected)
        self.duplicate_count = 0
        self._deliveries: list[tuple[Lane, str, str, str]] = []
        self._tokens: set[tuple[Provider, Environment, str]] = set()
        self._installs: dict[str, tuple[int, int]] = {}  # place in deliveries, updated_us

    def add(self, lane: Lane, token: str, device: Found | None) -> None:
        identity = (lane.provider, lane.environment, token)
        if identity in self._tokens:
            self.duplicate_count += 1
            return
        self._tokens.add(identity)
        if device is None:
            self._deliveries.append((lane, token, "", ""))
            return
        delivery = (lane, token, device.device_id, device.user_id)
        install = device.installation_id
        if not install:
            self._deliveries.append(delivery)
        elif install not in self._installs:
            self._installs[install] = (len(self._deliveries), device.updated_us)
            self._deliveries.append(delivery)
        else:
            # One copy per app install: the newest of its tokens gets it, in the place of the first named.
            self.duplicate_count += 1
            place, updated_us = self._installs[install]
            if device.updated_us > updated_us:
                self._deliveries[place] = delivery
                self._installs[install] = (place, device.updated_us)

    def audience(self) -> Audience:
        planned = []
        for lane, of_lane in groupby(self._deliveries, key=itemgetter(0)):
            _, tokens, device_ids, user_ids = zip(*of_lane, strict=True)
            planned.append(Planned(lane, tokens, device_ids, user_ids) if any(device_ids) else Planned(lane, tokens))
        return Audience(planned, self.duplicate_count, self.rejected)

    def reject(self, path: str, value: str, provider: Provider, refused: Refused) -> None:
        self.rejected.append(Rejection(path, value, provider, refused.reason, refused.detail))


def _resolve(
    target: Target, parts: Sequence[_Part], rejected: Sequence[Rejection], routes: Routes, found: Sequence[Found]
) -> Audience:
    draft = _Draft(rejected)
    living = [device for device in found if device.state is not DeviceState.REMOVED]
    _add_tokens(draft, parts, living)
    refusals = _LaneRefusals(routes)
    if target.device_ids:
        _add_devices(draft, target.device_ids, living, refusals)
    if target.user_ids:
        _add_users(draft, target.user_ids, living, refusals)
    return draft.audience()


def _add_tokens(draft: _Draft, parts: Sequence[_Part], living: Sequence[Found]) -> None:
    registered = {(d.lane.provider, d.lane.environment, d.token): d for d in living}
    for part in parts:
        provider, environment = part.lane.provider, part.lane.environment
        for place, token in zip(part.places, part.tokens, strict=True):
            device = registered.get((provider, environment, token)) if registered else None
            refused = None if device is None else _dead(device) or _kind_mismatch(device.token_kind, part.kind)
            if refused is not None:
                draft.rejected.append(_rejected_token(part.group, place, token, provider, refused))
            else:
                draft.add(part.lane, token, device)


def _add_devices(draft: _Draft, device_ids: Sequence[str], living: Sequence[Found], refusals: _LaneRefusals) -> None:
    by_id = {device.device_id: device for device in living}
    for position, device_id in enumerate(device_ids):
        path = f"target.device_ids[{position}]"
        device = by_id.get(device_id)
        if device is None:
            unknown = Refused(RejectReason.DEVICE_UNKNOWN, "the app has no such device; register it first")
            draft.reject(path, device_id, Provider.UNSPECIFIED, unknown)
            continue
        refused = _dead(device) or refusals.of(device)
        if refused is not None:
            draft.reject(path, device_id, device.lane.provider, refused)
        else:
            draft.add(device.lane, device.token, device)


def _add_users(draft: _Draft, user_ids: Sequence[str], living: Sequence[Found], refusals: _LaneRefusals) -> None:
    """A user's dead devices and those of another kind are passed over, unless that leaves none to tell about."""
    by_user: dict[str, list[Found]] = defaultdict(list)
    for device in living:
        if device.user_id:
            by_user[device.user_id].append(device)
    for position, user_id in enumerate(user_ids):
        path = f"target.user_ids[{position}]"
        told: set[tuple[Provider, Refused]] = set()
        reached = False
        for device in by_user.get(user_id, ()):
            if device.state is DeviceState.DEAD:
                continue
            refused = refusals.of(device)
            if refused is None:
                draft.add(device.lane, device.token, device)
                reached = True
            elif refused.reason is not RejectReason.TOKEN_KIND_MISMATCH:
                told.add((device.lane.provider, refused))
        for provider, refused in sorted(told):
            draft.reject(path, user_id, provider, refused)
        if not reached and not told:
            none = Refused(RejectReason.USER_WITHOUT_DEVICE, "the user has no living device for this kind of message")
            draft.reject(path, user_id, Provider.UNSPECIFIED, none)


def _dead(device: Found) -> Refused | None:
    if device.state is not DeviceState.DEAD:
        return None
    return Refused(
        RejectReason.DEVICE_DEAD, "the provider said that its token is gone; registering it again revives it"
    )


class _LaneRefusals:
    """Why devices of a lane cannot get the message; what is asked of an account is asked once."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._known: dict[Lane, tuple[TokenKind, Refused | None]] = {}

    def of(self, device: Found) -> Refused | None:
        lane = device.lane
        if lane not in self._known:
            self._known[lane] = self._ask(lane)
        kind, refused = self._known[lane]
        if kind is not TokenKind.UNSPECIFIED and device.token_kind is not kind:
            return _kind_mismatch(device.token_kind, kind)
        return refused

    def _ask(self, lane: Lane) -> tuple[TokenKind, Refused | None]:
        chosen = choose(self._routes(lane.provider), lane.provider_app_id, lane.environment)
        if isinstance(chosen, Refused):
            return TokenKind.UNSPECIFIED, chosen
        return chosen[0].kind, chosen[0].refused()
