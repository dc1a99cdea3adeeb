"""Images that record an opening: one invisible one for each message, wherever its body ends, and those it has."""

import re
from dataclasses import replace

import pytest
import turbohtml

from filters.job import Envelope, Job, Link, Site, Tracking
from filters.mail.draft import Draft, spliced
from filters.mail.judge import PIXEL, is_sound
from filters.mail.message import Message
from filters.mail.structure import Structure
from filters.rewrite import Document, Findings
from filters.track_opens import track_opens
from journal import links
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.options import Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com", "clicks.example.org"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
JOB = Job(
    login="0" * 32,
    account="shop",
    envelope=Envelope(mail_from="", rcpt_to=("reader@example.net",)),
    options=Options(trackopens=True),
    message=Message((), b""),
    seed=b"a seed of octets",
)
U = "http://img.example.com/"
NAME = "abcdefghijklmnopqrstuvwxyz234567.png"


def run(*sources: str, unicode: bool = True) -> tuple[tuple[str, ...], Findings]:
    drafts = tuple(Draft(source, unicode=unicode) for source in sources)
    findings = track_opens(JOB, SITE, Document(message=JOB.message, structure=Structure(), drafts=drafts))
    for draft in drafts:
        assert is_sound(draft.splices(), draft.outline), draft.source
    return tuple(spliced(draft.source, draft.splices()) for draft in drafts), findings


def plain(text: str) -> str:
    """A text with the pixel as `@` and each other URL of ours as its number and what is sealed in it."""
    text = PIXEL.sub(_pixel, text)
    return re.sub(r"https://clicks\.example\.com/[^\"'> ]*", lambda found: _opened(found[0].replace("&amp;", "&")), text)


def _pixel(found: re.Match[str]) -> str:
    source = re.search(r'src="https://clicks\.example\.com([^"]*)"', found[0])
    assert source is not None
    visit = links.read_pixel(RING, source[1].encode())
    assert visit == links.Visit(recipient=JOB.recipient, number=0, image=True)
    return "@"


def _opened(url: str) -> str:
    path, _, query = url.removeprefix(TRACKING.base).partition("#")[0].partition("?")
    hosted = links.read_hosted(RING, path.encode())
    visit = hosted.visit if hosted else links.read(RING, path.encode(), query.encode())
    assert visit is not None, url
    assert visit.recipient == JOB.recipient
    assert visit.image
    return f"{visit.number}={hosted.name if hosted else visit.destination}"


