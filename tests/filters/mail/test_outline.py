"""Outlines: the links a browser finds, the attributes it reads, the place where a body ends, and a text without loss."""

import time
from random import Random

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.judge import BACKGROUNDS, IMAGES, LINKS
from filters.mail.markup import decoded
from filters.mail.outline import Outline, value, values

HOSTILE = (
    "< > / = \" ' ! - ? a x é \n \t \f \r \r\n \0 </ </p> <br/> <1> <a <A <area <AREA <ab <abbr <a/ </a> </A </area> "
    "href HREF href= href=\" href=' href=x href=\"y\" href='z' xlink:href=x data-href=x Href&= href&=& =href "
    '<a&href="u"> <A&HREF=\'v\'> <a&href=w> <area&href="x"/> <a/href=y> <a&id="i"href="j"k> '
    '<a&href=l&href="m"> <a&href> <a&href=> '
    "<a&title=\"<a&href='n'>\"> <a&title='>&href=o'> <img&src=x> <td&background='p'> <p&href=q> "
    "<!-- --> --!> <!--> <!---> <! <!doctype&html> <?xml&?> <![if&!mso]> <![endif]> <!--[if&mso]> <![endif]--> -- -> "
    "<script> <script </script> </script <!--<script> <!--<script& <style> </style> </STYLE& <sTyLe\n> "
    "<textarea> </textarea> <title> </title/ <xmp> </xmp> <iframe> </iframe> <noembed> </noembed> <noframes> </noframes> "
    "&amp; &copy &#65; &#128; &lt &notit; &AMP=1 &;"
)
PIECES = [piece.replace("&", " ") if piece[0] in "<!h" else piece for piece in HOSTILE.split(" ") if piece] + [" ", "\t"]
IN_THE_SUITE = 4_000  # documents

Found = list[tuple[str, str | None]]


def documents(count: int) -> list[str]:
    """Generated hostile documents, the same each time."""
    chance = Random(20250602)
    return ["".join(chance.choices(PIECES, k=chance.randint(1, 40))) for _ in range(count)]


def ours(source: str) -> Found:
    """Each link in order: its name and the value of its href, None where it has no value."""
    found: Found = []
    for element in Outline(source).elements(frozenset(("a", "area"))):
        href, named = value(element, "href"), values(element).get("href")
        assert href == named or (href is None and named is not None and named.quote is None)
        if named is not None:
            assert source[named.value_start : named.value_end] == named.raw
            assert source[named.start : named.end].lower().startswith("href")
        found.append((element.name, decoded(named.raw) if named is not None and named.quote is not None else None))
    return found


def theirs(source: str) -> Found:
    tokens = turbohtml.tokenize(source)
    links = [token for token in tokens if token.type == turbohtml.TokenType.START_TAG and token.tag in ("a", "area")]
    return [(token.tag, dict(reversed(token.attrs)).get("href") or None) for token in links]


def test_finds_the_links_that_a_whatwg_parser_finds() -> None:
    links = 0
    for source in documents(IN_THE_SUITE):
        outside = source.replace("[if", "[of")  # what is in comments a browser does not see
        expected = theirs(outside)
        assert [(name, href or None) for name, href in ours(outside)] == expected, repr(outside)
        links += sum(href is not None for _, href in expected)
    assert links > IN_THE_SUITE / 3


def _unlike_tokens(tree: turbohtml.Document) -> bool:
    """Whether there are elements in which a tree is not what its tokens are (see filters.mail.markup)."""
    return any(tree.find(name) for name in ("svg", "math", "select", "frameset", "plaintext"))


