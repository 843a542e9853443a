"""Apple's checks, without sockets: what is refused, with which reason, and in which order."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pushrpc.emulator.apns import Accounts, Apns, ApnsConnection, Key
from pushrpc.emulator.authority import Authority
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Verdict
from pushrpc.emulator.tokens import Token, TokenBook, TokenState, apns_tokens

NOW_S = 1_800_000_000
BUNDLE = "com.example.shop"
TEAM = "TEAM123456"
TOKEN = apns_tokens(1)[0]
PAYLOAD = b'{"aps":{"alert":"Order shipped"}}'


class World:
    """Apple with one team and its key; `send` is one request on one connection, its headers by name."""

    def __init__(self, environment: str = "production", certificate: bytes | None = None) -> None:
        self.accounts = Accounts()
        self.accounts.put_app(BUNDLE, TEAM)
        self.tokens = TokenBook()
        self.quota = Quota(0)
        self.apns = Apns(environment, self.accounts, self.tokens, self.quota)
        self.private: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.add_key("KEY1234567")
        self.now_s = NOW_S if certificate is None else int(time.time())
        self.authorization = self.bearer()
        self.connection = self.connect(certificate)

    def connect(self, certificate: bytes | None = None) -> ApnsConnection:
        return self.apns.connect(certificate)

    def add_key(self, key_id: str, team_id: str = TEAM, **fields: Any) -> None:
        self.private[key_id] = ec.generate_private_key(ec.SECP256R1())
        self.accounts.put_key(Key(key_id, team_id, self.private[key_id].public_key(), **fields))

    def bearer(self, key_id: str = "KEY1234567", team_id: str = TEAM, issued_s: int | None = None) -> str:
        claims = {"iss": team_id, "iat": self.now_s if issued_s is None else issued_s}
        return "bearer " + jwt.encode(claims, self.private[key_id], "ES256", headers={"kid": key_id})

    def send(
        self, path: str = f"/3/device/{TOKEN}", body: bytes = PAYLOAD, method: str = "POST", **headers: str | None
    ) -> Verdict:
        given = {"authorization": self.authorization, "apns_topic": BUNDLE, "apns_push_type": "alert"}
        merged = {name.replace("_", "-"): value for name, value in (given | headers).items() if value is not None}
        encoded = [(name.encode(), value.encode()) for name, value in merged.items()]
        return self.connection.answer(Call(method.encode(), path.encode(), encoded, body), self.now_s * 1_000_000)


@pytest.fixture
def world() -> World:
    return World()


def said(verdict: Verdict) -> tuple[int, str]:
    assert (verdict.accepted is None) == (verdict.response.status != 200)
    body = verdict.response.body
    return verdict.response.status, json.loads(body)["reason"] if body else ""


def test_a_good_request_is_accepted_and_its_id_echoed(world: World) -> None:
    apns_id = str(uuid.uuid4())
    verdict = world.send(apns_id=apns_id)
    assert (verdict.response.status, verdict.response.body) == (200, b"")
    assert verdict.response.header(b"apns-id") == apns_id.encode()
    assert verdict.response.header(b"apns-unique-id") == b""
    assert verdict.accepted
    assert (verdict.accepted.token, verdict.accepted.message_id) == (TOKEN, apns_id)


def test_without_an_id_one_is_made_and_the_sandbox_adds_its_own() -> None:
    response = World("sandbox").send().response
    assert uuid.UUID(response.header(b"apns-id").decode())
    assert uuid.UUID(response.header(b"apns-unique-id").decode())


def test_the_checks_come_in_order(world: World) -> None:
    """A request wrong in every way is mended one step at a time; each step shows the next reason."""
    world.add_key("OTHERTEAM1", "TEAM999999")
    world.tokens.put([TOKEN], Token(TokenState.UNREGISTERED, environment="sandbox", app="com.example.other"))
    request: dict[str, Any] = {
        "method": "GET",
        "path": "/4/device",
        "apns_id": "1",
        "authorization": None,
        "apns_topic": None,
        "apns_push_type": "shout",
        "apns_expiration": "soon",
        "apns_priority": "7",
        "apns_collapse_id": "x" * 65,
        "body": b"",
    }
    steps: list[tuple[str, dict[str, Any]]] = [
        ("MethodNotAllowed", {"method": "POST"}),
        ("BadPath", {"path": "/3/device/"}),
        ("MissingDeviceToken", {"path": "/3/device/xyz"}),
        ("BadMessageId", {"apns_id": str(uuid.uuid4())}),
        ("MissingProviderToken", {"authorization": world.bearer("OTHERTEAM1")}),
        ("InvalidProviderToken", {"authorization": world.authorization}),
        ("MissingTopic", {"apns_topic": "com.example.unknown"}),
        ("TopicDisallowed", {"apns_topic": BUNDLE}),
        ("InvalidPushType", {"apns_push_type": "alert"}),
        ("BadExpirationDate", {"apns_expiration": "0"}),
        ("BadPriority", {"apns_priority": "10"}),
        ("BadCollapseId", {"apns_collapse_id": "x" * 64}),
        ("BadDeviceToken", {"path": f"/3/device/{TOKEN}"}),
    ]
    for reason, mended in steps:
        assert said(world.send(**request))[1] == reason
        request |= mended
    beliefs = [
        ("BadDeviceToken", Token(TokenState.UNREGISTERED, app="com.example.other")),
        ("DeviceTokenNotForTopic", Token(TokenState.UNREGISTERED)),
        ("Unregistered", Token(TokenState.THROTTLED)),
    ]
    for reason, belief in beliefs:
        assert said(world.send(**request))[1] == reason
        world.tokens.put([TOKEN], belief)
    assert said(world.send(**request)) == (400, "PayloadEmpty")
    assert said(world.send(**request | {"body": b'"' + b"x" * 4095 + b'"'})) == (413, "PayloadTooLarge")
    assert said(world.send(**request | {"body": PAYLOAD})) == (429, "TooManyRequests")
    world.tokens.put([TOKEN], Token())
    assert said(world.send(**request | {"body": PAYLOAD})) == (200, "")


@pytest.mark.parametrize(
    ("belief", "answer"),
    [
        (Token(), (200, "", None)),
        (Token(TokenState.UNREGISTERED, since_ms=1_700_000_000_123), (410, "Unregistered", 1_700_000_000_123)),
        (Token(TokenState.EXPIRED, since_ms=5), (410, "ExpiredToken", 5)),
        (Token(TokenState.UNREGISTERED), (410, "Unregistered", NOW_S * 1000)),
        (Token(environment="sandbox"), (400, "BadDeviceToken", None)),
        (Token(environment="production"), (200, "", None)),
        (Token(app="com.example.other"), (400, "DeviceTokenNotForTopic", None)),
        (Token(app=BUNDLE), (200, "", None)),
        (Token(TokenState.THROTTLED), (429, "TooManyRequests", None)),
        (Token(TokenState.THROTTLED, until_ms=NOW_S * 1000), (200, "", None)),
    ],
)
def test_what_is_believed_of_a_token(world: World, belief: Token, answer: tuple[int, str, int | None]) -> None:
    world.tokens.put([TOKEN], belief)
    response = world.send(path=f"/3/device/{TOKEN.upper()}").response
    body = json.loads(response.body or b"{}")
    assert (response.status, body.get("reason", ""), body.get("timestamp")) == answer


def test_unknown_tokens_are_as_they_are_set(world: World) -> None:
    assert said(world.send()) == (200, "")
    world.tokens.unknown = Token(TokenState.UNREGISTERED)
    assert said(world.send()) == (410, "Unregistered")


def test_a_token_has_its_own_rate(world: World) -> None:
    world.quota.per_minute = 2
    other = apns_tokens(2)[1]
    assert [said(world.send())[0] for _ in range(3)] == [200, 200, 429]
    assert said(world.send(path=f"/3/device/{other}"))[0] == 200
    world.now_s += 30
    assert [said(world.send())[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("push_type", "suffix", "priority", "answer"),
    [
        ("alert", "", "1", (200, "")),
        ("background", "", "5", (200, "")),
        ("background", "", None, (200, "")),
        ("background", "", "10", (400, "BadPriority")),
        ("voip", ".voip", "10", (200, "")),
        ("voip", "", "10", (400, "TopicDisallowed")),
        ("alert", ".voip", "10", (400, "TopicDisallowed")),
        ("location", ".location-query", "5", (200, "")),
        ("location", ".location-query", "1", (400, "BadPriority")),
        ("liveactivity", ".push-type.liveactivity", "5", (200, "")),
        ("liveactivity", ".push-type.liveactivity", "1", (400, "BadPriority")),
        ("pushtotalk", ".voip-ptt", "10", (200, "")),
        ("complication", ".complication", None, (200, "")),
        ("fileprovider", ".pushkit.fileprovider", None, (200, "")),
        ("controls", ".push-type.controls", None, (200, "")),
        ("widgets", ".push-type.widgets", None, (200, "")),
        ("mdm", "", None, (200, "")),
        (None, "", None, (200, "")),
    ],
)
def test_push_type_topic_and_priority_go_together(
    world: World, push_type: str | None, suffix: str, priority: str | None, answer: tuple[int, str]
) -> None:
    verdict = world.send(apns_push_type=push_type, apns_topic=BUNDLE + suffix, apns_priority=priority)
    assert said(verdict) == answer


def test_voip_may_be_longer(world: World) -> None:
    body = json.dumps({"aps": {}, "x": "y" * 5000}).encode()
    assert said(world.send(body=body)) == (413, "PayloadTooLarge")
    assert said(world.send(body=body, apns_push_type="voip", apns_topic=BUNDLE + ".voip")) == (200, "")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not json", b'{"aps":'])
def test_a_body_must_be_a_json_object(world: World, body: bytes) -> None:
    assert said(world.send(body=body)) == (400, "PayloadEmpty")


def test_a_repeated_header_is_refused(world: World) -> None:
    headers = [(b"apns-topic", b"a"), (b"apns-topic", b"b")]
    call = Call(b"POST", f"/3/device/{TOKEN}".encode(), headers, PAYLOAD)
    assert said(world.connection.answer(call, 0)) == (400, "DuplicateHeaders")


class TestProviderToken:
    def test_the_stream_limit_rises_with_the_first_valid_one(self, world: World) -> None:
        assert world.connection.streams_max == 1
        world.send(authorization="bearer nonsense")
        assert world.connection.streams_max == 1
        world.send(path="/3/device/xyz")
        assert world.connection.streams_max == 1000

    def test_forgeries_are_refused(self, world: World) -> None:
        good = world.bearer()
        stranger = ec.generate_private_key(ec.SECP256R1())
        claims = {"iss": TEAM, "iat": NOW_S}
        known = {"kid": "KEY1234567"}
        head, payload, signature = good.removeprefix("bearer ").split(".")
        for forged in (
            jwt.encode(claims, stranger, "ES256", headers=known),
            jwt.encode(claims, world.private["KEY1234567"], "ES256", headers={"kid": "NOBODY"}),
            jwt.encode(claims, world.private["KEY1234567"], "ES256"),
            jwt.encode(claims | {"iss": "TEAM999999"}, world.private["KEY1234567"], "ES256", headers=known),
            jwt.encode({"iss": TEAM}, world.private["KEY1234567"], "ES256", headers=known),
            jwt.encode(claims, "s" * 32, "HS256", headers=known),
            jwt.encode(claims, "", "none", headers=known),
            f"{head}.{payload}.{signature[:-4]}AAAA",
            f"{head}.{payload}",
            "\xff",
        ):
            assert said(world.send(authorization=f"bearer {forged}")) == (403, "InvalidProviderToken")
        assert said(world.send(authorization=good)) == (200, "")

    @pytest.mark.parametrize("given", [None, "", "bearer", "bearer ", "basic abc"])
    def test_a_missing_one_is_said_to_be_missing(self, world: World, given: str | None) -> None:
        assert said(world.send(authorization=given)) == (403, "MissingProviderToken")

    @pytest.mark.parametrize(("age_s", "status"), [(3600, 200), (3601, 403), (-300, 200), (-301, 403)])
    def test_it_lives_an_hour(self, world: World, age_s: int, status: int) -> None:
        assert said(world.send(authorization=world.bearer(issued_s=NOW_S - age_s)))[0] == status

    def test_an_expired_one_spoils_its_connection_for_good(self, world: World) -> None:
        assert said(world.send()) == (200, "")
        world.now_s += 3601
        assert said(world.send()) == (403, "ExpiredProviderToken")
        fresh = world.bearer()
        assert said(world.send(authorization=fresh)) == (403, "ExpiredProviderToken")
        world.connection = world.connect()
        assert said(world.send(authorization=fresh)) == (200, "")

    def test_a_new_one_within_twenty_minutes_is_too_many(self, world: World) -> None:
        first = world.authorization
        assert said(world.send()) == (200, "")
        world.now_s += 20 * 60 - 1
        assert said(world.send(authorization=world.bearer())) == (429, "TooManyProviderTokenUpdates")
        assert said(world.send(authorization=first)) == (200, "")
        world.now_s += 1
        second = world.bearer()
        assert said(world.send(authorization=second)) == (200, "")
        assert said(world.send(authorization=first)) == (200, "")

    def test_a_connection_belongs_to_one_team(self, world: World) -> None:
        world.add_key("OTHERTEAM1", "TEAM999999")
        world.accounts.put_app("com.other", "TEAM999999")
        other = world.bearer("OTHERTEAM1", "TEAM999999")
        assert said(world.send()) == (200, "")
        assert said(world.send(authorization=other, apns_topic="com.other")) == (403, "InvalidProviderToken")
        world.connection = world.connect()
        assert said(world.send(authorization=other, apns_topic="com.other")) == (200, "")

    def test_keys_on_one_connection_must_be_related(self, world: World) -> None:
        world.add_key("TOPICKEY12", topics=frozenset({BUNDLE}))
        scoped = world.bearer("TOPICKEY12", issued_s=NOW_S + 1200)
        world.now_s += 1200
        assert said(world.send()) == (200, "")
        assert said(world.send(authorization=scoped)) == (403, "UnrelatedKeyIdInToken")

    def test_a_topic_key_is_for_its_topics(self, world: World) -> None:
        world.accounts.put_app("com.example.second", TEAM)
        world.add_key("TOPICKEY12", topics=frozenset({BUNDLE}))
        scoped = world.bearer("TOPICKEY12")
        assert said(world.send(authorization=scoped)) == (200, "")
        assert said(world.send(authorization=scoped, apns_topic="com.example.second")) == (400, "TopicDisallowed")

    def test_a_key_may_be_for_the_other_environment(self, world: World) -> None:
        world.add_key("SANDBOXKEY", environments=frozenset({"sandbox"}))
        verdict = world.send(authorization=world.bearer("SANDBOXKEY"))
        assert said(verdict) == (403, "BadEnvironmentKeyIdInToken")

    def test_a_revoked_key_is_unknown_at_once(self, world: World) -> None:
        assert said(world.send()) == (200, "")
        assert world.accounts.revoke_key("KEY1234567")
        assert said(world.send(authorization=world.bearer())) == (403, "InvalidProviderToken")


class TestCertificate:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    @staticmethod
    def world(path: Path, authority: Authority, *topics: str, environments: tuple[str, ...] = ("production",)) -> World:
        authority.issue_apns_client(path, topics, environments)
        return World(certificate=der(path))

    def test_it_allows_its_topics_and_a_thousand_streams(self, tmp_path: Path, authority: Authority) -> None:
        world = self.world(tmp_path / "a.pem", authority, BUNDLE, "com.example.extra")
        assert world.connection.streams_max == 1000
        for topic, push_type, answer in (
            (BUNDLE, "alert", (200, "")),
            ("com.example.extra", "alert", (200, "")),
            (BUNDLE + ".voip", "voip", (200, "")),
            (BUNDLE + ".complication", "complication", (200, "")),
            # Location pushes are for provider tokens only.
            (BUNDLE + ".location-query", "location", (400, "TopicDisallowed")),
            ("com.example.other", "alert", (400, "TopicDisallowed")),
            (None, "alert", (400, "MissingTopic")),
        ):
            assert said(world.send(authorization=None, apns_topic=topic, apns_push_type=push_type)) == answer

    def test_a_certificate_of_one_topic_needs_no_header(self, tmp_path: Path, authority: Authority) -> None:
        world = self.world(tmp_path / "a.pem", authority, BUNDLE)
        world.tokens.put([TOKEN], Token(app=BUNDLE))
        assert said(world.send(authorization=None, apns_topic=None)) == (200, "")

    def test_environment_and_expiry(self, tmp_path: Path, authority: Authority) -> None:
        world = self.world(tmp_path / "a.pem", authority, BUNDLE, environments=("sandbox",))
        assert said(world.send(authorization=None)) == (403, "BadCertificateEnvironment")
        world.now_s += 10 * 365 * 86400
        assert said(world.send(authorization=None)) == (403, "BadCertificate")

    def test_long_lists_of_topics_survive_their_encoding(self, tmp_path: Path, authority: Authority) -> None:
        topics = [f"com.example.app-number-{number}" for number in range(40)]
        world = self.world(tmp_path / "a.pem", authority, *topics)
        for topic in topics:
            assert said(world.send(authorization=None, apns_topic=topic)) == (200, "")


def der(pem_file: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(pem_file.read_bytes()).public_bytes(Encoding.DER)
