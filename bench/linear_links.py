"""What is fed to the tracking to see how the time grows with the size: links and images, their labels, marks and targets,
pictures inside the message, recipients, and what a visitor may ask the tracking host for.
"""

from base64 import encodebytes
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from bench.linear_shapes import EVERYTHING, FROM, NOW, RING, SITE, Run, Shape, filtered, html, job, repeated
from filters.attempt import records
from filters.copies import ticket
from filters.job import Envelope, Job
from filters.mail import parts, picture
from filters.mail.draft import Draft, spliced
from filters.mail.judge import is_sound
from filters.mail.message import Message
from filters.pipeline import transform
from filters.rewrite import Document, Unchanged
from filters.target import Untracked, target
from filters.track_clicks import track_clicks
from filters.track_opens import track_opens
from journal.links import read, read_hosted, read_pixel

MESSAGE = Message.parse(FROM + b"Content-Type: text/html; charset=utf-8\r\n\r\n")
STRUCTURE = parts.scan(MESSAGE)
JOB = job(MESSAGE)
LINK = '<a href="http://a.test/b?c=d">'
IMAGE = '<img src="http://a.test/b.png">'
VML = '<v:rect href="http://a.test/b"><v:fill src="http://a.test/b.png"></v:rect>'
MSO, ENDIF = "<!--[if mso]>", "<![endif]-->"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1"
# What stands before them all, what is repeated, what stands behind.
AROUND_LINKS = {
    "links": ("", LINK + "x</a>", ""),
    "links that do not end": ("", LINK, ""),
    "links, single-quoted": ("", "<a href='http://a.test/b'>x</a>", ""),
    "links without quotes": ("", "<a href=http://a.test/b>x</a>", ""),
    "links in upper case": ("", '<A HREF="http://a.test/b">x</A>', ""),
    "links to the click host": ("", '<a href="https://clicks.example.com/b">x</a>', ""),
    "images": ("", IMAGE, ""),
    "backgrounds": ("", '<td background="http://a.test/b.png">', ""),
    "attributes of a link": ("<a ", "b=c ", 'href="http://a.test/b">x</a>'),
    "attributes of a link, quoted": ("<a ", 'b="c" ', 'href="http://a.test/b">x</a>'),
    "attributes without a value": ("<a ", "b ", 'href="http://a.test/b">x</a>'),
    "attributes that end in href": ("<a ", 'b-href="c" ', 'href="http://a.test/b">x</a>'),
    "addresses in one link": ("<a ", 'href="http://a.test/b" ', ">x</a>"),
    "equals signs in a link": ("<a ", "=", ' href="http://a.test/b">x</a>'),
    "quotes in a link": ("<a ", '"', ' href="http://a.test/b">x</a>'),
    "quotes in an address": ("<a href='http://a.test/", '"', "'>x</a>"),
    "slashes in a link": ("<a ", "/", ' href="http://a.test/b">x</a>'),
    "blanks before an address": ("<a", " ", 'href="http://a.test/b">x</a>'),
    "blanks around an equals sign": ('<a href="http://a.test/b" c', " ", '= "d">x</a>'),
    "links with a quote that does not end": ("", '<a href="http://a.test/b', ""),
    "attribute text like a link": ('<p title="', "<a href=http://a.test/b>", '">'),
    "raw text like a link": ("<style>", LINK, "</style>"),
    "marked links": ("", '<a href="http://a.test/b" clicktracking="off" data-pm-no-track data-no-track>x</a>', ""),
    "marks of one link": ('<a href="http://a.test/b"', " data-no-track", ">x</a>"),
    "blanks before a mark": ('<a href="http://a.test/b"', " ", "data-no-track>x</a>"),
    "equals signs behind a mark": ('<a href="http://a.test/b" data-no-track', " =", ">x</a>"),
    "comments for Outlook": ("", f"{MSO}{VML}{ENDIF}", ""),
    "links in a comment for Outlook": (MSO, LINK + "x</a>", ENDIF),
    "links in a comment that does not end": (MSO, LINK, ""),
    "comments that do not end": ("", MSO, ""),
    "comments that are not Outlook's": ("", f"<!-- {LINK} -->", ""),
    "dashes in a comment for Outlook": (MSO, "--!-", LINK + ENDIF),
    "comments that begin only": (LINK, "<!--[if ", ""),
    "link here, its end there": ("", f"{MSO}{LINK}{ENDIF}<b>a.test</b>{MSO}</a>{ENDIF}", ""),
    "ends of the body": (LINK, "</body>", ""),
    "ends of the body with blanks": (LINK, "</body >", ""),
    "ends of the body in comments": (LINK, "<!--</body>-->", ""),
    "ends of the page": (LINK, "</html>", ""),
    "ends of the body that do not end": (LINK, "</body x='", ""),
}


