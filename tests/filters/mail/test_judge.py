"""The judge: it lets the four kinds of splices pass, and whatever else it lets pass changes nothing but what they may change.

What it says is held against a second parser: the tokens of the text before and after.
"""

import re

import pytest
import turbohtml
from hypothesis import example, given
from hypothesis import strategies as st

from filters.mail.draft import Draft, Splice, spliced
from filters.mail.judge import BACKGROUNDS, IMAGES, LINKS, MARKS, PIXEL, is_sound
from filters.mail.outline import Outline, values

URL = "https://clicks.example.com/a-ID?b=1&amp;c"
IMAGE = f'<img src="{URL}" width="1" height="1" alt="" style="border:0">'


def sound(source: str, *splices: Splice) -> bool:
    return is_sound(splices, Outline(source))


def at(source: str, what: str) -> int:
    assert source.count(what) == 1, (source, what)
    return source.index(what)


def over(source: str, what: str, text: str) -> Splice:
    """The splice that puts `text` in the place of `what`."""
    return at(source, what), at(source, what) + len(what), text


def before(source: str, what: str, text: str) -> Splice:
    return at(source, what), at(source, what), text


def behind(source: str, what: str, text: str) -> Splice:
    return at(source, what) + len(what), at(source, what) + len(what), text


SOURCE = """<!doctype html><title>t</title><body background="bg.png" style='s:t'><!-- c --><p class=q>text
<a href="l1" data-no-track id=i>x</a><a href=l2>y</i ><area href='l3'><img src="i1"><td background=b2>
<!--[if mso]><v:rect href="l4" fill=t><v:fill src='i2'><![endif]--><script src="s1">'</body>'</script></body ></html>"""

GOOD = {
    "a style for a tag without one": behind(SOURCE, "<p", " style=\"color: red;font: 'x'&amp;&#8364;\""),
    "a style in place of one": over(SOURCE, "style='s:t'", 'style="u:v"'),
    "a link": over(SOURCE, "l1", URL),
    "a link without quotes": over(SOURCE, "l2", f'"{URL}"'),
    "a link of an area": over(SOURCE, "l3", URL),
    "a link for Outlook": over(SOURCE, "l4", URL),
    "an image": over(SOURCE, "i1", URL),
    "an image for Outlook": over(SOURCE, "i2", URL),
    "a background": over(SOURCE, "bg.png", URL),
    "a background without quotes": over(SOURCE, "b2", f'"{URL}"'),
    "a mark": over(SOURCE, " data-no-track", ""),
    "the pixel": before(SOURCE, "</body >", IMAGE),
}


@pytest.mark.parametrize("splice", GOOD.values(), ids=GOOD.keys())
def test_each_of_the_four_kinds_passes(splice: Splice) -> None:
    assert sound(SOURCE, splice)


def test_all_of_them_together_pass_in_their_order_only() -> None:
    splices = sorted(GOOD.values())
    assert sound(SOURCE, *splices)
    assert sound(SOURCE)
    assert not sound(SOURCE, *reversed(splices))
    for number in range(len(splices) - 1):
        swapped = [*splices[:number], splices[number + 1], splices[number], *splices[number + 2 :]]
        assert not sound(SOURCE, *swapped)


@pytest.mark.parametrize("splice", GOOD.values(), ids=GOOD.keys())
def test_none_passes_twice(splice: Splice) -> None:
    assert not sound(SOURCE, splice, splice)


