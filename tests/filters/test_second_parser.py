"""Every change held against a second parser: the tree of a document before and after, with all features on.

They must be equal but for what is declared: the links and images in the job, which must unseal to what they led to; style
attributes; the marks of links that are not to be tracked; and one invisible image.
"""

import re
from dataclasses import dataclass, field
from typing import Self

import pytest
import turbohtml
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.job import Envelope, Job, Link, Result, Site, Tracking
from filters.mail import parts
from filters.mail.judge import BACKGROUNDS, IMAGES, LINKS, MARKS, PIXEL
from filters.mail.message import Field, Message
from filters.mail.text import decode
from filters.pipeline import transform
from filters.target import Untracked, target
from journal import links
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.options import Options
from policy.reply import Refused

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
BASE = "https://clicks.example.com"
TRACKING = Tracking(base=BASE, hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
ALL = Options(inlinecss=True, trackclicks=True, trackopens=True, preventscam=True)
URLS = (("href", LINKS), ("src", IMAGES), ("background", BACKGROUNDS))
# An image between these brings those that are open to life again (13.2.4.3), so the pixel may get some of them as parents.
FORMATTING = frozenset(("a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"))


def transformed(message: Message) -> Result:
    envelope = Envelope(mail_from="", rcpt_to=("reader@example.net",))
    return transform(Job(login="0" * 32, account="shop", envelope=envelope, options=ALL, message=message), SITE)


@dataclass
class Node:
    """An element with the attributes that must stay and the URLs that may change, or a text, a comment, a doctype."""

    kind: str
    attributes: dict[str, str] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    children: list[Self] = field(default_factory=list)

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()


def node(tag: str, named: dict[str, str]) -> Node:
    """An element without what may change unseen: its style, its marks."""
    urls = {name: named[name] for name, tags in URLS if tag in tags and name in named}
    gone = {"style", *urls, *(MARKS if tag in LINKS else ())}
    return Node(tag, {name: text for name, text in named.items() if name not in gone}, urls)


def tree(source: str) -> Node:
    """The tree of a document. Its comments are in a list of their own: where nothing is shown, the pixel begins the body and
    so moves a comment that no element holds.
    """
    root, comments = Node("document"), Node("comments")
    places = {id(None): root}
    kept: list[object] = []  # so that no id is given twice
    for each in turbohtml.parse(source).descendants:
        kept.append(each)
        if isinstance(each, turbohtml.Element):
            made = node(each.tag, {name: text or "" for name, text in each.attrs.items()})
        elif isinstance(each, turbohtml.Comment):
            comments.children.append(comment(each.data))
            continue
        else:
            made = (
                Node("text", {"": each.data}) if isinstance(each, turbohtml.Text) else Node(type(each).__name__, {"": str(each)})
            )
        parent = places.get(id(each.parent), root)
        parent.children.append(made)
        places[id(each)] = made
    return Node("all", children=[root, comments])


def comment(text: str) -> Node:
    """A comment; one that Outlook reads has the start tags in it as its children."""
    opening = re.match(r"\[if[^>]*>", text, re.IGNORECASE)
    if opening is None:
        return Node("comment", {"": text})
    children = [Node("opening", {"": opening[0]})]
    for token in turbohtml.tokenize(text[opening.end() :]):
        if token.type == turbohtml.TokenType.START_TAG:
            children.append(node(token.tag, {name: value or "" for name, value in reversed(token.attrs)}))
        else:
            children.append(Node(f"{token.type} {token.tag}", {"": token.data or ""}))
    return Node("conditional", {}, {}, children)


def merged(children: list[Node]) -> list[Node]:
    """The children with texts that stand side by side made one."""
    found: list[Node] = []
    for child in children:
        if child.kind == "text" and found and found[-1].kind == "text":
            found[-1] = Node("text", {"": found[-1].attributes[""] + child.attributes[""]})
        else:
            found.append(child)
    return found


def without_pixel(root: Node) -> tuple[int, list[Node]]:
    """Takes the pixels out; how many there were, and the elements that were open around the last one, from the inside."""
    count, path = 0, []

    def visit(parent: Node, around: list[Node]) -> None:
        nonlocal count, path
        for child in list(parent.children):
            if child.kind == "img" and links.is_pixel(child.urls.get("src", "").removeprefix(BASE).encode()):
                assert child.attributes == {"width": "1", "height": "1", "alt": ""}
                parent.children = [each for each in parent.children if each is not child]
                count, path = count + 1, [parent, *around]
            else:
                visit(child, [parent, *around])
        parent.children = merged(parent.children)

    visit(root, [])
    return count, path


def differences(before: Node, after: Node) -> str | None:
    """The first difference but for URLs, or None."""
    if (before.kind, before.attributes, before.urls.keys()) != (after.kind, after.attributes, after.urls.keys()):
        return f"{before.kind} {before.attributes} {before.urls} is now {after.kind} {after.attributes} {after.urls}"
    if len(before.children) != len(after.children):
        return f"{[child.kind for child in before.children]} in {before.kind} are now {[child.kind for child in after.children]}"
    for one, other in zip(before.children, after.children, strict=True):
        if found := differences(one, other):
            return found
    return None


def without_formatting(parent: Node) -> Node:
    """The same with what formatting elements hold in their place."""
    children: list[Node] = []
    for child in map(without_formatting, parent.children):
        children += child.children if child.kind in FORMATTING else [child]
    return Node(parent.kind, parent.attributes, parent.urls, merged(children))


def check_tree(source: str, result: str) -> tuple[Node, Node]:
    """That two documents are the same but for URLs, and one pixel. Returns their trees without the pixel."""
    before, after = tree(source), tree(result)
    old, _ = without_pixel(before)
    new, path = without_pixel(after)
    assert (old, new) == (0, 1), result
    found = differences(before, after)
    while found and len(path) > 1 and path[0].kind in FORMATTING and not path[0].children:
        gone, *path = path
        path[0].children = merged([child for child in path[0].children if child is not gone])
        found = differences(before, after)
    if found and re.search(r"(?i)</body.*<", source, re.DOTALL):
        # What stands behind a pixel in misnested markup may get formatting elements as parents that it had as children.
        before, after = without_formatting(before), without_formatting(after)
        found = differences(before, after)
    assert found is None, (found, source, result)
    return before, after


def check_links(before: Node, after: Node, done: list[Link]) -> None:
    """That the URLs in two trees differ as declared, and that every one which could be tracked is declared."""
    declared = {(link.image, link.before, link.after) for link in done if link.number}
    left = {(link.image, link.before) for link in done if not link.number}
    for one, other in zip(before.walk(), after.walk(), strict=True):
        for name, was in one.urls.items():
            now, image = other.urls[name], name != "href"
            if was != now:
                assert (image, was, now) in declared, (was, now)
                assert target(was, unicode=True) == unsealed(now, image=image)
            elif is_trackable(was):
                assert (image, was) in left, was
    numbers = [[link.number for link in done if link.number and link.image is image] for image in (False, True)]
    assert numbers == [list(range(1, len(each) + 1)) for each in numbers]


def unsealed(url: str, *, image: bool) -> str:
    path, _, query = url.removeprefix(BASE).partition("#")[0].partition("?")
    visit = links.read(RING, path.encode(), query.encode())
    assert visit is not None, url
    assert visit.image is image
    return visit.destination


def ends_whole(source: str) -> bool:
    """Whether a text does not end in the middle of a token; the pixel is before one that it ends in, an odd place in a tree."""
    return [token.tag for token in turbohtml.tokenize(f"{source}<hr>")][-1] == "hr"


def is_trackable(url: str) -> bool:
    try:
        return target(url, unicode=True) is not None
    except Untracked:
        return True  # it must be told why not


def check(name: str, received: Message, result: Result) -> int:
    """Holds one message against the second parser; the number of HTML parts that were changed."""
    left, events = result.job.message, result.job.events
    assert not any(event.kind is Kind.FALLBACK for event in events), (name, events)
    told = {event.subject for event in events if event.kind is not Kind.ATTEMPT}
    assert {"inlinecss", "trackclicks", "trackopens", "preventscam"} <= told, (name, told)
    old, new = parts.scan(received), parts.scan(left)
    changed = []
    for before, after in zip(old.leaves, new.leaves, strict=True):
        was, now = received.body[slice(*before.body)], left.body[slice(*after.body)]
        if was == now:
            continue
        contents = parts.content(received, before), parts.content(left, after)
        texts = [decode(content, before.charset) for content in contents]
        assert before.content_type == "text/html", name
        assert texts[0] is not None
        assert texts[1] is not None
        assert texts[0].codec == texts[1].codec, name
        changed.append([text.text for text in texts if text])
    pixels = sum(len(PIXEL.findall(text)) for _, text in changed)
    assert pixels == bool(changed), name
    if len(changed) == 1 and ends_whole(changed[0][0]):
        check_links(*check_tree(*changed[0]), list(result.job.links))
    return len(changed)


def test_every_message_changes_as_declared_and_not_otherwise(messages: list[tuple[str, bytes]]) -> None:
    changed = 0
    for name, raw in messages:
        message = Message.parse(raw)
        try:
            result = transformed(message)
        except Refused:
            continue
        changed += check(name, message, result)
    assert changed > (0 if len(messages) < 200 else 60)


def of_html(source: str) -> Message:
    fields = (Field(b"From", b" a@example.com"), Field(b"Content-Type", b" text/html; charset=utf-8"))
    return Message(fields, source.encode().replace(b"\n", b"\r\n"))


SHEETS = [
    "*{color:red}",
    "p,td{margin:0}",
    ".a{color:red!important}",
    "a:hover{b:c}",
    "@media x{a{q:r}}",
    "a[href]{d:e}",
    "p{a",
    "/* ",
]
PIECES = [
    *(
        "<p>",
        "</p>",
        "<div>",
        "</div>",
        "<table>",
        "<tr>",
        "<td>",
        "</td>",
        "</table>",
        "<b>",
        "</b>",
        "<i>",
        "<br/>",
        "<ul>",
        "<li>",
    ),
    *(
        "x",
        " {{y}}",
        "*|Z|*",
        "&amp;",
        "&copy",
        ">",
        "<",
        '"',
        "'",
        "\n",
        "\r\n",
        "é",
        "\0",
        "www.example.com",
        "http://www.example.com/",
    ),
    *("</body>", "</BODY\n>", "</html>", "<html>", "<head>", "</head>", "<body>", "<body background='http://img.example.com/b'>"),
    *(
        "<a href=http://www.example.com/>",
        '<a href="http://www.example.com/?a&amp;b" class=a>',
        "<A HREF='HTTP://WWW.EXAMPLE.COM/é b'>",
        "</a>",
    ),
    *(
        "<a href=mailto:x>",
        "<a name=x>",
        "<a href='http://u@www.example.com/'>",
        "<a href=http://www.example.com/ clicktracking=off>",
    ),
    *('<a clicktracking="off"href="http://www.example.com/a"data-no-track>', "<a href='\nhttp://www.example.com/\n'id=x href=y>"),
    *(
        "<area href=//x>",
        "<area href='https://www.example.com/#f'>",
        "<img src=http://img.example.com/a/>",
        '<img alt=">" src="cid:x">',
    ),
    *(
        "<img src='http://img.example.com/%zz?'>",
        "<td background=http://img.example.com/b>",
        "<p style='a:b' background=http://img.example.com/>",
    ),
    *(
        "<!-- <a href=http://www.example.com/> -->",
        "<!-->",
        "<!--",
        "-->",
        "--!>",
        "<!--[if mso]>",
        "<![endif]-->",
        "<![if !mso]>",
    ),
    "<!--[if mso]><v:rect href='http://www.example.com/v' style=a><v:fill src=http://img.example.com/v /></v:rect><![endif]-->",
    "<!--[if mso]><a href=http://www.example.com/ data-no-track>x</a><td background=http://img.example.com/w><![endif]-->",
    *(
        "<title>",
        "</title>",
        "<textarea>",
        "</textarea>",
        "</textarea ",
        "<script>'<a href=http://www.example.com/>",
        "</script>",
    ),
    *(
        "<style>p{top:0}</style>",
        "<p title='<a href=http://www.example.com/>",
        '<p title="',
        "<a href='http://www.example.com/",
        "<a href=",
        "</a ",
    ),
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(SHEETS), max_size=3).map("".join), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_document_changes_as_declared_and_not_otherwise(css: str, body: str) -> None:
    message = of_html(f"<style>{css}</style>{body}")
    assert check(body, message, transformed(message)) == 1


@given(
    st.lists(
        st.sampled_from(
            [*PIECES, "<svg>", "</svg>", "<math>", "<select>", "<frameset>", "<noscript>", "<template>", "<plaintext>"]
        ),
        max_size=20,
    )
)
def test_no_document_is_too_odd_for_all_features(pieces: list[str]) -> None:
    """In these elements a tree may lose or move an image, so only what is told is looked at."""
    message = of_html("".join(pieces))
    result = transformed(message)
    assert not any(event.kind is Kind.FALLBACK for event in result.job.events)
    after = decode(parts.content(result.job.message, parts.scan(result.job.message).leaves[0]), "utf-8")
    assert after is not None
    assert len(PIXEL.findall(after.text)) == 1


@given(st.text("<>/='\"p abhref!-&#; \n\r\0xé", max_size=80))
def test_any_text_is_survived(body: str) -> None:
    message = of_html(body)
    result = transformed(message)
    assert check(body, message, result) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p>x</p>", "<p>y</p>"),
        ("<p>x</p>", "<p class=a>x</p>"),
        ("<p>x</p>", "<p><b>x</b></p>"),
        ("<p>x</p><!-- a -->", "<p>x</p><!-- b -->"),
        ("<!--[if mso]><b><![endif]-->", "<!--[if mso]><i><![endif]-->"),
        ("<!--[if mso]><b><![endif]-->", "<!--[if ie]><b><![endif]-->"),
        ("<a href=x>", "<a>"),
        ("<script>a</script>", "<script>b</script>"),
        ("<!doctype html><p>", "<p>"),
    ],
)
def test_the_comparison_sees_what_it_must(before: str, after: str) -> None:
    assert differences(tree(before), tree(before)) is None
    assert differences(tree(before), tree(after)) is not None
