"""What of a client's text reaches the log."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.log_line import SHOWN, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "-"),
        ("a@example.com", "a@example.com"),
        ("a b", '"a b"'),
        ("x verdict=ok", '"x verdict=ok"'),
        ("a\nb", "a\\u{a}b"),
        ('"', "\\u{22}"),
        ("\\", "\\u{5c}"),
        ("é\x1b[31m", "\\u{e9}\\u{1b}[31m"),
        ("\udcff", "\\u{dcff}"),
        ("x" * (SHOWN + 1), "x" * SHOWN),
    ],
)
def test_text_is_shown_safely(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(text=st.text(max_size=300))
def test_no_text_leaves_its_value(text: str) -> None:
    line = f"login={shown(text)} verdict=refused"
    assert line.isascii() and line.isprintable()
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters, lexer.quotes = True, "", "", '"'
    assert [pair.partition("=")[0] for pair in lexer] == ["login", "verdict"]
