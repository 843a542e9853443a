"""Microsoft: what is sent to which channel, to the byte, and what every documented answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import WnsAccount
from pushrpc.content import Content, WnsOptions
from pushrpc.exchange import Endpoint, Headers, Requests, Response
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Scope
from pushrpc.providers import AccountError, MessageRefused, open_account
from pushrpc.providers.wns import Wns
from pushrpc.providers.wns_message import kind_of, xml_problem
from pushrpc.words import (
    Cause,
    Environment,
    HubPlatform,
    OutcomeKind,
    Priority,
    Provider,
    RejectReason,
    TokenKind,
    WnsType,
)
from tests.providers.conftest import Keys
from tests.providers.samples import (
    HOUR_US,
    NOTIFICATION_ID,
    NOW_US,
    body_of,
    claimed,
    headers_of,
    legal,
    notification,
    refused,
)
from tests.providers.strategies import WINDOWS_NOTIFICATIONS

ORIGIN = "https://db5p.notify.windows.com"
CHANNEL = f"{ORIGIN}/?token=AwYAAAB%2fQ%2bU%3d"
SID = "ms-app://s-1-15-2-1"
SECRET = "s3cr+t/&="


@pytest.fixture(scope="session")
def account(keys: Keys) -> WnsAccount:
    (keys.directory / "wns.secret").write_text(SECRET + "\n")
    return WnsAccount("shop", SID, keys.file("wns.secret"))


@pytest.fixture(scope="session")
def wns(account: WnsAccount) -> Wns:
    return Wns(account)


def lane(origin: str = ORIGIN) -> Lane:
    return Lane("shop", Provider.WNS, SID, Environment.UNSPECIFIED, origin)


def prepared(wns: Wns, *deliveries: Claimed, now_us: int = NOW_US) -> Requests:
    return wns.prepare(Batch(lane(), deliveries), b"Bearer t", now_us)


def sent(wns: Wns, content: Content, now_us: int = NOW_US, **given_values: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body that content becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    wns.check_message(of)
    requests = prepared(wns, claimed(of, CHANNEL), now_us=now_us)
    headers = {name.decode(): value.decode() for name, value in headers_of(requests, requests.rows[0])}
    return headers, body_of(requests, requests.rows[0])


def xml_of(wns: Wns, content: Content) -> Element:
    return fromstring(sent(wns, content)[1])


def arguments(text: str | None) -> dict[str, list[str]]:
    return parse_qs(text or "", strict_parsing=True)


def problem_of(wns: Wns, content: Content) -> MessageRefused:
    with pytest.raises(MessageRefused) as raised:
        wns.check_message(notification(content))
    return raised.value


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_whole_request(wns: Wns) -> None:
    content = Content(
        title="Order <1> shipped",
        body='It is "on" & off',
        image_url="https://img.example/1.png?a=1&b=2",
        link="https://shop.example/orders/1?x=1&y",
        sound="default",
        data={"order_id": "12 34", "ü": "&=?"},
        wns=WnsOptions(tag="order1234", group="orders"),
    )
    requests = prepared(wns, claimed(notification(content), CHANNEL, ordinal=5))
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"db5p.notify.windows.com")
    assert template.headers == (
        (b"authorization", b"Bearer t"),
        (b"content-type", b"text/xml"),
        (b"x-wns-type", b"wns/toast"),
        (b"x-wns-requestforstatus", b"true"),
        (b"x-wns-ttl", b"3600"),
        (b"x-wns-priority", b"1"),
        (b"x-wns-tag", b"order1234"),
        (b"x-wns-group", b"orders"),
    )
    assert (row.path, row.headers, row.body, row.covers) == (b"/?token=AwYAAAB%2fQ%2bU%3d", (), None, (0,))
    assert not requests.status_only
    toast = fromstring(template.body or b"")
    assert toast.tag == "toast"
    assert arguments(toast.get("launch")) == {
        "link": ["https://shop.example/orders/1?x=1&y"],
        "order_id": ["12 34"],
        "ü": ["&=?"],
        "notification_id": [NOTIFICATION_ID],
    }
    (binding,) = toast.findall("visual/binding")
    assert binding.get("template") == "ToastGeneric"
    assert [text.text for text in binding.findall("text")] == ["Order <1> shipped", 'It is "on" & off']
    image = binding.find("image")
    assert image is not None
    assert image.attrib == {"placement": "hero", "src": "https://img.example/1.png?a=1&b=2"}
    audio = toast.find("audio")
    assert audio is not None
    assert audio.attrib == {"src": "ms-winsoundevent:Notification.Default"}


def test_the_plainest_toast_to_the_byte(wns: Wns) -> None:
    assert (
        sent(wns, Content(title="Hi"))[1]
        == (
            f'<toast launch="notification_id={NOTIFICATION_ID}"><visual><binding template="ToastGeneric">'
            "<text>Hi</text></binding></visual></toast>"
        ).encode()
    )


def test_a_batch_of_many_notifications_shares_what_is_the_same(wns: Wns) -> None:
    other_id = "0193f2a4-5b6c-7d8e-9fa0-000000000001"
    first, second = notification(), notification(notification_id=other_id)
    order = [first, second, first, first, second]
    requests = prepared(wns, *(claimed(of, f"{ORIGIN}/?token={i}", i) for i, of in enumerate(order)))
    assert len(requests.templates) == 2
    assert [row.path for row in requests.rows] == [b"/?token=%d" % i for i in range(5)]
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]
    for row, of in zip(requests.rows, order, strict=True):
        assert of.notification_id.encode() in body_of(requests, row)


def test_without_a_credential_no_header_is_made_up(wns: Wns) -> None:
    requests = wns.prepare(Batch(lane(), [claimed(notification(), CHANNEL)]), None, NOW_US)
    assert b"authorization" not in dict(requests.templates[0].headers)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (Content(title="t"), WnsType.TOAST),
        (Content(body="b", badge=3), WnsType.TOAST),
        (Content(image_url="https://x.example/1.png"), WnsType.TOAST),
        (Content(badge=0), WnsType.BADGE),
        (Content(badge=3, image_url="https://x.example/1.png"), WnsType.BADGE),
        (Content(silent=True, data={"k": "v"}), WnsType.RAW),
        (Content(data={"k": "v"}), WnsType.RAW),
        (Content(title_loc_key="TITLE"), WnsType.RAW),
        (Content(title="t", wns=WnsOptions(raw=b"\x00")), WnsType.RAW),
        (Content(title="t", wns=WnsOptions(WnsType.TILE)), WnsType.TILE),
        (Content(badge=1, wns=WnsOptions(WnsType.RAW)), WnsType.RAW),
        (Content(wns_xml="<tile/>"), WnsType.TILE),
        (Content(silent=True, wns_xml='<?xml version="1.0" encoding="UTF-8"?><badge value="alert"/>'), WnsType.BADGE),
        (Content(title="t", wns_xml="<toast/>", wns=WnsOptions(WnsType.TOAST)), WnsType.TOAST),
    ],
)
def test_the_type_follows_from_what_is_set(wns: Wns, content: Content, kind: WnsType) -> None:
    headers, _ = sent(wns, content)
    assert headers["x-wns-type"] == f"wns/{kind.name.lower()}"
    assert headers["content-type"] == ("application/octet-stream" if kind is WnsType.RAW else "text/xml")


def test_a_tile_has_its_arguments_and_two_sizes(wns: Wns) -> None:
    tile = xml_of(wns, Content(title="t", body="b", image_url="https://x.example/1.png", wns=WnsOptions(WnsType.TILE)))
    (visual,) = tile
    assert arguments(visual.get("arguments")) == {"notification_id": [NOTIFICATION_ID]}
    assert [binding.get("template") for binding in visual] == ["TileMedium", "TileWide"]
    assert [[part.tag for part in binding] for binding in visual] == [["text", "text", "image"]] * 2


@pytest.mark.parametrize("badge", [0, 7, 100])
def test_a_badge_is_its_number(wns: Wns, badge: int) -> None:
    assert sent(wns, Content(badge=badge))[1] == b'<badge value="%d" />' % badge


def test_a_silent_message_is_json_for_the_app(wns: Wns) -> None:
    _, body = sent(wns, Content(silent=True, link="app://x", data={"order_id": "1", "ü": "ä"}))
    assert json.loads(body) == {"notification_id": NOTIFICATION_ID, "link": "app://x", "order_id": "1", "ü": "ä"}


def test_a_raw_body_of_ours_holds_all_that_the_app_needs_to_show_it(wns: Wns) -> None:
    content = Content(
        title="t",
        badge=0,
        body_loc_key="BODY",
        body_loc_args=("a", "b"),
        wns=WnsOptions(WnsType.RAW),
        data={"title": "own"},
    )
    assert json.loads(sent(wns, content)[1]) == {
        "title": "own",
        "badge": 0,
        "body_loc_key": "BODY",
        "body_loc_args": ["a", "b"],
        "notification_id": NOTIFICATION_ID,
    }


def test_the_callers_bytes_and_xml_go_out_as_they_are(wns: Wns) -> None:
    raw = bytes(range(256))
    assert sent(wns, Content(wns=WnsOptions(raw=raw)))[1] == raw
    xml = "<toast launch='a=1'>\r\n <visual><!-- ü --></visual></toast>"
    assert sent(wns, Content(title="ignored", wns_xml=xml))[1] == xml.encode()


@pytest.mark.parametrize(
    ("sound", "src"),
    [
        ("default", "ms-winsoundevent:Notification.Default"),
        ("ms-winsoundevent:Notification.Mail", "ms-winsoundevent:Notification.Mail"),
        ("ms-appx:///Sounds/ping.wav", "ms-appx:///Sounds/ping.wav"),
        ("ping.wav", "ms-appx:///ping.wav"),
    ],
)
def test_sounds(wns: Wns, sound: str, src: str) -> None:
    audio = xml_of(wns, Content(title="t", sound=sound)).find("audio")
    assert audio is not None
    assert audio.get("src") == src


def test_what_xml_has_no_form_for_is_left_out(wns: Wns) -> None:
    text = xml_of(wns, Content(title="a\x00b\x1bc\ufffed\U0001f600\te")).findtext("visual/binding/text")
    assert text == "abcd\U0001f600\te"


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expire_us", "ttl"),
    [(NOW_US + HOUR_US, "3600"), (NOW_US + HOUR_US - 1, "3599"), (NOW_US + 400_000, "1"), (NOW_US - HOUR_US, "1")],
)
def test_the_time_to_live_is_what_remains(wns: Wns, expire_us: int, ttl: str) -> None:
    assert sent(wns, Content(title="t"), expire_us=expire_us)[0]["x-wns-ttl"] == ttl


@pytest.mark.parametrize(
    ("priority", "value"),
    [(Priority.HIGH, "1"), (Priority.NORMAL, "2"), (Priority.LOW, "3"), (Priority.UNSPECIFIED, None)],
)
def test_priorities(wns: Wns, priority: Priority, value: str | None) -> None:
    assert sent(wns, Content(title="t"), priority=priority)[0].get("x-wns-priority") == value


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (WnsType.TOAST, {"x-wns-tag", "x-wns-group"}),
        (WnsType.TILE, {"x-wns-tag", "x-wns-cache-policy"}),
        (WnsType.BADGE, {"x-wns-cache-policy"}),
        (WnsType.RAW, {"x-wns-cache-policy"}),
    ],
)
def test_each_type_gets_the_headers_that_it_has(wns: Wns, kind: WnsType, names: set[str]) -> None:
    content = Content(title="t", badge=1, wns=WnsOptions(kind, tag="a1", group="b2", cache=True))
    headers, _ = sent(wns, content)
    assert headers.keys() & {"x-wns-tag", "x-wns-group", "x-wns-cache-policy"} == names


@pytest.mark.parametrize(
    ("cache", "one_try", "policy"),
    [
        (None, False, None),
        (None, True, "no-cache"),
        (True, True, "cache"),
        (True, False, "cache"),
        (False, False, "no-cache"),
    ],
)
def test_the_cache_policy(wns: Wns, cache: bool | None, one_try: bool, policy: str | None) -> None:
    headers, _ = sent(wns, Content(badge=1, wns=WnsOptions(cache=cache)), one_try=one_try)
    assert headers.get("x-wns-cache-policy") == policy


@pytest.mark.parametrize(
    ("collapse_key", "tag"),
    [("order1234", "order1234"), ("order-1234", None), ("x" * 17, None), ("", ""), ("é", None)],
)
def test_a_collapse_key_becomes_the_tag(wns: Wns, collapse_key: str, tag: str | None) -> None:
    told = sent(wns, Content(title="t"), collapse_key=collapse_key)[0].get("x-wns-tag", "")
    again = sent(wns, Content(title="u"), collapse_key=collapse_key)[0].get("x-wns-tag", "")
    assert told == again
    assert told == tag if tag is not None else len(told) == 16 and told.isalnum() and told != collapse_key[:16]


def test_the_callers_tag_comes_before_the_collapse_key(wns: Wns) -> None:
    headers, _ = sent(wns, Content(title="t", wns=WnsOptions(tag="mine")), collapse_key="key")
    assert headers["x-wns-tag"] == "mine"


# --- limits ------------------------------------------------------------------------------------------------------


def of_size(size: int, **options: Any) -> Content:
    plain = f'<toast launch="notification_id={NOTIFICATION_ID}"><visual><binding template="ToastGeneric"><text></text>'
    rest = len(plain) + len("</binding></visual></toast>")
    return Content(body="x" * (size - rest), **options)


def test_the_limit_is_exact(wns: Wns) -> None:
    assert len(sent(wns, of_size(5000))[1]) == 5000
    problem = problem_of(wns, of_size(5001))
    assert problem.reason is RejectReason.PAYLOAD_TOO_LARGE
    assert "has 5001 bytes, 1 more than the 5000 allowed" in problem.detail


@pytest.mark.parametrize(
    ("fits", "too_large"),
    [
        (Content(wns=WnsOptions(raw=b"x" * 5000)), Content(wns=WnsOptions(raw=b"x" * 5001))),
        (
            Content(wns_xml=f"<toast>{'é' * 2492}x</toast>"),
            Content(wns_xml=f"<toast>{'é' * 2493}</toast>"),
        ),
    ],
    ids=["raw", "xml"],
)
def test_the_limit_of_the_callers_own(wns: Wns, fits: Content, too_large: Content) -> None:
    assert len(sent(wns, fits)[1]) == 5000
    assert problem_of(wns, too_large).reason is RejectReason.PAYLOAD_TOO_LARGE


def test_escapes_count(wns: Wns) -> None:
    assert problem_of(wns, Content(body="<" * 1300)).reason is RejectReason.PAYLOAD_TOO_LARGE
    assert problem_of(wns, Content(title="t", data={"k": "é" * 900})).reason is RejectReason.PAYLOAD_TOO_LARGE


def test_a_body_is_cut_only_when_asked_and_by_as_little_as_will_do(wns: Wns) -> None:
    content = Content(title="t", body="<é" * 1000, truncate=True)
    _, body = sent(wns, content)
    text = fromstring(body).findall("visual/binding/text")[1].text or ""
    assert text.endswith("…")
    assert content.body.startswith(text[:-1])
    assert 5000 - len("&lt;") < len(body) <= 5000
    preview = wns.preview(notification(content), NO_ADDRESS, NOW_US)
    assert (preview.truncated, preview.size_bytes) == (("message.body",), len(body))
    small = wns.preview(notification(Content(title="t", truncate=True)), NO_ADDRESS, NOW_US)
    assert small.truncated == ()


# --- what cannot be sent -----------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE toast [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><toast>&b;</toast>'


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        (BOMB, "DOCTYPE"),
        ('<!DOCTYPE toast SYSTEM "file:///etc/passwd"><toast/>', "DOCTYPE"),
        ("<toast>&undefined;</toast>", "not well-formed"),
        ("<toast>", "not well-formed"),
        ("<toast/><toast/>", "not well-formed"),
        ("toast", "not well-formed"),
        ("<toast a='1' a='2'/>", "not well-formed"),
        ("<toast>\x01</toast>", "not well-formed"),
        ("<toast>\ud800</toast>", "surrogates"),
        ("<message/>", "not toast, tile or badge"),
        ("<t:toast xmlns:t='x'/>", "not toast, tile or badge"),
        ('<?xml version="1.0" encoding="utf-16"?><toast/>', "another encoding"),
    ],
)
def test_xml_that_is_none(wns: Wns, xml: str, problem: str) -> None:
    assert problem in xml_problem(xml)
    told = problem_of(wns, Content(wns_xml=xml))
    assert told.reason is RejectReason.FIELD_MISSING
    assert told.detail.startswith("wns_xml: ")
    assert problem in told.detail


@pytest.mark.parametrize("xml", ["<toast/>", "<tile/>", "<badge value='none'/>", "<toast>&amp;&#x41;</toast>"])
def test_xml_that_will_do(xml: str) -> None:
    assert xml_problem(xml) == ""


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (Content(wns=WnsOptions(WnsType.BADGE), title="t"), "a badge needs"),
        (Content(wns=WnsOptions(WnsType.TOAST), data={"k": "v"}), "a toast needs"),
        (Content(wns=WnsOptions(WnsType.TILE), badge=1), "a tile needs"),
        (Content(wns_xml="<toast/>", wns=WnsOptions(WnsType.TILE)), "is a toast, and wns.type is TILE"),
        (Content(wns_xml="<toast/>", wns=WnsOptions(WnsType.RAW)), "is a toast, and wns.type is RAW"),
        (Content(wns_xml="<toast/>", wns=WnsOptions(raw=b"x")), "one body"),
        (Content(title="t", wns=WnsOptions(tag="a-b")), "wns.tag"),
        (Content(title="t", wns=WnsOptions(tag="x" * 17)), "wns.tag"),
        (Content(title="t", wns=WnsOptions(group="a\r\nx: y")), "wns.group"),
    ],
)
def test_messages_that_windows_has_no_form_for(wns: Wns, content: Content, word: str) -> None:
    told = problem_of(wns, content)
    assert told.reason is RejectReason.FIELD_MISSING
    assert word in told.detail


@given(of=WINDOWS_NOTIFICATIONS)
def test_what_passes_the_check_can_be_sent(wns: Wns, of: Notification) -> None:
    try:
        wns.check_message(of)
    except MessageRefused:
        return
    # A notification that no check has gone before, as after a restart, comes out the same.
    checked, fresh = (prepared(wns, claimed(each, CHANNEL)) for each in (of, replace(of, notification_id="x" * 36)))
    headers, body = headers_of(checked, checked.rows[0]), body_of(checked, checked.rows[0])
    assert legal(headers)
    assert headers == headers_of(fresh, fresh.rows[0])
    assert 0 < len(body) <= 5000
    if kind_of(of.content) is not WnsType.RAW:
        assert fromstring(body).tag == kind_of(of.content).name.lower()
    preview = wns.preview(of, NO_ADDRESS, NOW_US)
    assert [(b"authorization", b"Bearer t"), *((n.encode(), v.encode()) for n, v in preview.headers)] == list(headers)
    assert preview.size_bytes == len(body)


def test_a_preview_tells_what_is_not_carried(wns: Wns) -> None:
    def dropped(content: Content) -> Sequence[str]:
        return wns.preview(notification(content), NO_ADDRESS, NOW_US).dropped

    full = Content(title="t", body="b", subtitle="s", badge=0, category="c", thread_id="t", sound="default", link="l")
    assert set(dropped(full)) == {f"message.{name}" for name in ("subtitle", "badge", "category", "thread_id")}
    tile = replace(full, wns=WnsOptions(WnsType.TILE, group="g", cache=False))
    assert set(dropped(tile)) - set(dropped(full)) == {"message.sound", "message.wns.group"}
    assert dropped(Content(badge=1, wns=WnsOptions(tag="a", group="b"))) == ("message.wns.tag", "message.wns.group")
    assert dropped(replace(full, wns=WnsOptions(WnsType.RAW))) == ()
    own = ("message.title", "message.link")
    assert set(dropped(Content(title="t", link="l", wns_xml="<toast/>"))) == set(own)
    assert set(dropped(Content(title="t", link="l", wns=WnsOptions(raw=b"x")))) == set(own)
    cached = Content(title="t", wns=WnsOptions(WnsType.TOAST, raw=b"x", cache=False))
    assert dropped(cached) == ("message.wns.raw", "message.wns.cache")


def test_a_preview_shows_headers_without_the_credential_and_the_body(wns: Wns) -> None:
    preview = wns.preview(notification(Content(title="ü")), NO_ADDRESS, NOW_US)
    assert ("x-wns-type", "wns/toast") in preview.headers
    assert "authorization" not in dict(preview.headers)
    assert "<text>ü</text>" in preview.payload
    assert (preview.limit_bytes, preview.dropped) == (5000, ())


# --- tokens, addresses and where they lead -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "origin"),
    [
        (CHANNEL, ORIGIN),
        ("https://bn1.notify.windows.com/?token=x", "https://bn1.notify.windows.com"),
        ("HTTPS://BN1.Notify.Windows.COM:443/w/?token=x", "https://bn1.notify.windows.com"),
        ("https://a.b-c.notify.windows.com?token=x", "https://a.b-c.notify.windows.com"),
        (f"{ORIGIN}/?token=" + "x" * (4096 - len(ORIGIN) - 8), ORIGIN),
    ],
)
def test_channels(wns: Wns, token: str, origin: str) -> None:
    assert wns.token_problem(token, CHANNEL) is None
    assert wns.origin(token) == origin
    assert wns.endpoint(lane(origin)) == Endpoint(origin.removeprefix("https://"), 443, http2=False)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", RejectReason.TOKEN_MALFORMED),
        ("ab" * 32, RejectReason.TOKEN_MALFORMED),
        ("https://", RejectReason.TOKEN_MALFORMED),
        (ORIGIN, RejectReason.TOKEN_MALFORMED),
        (f"{ORIGIN}/", RejectReason.TOKEN_MALFORMED),
        (f"{CHANNEL}#x", RejectReason.TOKEN_MALFORMED),
        (f"{CHANNEL}\n", RejectReason.TOKEN_MALFORMED),
        (f" {CHANNEL}", RejectReason.TOKEN_MALFORMED),
        (f"{CHANNEL} HTTP/1.1\r\nx: y", RejectReason.TOKEN_MALFORMED),
        (f"{CHANNEL}é", RejectReason.TOKEN_MALFORMED),
        (f"{ORIGIN}/?token=" + "x" * 4096, RejectReason.TOKEN_MALFORMED),
        (CHANNEL.replace("https", "http"), RejectReason.ENDPOINT_FORBIDDEN),
        (CHANNEL.replace("https", "wss"), RejectReason.ENDPOINT_FORBIDDEN),
        ("https://example.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://notify.windows.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://evilnotify.windows.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://x.notify.windows.com.example.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://example.com/?u=https://x.notify.windows.com/", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://example.com?.notify.windows.com", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://example.com\\@x.notify.windows.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://user@x.notify.windows.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://x.notify.windows.com@example.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://x.notify.windows.com:8443/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://x.notify.windows.com:/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://x.notify.windows.com./?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://..notify.windows.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://ſ.notify.windowſ.com/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://127.0.0.1/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https://[::1]/?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("https:///?token=x", RejectReason.ENDPOINT_FORBIDDEN),
        ("http://db3.notify.live.net/throttledthirdparty/01.00/AQG", RejectReason.PROVIDER_RETIRED),
        ("https://S.Notify.Live.Net/unthrottledthirdparty/01.00/AQG", RejectReason.PROVIDER_RETIRED),
    ],
)
def test_addresses_that_are_no_channel(wns: Wns, token: str, reason: RejectReason) -> None:
    problem = wns.token_problem(CHANNEL, token, CHANNEL)
    assert problem is not None
    assert problem.reason is reason
    assert len(token) < 10 or token not in problem.detail


def test_a_channel_of_mpns_is_told_what_took_its_place(wns: Wns) -> None:
    assert "WNS" in refused(wns.token_problem("http://db3.notify.live.net/throttledthirdparty/01.00/AQG"))


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "https://example.com",
        "https://127.0.0.1",
        "http://x.example",
        "https://x.notify.windows.com:8443",
        "nonsense",
    ],
)
def test_lanes_that_lead_elsewhere_have_no_endpoint(wns: Wns, origin: str) -> None:
    assert wns.endpoint(lane(origin)) is None


def test_a_configured_endpoint_stands_for_every_host(account: WnsAccount, keys: Keys) -> None:
    pointed = Wns(replace(account, endpoint="https://[::1]:1234", ca_file=keys.file("cert.pem")))
    own = "https://[::1]:1234/?token=a%2fb"
    assert pointed.token_problem(own, CHANNEL) is None
    assert pointed.origin(own) == "https://[::1]:1234"
    here = Endpoint("::1", 1234, keys.file("cert.pem"), http2=False)
    assert pointed.endpoint(lane("https://[::1]:1234")) == pointed.endpoint(lane(ORIGIN)) == here
    assert pointed.endpoint(lane("https://[::1]:1235")) is None
    assert pointed.endpoint(lane("https://example.com")) is None
    for other in ("https://[::1]:1235/?token=x", "https://[::1]/?token=x", "http://[::1]:1234/?token=x"):
        problem = pointed.token_problem(other)
        assert problem is not None
        assert problem.reason is RejectReason.ENDPOINT_FORBIDDEN
    batch = Batch(lane("https://[::1]:1234"), [claimed(notification(), own)])
    requests = pointed.prepare(batch, None, NOW_US)
    assert (requests.templates[0].authority, requests.rows[0].path) == (b"[::1]:1234", b"/?token=a%2fb")


@given(rest=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40))
def test_a_channels_path_is_never_written_anew(wns: Wns, rest: str) -> None:
    token = f"{ORIGIN}/{rest}x"
    assert wns.token_problem(token) is None
    assert prepared(wns, claimed(notification(), token)).rows[0].path == f"/{rest}x".encode()


@given(token=st.text(max_size=60) | st.text(max_size=30).map(lambda t: f"https://{t}.notify.windows.com/?token={t}"))
def test_any_text_is_a_channel_or_told_why_not(wns: Wns, token: str) -> None:
    problem = wns.token_problem(token)
    if problem is None:
        host = wns.origin(token).removeprefix("https://")
        assert host.endswith(".notify.windows.com")
        assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_a_channel_needs_nothing_beside_it(wns: Wns) -> None:
    assert wns.address_problem(CHANNEL, NO_ADDRESS) is None
    assert "channel URI alone" in refused(wns.address_problem(CHANNEL, Address(platform=HubPlatform.WNS)))
    assert wns.token_kind(notification()) is TokenKind.STANDARD


# --- settings and credentials ------------------------------------------------------------------------------------


def renewal(account: WnsAccount) -> tuple[str, dict[str, list[str]]]:
    credential = Wns(account).credential
    assert credential is not None
    request = credential.renewal(NOW_US)
    assert request is not None
    assert (request.method, request.headers) == ("POST", ((b"content-type", b"application/x-www-form-urlencoded"),))
    return request.url, parse_qs(request.body.decode(), strict_parsing=True)


def test_partner_centers_credentials(account: WnsAccount) -> None:
    form = {
        "grant_type": ["client_credentials"],
        "client_id": [SID],
        "client_secret": [SECRET],
        "scope": ["notify.windows.com"],
    }
    assert renewal(account) == ("https://login.live.com/accesstoken.srf", form)
    pointed = replace(account, endpoint="https://localhost:99")
    assert renewal(pointed) == ("https://localhost:99/accesstoken.srf", form)


def test_entras_credentials(account: WnsAccount) -> None:
    of_entra = replace(account, client_id="6d1b-11ec", tenant_id="contoso.example")
    url, form = renewal(of_entra)
    assert url == "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    assert (form["client_id"], form["scope"]) == (["6d1b-11ec"], ["https://wns.windows.com/.default"])
    pointed = replace(of_entra, endpoint="https://localhost:99")
    assert renewal(pointed)[0] == "https://localhost:99/contoso.example/oauth2/v2.0/token"


@pytest.mark.parametrize("expires_in", [86400, "86399"])
def test_an_access_token_serves_its_day(account: WnsAccount, expires_in: object) -> None:
    credential = Wns(account).credential
    assert credential is not None
    assert credential.current(NOW_US) is None
    body = json.dumps({"access_token": "EgAc/+=", "token_type": "bearer", "expires_in": expires_in}).encode()
    assert credential.renewed(Response(200, (), body), NOW_US) is None
    assert credential.current(NOW_US + 86_398_000_000) == b"Bearer EgAc/+="
    assert credential.current(NOW_US + 86_400_000_000) is None
    assert NOW_US < credential.renew_at_us() < NOW_US + 86_399_000_000


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b'{"error":"invalid_client","error_description":"Invalid client id"}', "invalid_client"),
        (401, b'{"error":"invalid_client","error_description":"AADSTS7000215"}', "invalid_client"),
    ],
    ids=["Partner Center", "Entra"],
)
def test_a_refused_secret_is_a_refused_credential(account: WnsAccount, status: int, body: bytes, reason: str) -> None:
    credential = Wns(account).credential
    assert credential is not None
    outcome = credential.renewed(Response(status, (), body), NOW_US)
    assert outcome is not None
    assert (outcome.kind, outcome.reason) == (OutcomeKind.CREDENTIAL_REFUSED, reason)


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"client_id": "6d1b-11ec"}, "client_id"),
        ({"tenant_id": "contoso"}, "tenant_id"),
        ({"client_id": "6d1b", "tenant_id": "a/../b"}, "tenant_id"),
        ({"client_secret_file": "/nowhere"}, "client_secret_file"),
        ({"endpoint": "http://localhost"}, "endpoint"),
        ({"ca_file": "/nowhere"}, "ca_file"),
    ],
)
def test_settings_that_cannot_be_used(account: WnsAccount, change: dict[str, str], setting: str) -> None:
    with pytest.raises(AccountError) as raised:
        open_account(replace(account, **change))
    assert raised.value.setting == setting
    assert SECRET not in str(raised.value)


def test_open_account_opens_it(account: WnsAccount) -> None:
    opened = open_account(account)
    assert (opened.provider, opened.provider_app_id, opened.environment) == (Provider.WNS, SID, Environment.UNSPECIFIED)


# --- answers -----------------------------------------------------------------------------------------------------

INVALID, REFUSED, SETTINGS = OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.CREDENTIAL_REFUSED
THROTTLED, DOWN, ACCEPTED = OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE, OutcomeKind.ACCEPTED


def described(text: str) -> tuple[bytes, bytes]:
    return b"x-wns-error-description", text.encode()


def status(word: str, name: bytes = b"x-wns-status") -> tuple[bytes, bytes]:
    return name, word.encode()


OLD = b"x-wns-notificationstatus"
AFTER_9 = (b"retry-after", b"9")
OFFLINE = (b"x-wns-deviceconnectionstatus", b"disconnected")
IS_OFFLINE = "X-WNS-DeviceConnectionStatus: disconnected"
TRACED = ((b"x-wns-debug-trace", b"BN1WNS2011530"), (b"ms-cv", b"abc.0"))
DOCUMENTED: list[tuple[str, int, Headers, Outcome]] = [
    ("received", 200, (status("received"),), Outcome(ACCEPTED, 200)),
    ("received, older name", 200, (status("received", OLD),), Outcome(ACCEPTED, 200)),
    ("received, device offline", 200, (status("received"), OFFLINE), Outcome(ACCEPTED, 200)),
    ("no status", 200, (), Outcome(ACCEPTED, 200)),
    (
        "dropped",
        200,
        (status("dropped"), OFFLINE),
        Outcome(REFUSED, 200, "dropped", IS_OFFLINE, cause=Cause.PROVIDER_DROPPED),
    ),
    (
        "dropped, older name",
        200,
        (status("dropped", OLD),),
        Outcome(REFUSED, 200, "dropped", cause=Cause.PROVIDER_DROPPED),
    ),
    (
        "channel throttled",
        200,
        (status("channelthrottled"),),
        Outcome(THROTTLED, 200, "channelthrottled", retry_after_s=600.0, scope=Scope.TOKEN),
    ),
    (
        "channel throttled, with a time, older name",
        200,
        (status("channelthrottled", OLD), AFTER_9),
        Outcome(THROTTLED, 200, "channelthrottled", retry_after_s=9.0, scope=Scope.TOKEN),
    ),
    (
        "bad header",
        400,
        (described("Bad tag"), *TRACED),
        Outcome(REFUSED, 400, "", "Bad tag; X-WNS-Debug-Trace: BN1WNS2011530; MS-CV: abc.0"),
    ),
    ("access token", 401, (), Outcome(SETTINGS, 401, renew=True)),
    ("another app's channel", 403, (), Outcome(SETTINGS, 403, scope=Scope.TOKEN, misdirected=True)),
    ("unknown channel", 404, (), Outcome(INVALID, 404)),
    ("wrong method", 405, (), Outcome(REFUSED, 405)),
    ("throttled", 406, (AFTER_9,), Outcome(THROTTLED, 406, retry_after_s=9.0)),
    (
        "throttled until",
        406,
        ((b"retry-after", b"Mon, 23 Nov 2026 06:00:30 GMT"),),
        Outcome(THROTTLED, 406, retry_after_s=30.0),
    ),
    ("throttled without a time", 406, (), Outcome(THROTTLED, 406)),
    (
        "expired channel",
        410,
        (described("Channel expired"),),
        Outcome(INVALID, 410, "", "Channel expired", ambiguous=True),
    ),
    ("expired channel, no word", 410, (), Outcome(INVALID, 410, ambiguous=True)),
    (
        "domain blocked",
        410,
        (described("Domain Blocked"),),
        Outcome(SETTINGS, 410, "Domain Blocked", "Domain Blocked", misdirected=True),
    ),
    ("device unreachable", 412, (), Outcome(DOWN, 412, retry_after_s=3600.0)),
    ("too large", 413, (), Outcome(REFUSED, 413, cause=Cause.PAYLOAD_TOO_LARGE)),
    ("internal", 500, (), Outcome(DOWN, 500)),
    ("unavailable", 503, (), Outcome(DOWN, 503)),
    ("unavailable for a while", 503, (AFTER_9,), Outcome(DOWN, 503, retry_after_s=9.0)),
]
UNDOCUMENTED: list[tuple[str, int, Headers, Outcome]] = [
    ("a status that nobody knows", 200, (status("delayed"),), Outcome(ACCEPTED, 200)),
    ("capitals", 200, (status("Dropped"),), Outcome(REFUSED, 200, "Dropped", cause=Cause.PROVIDER_DROPPED)),
    ("created", 201, (), Outcome(ACCEPTED, 201)),
    ("created and dropped", 201, (status("dropped"),), Outcome(REFUSED, 201, "dropped", cause=Cause.PROVIDER_DROPPED)),
    (
        "blocked in other words",
        410,
        (described("The sending domain has been blocked."),),
        Outcome(SETTINGS, 410, "Domain Blocked", "The sending domain has been blocked.", misdirected=True),
    ),
    ("redirect", 302, (), Outcome(SETTINGS, 302)),
    ("timeout", 408, (), Outcome(DOWN, 408)),
    ("too many", 429, (AFTER_9,), Outcome(THROTTLED, 429, retry_after_s=9.0)),
    ("gateway", 502, (), Outcome(DOWN, 502)),
    ("no outage drops a message", 503, (status("dropped"),), Outcome(DOWN, 503, "dropped")),
]


def classified(wns: Wns, answer: Response) -> tuple[Outcome, str]:
    (told,) = wns.classify(answer, [claimed(notification(), CHANNEL)], NOW_US)
    return told


@pytest.mark.parametrize(
    ("code", "headers", "outcome"), [pytest.param(*row[1:], id=row[0]) for row in DOCUMENTED + UNDOCUMENTED]
)
def test_every_answer(wns: Wns, code: int, headers: Headers, outcome: Outcome) -> None:
    assert classified(wns, Response(code, headers, b"")) == (outcome, "")


def test_the_message_id_is_wnss(wns: Wns) -> None:
    for code in (200, 404):
        told = classified(wns, Response(code, [(b"x-wns-msg-id", b"45DC47913C88B26E")], b""))
        assert told[1] == "45DC47913C88B26E"


def test_a_block_may_be_told_in_the_body(wns: Wns) -> None:
    outcome, _ = classified(wns, Response(410, (), b"<h2>Domain Blocked</h2>"))
    assert (outcome.kind, outcome.detail) == (SETTINGS, "<h2>Domain Blocked</h2>")


def test_acceptances_share_one_outcome(wns: Wns) -> None:
    first, second = (classified(wns, Response(200, [(b"x-wns-msg-id", i)], b"")) for i in (b"A", b"B"))
    assert first[0] is second[0]
    assert (first[1], second[1]) == ("A", "B")


@given(
    code=st.integers(), body=st.binary(max_size=200), values=st.lists(st.binary(max_size=1500), min_size=6, max_size=6)
)
def test_any_answer_gets_one_outcome_that_can_be_stored(wns: Wns, code: int, body: bytes, values: list[bytes]) -> None:
    names = (b"x-wns-status", OLD, b"x-wns-error-description", b"x-wns-msg-id", b"retry-after", b"ms-cv")
    outcome, message_id = classified(wns, Response(code, list(zip(names, values, strict=True)), body))
    assert outcome.kind is not OutcomeKind.UNSPECIFIED
    assert outcome.provider_status == code
    assert len(outcome.detail.encode()) <= 1024
    (outcome.reason + message_id).encode()
