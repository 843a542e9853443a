"""The web app that uses the client: its pages, and the backend that they tell things."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.web import WAIT_S

HERE = Path(__file__).parent
CLIENT = HERE.parent.parent / "clients" / "web"


@dataclass
class Site:
    """What the backend was told, in the order of arrival."""

    origin: str = ""
    other_origin: str = ""  # the same server as another site
    subscriptions: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    engagements: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    refuses: bool = False

    async def told(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.subscriptions.get(), WAIT_S)

    async def reported(self, count: int) -> dict[str, dict[str, Any]]:
        """So many reports by their word: they travel at the same time, so their order means nothing."""
        reports = [await asyncio.wait_for(self.engagements.get(), WAIT_S) for _ in range(count)]
        by_word = {report["engagement"].removeprefix("ENGAGEMENT_"): report for report in reports}
        assert len(by_word) == count, reports
        return by_word

    async def post(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        queue = self.subscriptions if request.path == "/push/subscriptions" else self.engagements
        queue.put_nowait(await request.json())
        return web.Response(status=503 if self.refuses else 204)


@asynccontextmanager
async def site_running() -> AsyncIterator[Site]:
    """Each on a port of its own, which to a browser is another site: nothing is left of the one before."""
    site = Site()
    app = web.Application()
    app.add_routes(
        [
            web.post("/push/subscriptions", site.post),
            web.post("/push/engagements", site.post),
            web.get("/readme.html", _readme),
            web.get("/", _file(HERE / "pages" / "app.html")),
            *(web.get(f"/{file.name}", _file(file)) for file in (CLIENT / "src").glob("*.js")),
            *(web.get(f"/{file.name}", _file(file)) for file in (HERE / "pages").iterdir()),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        # Only for localhost does a browser take http as secure.
        port = runner.addresses[0][1]
        site.origin, site.other_origin = f"http://localhost:{port}", f"http://127.0.0.1:{port}"
        yield site
    finally:
        await runner.cleanup()


def _file(file: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    async def answer(request: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    return answer


async def _readme(request: web.Request) -> web.Response:
    """The page that the client's README shows."""
    (page,) = re.findall(r"```html\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    return web.Response(text=page, content_type="text/html")
