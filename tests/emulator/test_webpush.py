"""The push services of browsers, without sockets: who may send, what is read, and what waits for a browser."""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pushrpc.emulator import Emulator, issue_vapid_key
from pushrpc.emulator import webpush as emulated
from pushrpc.emulator.service import Call, Entry
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.emulator.webpush import Message, Personality, Subscription, WebPush
from pushrpc.emulator.webpush_crypto import base64url, from_base64url, opened, point_of, sender_of
from pushrpc.exchange import Response
from tests.emulator.client import connect

NOW_S = 1_800_000_000
ORIGIN = "https://127.0.0.1:1"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_KEY = base64url(point_of(KEY.public_key()))
OTHER = ec.generate_private_key(ec.SECP256R1())
ALL = list(Personality)


def sealed(
    plaintext: bytes,
    to: Subscription,
    *,
    record_bytes: int = 4096,
    padding: bytes = b"\x02",
    point: bytes | None = None,
) -> bytes:
    """RFC 8291, as an honest sender does it unless told otherwise."""
    ephemeral, salt = ec.generate_private_key(ec.SECP256R1()), bytes(16)
    browser = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(to.p256dh))
    own = point_of(ephemeral.public_key())
    info = b"WebPush: info\x00" + from_base64url(to.p256dh) + own
    shared = HKDF(hashes.SHA256(), 32, from_base64url(to.auth), info).derive(ephemeral.exchange(ec.ECDH(), browser))
    key = HKDF(hashes.SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(shared)
    nonce = HKDF(hashes.SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(shared)
    named = own if point is None else point
    header = salt + record_bytes.to_bytes(4) + bytes((len(named),)) + named
    return header + AESGCM(key).encrypt(nonce, plaintext + padding, None)


def vapid(key: ec.EllipticCurvePrivateKey = KEY, *, shown: str = "", **claims: Any) -> str:
    usual = {"aud": ORIGIN, "exp": NOW_S + 3600, "sub": "mailto:push@shop.example"} | claims
    token = jwt.encode({name: value for name, value in usual.items() if value is not None}, key, "ES256")
    return f"vapid t={token}, k={shown or base64url(point_of(key.public_key()))}"


class World:
    """A push service with one browser subscribed to each vendor's."""

    def __init__(self) -> None:
        self.tokens = TokenBook()
        self.service = WebPush(self.tokens, seed=5)
        self.now_s = NOW_S
        self.accepted: list[Entry] = []
        self.browsers = {each: self.service.subscribe(ORIGIN, PUBLIC_KEY, each) for each in ALL}

    def push(
        self,
        personality: Personality = Personality.MOZILLA,
        plaintext: bytes = b'{"title":"Order shipped"}',
        *,
        body: bytes | None = None,
        authorization: str | None = None,
        **headers: str | None,
    ) -> Response:
        to = self.browsers[personality]
        given: Mapping[str, str | None] = {
            "ttl": "60",
            "content-encoding": "aes128gcm",
            "authorization": vapid(exp=self.now_s + 3600) if authorization is None else authorization,
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
        return self.call("POST", to.endpoint, sealed(plaintext, to) if body is None else body, raw)

    def call(self, method: str, url: str, body: bytes = b"", headers: Any = ()) -> Response:
        call = Call(method.encode(), url.removeprefix(ORIGIN).encode(), headers, body)
        verdict = self.service.connect(None).answer(call, self.now_us)
        if verdict.accepted:
            self.accepted.append(verdict.accepted)
        return verdict.response

    @property
    def now_us(self) -> int:
        return self.now_s * 1_000_000

    def collected(self, personality: Personality = Personality.MOZILLA, least: str = "very-low") -> list[bytes]:
        messages = self.service.collect(self.browsers[personality].endpoint, self.now_us, least)
        return [message.plaintext for message in messages]


@pytest.fixture
def world() -> World:
    return World()


def word(response: Response, personality: Personality) -> str:
    """What the service calls it, in its own form."""
    if personality is Personality.FCM:
        return response.body.decode().strip()
    told = json.loads(response.body)
    if personality is Personality.APPLE:
        assert response.header(b"apns-id")
        return str(told["reason"])
    assert told["code"] == response.status
    return str(told["errno"])


# --- subscriptions -----------------------------------------------------------------------------------------------


def test_subscriptions_have_the_keys_of_a_browser_and_the_urls_of_their_services(world: World) -> None:
    for one in world.browsers.values():
        assert (len(from_base64url(one.p256dh)), len(from_base64url(one.auth))) == (65, 16)
    paths = [one.endpoint.removeprefix(ORIGIN) for one in world.browsers.values()]
    assert paths[0].startswith("/wpush/v2/") and paths[2].startswith("/fcm/send/") and paths[1].count("/") == 1
    assert len({one.p256dh for one in world.browsers.values()}) == 3


def test_endpoints_are_the_same_for_the_same_seed() -> None:
    endpoints = [
        [WebPush(TokenBook(), seed=seed).subscribe(ORIGIN, PUBLIC_KEY).endpoint for _ in range(2)] for seed in (1, 1, 2)
    ]
    assert endpoints[0] == endpoints[1] != endpoints[2]


@pytest.mark.parametrize(("key", "personality"), [("AAAA", "mozilla"), ("", "mozilla"), (PUBLIC_KEY, "opera")])
def test_nobody_subscribes_for_a_key_that_is_none(key: str, personality: str) -> None:
    with pytest.raises(ValueError):
        WebPush(TokenBook()).subscribe(ORIGIN, key, personality)


def test_subscriptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "SUBSCRIPTIONS_MAX", 1)
    service = WebPush(TokenBook())
    one = service.subscribe(ORIGIN, PUBLIC_KEY)
    with pytest.raises(ValueError, match="no more than 1"):
        service.subscribe(ORIGIN, PUBLIC_KEY)
    with pytest.raises(ValueError, match="no more than 1"):
        service.move(one.endpoint)


def test_a_browser_of_mozillas_moves_and_takes_its_keys_along(world: World) -> None:
    old = world.browsers[Personality.MOZILLA]
    new = world.service.move(old.endpoint)
    assert (new.endpoint != old.endpoint, new.p256dh, new.auth) == (True, old.p256dh, old.auth)
    for _ in range(2):
        moved = world.push()
        assert (moved.status, moved.header(b"location").decode(), world.accepted) == (301, new.endpoint, [])
    world.browsers[Personality.MOZILLA] = new
    assert world.push(plaintext=b"after it").status == 201
    assert (world.accepted[0].token, world.collected()) == (new.endpoint, [b"after it"])
    world.service.tokens.put([new.endpoint], Token(TokenState.MOVED, moved_to="/anywhere"))
    assert world.push().header(b"location") == b"/anywhere"
    for endpoint in (world.browsers[Personality.APPLE].endpoint, f"{ORIGIN}/wpush/v2/none", ""):
        with pytest.raises(ValueError, match="none of its"):
            world.service.move(endpoint)


# --- a good push -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("personality", ALL)
def test_a_good_push_is_read(world: World, personality: Personality) -> None:
    response = world.push(personality, b'{"title":"\xc3\xbc"}')
    assert (response.status, response.header(b"ttl")) == (201, b"60")
    (entry,) = world.accepted
    endpoint = world.browsers[personality].endpoint
    assert (entry.provider, entry.token, entry.payload) == ("web_push", endpoint, b'{"title":"\xc3\xbc"}')
    assert entry.message_id == response.header(b"location").decode()
    assert entry.message_id.startswith(ORIGIN)
    assert bool(response.header(b"apns-id")) == (personality is Personality.APPLE)


def test_a_push_without_a_message_only_wakes_the_app(world: World) -> None:
    assert world.push(body=b"", content_encoding=None).status == 201
    assert world.accepted[0].payload == b""


def test_duplicates_are_the_same_text_to_the_same_browser(world: World) -> None:
    for text in (b"a", b"a", b"b"):
        world.push(plaintext=text)
    world.push(Personality.FCM, b"a")
    first, again, other, elsewhere = (entry.identity for entry in world.accepted)
    assert first == again
    assert len({first, other, elsewhere}) == 3


def test_a_ttl_is_cut_to_a_month_and_the_service_says_so(world: World) -> None:
    assert world.push(ttl="9999999").header(b"ttl") == b"2592000"


# --- what waits for a browser ------------------------------------------------------------------------------------


def test_messages_wait_until_they_are_collected_or_expire(world: World) -> None:
    world.push(plaintext=b"short", ttl="10")
    world.push(plaintext=b"long", ttl="100")
    world.push(plaintext=b"now or never", ttl="0")
    world.now_s += 10
    assert world.collected() == [b"long"]
    assert world.collected() == []
    assert len(world.accepted) == 3


def test_a_topic_replaces_what_waits_of_the_same_browser(world: World) -> None:
    for text, topic in ((b"1", "score"), (b"2", "score"), (b"3", "other"), (b"4", None), (b"5", "score")):
        world.push(plaintext=text, topic=topic)
    world.push(Personality.FCM, b"fcm", topic="score")
    assert world.collected() == [b"3", b"4", b"5"]
    world.push(plaintext=b"6", topic="score")
    assert world.collected() == [b"6"]
    assert world.collected(Personality.FCM) == [b"fcm"]


def test_a_browser_may_want_only_what_is_urgent(world: World) -> None:
    for urgency in ("very-low", "low", None, "high"):
        world.push(plaintext=(urgency or "unset").encode(), urgency=urgency)
    assert world.collected(least="high") == [b"high"]
    assert world.collected(least="normal") == [b"unset"]
    assert world.collected() == [b"very-low", b"low"]


def test_a_message_is_taken_back(world: World) -> None:
    locations = [world.push(plaintext=text).header(b"location").decode() for text in (b"1", b"2")]
    assert world.call("DELETE", locations[0]).status == 204
    assert world.call("DELETE", locations[0]).status == 404
    assert world.collected() == [b"2"]
    assert world.call("DELETE", locations[1]).status == 404
    late = world.push(ttl="10").header(b"location").decode()
    world.now_s += 10
    assert world.call("DELETE", late).status == 404


def test_what_waits_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "WAITING_MAX", 2)
    for text in (b"1", b"2", b"3"):
        world.push(plaintext=text, topic=text.decode())
    assert world.collected() == [b"2", b"3"]


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "mozilla", "apple", "fcm"),
    [
        ({"ttl": None}, (400, "111"), (400, "BadTtl"), 400),
        ({"ttl": "soon"}, (400, "112"), (400, "BadTtl"), 400),
        ({"ttl": "-1"}, (400, "112"), (400, "BadTtl"), 400),
        ({"urgency": "urgent"}, (400, "111"), (400, "BadUrgency"), 400),
        ({"topic": "a b"}, (400, "113"), (400, "BadWebPushTopic"), 400),
        ({"topic": "a" * 33}, (400, "113"), (400, "BadWebPushTopic"), 400),
        ({"content_encoding": None}, (400, "110"), (400, "BadWebPushRequest"), 400),
        ({"content_encoding": "aesgcm"}, (400, "110"), (400, "BadWebPushRequest"), 400),
        ({"authorization": ""}, (401, "109"), (403, "BadJwtToken"), 401),
        ({"authorization": "Bearer abc"}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": "vapid t=a.b.c"}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": f"vapid t=a.b.c, k={PUBLIC_KEY}"}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(shown="AAAA")}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(OTHER, shown=PUBLIC_KEY)}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(aud="https://127.0.0.1:2")}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(aud=None)}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(exp=NOW_S)}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(exp=NOW_S + 24 * 3600 + 1)}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(exp=None)}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(exp="soon")}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(sub="push@shop.example")}, (401, "109"), (403, "BadJwtToken"), 403),
        ({"authorization": vapid(OTHER)}, (401, "109"), (400, "VapidPkHashMismatch"), 403),
        ({"body": bytes(4097)}, (413, "104"), (413, "PayloadTooLarge"), 413),
        ({"body": b"short"}, (400, "110"), (400, "BadWebPushRequest"), 400),
    ],
)
def test_each_service_refuses_in_its_own_words(
    headers: dict[str, Any], mozilla: tuple[int, str], apple: tuple[int, str], fcm: int
) -> None:
    world = World()
    for personality, wanted in ((Personality.MOZILLA, mozilla), (Personality.APPLE, apple)):
        response = world.push(personality, **headers)
        assert (response.status, word(response, personality)) == wanted
    assert world.push(Personality.FCM, **headers).status == fcm
    assert world.accepted == []


