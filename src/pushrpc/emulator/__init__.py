"""Emulated push services that real clients believe, six of them, over real TLS, on loopback.

    async with Emulator.start(directory, seed=7) as emulator:
        files = emulator.credentials(directory)
        dead, *live = apns_tokens(1000)
        emulator.set_tokens("apns", [dead], state="unregistered", since_ms=1_700_000_000_000)
        emulator.add_fault(provider="apns", action="status", status=503, reason="ServiceUnavailable", share=0.1)
        ...  # send with any client to emulator.apns_endpoint, trusting emulator.ca_file
        assert emulator.journal.counts("apns").distinct == 999

Everything it decides is decided without I/O, by one file for each provider; `shell` alone has sockets. What goes wrong
is scripted (`faults`) and the same for the same seed; what was accepted is in the `journal`. The same is offered over
HTTP to other processes and languages (`control`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pushrpc.emulator.apns import ENVIRONMENTS, Accounts, Apns
from pushrpc.emulator.authority import Authority
from pushrpc.emulator.control import Control
from pushrpc.emulator.credentials import (
    Credentials,
    issue_apns_certificate,
    issue_apns_key,
    issue_hms_app,
    issue_hub,
    issue_service_account,
    issue_vapid_key,
)
from pushrpc.emulator.faults import Fault, Script
from pushrpc.emulator.fcm import Fcm
from pushrpc.emulator.hms import Hms
from pushrpc.emulator.journal import Counts, Journal
from pushrpc.emulator.notification_hubs import NotificationHubs
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Entry, Service
from pushrpc.emulator.shell import IDLE_S, Listener, server_context
from pushrpc.emulator.stage import Stage
from pushrpc.emulator.tokens import Token, TokenBook, TokenState, apns_tokens, fcm_tokens, hms_tokens
from pushrpc.emulator.webpush import Subscription, WebPush
from pushrpc.emulator.wns import Wns, wns_channels

__all__ = [
    "SERVICES",
    "Counts",
    "Credentials",
    "Emulator",
    "Entry",
    "Fault",
    "Subscription",
    "Token",
    "TokenState",
    "VirtualClock",
    "apns_tokens",
    "fcm_tokens",
    "hms_tokens",
    "issue_hms_app",
    "issue_hub",
    "issue_vapid_key",
    "wns_channels",
]

HOSTS = ("127.0.0.1", "localhost", "::1")
SERVICES = ("apns", "apns_sandbox", "fcm", "wns", "web_push", "hms", "notification_hubs")
"""What listens, each on a port of its own."""


class VirtualClock:
    """The system's time, moved by as much as a test likes. Scripted delays are real time; everything else asks here."""

    def __init__(self) -> None:
        self._offset_us = 0

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self._offset_us

    def advance(self, seconds: float) -> None:
        self._offset_us += int(seconds * 1e6)

    def reset(self) -> None:
        self._offset_us = 0