def edited(source: str) -> Run:
    """Both filters on a text that is cut for them, the check, and the text that comes of it."""

    def run() -> None:
        draft = Draft(source)
        document = Document(message=MESSAGE, structure=STRUCTURE, drafts=(draft,))
        for each in (track_opens, track_clicks):
            with suppress(Unchanged):
                each(JOB, SITE, document)
        splices = draft.splices()
        if not is_sound(splices, draft.outline):
            raise AssertionError("the check refuses what the filters made")
        spliced(source, splices)

    return run


def targeted(value: str) -> Run:
    """The reading of one address."""

    def run() -> None:
        with suppress(Untracked):
            target(value, unicode=True)

    return run


def link_shapes() -> Iterator[Shape]:
    """Links and images, in all that can stand around them."""
    for name, (before, piece, after) in AROUND_LINKS.items():
        source = lambda count, b=before, p=piece, a=after: b + p * count + a  # noqa: E731  # one line a maker
        yield Shape(f"{name}, edited", 500_000 // len(piece), lambda count, s=source: edited(s(count)))
    page = "<style>a{color:red}</style><body>"
    yield Shape("links, whole", 4_000, lambda count: html(page + (LINK + "x</a>") * count))
    yield Shape("images, whole", 4_000, lambda count: html(page + IMAGE * count))
    yield Shape("comments for Outlook, whole", 4_000, lambda count: html(page + (MSO + VML + ENDIF) * count))


def label_shapes() -> Iterator[Shape]:
    """Labels that may show the link: one for all the text, then one for each link, as long as is looked at."""
    pieces = {
        "tags": "<b>", "end tags": "</b>", "comments": "<!-- -->", "dots": "a.", "references": "&amp;", "blanks": " ",
        "letters": "é", "hidden letters": "\u00ad.", "wide letters": "\ufdfa", "full stops": "\u3002", "slashes": "a.test/",
        "other links": '<v:oval href="http://a.test/c">', "open references": "&#", "comments for Outlook": MSO,
    }  # fmt: skip
    for name, piece in pieces.items():
        one = lambda count, p=piece: LINK + p * count + "</a>"  # noqa: E731  # one line a maker
        yield Shape(f"{name} in a label", 500_000 // len(piece), lambda count, s=one: edited(s(count)))
        many = lambda count, p=piece: (LINK + p * (9_000 // len(p))) * count  # noqa: E731
        yield Shape(f"links with a label of {name}", 100, lambda count, s=many: edited(s(count)))
    inside = f"{MSO}{LINK}{ENDIF}" + "<i>" * 3_000
    yield Shape("links in comments, labels behind them", 100, lambda count: edited(inside * count))


def target_shapes() -> Iterator[Shape]:
    """One address, however long the attribute is."""
    pieces = {
        "letters in a host": ("http://", "a", "/"), "dots in a host": ("http://", "a.", "/"),
        "Unicode in a host": ("http://", "é", "/"), "Unicode labels": ("http://", "é.", "/"),
        "colons in a host": ("http://[", ":", "/"), "digits of a port": ("http://a.test:", "1", "/"),
        "user names": ("http://", "a@", "a.test/"), "slashes": ("http:", "/", "a.test"),
        "percents": ("http://a.test/", "%", ""), "Unicode in a path": ("http://a.test/", "é", ""),
        "queries": ("http://a.test/?", "a=b&", ""), "references": ("http://a.test/?", "&amp;", ""),
        "braces": ("http://a.test/", "{", ""), "stars": ("http://a.test/", "*", ""), "hash signs": ("http://a.test/", "#", ""),
        "line ends": ("http://a.test/", "\n", ""), "blanks first": ("", " ", "http://a.test/"),
        "dot segments": ("http://a.test", "/..", ""), "backslashes": ("http:", "\\", "a.test"),
    }  # fmt: skip
    for name, (before, piece, after) in pieces.items():
        value = lambda count, b=before, p=piece, a=after: b + p * count + a  # noqa: E731  # one line a maker
        yield Shape(f"{name}, a target", 1_000_000 // len(piece), lambda count, v=value: targeted(v(count)))


def picture_shapes() -> Iterator[Shape]:
    """Pictures inside the message, and what names them."""
    one = b"<img src=cid:p0@b>"
    pieces = {
        "references to one picture": one,
        "references to pictures that are not there": b"<img src=cid:q%d@b>",
        "escapes in references": b"<img src=cid:%2570%2530@b>",
        "names elsewhere": b"cid:p0 ",
        "references in text": b"&amp;#37;",
    }
    for name, piece in pieces.items():
        maker = lambda count, p=piece: filtered(related(repeated_text(p, count) + one, 1))  # noqa: E731  # one line a maker
        yield Shape(f"{name}, whole", 500_000 // len(piece), maker)
    shown = lambda count: filtered(related(repeated_text(b"<img src=cid:p%d@b>", count), count))  # noqa: E731
    yield Shape("pictures, whole", 1_600, shown)
    yield Shape("pictures below 200, whole", 196, shown)
    yield Shape("pictures that are not shown, whole", 1_600, lambda count: filtered(related(one, count)))
    large = lambda count: filtered(related(one, 1, PNG + bytes(count)))  # noqa: E731
    yield Shape("octets of a picture, whole", 4_000_000, large)
    same = lambda count: filtered(related(one, 1, more=repeated(picture_part(b"p0"), count)))  # noqa: E731
    yield Shape("pictures of one name, whole", 1_600, same)


def related(source: bytes, pictures: int, content: bytes = PNG, more: bytes = b"") -> Message:
    """A multipart/related with the boundary `b`: HTML, and so many pictures."""
    page = b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + _encoded(source)
    shown = b"".join(picture_part(b"p%d" % number, content) for number in range(pictures))
    header = b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    return Message.parse(FROM + header + page + shown + more + b"--b--\r\n")


def picture_part(name: bytes, content: bytes = PNG) -> bytes:
    """One picture, shown by `cid:NAME@b`."""
    assert picture.kind(content)
    fields = b"--b\r\nContent-Type: image/png\r\nContent-ID: <%b@b>\r\nContent-Transfer-Encoding: base64\r\n\r\n" % name
    return fields + _encoded(content)


def repeated_text(piece: bytes, count: int) -> bytes:
    """The piece again and again; where it has `%d`, each time with a number of its own."""
    return b"".join([piece.replace(b"%d", b"%d" % number) for number in range(count)]) if b"%d" in piece else piece * count


def _encoded(content: bytes) -> bytes:
    return encodebytes(content).replace(b"\n", b"\r\n")


def recipient_shapes() -> Iterator[Shape]:
    """A message for many, split and recorded, and the ticket of its copies."""
    yield Shape("recipients, split", 1_000, lambda count: split(count, LINK))
    yield Shape("recipients of a text without HTML", 1_000, lambda count: split(count, ""))
    yield Shape("octets below a ticket", 4_000_000, lambda count: partial(ticket, ticketed(b"x\r\n" * (count // 3)), RING))
    unsealed = lambda count: Message.parse(FROM + b"X-SMTPeter-Job: " + b"QUJD\r\n " * count + b"x\r\n\r\nx\r\n")  # noqa: E731
    yield Shape("a ticket of somebody else", 14_000, lambda count: partial(ticket, unsealed(count), RING))


def split(count: int, source: str) -> Run:
    """The first pass over a message for so many recipients."""
    addresses = tuple(f"reader-{number}@example.net" for number in range(count))
    kind = b"html" if source else b"plain"
    message = Message.parse(FROM + b"MIME-Version: 1.0\r\nContent-Type: text/%b\r\n\r\n%b\r\n" % (kind, source.encode()))
    given = Job(
        login="bench",
        account="bench",
        envelope=Envelope(mail_from="news@example.com", rcpt_to=addresses),
        options=EVERYTHING,
        message=message,
    )
    return lambda: records(transform(given, SITE), NOW, "4ABC")


def ticketed(body: bytes) -> Message:
    """A copy of a message with this body, as it comes back."""
    head = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    page = b"--b\r\nContent-Type: text/html\r\n\r\n" + LINK.encode() + b"\r\n--b\r\n\r\n"
    message = Message.parse(FROM + head + page + body + b"\r\n--b--\r\n")
    envelope = Envelope(mail_from="news@example.com", rcpt_to=("a@example.net", "b@example.net"))
    result = transform(Job(login="bench", account="bench", envelope=envelope, options=EVERYTHING, message=message), SITE)
    assert result.split
    return result.job.message


def visit_shapes() -> Iterator[Shape]:
    """What the tracking host is asked for; requests are longer here than it lets through."""
    for piece in (b"a", b"-", b"Z", b"Zz", b"/", b"%"):
        path = lambda count, p=piece: b"/" + p * count  # noqa: E731  # one line a maker
        largest = 1_000_000 // len(piece)
        shown = piece.decode()
        yield Shape(f"`{shown}` in a path, read", largest, lambda count, p=path: partial(read, RING, p(count), b"a=b"))
        link = lambda count, p=piece: b"/-" + p * count  # noqa: E731
        yield Shape(f"`{shown}` in an identifier, read", largest, lambda count, p=link: partial(read, RING, p(count), b""))
        pixel = lambda count, p=piece: b"/o/" + p * count + b".gif"  # noqa: E731
        yield Shape(f"`{shown}` in a pixel, read", largest, lambda count, p=pixel: partial(read_pixel, RING, p(count)))
        image = lambda count, p=piece: b"/i/" + b"a" * 32 + b"-" + p * count + b".png"  # noqa: E731
        yield Shape(f"`{shown}` in an image, read", largest, lambda count, p=image: partial(read_hosted, RING, p(count)))


def shapes() -> Iterator[Shape]:
    """All of these."""
    yield from link_shapes()
    yield from label_shapes()
    yield from target_shapes()
    yield from picture_shapes()
    yield from recipient_shapes()
    yield from visit_shapes()
