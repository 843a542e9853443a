"""Every notification a caller could have got past the gRPC edge, and some that none could."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from pushrpc.content import ApnsOptions, Content, FcmOptions, LiveActivity, WnsOptions
from pushrpc.words import ApnsPushType, InterruptionLevel, LiveActivityEvent, Priority, WnsType
from tests.providers.samples import HOUR_US, NOW_US, notification

_TEXT = st.text(max_size=20)
_LONG = _TEXT | st.integers(0, 3000).map(lambda n: "x" * n) | st.integers(0, 1200).map(lambda n: "é" * n)
_KEYS = st.sampled_from(["aps", "alert", "badge", "data", "notification", "android", "token", "event", "mdm"]) | _TEXT
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)
_PATCHES = st.just("") | st.dictionaries(_KEYS, _JSON, max_size=3).map(json.dumps) | _JSON.map(json.dumps) | _TEXT
_FLOATS = st.none() | st.floats()
_FLAGS = st.none() | st.booleans()

_OBJECTS = st.just("") | st.dictionaries(_TEXT, _JSON, max_size=3).map(json.dumps)
_INSTANTS = st.just(0) | st.integers(0, 2**53)
LIVE_ACTIVITIES = st.builds(
    LiveActivity,
    event=st.sampled_from(LiveActivityEvent),
    content_state_json=_OBJECTS | _JSON.map(json.dumps) | _TEXT,
    attributes_type=_TEXT,
    attributes_json=_OBJECTS | _TEXT,
    stale_us=_INSTANTS,
    dismissal_us=_INSTANTS,
    timestamp_us=_INSTANTS,
    channel_id=_TEXT,
)
_APNS = st.builds(
    ApnsOptions,
    push_type=st.just(ApnsPushType.UNSPECIFIED) | st.sampled_from(ApnsPushType),
    interruption_level=st.sampled_from(InterruptionLevel),
    relevance_score=_FLOATS,
    mutable_content=_FLAGS,
    content_available=_FLAGS,
    target_content_id=_TEXT,
    filter_criteria=_TEXT,
    critical_sound_volume=_FLOATS,
    topic=st.just("") | _TEXT,
    live_activity=st.none() | LIVE_ACTIVITIES,
)
_CONTENTS = st.builds(
    Content,
    title=_TEXT,
    body=_LONG,
    subtitle=_TEXT,
    image_url=_TEXT,
    data=st.dictionaries(_TEXT, _LONG, max_size=3),
    badge=st.none() | st.integers(-(2**31), 2**31 - 1),
    sound=_TEXT,
    category=_TEXT,
    thread_id=_TEXT,
    link=_TEXT | st.just("https://shop.example/1"),
    silent=st.booleans(),
    android_channel_id=_TEXT,
    title_loc_key=_TEXT,
    title_loc_args=st.lists(_TEXT, max_size=2).map(tuple),
    body_loc_key=_TEXT,
    body_loc_args=st.lists(_TEXT, max_size=2).map(tuple),
    apns=st.just(ApnsOptions()) | _APNS,
    fcm=st.builds(
        FcmOptions,
        analytics_label=_TEXT,
        direct_boot_ok=st.booleans(),
        data_only=st.booleans(),
        live_activity_token=st.just("") | st.just("ab" * 80),
    ),
    apns_json=_PATCHES,
    fcm_json=_PATCHES,
    truncate=st.booleans(),
)
NOTIFICATIONS = st.builds(
    notification,
    content=_CONTENTS,
    priority=st.sampled_from(Priority),
    collapse_key=_TEXT,
    one_try=st.booleans(),
    expire_us=st.integers(NOW_US + 1, NOW_US + 28 * 24 * HOUR_US),
)

_WNS = st.builds(
    WnsOptions,
    type=st.just(WnsType.UNSPECIFIED) | st.sampled_from(WnsType),
    raw=st.just(b"") | st.binary(max_size=20) | st.just(b"x" * 5001),
    tag=st.just("") | st.just("order1234") | _TEXT,
    group=st.just("") | st.just("orders") | _TEXT,
    cache=_FLAGS,
)
_XML = st.sampled_from(["<toast/>", "<tile><visual/></tile>", '<badge value="alert"/>', "<b/>", "<toast>"]) | _TEXT


def _windows(of: Any, wns: WnsOptions, wns_xml: str, truncate: bool) -> Any:
    return replace(of, content=replace(of.content, wns=wns, wns_xml=wns_xml, truncate=truncate))


# The same with what only Windows understands.
WINDOWS_NOTIFICATIONS = st.builds(_windows, NOTIFICATIONS, _WNS, st.just("") | _XML, st.booleans())