def test_the_services_differ_in_what_they_let_pass(world: World) -> None:
    # base64 of 5 characters is none, and only Apple looks.
    statuses = {each: world.push(each, topic="abcde").status for each in ALL}
    assert statuses == {Personality.MOZILLA: 201, Personality.APPLE: 400, Personality.FCM: 201}
    statuses = {each: world.push(each, authorization=vapid(sub=None)).status for each in ALL}
    assert statuses == {Personality.MOZILLA: 401, Personality.APPLE: 403, Personality.FCM: 201}
    for contact in ("mailto:a@localhost", "mailto: a@b.example", "mailto:<a@b.example>", "https://localhost"):
        statuses = {each: world.push(each, authorization=vapid(sub=contact)).status for each in ALL}
        assert statuses == {Personality.MOZILLA: 201, Personality.APPLE: 403, Personality.FCM: 201}


def test_the_key_of_another_sender_is_told_apart(world: World) -> None:
    told = json.loads(world.push(authorization=vapid(OTHER)).body)
    assert told["message"] == "VAPID public key mismatch"
    google = world.push(Personality.FCM, authorization=vapid(OTHER)).body
    assert b"do not correspond to the credentials used to create the subscriptions" in google


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"record_bytes": 17}, "rs is 17"),
        ({"record_bytes": 30}, "one record"),
        ({"padding": b"\x01"}, "delimiter"),
        ({"padding": b"\x02\x00\x01"}, "delimiter"),
        ({"padding": b""}, "delimiter"),
        ({"point": b"a1"}, "idlen is 2"),
        ({"point": b"\x04" + bytes(64)}, "no point of P-256"),
        ({"point": point_of(OTHER.public_key())}, "not encrypted for this subscription"),
    ],
)
def test_what_a_browser_cannot_read_is_refused(world: World, how: dict[str, Any], problem: str) -> None:
    to = world.browsers[Personality.MOZILLA]
    response = world.push(body=sealed(b"plaintext without end", to, **how))
    assert response.status == 400
    assert problem in json.loads(response.body)["message"]


