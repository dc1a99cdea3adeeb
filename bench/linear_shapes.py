"""What is fed to the filters and protocols to see how the time grows with the size: one maker for each repeatable piece.

Those of links and images are in linear_links.py.
"""

from base64 import encodebytes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from filters import inline_css, overrides, sign_dkim
from filters.job import Envelope, Job, Site, Tracking
from filters.mail import address, declarations, edits, lines, markup, parts, relaxed, skeleton, text, transfer
from filters.mail.message import Message
from filters.mail.outline import Outline
from filters.pipeline import transform
from journal.event import Kind
from journal.seal import KEY_LENGTH, Ring, SealingKey
from policy.domains import Algorithm, new_private_key
from policy.options import Images, Options
from policy.wire import delegation, dovecot

Run = Callable[[], object]
FROM = b"From: News <news@example.com>\r\n"
SIGNER = sign_dkim.KeySigner.load("example.com", "bench", Algorithm.RSA, new_private_key(Algorithm.RSA))
NOW = 1_700_000_000
RING = Ring([SealingKey(id=1, secret=bytes(range(KEY_LENGTH)), created=1, active=1)], now=NOW)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset(("clicks.example.com",)))
SITE = Site(signers=lambda _address: (SIGNER,), tracking=lambda _domain: TRACKING, ring=RING, now=NOW)
EVERYTHING = Options(inlinecss=True, trackclicks=True, trackopens=True, preventscam=True, images=Images.HOSTED)


@dataclass(frozen=True, slots=True)
class Shape:
    """A function of ours on `count` pieces; `run(count)` makes the input and returns the call to time.

    `largest` is the greatest count: about 1 MB, or what Postfix and the filter's own limits let through.
    """

    name: str
    largest: int
    run: Callable[[int], Run]


def job(message: Message) -> Job:
    """A job of a login that has every feature on."""
    envelope = Envelope(mail_from="news@example.com", rcpt_to=("reader@example.net",))
    return Job(login="bench", account="bench", envelope=envelope, options=EVERYTHING, message=message)


def forget() -> None:
    """Empties the memory of styles: a shape is to be new to the filters on every run."""
    for remembered in (inline_css._REMEMBERED, skeleton._texts, skeleton._attributes):
        remembered.clear()


def filtered(message: Message) -> Run:
    """All filters on a message."""
    given = job(message)

    def run() -> None:
        forget()
        events = transform(given, SITE).job.events
        assert not [event for event in events if event.kind is Kind.FALLBACK], "a filter failed, so nothing was measured"

    return run


def whole(fields: bytes, body: bytes) -> Run:
    """All filters on a message with these fields."""
    return filtered(Message.parse(FROM + fields + b"\r\n" + body))


def inlined(source: str) -> Run:
    """The inlining of the style sheets of a text, which is cut for it."""

    def run() -> None:
        forget()
        inline_css.inline(Outline(source))

    return run


