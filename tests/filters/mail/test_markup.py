"""The tokeniser: where tags and attributes are, against a table and against an independent WHATWG tokeniser."""

import time
from random import Random

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.markup import TOKEN, attributes, decoded, lowered, start_tags, value

HOSTILE = (
    '< > / = " \' ! - ? a B x é \n \t \f \r \r\n \0 <p <P </ </p> <br/> <1> <é> <\0 <K> <ſtyle> == =x => ="> =" =\' {{x}} *|IF|* '
    'style STYLE href class=a style="a:b" style=\'c\' style= <a&href=" <img&src=x/> <td&style= <v:rect&fill="t"> '
    "<!-- --> --!> <!--> <!---> <! <!doctype&html> <?xml&?> <![if&!mso]> <![endif]> <!--[if&mso]> <![endif]--> -- -> "
    "<script> <script </script> </script <scripty> <!--<script> <!--<script& <style> </style> </STYLE& <sTyLe\n> "
    "<textarea> </textarea> <title> </title/ <titles> "
    "<xmp> </xmp> <iframe> </iframe> <noembed> </noembed> <noframes> </noframes> "
    "&amp; &copy &#65; &#128; &#x110000; &#0; &lt &notit; &AMP=1 &;"
)
PIECES = [piece.replace("&", " ") if piece[0] in "<!" else piece for piece in HOSTILE.split(" ") if piece] + [" ", "\t"]

Tag = tuple[str, dict[str, str]]


def _ours(source: str) -> list[Tag]:
    found: list[Tag] = []
    for tag in start_tags(source):
        named: dict[str, str] = {}
        for attribute in attributes(source, tag):
            named.setdefault(attribute.name, value(source, attribute))
        found.append((tag.name, named))
    return found


def _theirs(source: str) -> list[Tag]:
    tokens = turbohtml.tokenize(source)
    return [
        (token.tag, {name: text or "" for name, text in token.attrs})
        for token in tokens
        if token.type == turbohtml.TokenType.START_TAG
    ]


def test_agrees_with_a_whatwg_tokeniser_on_hostile_documents() -> None:
    chance = Random(20250602)
    tags = 0
    for _ in range(4000):
        source = "".join(chance.choices(PIECES, k=chance.randint(1, 40)))
        expected = _theirs(source)
        assert _ours(source) == expected, repr(source)
        tags += len(expected)
    assert tags > 4000


@given(st.lists(st.sampled_from(PIECES) | st.text("<>/=\"'!- aA&#;1\n", max_size=8), max_size=25).map("".join))
def test_agrees_with_a_whatwg_tokeniser(source: str) -> None:
    assert _ours(source) == _theirs(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<a href="x">', [("a", {"href": "x"})]),
        ("<A HREF='x' Class=y>", [("a", {"href": "x", "class": "y"})]),
        ("<a b=c/>", [("a", {"b": "c/"})]),
        ("<a b = c d>", [("a", {"b": "c", "d": ""})]),
        ("<a b=>", [("a", {"b": ""})]),
        ('<a ="x">', [("a", {'="x"': ""})]),
        ('<a b="1"c="2">', [("a", {"b": "1", "c": "2"})]),
        ('<a b=1 B="2">', [("a", {"b": "1"})]),
        ('<a b="<p>">', [("a", {"b": "<p>"})]),
        ('<a b="<p>', []),
        ("<a <b>", [("a", {"<b": ""})]),
        ("a < b > c <3", []),
        ("<!-- <p> --><b>", [("b", {})]),
        ("<!--><b>", [("b", {})]),
        ("<!-- <p> --!><b>", [("b", {})]),
        ("<!--[if mso]><p><![endif]--><b>", [("b", {})]),
        ("<![if !mso]><p><![endif]>", [("p", {})]),
        ("<style>p{}<b></style ><i>", [("style", {}), ("i", {})]),
        ("<title><b></titles></title><i>", [("title", {}), ("i", {})]),
        ("<script><!--<script></script><b></script>--></script><i>", [("script", {}), ("i", {})]),
        ("<plaintext><b>", [("plaintext", {})]),
        ('</p title="<b>"><i>', [("i", {})]),
        ("<v:rect fill=t><o:p>", [("v:rect", {"fill": "t"}), ("o:p", {})]),
    ],
)
def test_tags_and_attributes(source: str, expected: list[Tag]) -> None:
    assert _ours(source) == expected


def test_spans_cut_the_source() -> None:
    source = "text <P CLASS='a b' hidden id=x\n style=\"c\">"
    (tag,) = start_tags(source)
    assert source[tag.start : tag.end] == source[5:]
    assert source[tag.start : tag.name_end] == "<P"
    found = list(attributes(source, tag))
    assert [source[a.start : a.end] for a in found] == ["CLASS='a b'", "hidden", "id=x", 'style="c"']
    assert [source[a.value_start : a.value_end] for a in found] == ["a b", "", "x", "c"]
    assert [a.quote for a in found] == ["'", None, "", '"']


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("<p><!--[if mso]><td><a href=x><![endif]--><b>", ["p", "td", "a", "b"]),
        ("<!--[if (gte mso 9)|(IE)]><td><![endif]--><!--[if !mso]><!--><i><!--<![endif]-->", ["td", "i"]),
        ("<!-- <td> --><!--x[if mso]><td>--><b>", ["b"]),
        ('<!--[if mso]><td title="--><b>">', ["b"]),
        ("<!--[if mso]><style>p{}--><b>", ["style", "b"]),
        ("<!--[if mso]>", []),
    ],
)
def test_tags_inside_conditional_comments_when_asked(source: str, names: list[str]) -> None:
    assert [tag.name for tag in start_tags(source, conditional=True)] == names


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a&amp;b", "a&b"),
        ("?a=1&copy=2", "?a=1&copy=2"),
        ("&copy2 &copy; &copy", "&copy2 © ©"),
        ("&notit; &notin;", "&notit; ∉"),
        ("&#65;&#x42;&#X43", "ABC"),
        ("&#128;&#x81;", "€\x81"),
        ("&#0;&#xD800;&#x110000;&#99999999999999999999;", "\ufffd" * 4),
        ("&#" + "1" * 5000 + ";", "\ufffd"),
        ("&#;&;&", "&#;&;&"),
        ("a\r\nb\rc\0", "a\nb\nc\ufffd"),
        ("&amp;amp;", "&amp;"),
    ],
)
def test_values_are_decoded_once(raw: str, text: str) -> None:
    assert decoded(raw) == text


def test_names_are_lowered_as_ascii() -> None:
    assert lowered("TD\u212aſ\0") == "td\u212aſ\ufffd"


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a_text_comes_apart_without_loss(source: str) -> None:
    tokens = list(TOKEN.finditer(source))
    assert all(token[0] == (f"<{token[1]}" if token[1] else f"<{token[2]}{token[3]}{token[4] or ''}") for token in tokens)
    assert len(TOKEN.split(source)) == 5 * len(tokens) + 1


@pytest.mark.parametrize("piece", [*PIECES, '<a b="x" ', "<a b='", "<a b=c ", "<script><!--<script>", "<!--[if a>", '<p t="&#1'])
def test_time_grows_with_the_length_only(piece: str) -> None:
    # Quadratic work would take minutes here; linear work takes a fraction of a second.
    for source in ("<p>" + piece * (400_000 // len(piece)), "<a " + piece * (200_000 // len(piece)) + ">"):
        begin = time.process_time()
        for tag in start_tags(source, conditional=True):
            for attribute in attributes(source, tag):
                value(source, attribute)
        assert time.process_time() - begin < 3
