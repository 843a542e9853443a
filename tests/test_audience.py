from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import pytest

from pushrpc.audience import ProviderAudience, Route, Routes, Target, TokenGroup, choose, plan
from pushrpc.model import Address, Audience, Found, Lane, Planned, Refused
from pushrpc.words import AudienceKind, DeviceState, Environment, HubPlatform, Provider, RejectReason, TokenKind

APP = "shop"
PRODUCTION, SANDBOX, NO_ENVIRONMENT = Environment.PRODUCTION, Environment.SANDBOX, Environment.UNSPECIFIED
APNS_LANE = Lane(APP, Provider.APNS, "com.shop", PRODUCTION)
FCM_LANE = Lane(APP, Provider.FCM, "shop-1", NO_ENVIRONMENT)


@dataclass
class FakeRoute:
    provider_app_id: str
    environment: Environment
    kind: TokenKind = TokenKind.STANDARD
    refusal: Refused | None = None
    asked: list[str] = field(default_factory=list)

    def kind_for(self, platform: HubPlatform) -> TokenKind:
        return self.kind

    def origin(self, token: str) -> str:
        return token.rpartition("/")[0]

    def token_problem(self, *tokens: str) -> Refused | None:
        is_bad = any(token.startswith("bad") for token in tokens)
        return Refused(RejectReason.TOKEN_MALFORMED, "is no token") if is_bad else None

    def address_problem(self, token: str, address: Address) -> Refused | None:
        """Tokens that are addresses need keys; of audiences there are topics only."""
        if address.audience:
            return None if address.audience is AudienceKind.TOPIC else Refused(RejectReason.TOKEN_MALFORMED, "no topic")
        if "/" in token and not address.auth:
            return Refused(RejectReason.WEB_PUSH_KEYS_INVALID, "auth is missing")
        return None

    def refused(self, address: Address) -> Refused | None:
        self.asked.append("refused")
        return self.refusal

    def is_cut(self, address: Address) -> bool:
        return False


def routes(**changes: FakeRoute) -> Routes:
    accounts: Mapping[Provider, Sequence[Route]] = {
        Provider.APNS: [changes.get("apns", FakeRoute("com.shop", PRODUCTION)), FakeRoute("com.shop.lite", SANDBOX)],
        Provider.FCM: [changes.get("fcm", FakeRoute("shop-1", NO_ENVIRONMENT))],
    }
    return lambda provider: accounts.get(provider, ())


def found(device_id: str, token: str, lane: Lane = APNS_LANE, **changes: object) -> Found:
    blank = Found(device_id, "", lane, token, TokenKind.STANDARD, "", DeviceState.ACTIVE, 1)
    return blank._replace(**changes)  # type: ignore[arg-type]


def audience(target: Target, registry: Sequence[Found] = (), **changes: FakeRoute) -> Audience:
    """What the ledger would do: look up what is named, then resolve."""
    named, resolve = plan(APP, target, routes(**changes))
    tokens = {(lane.provider, lane.environment, token) for lane, of_lane in named.tokens for token in of_lane}
    matching = [
        device
        for device in registry
        if device.device_id in named.device_ids
        or device.user_id in named.user_ids
        or (device.lane.provider, device.lane.environment, device.token) in tokens
    ]
    return resolve(matching)


def apns(*tokens: str, **changes: object) -> TokenGroup:
    return TokenGroup(Provider.APNS, tokens)._replace(**changes)  # type: ignore[arg-type]


def deliveries(result: Audience) -> list[tuple[Lane, str, str, str]]:
    """Each planned delivery: its lane, token, device_id and user_id."""
    return [
        (lane, token, device_id, user_id)
        for lane, tokens, device_ids, user_ids, _ in result.planned
        for token, device_id, user_id in zip_longest(
            tokens, device_ids, user_ids, fillvalue=""
        )  # a column is whole or empty
    ]