BAD = {
    "a text": over(SOURCE, "text", "more"),
    "nothing in place of a text": over(SOURCE, "text", ""),
    "nothing in no place": (at(SOURCE, "text"), at(SOURCE, "text"), ""),
    "a class": behind(SOURCE, "<p", ' class="x"'),
    "a handler": behind(SOURCE, "<p", ' onclick="x"'),
    "another value": over(SOURCE, "q", '"r"'),
    "an id": over(SOURCE, "id=i", ""),
    "a whole tag": over(SOURCE, "<p class=q>", ""),
    "a name": over(SOURCE, "area", "abbr"),
    "a whole link": over(SOURCE, ' href="l1"', ""),
    "a value without its quotes": over(SOURCE, '"l1"', f'"{URL}"'),
    "a value with other quotes": over(SOURCE, "'l3'", f'"{URL}"'),
    "quotes in quotes": over(SOURCE, "l1", f'"{URL}"'),
    "no quotes": over(SOURCE, "l2", URL),
    "single quotes": over(SOURCE, "l2", f"'{URL}'"),
    "part of a value": (at(SOURCE, "l1"), at(SOURCE, "l1") + 1, URL),
    "no value": over(SOURCE, "l1", ""),
    "the source of a script": over(SOURCE, "s1", URL),
    "a doctype": over(SOURCE, "!doctype html", "x"),
    "a title": over(SOURCE, "t</title>", "u</title>"),
    "a comment": over(SOURCE, " c ", URL),
    "a value in a script": over(SOURCE, "</body>'", URL),
    "an end tag": over(SOURCE, "</i >", "</b>"),
    "a style in an end tag": behind(SOURCE, "</i", ' style="x"'),
    "a style behind the blank": behind(SOURCE, "<p ", ' style="x"'),
    "a style for a tag that has one": behind(SOURCE, "<body", ' style="x"'),
    "a style without a blank": behind(SOURCE, "<p", 'style="x"'),
    "a style in place of another attribute": over(SOURCE, "class=q", 'style="x"'),
    "a style in a comment for Outlook": behind(SOURCE, "<v:rect", ' style="x"'),
    "the condition of a comment": over(SOURCE, "mso", "x"),
    "the end of a comment": over(SOURCE, "<![endif]-->", ""),
    "another attribute in a comment": over(SOURCE, "fill=t", ""),
    "a pixel in a tag": before(SOURCE, "class", IMAGE),
    "a pixel in a name": behind(SOURCE, "<are", IMAGE),
    "a pixel in an end tag": behind(SOURCE, "</i", IMAGE),
    "a pixel in a value": before(SOURCE, "bg.png", IMAGE),
    "a pixel in a title": before(SOURCE, "</title>", IMAGE),
    "a pixel in a script": before(SOURCE, "</script>", IMAGE),
    "a pixel in the text of a script": before(SOURCE, "</body>'", IMAGE),
    "a pixel in a comment": before(SOURCE, " c ", IMAGE),
    "a pixel in a comment for Outlook": before(SOURCE, "<v:rect", IMAGE),
    "a pixel in the doctype": before(SOURCE, "doctype", IMAGE),
    "a pixel in place of a tag": over(SOURCE, "<p class=q>", IMAGE),
    "a pixel in a text": (at(SOURCE, "text") + 1, at(SOURCE, "text") + 1, IMAGE),
}


@pytest.mark.parametrize("splice", BAD.values(), ids=BAD.keys())
def test_anything_else_does_not(splice: Splice) -> None:
    assert not sound(SOURCE, splice)
    assert not sound(SOURCE, *sorted([splice, *GOOD.values()]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "/a",
        "//clicks.example.com/a",
        "clicks.example.com/a",
        "javascript:alert(1)",
        "https://clicks.example.com",
        "https://clicks.example.com/a b",
        'https://clicks.example.com/a"b',
        "https://clicks.example.com/a'b",
        "https://clicks.example.com/a>b",
        "https://clicks.example.com/a<b",
        "https://clicks.example.com/a`b",
        "https://clicks.example.com/a\\b",
        "https://clicks.example.com/a\nb",
        "https://clicks.example.com/a\xe9",
        "https://clicks.example.com/a&b",
        "https://clicks.example.com/a&amp",
        "https://clicks.example.com/a&quot;",
        "https://clicks.example.com/a&#34;",
        "https://user@clicks.example.com/a",
        "https://clicks.example.com/a\n",
        " https://clicks.example.com/a",
        "https://clicks.example.com/a\0",
        "ftp://clicks.example.com/a",
        "HTTPS://clicks.example.com/a",
    ],
)
@pytest.mark.parametrize("what", ["l1", "l2", "l3", "l4", "i1", "i2", "bg.png", "b2"])
def test_only_urls_that_cannot_break_out_are_values(what: str, text: str) -> None:
    quoted = f'"{text}"' if what in ("l2", "b2") else text
    assert not sound(SOURCE, over(SOURCE, what, quoted))


@pytest.mark.parametrize(
    "text",
    [
        'style="a"b',
        'style="a" b',
        'style="a" onclick="b"',
        'style="a>"',
        'style="<a"',
        'style="a""',
        'style="&x;"',
        'style="&"',
        'style="&amp"',
        'style="&#x41;"',
        'style="\xe9"',
        'style="\0"',
        "style='a'",
        "style=a",
        "style",
        'STYLE="a"',
        'style ="a"',
        'class="a"',
        '\tstyle="a"',
        ' style="a"\n',
        'style="a',
    ],
)
def test_only_style_attributes_that_cannot_break_out_pass(text: str) -> None:
    assert not sound(SOURCE, behind(SOURCE, "<p", f" {text}"))
    assert not sound(SOURCE, behind(SOURCE, "<p", text))
    assert not sound(SOURCE, over(SOURCE, "style='s:t'", text))


