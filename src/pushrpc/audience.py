"""Whom a target reaches. Pure: what it must know of accounts and of the registry is handed in.

`plan` runs before the ledger's transaction and does all it can there; the `resolve` it returns runs inside, with the
devices that were found. The rules: parts of a target add up; each token and each app install is reached once; raw
tokens make no device but are matched to the registry; an audience takes only the kind of token the message needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeVar

from pushrpc.model import (
    NO_ADDRESS,
    Address,
    Audience,
    Found,
    Lane,
    Named,
    Planned,
    Refused,
    Rejection,
    one_form,
)
from pushrpc.words import AudienceKind, DeviceState, Environment, HubPlatform, Provider, RejectReason, TokenKind


class TokenGroup(NamedTuple):
    """Raw tokens of one provider. UNSPECIFIED and "" leave the choice to the account and to the message."""

    provider: Provider
    tokens: Sequence[str]
    environment: Environment = Environment.UNSPECIFIED
    provider_app_id: str = ""
    token_kind: TokenKind = TokenKind.UNSPECIFIED
    addresses: Sequence[Address] = ()  # one for each token, or none at all
    path: str = ""  # where the tokens stand in the request; empty: in the group of this place


class ProviderAudience(NamedTuple):
    """What a provider itself spreads a push to: one call to it, one delivery."""

    provider: Provider
    kind: AudienceKind
    name: str
    environment: Environment = Environment.UNSPECIFIED
    provider_app_id: str = ""
    platform: HubPlatform = HubPlatform.UNSPECIFIED


class Target(NamedTuple):
    groups: Sequence[TokenGroup] = ()
    device_ids: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    audiences: Sequence[ProviderAudience] = ()


class Account(Protocol):
    """Enough of an account to choose it."""

    @property
    def provider_app_id(self) -> str: ...

    @property
    def environment(self) -> Environment: ...


class Route(Account, Protocol):
    """One account as one message sees it."""

    def kind_for(self, platform: HubPlatform) -> TokenKind:
        """The kind of token that the message needs there; `platform` is the push service behind a hub's handle."""
        ...

    def origin(self, token: str) -> str:
        """The origin that a token leads to, where tokens are addresses."""
        ...

    def token_problem(self, *tokens: str) -> Refused | None:
        """None when the provider could have issued every one of the tokens."""
        ...

    def address_problem(self, token: str, address: Address) -> Refused | None:
        """What is wrong with what comes beside a token, or is missing."""
        ...

    def refused(self, address: Address) -> Refused | None:
        """Why the provider can never carry the message to such an address, or has nothing of it to carry.

        The same on every call.
        """
        ...

    def is_cut(self, address: Address) -> bool:
        """Whether the body is cut for such an address, one that is not refused; the same on every call."""
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
        parts += _parts(app_id, position, group, routes, rejected)
    named = Named(target.device_ids, target.user_ids, [(part.lane, part.tokens) for part in parts])
    parts += _audiences(app_id, target.audiences, routes, rejected)

    if len(parts) == 1 and not (target.device_ids or target.user_ids) and parts[0].alone:
        alone = Audience([Planned(parts[0].lane, parts[0].tokens)], 0, rejected)
        return named, lambda found: _resolve(target, parts, rejected, routes, found) if found else alone
    return named, lambda found: _resolve(target, parts, rejected, routes, found)


def telling_cuts(resolve: Resolve, routes: Routes) -> Resolve:
    """The same, and the audience says for which providers the body is cut: of those that something goes to."""

    def telling(found: Sequence[Found]) -> Audience:
        audience = resolve(found)
        cut = (planned.lane.provider for planned in audience.planned if _is_cut(planned, routes))
        return audience._replace(shortened=list(dict.fromkeys(cut)))

    return telling


def _is_cut(planned: Planned, routes: Routes) -> bool:
    lane = planned.lane
    chosen = choose(routes(lane.provider), lane.provider_app_id, lane.environment)
    addresses = map(Address.of, set(planned.addresses) or {""})
    return not isinstance(chosen, Refused) and any(map(chosen[0].is_cut, addresses))


class _Part(NamedTuple):
    """What is left of a token group, in one lane: `places` are the positions of its tokens at `path` in the request.

    `bare`: the tokens may lack what must come beside them, and which only the registry can bring.
    """

    path: str
    route: Route
    lane: Lane
    tokens: Sequence[str]
    places: Sequence[int]
    addresses: Sequence[Address] = ()
    bare: bool = False

    @property
    def alone(self) -> bool:
        """Whether these are the deliveries, unless the registry knows one of them."""
        return not (self.addresses or self.bare or len(set(self.tokens)) < len(self.tokens))

    def rejected(self, place: int, token: str, refused: Refused) -> Rejection:
        return Rejection(f"{self.path}[{place}]", token, self.lane.provider, refused.reason, refused.detail)


