"""The desktop around the browser, played: it gets what Chromium shows, and its person clicks it or puts it away.

On Linux, Chromium hands notifications to whoever is org.freedesktop.Notifications on the session's D-Bus, and turns
that service's signals into notificationclick and notificationclose. So the events in these tests are trusted ones, and
may open and focus windows as after a real click. Source: "Desktop Notifications Specification" 1.2.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.asyncio import DBusConnection, open_dbus_connection

from tests.web import WAIT_S

BODY = "default"  # the action that stands for a click on the notification itself
_DISMISSED = 2
_CLOSED_BY_CALL = 3

_NAME = "org.freedesktop.Notifications"
_SERVICE = DBusAddress("/org/freedesktop/Notifications", interface=_NAME)
# A bus of our own: no services to be activated, nobody else on it.
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


@dataclass(frozen=True)
class Shown:
    """A notification on the screen. `actions` are the buttons' labels by the key that a click on them sends."""

    number: int
    title: str
    body: str
    actions: dict[str, str]


@dataclass
class Desktop:
    _bus: DBusConnection
    shown: dict[int, Shown] = field(default_factory=dict)
    _count: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def notification(self, wanted: Callable[[Shown], bool]) -> Shown:
        """The first such one on the screen, waited for."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for shown in self.shown.values():
                    if wanted(shown):
                        return shown
                self._news.clear()
                await self._news.wait()

    async def click(self, shown: Shown, action: str = BODY) -> None:
        await self._bus.send(new_signal(_SERVICE, "ActionInvoked", "us", (shown.number, action)))

    async def dismiss(self, shown: Shown) -> None:
        del self.shown[shown.number]
        await self._bus.send(new_signal(_SERVICE, "NotificationClosed", "uu", (shown.number, _DISMISSED)))

    async def serve(self) -> None:
        while True:
            message = await self._bus.receive()
            if message.header.message_type is MessageType.method_call:
                await self._answer(message)

    async def _answer(self, call: Message) -> None:
        match call.header.fields[HeaderFields.member]:
            case "Notify":
                await self._bus.send(new_method_return(call, "u", (self._show(*call.body),)))
                self._news.set()
            case "CloseNotification":
                (number,) = call.body
                await self._bus.send(new_method_return(call))
                if self.shown.pop(number, None):
                    await self._bus.send(new_signal(_SERVICE, "NotificationClosed", "uu", (number, _CLOSED_BY_CALL)))
            case "GetCapabilities":
                await self._bus.send(new_method_return(call, "as", (["actions", "body"],)))
            case "GetServerInformation":
                await self._bus.send(new_method_return(call, "ssss", ("pushrpc tests", "pushrpc", "1", "1.2")))

    def _show(
        self, app: str, replaces: int, icon: str, title: str, body: str, actions: list[str], hints: object, ms: int
    ) -> int:
        if not replaces:
            self._count += 1
        number = replaces or self._count
        self.shown[number] = Shown(number, title, body, dict(zip(actions[::2], actions[1::2], strict=True)))
        return number


@contextmanager
def message_bus_running(program: str, directory: Path) -> Iterator[str]:
    """Runs a D-Bus daemon and yields its address."""
    socket = directory / "bus"
    configuration = directory / "bus.conf"
    configuration.write_text(_BUS.format(socket=socket))
    command = [program, f"--config-file={configuration}", "--nofork", "--nopidfile", "--print-address"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        # The daemon says its address once it listens; one that cannot start ends, which ends this read too.
        address = process.stdout.readline().strip()
        assert address, "the D-Bus daemon did not start"
        yield address
    finally:
        process.kill()
        process.wait(WAIT_S)
        process.stdout.close()


@asynccontextmanager
async def desktop_on(address: str) -> AsyncIterator[Desktop]:
    async with asyncio.timeout(WAIT_S):
        bus = await open_dbus_connection(address)
        await bus.send(message_bus.RequestName(_NAME))
    desktop = Desktop(bus)
    serving = asyncio.create_task(desktop.serve())
    try:
        yield desktop
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        await bus.close()