@pytest.mark.parametrize(
    "text",
    [
        "<img>",
        IMAGE.replace("img", "hr"),
        IMAGE.replace("img ", "img onload=x "),
        IMAGE.replace('"1"', '"2"', 1),
        IMAGE.replace('alt=""', 'alt="x"'),
        IMAGE.replace("border:0", "x'y"),
        IMAGE.replace("border:0", 'x" y="'),
        IMAGE.replace("border:0", "x&y"),
        IMAGE.replace("border:0", "background:url(x)"),
        IMAGE.replace("https:", "javascript:"),
        IMAGE.replace("https://clicks.example.com", ""),
        IMAGE.replace(URL, 'https://x/"><script src="https://x/'),
        IMAGE + IMAGE,
        IMAGE + " ",
        " " + IMAGE,
        IMAGE[:-1],
        IMAGE + "x",
        IMAGE[:-1] + "/>",
    ],
)
def test_only_the_pixel_passes_between_tags(text: str) -> None:
    assert sound(SOURCE, before(SOURCE, "</body >", IMAGE))
    assert not sound(SOURCE, before(SOURCE, "</body >", text))


def test_two_pixels_do_not_pass() -> None:
    first, second = before(SOURCE, "</i ><area", IMAGE), before(SOURCE, "</body >", IMAGE)
    assert sound(SOURCE, first)
    assert not sound(SOURCE, first, second)


@pytest.mark.parametrize(
    ("source", "place", "answer"),
    [
        ("", 0, True),
        ("x", 1, True),
        ("x", 0, False),
        ("<p>", 3, True),
        ("<p>", 0, True),
        ("<p", 2, False),
        ("<p", 0, True),
        ("<p></p>", 3, True),
        ("<p></p>", 5, False),
        ("<p ", 3, False),
        ("<p title='</body>", 10, False),
        ("<p title='</body>'>", 10, False),
        ("<a</b>", 2, False),
        ("</b <a>", 4, False),
        ("<!--", 4, False),
        ("<!-- x -->", 10, True),
        ("<!-- x", 6, False),
        ("<!-- </p>", 5, False),
        ("<!-- x --></p>", 10, True),
        ("<textarea>", 10, False),
        ("<textarea></p>", 10, False),
        ("<textarea></textarea>", 10, False),
        ("<textarea></textarea>", 21, True),
        ("<textarea></textarea >", 10, False),
        ("<textarea></textarea >", 22, True),
        ("<style></style></p>", 7, False),
        ("<style></style></p>", 15, True),
        ("<script><!--<script></script></p></script>", 29, False),
        ("<plaintext></body>", 11, False),
        ("a < b", 2, True),
        ("a </ b", 2, True),
        ("a </ b", 3, False),
        ("<![if x]></p>", 9, True),
        ("&am", 3, True),
    ],
)
def test_where_the_pixel_may_be(source: str, place: int, answer: bool) -> None:
    assert sound(source, (place, place, IMAGE)) is answer


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ('<b href="@">', False),
        ('<link href="@">', False),
        ('<base href="@">', False),
        ('<script src="@"></script>', False),
        ('<iframe src="@"></iframe>', False),
        ('<img href="@">', False),
        ('<a src="@">', False),
        ('<a background="@">', False),
        ('<p background="@">', False),
        ('<img background="@">', False),
        ('<a xlink:href="@">', False),
        ('<a href="x" href="@">', False),
        ('<a data-href="@">', False),
        ('<a title="href=@">', False),
        ('</a href="@">', False),
        ('<!--<a href="@">-->', False),
        ('<textarea><a href="@"></textarea>', False),
        ('<a href="@', False),
        ('<A HREF="@">', True),
        ('<V:RECT HREF="@">', True),
        ('<th background="@">', True),
        ('<!--[if mso]><img src="@"><![endif]-->', True),
        ('<!--[if mso]><link href="@"><![endif]-->', False),
        ('<!--[if mso]><b href="@"><![endif]-->', False),
        ('<!--[if mso]><a href="x" href="@"><![endif]-->', False),
        ('<!--[if mso]><!--<a href="@"><![endif]-->', False),
        ('<!--[if mso]><style><a href="@"></style><![endif]-->', False),
        ('<!--[if <a href="@"><![endif]-->', False),
        ('<!--x[if mso]><a href="@"><![endif]-->', False),
        ('<!--[if mso]>"@"<![endif]-->', False),
        ('<!--[if "@', False),
    ],
)
def test_which_values_may_change(source: str, answer: bool) -> None:
    place = at(source, "@")
    assert sound(source, (place, place + 1, URL)) is answer


