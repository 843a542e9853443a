"""Microsoft's checks, without sockets: both token endpoints, channels, headers, and devices that are away."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from pushrpc.emulator import Emulator, Entry, wns_channels
from pushrpc.emulator.credentials import issue_wns_app
from pushrpc.emulator.service import Call
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.emulator.wns import PAYLOAD_BYTES_MAX, Wns
from pushrpc.exchange import Response

NOW_S = 1_800_000_000
ENDPOINT = "https://127.0.0.1:8443"
CHANNEL, OTHER = wns_channels(ENDPOINT, 2)
SID, TENANT, ENTRA = "ms-app://s-1-15-2-7", "contoso.example", "6d1b-11ec"
TOAST = b"<toast><visual/></toast>"
STATUS, OLD_STATUS, DEVICE = b"x-wns-status", b"x-wns-notificationstatus", b"x-wns-deviceconnectionstatus"
DEADLINE_S = 10.0


class World:
    """Microsoft with one app of Partner Center and one of Entra; requests are the former's unless told otherwise."""

    def __init__(self) -> None:
        self.tokens = TokenBook()
        self.wns = Wns(self.tokens, seed=5)
        self.wns.put_app(SID, "secret")
        self.wns.put_app(ENTRA, "other", tenant_id=TENANT)
        self.now_s = NOW_S
        self.accepted: list[Entry] = []
        self.access_token = json.loads(self.grant().body)["access_token"]

    def grant(self, tenant: str = "", **form: str) -> Response:
        usual = {"grant_type": "client_credentials", "client_id": SID, "client_secret": "secret"}
        usual |= {"scope": "notify.windows.com"}
        if tenant:
            usual |= {"client_id": ENTRA, "client_secret": "other", "scope": "https://wns.windows.com/.default"}
        path = f"/{tenant}/oauth2/v2.0/token" if tenant else "/accesstoken.srf"
        call = Call(b"POST", path.encode(), [], urlencode(usual | form).encode())
        return self.wns.connect(None).answer(call, self.now_s * 1_000_000).response

    def send(
        self,
        channel: str = CHANNEL,
        body: bytes = TOAST,
        kind: str = "toast",
        method: str = "POST",
        **changed: str | None,
    ) -> Response:
        """Headers by keyword with underscores; None leaves one out."""
        host, path = channel.removeprefix("https://").split("/", 1)
        usual: dict[str, str | None] = {
            "host": host,
            "authorization": f"Bearer {self.access_token}",
            "content_type": "application/octet-stream" if kind == "raw" else "text/xml",
            "content_length": str(len(body)),
            "x_wns_type": f"wns/{kind}",
            "x_wns_requestforstatus": "true",
        }
        headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in (usual | changed).items() if v is not None]
        call = Call(method.encode(), f"/{path}".encode(), headers, body)
        verdict = self.wns.answer(call, self.now_s * 1_000_000)
        if verdict.accepted:
            self.accepted.append(verdict.accepted)
        return verdict.response


@pytest.fixture
def world() -> World:
    return World()


def told(response: Response) -> tuple[int, bytes]:
    """The status, and what became of the notification."""
    return response.status, response.header(STATUS)


class TestTokenEndpoints:
    def test_partner_centers(self, world: World) -> None:
        response = world.grant()
        body = json.loads(response.body)
        assert (response.status, body["token_type"], body["expires_in"]) == (200, "bearer", 86400)
        assert response.header(b"cache-control") == b"no-store"
        world.access_token = body["access_token"]
        world.now_s += 86399
        assert world.send().status == 200
        world.now_s += 1
        assert world.send().status == 401

    def test_entras(self, world: World) -> None:
        for scope in ("https://wns.windows.com/.default", "https://wns.windows.com/.default/"):
            body = json.loads(world.grant(TENANT, scope=scope).body)
            assert (body["token_type"], body["expires_in"]) == ("Bearer", "86399")
        world.access_token = body["access_token"]
        assert world.send().status == 200

    @pytest.mark.parametrize(
        ("tenant", "form", "status", "error"),
        [
            ("", {"grant_type": "password"}, 400, "unsupported_grant_type"),
            ("", {"client_id": "foo"}, 400, "invalid_client"),
            ("", {"client_id": ENTRA, "client_secret": "other"}, 400, "invalid_client"),
            ("", {"client_secret": "wrong"}, 400, "invalid_client"),
            ("", {"scope": "https://wns.windows.com/.default"}, 400, "invalid_scope"),
            (TENANT, {"client_id": SID, "client_secret": "secret"}, 400, "unauthorized_client"),
            (TENANT, {"client_secret": "wrong"}, 401, "invalid_client"),
            (TENANT, {"scope": "notify.windows.com"}, 400, "invalid_scope"),
            ("another.example", {}, 400, "unauthorized_client"),
        ],
    )
    def test_refusals(self, world: World, tenant: str, form: dict[str, str], status: int, error: str) -> None:
        response = world.grant(tenant, **form)
        assert (response.status, json.loads(response.body)["error"]) == (status, error)

    def test_revoked_tokens_are_refused(self, world: World) -> None:
        world.wns.revoke_access_tokens()
        assert world.send().status == 401


