"""A headless Chromium, and the part of its DevTools protocol that these tests speak.

Source: "Chrome DevTools Protocol", tip of tree. One socket carries all targets, each by its session ("flat" sessions).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.web import WAIT_S

START_S = 60.0  # a first start on a busy machine writes a whole profile
LOG_BYTES_SHOWN = 2_000
EVENTS_MAX = 10_000  # a test makes some dozens

FLAGS = (
    "--headless",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--disable-dev-shm-usage",  # containers give /dev/shm 64 MiB
    "--disable-gpu",
    "--no-sandbox",  # for root and in most containers there is none, and only pages of ours are shown
    # Nothing but this machine is within reach.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


class DevToolsError(Exception):
    """The browser refused a command, or a script that it ran has thrown."""


@contextmanager
def chromium(program: str, directory: Path, bus: str, flags: Sequence[str]) -> Iterator[str]:
    """Runs a browser with a profile of its own, on this D-Bus, and yields the address of its DevTools socket."""
    # Everything that Chromium writes, caches included, stays in the directory.
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"), str(directory))
    buses = dict.fromkeys(("DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS"), bus)
    profile = directory / "profile"
    log = directory / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | places | buses,
            start_new_session=True,  # so that its own children end with it
        )
    try:
        yield _address(process, profile / "DevToolsActivePort", log)
    finally:
        with suppress(ProcessLookupError):  # where it has not even started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)
        shutil.rmtree(profile, ignore_errors=True)


def _address(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) == 2:  # the port, then the path, written one after the other
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise AssertionError(f"Chromium did not start: {log.read_text(errors='replace')[-LOG_BYTES_SHOWN:]}")


@dataclass
class Event:
    session: str | None
    method: str
    params: dict[str, Any]


@dataclass
class Browser:
    """The socket: commands find their answers by number, events are kept for whoever asks."""

    socket: aiohttp.ClientWebSocketResponse
    events: list[Event] = field(default_factory=list)
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _count: int = 0

    async def call(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """The command's result. Raises DevToolsError when it is refused, TimeoutError when no answer comes."""
        self._count += 1
        number = self._count
        command = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(WAIT_S):
                await self.socket.send_json(command)
                reply = await answer
        finally:
            del self._waiting[number]
        if "error" in reply:
            raise DevToolsError(f"{method}: {reply['error']['message']}")
        result: dict[str, Any] = reply["result"]
        return result

    async def event(self, wanted: Callable[[Event], bool]) -> Event:
        """The first such event since the socket was opened, waited for."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                self._news.clear()
                await self._news.wait()

    async def open(self, url: str) -> Script:
        """A new tab, once its page has loaded."""
        target = await self.call("Target.createTarget", url="about:blank")
        page = await self.attach(target["targetId"])
        await page.call("Page.enable")
        await page.call("Page.navigate", url=url)
        await self.event(lambda event: event.method == "Page.loadEventFired" and event.session == page.session)
        return page

    async def shows(self, url: str) -> None:
        """Waits until some tab is at this address."""
        await self.event(
            lambda event: (
                event.method in ("Target.targetCreated", "Target.targetInfoChanged")
                and event.params["targetInfo"]["type"] == "page"
                and event.params["targetInfo"]["url"] == url
            )
        )

    async def close_pages(self, origin: str) -> None:
        """Closes every tab of a site, those too that the site has opened; they are gone then."""
        for target in await self.targets("page", origin):
            await self.call("Target.closeTarget", targetId=target["targetId"])
            await self.event(partial(_tells_the_end_of, target["targetId"]))

    async def targets(self, kind: str, origin: str = "") -> list[dict[str, Any]]:
        """Targets of a kind (page, service_worker): the site's, or everybody's."""
        everything = (await self.call("Target.getTargets"))["targetInfos"]
        return [target for target in everything if target["type"] == kind and target["url"].startswith(origin)]

    async def attach(self, target: str) -> Script:
        """A way into a page or a worker."""
        answer = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Script(self, target, answer["sessionId"])

    async def read(self) -> None:
        """Hands out what comes until the socket closes."""
        async for message in self.socket:
            heard = json.loads(message.data)
            if "id" in heard:
                if (answer := self._waiting.get(heard["id"])) and not answer.done():
                    answer.set_result(heard)
            else:
                assert len(self.events) < EVENTS_MAX, "a test listens to more than it can mean to"
                self.events.append(Event(heard.get("sessionId"), heard["method"], heard["params"]))
                self._news.set()


@dataclass(frozen=True)
class Script:
    """A page's or a worker's global scope."""

    browser: Browser
    target: str
    session: str

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        return await self.browser.call(method, self.session, **params)

    async def run(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise. Raises DevToolsError when it throws.

        Counts as done by a person's hand, as asking for permission demands.
        """
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise DevToolsError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")


def _tells_the_end_of(target: str, event: Event) -> bool:
    return event.method == "Target.targetDestroyed" and event.params["targetId"] == target


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
        browser = Browser(socket)
        reading = asyncio.create_task(browser.read())
        try:
            yield browser
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
