"""gorush's requests become ours: field by field, and nothing is lost without a word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, Parse
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.cli.gorush import TARGETS_MAX, Imported, Importer, bodies
from pushrpc.v1 import sending_pb2
from tests.cli.conftest import Run, Told, failure

IOS, ANDROID, HUAWEI = 1, 2, 3


def imported(**notification: Any) -> Imported:
    (only,) = Importer("shop").push({"notifications": [{"tokens": ["t1", "t2"]} | notification]})
    return only


def request(**notification: Any) -> tuple[dict[str, Any], Sequence[str]]:
    """The one request that comes of it, without its app and its tokens, and the notes."""
    result = imported(**notification)
    (made,) = result.requests
    told = MessageToDict(made, preserving_proto_field_name=True)
    assert told.pop("app_id") == "shop"
    if "topic" not in notification or notification["platform"] == IOS:
        told.pop("target")
    return told, result.notes


def patch(told: dict[str, Any], field: str) -> Any:
    return json.loads(told["message"][field])


# --- who gets it


@pytest.mark.parametrize(
    ("platform", "provider"), [(IOS, "PROVIDER_APNS"), (ANDROID, "PROVIDER_FCM"), (HUAWEI, "PROVIDER_HMS")]
)
def test_a_plain_notification(platform: int, provider: str) -> None:
    result = imported(platform=platform, title="Order shipped", message="On its way", notif_id="n-1")
    (made,) = result.requests
    assert MessageToDict(made, preserving_proto_field_name=True) == {
        "app_id": "shop",
        "request_id": "n-1",
        "target": {"tokens": [{"provider": provider, "tokens": ["t1", "t2"]}]},
        "message": {"title": "Order shipped", "body": "On its way"},
        "options": {"labels": {"notif_id": "n-1"}},
    }
    assert not result.notes


@pytest.mark.parametrize(
    ("fields", "environment"),
    [
        ({}, None),
        ({"production": True}, "ENVIRONMENT_PRODUCTION"),
        ({"development": True}, "ENVIRONMENT_SANDBOX"),
        ({"production": True, "development": True}, "ENVIRONMENT_PRODUCTION"),
    ],
)
def test_apples_environments(fields: dict[str, Any], environment: str | None) -> None:
    (made,) = imported(platform=IOS, message="m", **fields).requests
    assert (
        MessageToDict(made, preserving_proto_field_name=True)["target"]["tokens"][0].get("environment") == environment
    )


@pytest.mark.parametrize(("platform", "provider"), [(ANDROID, "PROVIDER_FCM"), (HUAWEI, "PROVIDER_HMS")])
def test_topics_and_conditions_add_to_the_tokens(platform: int, provider: str) -> None:
    (made,) = imported(
        platform=platform, topic="/topics/news", condition="'a' in topics", to="t3", message="m"
    ).requests
    assert MessageToDict(made.target, preserving_proto_field_name=True) == {
        "tokens": [{"provider": provider, "tokens": ["t1", "t2", "t3"]}],
        "provider_audiences": [
            {"provider": provider, "topic": "news"},
            {"provider": provider, "condition": "'a' in topics"},
        ],
    }


def test_to_may_be_a_topic() -> None:
    (made,) = imported(platform=ANDROID, tokens=[], to="/topics/news", message="m").requests
    assert [audience.topic for audience in made.target.provider_audiences] == ["news"]
    assert not made.target.tokens


def test_huaweis_app_is_an_account_and_its_secret_stays_out() -> None:
    result = imported(platform=HUAWEI, message="m", app_id="101", app_secret="s3cret")
    assert result.requests[0].target.tokens[0].provider_app_id == "101"
    assert result.notes == ["app_secret: left out; a secret belongs in the server's configuration"]
    assert "s3cret" not in str(result)


def test_more_tokens_than_a_request_holds_are_several() -> None:
    tokens = [f"t{n}" for n in range(TARGETS_MAX + 1)]
    first, second = imported(platform=IOS, tokens=tokens, message="m", notif_id="n").requests
    assert list(first.target.tokens[0].tokens) + list(second.target.tokens[0].tokens) == tokens
    assert first.message == second.message


# --- a notif_id makes a repeat safe


def push(*notifications: dict[str, Any]) -> dict[str, Any]:
    return {"notifications": [{"platform": IOS, "tokens": ["t"], "message": "m"} | each for each in notifications]}


def ids(*notifications: dict[str, Any]) -> list[str]:
    return [made.request_id for result in Importer("shop").push(push(*notifications)) for made in result.requests]


MANY: dict[str, Any] = {"tokens": [f"t{n}" for n in range(TARGETS_MAX + 1)]}


@pytest.mark.parametrize("notif_id", ["n", "é" * 63, "n" * 128, "n" * 129, "n" * 257, "gorush:" + "0" * 64])
def test_every_request_has_an_id_of_its_own_and_the_same_again(notif_id: str) -> None:
    notifications = [MANY | {"notif_id": notif_id}, {"notif_id": notif_id}]
    made = ids(*notifications)
    assert len(set(made)) == 3 and all(0 < len(each.encode()) <= 128 for each in made)
    assert (made[0] == notif_id) is (len(notif_id.encode()) <= 128 and not notif_id.startswith("gorush:"))
    assert ids(*notifications) == made


def test_no_id_that_we_make_is_one_that_a_notification_of_the_same_file_has() -> None:
    ours = ids(MANY | {"notif_id": "x"}, {"notif_id": "x"})
    taken = [{"notif_id": f"x-{number}"} for number in range(1, 9)] + [{"notif_id": each} for each in ours[1:]]
    made = ids(*taken, MANY | {"notif_id": "x"}, {"notif_id": "x"})
    assert len(set(made)) == len(made)
    assert made[-3:] == ours, "ids depend on what else is in the file"


def test_without_a_notif_id_there_is_no_request_id() -> None:
    assert ids(MANY, {}) == ["", "", ""]


@pytest.mark.parametrize(
    ("notifications", "notes"),
    [
        ([{"notif_id": "n" * 128}], []),
        ([{"notif_id": "n" * 129}], ["notif_id: has more than 128 bytes; a hash of it is the request_id"]),
        (
            [{"notif_id": "n" * 257}],
            [
                "notif_id: is no label; it has more than 256 bytes",
                "notif_id: has more than 128 bytes; a hash of it is the request_id",
            ],
        ),
        ([{"notif_id": "gorush:1"}], ["notif_id: begins as a hash does; a hash of it is the request_id"]),
        ([{"notif_id": "n"}, {"notif_id": "n"}], ["notif_id: came before; a hash of it is the request_id"]),
        (
            [MANY | {"notif_id": "n"}],
            ["tokens: become 2 requests; from the second on a hash of notif_id is the request_id"],
        ),
        ([MANY], []),
    ],
)
def test_a_hash_for_a_request_id_is_told(notifications: list[dict[str, Any]], notes: list[str]) -> None:
    results = list(Importer("shop").push(push(*notifications)))
    assert [note for result in results for note in result.notes] == notes


def test_a_notif_id_is_a_label_while_it_fits_one() -> None:
    for length, kept in ((1, True), (256, True), (257, False)):
        told, _ = request(platform=IOS, message="m", notif_id="n" * length)
        assert told.get("options") == ({"labels": {"notif_id": "n" * length}} if kept else None)


# --- what makes none


@pytest.mark.parametrize(
    ("notification", "note"),
    [
        (7, "is not an object"),
        ({"tokens": ["t"], "message": "m"}, "platform: is not 1 (iOS), 2 (Android) or 3 (Huawei)"),
        ({"tokens": ["t"], "platform": 4}, "platform: is not 1 (iOS), 2 (Android) or 3 (Huawei)"),
        ({"platform": 1, "topic": "com.example"}, "tokens: nobody would get it"),
        ({"platform": 2, "tokens": [1]}, "tokens: left out; it is not a list of texts"),
        ({"platform": 1, "tokens": ["\ud800"]}, "holds half a character (a lone surrogate), which no text may"),
    ],
)
def test_what_makes_no_request_says_why(notification: object, note: str) -> None:
    (result,) = Importer("shop").push({"notifications": [notification]})
    assert not result.requests
    assert note in result.notes


# --- iOS


def test_everything_of_ios() -> None:
    told, notes = request(
        platform=IOS,
        title="T",
        message="M",
        priority="normal",
        topic="com.example.shop",
        badge=0,
        category="ORDER",
        expiration=1_800_000_000,
        collapse_id="order-1",
        push_type="alert",
        content_available=True,
        mutable_content=True,
        interruption_level="time-sensitive",
        sound="default",
        data={"order_id": "1234", "count": 2, "tree": {"a": [1]}},
        **{"thread-id": "orders", "url-args": ["a", "b"], "relevance-score": 0.5},
        alert={
            "title": "Alert title",
            "subtitle": "S",
            "title-loc-key": "TK",
            "title-loc-args": ["1"],
            "loc-key": "BK",
            "loc-args": ["2"],
            "action-loc-key": "PLAY",
            "launch-image": "x.png",
        },
    )
    assert patch(told, "apns_json") == {
        "count": 2,
        "tree": {"a": [1]},
        "aps": {"url-args": ["a", "b"], "alert": {"action-loc-key": "PLAY", "launch-image": "x.png"}},
    }
    del told["message"]["apns_json"]
    assert told == {
        "message": {
            "title": "Alert title",
            "body": "M",
            "subtitle": "S",
            "badge": 0,
            "sound": "default",
            "category": "ORDER",
            "thread_id": "orders",
            "title_loc_key": "TK",
            "title_loc_args": ["1"],
            "body_loc_key": "BK",
            "body_loc_args": ["2"],
            "data": {"order_id": "1234"},
            "apns": {
                "topic": "com.example.shop",
                "push_type": "APNS_PUSH_TYPE_ALERT",
                "interruption_level": "INTERRUPTION_LEVEL_TIME_SENSITIVE",
                "relevance_score": 0.5,
                "mutable_content": True,
                "content_available": True,
            },
        },
        "options": {
            "expire_time": "2027-01-15T08:00:00Z",
            "priority": "PRIORITY_NORMAL",
            "collapse_key": "order-1",
        },
    }
    assert not notes


def test_an_expiration_of_zero_is_one_try() -> None:
    assert request(platform=IOS, message="m", expiration=0)[0]["options"] == {"ttl": "0s"}


def test_content_available_alone_is_silent() -> None:
    told, _ = request(platform=IOS, content_available=True, data={"sync": "1"})
    assert told["message"] == {"silent": True, "data": {"sync": "1"}}
    assert request(platform=ANDROID, content_available=True, data={"sync": "1"})[0]["message"]["silent"] is True
    told, _ = request(platform=IOS, content_available=True, push_type="voip")
    assert told["message"]["apns"] == {"content_available": True, "push_type": "APNS_PUSH_TYPE_VOIP"}


@pytest.mark.parametrize(
    ("fields", "sound", "volume", "note"),
    [
        ({"sound": "chime.caf"}, "chime.caf", None, ""),
        ({"sound": {"critical": 1, "name": "default", "volume": 0.5}}, "default", 0.5, ""),
        ({"sound": {"critical": 1, "volume": 2.0}}, "default", 1.0, ""),
        ({"sound": {"name": "chime"}}, "chime", None, ""),
        ({"sound": {"name": "chime", "volume": 0.5}}, "chime", None, "sound.volume"),
        ({"name": "chime"}, "chime", 1.0, ""),
        ({"sound": "chime", "volume": 0.25}, "chime", 0.25, ""),
        ({"sound": 7}, None, None, "sound"),
    ],
)
def test_sounds_of_ios(fields: dict[str, Any], sound: str | None, volume: float | None, note: str) -> None:
    told, notes = request(platform=IOS, message="m", **fields)
    assert told["message"].get("sound") == sound
    assert told["message"].get("apns", {}).get("critical_sound_volume") == volume
    assert [each.split(":")[0] for each in notes] == ([note] if note else [])


def test_a_live_activity() -> None:
    told, notes = request(
        platform=IOS,
        push_type="liveactivity",
        topic="com.example.app.push-type.liveactivity",
        event="start",
        timestamp=1_685_952_000,
        alert={"title": "Kick-off"},
        attributes={"home": "A"},
        **{"content-state": {"home": 0}, "attributes-type": "Match", "stale-date": 1_685_955_600, "dismissal-date": 0},
    )
    activity = told["message"]["apns"].pop("live_activity")
    assert [json.loads(activity.pop(f"{name}_json")) for name in ("content_state", "attributes")] == [
        {"home": 0},
        {"home": "A"},
    ]
    assert activity == {
        "event": "LIVE_ACTIVITY_EVENT_START",
        "attributes_type": "Match",
        "stale_time": "2023-06-05T09:00:00Z",
        "timestamp": "2023-06-05T08:00:00Z",
    }
    assert told["message"]["apns"] == {"topic": "com.example.app.push-type.liveactivity"}
    assert not notes


def test_what_of_ios_has_no_place() -> None:
    _, notes = request(
        platform=IOS,
        message="m",
        apns_id="x",
        image="https://i",
        retry=3,
        priority="urgent",
        push_type="carrier-pigeon",
        huawei_ttl="1s",
        unheard_of=1,
        badge="3",
        alert={"nonsense": 1},
        data={"aps": "x", "notification_id": "1", "from": "me", "none": None},
    )
    assert {note.split(":")[0] for note in notes} == {
        *("apns_id", "image", "retry", "priority", "push_type", "huawei_ttl", "unheard_of", "badge", "alert.nonsense"),
        *("data.aps", "data.notification_id", "data.from", "data.none"),
    }


# --- Android


def test_everything_of_android() -> None:
    told, notes = request(
        platform=ANDROID,
        title="T",
        image="https://img.example/1.png",
        priority="high",
        sound="chime",
        data={"order_id": "1", "count": 2, "list": ["é"]},
        notification={
            "body": "B",
            "title": "loses",
            "icon": "myicon",
            "color": "#112244",
            "channel_id": "orders",
            "title_loc_key": "TK",
            "title_loc_args": ["1"],
        },
        android={
            "collapse_key": "order-1",
            "ttl": "3600.5s",
            "priority": "normal",
            "restricted_package_name": "com.example",
            "direct_boot_ok": True,
            "notification": {"ticker": "t"},
        },
        webpush={"headers": {"Urgency": "high"}},
        apns={"headers": {"apns-priority": "5"}},
        fcm_options={"analytics_label": "shipping"},
        dry_run=True,
    )
    assert patch(told, "fcm_json") == {
        "android": {
            "notification": {"icon": "myicon", "color": "#112244", "ticker": "t"},
            "restricted_package_name": "com.example",
        },
        "webpush": {"headers": {"Urgency": "high"}},
        "apns": {"headers": {"apns-priority": "5"}},
    }
    del told["message"]["fcm_json"]
    assert told == {
        "message": {
            "title": "T",
            "body": "B",
            "image_url": "https://img.example/1.png",
            "sound": "chime",
            "title_loc_key": "TK",
            "title_loc_args": ["1"],
            "android_channel_id": "orders",
            "data": {"order_id": "1", "count": "2", "list": '["é"]'},
            "fcm": {"analytics_label": "shipping", "direct_boot_ok": True},
        },
        "options": {"ttl": "3600.500s", "priority": "PRIORITY_HIGH", "collapse_key": "order-1", "dry_run": True},
    }
    assert not notes


def test_the_names_of_the_legacy_api_still_count() -> None:
    told, notes = request(
        platform=ANDROID,
        message="m",
        collapse_key="c",
        time_to_live=60,
        restricted_package_name="p",
        delay_while_idle=True,
    )
    assert told["options"] == {"ttl": "60s", "collapse_key": "c"}
    assert patch(told, "fcm_json") == {"android": {"restricted_package_name": "p"}}
    assert [note.split(":")[0] for note in notes] == ["delay_while_idle"]


@pytest.mark.parametrize(
    ("fields", "ttl"),
    [
        ({"platform": ANDROID, "time_to_live": 0}, "0s"),
        ({"platform": ANDROID, "android": {"ttl": "0s"}}, "0s"),
        ({"platform": ANDROID, "time_to_live": 60, "android": {"ttl": 0}}, "0s"),
        ({"platform": HUAWEI, "huawei_ttl": "0"}, "0s"),
        ({"platform": ANDROID, "time_to_live": None, "android": {"ttl": ""}}, None),
        ({"platform": HUAWEI, "huawei_ttl": ""}, None),
    ],
)
def test_a_ttl_of_zero_is_now_or_never_and_none_is_the_servers(fields: dict[str, Any], ttl: str | None) -> None:
    told, notes = request(message="m", **fields)
    assert told.get("options", {}).get("ttl") == ttl
    assert not notes


@pytest.mark.parametrize("value", [False, [], -1, "1h"])
def test_a_ttl_that_is_none_is_told(value: object) -> None:
    told, notes = request(platform=ANDROID, message="m", time_to_live=value)
    assert "options" not in told and notes == ["time_to_live: left out; it is not a number of seconds"]


def test_what_of_android_has_no_place() -> None:
    _, notes = request(
        platform=ANDROID,
        message="m",
        badge=3,
        image="http://img.example/1.png",
        sound={"name": "x"},
        android={"ttl": "soon", "nonsense": 1},
        fcm_options={"link": "https://x"},
        notification={"nonsense": 1},
    )
    assert {note.split(":")[0] for note in notes} == {
        *("badge", "image", "sound", "android.ttl", "android.nonsense", "fcm_options.link", "notification.nonsense"),
    }


# --- Huawei


def test_everything_of_huawei() -> None:
    told, notes = request(
        platform=HUAWEI,
        title="T",
        message="M",
        image="https://img.example/1.png",
        priority="high",
        sound="/raw/shake",
        category="IM",
        bi_tag="campaign",
        fast_app_target=1,
        huawei_collapse_key=7,
        huawei_ttl="86400s",
        huawei_data='{"order_id": "1", "n": 2}',
        huawei_notification={"title": "loses", "image": "loses", "icon": "i", "click_action": {"type": 3}},
    )
    assert patch(told, "hms_json") == {
        "android": {"fast_app_target": 1, "notification": {"icon": "i", "click_action": {"type": 3}}}
    }
    del told["message"]["hms_json"]
    assert told == {
        "message": {
            "title": "T",
            "body": "M",
            "image_url": "https://img.example/1.png",
            "sound": "/raw/shake",
            "data": {"order_id": "1", "n": "2"},
            "hms": {"category": "IM", "bi_tag": "campaign"},
        },
        "options": {"ttl": "86400s", "priority": "PRIORITY_HIGH", "collapse_key": "7"},
    }
    assert not notes


def test_texts_may_stand_in_huaweis_own_notification() -> None:
    told, _ = request(platform=HUAWEI, huawei_notification={"title": "T", "body": "B", "image": "https://i"})
    assert (told["message"]["title"], told["message"]["body"]) == ("T", "B")
    assert patch(told, "hms_json") == {"android": {"notification": {"image": "https://i"}}}


@pytest.mark.parametrize(("group", "key", "noted"), [(0, None, 0), (-1, None, 0), (100, "100", 0), (101, None, 1)])
def test_huaweis_groups(group: int, key: str | None, noted: int) -> None:
    told, notes = request(platform=HUAWEI, message="m", huawei_collapse_key=group)
    assert told.get("options", {}).get("collapse_key") == key
    assert len(notes) == noted


@pytest.mark.parametrize("data", ["{'title' : 'Mario'}", "[1]", "text"])
def test_data_that_is_no_json_object_is_told(data: str) -> None:
    _, notes = request(platform=HUAWEI, message="m", huawei_data=data, data={"k": "v"})
    assert {note.split(":")[0] for note in notes} == {"huawei_data", "data"}


# --- anything at all

_KEYS = st.sampled_from([
    "tokens", "topic", "to", "condition", "message", "title", "image", "priority", "sound", "data", "badge", "alert",
    "expiration", "event", "content-state", "timestamp", "name", "volume", "relevance-score", "notification", "android",
    "ttl", "time_to_live", "fcm_options", "webpush", "huawei_data", "huawei_collapse_key", "huawei_notification",
    "bi_tag", "notif_id", "url-args", "thread-id", "push_type", "critical", "loc-args", "x",
])  # fmt: skip
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(["high", "start", "60s", "https://x", '{"a":1}', "voip"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(
    notification=st.dictionaries(_KEYS, _JSON, max_size=9),
    platform=st.sampled_from([1, 2, 3]),
    tokens=st.lists(st.text(max_size=5), max_size=3),
)
def test_any_notification_becomes_requests_that_can_be_sent_or_says_why(
    notification: dict[str, Any], platform: int, tokens: list[str]
) -> None:
    push = {"notifications": [{"tokens": tokens} | notification | {"platform": platform}]}
    (result,) = Importer("shop").push(push)
    assert result.requests or result.notes
    for made in result.requests:
        assert sending_pb2.SendNotificationRequest.FromString(made.SerializeToString()) == made
        assert all(json.loads(each) for each in (made.message.apns_json, made.message.fcm_json) if each)


@given(text=st.text(max_size=30) | _JSON.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for body in bodies(text):
            list(Importer("shop").push(body))
    except ValueError as error:
        assert str(error)


def test_a_log_of_many_bodies_is_read_to_its_end() -> None:
    assert list(bodies('{"a": 1}\n{"b": 2} [3]\n')) == [{"a": 1}, {"b": 2}, [3]]
    for wrong in ('{"a": NaN}', "{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            list(bodies(wrong))


# --- the command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "push.json"
    notifications = [
        {"tokens": ["a"], "platform": 1, "message": "one", "notif_id": "n-1", "retry": 2},
        {"tokens": ["b"], "platform": 2, "message": "zwölf"},
    ]
    path.write_text(json.dumps({"notifications": notifications}))
    return path


def test_requests_are_printed_as_grpcurl_takes_them(run: Run, file: Path) -> None:
    result = run("import-gorush", "--app", "shop", str(file))
    assert result.exit_code == 0
    made = [Parse(line, sending_pb2.SendNotificationRequest()) for line in result.stdout.splitlines()]
    assert [(one.app_id, one.request_id, one.message.body) for one in made] == [
        ("shop", "n-1", "one"),
        ("shop", "", "zwölf"),
    ]
    assert result.stderr == "notification 1: retry: left out; it is tried again until it expires\n"


def test_they_can_be_sent(run: Run, server: Told, file: Path) -> None:
    rejected = [sending_pb2.Rejection(path="target.tokens[0].tokens[0]", reason=1, detail="not a token")]  # type: ignore[arg-type]
    server.answers["SendNotification"] = [
        sending_pb2.SendNotificationResponse(notification_id="x", target_count=1, replayed=True),
        sending_pb2.SendNotificationResponse(notification_id="y", rejected=rejected),
    ]
    result = run("import-gorush", "--app", "shop", "--send", str(file), server=server)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "notification x: 1 accepted, a replay: nothing new was made",
        "notification y: 0 accepted",
        "target.tokens[0].tokens[0]\tTOKEN_MALFORMED\tnot a token",
    ]
    assert [sent.message.body for sent in server.requests] == ["one", "zwölf"]


def test_a_refused_request_is_told_and_the_next_one_is_sent(run: Run, server: Told, file: Path) -> None:
    info = error_details_pb2.ErrorInfo(reason="TTL_INVALID")
    server.answers["SendNotification"] = [
        failure(grpc.StatusCode.INVALID_ARGUMENT, "ttl is over 28 days", info),
        sending_pb2.SendNotificationResponse(notification_id="y", target_count=1),
    ]
    result = run("import-gorush", "--app", "shop", "--send", str(file), server=server)
    assert result.exit_code == 1
    assert result.stdout == "notification y: 1 accepted\n"
    assert result.stderr.splitlines()[1:] == [
        "notification 1: refused: TTL_INVALID: ttl is over 28 days",
        "requests: 1 accepted, 1 refused; targets rejected: 0; notifications without a request: 0",
    ]


def test_nobody_is_asked_again_where_nobody_answered(run: Run, server: Told, file: Path) -> None:
    server.answers["SendNotification"] = [failure(grpc.StatusCode.UNAVAILABLE, "gone")]
    result = run("import-gorush", "--app", "shop", "--send", str(file), server=server)
    assert result.exit_code == 1 and len(server.requests) == 1
    assert "notification 1: refused: no server answers at" in result.stderr
    assert "requests: 0 accepted, 1 refused" in result.stderr


def test_a_dry_run_prints_what_send_prints(run: Run, server: Told, tmp_path: Path) -> None:
    path = tmp_path / "push.json"
    path.write_text('{"notifications": [{"tokens": ["b"], "platform": 2, "message": "m", "dry_run": true}]}')
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse(target_count=1)]
    result = run("import-gorush", "--app", "shop", "--send", str(path), server=server)
    assert (result.exit_code, result.stdout) == (0, "dry run: 1 would be accepted\n")


def test_an_empty_notification_is_told_with_its_position(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "push.json"
    path.write_text(
        '{"notifications": [{"tokens": ["a"], "platform": 1, "message": "m"}, {"tokens": ["a"], "platform": 1}]}'
    )
    result = run("import-gorush", "--app", "shop", str(path))
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 1
    assert result.stderr == "notification 2: is empty: it has nothing to show, and no data\n"


def test_receipts_may_be_json(run: Run, server: Told, file: Path) -> None:
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse(notification_id=i) for i in "xy"]
    result = run("import-gorush", "--app", "shop", "--send", "--json", str(file), server=server)
    assert result.exit_code == 0
    assert [json.loads(line)["notification_id"] for line in result.stdout.splitlines()] == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not what gorush takes: Expecting"),
        (b'{"counts": 1}', 'is not what gorush takes: it has no "notifications" array'),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_a_file_of_something_else_is_refused(run: Run, tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    result = run("import-gorush", "--app", "shop", str(path))
    assert result.exit_code == 1
    assert problem in result.stderr


def test_a_notification_that_makes_no_request_is_told_by_the_exit_code(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "push.json"
    path.write_text('{"notifications": [{"platform": 9}]}')
    result = run("import-gorush", "--app", "shop", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("notification 1: platform")