def tokens_of(result: Audience) -> list[str]:
    return [token for _, token, _, _ in deliveries(result)]


def rejections(result: Audience) -> list[tuple[str, RejectReason]]:
    return [(each.path, each.reason) for each in result.rejected]


# --- raw tokens --------------------------------------------------------------------------------------------------


def test_raw_tokens_go_to_the_default_account_in_target_order() -> None:
    result = audience(Target([apns("a", "b"), TokenGroup(Provider.FCM, ["f"])]))
    assert result == Audience([Planned(APNS_LANE, ("a", "b")), Planned(FCM_LANE, ("f",))], 0, [])


def test_a_token_named_twice_is_reached_once() -> None:
    assert audience(Target([apns("a", "b", "a")])).duplicate_count == 1
    result = audience(Target([apns("a"), apns("a", "b")]))
    assert tokens_of(result) == ["a", "b"]
    assert result.duplicate_count == 1


def test_the_same_token_in_two_environments_is_two_targets() -> None:
    result = audience(Target([apns("a"), apns("a", environment=SANDBOX)]))
    assert [planned.lane.environment for planned in result.planned] == [PRODUCTION, SANDBOX]


def test_deliveries_keep_their_order_where_lanes_take_turns() -> None:
    fcm = TokenGroup(Provider.FCM, ["f"])
    result = audience(Target([apns("a"), fcm, apns("b"), apns("c", provider_app_id="com.shop")]), [found("d-1", "b")])
    assert result.planned == [
        Planned(APNS_LANE, ("a",)),
        Planned(FCM_LANE, ("f",)),
        Planned(APNS_LANE, ("b", "c"), ("d-1", ""), ("", "")),
    ]


def test_a_target_of_which_nothing_is_left_plans_nothing() -> None:
    assert audience(Target([apns("bad")])).planned == []


def test_a_named_account_sets_the_lane() -> None:
    result = audience(Target([apns("a", provider_app_id="com.shop.lite")]))
    assert result.planned[0].lane == Lane(APP, Provider.APNS, "com.shop.lite", SANDBOX)


def test_environment_means_nothing_outside_apns() -> None:
    result = audience(Target([TokenGroup(Provider.FCM, ["f"], environment=SANDBOX)]))
    assert result.planned[0].lane == FCM_LANE


def test_malformed_tokens_are_rejected_and_the_rest_goes_on() -> None:
    result = audience(Target([apns("a", "bad1", "b", "bad2"), apns("c")]))
    assert tokens_of(result) == ["a", "b", "c"]
    assert result.rejected[0] == (
        "target.tokens[0].tokens[1]",
        "bad1",
        Provider.APNS,
        RejectReason.TOKEN_MALFORMED,
        "is no token",
    )
    assert result.rejected[1].path == "target.tokens[0].tokens[3]"


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (TokenGroup(Provider.WNS, ["w"]), RejectReason.PROVIDER_NOT_CONFIGURED),
        (apns("a", provider_app_id="com.other"), RejectReason.PROVIDER_APP_UNKNOWN),
        (apns("a", token_kind=TokenKind.VOIP), RejectReason.TOKEN_KIND_MISMATCH),
    ],
)
def test_groups_that_no_account_can_serve_are_rejected_token_by_token(group: TokenGroup, reason: RejectReason) -> None:
    result = audience(Target([group, apns("b")]))
    assert rejections(result) == [("target.tokens[0].tokens[0]", reason)]
    assert tokens_of(result) == ["b"]


@pytest.mark.parametrize("reason", [RejectReason.PAYLOAD_TOO_LARGE, RejectReason.FIELD_MISSING])
def test_a_message_one_provider_refuses_still_goes_to_the_other(reason: RejectReason) -> None:
    refusing = FakeRoute("com.shop", PRODUCTION, refusal=Refused(reason, "why"))
    result = audience(Target([apns("a", "b"), TokenGroup(Provider.FCM, ["f"])]), apns=refusing)
    assert rejections(result) == [(f"target.tokens[0].tokens[{i}]", reason) for i in range(2)]
    assert tokens_of(result) == ["f"]


