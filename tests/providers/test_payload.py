"""Merge patches: RFC 7396's own examples, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import PATCH_DEPTH_MAX, encoded, merged, patch_problem, patched

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
