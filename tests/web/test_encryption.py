"""What the provider encrypts, a browser reads: once by WebCrypto in a page, once by the browser's own Web Push."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pushrpc.accounts import WebPushAccount
from pushrpc.model import Address, Batch, Lane
from pushrpc.providers.webpush import WebPush
from pushrpc.providers.webpush_crypto import PLAINTEXT_BYTES_MAX, encrypted, subscription_keys
from tests.providers.samples import NOW_US, claimed, notification
from tests.web.conftest import App
from tests.web.desktop import Desktop
from tests.web.push_service import PushService
from tests.web.samples import CONTENT, ID

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


async def test_the_browser_decrypts_shows_and_reports(
    app: App, desktop: Desktop, pushes: PushService, tmp_path: Path
) -> None:
    key_file = tmp_path / "vapid.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    provider = WebPush(WebPushAccount("shop", str(key_file), "mailto:push@shop.example"))
    await app.client(applicationServerKey=provider.provider_app_id)
    subscription = await app.subscribe()
    endpoint, keys = subscription["endpoint"], subscription["keys"]
    assert pushes.registered[endpoint.rpartition("/")[2]].sender == provider.provider_app_id

    lane = Lane("shop", provider.provider, provider.provider_app_id, provider.environment, provider.origin(endpoint))
    delivery = claimed(notification(CONTENT), endpoint, address=Address(keys["p256dh"], keys["auth"]).text)
    (row,) = provider.prepare(Batch(lane, [delivery]), None, NOW_US).rows
    await pushes.push(endpoint, row.body or b"")

    shown = await desktop.notification(lambda shown: shown.title == CONTENT.title)
    assert CONTENT.body in shown.body
    await desktop.click(shown)
    reports = await app.site.reported(3)
    assert reports.keys() == {"RECEIVED", "DISPLAYED", "OPENED"}
    assert {(report["notification_id"], report["endpoint"]) for report in reports.values()} == {(ID, endpoint)}