def test_raw_tokens_get_the_device_they_belong_to() -> None:
    registry = [found("d-1", "b", user_id="u-1")]
    result = audience(Target([apns("a", "b")]), registry)
    assert result.planned == [Planned(APNS_LANE, ("a", "b"), ("", "d-1"), ("", "u-1"))]


def test_a_raw_token_and_its_user_are_one_target() -> None:
    registry = [found("d-1", "a", user_id="u-1"), found("d-2", "b", user_id="u-1")]
    result = audience(Target([apns("a")], user_ids=["u-1"]), registry)
    assert [device_id for _, _, device_id, _ in deliveries(result)] == ["d-1", "d-2"]
    assert result.duplicate_count == 1


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (found("d-1", "a", state=DeviceState.DEAD), RejectReason.DEVICE_DEAD),
        (found("d-1", "a", token_kind=TokenKind.VOIP), RejectReason.TOKEN_KIND_MISMATCH),
    ],
)
def test_raw_tokens_of_devices_that_cannot_take_it_are_rejected(device: Found, reason: RejectReason) -> None:
    result = audience(Target([apns("bad", "a")]), [device])
    assert rejections(result)[1:] == [("target.tokens[0].tokens[1]", reason)]
    assert not result.planned


def test_a_removed_device_is_as_if_it_had_never_been() -> None:
    registry = [found("d-1", "a", user_id="u-1", state=DeviceState.REMOVED)]
    result = audience(Target([apns("a")], ["d-1"], ["u-1"]), registry)
    assert deliveries(result) == [(APNS_LANE, "a", "", "")]
    assert [reason for _, reason in rejections(result)] == [
        RejectReason.DEVICE_UNKNOWN,
        RejectReason.USER_WITHOUT_DEVICE,
    ]


# --- devices and users -------------------------------------------------------------------------------------------


def test_devices_and_users_come_after_tokens_in_their_order() -> None:
    registry = [found("d-2", "b"), found("d-1", "a"), found("d-3", "c", user_id="u-1")]
    result = audience(Target([apns("t")], ["d-1", "d-2"], ["u-1"]), registry)
    assert tokens_of(result) == ["t", "a", "b", "c"]


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (None, RejectReason.DEVICE_UNKNOWN),
        (found("d-1", "a", state=DeviceState.DEAD), RejectReason.DEVICE_DEAD),
        (found("d-1", "a", token_kind=TokenKind.VOIP), RejectReason.TOKEN_KIND_MISMATCH),
        (found("d-1", "a", APNS_LANE._replace(provider=Provider.HMS)), RejectReason.PROVIDER_NOT_CONFIGURED),
        (found("d-1", "a", APNS_LANE._replace(provider_app_id="gone")), RejectReason.PROVIDER_APP_UNKNOWN),
    ],
)
def test_named_devices_that_cannot_be_reached_are_rejected(device: Found | None, reason: RejectReason) -> None:
    registry = [found("d-2", "b"), *([device] if device else [])]
    result = audience(Target(device_ids=["d-2", "d-1"]), registry)
    assert rejections(result) == [("target.device_ids[1]", reason)]
    assert tokens_of(result) == ["b"]


@pytest.mark.parametrize(
    "devices",
    [
        [],
        [found("d-1", "a", user_id="u-1", state=DeviceState.DEAD)],
        [found("d-1", "a", user_id="u-1", token_kind=TokenKind.LIVE_ACTIVITY)],
    ],
)
def test_a_user_none_of_whose_devices_takes_the_message_is_rejected(devices: list[Found]) -> None:
    registry = [*devices, found("d-9", "z", user_id="u-2")]
    result = audience(Target(user_ids=["u-2", "u-1"]), registry)
    assert rejections(result) == [("target.user_ids[1]", RejectReason.USER_WITHOUT_DEVICE)]
    assert tokens_of(result) == ["z"]