def html(source: str) -> Run:
    """All filters on an HTML message, in base64 so that no line is too long."""
    encoded = encodebytes(source.encode()).replace(b"\n", b"\r\n")
    return whole(b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", encoded)


def mixed(pieces: bytes) -> Message:
    """A multipart with the boundary `b` and these parts."""
    return Message.parse(FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + pieces + b"--b--\r\n")


def nested(levels: int, filling: bytes) -> Message:
    """A part inside `levels` multiparts."""
    inner = b"Content-Type: text/html\r\n\r\n" + filling
    for level in range(levels):
        inner = b"Content-Type: multipart/mixed; boundary=q%d.\r\n\r\n--q%d.\r\n%b\r\n--q%d.--" % (level, level, inner, level)
    return Message.parse(FROM + inner + b"\r\n")


def of_part(message: Message) -> Run:
    """Reads and replaces the content of every part."""

    def run() -> None:
        found = [part for part in parts.scan(message).leaves if not part.opaque]
        parts.replace(message, {part: parts.content(message, part) + b"\r\n" for part in found})

    return run


def undone(message: Message) -> Run:
    """The edits that strip a message, and what they make of it."""
    stripped = overrides.strip(message)
    return lambda: edits.apply(message, edits.diff(message, stripped))


def received(parser: Callable[[], Callable[[bytes, float], object]], data: bytes, step: int) -> Run:
    """A protocol fed in pieces of `step` octets."""

    def run() -> None:
        receive = parser()
        for at in range(0, len(data), step):
            receive(data[at : at + step], 0.0)

    return run


def auth() -> Callable[[bytes, float], object]:
    """A new connection of the auth protocol."""
    return dovecot.Connection(process=1, serial=1, cookie="0" * 32).receive


def policy() -> Callable[[bytes, float], object]:
    """A new connection of the policy protocol."""
    return delegation.Parser().receive


def header_shapes() -> Iterator[Shape]:
    """Header fields."""
    fields = {
        "fields": (9_000, b"X-A: b\r\n"),
        "control fields, the same": (9_000, b"X-SMTPeter-InlineCSS: true\r\n"),
        "control fields, not understood": (9_000, b"X-SMTPeter-InlineCSS: perhaps\r\n"),
        "control fields among others": (4_500, b"X-SMTPeter-Tags: a\r\nX-Keep: b\r\n"),
        "signed fields": (200, b"To: reader@example.net\r\n"),
        "old signatures": (9_000, b"DKIM-Signature: v=1; d=example.org; b=x\r\n"),
    }
    for name, (largest, piece) in fields.items():
        yield Shape(f"{name}, whole", largest, lambda count, piece=piece: whole(piece * count, b"x\r\n"))
    values = {
        "folds": (b"References: x", b"\r\n x", 14_000),
        "folds of blanks": (b"X-A: x", b"\r\n ", 19_000),
        "words in a long field": (b"X-A:", b" word", 11_000),
        "blanks in a field": (b"Subject: x", b" ", 58_000),
        "tags": (b"X-SMTPeter-Tags: ", b"ab,", 19_000),
        "encoded words": (b"X-SMTPeter-Tags: ", b"=?utf-8?q?a?= ", 4_000),
        "unfinished encoded words": (b"X-SMTPeter-Tags: ", b"=?a?q", 11_000),
        "parameters": (b"Content-Type: text/html", b"; a=b", 11_000),
        "semicolons in a type": (b"Content-Type: text/html", b";", 58_000),
        "backslashes in a parameter": (b'Content-Type: text/html; a="', b"\\", 58_000),
    }
    for name, (start, piece, largest) in values.items():
        yield Shape(f"{name}, whole", largest, lambda count, s=start, p=piece: whole(s + p * count + b"\r\n", b"x\r\n"))
    for name, piece in {
        "comments": b"(x)", "open comments": b"(", "quotes": b'"a" ', "open quotes": b'"a ', "groups": b"g:;,", "angles": b"<",
        "dots": b"a.", "commas": b",", "blanks": b" \r\n ",
    }.items():  # fmt: skip
        value = lambda count, piece=piece: piece * count + b" <news@example.com>"  # noqa: E731  # one line a maker
        yield Shape(f"{name} in From", 58_000 // len(piece), lambda count, v=value: partial(address.from_domain, v(count)))
    removal = lambda count: undone(Message.parse(FROM + b"X-SMTPeter-Tags: a\r\n" * count + b"\r\n"))  # noqa: E731
    yield Shape("edits that remove fields", 9_000, removal)


def structure_shapes() -> Iterator[Shape]:
    """Parts."""
    pieces = {
        "parts": (b"--b\r\n\r\nx\r\n", 9_000),
        "HTML parts": (b"--b\r\nContent-Type: text/html\r\n\r\n<style>p{a:b}</style><p>x\r\n", 4_000),
        "multiparts side by side": (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c%d.\r\n\r\n--c%d.\r\n\r\nx\r\n--c%d.--\r\n",
            4_000,
        ),
        "fields of a part": (b"X: y\r\n", 200_000),
        "folds in a part": (b"X: y\r\n z\r\n", 100_000),
        "lines like a boundary": (b"--\r\n", 250_000),
    }
    for name, (piece, largest) in pieces.items():
        yield Shape(f"{name}, found and replaced", largest, lambda count, p=piece: of_part(mixed(repeated(p, count))))
    yield Shape("levels, found and replaced", 48, lambda count: of_part(nested(count, b"x")))
    yield Shape("octets below 48 levels", 4_000_000, lambda count: of_part(nested(48, b"x\r\n" * (count // 3))))


def body_shapes() -> Iterator[Shape]:
    """The encodings of a body, and what else goes through all of it."""
    contents = {
        "soft breaks": ("quoted-printable", b"x=\r\n", 500_000),
        "codes": ("quoted-printable", b"=C3=A9", 500_000),
        "blanks at line ends": ("quoted-printable", b"x   \r\n", 500_000),
        "blanks in one line": ("quoted-printable", b" ", 2_000_000),
        "lines of base64": ("base64", b"QUJDQUJD" * 9 + b"\r\n", 40_000),
    }
    for name, (encoding, piece, largest) in contents.items():
        yield Shape(f"{name}, decoded", largest, lambda count, p=piece, e=encoding: partial(transfer.decode, p * count, e))
    for name, piece in {
        "8 bit": b"\xc3\xa9",
        "bare LF": b"x\n",
        "From": b"From ",
        "dots": b".\r\n",
        "blank ends": b"x \r\n",
    }.items():
        maker = lambda count, p=piece: partial(transfer.encode, p * count, "quoted-printable")  # noqa: E731
        yield Shape(f"{name}, to quoted-printable", 2_000_000, maker)
    yield Shape("one long line, fitted", 2_000_000, lambda count: fitted(b"x" * count))
    yield Shape("long lines, fitted", 2_000, lambda count: fitted((b"x" * 1_000 + b"\r\n") * count))
    yield Shape("blanks, hashed", 2_000_000, lambda count: partial(relaxed.relaxed_body_hash, b" " * count))
    yield Shape("empty lines, hashed", 1_000_000, lambda count: partial(relaxed.relaxed_body_hash, b"\r\n" * count + b"x"))
    yield Shape("8-bit text, decoded", 1_000_000, lambda count: partial(text.decode, b"\xc3\xa9" * count, "utf-8"))
    yield Shape("octets, whole", 2_000_000, lambda count: whole(b"", b"a line of text\r\n" * (count // 16)))


def repeated(piece: bytes, count: int) -> bytes:
    """The parts; where a piece has `%d`, each gets a number of its own."""
    if b"%d" in piece:
        return b"".join([piece.replace(b"%d", b"%d" % number) for number in range(count)])
    return piece * count if piece.startswith(b"--b") or piece == b"--\r\n" else b"--b\r\n" + piece * count + b"\r\nx\r\n"


def fitted(body: bytes) -> Run:
    """A message whose long lines are encoded anew."""
    message = Message.parse(FROM + b"\r\n" + body)
    return lambda: lines.fit_lines(message, parts.scan(message))


def tokens(source: str) -> int:
    """The number of start tags."""
    return sum(1 for _ in markup.start_tags(source))


def html_shapes() -> Iterator[Shape]:
    """HTML and CSS: the tokeniser, the inliner with its guards, and the whole."""
    for piece in (
        "<",
        "<p>",
        "</p>",
        "<!--",
        "<!",
        "<a ",
        "<p a=b>",
        "<p a='",
        "&amp;",
        "<style>",
        "<title>",
        "<script><!--",
        "--",
    ):
        source = lambda count, p=piece: "<style>p{color:red}</style>" + p * count  # noqa: E731
        largest = 1_000_000 // len(piece)
        yield Shape(f"`{piece}`, tokens", largest, lambda count, s=source: partial(tokens, s(count)))
        yield Shape(f"`{piece}`, inlined", largest, lambda count, s=source: inlined(s(count)))
    sheets = {
        "selectors": (60_000, "q,", "q{color:red}"), "rules": (10_000, ".q{color:red}", ""), "declarations": (100, "p{a:b}", ""),
        "values": (30_000, "p{color:red;", "}"), "comments": (25_000, "/*x*/", "p{color:red}"),
        "imports": (20_000, "@import 'x';", ""),
    }  # fmt: skip
    for name, (largest, piece, end) in sheets.items():
        source = lambda count, p=piece, e=end: f"<style>{p * count}{e}</style>" + "<p>x</p>" * 20  # noqa: E731
        yield Shape(f"{name} in a style sheet", largest, lambda count, s=source: inlined(s(count)))
    yield Shape("elements", 8_000, lambda count: html("<style>p{color:red}</style>" + "<p>x</p>" * count))
    yield Shape(
        "elements with a style", 4_000, lambda count: html("<style>p{color:red}</style>" + "<p style='a:b'>x</p>" * count)
    )
    yield Shape("text, whole", 700_000, lambda count: html("<style>p{color:red}</style><p>" + "x" * count))
    for piece in ("a:b;", ";", "(", "()", "'", "\\", "!important", "a:b!important;", "&", "é"):
        yield Shape(f"`{piece}` in an attribute", 100_000, lambda count, p=piece: partial(declarations.written, p * count, "a:b"))


def wire_shapes() -> Iterator[Shape]:
    """The protocols of policy: many requests at once, one that comes in small pieces, and lines that never end."""
    hello = b"VERSION\t1\t2\nCPID\t1\n"
    yield Shape("unknown auth commands", 50_000, lambda count: received(auth, hello + b"X\ty\n" * count, 4096))
    yield Shape("auth lines in small pieces", 50_000, lambda count: received(auth, hello + b"X\ty\n" * count, 3))
    attributes = lambda count: hello + (b"AUTH\t1\tPLAIN" + b"\ta=b" * 4_000 + b"\nCANCEL\t1\n") * count  # noqa: E731
    yield Shape("attributes of AUTH", 60, lambda count: received(auth, attributes(count), 4096))
    block = b"request=smtpd_access_policy\nsender=news@example.com\nsasl_username=x\n\n"
    yield Shape("policy requests", 20_000, lambda count: received(policy, block * count, 4096))
    large = lambda count: b"request=smtpd_access_policy\nsender=" + b"a" * count + b"\n\n"  # noqa: E731
    yield Shape("one large policy request", 128_000, lambda count: received(policy, large(count), 4096))
    yield Shape("the same in small pieces", 128_000, lambda count: received(policy, large(count), 7))


def shapes() -> Iterator[Shape]:
    """All of these."""
    yield from header_shapes()
    yield from structure_shapes()
    yield from body_shapes()
    yield from html_shapes()
    yield from wire_shapes()
