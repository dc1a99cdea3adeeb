"""The estimate that stands before css-inline; what it bounds is measured in tests/filters/test_inline_css.py."""

import pytest

from filters.mail.markup import TOKEN
from filters.mail.workload import MAX_SHEET, MAX_TAGS, refusal

RULE = "p{color:red}"


def _refusal(body: str, css: str = RULE) -> str:
    source = f"<style>{css}</style>{body}"
    tags = [token for token in TOKEN.finditer(source) if token[4]]
    return refusal(source, css, [token[2] for token in tags], [token[3] for token in tags])


@pytest.mark.parametrize(
    "body",
    [
        "<p>" * 5,
        "<p>x</p>" * 8000,
        "<div>" * 900,
        "<table>" + "<tr><td><p>x<br><img src=y>" * 1500 + "</table>",
        "<ul>" + "<li>x" * 8000,
        ("<table><tr><td><b>x</b> <i><u>y</u></i></td></tr></table>" * 1100),
        "<p>" + '<img src="data:image/png;base64,' + "A" * 900_000 + '">',
    ],
)
def test_mail_passes(body: str) -> None:
    assert _refusal(body) == ""


@pytest.mark.parametrize(
    ("body", "css", "reason"),
    [
        ("<p>" * (MAX_TAGS + 1), RULE, "elements"),
        ("<p>", RULE + " " * MAX_SHEET, "style sheets"),
        ("<p>", "p{color:red" + " " * 70 + "!important}", "blanks"),
        ("<div>" * 2100, RULE, "deep"),
        ("<table><td>" * 1100, RULE, "deep"),
        ("<span>" * 9 * 500 + "<button>" + "</span>" * 9 * 500, RULE, "deep"),
        ("<b><p>" * 310, RULE, "formatting"),
        ("<div>" + "<b>" * 310 + "</div>" + "</b>" * 310, RULE, "formatting"),
        ("<p>" * 9000, "p{" + "".join(f"a{n}:b;" for n in range(340)) + "}", "work"),
        ("<p>" * 8000, "p{a:" + "b" * 50_000 + "}", "work"),
        ("<p></p>" * 8000, ".a~p{a:b}" * 5, "work"),
        ("<p></p>" * 900 + "</x>" * 200_000, RULE, "work"),
        ("<div>" * 1900, "b div{a:b}" * 500, "work"),
        ("<p " + " ".join(f"a{n}" for n in range(90_000)) + ">", RULE, "work"),
        ("<body " + " ".join(f"a{n}" for n in range(30_000)) + ">" + "<body>", RULE, "work"),
        ('<p class="' + "a b " * 100_000 + '">', ".a{b:c}" * 500, "work"),
        ('<p title="' + "z" * 800_000 + '">', "[title*=x]{b:c}" * 300, "work"),
        ("<p><b>" * 290 + "<p>x" * 5000, RULE, "work"),
        ("<!---->" * 100_000, ":first-child{a:b}" * 1000, "work"),
    ],
)
def test_bombs_are_refused(body: str, css: str, reason: str) -> None:
    assert reason in _refusal(body, css)