@pytest.mark.parametrize(
    ("source", "what", "answer"),
    [
        ("<a data-no-track href=x>", " data-no-track", True),
        ("<a data-no-track href=x>", "data-no-track", True),
        ("<a data-no-track href=x>", "data-no-track ", False),
        ("<a  data-no-track>", "  data-no-track", True),
        ("<a/data-no-track>", "/data-no-track", False),
        ("<a clicktracking='off'href=x>", " clicktracking='off'", False),
        ("<a clicktracking='off'href=x>", "clicktracking='off'", True),
        ("<a href=x clicktracking='off'/>", " clicktracking='off'", False),
        ("<a href=x clicktracking='off'/>", "clicktracking='off'", True),
        ("<a id data-no-track='' =x>", " data-no-track=''", False),
        ("<a id data-no-track='' =x>", "data-no-track=''", False),
        ("<a data-no-track=x>", "data-no-track", False),
        ("<a data-no-track=x>", "=x", False),
        ("<b data-no-track>", " data-no-track", False),
        ("<img data-no-track>", " data-no-track", False),
        ("<a title=' data-no-track'>", " data-no-track", False),
        ("</a data-no-track>", " data-no-track", False),
        ("<a>data-no-track</a>", "data-no-track", False),
        ("<a xdata-no-track>", "data-no-track", False),
        ("<!--[if mso]><a data-no-track><![endif]-->", " data-no-track", True),
        ("<!--[if mso]><b data-no-track><![endif]-->", " data-no-track", False),
    ],
)
def test_which_marks_may_go(source: str, what: str, answer: bool) -> None:
    assert sound(source, over(source, what, "")) is answer


# Everything the judge lets pass, whatever it is, is held against the tokens of a second parser.

DOCUMENTS = [
    SOURCE,
    '<p style="a:b"><a href="x" clicktracking="off"title=y>z</a><a id data-no-track href=u>v</a></body>',
    "<a href=x ses:no-track/><img src='y'><td background=z><textarea></body></textarea><b</i></html>",
    "<!--[if mso]><a href=\"x\" data-pm-no-track><v:fill src=y><![endif]--><area href='z' ><style>p{}</style></body><!-- x",
    '<p title=\'</body>\' style=a><script>\'<a href="x">\'</script><a href =\n"y" ><p title="</body>',
]
TEXTS = ["", URL, f'"{URL}"', ' style="a:b"', 'style="a:b"', IMAGE, "x", '"', " ", ">", f"{URL} x", f"{URL}'"]


def _tokens(source: str) -> list[tuple[object, ...]]:
    """The tokens of a text without what may be changed, but with the number of links and images in each tag."""
    found: list[tuple[object, ...]] = []
    for token in turbohtml.tokenize(source):
        if token.type == turbohtml.TokenType.START_TAG:
            attributes = {name: text for name, text in reversed(token.attrs)}
            urls = [name for name, tags in _ALLOWED if token.tag in tags and attributes.pop(name, None) is not None]
            attributes.pop("style", None)
            for mark in MARKS if token.tag in LINKS else ():
                attributes.pop(mark, None)
            found.append((token.tag, tuple(sorted(urls)), tuple(sorted((name, text or "") for name, text in attributes.items()))))
        elif token.type == turbohtml.TokenType.TEXT:
            if found and found[-1][0] == "text":
                found[-1] = ("text", f"{found[-1][1]}{token.data}")
            else:
                found.append(("text", token.data))
        elif token.type == turbohtml.TokenType.COMMENT:
            found.append(("comment", _comment(token.data or "")))
        else:
            found.append((token.type, token.tag, token.data))
    return found


_ALLOWED = (("href", LINKS), ("src", IMAGES), ("background", BACKGROUNDS))


def _comment(text: str) -> object:
    """A comment as it is; one that Outlook reads, as its own tokens."""
    opening = re.match(r"\[if[^>]*>", text, re.IGNORECASE)
    return (opening[0], tuple(_tokens(text[opening.end() :]))) if opening else text


def _changed_as_allowed(source: str, result: str) -> bool:
    """Whether two texts have the same tokens but for one pixel and what may be changed."""
    return _tokens(source) == _tokens(PIXEL.sub("", result, count=1)) and result.count(IMAGE) <= source.count(IMAGE) + 1


