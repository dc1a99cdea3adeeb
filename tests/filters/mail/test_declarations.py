"""What is written into a style attribute."""

import re

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.declarations import split, well_formed, written


@pytest.mark.parametrize(
    ("css", "declarations"),
    [
        ("", []),
        ("color:red", ["color:red"]),
        (" a: b ;; c: d; ", ["a: b", "c: d"]),
        ("a: url(x;y); b: 'p;q'", ["a: url(x;y)", "b: 'p;q'"]),
        ("a: f(g(1;2);3);b:c", ["a: f(g(1;2);3)", "b:c"]),
        (r"a: '\';'; b: c", [r"a: '\';'", "b: c"]),
        ("a: 'b", None),
        ("a: f(b", None),
    ],
)
def test_split(css: str, declarations: list[str] | None) -> None:
    assert split(css) == declarations


@pytest.mark.parametrize(
    ("css", "good"),
    [("a:b", True), ("a:b;;c-d : e;", True), ("", True), ("a b", False), ("{{x}}", False), ("a:;", False), ("a:'", False)],
)
def test_well_formed(css: str, good: bool) -> None:
    assert well_formed(css) is good


@pytest.mark.parametrize(
    ("css", "own", "text"),
    [
        ("color: red;", "", "color: red;"),
        ("background: url('a&b<c>');", "", "background: url('a&amp;b&lt;c&gt;');"),
        ("font-family: Ubuntu, 'Né';", "", "font-family: Ubuntu, 'N&#233;';"),
        ("color: red !important;", "", "color: red;"),
        ("color: red!IMPORTANT;", "", "color: red;"),
        ("color: red !important;", "color: red !important", "color: red !important;"),
        ("color: red !important;", "background: red !important", "color: red;"),
        ("content: '!important';", "", "content: '!important';"),
        # The sheet's margin won over this margin-top; it still has to, without the word.
        ("margin: 0 !important;margin-top: 5px;", "margin-top:5px", "margin-top: 5px;margin: 0;"),
        ("line-height: 1 !important;font: x;", "", "font: x;line-height: 1;"),
        ("all: unset !important;color: red;", "", "color: red;all: unset;"),
        ("margin: 0 !important;color: red;", "", "margin: 0;color: red;"),
        ("content: 'it's';", "", None),
        ("content: 'x !important;", "", None),
        ("color: r\x01d;", "", None),
        ("color: r\x85d;", "", None),
    ],
)
def test_written(css: str, own: str, text: str | None) -> None:
    assert written(css, own) == text


@given(st.text(), st.text())
def test_nothing_breaks_out_of_the_quotes(css: str, own: str) -> None:
    text = written(css, own)
    if text is not None:
        assert not re.search(r"[\"<>\x00]|[^\x00-\x7f]", text)
        (token,) = turbohtml.tokenize(f'<p style="{text}" id="after">')
        assert [name for name, _ in token.attrs] == ["style", "id"]
        if "!" not in css and "\r" not in css:
            assert token.attrs[0][1] == css
