"""The control API: what tests in other processes, and people with curl, do to the emulators. JSON over HTTP/1.1.

    curl 127.0.0.1:8090/                                            where everything listens, and every call
    curl 127.0.0.1:8090/apps                                        apps, keys and projects
    curl 127.0.0.1:8090/apps -d '{"bundle_id": "com.example.shop", "team_id": "TEAM123456"}'
    curl 127.0.0.1:8090/apps -d '{"project_id": "shop-example"}'
    curl 127.0.0.1:8090/apps -d '{"client_id": "ms-app://s-1-15-2-7", "client_secret": "...", "tenant_id": ""}'
    curl 127.0.0.1:8090/apps -d '{"hms_app_id": "101234567", "client_secret": "..."}'
    curl 127.0.0.1:8090/apps -d '{"hub": "shop-hub", "key_name": "Send", "key": "...", "rights": ["Send"]}'
    curl 127.0.0.1:8090/apps -d '{"hub": "shop-hub", "free": true}'  a hub of the Free tier: no batches, no telemetry
    curl 127.0.0.1:8090/keys -d '{"key_id": "ABC1234567", "team_id": "TEAM123456", "public_key": "-----BEGIN ..."}'
    curl 127.0.0.1:8090/keys -d '{"client_email": "a@b", "key_id": "1f", "project_id": "shop", "public_key": "..."}'
    curl -X DELETE 127.0.0.1:8090/keys/ABC1234567                   revokes an APNs key
    curl '127.0.0.1:8090/tokens?provider=apns'                      registered tokens, at most 1,000
    curl 127.0.0.1:8090/tokens -d '{"provider": "apns", "tokens": ["00ff"], "state": "unregistered", "since_ms": 17e11}'
    curl 127.0.0.1:8090/tokens -d '{"provider": "fcm", "make": 10}' makes realistic tokens, registers and returns them
    curl 127.0.0.1:8090/unknown -d '{"provider": "apns", "state": "unregistered"}'    well-formed, never registered
    curl 127.0.0.1:8090/subscriptions -d '{"vapid_public_key": "BA1H...", "personality": "apple", "make": 10}'
                                                                    browsers subscribe: mozilla, apple or fcm
    curl 127.0.0.1:8090/subscriptions -d '{"move": "https://..."}'  Mozilla moves a browser: the old endpoint says 301
    curl 127.0.0.1:8090/quotas -d '{"fcm_project": 600000, "fcm_device": 240, "apns_token": 0}'   per minute; 0 = none
    curl 127.0.0.1:8090/faults                                      the script, with how often each has happened
    curl 127.0.0.1:8090/faults -d '{"provider": "apns", "action": "status", "status": 503, "share": 0.1}'
    curl -X DELETE 127.0.0.1:8090/faults                            all of them; /faults/3 one
    curl '127.0.0.1:8090/journal?provider=apns&token=00ff&limit=10' accepted messages, the newest `limit`, oldest first
    curl 127.0.0.1:8090/counts                                      accepted, distinct, tokens; answers by status
    curl -X POST 127.0.0.1:8090/clock -d '{"advance_s": 3600}'      moves the emulators' time
    curl -X POST 127.0.0.1:8090/reset                               faults, tokens, journal, quotas and time as at start

A mistake is a 400 with {"error": "..."}. There is no authentication: it belongs on loopback, beside a test.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushrpc.emulator.apns import ENVIRONMENTS, Key
from pushrpc.emulator.credentials import read_public_key
from pushrpc.emulator.fcm import ServiceAccount
from pushrpc.emulator.journal import as_json
from pushrpc.emulator.notification_hubs import ALL_RIGHTS, BY_HUB
from pushrpc.emulator.tokens import apns_tokens, fcm_tokens, hms_tokens
from pushrpc.emulator.wns import wns_channels

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from pushrpc.emulator import Emulator

ROWS_MAX = 1_000
"""Rows one answer holds."""
MAKE_MAX = 100_000
BODY_BYTES_MAX = 32 * 1024 * 1024
CLOSE_S = 1.0


class Control:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._made = 0
        application = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_mistakes])
        application.add_routes(
            [
                web.get("/", self._about),
                web.get("/apps", self._apps),
                web.post("/apps", self._add_app),
                web.post("/keys", self._add_key),
                web.delete("/keys/{key_id}", self._revoke_key),
                web.get("/tokens", self._tokens),
                web.post("/tokens", self._set_tokens),
                web.post("/unknown", self._set_unknown),
                web.post("/subscriptions", self._subscribe),
                web.post("/quotas", self._set_quotas),
                web.get("/faults", self._faults),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
                web.delete("/faults/{number}", self._remove_fault),
                web.get("/journal", self._journal),
                web.get("/counts", self._counts),
                web.post("/clock", self._move_clock),
                web.post("/reset", self._reset),
            ]
        )
        routes = application.router.routes()
        self._calls = [
            f"{one.method} {one.resource.canonical}" for one in routes if one.resource and one.method != "HEAD"
        ]
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_S)

    async def open(self, host: str, port: int) -> int:
        """Listens; 0 = a free port. Returns the port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return cast(int, self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _about(self, request: web.Request) -> web.Response:
        emulator = self._emulator
        return web.json_response(
            {
                "apns": emulator.apns_endpoint,
                "apns_sandbox": emulator.apns_sandbox_endpoint,
                "fcm": emulator.fcm_endpoint,
                "wns": emulator.endpoints["wns"],
                "hms": emulator.endpoints["hms"],
                "notification_hubs": emulator.endpoints["notification_hubs"],
                "web_push": emulator.endpoints["web_push"],
                "token_url": emulator.token_url,
                "ca_file": str(emulator.ca_file),
                "now_us": emulator.clock.now_us(),
                "calls": self._calls,
            }
        )

    async def _apps(self, request: web.Request) -> web.Response:
        emulator = self._emulator
        keys = [
            {
                "key_id": key.key_id,
                "team_id": key.team_id,
                "environments": sorted(key.environments),
                "topics": sorted(key.topics),
            }
            for key in emulator.accounts.keys
        ]
        accounts = [
            {"client_email": account.client_email, "key_id": account.key_id, "project_id": account.project_id}
            for account in emulator.fcm.service_accounts
        ]
        apns = {"apps": emulator.accounts.apps, "keys": keys}
        return web.json_response(
            {
                "apns": apns,
                "fcm": {"projects": sorted(emulator.fcm.projects), "service_accounts": accounts},
                "hms": {"apps": emulator.hms.app_ids},
                "notification_hubs": {"hubs": emulator.notification_hubs.hubs},
            }
        )

    async def _add_app(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "project_id" in body:
            self._emulator.fcm.projects.add(str(body["project_id"]))
        elif "hms_app_id" in body:
            self._emulator.hms.put_app(str(body["hms_app_id"]), str(body["client_secret"]))
        elif "hub" in body:
            hub, rights = str(body["hub"]), body.get("rights", ALL_RIGHTS)
            if "key" in body:
                self._emulator.notification_hubs.put_rule(hub, str(body["key_name"]), str(body["key"]), rights)
            self._emulator.notification_hubs.put_hub(hub, free=bool(body["free"]) if "free" in body else None)
        elif "client_secret" in body:
            client_id, secret = str(body["client_id"]), str(body["client_secret"])
            self._emulator.wns.put_app(client_id, secret, tenant_id=str(body.get("tenant_id", "")))
        else:
            self._emulator.accounts.put_app(str(body["bundle_id"]), str(body["team_id"]))
        return web.json_response({})

    async def _add_key(self, request: web.Request) -> web.Response:
        body = await _body(request)
        public_key, key_id = read_public_key(str(body["public_key"])), str(body["key_id"])
        if isinstance(public_key, EllipticCurvePublicKey):
            environments = frozenset(body.get("environments", ENVIRONMENTS))
            topics = frozenset(body.get("topics", ()))
            self._emulator.accounts.put_key(Key(key_id, str(body["team_id"]), public_key, environments, topics))
        else:
            assert isinstance(public_key, RSAPublicKey)
            account = ServiceAccount(str(body["client_email"]), key_id, public_key, str(body["project_id"]))
            self._emulator.fcm.put_service_account(account)
        return web.json_response({})

    async def _revoke_key(self, request: web.Request) -> web.Response:
        return web.json_response({"revoked": self._emulator.accounts.revoke_key(request.match_info["key_id"])})

    async def _tokens(self, request: web.Request) -> web.Response:
        book = self._emulator.tokens[request.query.get("provider", "apns")]
        rows = [
            {"token": token, **belief.as_json()}
            for (token, belief), _ in zip(book.items(), range(ROWS_MAX), strict=False)
        ]
        return web.json_response({"count": len(book), "unknown": book.unknown.as_json(), "tokens": rows})

    async def _set_tokens(self, request: web.Request) -> web.Response:
        body = await _body(request)
        provider = str(body.pop("provider"))
        tokens = [str(token) for token in body.pop("tokens", [])]
        count = int(body.pop("make", 0))
        if not 0 <= count <= MAKE_MAX:
            raise ValueError(f"make is from 0 to {MAKE_MAX}")
        if count:
            self._made += 1
            tokens += self._make(provider, count)
        self._emulator.set_tokens(provider, tokens, **body)
        return web.json_response({"tokens": tokens})

    def _make(self, provider: str, count: int) -> list[str]:
        if provider == "wns":
            return wns_channels(self._emulator.endpoints["wns"], count, seed=self._made)
        makers = {"fcm": fcm_tokens, "hms": hms_tokens}
        return makers.get(provider, apns_tokens)(count, seed=self._made)

    async def _subscribe(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "move" in body:
            made = [self._emulator.move(str(body["move"]))]
        else:
            count = int(body.get("make", 1))
            if not 0 < count <= ROWS_MAX:
                raise ValueError(f"make is from 1 to {ROWS_MAX}")
            key, personality = str(body["vapid_public_key"]), str(body.get("personality", "mozilla"))
            made = [self._emulator.subscribe(key, personality) for _ in range(count)]
        rows = [{"endpoint": one.endpoint, "keys": {"p256dh": one.p256dh, "auth": one.auth}} for one in made]
        return web.json_response({"subscriptions": rows})

    async def _set_unknown(self, request: web.Request) -> web.Response:
        body = await _body(request)
        self._emulator.set_unknown(str(body.pop("provider")), **body)
        return web.json_response({})

    async def _set_quotas(self, request: web.Request) -> web.Response:
        emulator = self._emulator
        quotas = {
            "fcm_project": emulator.fcm.per_project,
            "fcm_device": emulator.fcm.per_device,
            "hms_app": emulator.hms.per_app,
            "hub": emulator.notification_hubs.per_hub,
            "apns_token": emulator.apns_per_token,
        }
        for name, per_minute in (await _body(request)).items():
            quotas[name].per_minute = float(per_minute)
            quotas[name].clear()
        return web.json_response({name: quota.per_minute for name, quota in quotas.items()})

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": self._emulator.faults.as_json()})

    async def _add_fault(self, request: web.Request) -> web.Response:
        return web.json_response({"number": self._emulator.add_fault(**await _body(request))})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._emulator.faults.clear()
        return web.json_response({})

    async def _remove_fault(self, request: web.Request) -> web.Response:
        return web.json_response({"removed": self._emulator.faults.remove(int(request.match_info["number"]))})

    async def _journal(self, request: web.Request) -> web.Response:
        query = request.query
        limit = min(ROWS_MAX, int(query.get("limit", ROWS_MAX)))
        entries = deque(self._emulator.journal.entries(query.get("provider", ""), query.get("token", "")), limit)
        return web.json_response({"messages": [as_json(entry) for entry in entries]})

    async def _counts(self, request: web.Request) -> web.Response:
        journal = self._emulator.journal
        counts: dict[str, Any] = {
            provider: journal.counts(provider)._asdict() for provider in (*self._emulator.tokens, *BY_HUB)
        }
        answers: dict[str, dict[str, int]] = {}
        for (provider, status), count in journal.answers.items():
            answers.setdefault(provider, {})[str(status)] = count
        return web.json_response({**counts, "answers": answers})

    async def _move_clock(self, request: web.Request) -> web.Response:
        self._emulator.clock.advance(float((await _body(request))["advance_s"]))
        return web.json_response({"now_us": self._emulator.clock.now_us()})

    async def _reset(self, request: web.Request) -> web.Response:
        self._emulator.reset()
        return web.json_response({})


async def _body(request: web.Request) -> dict[str, Any]:
    # curl -d calls JSON a form, so the content type is not looked at.
    body = json.loads(await request.read())
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")
    return body


@web.middleware
async def _mistakes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a caller got wrong is a 400 that says so."""
    try:
        response: web.StreamResponse = await handler(request)
    except KeyError as error:
        return web.json_response({"error": f"{error} is missing or unknown"}, status=400)
    except (ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return response