def _all_sound(source: str) -> list[Splice]:
    """Every splice of one of the kinds, in a text."""
    draft = Draft(source)
    outline = draft.outline
    for element in outline.elements(LINKS | IMAGES | BACKGROUNDS):
        for name, place in values(element).items():
            if any(name == wanted and element.name in tags for wanted, tags in _ALLOWED) and place.quote is not None:
                draft.write(place, URL.replace("&amp;", "&"))
            elif name in MARKS and element.name in LINKS:
                draft.remove(place)
    for number, end in enumerate(outline.name_ends):
        own = outline.style(number)
        draft.splice([(end, end, ' style="a:b"')] if own is None else [(end + own.start, end + own.end, 'style="a:b"')])
    place = outline.end_of_body()
    draft.splice([(place, place, IMAGE)])
    return draft.splices()


@pytest.mark.parametrize("source", DOCUMENTS)
def test_what_filters_do_passes_and_changes_what_it_may(source: str) -> None:
    splices = _all_sound(source)
    assert len(splices) >= 4
    assert sound(source, *splices)
    assert _changed_as_allowed(source, spliced(source, splices))


@given(st.data())
def test_a_sound_list_that_is_changed_is_refused_or_still_sound(data) -> None:
    source = data.draw(st.sampled_from(DOCUMENTS))
    splices = _all_sound(source)
    number = data.draw(st.integers(0, len(splices) - 1))
    start, end, text = splices[number]
    size = len(source)
    mutation = data.draw(
        st.sampled_from(["start", "end", "both", "text", "longer", "cut", "anywhere", "twice", "other text", "to the next"])
    )
    step = data.draw(st.sampled_from([-2, -1, 1, 2]))
    piece = data.draw(st.sampled_from(['"', "'", ">", "<", " ", "x", "&", "\n", "=", "/", "&quot;", IMAGE, ' style="c"']))
    place = data.draw(st.integers(0, len(text)))
    far = data.draw(st.integers(0, size))
    changed = {
        "start": [(start + step, end, text)],
        "end": [(start, end + step, text)],
        "both": [(start + step, end + step, text)],
        "text": [(start, end, text[:place] + piece + text[place:])],
        "longer": [(start, end, text + piece)],
        "cut": [(start, end, text[:place])],
        "anywhere": [(far, far, text)],
        "twice": [(start, end, text), (start, end, text)],
        "other text": [(start, end, data.draw(st.sampled_from(TEXTS)))],
        "to the next": [(start, splices[(number + 1) % len(splices)][1], text)],
    }[mutation]
    alone = data.draw(st.booleans())
    mutated = changed if alone else sorted([*splices[:number], *changed, *splices[number + 1 :]])
    if any(not 0 <= start <= end <= size for start, end, _ in mutated):
        return
    if sound(source, *mutated):
        assert _changed_as_allowed(source, spliced(source, mutated)), mutated


@given(st.data())
@example(None)
def test_any_splice_that_passes_changes_what_it_may(data) -> None:
    """Any text at any place of a document: what passes is seen by the second parser as one of the kinds."""
    if data is None:
        for source in DOCUMENTS:  # every place there is, with every text of the right form
            for place in range(len(source) + 1):
                for text in (IMAGE, ' style="a:b"', URL, f'"{URL}"', ""):
                    for end in {place, *([place + 1, place + 2] if place + 2 <= len(source) else [])}:
                        _check_one(source, (place, end, text))
        return
    source = data.draw(st.sampled_from(DOCUMENTS))
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(len(source), start + 30)))
    _check_one(source, (start, end, data.draw(st.sampled_from(TEXTS))))


def _check_one(source: str, splice: Splice) -> None:
    if sound(source, splice) and (splice[0] != splice[1] or splice[2]):
        assert _changed_as_allowed(source, spliced(source, [splice])), splice


PIECES = [
    *("<p>", "</p>", "<a href=x>", "</a>", '<img src="y">', "</body>", "</body >", "<p style=a>"),
    *("<td background='z'>", "<b</i>", "x", "<", "</", ">"),
    *("<!--", "-->", "--!>", "<!--[if mso]>", "<![endif]-->", "<v:rect href=x>", "<textarea>", "</textarea>", "</textarea "),
    *("<script>", "</script>"),
    *("<style>", "</style>", "<plaintext>", "<p title='", '<p title="', "'", '"', "<title>", "</title>", "<!x", "<?y"),
    *(" ", "=", "/", "<a data-no-track "),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.data())
def test_in_any_document_what_passes_changes_what_it_may(source: str, data) -> None:
    splices = _all_sound(source)
    assert sound(source, *splices), splices
    assert _changed_as_allowed(source, spliced(source, splices))
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(len(source), start + 20)))
    _check_one(source, (start, end, data.draw(st.sampled_from(TEXTS))))
