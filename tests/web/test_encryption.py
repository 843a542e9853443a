"""What the provider encrypts, a browser reads: once by WebCrypto in a page, once by the browser's own Web Push."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from pushrpc.providers.webpush_crypto import PLAINTEXT_BYTES_MAX, encrypted, subscription_keys
from tests.web.conftest import App
from tests.web.desktop import Desktop
from tests.web.push_service import PushService
from tests.web.test_worker import ID, OURS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    "text", ["", "?", "Ünïcödé 🚚", "x" * PLAINTEXT_BYTES_MAX], ids=["empty", "one", "wide", "full"]
)
async def test_a_page_decrypts_what_the_provider_encrypts(app: App, text: str) -> None:
    keys = await app.page.run(
        """(async () => {
          const { receiver } = await import("/receiver.js");
          globalThis.receiving = await receiver();
          return { p256dh: receiving.p256dh, auth: receiving.auth };
        })()"""
    )
    body = encrypted(text.encode(), subscription_keys(keys["p256dh"], keys["auth"]))
    assert len(body) <= 4096
    assert await app.page.run(f"receiving.decrypt({json.dumps(b64encode(body).decode())})") == text


async def test_the_browser_decrypts_shows_and_reports(app: App, desktop: Desktop, pushes: PushService) -> None:
    await app.client()
    subscription = await app.subscribe()
    keys = subscription_keys(subscription["keys"]["p256dh"], subscription["keys"]["auth"])
    await pushes.push(subscription["endpoint"], encrypted(json.dumps(OURS).encode(), keys))
    shown = await desktop.notification(lambda shown: shown.title == OURS["title"])
    assert OURS["body"] in shown.body
    await desktop.click(shown)
    reports = await app.site.reported(3)
    assert reports.keys() == {"RECEIVED", "DISPLAYED", "OPENED"}
    assert {(report["notification_id"], report["endpoint"]) for report in reports.values()} == {
        (ID, subscription["endpoint"])
    }
