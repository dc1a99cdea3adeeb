"""What is left of a document for css-inline, and that its answer is the one for the document itself."""

import re
from pathlib import Path

import css_inline
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.inline_css import inline
from filters.mail.draft import spliced
from filters.mail.outline import Outline
from filters.mail.skeleton import Skeleton

CSS = "<style>p{color:red}p:empty{margin:1px}td>a{color:blue}.b a{top:0}a:first-child{left:0}#c{left:0}</style>"
INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)


def skeleton(source: str) -> str:
    outline = Outline(source)
    bare = Skeleton(outline, "".join(outline.sheets))
    return bare.marked([""] * len(outline.names), bare.attributes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<p>Dear Alice,</p>", "<p>Dear Bob, how are you?</p>"),
        ('<p><a href="https://example.com/1">x</a>', '<p><a href="https://example.com/2?y=1">x</a>'),
        ("<title>Order 1</title><p>", "<title>Order 2</title><p>"),
        ("<!-- one --><p>", "<!-- another --><p>"),
        ('<img alt="a" src="x"><p>', '<img alt="b c" src="y"><p>'),
        ("<p>a</p>\n<p>", "<p>b &amp; c</p> \n <p>"),
    ],
)
def test_text_and_links_do_not_count(one: str, other: str) -> None:
    assert skeleton(CSS + one) == skeleton(CSS + other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<p></p>", "<p>x</p>"),
        ("<p></p>", "<p> </p>"),
        ("<p> </p>", "<p>x</p>"),
        ("<p>&#32;</p>", "<p>x</p>"),
        ('<p class="a">', '<p class="b">'),
        ('<p id="a">', '<p id="b">'),
        ('<p style="top:0">', '<p style="top:1px">'),
        ("<p><b>x</b></p>", "<p><i>x</i></p>"),
        ("<p>x</p>y", "<p>xy</p>"),
        ("<style>p{color:blue}</style><p>", "<p>"),
        ("<a href='one'>", "<a href='two'>"),  # quotes of the other kind: left as they are
    ],
)
def test_what_rules_can_see_counts(one: str, other: str) -> None:
    assert skeleton(CSS + one) != skeleton(CSS + other)


@pytest.mark.parametrize("sheet", ['a[href^="https"]{top:0}', "[ TITLE ]{top:0}", r"[hr\65 f]{top:0}", "img[alt=x],p{top:0}"])
def test_attributes_count_where_a_rule_names_one(sheet: str) -> None:
    one, other = (f'<style>{sheet}</style><a href="{url}" title="{url}">x</a>' for url in ("https://example.com", "x"))
    assert skeleton(one) != skeleton(other)


def marked(source: str) -> str:
    """`source` with a number in each start tag, as an attribute that no rule names."""
    return spliced(source, [(end, end, f' n="{number}"') for number, end in enumerate(Outline(source).name_ends)])


def styles(html: str) -> dict[str, str]:
    found = re.findall(r'<[a-z0-9]+ n="([0-9]+)"(?: (?!style=)[^=>]*="[^"]*")* style="([^"]*)"', INLINER.inline(html))
    return dict(reversed(found))


def same_styles(source: str) -> bool:
    outline = Outline(source)
    bare = Skeleton(outline, "".join(outline.sheets))
    marks = [f' n="{number}"' for number in range(len(outline.names))]
    return styles(marked(source)) == styles(bare.marked(marks, bare.attributes))


PIECES = (
    *("<p>", "</p>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</td>", "</table>", "<div>", "</div>", '<a href="x">', "</a>"),
    *(
        "text",
        " ",
        "\n",
        "&nbsp;",
        "&#32;",
        "a &lt; b",
        "<!-- c -->",
        '<p class="b">',
        '<i id="c" title="t">',
        "<ul>",
        "<li>",
        "<br>",
    ),
)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_css_inline_says_the_same_of_a_document_and_its_skeleton(body: str) -> None:
    assert same_styles(f"<html><head>{CSS}</head><body>{body}</body></html>")


def test_css_inline_says_the_same_of_real_mails(corpus: Path | None) -> None:
    sources = [f"<html><head>{CSS}</head><body><p>Hello<p></p><table><tr><td>a<a>b</a></td></tr></table></body></html>"]
    sources += [file.read_text() for file in sorted((corpus or Path("/nonexistent")).glob("html/*.html"))]
    different = [source[:200] for source in sources if not same_styles(source)]
    assert different == []


def test_the_second_message_of_a_template_gets_what_the_first_got() -> None:
    def message(name: str, url: str) -> str:
        return f'<html><head>{CSS}<title>{name}</title></head><body class="b"><p style="top:1px">{name}</p><a href="{url}">x</a>'

    for name, url in (("Alice", "https://example.com/a"), ("Bob, longer", "https://example.com/bbb?c=d")):
        source = message(name, url)
        found = inline(Outline(source))
        result = spliced(source, found.splices)
        assert f'<p style="color: red;top: 1px">{name}</p><a style="top: 0;" href="{url}">x</a>' in result