def test_a_good_notification_is_accepted(world: World) -> None:
    response = world.send()
    assert told(response) == (200, b"received")
    (entry,) = world.accepted
    assert (entry.token, entry.payload) == (CHANNEL, TOAST)
    assert entry.message_id.encode() == response.header(b"x-wns-msg-id")
    assert len(entry.message_id) == 16


def test_how_the_device_is_connected_is_told(world: World) -> None:
    assert world.send().header(DEVICE) == b"connected"
    world.tokens.put([CHANNEL], Token(TokenState.OFFLINE))
    assert world.send().header(DEVICE) == b"disconnected"


@pytest.mark.parametrize("asked", [None, "false"])
def test_no_status_is_told_to_those_who_do_not_ask(world: World, asked: str | None) -> None:
    for state in (TokenState.LIVE, TokenState.MUTED, TokenState.THROTTLED):
        world.tokens.put([CHANNEL], Token(state))
        response = world.send(x_wns_requestforstatus=asked)
        assert response.status == 200
        assert not any(response.header(name) for name in (STATUS, OLD_STATUS, DEVICE))
    assert len(world.accepted) == 1


def test_the_status_as_recorded_has_its_older_name_and_is_always_told(world: World) -> None:
    world.wns.as_recorded = True
    response = world.send(x_wns_requestforstatus=None)
    assert (response.header(STATUS), response.header(OLD_STATUS), response.header(DEVICE)) == (b"", b"received", b"")


def test_a_correlation_vector_is_given_back(world: World) -> None:
    assert world.send(ms_cv="abc.0").header(b"ms-cv") == b"abc.0"
    assert world.send().header(b"ms-cv")


def test_the_checks_come_in_order(world: World) -> None:
    """Each step mends what the step before was refused for."""
    world.tokens.put([CHANNEL], Token(TokenState.UNREGISTERED, app=ENTRA))
    world.wns.per_app.per_minute = 1
    world.wns.per_app.spend(SID, NOW_S * 1_000_000)
    world.wns.block(SID)
    large = b"<toast>" + b"x" * PAYLOAD_BYTES_MAX
    flawed: dict[str, Any] = {"x_wns_type": "wns/phone", "body": large}
    deleted = world.send(method="DELETE", authorization=None, **flawed)
    assert (deleted.status, deleted.header(b"allow")) == (405, b"POST")
    assert world.send(authorization="Bearer nonsense", **flawed).status == 401
    assert world.send(authorization=None, **flawed).status == 401
    blocked = world.send(**flawed)
    assert (blocked.status, blocked.header(b"x-wns-error-description")) == (410, b"Domain Blocked")
    world.wns._blocked.clear()
    assert world.send(**flawed).status == 404
    world.tokens.put([CHANNEL], Token(TokenState.EXPIRED, app=ENTRA))
    assert world.send(**flawed).status == 403
    world.tokens.put([CHANNEL], Token(TokenState.EXPIRED, app=SID))
    assert world.send(**flawed).status == 410
    world.tokens.put([CHANNEL], Token(TokenState.MUTED, app=SID))
    assert world.send(**flawed).status == 400
    assert world.send(body=large).status == 413
    throttled = world.send()
    assert (throttled.status, throttled.header(b"retry-after")) == (406, b"60")
    world.wns.per_app.per_minute = 0
    assert told(world.send()) == (200, b"dropped")
    assert not world.accepted
    world.tokens.put([CHANNEL], Token(app=SID))
    assert told(world.send()) == (200, b"received")


@pytest.mark.parametrize("path", ["/", "/?token=", "/token=x", "/w/?token=x", "/?tokens=x"])
def test_addresses_that_are_no_channel(world: World, path: str) -> None:
    assert world.send(ENDPOINT + path).status == 404


