"""Tag expressions: what a hub takes, and what it would refuse, with the place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.providers.notification_hubs_tags import expression_problem, tag_problem


@pytest.mark.parametrize(
    "expression",
    [
        "a",
        " a ",
        "follows_RedSox || follows_Cardinals",
        "a||b",
        "a && !b",
        "!a",
        "!!a",
        "(a)",
        "((a || b)) && !(c && d)",
        "@user#1.x:y-z_0",
        "$InstallationId:{joe 93}".replace(" ", "-"),
        "$UserId:{bob@contoso.com} && sports",
        " || ".join(f"t{n}" for n in range(20)),
        "(" + " || ".join(f"t{n}" for n in range(20)) + ")",
        " && ".join(f"t{n}" for n in range(6)),
        "x" * 120,
    ],
)
def test_expressions_that_a_hub_takes(expression: str) -> None:
    assert expression_problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a b", "has b at character 3 where && or || is expected"),
        ("a &&", "ends too early"),
        ("|| a", "has || at character 2 where a tag is expected"),
        ("a || && b", "where a tag is expected"),
        ("a ! b", "has ! at character 3 where && or || is expected"),
        ("(a", "ends too early"),
        ("a)", "closes a parenthesis at character 2 that was never opened"),
        ("()", "has ) at character 2 where a tag is expected"),
        ("a & b", "cannot be read at character 2"),
        ("tag with ü", "where && or || is expected"),
        ("ü", "cannot be read at character 1"),
        ("$Other:{x}", "cannot be read at character 1"),
        ("x" * 121, "has a tag of 121 characters, 120 are allowed"),
        ("||".join(f"t{n}" for n in range(21)), "has 21 tags, 20 are allowed"),
        ("&&".join(f"t{n}" for n in range(7)), "has 7 tags, 6 are allowed"),
        ("!a||" + "||".join(f"t{n}" for n in range(6)), "has 7 tags, 6 are allowed"),
        ("a\n||b", "cannot be read at character 2"),
        ("a||\tb", "cannot be read at character 4"),
        ("$UserId:{a\x00}", "cannot be read at character 1"),
        ("$UserId:{ü}", "cannot be read at character 1"),
    ],
)
def test_expressions_that_a_hub_refuses(expression: str, problem: str) -> None:
    assert problem in expression_problem(expression)


@given(st.text(alphabet="ab&|!() $Ü\n", max_size=40) | st.text(max_size=40))
def test_any_text_gets_an_answer_and_what_passes_can_be_a_header(expression: str) -> None:
    if not expression_problem(expression):
        assert expression.strip()
        assert expression.isascii() and expression.isprintable()


@given(st.text(alphabet="ab_@#.:-", min_size=1, max_size=120))
def test_tags(tag: str) -> None:
    assert tag_problem(tag) == ""
    assert expression_problem(tag) == ""


@pytest.mark.parametrize("tag", ["", "a b", "ü", "a&b", "x" * 121, "$UserId:{x}"])
def test_what_is_no_tag(tag: str) -> None:
    assert "hub" in tag_problem(tag)