def test_an_alert_reaches_only_a_users_standard_tokens() -> None:
    registry = [found("d-1", "a", user_id="u"), found("d-2", "b", user_id="u", token_kind=TokenKind.VOIP)]
    result = audience(Target(user_ids=["u"]), registry)
    assert tokens_of(result) == ["a"]
    assert not result.rejected


def test_a_voip_message_reaches_only_voip_tokens() -> None:
    registry = [found("d-1", "a", user_id="u"), found("d-2", "b", user_id="u", token_kind=TokenKind.VOIP)]
    result = audience(Target(user_ids=["u"]), registry, apns=FakeRoute("com.shop", PRODUCTION, TokenKind.VOIP))
    assert tokens_of(result) == ["b"]


def test_a_user_hears_of_each_account_that_cannot_carry_the_message() -> None:
    registry = [
        found("d-1", "a", user_id="u"),
        found("d-2", "b", user_id="u"),
        found("d-3", "f", FCM_LANE, user_id="u"),
    ]
    refusing = FakeRoute("com.shop", PRODUCTION, refusal=Refused(RejectReason.PAYLOAD_TOO_LARGE, "why"))
    result = audience(Target(user_ids=["u"]), registry, apns=refusing)
    assert tokens_of(result) == ["f"]
    assert [(each.path, each.provider, each.reason) for each in result.rejected] == [
        ("target.user_ids[0]", Provider.APNS, RejectReason.PAYLOAD_TOO_LARGE)
    ]
    assert refusing.asked == ["refused"]


def test_accounts_that_nothing_is_sent_through_are_not_asked() -> None:
    idle = FakeRoute("shop-1", NO_ENVIRONMENT)
    audience(Target([apns("a")], user_ids=["u"]), [found("d-1", "b", user_id="u")], fcm=idle)
    assert not idle.asked


def test_a_user_named_twice_counts_every_device_left_out() -> None:
    registry = [found("d-1", "a", user_id="u"), found("d-2", "b", user_id="u")]
    result = audience(Target(user_ids=["u", "u"]), registry)
    assert (tokens_of(result), result.duplicate_count) == (["a", "b"], 2)


# --- one copy per app install ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("older", "newer", "winner"), [(1, 2, "b"), (2, 1, "a"), (1, 1, "a")])
def test_of_an_installs_tokens_the_newest_gets_the_copy(older: int, newer: int, winner: str) -> None:
    registry = [
        found("d-1", "a", user_id="u", installation_id="i-1", updated_us=older),
        found("d-2", "b", FCM_LANE, user_id="u", installation_id="i-1", updated_us=newer),
        found("d-3", "c", user_id="u", installation_id="i-2"),
    ]
    result = audience(Target(user_ids=["u"]), registry)
    assert tokens_of(result) == [winner, "c"]
    assert result.duplicate_count == 1


def test_a_raw_token_stands_for_its_install() -> None:
    registry = [
        found("d-1", "a", installation_id="i-1", updated_us=1),
        found("d-2", "b", user_id="u", installation_id="i-1", updated_us=2),
    ]
    result = audience(Target([apns("x", "a", "y")], user_ids=["u"]), registry)
    assert deliveries(result)[1] == (APNS_LANE, "b", "d-2", "u")
    assert tokens_of(result) == ["x", "b", "y"]
    assert result.duplicate_count == 1


def test_a_dead_token_does_not_take_its_installs_copy() -> None:
    registry = [
        found("d-1", "a", user_id="u", installation_id="i", updated_us=9, state=DeviceState.DEAD),
        found("d-2", "b", user_id="u", installation_id="i", updated_us=1),
    ]
    assert tokens_of(audience(Target(user_ids=["u"]), registry)) == ["b"]


