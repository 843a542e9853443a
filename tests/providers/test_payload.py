"""Merge patches: RFC 7396's own examples, and what is refused. Bodies: where they are cut, and where never."""

from __future__ import annotations

import json
import unicodedata
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.content import Content, FcmOptions
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import (
    OBJECT,
    PATCH_DEPTH_MAX,
    cuts,
    encoded,
    fitted,
    json_object,
    lost,
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
        ('{"a": 1e999}', "1e999 is not a JSON value"),
        ('{"token": "x"}', "may not set token"),
        (NESTED, f"nested deeper than {PATCH_DEPTH_MAX}"),
        ("[" * 100_000, f"nested deeper than {PATCH_DEPTH_MAX}"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_what_cannot_be_a_patch_is_refused_with_its_reason(patch: str, problem: str) -> None:
    assert problem in patch_problem(patch, OBJECT, {"token"})
    with pytest.raises(MessageRefused, match="fcm_json: "):
        patched({}, patch, "fcm_json", OBJECT, {"token"})


@pytest.mark.parametrize("patch", ["", "{}", '{"a":' * (PATCH_DEPTH_MAX - 1) + "1" + "}" * (PATCH_DEPTH_MAX - 1)])
def test_what_can_be_a_patch_has_no_problem(patch: str) -> None:
    assert patch_problem(patch, OBJECT) == ""
    patched({"b": 1}, patch, "apns_json", OBJECT)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800"])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(MessageRefused):
        encoded({"a": value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8")),
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
HAN = "\N{HANGUL CHOSEONG HIEUH}\N{HANGUL JUNGSEONG A}\N{HANGUL JONGSEONG NIEUN}"  # 한, decomposed
GEUL = unicodedata.normalize("NFD", "글")

# One for each rule of UAX #29 §3.1.1 (Unicode 16): letters between which a text may be cut, and nowhere else.
RULES = {
    "GB3": ["\r\n"],
    "GB4, GB5": ["a", "\N{ZERO WIDTH SPACE}", "\N{COMBINING ACUTE ACCENT}", "\n", "\N{COMBINING ACUTE ACCENT}"],
    "GB6, L V": [HAN[:2], HAN[:2]],
    "GB6, L L V": ["\N{HANGUL CHOSEONG KIYEOK}" + HAN],
    "GB6, L LV": ["\N{HANGUL CHOSEONG KIYEOK}\N{HANGUL SYLLABLE GA}", "\N{HANGUL SYLLABLE GA}"],
    "GB6, L LVT": ["\N{HANGUL CHOSEONG KIYEOK}\N{HANGUL SYLLABLE GAG}"],
    "GB7, L V V": [HAN[:2] + HAN[1], HAN],
    "GB7, LV V": ["\N{HANGUL SYLLABLE GA}" + HAN[1]],
    "GB7, LV T": ["\N{HANGUL SYLLABLE GA}" + HAN[2], HAN],
    "GB7, L V T": [HAN, GEUL],
    "GB8, LVT T": ["\N{HANGUL SYLLABLE GAG}" + HAN[2], "\N{HANGUL SYLLABLE GAG}"],
    "GB8, T T": [HAN + HAN[2], HAN],
    "GB999, LVT V": ["\N{HANGUL SYLLABLE GAG}", HAN[1]],
    "GB9, accents": ["e\N{COMBINING ACUTE ACCENT}\N{COMBINING CEDILLA}", "e"],
    "GB9, joiner": ["a\N{ZERO WIDTH JOINER}", "b"],
    "GB9, modifier": ["\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}"],
    "GB9, selectors": ["\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", "葛\N{VARIATION SELECTOR-17}"],
    "GB9, keycap": ["1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}", "2"],
    "GB9, tags": [SCOTLAND, "a"],
    "GB9a": ["क\N{DEVANAGARI VOWEL SIGN I}", "ก\N{THAI CHARACTER SARA AM}"],
    "GB9b": ["\N{ARABIC NUMBER SIGN}1", "\N{ARABIC NUMBER SIGN}" + GERMANY],
    "GB9c": ["क\N{DEVANAGARI SIGN VIRAMA}ष", "क\N{DEVANAGARI SIGN VIRAMA}\N{ZERO WIDTH JOINER}ष", "क"],
    "GB11": [FAMILY, FAMILY, "\N{MAN}"],
    "GB11, modified": ["\N{WOMAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-6}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}"],
    "GB12": [GERMANY, FRANCE, GERMANY, "\N{REGIONAL INDICATOR SYMBOL LETTER A}"],
    "GB13": ["a", GERMANY, FRANCE],
    "GB999": ["a", "é", "漢", "\N{GRINNING FACE}"],
}


@pytest.mark.parametrize("letters", RULES.values(), ids=RULES.keys())
def test_what_is_one_letter_to_a_reader_is_kept_or_left_out_whole(letters: list[str]) -> None:
    text = "x" + "".join(letters) + "y"
    assert [text[:place] for place in cuts(text)] == ["", "x", *("x" + each for each in accumulate(letters))]


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
    st.sampled_from([*'ab \n"é漢', "\N{COMBINING ACUTE ACCENT}", *FAMILY, *GERMANY, *HAN, "\U0001f600"]), min_size=1
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
    longer = [cut for place in cuts(body) if len(cut := shortened(body, place)) > len(kept["body"])]
    assert all(len(built(of_body(each))) > SHELL + room for each in longer)


L, V, T = tuple(HAN)
TOGETHER = {(L, L), (L, V), (V, V), (V, T), (T, T)}


@given(body=LETTERS)
def test_no_cut_tears_what_a_reader_sees_as_one_letter(body: str) -> None:
    places = cuts(body)
    assert places[0] == 0 and places == sorted(set(places))
    for before, after in ((body[place - 1], body[place]) for place in places[1:]):
        assert before == "\n" or after not in ("\N{COMBINING ACUTE ACCENT}", "\N{ZERO WIDTH JOINER}")
        assert (before, after) not in TOGETHER


# --- what callers hand in as JSON, and what is dropped -----------------------------------------------------------


def test_a_callers_object_is_taken_as_it_is() -> None:
    assert json_object('{"a": null, "b": [1, {"c": null}]}', "f") == {"a": None, "b": [1, {"c": None}]}


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"x"', "{", '{"a": Infinity}', NESTED])
def test_what_is_no_object_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(MessageRefused, match=r"^apns\.x: "):
        json_object(text, "apns.x")


def test_all_that_is_set_and_not_carried_is_told_by_its_path() -> None:
    content = Content(
        badge=0, title="t", title_loc_args=("1",), data={"link": "d"}, link="l", fcm=FcmOptions(data_only=True)
    )
    assert lost(content, ()) == tuple(
        f"message.{name}" for name in ("title", "data", "badge", "link", "title_loc_args", "fcm.data_only")
    )
    assert lost(content, {"title", "data", "link", "title_loc_args", "fcm"}) == ("message.badge",)
    assert lost(content, {"title", "data", "badge", "link", "title_loc_args", "fcm.data_only"}) == ()
    assert lost(Content(truncate=True), ()) == ()


def test_what_goes_among_the_entries_of_data_is_lost_where_the_callers_own_win() -> None:
    content = Content(link="l", data={"link": "d", "image_url": "i"})
    assert lost(content, {"data", "link", "image_url"}, {"link", "image_url"}) == ("message.link",)