def test_a_channel_is_its_host_and_its_query(world: World) -> None:
    world.tokens.put([CHANNEL], Token(TokenState.EXPIRED))
    assert world.send(CHANNEL).status == 410
    assert world.send(CHANNEL, host="elsewhere.notify.windows.com").status == 200
    world.tokens.unknown = Token(TokenState.UNREGISTERED)
    assert world.send(OTHER).status == 404


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"x_wns_type": None}, b"X-WNS-Type"),
        ({"x_wns_type": "toast"}, b"X-WNS-Type"),
        ({"content_type": None}, b"Content-Type"),
        ({"content_type": "application/octet-stream"}, b"Content-Type"),
        ({"kind": "raw", "content_type": "text/xml"}, b"Content-Type"),
        ({"content_length": None}, b"Content-Length"),
        ({"content_length": None, "transfer_encoding": "chunked"}, b"Chunked"),
        ({"kind": "raw", "body": b""}, b"empty"),
        ({"x_wns_suppresspopup": "true"}, b"phones"),
        ({"x_wns_match": "type:wns/toast;all"}, b"phones"),
        ({"x_wns_cache_policy": "yes"}, b"cache-policy"),
        ({"x_wns_requestforstatus": "1"}, b"requestforstatus"),
        ({"x_wns_ttl": "1.5"}, b"ttl"),
        ({"x_wns_priority": "5"}, b"priority"),
        ({"x_wns_tag": "x" * 17}, b"tag"),
        ({"x_wns_group": "a-b"}, b"group"),
    ],
)
def test_headers_that_are_wrong(world: World, changed: dict[str, Any], word: bytes) -> None:
    response = world.send(**changed)
    assert response.status == 400
    assert word in response.header(b"x-wns-error-description")
    assert not world.accepted


@pytest.mark.parametrize(
    "changed",
    [
        {"content_type": "text/xml; charset=utf-8"},
        {"body": b"<tile/>", "kind": "tile", "x_wns_tag": "a1", "x_wns_ttl": "0", "x_wns_cache_policy": "no-cache"},
        {"body": b'<badge value="1"/>', "kind": "badge", "x_wns_priority": "2"},
        {"body": b"\x00\xff", "kind": "raw", "x_wns_cache_policy": "cache"},
        {"body": b"x" * 5000, "kind": "raw"},
    ],
)
def test_what_is_accepted(world: World, changed: dict[str, Any]) -> None:
    assert told(world.send(**changed)) == (200, b"received")


@pytest.mark.parametrize("body", [b"this is no XML", b"<tile/>", b"<toast>", b'<badge value="1"/>'])
def test_xml_that_the_device_cannot_show_is_dropped(world: World, body: bytes) -> None:
    assert told(world.send(body=body)) == (200, b"dropped")
    assert not world.accepted


class TestRates:
    def test_a_channel_has_so_many_a_minute(self, world: World) -> None:
        world.wns.per_channel.per_minute = 2
        words = [told(world.send())[1] for _ in range(3)]
        assert words == [b"received", b"received", b"channelthrottled"]
        assert told(world.send(OTHER)) == (200, b"received")
        world.now_s += 30
        assert told(world.send()) == (200, b"received")
        world.wns.clear()
        assert [told(world.send())[1] for _ in range(2)] == [b"received"] * 2

    def test_a_throttled_channel_until_its_time(self, world: World) -> None:
        world.tokens.put([CHANNEL], Token(TokenState.THROTTLED, until_ms=(NOW_S + 7) * 1000))
        assert told(world.send()) == (200, b"channelthrottled")
        world.now_s += 7
        assert told(world.send()) == (200, b"received")

    def test_an_app_has_so_many_a_minute(self, world: World) -> None:
        world.wns.per_app.per_minute = 2
        assert [world.send().status for _ in range(3)] == [200, 200, 406]
        assert world.send().header(b"retry-after") == b"30"


class TestOfflineDevices:
    def test_one_of_each_type_is_kept_the_newest(self, world: World) -> None:
        world.tokens.put([CHANNEL], Token(TokenState.OFFLINE))
        sent = [
            ("toast", b"<toast>1</toast>"),
            ("badge", b'<badge value="1"/>'),
            ("toast", b"<toast>2</toast>"),
            ("tile", b"<tile/>"),
        ]
        assert [told(world.send(kind=kind, body=body))[1] for kind, body in sent] == [b"received"] * 4
        kept = [entry.payload for entry in world.wns.collect(CHANNEL, NOW_S * 1_000_000)]
        assert kept == [b'<badge value="1"/>', b"<toast>2</toast>", b"<tile/>"]
        assert world.wns.collect(CHANNEL, NOW_S * 1_000_000) == []

    def test_raw_is_dropped_unless_it_may_be_kept(self, world: World) -> None:
        world.tokens.put([CHANNEL], Token(TokenState.OFFLINE))
        assert told(world.send(kind="raw", body=b"a")) == (200, b"dropped")
        assert told(world.send(kind="raw", body=b"b", x_wns_cache_policy="cache")) == (200, b"received")
        assert told(world.send(kind="tile", body=b"<tile/>", x_wns_cache_policy="no-cache")) == (200, b"dropped")
        assert [entry.payload for entry in world.wns.collect(CHANNEL, NOW_S * 1_000_000)] == [b"b"]
        assert len(world.accepted) == 1

    def test_what_was_kept_ends_with_its_time(self, world: World) -> None:
        world.tokens.put([CHANNEL], Token(TokenState.OFFLINE))
        world.send(x_wns_ttl="60")
        world.send(kind="tile", body=b"<tile/>")
        kept = world.wns.collect(CHANNEL, (NOW_S + 60) * 1_000_000)
        assert [entry.payload for entry in kept] == [b"<tile/>"]

    def test_nothing_is_kept_for_a_connected_one(self, world: World) -> None:
        world.send()
        assert world.wns.collect(CHANNEL, NOW_S * 1_000_000) == []