# --- choosing accounts -------------------------------------------------------------------------------------------


def test_of_two_accounts_with_one_bundle_id_the_environment_decides() -> None:
    production, sandbox = FakeRoute("com.shop", PRODUCTION), FakeRoute("com.shop", SANDBOX)
    assert choose([production, sandbox], "", SANDBOX) == (sandbox, SANDBOX)
    assert choose([production, sandbox], "com.shop", NO_ENVIRONMENT) == (production, PRODUCTION)


def test_one_account_serves_both_environments() -> None:
    account = FakeRoute("com.shop", PRODUCTION)
    assert choose([account], "", SANDBOX) == (account, SANDBOX)


def test_every_named_target_is_a_delivery_a_duplicate_or_a_rejection() -> None:
    registry = [found("d-1", "a"), found("d-2", "b", state=DeviceState.DEAD)]
    result = audience(Target([apns("a", "bad", "c", "c")], ["d-1", "d-2", "d-3"]), registry)
    assert result.target_count + result.duplicate_count + len(result.rejected) == 7


def test_a_thousand_raw_tokens_cost_little() -> None:
    """0.1 µs a token is the aim; the bound leaves room for slow and busy machines."""
    target = Target([apns(*(f"{i:064x}" for i in range(1_000)))])

    def once() -> float:
        started = time.perf_counter()
        assert audience_of_unregistered(target).target_count == 1_000
        return time.perf_counter() - started

    assert min(once() for _ in range(20)) < 0.001


def audience_of_unregistered(target: Target) -> Audience:
    _, resolve = plan(APP, target, routes())
    return resolve([])


# --- addresses and audiences


def keys(*names: str) -> list[Address]:
    return [Address("key", name) for name in names]


def test_tokens_that_are_addresses_are_told_apart_by_origin_and_keep_their_order() -> None:
    tokens = ["https://a/1", "https://b/1", "https://a/2"]
    group = TokenGroup(Provider.FCM, tokens, addresses=keys("1", "2", "3"), path="target.tokens[0].subscriptions")
    planned = audience(Target([group])).planned
    assert [(each.lane.origin, list(each.tokens)) for each in planned] == [
        ("https://a", ["https://a/1"]),
        ("https://b", ["https://b/1"]),
        ("https://a", ["https://a/2"]),
    ]
    assert [Address.of(text).auth for each in planned for text in each.addresses] == ["1", "2", "3"]


def test_a_bare_address_needs_what_only_its_device_can_bring() -> None:
    group = TokenGroup(Provider.FCM, ["https://a/1", "https://a/2"])
    lane = FCM_LANE._replace(origin="https://a")
    device = found("d-1", "https://a/2", lane, address=Address("key", "auth").text)
    result = audience(Target([group]), [device])
    assert rejections(result) == [("target.tokens[0].tokens[0]", RejectReason.WEB_PUSH_KEYS_INVALID)]
    (planned,) = result.planned
    assert (planned.tokens, planned.device_ids) == (("https://a/2",), ("d-1",))
    assert Address.of(planned.addresses[0]).auth == "auth"


def test_audiences_are_one_delivery_each_and_only_the_very_same_is_a_duplicate() -> None:
    def topic(name: str, **more: object) -> ProviderAudience:
        return ProviderAudience(Provider.FCM, AudienceKind.TOPIC, name)._replace(**more)  # type: ignore[arg-type]

    same_name = [topic("news"), topic("news", platform=HubPlatform.APNS), topic("sport"), topic("news")]
    result = audience(Target([TokenGroup(Provider.FCM, ["news"])], audiences=same_name))
    assert (result.target_count, result.duplicate_count) == (4, 1)
    unknown = ProviderAudience(Provider.FCM, AudienceKind.CHANNEL, "c")
    assert rejections(audience(Target(audiences=[unknown]))) == [
        ("target.provider_audiences[0]", RejectReason.TOKEN_MALFORMED)
    ]
