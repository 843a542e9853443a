"""Our hub account against the emulated hub, both without a socket: what passes our check, it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import HubAccount
from pushrpc.content import Content, HubOptions
from pushrpc.emulator.credentials import issue_hub
from pushrpc.emulator.notification_hubs import NotificationHubs
from pushrpc.emulator.service import Call as Received
from pushrpc.emulator.service import Entry
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.exchange import Requests, Response, Row
from pushrpc.model import Address, Device, Notification, Outcome
from pushrpc.providers import Call, MessageRefused
from pushrpc.providers.notification_hubs import NotificationHub
from pushrpc.words import AudienceKind, DeviceState, Environment, HubPlatform, OutcomeKind, Provider
from tests.providers.samples import NOW_US, batch, body_of, claimed, headers_of, notification
from tests.providers.strategies import NOTIFICATIONS, WINDOWS_NOTIFICATIONS

ENDPOINT = "https://127.0.0.1:8443"
KEYS = Address("BCVxsr7N_eNgVRqvHtD0zTZsEc6", "BTBZMqHH6r4Tts7J_aSIgg", HubPlatform.BROWSER)
HANDLES = {
    HubPlatform.APNS: "ab" * 32,
    HubPlatform.FCM_V1: "f:token",
    HubPlatform.WNS: "https://a.notify.windows.com/?token=x",
    HubPlatform.BROWSER: "https://push.example/1",
    HubPlatform.ADM: "amzn1.adm-x",
    HubPlatform.BAIDU: "user-channel",
    HubPlatform.XIAOMI: "mi",
}
TAGS, EVERYONE = Address(audience=AudienceKind.TAGS), Address(audience=AudienceKind.EVERYONE)


class World:
    """Both ends, with what went between them."""

    def __init__(self, directory: Path) -> None:
        self.tokens = TokenBook()
        self.service = NotificationHubs(self.tokens)
        path = issue_hub(self.service, directory, ENDPOINT)
        self.hub = NotificationHub(HubAccount("shop", str(path), "shop-hub", ENDPOINT))
        self.now_us = NOW_US

    def answered(self, requests: Requests, row: Row) -> tuple[Response, list[Entry]]:
        template = requests.templates[row.template]
        headers = [(b"host", template.authority), *headers_of(requests, row)]
        received = Received(template.method, row.path, headers, body_of(requests, row))
        verdict = self.service.answer(received, self.now_us)
        return verdict.response, list(verdict.taken)

    def sent(self, of: Notification, address: Address, *tokens: str) -> tuple[list[tuple[Outcome, str]], list[Entry]]:
        """What became of each delivery, and what the hub took."""
        assert self.hub.credential is not None
        deliveries = [claimed(of, token, i, address.text) for i, token in enumerate(tokens)]
        authorization = self.hub.credential.current(self.now_us)
        requests = self.hub.prepare(batch(self.hub, deliveries), authorization, self.now_us)
        told: dict[int, tuple[Outcome, str]] = {}
        taken: list[Entry] = []
        for row in requests.rows:
            response, entries = self.answered(requests, row)
            covered = [deliveries[position] for position in row.covers]
            told |= dict(zip(row.covers, self.hub.classify(response, covered, self.now_us), strict=True))
            taken += entries
        return [told[position] for position in range(len(deliveries))], taken

    def called(self, call: Call) -> Response:
        return self.answered(call.requests, call.requests.rows[0])[0]

    @property
    def authorization(self) -> bytes | None:
        assert self.hub.credential is not None
        return self.hub.credential.current(self.now_us)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("hub"))


def address_of(platform: HubPlatform) -> Address:
    return KEYS if platform is HubPlatform.BROWSER else Address(platform=platform)


@given(
    of=NOTIFICATIONS | WINDOWS_NOTIFICATIONS,
    platform=st.sampled_from(sorted(HANDLES)),
    count=st.integers(1, 3),
)
def test_a_hub_takes_what_passes_the_check(lasting: World, of: Any, platform: HubPlatform, count: int) -> None:
    address = address_of(platform)
    try:
        lasting.hub.check_message(of, address)
    except MessageRefused:
        return
    handles = [f"{HANDLES[platform]}{n:02}" for n in range(count)]
    outcomes, taken = lasting.sent(of, address, *handles)
    assert [outcome.kind for outcome, _ in outcomes] == [OutcomeKind.ACCEPTED] * count, outcomes
    assert sorted(entry.token for entry in taken) == handles
    assert [message_id for _, message_id in outcomes] == [entry.message_id for entry in taken]


@given(properties=st.dictionaries(st.text(max_size=9), st.text(max_size=30), min_size=1, max_size=4))
def test_a_hub_takes_template_properties(lasting: World, properties: dict[str, str]) -> None:
    of = notification(Content(notification_hubs=HubOptions(template_properties=properties)))
    try:
        lasting.hub.check_message(of, EVERYONE)
    except MessageRefused:
        return  # a lone surrogate
    ((outcome, message_id),), taken = lasting.sent(of, EVERYONE, "")
    assert (outcome.kind, bool(message_id), taken) == (OutcomeKind.ACCEPTED, True, [])


@given(
    st.lists(st.sampled_from(["a", "bb", "$UserId:{u@x}", "&&", "||", "!", "(", ")", " "]), max_size=24).map("".join)
)
def test_a_hub_takes_an_expression_if_and_only_if_we_do(lasting: World, expression: str) -> None:
    ours = lasting.hub.address_problem(expression, TAGS) is None
    of = notification(Content(notification_hubs=HubOptions(template_properties={"a": "b"})))
    ((outcome, _),), _ = lasting.sent(of, TAGS, expression) if expression.strip() else (((None, ""),), [])
    assert ours == (outcome is not None and outcome.kind is OutcomeKind.ACCEPTED)


def test_a_batch_and_what_telemetry_makes_of_it(world: World) -> None:
    dead, *_ = handles = [f"{n:064x}" for n in range(500)]
    world.tokens.put([dead], Token(TokenState.UNREGISTERED))
    outcomes, taken = world.sent(notification(), Address(platform=HubPlatform.APNS), *handles)
    assert [outcome.kind for outcome, _ in outcomes] == [OutcomeKind.ACCEPTED] * 500
    assert [entry.token for entry in taken] == handles
    (message_id,) = {message_id for _, message_id in outcomes}
    # One handle of 500 is dead, and the hub does not tell which.
    world.now_us += 10_000_000
    answer = world.called(world.hub.feedback_call(message_id, world.authorization))
    outcome, due_s = world.hub.feedback(answer, world.now_us)
    assert (outcome.kind, outcome.reason, outcome.detail, due_s) == (
        OutcomeKind.UNKNOWN,
        "BadChannel",
        "Success 499, BadChannel 1",
        0.0,
    )


@pytest.mark.parametrize(
    ("belief", "kind", "reason"),
    [
        (Token(), OutcomeKind.ACCEPTED, "Success"),
        (Token(TokenState.UNREGISTERED), OutcomeKind.TOKEN_INVALID, "BadChannel"),
        (Token(TokenState.EXPIRED), OutcomeKind.TOKEN_INVALID, "ExpiredChannel"),
        (Token(TokenState.THROTTLED), OutcomeKind.THROTTLED, "Throttled"),
        (Token(app="another-hub"), OutcomeKind.TOKEN_INVALID, "WrongChannel"),
    ],
)
def test_what_is_told_later_of_one_handle(world: World, belief: Token, kind: OutcomeKind, reason: str) -> None:
    world.tokens.put(["ab"], belief)
    ((_, message_id),), _ = world.sent(notification(), Address(platform=HubPlatform.APNS), "ab")
    call = world.hub.feedback_call(message_id, world.authorization)
    early = world.hub.feedback(world.called(call), world.now_us)
    assert (early.outcome.reason, early.due_s > 0) == ("Enqueued", True)
    world.now_us += 10_000_000
    outcome, due_s = world.hub.feedback(world.called(call), world.now_us)
    assert (outcome.kind, outcome.reason, due_s) == (kind, reason, 0.0)


def test_a_hub_that_is_asked_too_much_says_when_to_come_back(world: World) -> None:
    world.service.per_hub.per_minute = 1
    outcomes, _ = world.sent(notification(), Address(platform=HubPlatform.FCM_V1), "a", "b")
    assert [outcome.kind for outcome, _ in outcomes] == [OutcomeKind.ACCEPTED, OutcomeKind.THROTTLED]
    assert outcomes[1][0].retry_after_s == 60.0


@pytest.mark.parametrize("platform", sorted(HANDLES))
def test_a_device_is_an_installation_that_its_tags_and_its_user_reach(world: World, platform: HubPlatform) -> None:
    handle = HANDLES[platform]
    device = Device(
        "shop",
        "d-1",
        Provider.NOTIFICATION_HUBS,
        world.hub.provider_app_id,
        Environment.UNSPECIFIED,
        handle,
        user_id="u-7",
        tags=("news", "not a hub's tag"),
        address=address_of(platform),
    )
    for _ in range(2):  # the same call again changes nothing
        answer = world.called(world.hub.device_call(device, world.authorization))
        assert world.hub.device_result(answer, world.now_us).kind is OutcomeKind.ACCEPTED
    native = Address(platform=platform, audience=AudienceKind.TAGS)
    for expression in ("news", "$UserId:{u-7}", "$InstallationId:{d-1}"):
        _, taken = world.sent(notification(), native, expression)
        assert [entry.token for entry in taken] == [handle]
    gone = replace(device, state=DeviceState.REMOVED)
    for _ in range(2):
        answer = world.called(world.hub.device_call(gone, world.authorization))
        assert world.hub.device_result(answer, world.now_us).kind is OutcomeKind.ACCEPTED
    assert world.sent(notification(), native, "news")[1] == []


def test_a_foreign_signature_asks_for_renewal_and_touches_no_token(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    issue_hub(world.service, tmp_path / "other", ENDPOINT)  # the policy's key is another one now
    ((outcome, _),), taken = world.sent(notification(), Address(platform=HubPlatform.APNS), "ab")
    assert (outcome.kind, outcome.renew, outcome.provider_status, taken) == (
        OutcomeKind.CREDENTIAL_REFUSED,
        True,
        401,
        [],
    )


def test_the_payload_arrives_as_it_was_built(world: World) -> None:
    handles = ["aa", "bb"]
    _, taken = world.sent(notification(Content(title="Grüße\n--", body="b")), address_of(HubPlatform.APNS), *handles)
    assert [json.loads(entry.payload)["aps"]["alert"]["title"] for entry in taken] == ["Grüße\n--"] * 2