class Emulator:
    """Emulated providers in this process. Use `start`; the endpoints are https URLs and are set once it listens."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.clock = VirtualClock()
        self._journal = Journal()
        self.faults = Script(seed)
        self.accounts = Accounts()
        self.tokens = {"apns": TokenBook(), "fcm": TokenBook()}
        self.apns_per_token = Quota(0)
        self.fcm = Fcm(self.tokens["fcm"], seed=seed)
        self.tokens["wns"] = TokenBook()
        self.wns = Wns(self.tokens["wns"], seed=seed)
        self.tokens["web_push"] = TokenBook()
        self.web_push = WebPush(self.tokens["web_push"], seed=seed)
        self.tokens["hms"] = TokenBook()
        self.hms = Hms(self.tokens["hms"], seed=seed)
        self.tokens["notification_hubs"] = TokenBook()
        self.notification_hubs = NotificationHubs(
            self.tokens["notification_hubs"], seed=seed, behind=self.tokens, accept=self._journal.accept
        )
        self.services: dict[str, Service] = {
            "apns": self._apns("production"),
            "apns_sandbox": self._apns("sandbox"),
            "fcm": self.fcm,
            "wns": self.wns,
            "web_push": self.web_push,
            "hms": self.hms,
            "notification_hubs": self.notification_hubs,
        }
        self.endpoints: dict[str, str] = {}  # by service: https://host:port
        self.control_url = ""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = Authority(directory)

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] = {},
        control_port: int = 0,
        idle_s: float = IDLE_S,
    ) -> AsyncIterator[Emulator]:
        """Listens on `host` until left, on free ports but for those named by service.

        Writes ca.pem and server.pem into `directory`, which is made when it does not exist. Raises ValueError for a
        port of something else than SERVICES, OSError when a port is taken.
        """
        if unknown := ports.keys() - set(SERVICES):
            raise ValueError(f"{min(unknown)} is not one of {', '.join(SERVICES)}")
        emulator = cls(directory, seed)
        certificate = directory / "server.pem"
        emulator._authority.issue_server(certificate, [host, *(name for name in HOSTS if name != host)])

        async def listen(stack: AsyncExitStack, service: Service, port: int) -> str:
            ca_file = emulator.ca_file if service.client_certificates else None
            stage = Stage(service, emulator.faults, emulator.journal, emulator.clock.now_us)
            context = server_context(certificate, ca_file, http1=service.http1, http2=service.http2)
            listener = Listener(stage, context, http1=service.http1, idle_s=idle_s)
            stack.push_async_callback(listener.close)
            return f"https://{host}:{await listener.open(host, port)}"

        async with AsyncExitStack() as stack:
            for name, service in emulator.services.items():
                emulator.endpoints[name] = await listen(stack, service, ports.get(name, 0))
            emulator.fcm.token_urls.add(emulator.token_url)
            control = Control(emulator)
            stack.push_async_callback(control.close)
            emulator.control_url = f"http://{host}:{await control.open(host, control_port)}"
            yield emulator

    @property
    def journal(self) -> Journal:
        """What was taken; by way of a hub, it is under providers of its own, such as apns_by_hub."""
        self._dispatch()
        return self._journal

    @property
    def apns_endpoint(self) -> str:
        return self.endpoints["apns"]

    @property
    def apns_sandbox_endpoint(self) -> str:
        return self.endpoints["apns_sandbox"]

    @property
    def fcm_endpoint(self) -> str:
        return self.endpoints["fcm"]

    @property
    def ca_file(self) -> Path:
        """The trust root that a client needs, in PEM."""
        return self._authority.ca_file

    @property
    def token_url(self) -> str:
        """Google's OAuth token endpoint, the `token_uri` of service accounts."""
        return f"{self.fcm_endpoint}/token"

    def credentials(
        self,
        directory: Path | None = None,
        *,
        bundle_id: str = "com.example.shop",
        team_id: str = "TEAM123456",
        project_id: str = "shop-example",
    ) -> Credentials:
        """Registers an app with both providers and writes what a sender needs, readable by its owner only.

        Files: an APNs signing key, an APNs client certificate with its key, a Firebase service account.
        """
        directory = directory or self._directory
        self.accounts.put_app(bundle_id, team_id)
        key_id, key_file = issue_apns_key(
            self.accounts, directory, team_id=team_id, environments=ENVIRONMENTS, topics=frozenset()
        )
        certificate = issue_apns_certificate(self._authority, directory, bundle_id)
        account = issue_service_account(self.fcm, directory, project_id=project_id, token_url=self.token_url)
        return Credentials(bundle_id, team_id, key_id, key_file, certificate, project_id, account)

    def set_tokens(self, provider: str, tokens: Iterable[str], **belief: object) -> None:
        """What a provider ("apns", "fcm") believes of these tokens: the fields of `Token`. Raises ValueError."""
        named = (token.lower() if provider == "apns" else token for token in tokens)
        self._dispatch()
        self._book(provider).put(named, _token(belief))

    def set_unknown(self, provider: str, **belief: object) -> None:
        """What a provider believes of well-formed tokens that nobody registered; live at first. Raises ValueError."""
        self._dispatch()
        self._book(provider).unknown = _token(belief)

    def subscribe(self, vapid_public_key: str, personality: str = "mozilla") -> Subscription:
        """A browser's subscription for the holder of a VAPID key. Raises ValueError."""
        return self.web_push.subscribe(self.endpoints["web_push"], vapid_public_key, personality)

    def move(self, endpoint: str) -> Subscription:
        """The same browser at another endpoint; the old one, of Mozilla's, answers 301 from now. Raises ValueError."""
        return self.web_push.move(endpoint)

    def add_fault(self, **fault: object) -> int:
        """Adds to the script (see `faults`) and returns the fault's number. Raises ValueError."""
        return self.faults.add(Fault.from_json(fault))

    def reset(self) -> None:
        """Forgets faults, tokens, journal, quotas and moved time; apps, keys, projects and connections stay."""
        self.faults.clear()
        self._journal.clear()
        self.clock.reset()
        for book in self.tokens.values():
            book.clear()
            book.unknown = Token()
        for quota in (self.apns_per_token, self.fcm.per_project, self.fcm.per_device):
            quota.clear()
        self.accounts.channels.clear()
        self.fcm.topics.clear()
        self.wns.clear()
        self.hms.clear()
        self.notification_hubs.clear()
        self.web_push.clear()

    def _dispatch(self) -> None:
        """What hubs owe by now is judged by what was believed until now."""
        self.notification_hubs.dispatch(self.clock.now_us())

    def _apns(self, environment: str) -> Apns:
        return Apns(environment, self.accounts, self.tokens["apns"], self.apns_per_token)

    def _book(self, provider: str) -> TokenBook:
        book = self.tokens.get(provider)
        if book is None:
            raise ValueError(f"provider {provider!r} is not one of {', '.join(self.tokens)}")
        return book


def _token(belief: dict[str, object]) -> Token:
    try:
        return Token(**belief)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"not a token's state: {error}") from None