@given(st.lists(st.sampled_from(PIECES) | st.text("<>/=\"'!- aA&#;1\n", max_size=8), max_size=25).map("".join))
def test_finds_the_links_that_are_in_the_tree(source: str) -> None:
    """The same set of links as in the tree, where a link may stand more than once, or in what no browser shows."""
    source = source.replace("[if", "[of")
    tree = turbohtml.parse(source)
    links = {(each.tag, each.attrs.get("href") or None) for each in tree.descendants if isinstance(each, turbohtml.Element)}
    if not _unlike_tokens(tree):
        assert {link for link in links if link[0] in ("a", "area")} <= {(name, href or None) for name, href in ours(source)}


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a_text_is_cut_without_loss(source: str) -> None:
    outline = Outline(source)
    again, position = "", 0
    for name, attributes, end in zip(outline.names, outline.attributes, outline.name_ends, strict=True):
        begin = end - len(name) - 1
        assert source[begin:end] == f"<{name}"
        assert source[end : end + len(attributes) + 1] == f"{attributes}>"
        again += source[position:begin] + f"<{name}{attributes}>"
        position = end + len(attributes) + 1
    assert again + source[position:] == source
    assert source.endswith(outline.tail)
    previous = 0
    for begin, end in outline.others:
        assert previous <= begin < end
        assert source[begin] == "<"
        assert not any(begin < name_end <= end for name_end in outline.name_ends)
        previous = end
    assert set(outline.conditionals) <= set(outline.others)
    assert all(source[begin:end].lower().startswith("<!--[if") for begin, end in outline.conditionals)
    ends = [outline.end_of_body()]
    assert 0 <= ends[0] <= len(source)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_an_image_at_the_end_of_the_body_is_one_image(source: str) -> None:
    place = Outline(source).end_of_body()
    marked = f"{source[:place]}<img id=our-pixel>{source[place:]}"
    before, after = (list(turbohtml.tokenize(text)) for text in (source, marked))
    found = [token for token in after if token.tag == "img" and ("id", "our-pixel") in token.attrs]
    assert len(found) == 1
    kinds = [[(token.type, token.tag) for token in tokens if token.tag] for tokens in (before, after)]
    kinds[1].remove((found[0].type, "img"))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (' href="x"', ("x", '"')),
        (" href='x'", ("x", "'")),
        (" href=x", ("x", "")),
        (" href=x/", ("x/", "")),
        (' HREF = "x"', ("x", '"')),
        ("/href=x", ("x", "")),
        (" a=b href='>'", (">", "'")),
        (' href=""', ("", '"')),
        (" href=''", ("", "'")),
        (' href="x" href="y"', ("x", '"')),
        (' HREF=x href="y"', ("x", "")),
        (' data-href="x" href="y"', ("y", '"')),
        (' title="href=" href="y"', ("y", '"')),
        (' title=" href="x"', None),
        (" title=' href=\"x\"'", None),
        (' a=\'b" href="x"\'', None),
        (' a=b" href="x"', ("x", '"')),
        (' xlink:href="x"', None),
        (' data-href="x"', None),
        (" href", (None, None)),
        (" href=", (None, None)),
        (' href href="x"', (None, None)),
        (" hrefs=x", None),
        (' h\u0280ef="x"', None),
        ("", None),
    ],
)
def test_the_value_of_an_attribute(attributes: str, expected: tuple[str | None, str | None] | None) -> None:
    source = f"<p><a{attributes}>"
    _, element = Outline(source).elements(frozenset(("a", "p")))
    named, quick = values(element).get("href"), value(element, "href")
    assert (None if named is None else (named.raw if named.quote is not None else None, named.quote)) == expected
    assert quick == named or (quick is None and expected == (None, None))
    if named is not None:
        assert source[named.start : named.start + 4].lower() == "href"
        assert source[named.value_start : named.value_end] == named.raw


@given(st.text(" \n/=\"'>hrefHREFxa-<&;", max_size=40))
def test_the_quick_way_to_a_value_is_the_long_way(attributes: str) -> None:
    for element in Outline(f"<a{attributes}>").elements(frozenset(("a",))):
        long, quick = values(element).get("href"), value(element, "href")
        assert quick == long or (quick is None and long is not None and long.quote is None)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("<p><!--[if mso]><td><a href=x><![endif]--><b>", ["p", "td", "a", "b"]),
        ("<!--[if (gte mso 9)|(IE)]><td><![endif]--><!--[if !mso]><!--><i><!--<![endif]-->", ["td", "i"]),
        ("<!-- <td> --><!--x[if mso]><td>--><b>", ["b"]),
        ('<!--[if mso]><td title="--><b>">', ["b"]),
        ("<!--[if mso]><td><!--[if x]><td>--><b>", ["td", "b"]),
        ("<!--[if mso]><td", []),
        ("<!--[if mso", []),
        ("<!--[if", []),
        ("<!--[if mso--><b>", ["b"]),
        ("<!--[if mso>--><b>", ["b"]),
        ("<!--[if mso]>--!><b>", ["b"]),
        ("<!--[if mso]><td --><b>", ["b"]),
        ("<!--[IF MSO]><TD><![ENDIF]-->", ["td"]),
        ("<TD><td\0><\u017ftd><\u212a><K>", ["td", "k"]),
    ],
)
def test_elements_are_those_a_browser_or_outlook_reads_in_order(source: str, names: list[str]) -> None:
    wanted = frozenset(("p", "td", "a", "b", "i", "k"))
    found = Outline(source).elements(wanted)
    assert [element.name for element in found] == [name for name in names if name in wanted]
    assert [element.at for element in found] == sorted(element.at for element in found)
    for element in found:
        assert source[element.at - len(element.name) : element.at].lower() == element.name
        assert source[element.at : element.end] == f"{element.attributes}>"


@pytest.mark.parametrize(
    ("source", "place", "span"),
    [
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 0, None),
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 1, (0, 24)),
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 23, (0, 24)),
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 24, None),
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 25, (24, 48)),
        ("<!--[if a]>x<![endif]--><!--[if b]>y<![endif]-->", 48, None),
        ("<p><!--[if a]>x<![endif]-->", 1, None),
        ("<p><!-- x -->", 5, None),
    ],
)
def test_which_comment_for_outlook_a_place_is_in(source: str, place: int, span: tuple[int, int] | None) -> None:
    assert Outline(source).conditional_at(place) == span


@pytest.mark.parametrize(
    "piece",
    [*PIECES, "<!--[if a]><a href=x><!-->", "</body >", "</html>", "<textarea></textarea ", "<a href='", "<!--[if a>"],
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    source = piece * (300_000 // len(piece))
    begin = time.process_time()
    outline = Outline(source)
    for element in outline.elements(LINKS | IMAGES | BACKGROUNDS):
        value(element, "href")
    outline.end_of_body()
    assert time.process_time() - begin < 3
