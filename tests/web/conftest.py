"""One browser for all tests, a site of its own for each."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.web.desktop import Desktop, desktop_on, message_bus_running
from tests.web.devtools import Browser, Event, Script, chromium, connected
from tests.web.push_service import PushService, push_service
from tests.web.site import Site, site_running

# A P-256 point that belongs to nobody: what a browser asks of an application server key (RFC 8291 Appendix A).
APPLICATION_SERVER_KEY = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"


@pytest.fixture(scope="session")
def programs() -> tuple[str, str]:
    browser, bus = shutil.which("chromium"), shutil.which("dbus-daemon")
    if browser is None or bus is None:
        pytest.skip("needs Chromium and a D-Bus daemon (Debian: chromium, dbus-daemon)")
    return browser, bus


@pytest.fixture(scope="session")
def bus(programs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with message_bus_running(programs[1], tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desktop(bus: str) -> AsyncIterator[Desktop]:
    async with desktop_on(bus) as desktop:
        yield desktop


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def serving_push(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[PushService, tuple[str, ...]]]:
    async with push_service(tmp_path_factory.mktemp("push")) as running:
        yield running


@pytest.fixture(scope="session")
def pushes(serving_push: tuple[PushService, tuple[str, ...]]) -> PushService:
    return serving_push[0]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(
    programs: tuple[str, str],
    bus: str,
    desktop: Desktop,  # Chromium looks for it once, when it starts
    serving_push: tuple[PushService, tuple[str, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Browser]:
    with chromium(programs[0], tmp_path_factory.mktemp("chromium"), bus, serving_push[1]) as address:
        async with connected(address) as browser:
            await browser.call("Target.setDiscoverTargets", discover=True)
            yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with site_running() as site:
        yield site


@dataclass(frozen=True)
class App:
    """The site, open in a tab of the browser."""

    browser: Browser
    site: Site
    page: Script

    async def permit(self, setting: str) -> None:
        await self.browser.call(
            "Browser.setPermission", permission={"name": "notifications"}, setting=setting, origin=self.site.origin
        )

    async def client(self, **options: object) -> None:
        """Makes `push`, as the app does on every page."""
        named = {
            "applicationServerKey": APPLICATION_SERVER_KEY,
            "subscriptions": "/push/subscriptions",
            "engagements": "/push/engagements",
        } | options
        await self.page.run(f"void (globalThis.push = new PushClient({json.dumps(named)}))")

    async def worker(self) -> Script:
        """The worker's own scope."""
        (target,) = await self.browser.targets("service_worker", self.site.origin)
        return await self.browser.attach(target["targetId"])

    async def subscribe(self) -> dict[str, Any]:
        """The subscription as the backend got it."""
        await self.page.run("push.subscribe().then(() => undefined)")
        told = await self.site.told()
        assert told["subscription"] and told["replaces"] is None
        subscription: dict[str, Any] = told["subscription"]
        return subscription

    async def deliver(self, text: str) -> None:
        """Hands a push message to the worker by DevTools, past the encryption."""
        await self.page.call("ServiceWorker.enable")
        updated = await self.browser.event(lambda event: bool(self._registrations(event)))
        await self.page.call(
            "ServiceWorker.deliverPushMessage",
            origin=self.site.origin,
            registrationId=self._registrations(updated)[0]["registrationId"],
            data=text,
        )

    def _registrations(self, event: Event) -> list[dict[str, Any]]:
        return [
            registration
            for registration in event.params.get("registrations", ())
            if event.method == "ServiceWorker.workerRegistrationUpdated"
            and registration["scopeURL"] == f"{self.site.origin}/"
        ]

    async def notifications(self) -> Any:
        return await self.page.run(
            """navigator.serviceWorker.ready.then((registration) => registration.getNotifications()).then((all) =>
            all.map(({title, body, icon, badge, image, tag, actions, requireInteraction, silent, data}) => ({
              title, body, icon, badge, image, tag, requireInteraction, silent, data,
              actions: actions.map(({action, title, icon}) => ({action, title, icon})),
            })))"""
        )


@pytest_asyncio.fixture(loop_scope="session")
async def app(browser: Browser, site: Site, desktop: Desktop) -> AsyncIterator[App]:
    desktop.shown.clear()
    browser.events.clear()
    await browser.call(
        "Browser.setPermission", permission={"name": "notifications"}, setting="granted", origin=site.origin
    )
    yield App(browser, site, await browser.open(f"{site.origin}/app.html"))
    await browser.close_pages(site.origin)
    await browser.close_pages(site.other_origin)