def _parts(app_id: str, position: int, group: TokenGroup, routes: Routes, rejected: list[Rejection]) -> list[_Part]:
    """Rejects what can be known without the registry; what is left, as runs of one lane."""
    provider, given = group.provider, group.addresses
    path = group.path or f"target.tokens[{position}].tokens"

    def reject(place: int, refused: Refused) -> None:
        rejected.append(Rejection(f"{path}[{place}]", group.tokens[place], provider, refused.reason, refused.detail))

    chosen = choose(routes(provider), group.provider_app_id, group.environment)
    if isinstance(chosen, Refused):
        for place in range(len(group.tokens)):
            reject(place, chosen)
        return []
    route, environment = chosen
    tokens = _in_one_form(group)
    bare = not given and bool(tokens) and route.address_problem(tokens[0], NO_ADDRESS) is not None
    refused = _other_kind(group, route) or (None if given or bare else route.refused(NO_ADDRESS))
    if refused is not None:
        for place in range(len(tokens)):
            reject(place, refused)
        return []
    places: Sequence[int] = range(len(tokens))
    if given or route.token_problem(*tokens):
        good: list[int] = []
        for place, token in enumerate(tokens):
            problem = route.token_problem(token)
            if not problem and given:
                problem = route.address_problem(token, given[place]) or route.refused(given[place])
            if problem:
                reject(place, problem)
            else:
                good.append(place)
        places = good
    if not places:
        return []

    def part(lane: Lane, places: Sequence[int]) -> _Part:
        named = tokens if len(places) == len(tokens) else [tokens[place] for place in places]
        return _Part(path, route, lane, named, places, [given[place] for place in places] if given else (), bare)

    lane = Lane(app_id, provider, route.provider_app_id, environment, route.origin(tokens[places[0]]))
    if not lane.origin:
        return [part(lane, places)]
    runs = groupby(places, lambda place: route.origin(tokens[place]))
    return [part(lane._replace(origin=origin), list(run)) for origin, run in runs]


def _in_one_form(group: TokenGroup) -> Sequence[str]:
    """Nearly always the tokens as they are: one look at all of them is much cheaper than one at each."""
    provider, tokens = group.provider, group.tokens
    if provider is Provider.APNS:
        together = "".join(tokens)
        return tokens if together == together.lower() else [one_form(provider, token) for token in tokens]
    if provider is Provider.NOTIFICATION_HUBS:
        given = group.addresses or repeat(NO_ADDRESS)
        return [one_form(provider, token, to.platform) for token, to in zip(tokens, given, strict=False)]
    return tokens


def _other_kind(group: TokenGroup, route: Route) -> Refused | None:
    if not group.token_kind:
        return None
    platform = group.addresses[0].platform if group.addresses else HubPlatform.UNSPECIFIED
    return _kind_mismatch(group.token_kind, route.kind_for(platform))


def _audiences(
    app_id: str, audiences: Sequence[ProviderAudience], routes: Routes, rejected: list[Rejection]
) -> list[_Part]:
    parts = []
    for place, wanted in enumerate(audiences):
        address = Address(platform=wanted.platform, audience=wanted.kind)
        chosen = choose(routes(wanted.provider), wanted.provider_app_id, wanted.environment)
        if isinstance(chosen, Refused):
            refused: Refused | None = chosen
        else:
            refused = chosen[0].address_problem(wanted.name, address) or chosen[0].refused(address)
        if refused is not None or isinstance(chosen, Refused):
            assert refused is not None
            path = f"target.provider_audiences[{place}]"
            rejected.append(Rejection(path, wanted.name, wanted.provider, refused.reason, refused.detail))
            continue
        route, environment = chosen
        lane = Lane(app_id, wanted.provider, route.provider_app_id, environment)
        parts.append(_Part("target.provider_audiences", route, lane, [wanted.name], [place], [address]))
    return parts


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
        self._deliveries: list[tuple[Lane, str, str, str, str]] = []
        self._reached: set[tuple[object, ...]] = set()
        self._installs: dict[str, tuple[int, int]] = {}  # place in deliveries, updated_us

    def add(self, lane: Lane, token: str, device: Found | None, address: Address = NO_ADDRESS) -> None:
        # A token is one wherever it was named; the same topic in two projects is two.
        identity = (lane, token, address) if address.audience else (lane.provider, lane.environment, token)
        if identity in self._reached:
            self.duplicate_count += 1
            return
        self._reached.add(identity)
        if device is None:
            self._deliveries.append((lane, token, "", "", address.text))
            return
        delivery = (lane, token, device.device_id, device.user_id, address.text or device.address)
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
            _, tokens, device_ids, user_ids, addresses = zip(*of_lane, strict=True)
            known = any(device_ids)
            planned.append(
                Planned(
                    lane,
                    tokens,
                    device_ids if known else (),
                    user_ids if known else (),
                    addresses if any(addresses) else (),
                )
            )
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
        given = part.addresses or repeat(NO_ADDRESS)
        for place, token, address in zip(part.places, part.tokens, given, strict=False):
            device = registered.get((provider, environment, token)) if registered and not address.audience else None
            known = address
            refused = None
            if device is not None:
                known = address if part.addresses else Address.of(device.address)
                needed = part.route.kind_for(known.platform)
                refused = _dead(device) or _kind_mismatch(device.token_kind, needed)
            if not refused and (part.bare or (device and not part.addresses)):
                refused = part.route.address_problem(token, known) or part.route.refused(known)
            if refused:
                draft.rejected.append(part.rejected(place, token, refused))
            else:
                draft.add(part.lane, token, device, address)


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
        RejectReason.DEVICE_DEAD,
        "the provider said that its token is gone, or its time is over; registering it again revives it",
    )


class _LaneRefusals:
    """Why devices of a lane cannot get the message; what is asked of an account is asked once."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._known: dict[tuple[Lane, HubPlatform], tuple[TokenKind, Refused | None]] = {}

    def of(self, device: Found) -> Refused | None:
        address = Address.of(device.address)
        asked = device.lane, address.platform
        if asked not in self._known:
            self._known[asked] = self._ask(device.lane, address)
        kind, refused = self._known[asked]
        if kind is not TokenKind.UNSPECIFIED and device.token_kind is not kind:
            return _kind_mismatch(device.token_kind, kind)
        return refused

    def _ask(self, lane: Lane, address: Address) -> tuple[TokenKind, Refused | None]:
        chosen = choose(self._routes(lane.provider), lane.provider_app_id, lane.environment)
        if isinstance(chosen, Refused):
            return TokenKind.UNSPECIFIED, chosen
        return chosen[0].kind_for(address.platform), chosen[0].refused(address)
