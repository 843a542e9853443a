"""The page's script in a real browser: permission, subscription, and what the backend is told of them."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pushrpc.providers.webpush_crypto import public_point, subscription_keys
from tests.web.conftest import APPLICATION_SERVER_KEY, App
from tests.web.devtools import DevToolsError
from tests.web.push_service import PushService

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUBSCRIPTION = "navigator.serviceWorker.ready.then((it) => it.pushManager.getSubscription()).then((it) => it?.endpoint)"
REFRESH = "push.refresh().then((subscription) => subscription && subscription.endpoint)"


async def test_a_subscription_reaches_the_backend(app: App, pushes: PushService) -> None:
    await app.client()
    subscription = await app.subscribe()
    assert subscription.keys() == {"endpoint", "expirationTime", "keys"}
    assert subscription["endpoint"].startswith("https://")
    subscription_keys(subscription["keys"]["p256dh"], subscription["keys"]["auth"])
    assert subscription["endpoint"].rpartition("/")[2] in pushes.registered
    assert await app.page.run(SUBSCRIPTION) == subscription["endpoint"]


async def test_the_readmes_page_subscribes_at_a_click(app: App) -> None:
    page = await app.browser.open(f"{app.site.origin}/readme.html")
    x, y = await page.run(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])(notify.getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    told = await app.site.told()
    await page.call("Page.reload")
    assert await app.site.told() == told  # by refresh()


async def test_a_page_load_hands_the_subscription_over_again(app: App) -> None:
    await app.client()
    assert await app.page.run(REFRESH) is None  # nobody has subscribed yet
    subscription = await app.subscribe()
    assert await app.page.run(REFRESH) == subscription["endpoint"]
    assert await app.site.told() == {"subscription": subscription, "replaces": None}


async def test_a_subscription_that_got_lost_is_replaced(app: App) -> None:
    await app.client()
    lost = await app.subscribe()
    await app.page.run(
        "navigator.serviceWorker.ready.then((it) => it.pushManager.getSubscription()).then((it) => it.unsubscribe())"
    )
    endpoint = await app.page.run(REFRESH)
    told = await app.site.told()
    assert (told["subscription"]["endpoint"], told["replaces"]) == (endpoint, lost["endpoint"])
    assert endpoint != lost["endpoint"]


async def test_a_new_application_server_key_replaces_the_subscription(app: App, pushes: PushService) -> None:
    await app.client()
    before = await app.subscribe()
    key = urlsafe_b64encode(public_point(ec.generate_private_key(ec.SECP256R1()))).decode()  # padded, as some write it
    await app.client(applicationServerKey=key)
    await app.page.run(REFRESH)
    told = await app.site.told()
    assert told["replaces"] == before["endpoint"]
    owner = pushes.registered[told["subscription"]["endpoint"].rpartition("/")[2]]
    assert owner.sender == key.rstrip("=")


async def test_no_permission_no_subscription(app: App) -> None:
    await app.permit("denied")
    await app.client()
    with pytest.raises(DevToolsError, match="NotAllowedError"):
        await app.page.run("push.subscribe()")
    assert await app.page.run(REFRESH) is None
    assert app.site.subscriptions.empty()


async def test_a_permission_taken_back_ends_the_subscription(app: App) -> None:
    await app.client()
    before = await app.subscribe()
    await app.permit("denied")
    assert await app.page.run(REFRESH) is None
    assert await app.site.told() == {"subscription": None, "replaces": before["endpoint"]}


async def test_unsubscribing_tells_the_push_service_and_the_backend(app: App, pushes: PushService) -> None:
    await app.client()
    before = await app.subscribe()
    await app.page.run("push.unsubscribe()")
    assert await app.site.told() == {"subscription": None, "replaces": before["endpoint"]}
    assert await app.page.run(SUBSCRIPTION) is None
    assert before["endpoint"].rpartition("/")[2] not in pushes.registered
    await app.page.run("push.unsubscribe()")
    assert await app.page.run(REFRESH) is None
    assert app.site.subscriptions.empty()


async def test_what_the_backend_refused_is_handed_over_at_the_next_load(app: App) -> None:
    await app.client()
    app.site.refuses = True
    with pytest.raises(DevToolsError, match="503"):
        await app.page.run("push.subscribe()")
    refused = await app.site.told()
    app.site.refuses = False
    await app.page.run(REFRESH)
    assert await app.site.told() == refused


async def test_the_app_may_hand_subscriptions_over_by_itself(app: App) -> None:
    told = await app.page.run(
        f"""(async () => {{
          const told = [];
          const push = new PushClient({{
            applicationServerKey: "{APPLICATION_SERVER_KEY}",
            subscriptions: async ({{ subscription, replaces }}) => told.push([subscription?.endpoint, replaces]),
          }});
          const {{ endpoint }} = await push.subscribe();
          await push.unsubscribe();
          return told.map((one) => one.map((value) => value === endpoint ? "endpoint" : value ?? null));
        }})()"""
    )
    assert told == [["endpoint", None], [None, "endpoint"]]
    assert app.site.subscriptions.empty()


# Chromium keeps this event to itself unless a flag is set, and a worker may not prolong an event that it made itself:
# so a likeness is dispatched in the worker, with what a browser would have put into it.
SUBSCRIPTION_CHANGES = """(async () => {
  const oldSubscription = await registration.pushManager.getSubscription();
  await oldSubscription.unsubscribe();
  let handled;
  const waitUntil = (promise) => { handled = promise; };
  dispatchEvent(Object.assign(new Event("pushsubscriptionchange"), { oldSubscription, waitUntil }));
  await handled;
  return (await registration.pushManager.getSubscription())?.endpoint;
})()"""


async def test_the_worker_replaces_a_subscription_that_the_browser_dropped(app: App) -> None:
    await app.client()
    before = await app.subscribe()
    endpoint = await (await app.worker()).run(SUBSCRIPTION_CHANGES)
    told = await app.site.told()
    assert (told["subscription"]["endpoint"], told["replaces"]) == (endpoint, before["endpoint"])
    assert endpoint != before["endpoint"]


async def test_the_worker_tells_of_a_permission_taken_back(app: App) -> None:
    await app.client()
    before = await app.subscribe()
    await app.permit("denied")
    assert await (await app.worker()).run(SUBSCRIPTION_CHANGES) is None
    assert await app.site.told() == {"subscription": None, "replaces": before["endpoint"]}


async def test_the_worker_leaves_telling_to_an_app_that_does_so_itself(app: App) -> None:
    await app.page.run(
        f"""(async () => {{
          globalThis.changed = new Promise((done) => {{
            globalThis.push = new PushClient({{
              applicationServerKey: "{APPLICATION_SERVER_KEY}",
              async subscriptions({{ subscription, replaces }}) {{
                if (replaces) done([subscription.endpoint, replaces]);
              }},
            }});
          }});
          globalThis.before = (await push.subscribe()).endpoint;
        }})()"""
    )
    endpoint = await (await app.worker()).run(SUBSCRIPTION_CHANGES)
    assert await app.page.run("changed") == [endpoint, await app.page.run("before")]
