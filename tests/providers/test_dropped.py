"""Nothing that a caller sets is lost untold: it makes a difference to the push, or is named in the preview, or refused.

Every field of the contract is set by itself on every kind of message, and sent by every provider in each of its forms.
A field that is new fails here until it is in MARKERS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from pushrpc.content import (
    ApnsOptions,
    Content,
    FcmOptions,
    HubOptions,
    LiveActivity,
    WebPushOptions,
    WnsOptions,
)
from pushrpc.model import NO_ADDRESS, Address, Notification
from pushrpc.providers import MessageRefused, Preview, ProviderAccount
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    HubPlatform,
    InterruptionLevel,
    LiveActivityEvent,
    Priority,
    Provider,
    Urgency,
    WnsType,
)
from tests.fuzz.answers import parsers
from tests.providers.samples import HOUR_US, NOW_US, notification

DAY_US = 24 * HOUR_US
XML = "<toast><visual/></toast>"

# Values that differ from every default and from what the messages below have.
MARKERS: Mapping[str, list[Any]] = {
    "title": ["Mark"],
    "body": ["Mark"],
    "subtitle": ["Mark"],
    "image_url": ["https://mark.example/i.png"],
    "data": [{"mark": "1"}],
    "badge": [0, 7, 120],
    "sound": ["default", "mark.wav"],
    "category": ["MARK"],
    "thread_id": ["mark"],
    "link": ["https://mark.example/", "shop://mark", "mark"],
    "silent": [True],
    "android_channel_id": ["mark"],
    "title_loc_key": ["MARK"],
    "title_loc_args": [("mark",)],
    "body_loc_key": ["MARK"],
    "body_loc_args": [("mark",)],
    "apns.push_type": list(ApnsPushType)[1:],
    "apns.interruption_level": [InterruptionLevel.TIME_SENSITIVE],
    "apns.relevance_score": [0.0, 0.5],
    "apns.mutable_content": [True],
    "apns.content_available": [True],
    "apns.target_content_id": ["mark"],
    "apns.filter_criteria": ["mark"],
    "apns.critical_sound_volume": [0.5],
    "apns.topic": ["mark.example"],
    "apns.live_activity": [LiveActivity(LiveActivityEvent.UPDATE, '{"mark":1}')],
    "apns.live_activity.event": [LiveActivityEvent.END],
    "apns.live_activity.content_state_json": ['{"mark":2}'],
    "apns.live_activity.attributes_type": ["Mark"],
    "apns.live_activity.attributes_json": ['{"mark":3}'],
    "apns.live_activity.stale_us": [NOW_US + DAY_US],
    "apns.live_activity.dismissal_us": [NOW_US + DAY_US],
    "apns.live_activity.timestamp_us": [NOW_US - DAY_US],
    "apns.live_activity.channel_id": ["bWFyaw=="],
    "fcm.analytics_label": ["mark"],
    "fcm.direct_boot_ok": [True],
    "fcm.data_only": [True],
    "fcm.live_activity_token": ["ab"],
    "apns_json": ['{"mark":1}'],
    "fcm_json": ['{"mark":1}'],
    "web_push.urgency": [Urgency.VERY_LOW],
    "web_push.topic": ["mark"],
    "web_push.icon_url": ["https://mark.example/icon.png"],
    "web_push.badge_url": ["https://mark.example/badge.png"],
    "web_push.actions_json": ['[{"action":"mark","title":"Mark"}]'],
    "web_push.require_interaction": [True],
    "wns.type": list(WnsType)[1:],
    "wns.raw": [b"mark"],
    "wns.tag": ["mark"],
    "wns.group": ["mark"],
    "wns.cache": [True, False],
    "hms.category": ["MARK"],
    "hms.bi_tag": ["mark"],
    "hms.test_message": [True],
    "notification_hubs.headers": [{"x-wns-mark": "1"}],
    "notification_hubs.template_properties": [{"mark": "1"}],
    "web_push_json": ['{"mark":1}'],
    "hms_json": ['{"mark":1}'],
    "wns_xml": ["<toast><audio/></toast>", '<badge value="alert"/>'],
}
START = LiveActivity(LiveActivityEvent.START, '{"eta":1}', "Ride", '{"from":"A"}')
UPDATE = LiveActivity(LiveActivityEvent.UPDATE, '{"eta":1}')
ALERT = Content(title="t", body="b")
NEEDED_BY_TYPES = {"container-identifier": "c", "domain": "d", "mdm": "m"}
MESSAGES: Mapping[str, Content] = {
    "nothing": Content(),
    "alert": ALERT,
    "localised": Content(title="t", title_loc_key="T", body_loc_key="B"),
    "picture": Content(image_url="https://i.example/1.png"),
    "number": Content(badge=1),
    "noise": Content(sound="default"),
    "subtitle": Content(subtitle="s", data={"a": "b"}),
    "data": Content(data={"a": "b"}),
    "silent": Content(silent=True, data={"a": "b"}),
    "silent picture": Content(
        silent=True, image_url="https://i.example/1.png", apns=ApnsOptions(content_available=True)
    ),
    "callers own entries": Content(
        title="t", link="shop://1", data={name.partition(".")[0]: "own" for name in MARKERS if name != "data"}
    ),
    "data only": Content(title="t", fcm=FcmOptions(data_only=True), data={"title": "own"}),
    "critical": Content(title="t", apns=ApnsOptions(critical_sound_volume=1.0)),
    "own topic": Content(title="t", apns=ApnsOptions(topic="com.example.shop"), wns=WnsOptions(tag="a", group="b")),
    "urgent": Content(title="t", web_push=WebPushOptions(urgency=Urgency.HIGH, topic="a")),
    **{
        f"push type {kind.name}": Content(title="t", data=NEEDED_BY_TYPES, apns=ApnsOptions(kind, topic="com.example"))
        for kind in list(ApnsPushType)[1:]
    },
    "start": Content(title="t", apns=ApnsOptions(live_activity=START)),
    "update": Content(title="t", apns=ApnsOptions(live_activity=UPDATE)),
    "localised update": Content(title_loc_key="T", body_loc_key="B", apns=ApnsOptions(live_activity=UPDATE)),
    "silent update": Content(silent=True, apns=ApnsOptions(live_activity=UPDATE)),
    "update through Google": Content(
        title="t", apns=ApnsOptions(live_activity=UPDATE, topic="com.example"), fcm=FcmOptions(live_activity_token="ab")
    ),
    "update through Google as data": Content(
        title="t",
        apns=ApnsOptions(live_activity=UPDATE),
        fcm=FcmOptions(live_activity_token="ab", data_only=True),
    ),
    "patched update": Content(
        title="t",
        apns=ApnsOptions(ApnsPushType.LIVE_ACTIVITY),
        apns_json='{"aps":{"timestamp":1,"event":"update","content-state":{}}}',
    ),
    **{f"wns {kind.name}": Content(title="t", badge=1, wns=WnsOptions(kind)) for kind in list(WnsType)[1:]},
    "wns bytes": Content(title="t", wns=WnsOptions(raw=b"x")),
    "wns xml": Content(title="t", wns_xml=XML),
    "wns badge xml": Content(wns_xml='<badge value="1"/>'),
    "template": Content(title="t", notification_hubs=HubOptions({"x-a": "b"}, {"a": "b"})),
}
AUDIENCES = {
    Provider.APNS: [AudienceKind.CHANNEL],
    Provider.FCM: [AudienceKind.TOPIC],
    Provider.HMS: [AudienceKind.TOPIC],
    Provider.NOTIFICATION_HUBS: [AudienceKind.EVERYONE],
}


class Form(NamedTuple):
    """What an account makes of a message for one kind of address."""

    account: ProviderAccount
    address: Address

    def preview(self, of: Notification) -> Preview | None:
        """None: refused."""
        try:
            return self.account.preview(of, self.address, NOW_US)
        except MessageRefused:
            return None


def forms() -> Iterator[Form]:
    for account in parsers().accounts:
        hub = account.provider is Provider.NOTIFICATION_HUBS
        platforms = list(HubPlatform)[1:] if hub else [HubPlatform.UNSPECIFIED]
        yield from (Form(account, Address(platform=platform)) for platform in platforms)
        yield from (Form(account, Address(audience=kind)) for kind in AUDIENCES.get(account.provider, []))


FORMS = {
    f"{form.account.provider.name} {form.address.platform.name} {form.address.audience or ''}": form for form in forms()
}


def at(content: Content, path: str) -> Any:
    value: Any = content
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value


def put(content: Any, path: str, value: Any) -> Any:
    """The same with another value in one place."""
    name, _, rest = path.partition(".")
    return replace(content, **{name: put(getattr(content, name), rest, value) if rest else value})


def default(path: str) -> Any:
    holder = {"apns.live_activity": LiveActivity()}.get(path.rpartition(".")[0])
    return getattr(holder, path.rpartition(".")[2]) if holder else at(Content(), path)


def is_same(one: Preview | None, other: Preview | None) -> bool:
    """Whether a push says the same: neither what was told of it nor its size are of it."""
    if one is None or other is None:
        return False
    return (list(one.headers), one.payload) == (list(other.headers), other.payload)


def is_named(path: str, told: Preview) -> bool:
    """By itself, or with the options that it is a part of."""
    names = path.split(".")
    return any("message." + ".".join(names[: end + 1]) in told.dropped for end in range(len(names)))


# Wishes that a push fulfils by being what it is anyway: without the field it is the same, and nothing is lost.
def is_fulfilled(form: Form, content: Content, path: str, value: Any, push: Preview) -> bool:
    shown = dict(push.headers).get("x-wns-type", "")
    match path:
        case "silent":  # nothing is shown as it is
            return not shown or shown == "wns/raw"
        case "apns.content_available":
            return '"content-available":1' in push.payload
        case "apns.mutable_content":
            return '"mutable-content":1' in push.payload
        case "apns.push_type":
            if value is ApnsPushType.LIVE_ACTIVITY and '"live_activity_token"' in push.payload:
                return True  # from which Google knows it
            word = value.name.replace("_", "").lower()
            return f'"apns-push-type":"{word}"' in push.payload or dict(push.headers).get("apns-push-type") == word
        case "apns.topic" | "apns.live_activity.timestamp_us":
            return str(value) in dict(push.headers).values()
        case "fcm.data_only":  # there is nothing that could be shown
            return form.address.platform is HubPlatform.FCM_V1 or form.account.provider is Provider.FCM
        case "wns.type":
            return shown == f"wns/{value.name.lower()}"
        case "sound":  # with a volume, a sound that is not named is the default one
            return value == "default" and '"name":"default"' in push.payload
    return False


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("form", FORMS)
def test_no_field_is_lost_untold(form: str, message: str) -> None:
    of, base = FORMS[form], MESSAGES[message]
    for path, values in MARKERS.items():
        if path.startswith("apns.live_activity.") and base.apns.live_activity is None:
            continue
        without = put(base, path, default(path))
        for value in values:
            content = put(base, path, value)
            if content.wns_xml and content.wns.raw:
                continue
            push = of.preview(notification(content))
            if push is None:
                continue
            unchanged = is_same(push, of.preview(notification(without)))
            where = f"{path} = {value!r} of {message!r} at {form}: told {push.dropped}"
            if is_named(path, push):
                own_entry = path in content.data or path == "badge"
                assert unchanged or own_entry, f"told, and yet it makes a difference: {where}"
            else:
                fulfilled = is_fulfilled(of, content, path, value, push)
                assert not unchanged or fulfilled, f"lost untold: {where}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", MESSAGES)
def test_no_option_is_lost_untold(form: str, message: str) -> None:
    of, content = FORMS[form], MESSAGES[message]
    options: Mapping[str, list[Notification]] = {
        "options.priority": [notification(content, priority=each) for each in list(Priority)[1:]],
        "options.collapse_key": [notification(content, collapse_key=each) for each in ("", "7", "mark", "ü" * 30)],
        "options.ttl": [
            notification(content, one_try=True),
            *(notification(content, expire_us=NOW_US + left) for left in (HOUR_US, 2 * HOUR_US, 27 * DAY_US)),
        ],
    }
    for path, wishes in options.items():
        pushes = [of.preview(wish) for wish in wishes]
        for position, push in enumerate(pushes):
            if push is None or path in push.dropped:
                continue
            twins = [other for other in pushes[:position] + pushes[position + 1 :] if is_same(push, other)]
            meant = [other for other in twins if other is not None and path not in other.dropped]
            assert not meant, f"{path}, wish {position} of {message!r} at {form}: the push is another wish's too"


def test_every_field_of_the_contract_has_a_marker() -> None:
    def paths(value: Any, prefix: str = "") -> Iterator[str]:
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if dataclasses.is_dataclass(inner):
                yield from paths(inner, f"{prefix}{field.name}.")
            else:
                yield prefix + field.name

    of_activity = {f"apns.live_activity.{field.name}" for field in dataclasses.fields(LiveActivity)}
    assert MARKERS.keys() == ({*paths(Content())} | of_activity) - {"truncate"}


def test_a_number_that_is_sent_as_another_is_told() -> None:
    huawei = next(form for form in FORMS.values() if form.account.provider is Provider.HMS)
    for badge, told in ((99, ()), (100, ("message.badge",))):
        push = huawei.preview(notification(replace(ALERT, badge=badge)))
        assert push is not None and '"set_num":99' in push.payload and push.dropped == told


def test_addresses_are_those_of_the_forms() -> None:
    assert {form.account.provider for form in FORMS.values()} == set(list(Provider)[1:])
    assert any(form.address == NO_ADDRESS for form in FORMS.values())