def test_a_repeat_has_the_same_identity(world: World) -> None:
    for channel, body in ((CHANNEL, TOAST), (CHANNEL, TOAST), (CHANNEL, b"<toast/>"), (OTHER, TOAST)):
        world.send(channel, body, x_wns_ttl=str(len(world.accepted)))
    first, repeat, other_body, other_channel = (entry.identity for entry in world.accepted)
    assert first == repeat
    assert len({first, other_body, other_channel}) == 3
    assert len({entry.message_id for entry in world.accepted}) == 4


def test_scripted_refusals_look_real(world: World) -> None:
    headers = [(b"host", b"a.notify.windows.com"), (b"x-wns-requestforstatus", b"true")]
    call = Call(b"POST", b"/?token=x", headers, b"")
    assert world.wns.subject(call) == ("wns", "https://a.notify.windows.com/?token=x")
    assert told(world.wns.refusal(call, 200, "dropped", 0)) == (200, b"dropped")
    blocked = world.wns.refusal(call, 410, "Domain Blocked", 0)
    assert (blocked.status, blocked.header(b"x-wns-error-description")) == (410, b"Domain Blocked")
    for path in (b"/accesstoken.srf", b"/contoso.example/oauth2/v2.0/token"):
        call = Call(b"POST", path, [], b"")
        assert world.wns.subject(call) == ("wns_oauth", "")
        assert json.loads(world.wns.refusal(call, 503, "", 0).body)["error"] == "temporarily_unavailable"


def test_channels_are_different_and_the_same_of_one_seed() -> None:
    channels = wns_channels(ENDPOINT, 100)
    assert len(set(channels)) == 100
    assert channels == wns_channels(ENDPOINT, 100) != wns_channels(ENDPOINT, 100, seed=1)
    assert all(channel.startswith(f"{ENDPOINT}/?token=") and channel.endswith("%3d") for channel in channels)


class TestOnASocket:
    @pytest.fixture
    async def client(self, emulator: Emulator) -> Any:
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield session

    @pytest.mark.parametrize("tenant", ["", TENANT])
    async def test_an_issued_app_sends(
        self, emulator: Emulator, client: aiohttp.ClientSession, tmp_path: Path, tenant: str
    ) -> None:
        client_id, secret_file = issue_wns_app(emulator.wns, tmp_path, tenant_id=tenant)
        assert client_id.startswith("ms-app://") != bool(tenant)
        endpoint = emulator.endpoints["wns"]
        (channel,) = wns_channels(endpoint, 1)
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret_file.read_text().strip(),
            "scope": "https://wns.windows.com/.default" if tenant else "notify.windows.com",
        }
        path = f"/{tenant}/oauth2/v2.0/token" if tenant else "/accesstoken.srf"
        async with asyncio.timeout(DEADLINE_S):
            async with client.post(endpoint + path, data=form) as answer:
                token = (await answer.json())["access_token"]
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/xml", "X-WNS-Type": "wns/toast"}
            headers["X-WNS-RequestForStatus"] = "true"
            url = URL(channel, encoded=True)
            async with client.post(url, data=TOAST, headers=headers) as answer:
                assert (answer.status, answer.headers["X-WNS-Status"]) == (200, "received")
            async with client.post(url, data=TOAST, headers=headers, chunked=True) as answer:
                assert (answer.status, answer.headers["X-WNS-Error-Description"][:7]) == (400, "Chunked")
        (entry,) = emulator.journal.entries("wns")
        assert entry.token == channel
        assert emulator.journal.answers == {("wns_oauth", 200): 1, ("wns", 200): 1, ("wns", 400): 1}

    async def test_it_speaks_http1_only(self, emulator: Emulator) -> None:
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        context.set_alpn_protocols(["h2", "http/1.1"])
        host, port = emulator.endpoints["wns"].removeprefix("https://").split(":")
        async with asyncio.timeout(DEADLINE_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
        await writer.wait_closed()

    async def test_reset_forgets_channels_rates_and_what_was_kept(self, emulator: Emulator) -> None:
        emulator.set_tokens("wns", [CHANNEL], state="offline")
        emulator.wns.block(SID)
        emulator.reset()
        assert len(emulator.tokens["wns"]) == 0
        assert emulator.wns._blocked == set()