@pytest.mark.parametrize(
    "text",
    [
        # Before the last end of the body.
        "<p>x@</body></html>",
        "<p>x@</BODY></html>",
        "<p>x@</body >y</html>",
        "<p>x@</body\n\tclass='>'>",
        "<p>x@</body/>",
        "@</body>",
        "<p>x</body>y@</body>z",
        "<p>x@</body>text behind it",
        "<p>x@</body><!-- </body> -->",
        "<p>x@</body><script>'</body>'</script>",
        "<!-- </body> --><p>x@</body><p title='</body>'>",
        "<title></body></title>@</body>",
        "<!-- x -->@</body>",
        "<style>p{}</style>@</body>",
        "x&@</body>",
        "<table><tr><td>x@</body>",
        "@</body><!-- without an end",
        "@</body><p without an end",
        # Else before the last end of the whole.
        "<p>x@</html>",
        "<p>x@</HTML\n>\n",
        "</html><p>x@</html>",
        "<p>x@</html></bodyx></p>",
        # Else at the end.
        "@",
        "x@",
        "<p>x</p>\r\n@",
        "<p>x</bodyx></htmls>@",
        "<p>x<body><html>@",
        "<p>x<!-- </body></html> -->@",
        "<p>x<!--[if mso]></body></html><![endif]-->@",
        "<textarea></body></textarea>@",
        "<script>'</body>'</script>@",
        "<p title='</body>'>@",
        "x &lt;/body>@",
        "a < b@",
        "a<@",
        # Else before the token that the text ends in the middle of.
        "<p>x@<!-- without an end </body>",
        "<p>x@<!--[if mso]><a href='x'>",
        "<p>x@<!-- --",
        "<p>x@<!--",
        "<p>x@<!-",
        "<p>x@<!",
        "<p>x@<?xml",
        "<p>x@</",
        "<p>x@</p ",
        "<p>x@</b",
        "<p>x@</body ",
        "<p>x@<p title='</body>",
        "<p>x@<p ",
        "<p>x@<p",
        "<p>x@<textarea>y</body>",
        "<p>x@<textarea>y</textarea",
        "<p>x@<style>y</style",
        "<p>x@<title",
        "<p>x@<script>y<!-- </body></script",
        "<script><!--</script>@",
        "@<plaintext></body>",
        "@<xmp>",
    ],
)
def test_there_is_one_pixel_where_a_browser_shows_it(text: str) -> None:
    source = text.replace("@", "")
    (result,), findings = run(source)
    assert plain(result) == text
    assert findings == Findings(applied=True)
    shown = [dict(image.attrs) for image in turbohtml.parse(result).find_all("img")]
    assert len(shown) == 1
    assert {"width": "1", "height": "1", "alt": ""}.items() <= shown[0].items()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<img src='{U}a.png'>", "<img src='1={U}a.png'>"),
        ('<IMG alt="{U}" SRC={U}a?b=1&amp;c=2 />', '<IMG alt="{U}" SRC="1={U}a?b=1&c=2" />'),
        (
            "<img src='{U}a' src='{U}b' srcset='{U}c 2x' data-src='{U}d' longdesc='{U}e'>",
            "<img src='1={U}a' src='{U}b' srcset='{U}c 2x' data-src='{U}d' longdesc='{U}e'>",
        ),
        (
            "<table background='{U}a'><tr background={U}b><td BACKGROUND=\"{U}c\"><th background='{U}d'>",
            "<table background='1={U}a'><tr background=\"2={U}b\"><td BACKGROUND=\"3={U}c\"><th background='4={U}d'>",
        ),
        ("<body background = '{U}a' bgcolor=white>", "<body background = '1={U}a' bgcolor=white>"),
        ("<p background='{U}a'><td data-background='{U}'><td style='background:url({U}a)'>", None),
        ("<td src='{U}a'><img background='{U}a'><a href='{U}'><input type=image src='{U}'>", None),
        (
            "<img src='cid:a@example.com'><img src='data:image/gif;base64,R0lGODlh'><img src=//img.example.com/a><img src=a.png>",
            None,
        ),
        ("<img src><img src=><img><img src=''>", None),
        (
            "<picture><source srcset='{U}a'><img src='{U}b'></picture>",
            "<picture><source srcset='{U}a'><img src='1={U}b'></picture>",
        ),
        ("<!-- <img src='{U}a'> --><script>'<img src={U}>'</script><title><img src={U}></title>", None),
        (
            "<!--[if mso]><v:fill type=t src='{U}a'/><v:image src={U}b><v:imagedata src='{U}c' o:t=x>"
            "<img src='{U}d'><![endif]-->",
            "<!--[if mso]><v:fill type=t src='1={U}a'/><v:image src=\"2={U}b\"><v:imagedata src='3={U}c' o:t=x>"
            "<img src='4={U}d'><![endif]-->",
        ),
        (
            "<!--[if mso]><td background='{U}a'><![endif]--><img src='{U}b'>",
            "<!--[if mso]><td background='1={U}a'><![endif]--><img src='2={U}b'>",
        ),
        ("<img src='{U}a'><img src='{U}a'>", "<img src='1={U}a'><img src='2={U}a'>"),
        ("<img src='http://clicks.example.com/i/{N}'>", "<img src='1={N}'>"),
        ("<td background=https://CLICKS.example.org/i/{N}>", '<td background="1={N}">'),
        ("<img src='https://other.example.com/i/{N}'>", "<img src='1=https://other.example.com/i/{N}'>"),
    ],
)
def test_images_of_the_web_record_a_visit(before: str, after: str | None) -> None:
    before, wanted = (text.replace("{U}", U).replace("{N}", NAME) for text in (before, after or before))
    (text,), findings = run(before)
    assert plain(text) == f"{wanted}@"
    assert [link.number for link in findings.links] == list(range(1, len(findings.links) + 1))
    assert all(link.image and link.after for link in findings.links)
    assert len(findings.links) == len(re.findall("[0-9]=(?:https?:|abc)", wanted))


