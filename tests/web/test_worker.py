"""The service worker in a real browser: what it shows, what a click does, and what the backend hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pushrpc.content import Content
from tests.web.conftest import App
from tests.web.desktop import BODY, Desktop, Shown
from tests.web.samples import ID, OURS, message

pytestmark = pytest.mark.asyncio(loop_scope="session")

IN_BACKGROUND = "new Promise((done) => document.hidden ? done() : document.addEventListener('visibilitychange', done))"
IN_FRONT = "new Promise((done) => document.hidden ? document.addEventListener('visibilitychange', done) : done())"


async def on_screen(app: App, desktop: Desktop, **changed: str) -> Shown:
    """A message of ours, with these fields of its content, that has been shown, and reported so."""
    await app.client()
    await app.subscribe()
    await app.deliver(message(**changed))
    assert (await app.site.reported(2)).keys() == {"RECEIVED", "DISPLAYED"}
    return await desktop.notification(lambda shown: shown.title == OURS["title"])


async def shows_ours(app: App) -> None:
    """All that the provider has put in."""
    (shown,) = await app.notifications()
    assert {name: shown[name] for name in OURS} == OURS


async def test_our_message_is_shown_and_reported(app: App) -> None:
    await app.client()
    endpoint = (await app.subscribe())["endpoint"]
    await app.deliver(message())
    reports = await app.site.reported(2)
    assert reports.keys() == {"RECEIVED", "DISPLAYED"}
    for report in reports.values():
        assert (report["notification_id"], report["endpoint"]) == (ID, endpoint)
        assert datetime.now(UTC) - datetime.fromisoformat(report["time"]) < timedelta(minutes=1)
    await shows_ours(app)


async def test_a_silent_message_is_shown_without_a_sound(app: App) -> None:
    await app.client()
    await app.subscribe()
    await app.deliver(message(Content(silent=True, data={"order_id": "1234"})))
    assert (await app.site.reported(2)).keys() == {"RECEIVED", "DISPLAYED"}
    (shown,) = await app.notifications()
    assert (shown["title"], shown["silent"], shown["data"]["order_id"]) == ("localhost", True, "1234")


@pytest.mark.parametrize(
    ("foreign", "title", "body"),
    [
        ("", "localhost", ""),
        ("plain text", "localhost", "plain text"),
        ('["a list"]', "localhost", '["a list"]'),
        ("null", "localhost", "null"),
        ('{"body": "no title"}', "localhost", "no title"),
        ('{"title": 7, "body": "odd title", "data": "odd data"}', "localhost", "odd title"),
        ('{"title": "Refused", "body": "option", "renotify": true}', "Refused", "option"),
        ('{"title": "Wrong", "body": "type", "actions": 5}', "Wrong", "type"),
    ],
)
async def test_what_is_not_ours_is_shown_all_the_same(
    app: App, desktop: Desktop, foreign: str, title: str, body: str
) -> None:
    await app.client()
    await app.subscribe()
    await app.deliver(foreign)
    shown = await desktop.notification(lambda shown: shown.title == title)
    assert [(one["title"], one["body"]) for one in await app.notifications()] == [(title, body)]
    await desktop.click(shown)
    await app.deliver(message())
    # The first reports are those of the message that has an id.
    assert (await app.site.reported(2)).keys() == {"RECEIVED", "DISPLAYED"}


async def test_an_option_that_the_browser_refuses_costs_neither_notification_nor_report(
    app: App, desktop: Desktop
) -> None:
    # A TypeError: a silent notification cannot shake the device.
    await on_screen(app, desktop, web_push_json='{"silent": true, "vibrate": [200]}')
    (shown,) = await app.notifications()
    assert (shown["title"], shown["body"], shown["data"]) == (OURS["title"], OURS["body"], OURS["data"])


@pytest.mark.parametrize("action", [BODY, "0"], ids=["notification", "button"])
async def test_a_click_opens_the_link_and_reports(app: App, desktop: Desktop, action: str) -> None:
    shown = await on_screen(app, desktop)
    assert shown.actions.items() >= {(BODY, "Activate"), ("0", "Track it")}
    await desktop.click(shown, action)
    await app.browser.shows(f"{app.site.origin}/order.html")
    assert (await app.site.reported(1))["OPENED"]["notification_id"] == ID
    assert await app.notifications() == []


async def test_a_click_opens_another_site_by_https(app: App, desktop: Desktop) -> None:
    link = f"https://example.com/{app.site.origin.rpartition(':')[2]}"
    shown = await on_screen(app, desktop, link=link)
    await desktop.click(shown)
    await app.browser.shows(link)
    assert (await app.site.reported(1)).keys() == {"OPENED"}


async def test_a_click_on_what_is_open_brings_it_to_the_front(app: App, desktop: Desktop) -> None:
    order = await app.browser.open(f"{app.site.origin}/order.html")
    await app.page.call("Page.bringToFront")
    await order.run(IN_BACKGROUND)
    await desktop.click(await on_screen(app, desktop))
    assert (await app.site.reported(1)).keys() == {"OPENED"}
    await order.run(IN_FRONT)
    assert len(await app.browser.targets("page", app.site.origin)) == 2


@pytest.mark.parametrize(
    "link", ["", "http://example.com/", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//:"]
)
async def test_without_a_link_it_may_open_the_app_comes_to_the_front(app: App, desktop: Desktop, link: str) -> None:
    shown = await on_screen(app, desktop, link=link)
    await app.browser.open(f"{app.site.other_origin}/order.html")
    await app.page.run(IN_BACKGROUND)
    before = await app.browser.targets("page")
    await desktop.click(shown)
    assert (await app.site.reported(1)).keys() == {"OPENED"}
    await app.page.run(IN_FRONT)
    assert len(await app.browser.targets("page")) == len(before)


async def test_without_a_link_and_without_a_window_the_app_is_opened(app: App, desktop: Desktop) -> None:
    shown = await on_screen(app, desktop, link="")
    await app.browser.close_pages(app.site.origin)
    await desktop.click(shown)
    await app.browser.shows(f"{app.site.origin}/")


async def test_putting_it_away_is_reported(app: App, desktop: Desktop) -> None:
    shown = await on_screen(app, desktop)
    await desktop.dismiss(shown)
    assert (await app.site.reported(1))["DISMISSED"]["notification_id"] == ID
    assert await app.notifications() == []


async def test_a_click_is_no_dismissal(app: App, desktop: Desktop) -> None:
    await desktop.click(await on_screen(app, desktop))
    assert (await app.site.reported(1)).keys() == {"OPENED"}
    await app.deliver(message())
    # Whatever the first notification still had to say would come before this.
    assert (await app.site.reported(2)).keys() == {"RECEIVED", "DISPLAYED"}


async def test_a_lost_report_costs_nothing(app: App, desktop: Desktop) -> None:
    await app.client(engagements="http://localhost:9/nobody-listens")
    await app.subscribe()
    await app.deliver(message())
    await desktop.click(await desktop.notification(lambda shown: shown.title == OURS["title"]))
    await app.browser.shows(f"{app.site.origin}/order.html")


async def test_reports_are_the_apps_choice(app: App, desktop: Desktop) -> None:
    await app.client(engagements="")
    await app.subscribe()
    await app.deliver(message())
    await desktop.click(await desktop.notification(lambda shown: shown.title == OURS["title"]))
    await app.browser.shows(f"{app.site.origin}/order.html")
    assert app.site.engagements.empty()


async def test_an_apps_own_worker_draws_ours_in(app: App) -> None:
    await app.client(worker="/own-worker.js")
    await app.subscribe()
    await app.deliver(message())
    assert (await app.site.reported(2)).keys() == {"RECEIVED", "DISPLAYED"}
    await shows_ours(app)
