"""What a client sees on a real socket: streams, settings, every kind of fault, and the end."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import jwt
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from pushrpc.emulator import Credentials, Emulator, apns_tokens, fcm_tokens
from pushrpc.emulator.authority import Authority
from tests.emulator.client import DEADLINE_S, Stream, connect
from tests.emulator.conftest import PAYLOAD

Headers = dict[str, str]
TOKENS = apns_tokens(50)
DELAY_S = 0.1


def path(token: str) -> str:
    return f"/3/device/{token}"


def reason(stream: Stream) -> str:
    return str(json.loads(stream.body)["reason"])


class TestStreams:
    async def test_one_until_a_provider_token_was_accepted_then_a_thousand(
        self, emulator: Emulator, headers: Headers
    ) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            assert client.streams_max == 1
            refused = await client.request(path(TOKENS[0]), headers | {"authorization": "bearer x"}, PAYLOAD)
            assert (refused.status, client.streams_max) == (403, 1)
            assert (await client.request(path(TOKENS[0]), headers, PAYLOAD)).status == 200
            await client.until(lambda: client.streams_max == 1000)

    async def test_a_client_certificate_has_a_thousand_at_once(self, emulator: Emulator, files: Credentials) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file, files.apns_certificate_file) as client:
            assert client.streams_max == 1000
            reply = await client.request(path(TOKENS[0]), {"apns-topic": files.bundle_id}, PAYLOAD)
            assert reply.status == 200

    async def test_one_stream_too_many_is_refused_alone(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="delay", delay_s=DELAY_S, token=TOKENS[0])
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            # A limit binds once acknowledged; a whole exchange shows that the acknowledgement has arrived.
            await client.request("/3/device/", headers, PAYLOAD)
            client.h2.remote_settings.max_concurrent_streams = 2
            client.h2.remote_settings.acknowledge()
            first, second = (client.send(path(token), headers, PAYLOAD) for token in TOKENS[:2])
            assert (await client.finish(second)).reset == ErrorCodes.REFUSED_STREAM
            assert (await client.finish(first)).status == 200
        assert emulator.journal.accepted_by_token("apns") == {TOKENS[0]: 1}

    async def test_a_reset_stream_is_forgotten(self, emulator: Emulator, headers: Headers) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            stream = client.send(path(TOKENS[0]), headers, PAYLOAD)
            client.h2.reset_stream(stream)
            client.flush()
            assert (await client.request(path(TOKENS[1]), headers, PAYLOAD)).status == 200

    async def test_a_client_with_a_tiny_window_gets_the_whole_body(self, emulator: Emulator, headers: Headers) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 7})
            client.flush()
            reply = await client.request(path("xyz"), headers, PAYLOAD)
            assert (reply.status, reason(reply)) == (400, "BadDeviceToken")

    async def test_a_long_body_in_many_frames(self, emulator: Emulator, headers: Headers) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            reply = await client.request(path(TOKENS[0]), headers, b"x" * 60_000)
            assert (reply.status, reason(reply)) == (413, "PayloadTooLarge")

    async def test_an_illegal_frame_ends_the_connection(self, emulator: Emulator) -> None:
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            client.write(bytes(9))  # DATA on stream 0 (RFC 9113 §6.1).
            await client.until(lambda: client.closed)
            assert client.goaway
            assert client.goaway.error_code == ErrorCodes.PROTOCOL_ERROR


class TestTls:
    async def test_apns_speaks_nothing_but_http2(self, emulator: Emulator) -> None:
        url = urlsplit(emulator.apns_endpoint)
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()

    async def test_a_certificate_of_another_authority_fails(self, emulator: Emulator, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        forged = tmp_path / "forged.pem"
        Authority(tmp_path / "other").issue_apns_client(forged, ["com.example.shop"])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connect(emulator.apns_endpoint, emulator.ca_file, forged):
                pass

    async def test_credential_files_are_for_their_owner_only(self, files: Credentials) -> None:
        for file in (files.apns_key_file, files.apns_certificate_file, files.service_account_file):
            assert file.stat().st_mode & 0o777 == 0o600


class TestFaults:
    async def test_status_with_retry_after(self, emulator: Emulator, headers: Headers) -> None:
        usual = {"provider": "apns", "action": "status", "status": 429, "reason": "TooManyRequests"}
        emulator.add_fault(**usual, token=TOKENS[0], retry_after_s=7)
        emulator.add_fault(**usual, token=TOKENS[1], retry_after_s=7, retry_after_date=True)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            apns_id = {"apns-id": "11111111-2222-3333-4444-555555555555"}
            seconds = await client.request(path(TOKENS[0]), headers | apns_id, PAYLOAD)
            date = await client.request(path(TOKENS[1]), headers, PAYLOAD)
        assert (seconds.status, reason(seconds), seconds.headers["retry-after"]) == (429, "TooManyRequests", "7")
        assert seconds.headers["apns-id"] == apns_id["apns-id"]
        until_s = parsedate_to_datetime(date.headers["retry-after"]).timestamp()
        assert 5 <= until_s - time.time() <= 8
        assert emulator.journal.counts("apns").accepted == 0

    async def test_a_scripted_410_has_a_timestamp(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="status", status=410, reason="Unregistered")
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            reply = await client.request(path(TOKENS[0]), headers, PAYLOAD)
        assert abs(json.loads(reply.body)["timestamp"] - time.time() * 1000) < 10_000

    async def test_delay(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="delay", delay_s=DELAY_S)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            began_s = time.monotonic()
            assert (await client.request(path(TOKENS[0]), headers, PAYLOAD)).status == 200
        assert time.monotonic() - began_s >= DELAY_S

    @pytest.mark.parametrize(
        ("at", "status", "body"),
        [
            ("before_headers", 0, b""),
            ("after_headers", 400, b""),
            ("half_body", 400, b'{"reason": "Ba'),
        ],
    )
    @pytest.mark.parametrize("action", ["reset", "close"])
    async def test_broken_before_during_and_after_headers(
        self, emulator: Emulator, headers: Headers, action: str, at: str, status: int, body: bytes
    ) -> None:
        emulator.add_fault(provider="apns", action=action, at=at, code=ErrorCodes.INTERNAL_ERROR)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            stream = await client.request(path("xyz"), headers, PAYLOAD)
            assert (stream.status, stream.body, stream.ended) == (status, body, False)
            if action == "reset":
                assert (stream.reset, client.closed) == (ErrorCodes.INTERNAL_ERROR, False)
            else:
                assert (stream.reset, client.closed, client.goaway) == (None, True, None)

    @pytest.mark.parametrize("taken", [False, True])
    @pytest.mark.parametrize("action", ["reset", "close"])
    async def test_a_broken_answer_may_hide_an_accepted_message(
        self, emulator: Emulator, headers: Headers, action: str, taken: bool
    ) -> None:
        emulator.add_fault(provider="apns", action=action, taken=taken)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            assert (await client.request(path(TOKENS[0]), headers, PAYLOAD)).status == 0
        assert emulator.journal.counts("apns").accepted == int(taken)

    async def test_silence(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="silence", token=TOKENS[0])
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            await client.request(path(TOKENS[1]), headers, PAYLOAD)
            await client.until(lambda: client.streams_max == 1000)
            silent = client.send(path(TOKENS[0]), headers, PAYLOAD)
            assert (await client.request(path(TOKENS[1]), headers, PAYLOAD)).status == 200
            assert client.streams[silent] == Stream()

    async def test_goaway_finishes_what_is_below_and_ignores_what_is_above(
        self, emulator: Emulator, headers: Headers
    ) -> None:
        emulator.add_fault(provider="apns", action="delay", delay_s=DELAY_S, token=TOKENS[1])
        emulator.add_fault(provider="apns", action="goaway", reason="Shutdown", token=TOKENS[2], last_offset=0)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            await client.request(path(TOKENS[0]), headers, PAYLOAD)
            await client.until(lambda: client.streams_max == 1000)
            below, last, above = (client.send(path(token), headers, PAYLOAD) for token in TOKENS[1:4])
            await client.until(lambda: client.closed)
            assert client.goaway
            assert (client.goaway.last_stream_id, client.goaway.error_code) == (last, ErrorCodes.NO_ERROR)
            assert client.goaway.debug_data == b'{"reason": "Shutdown"}'
            assert [client.streams[number].status for number in (below, last, above)] == [200, 200, 0]
        assert emulator.journal.accepted_by_token("apns") == dict.fromkeys(TOKENS[:3], 1)

    async def test_goaway_may_leave_out_its_own_stream(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="goaway", last_offset=-2, code=ErrorCodes.ENHANCE_YOUR_CALM)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            stream = client.send(path(TOKENS[0]), headers, PAYLOAD)
            await client.until(lambda: client.closed)
            assert client.goaway
            assert (client.goaway.last_stream_id, client.goaway.error_code) == (0, ErrorCodes.ENHANCE_YOUR_CALM)
            assert client.streams[stream] == Stream()
        assert emulator.journal.counts("apns").accepted == 0

    async def test_settings_change(self, emulator: Emulator, headers: Headers) -> None:
        emulator.add_fault(provider="apns", action="settings", streams_max=3, window_bytes=20, nth=2)
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            for token in TOKENS[:2]:
                assert (await client.request(path(token), headers, PAYLOAD)).status == 200
            await client.until(lambda: client.streams_max == 3)
            await client.until(lambda: client.h2.remote_settings.initial_window_size == 20)
            # A body longer than the window still arrives, piece by piece as the window opens again.
            assert len(PAYLOAD) > 20
            reply = await client.request(path(TOKENS[2]), headers, PAYLOAD)
            assert reply.status == 200
        last = list(emulator.journal.entries("apns"))[-1]
        assert last.payload == PAYLOAD

    async def test_a_share_of_failures_ends_with_every_token_sent_once(
        self, emulator: Emulator, headers: Headers
    ) -> None:
        emulator.add_fault(provider="apns", action="status", status=503, reason="ServiceUnavailable", share=0.5)
        tries = 0
        async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
            left = list(TOKENS)
            while left:
                tries += len(left)
                left = [t for t in left if (await client.request(path(t), headers, PAYLOAD)).status == 503]
        assert tries > len(TOKENS)
        assert emulator.journal.accepted_by_token("apns") == dict.fromkeys(TOKENS, 1)


class TestFcm:
    @pytest.fixture
    async def access_token(self, emulator: Emulator, files: Credentials) -> str:
        body = await self.exchange(emulator, files)
        return str(json.loads(body)["access_token"])

    @staticmethod
    async def exchange(emulator: Emulator, files: Credentials) -> bytes:
        account = json.loads(files.service_account_file.read_text())
        now_s = emulator.clock.now_us() // 1_000_000
        scope = "https://www.googleapis.com/auth/firebase.messaging"
        claims = {"iss": account["client_email"], "aud": account["token_uri"], "scope": scope, "iat": now_s}
        assertion = jwt.encode(claims | {"exp": now_s + 3600}, account["private_key"], "RS256")
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        async with connect(emulator.fcm_endpoint, emulator.ca_file) as client:
            reply = await client.request("/token", {}, urlencode(form).encode())
        assert reply.status == 200
        return reply.body

    @staticmethod
    def session(emulator: Emulator) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout)

    @staticmethod
    def request(emulator: Emulator, access_token: str, token: str) -> dict[str, Any]:
        return {
            "url": f"{emulator.fcm_endpoint}/v1/projects/shop-example/messages:send",
            "headers": {"authorization": f"Bearer {access_token}"},
            "json": {"message": {"token": token, "notification": {"title": "Order shipped"}}},
        }

    async def test_one_port_answers_http2_and_http1(self, emulator: Emulator, access_token: str) -> None:
        first, second = fcm_tokens(2)
        async with connect(emulator.fcm_endpoint, emulator.ca_file) as client:
            assert client.streams_max == 100
            body = json.dumps({"message": {"token": first}}).encode()
            headers = {"authorization": f"Bearer {access_token}"}
            reply = await client.request("/v1/projects/shop-example/messages:send", headers, body)
            assert reply.status == 200
        request = self.request(emulator, access_token, second)
        async with self.session(emulator) as session, session.post(**request) as response:
            assert (response.status, response.version) == (200, aiohttp.HttpVersion11)
            assert (await response.json())["name"].startswith("projects/shop-example/messages/")
        assert emulator.journal.accepted_by_token("fcm") == {first: 1, second: 1}

    async def test_status_and_delay_over_http1(self, emulator: Emulator, access_token: str) -> None:
        emulator.add_fault(
            provider="fcm", action="status", status=503, reason="UNAVAILABLE", retry_after_s=3, delay_s=DELAY_S
        )
        request = self.request(emulator, access_token, fcm_tokens(1)[0])
        began_s = time.monotonic()
        async with self.session(emulator) as session, session.post(**request) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "3")
        assert time.monotonic() - began_s >= DELAY_S

    @pytest.mark.parametrize("action", ["close", "reset"])
    @pytest.mark.parametrize("at", ["before_headers", "after_headers", "half_body"])
    async def test_a_broken_answer_over_http1(
        self, emulator: Emulator, access_token: str, action: str, at: str
    ) -> None:
        emulator.add_fault(provider="fcm", action=action, at=at, taken=True)
        (token,) = fcm_tokens(1)
        async with self.session(emulator) as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.post(**self.request(emulator, access_token, token)) as response:
                    assert (at, response.status) != ("before_headers", 200)
                    await response.read()
        # aiohttp itself tries a request once more when a kept connection turns out to be closed; this one was new.
        assert emulator.journal.accepted_by_token("fcm") == {token: 1}

    async def test_silence_over_http1_lasts_until_the_client_leaves(
        self, emulator: Emulator, access_token: str
    ) -> None:
        emulator.add_fault(provider="fcm", action="silence")
        request = self.request(emulator, access_token, fcm_tokens(1)[0])
        async with self.session(emulator) as session:
            with pytest.raises(TimeoutError):
                await session.post(**request, timeout=aiohttp.ClientTimeout(DELAY_S))

    async def test_goaway_over_http1_closes_after_the_answer(self, emulator: Emulator, access_token: str) -> None:
        emulator.add_fault(provider="fcm", action="goaway")
        request = self.request(emulator, access_token, fcm_tokens(1)[0])
        async with self.session(emulator) as session, session.post(**request) as response:
            assert (response.status, response.headers["connection"]) == (200, "close")

    async def test_the_token_endpoint_has_faults_of_its_own(self, emulator: Emulator, files: Credentials) -> None:
        emulator.add_fault(provider="oauth", action="status", status=500, count=1)
        with pytest.raises(AssertionError):
            await self.exchange(emulator, files)
        assert await self.exchange(emulator, files)
        assert emulator.journal.answers["oauth", 500] == 1


class TestTheEnd:
    async def test_an_idle_connection_is_told_so_and_closed(self, tmp_path: Path) -> None:
        async with (
            Emulator.start(tmp_path, idle_s=DELAY_S) as emulator,
            connect(emulator.apns_endpoint, emulator.ca_file) as client,
        ):
            await client.until(lambda: client.closed)
            assert client.goaway
            assert client.goaway.debug_data == b'{"reason": "IdleTimeout"}'

    async def test_leaving_says_goodbye_and_frees_the_port(self, tmp_path: Path) -> None:
        async with Emulator.start(tmp_path) as emulator:
            port = urlsplit(emulator.apns_endpoint).port
            assert port
            connection = connect(emulator.apns_endpoint, emulator.ca_file)
            client = await connection.__aenter__()
        await client.until(lambda: client.closed)
        await connection.__aexit__(None, None, None)
        assert client.goaway
        assert client.goaway.debug_data == b'{"reason": "Shutdown"}'
        async with Emulator.start(tmp_path, ports={"apns": port}) as again:
            assert urlsplit(again.apns_endpoint).port == port

    async def test_a_taken_port_is_an_error(self, emulator: Emulator, tmp_path: Path) -> None:
        port = urlsplit(emulator.apns_endpoint).port
        assert port
        (tmp_path / "second").mkdir()
        with pytest.raises(OSError, match="address already in use"):
            async with Emulator.start(tmp_path / "second", ports={"apns": port}):
                pass


def test_another_event_loop_carries_it_as_well(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def exchange() -> Stream:
        async with Emulator.start(tmp_path) as emulator:
            files = emulator.credentials()
            async with connect(emulator.apns_endpoint, emulator.ca_file, files.apns_certificate_file) as client:
                return await client.request(path(TOKENS[0]), {"apns-topic": files.bundle_id}, PAYLOAD)

    assert uvloop.run(exchange()).status == 200


async def test_moved_time_expires_a_provider_token(emulator: Emulator, headers: Headers) -> None:
    async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
        assert (await client.request(path(TOKENS[0]), headers, PAYLOAD)).status == 200
        emulator.clock.advance(3601)
        reply = await client.request(path(TOKENS[0]), headers, PAYLOAD)
        assert (reply.status, reason(reply)) == (403, "ExpiredProviderToken")