def test_padding_is_taken_off(world: World) -> None:
    to = world.browsers[Personality.MOZILLA]
    assert world.push(body=sealed(b"text", to, padding=b"\x02" + bytes(50))).status == 201
    assert world.accepted[0].payload == b"text"


@pytest.mark.parametrize(
    ("state", "mozilla", "apple", "fcm"),
    [
        (TokenState.UNREGISTERED, (410, "106"), (410, "Unregistered"), 410),
        (TokenState.EXPIRED, (404, "102"), (410, "Unregistered"), 404),
        (TokenState.THROTTLED, (429, "201"), (429, "TooManyRequests"), 429),
    ],
)
def test_what_is_believed_of_a_subscription(
    world: World, state: TokenState, mozilla: tuple[int, str], apple: tuple[int, str], fcm: int
) -> None:
    world.tokens.put([one.endpoint for one in world.browsers.values()], Token(state))
    for personality, wanted in ((Personality.MOZILLA, mozilla), (Personality.APPLE, apple)):
        response = world.push(personality)
        assert (response.status, word(response, personality)) == wanted
        assert response.header(b"retry-after") == (b"60" if state is TokenState.THROTTLED else b"")
        assert bool(response.header(b"cache-control")) == (response.status == 410 and personality == "mozilla")
    assert world.push(Personality.FCM).status == fcm