def test_of_several_parts_the_first_gets_the_pixel_and_all_are_numbered_together() -> None:
    texts, findings = run(f"<img src={U}a>", f"<img src={U}b></body>", f"<td background={U}c>")
    assert [plain(text) for text in texts] == [f'<img src="1={U}a">@', f'<img src="2={U}b"></body>', f'<td background="3={U}c">']
    assert [link.number for link in findings.links] == [1, 2, 3]


def test_a_hosted_image_still_is_the_one_it_was() -> None:
    (text,), findings = run(f'<img src="https://clicks.example.com/i/{NAME}">')
    (link,) = findings.links
    assert link.before == f"https://clicks.example.com/i/{NAME}"
    assert link.after.startswith(f"https://clicks.example.com/i/{NAME[:32]}-")
    assert link.after.endswith(".png")
    assert link.after in text


def test_what_is_left_is_told_with_its_reason() -> None:
    sources = ["https://clicks.example.com/a", "http://u@img.example.com/", f"{U}gr\xfcn", "http://u:p@img.example.com/"]
    source = "".join(f"<img src='{source}'>" for source in sources)
    (text,), findings = run(source, unicode=False)
    assert plain(PIXEL.sub("", text).replace("clicks.", "CLICKS.")) == source.replace("clicks.", "CLICKS.")
    reasons = [
        "it leads to a click host already",
        "a user name in the address",
        "an address that is not ASCII, in a character set other than UTF-8",
        "a user name in the address",
    ]
    assert findings.links == tuple(
        Link(number=0, image=True, before=at, reason=why) for at, why in zip(sources, reasons, strict=True)
    )
    assert [(event.kind, event.subject, event.reason) for event in findings.events] == [
        (Kind.KEPT, "trackopens", f"1 image: {reasons[0]}"),
        (Kind.KEPT, "trackopens", f"2 images: {reasons[1]}"),
        (Kind.KEPT, "trackopens", f"1 image: {reasons[2]}"),
    ]
    assert findings.applied


def test_running_again_counts_the_same_images_no_further() -> None:
    (once,), _ = run(f"<img src={U}a>")
    (twice,), findings = run(once)
    assert len(PIXEL.findall(twice)) == 2  # a second pass is never run; the pixel of the first is an image like any other
    assert {link.reason for link in findings.links} == {"it leads to a click host already"}


def test_each_recipient_gets_a_pixel_of_his_own_and_the_same_one_again() -> None:
    def of(address: str) -> str:
        draft = Draft("")
        job = replace(JOB, envelope=Envelope(mail_from="", rcpt_to=(address,)))
        track_opens(job, SITE, Document(message=job.message, structure=Structure(), drafts=(draft,)))
        return draft.splices()[0][2]

    assert of("a@example.net") == of("A@EXAMPLE.net") != of("b@example.net")


def test_no_more_images_than_can_be_numbered() -> None:
    count = links.LAST_NUMBER
    (text,), findings = run(f"<img src={U}>" * (count + 2))
    assert findings.links[count - 1].number == count
    assert [link.reason for link in findings.links[count:]] == [f"more than {count} images"] * 2
    assert len(PIXEL.findall(text)) == 1
