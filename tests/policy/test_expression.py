"""Regular expressions of users: what is taken is quick on any address, the rest is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.expression import LONGEST_TEXT, InvalidExpression, compile_expression, matches


@pytest.mark.parametrize(
    ("expression", "meeting", "others"),
    [
        (r".*\.example\.com", ["a.example.com"], ["example.com", "a.example.com.org"]),
        (r"(news|shop)-\d{1,3}@.*", ["news-12@x", "SHOP-1@y"], ["news-1234@x", "new-1@x"]),
        (r"(?:a|b)?c{2}[]x-]+", ["acc]", "ccx-"], ["accc", "abccx"]),
        (r"[^@]+@(.*\.)?example\.(com|net)", ["a@example.net", "a@b.example.com"], ["@example.com"]),
        (r"x{,3}y{}", ["xxxy{}"], ["xxxxy{}"]),
        (r"a\(b\|c", ["a(b|c"], ["ab"]),
        (r"[[]a", ["[a"], ["a"]),
    ],
)
def test_what_is_usual_is_taken(expression: str, meeting: list[str], others: list[str]) -> None:
    compiled = compile_expression(expression)
    assert all(matches(compiled, text) for text in meeting)
    assert not any(matches(compiled, text) for text in others)


@pytest.mark.parametrize(
    "expression",
    [
        *("", "(", "a**", "x" * 201, "a{99999999999}", "[", "\\"),
        *("(a+)+", "(a|a)*", "(.*)*", "(a?){30}", "(?:a|b){2}", "a?" * 30, ".*.*.*x", "a{1,999}"),
        *("(?=x)", "(?!x)", "(?<=x)y", "(?P<n>a)(?P=n)", r"(a)\1", "(?>a)", "(?i)a", "a*+", "(?(1)a)"),
    ],
)
def test_what_may_take_for_ever_is_refused_with_a_sentence(expression: str) -> None:
    with pytest.raises(InvalidExpression, match=r"^('|\"|a regular)"):
        compile_expression(expression)


PIECES = st.sampled_from(
    ["a", "b", ".", "@", r"\w", "[ab]", "(a|b)", "(?:ab)", "(", ")", "|", "*", "+", "?", "{2}", "{1,3}", "{,2}"]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["a", "ab", "aab", "@"]))
def test_what_is_taken_is_quick(expression: str, unit: str) -> None:
    try:
        compiled = compile_expression(expression)
    except InvalidExpression:
        return
    # The time is the test's own limit: one that tries all ways of a long text does not come back.
    text = (unit * LONGEST_TEXT)[: LONGEST_TEXT - 1] + "!"
    assert matches(compiled, text) == (re.fullmatch(expression, text, re.IGNORECASE) is not None)
    assert not matches(compiled, text * 2)