def test_a_throttle_ends(world: World) -> None:
    world.tokens.put(
        [world.browsers[Personality.FCM].endpoint], Token(TokenState.THROTTLED, until_ms=NOW_S * 1000 + 1500)
    )
    assert world.push(Personality.FCM).header(b"retry-after") == b"2"
    world.now_s += math.ceil(1.5)
    assert world.push(Personality.FCM).status == 201


@pytest.mark.parametrize(
    ("path", "status"),
    [("/wpush/v2/unknown", 404), ("/unknown", 410), ("/fcm/send/unknown", 404), ("/wp/unknown", 404)],
)
def test_an_unknown_subscription(world: World, path: str, status: int) -> None:
    assert world.call("POST", ORIGIN + path).status == status


def test_only_posting_makes_a_message(world: World) -> None:
    response = world.call("GET", world.browsers[Personality.MOZILLA].endpoint)
    assert (response.status, response.header(b"allow")) == (405, b"POST")


@pytest.mark.parametrize(
    ("status", "reason", "mozilla", "apple", "fcm"),
    [
        (503, "", "201", "Service Unavailable", "Service Unavailable"),
        (503, "202", "202", "202", "202"),
        (500, "", "999", "Internal Server Error", "Internal Server Error"),
        (410, "106", "106", "106", "106"),
        (599, "Odd", "None", "Odd", "Odd"),
    ],
)
def test_scripted_refusals(world: World, status: int, reason: str, mozilla: str, apple: str, fcm: str) -> None:
    words = dict(zip(ALL, (mozilla, apple, fcm), strict=True))
    for personality, wanted in words.items():
        path = world.browsers[personality].endpoint.removeprefix(ORIGIN).encode()
        response = world.service.refusal(Call(b"POST", path, [], b""), status, reason, world.now_us)
        assert (response.status, word(response, personality)) == (status, wanted)


