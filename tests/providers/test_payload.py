"""Merge patches: RFC 7396's own examples, and what is refused. Bodies: where they are cut, and where never."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.content import Content
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import (
    PATCH_DEPTH_MAX,
    dropped,
    encoded,
    fitted,
    json_object,
    merged,
    patch_problem,
    patched,
    shortened,
)

APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_rfc_7396_appendix_a(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps([target, patch])
    assert merged(target, patch) == result
    assert json.dumps([target, patch]) == before, "an argument was changed"


NESTED = '{"a":' * PATCH_DEPTH_MAX + "1" + "}" * PATCH_DEPTH_MAX


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"a": NaN}', "NaN is not a JSON value"),
        ('{"a": -Infinity}', "-Infinity is not a JSON value"),
        ('{"token": "x"}', "may not set token"),
        (NESTED, f"nested deeper than {PATCH_DEPTH_MAX}"),
        ("[" * 100_000, f"nested deeper than {PATCH_DEPTH_MAX}"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_what_cannot_be_a_patch_is_refused_with_its_reason(patch: str, problem: str) -> None:
    assert problem in patch_problem(patch, {"token"})
    with pytest.raises(MessageRefused, match="fcm_json: "):
        patched({}, patch, "fcm_json", {"token"})


@pytest.mark.parametrize("patch", ["", "{}", '{"a":' * (PATCH_DEPTH_MAX - 1) + "1" + "}" * (PATCH_DEPTH_MAX - 1)])
def test_what_can_be_a_patch_has_no_problem(patch: str) -> None:
    assert patch_problem(patch) == ""
    patched({"b": 1}, patch, "apns_json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(MessageRefused):
        encoded({"a": value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(target=JSON, patch=JSON)
def test_a_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merged(target, patch)
    assert merged(once, patch) == once


@given(JSON)
def test_encoding_is_compact_json_of_the_same_value(value: Any) -> None:
    assert json.loads(encoded(value)) == value


# --- cutting -----------------------------------------------------------------------------------------------------

FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
GERMANY = "\N{REGIONAL INDICATOR SYMBOL LETTER D}\N{REGIONAL INDICATOR SYMBOL LETTER E}"
FRANCE = "\N{REGIONAL INDICATOR SYMBOL LETTER F}\N{REGIONAL INDICATOR SYMBOL LETTER R}"
SCOTLAND = "\N{WAVING BLACK FLAG}" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct") + "\N{CANCEL TAG}"
WHOLE = [
    "a",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "e\N{COMBINING ACUTE ACCENT}\N{COMBINING CEDILLA}",
    "क\N{DEVANAGARI VOWEL SIGN I}",
    "\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
    "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
    "1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}",
    FAMILY,
    GERMANY,
    SCOTLAND,
]


@pytest.mark.parametrize("letter", WHOLE)
def test_what_is_one_letter_to_a_reader_is_kept_or_left_out_whole(letter: str) -> None:
    text = "x" + letter + "y" + letter
    cuts = {shortened(text, characters)[:-1] for characters in range(len(text))}
    assert cuts == {"", "x", "x" + letter, "x" + letter + "y"}


def test_flags_in_a_row_are_counted_in_pairs() -> None:
    row = GERMANY + FRANCE + GERMANY
    cuts = [len(shortened(row, characters)) - 1 for characters in range(6)]
    assert cuts == [0, 0, 2, 2, 4, 4]


def test_no_space_is_left_before_the_ellipsis() -> None:
    assert shortened("one two", 4) == "one…"
    assert shortened("  \n x", 3) == "…"


def of_body(body: str) -> Content:
    return Content(title="t", body=body, truncate=True)


def built(content: Content) -> bytes:
    return encoded({"title": content.title, "body": content.body})


SHELL = len(built(of_body("")))


@pytest.mark.parametrize(
    ("body", "room", "result"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…"),
        ("abcdef", 4, "a…"),
        ("abcdef", 3, "…"),
        ("ab", 1, None),
        ("éééé", 8, "éééé"),
        ("éééé", 7, "éé…"),
        ("éééé", 6, "é…"),
        ('""""', 7, '""…'),
        (FAMILY * 2, len(FAMILY.encode()) + 3, FAMILY + "…"),
        (FAMILY * 2, len(FAMILY.encode()) + 2, "…"),
    ],
)
def test_a_body_is_cut_exactly_as_far_as_the_limit_asks(body: str, room: int, result: str | None) -> None:
    payload, was_cut = fitted(of_body(body), SHELL + room, built)
    assert json.loads(payload)["body"] == (body if result is None else result)
    assert was_cut == (result not in (None, body))
    assert result is None or len(payload) <= SHELL + room


@pytest.mark.parametrize("content", [Content(body="abcdef"), Content(title="abcdef", truncate=True)])
def test_nothing_is_cut_unasked_or_but_the_body(content: Content) -> None:
    asked: list[Content] = []

    def build(wanted: Content) -> bytes:
        asked.append(wanted)
        return built(wanted)

    assert fitted(content, SHELL, build) == (built(content), False)
    assert asked == [content]


def test_what_fits_is_built_once_of_the_very_content() -> None:
    content = of_body("abcdef")
    asked: list[Content] = []
    fitted(content, SHELL + 6, lambda wanted: asked.append(wanted) or built(wanted))  # type: ignore[func-returns-value]
    assert len(asked) == 1 and asked[0] is content


def test_a_provider_may_count_otherwise() -> None:
    content, was_cut = fitted(of_body("a" * 100), 10, lambda wanted: wanted, lambda wanted: len(wanted.body))
    assert (content.body, was_cut) == ("a" * 9 + "…", True)


LETTERS = st.text(
    st.sampled_from([*'ab \n"é漢', "\N{COMBINING ACUTE ACCENT}", *FAMILY, *GERMANY, "\U0001f600"]), min_size=1
)


@given(body=LETTERS, room=st.integers(0, 60))
def test_a_cut_is_the_longest_that_fits_and_nothing_else_changes(body: str, room: int) -> None:
    payload, was_cut = fitted(of_body(body), SHELL + room, built)
    kept = json.loads(payload)
    assert kept["title"] == "t"
    if not was_cut:
        assert kept["body"] == body
        assert len(payload) <= SHELL + room or len(built(of_body("…"))) > SHELL + room
        return
    assert len(payload) <= SHELL + room
    assert kept["body"].endswith("…") and body.startswith(kept["body"][:-1])
    longer = [shortened(body, n) for n in range(len(body)) if len(shortened(body, n)) > len(kept["body"])]
    assert all(len(built(of_body(each))) > SHELL + room for each in longer)


@given(body=LETTERS)
def test_a_longer_cut_is_never_shorter(body: str) -> None:
    lengths = [len(shortened(body, characters)) for characters in range(len(body))]
    assert lengths == sorted(lengths)


# --- what callers hand in as JSON, and what is dropped -----------------------------------------------------------


def test_a_callers_object_is_taken_as_it_is() -> None:
    assert json_object('{"a": null, "b": [1, {"c": null}]}', "f") == {"a": None, "b": [1, {"c": None}]}


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"x"', "{", '{"a": Infinity}', NESTED])
def test_what_is_no_object_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(MessageRefused, match=r"^apns\.x: "):
        json_object(text, "apns.x")


def test_only_what_is_set_can_be_dropped() -> None:
    content = Content(badge=0, title="t", title_loc_args=("1",))
    names = ("title", "body", "badge", "title_loc_args", "body_loc_args", "data", "sound")
    assert dropped(content, names) == ("message.title", "message.badge", "message.title_loc_args")