def test_faults_find_a_subscription_by_its_endpoint(world: World) -> None:
    one = world.browsers[Personality.APPLE]
    call = Call(b"POST", one.endpoint.removeprefix(ORIGIN).encode(), [], b"")
    assert world.service.subject(call) == ("web_push", one.endpoint)
    assert world.service.subject(call._replace(path=b"/a")) == ("web_push", "/a")


# --- the RFCs' examples ------------------------------------------------------------------------------------------


def b(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_example_of_rfc_8291() -> None:
    private = ec.derive_private_key(int.from_bytes(b("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")), ec.SECP256R1())
    body = (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert opened(b(body), private, b("BTBZMqHH6r4Tts7J_aSIgg")) == b"When I grow up, I want to be a watermelon"


def test_the_example_of_rfc_8292() -> None:
    t = (
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1Yi"
        "I6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L"
        "9OkSSHzvoD1oA"
    )
    k = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
    sender = sender_of(f"vapid t={t}, k={k}", "https://push.example.net", 1_453_523_768 - 60)
    assert sender == (k, "mailto:push@example.com")
    with pytest.raises(ValueError, match="exp is past"):
        sender_of(f"vapid t={t}, k={k}", "https://push.example.net", 1_453_523_768)
    with pytest.raises(ValueError, match="not signed"):
        sender_of(f"vapid t={t[:-4]}AAAA, k={k}", "https://push.example.net", 1_453_523_768 - 60)


# --- in the whole emulator ---------------------------------------------------------------------------------------


async def test_over_tls_with_the_clock_the_journal_and_the_faults(emulator: Emulator, tmp_path: Path) -> None:
    public_key, file = issue_vapid_key(tmp_path)
    private = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    one = emulator.subscribe(public_key, "apple")
    origin = emulator.endpoints["web_push"]
    emulator.add_fault(provider="web_push", action="status", status=503, token=one.endpoint, count=1, retry_after_s=7)
    claims = {"aud": origin, "exp": emulator.clock.now_us() // 1_000_000 + 60, "sub": "mailto:push@shop.example"}
    token = jwt.encode(claims, private, "ES256")
    headers = {"ttl": "60", "content-encoding": "aes128gcm", "authorization": f"vapid t={token}, k={public_key}"}
    async with connect(origin, emulator.ca_file) as client:
        path = one.endpoint.removeprefix(origin)
        refused = await client.request(path, headers, sealed(b'{"title":"t"}', one))
        assert (refused.status, refused.headers["retry-after"]) == (503, "7")
        taken = await client.request(path, headers, sealed(b'{"title":"t"}', one))
        assert taken.status == 201
        (entry,) = emulator.journal.entries("web_push", one.endpoint)
        assert (entry.payload, entry.message_id) == (b'{"title":"t"}', taken.headers["location"])
        emulator.clock.advance(61)
        assert (await client.request(path, headers, sealed(b"{}", one))).status == 403
    assert emulator.web_push.collect(one.endpoint, emulator.clock.now_us()) == []
    emulator.reset()
    waiting: list[Message] = emulator.web_push.collect(one.endpoint, 0)
    assert waiting == []
