"""Mail made to confuse a filter, one trick each: what comes out, that the signature holds, and that no process dies of it."""

import re
import smtplib
from email import message_from_bytes

import dkim
import pytest

pytestmark = pytest.mark.system

FROM = b"From: News <news@example.com>\r\n"
REST = (
    b"To: reader@example.net\r\nSubject: nasty\r\nDate: Mon, 2 Feb 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
    b"MIME-Version: 1.0\r\n"
)
PAGE = b"<style>p{color:red}</style><p>hello</p>"
HTML = b"Content-Type: text/html; charset=utf-8\r\n"
QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n"
PART = HTML + b"\r\n" + PAGE


def html(page: bytes = PAGE, fields: bytes = b"", content_type: bytes = HTML, author: bytes = FROM) -> bytes:
    return author + REST + content_type + fields + b"\r\n" + page + b"\r\n"


def multipart(
    *parts: bytes, boundary: bytes = b"b", kind: bytes = b"mixed", more: bytes = b"", end: bytes = b"--b--\r\n"
) -> bytes:
    content_type = b'Content-Type: multipart/%b; boundary="%b"%b\r\n\r\n' % (kind, boundary, more)
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return FROM + REST + content_type + body + end.replace(b"b", boundary)


def nested(boundary: bytes, *parts: bytes, kind: bytes = b"mixed") -> bytes:
    return multipart(*parts, boundary=boundary, kind=kind).removeprefix(FROM + REST).removesuffix(b"\r\n")


def levels(count: int) -> bytes:
    header = b"Content-Type: multipart/mixed; boundary=q%d.\r\n\r\n--q%d.\r\n"
    return b"".join([header % (level, level) for level in range(count)])


# Style attributes may come, nothing else may change.
STYLED = {
    "boundaries of siblings that begin alike": multipart(nested(b"c1", PART), nested(b"c10", PART)),
    "a boundary with blanks behind it": multipart(PART).replace(b"--b\r\n", b"--b \t\r\n"),
    "a boundary of pattern characters": multipart(PART, boundary=b"(.*)+?"),
    "a boundary of hyphens": multipart(PART, boundary=b"--"),
    "a part behind many": multipart(*[b"\r\nx"] * 3000, PART),
    "a preamble and an epilogue of HTML": multipart(PART).replace(b"\r\n--b", b"\r\n" + PAGE + b"\r\n--b", 1) + PAGE + b"\r\n",
    "a part beside a signed one": multipart(nested(b"s", PART, b"\r\nsignature", kind=b"signed"), PART),
    "a part beside an attached message": multipart(b"Content-Type: message/rfc822\r\n\r\n" + html(), PART),
    "a parameter in pieces": multipart(PART.replace(b"utf-8", b"utf-8; name*0*=utf-8''a%C3; name*1=b")),
    "odd but legal fields": html(content_type=b"content-TYPE:\t TEXT/HTML\t;\r\n\tCHARSET\t=\t\"UTF-8\"\r\n"),
    "an old signature": html(author=b"DKIM-Signature: v=1; d=example.com; s=old; h=from; bh=AA; b=BB\r\n" + FROM),
    "a list's fields": html(fields=b"List-Unsubscribe: <https://x.test/?a=1&b=2>\r\nList-Unsubscribe-Post: x\r\n"),
    "a field in Latin-1": html(fields=b"X-A: \xff\xfe\x80\r\n"),
    "a fold of blanks only": html(fields=b"X-A: a\r\n \r\n\t\r\n b\r\n"),
    "dots and From lines": html(b".\r\n..\r\nFrom here\r\n" + PAGE + b"\r\n."),
    "a group of authors": html(author=b"From: team: a@example.com, b@example.com;\r\n"),
    "UTF-7 that is labelled as ASCII": html(b"+ADw-p+AD4-" + PAGE, content_type=b"Content-Type: text/html; charset=us-ascii\r\n"),
}  # fmt: skip

# Nothing may change at all.
UNTOUCHED = {
    "no end": multipart(PART, end=b""),
    "an end only": multipart(),
    "a boundary that begins with the outer one": multipart(nested(b"b1", PART)),
    "the same boundary inside": multipart(nested(b"b", PART)),
    "a boundary in pieces": multipart(PART).replace(b'boundary="b"', b"boundary*0=b"),
    "two boundaries": multipart(PART, more=b"; boundary=c"),
    "two types": html(fields=b"Content-Type: text/plain\r\n"),
    "two encodings": html(fields=b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n"),
    "two types in a part": multipart(b"Content-Type: text/plain\r\n" + PART),
    "a header that begins with text": multipart(b"no field\r\n" + PART),
    "an encoded multipart": multipart(PART).replace(b"Content-Type", QUOTED + b"Content-Type", 1),
    "an unknown encoding": html(fields=b"Content-Transfer-Encoding: x-uuencode\r\n"),
    "damaged quoted-printable": html(PAGE + b"=zz", fields=QUOTED),
    "damaged base64": html(b"PHA+!!", fields=b"Content-Transfer-Encoding: base64\r\n"),
    "two charsets": html(content_type=b"Content-Type: text/html; charset=utf-8; charset=utf-16\r\n"),
    "a charset that is a codec": html(content_type=b"Content-Type: text/html; charset=unicode_escape\r\n"),
    "ISO-2022": html("日本".encode("iso2022_jp") + PAGE, content_type=b"Content-Type: text/html; charset=iso-2022-jp\r\n"),
    "a signed message": multipart(PART, b"\r\nsignature  \r\n", kind=b"signed"),
    "an encrypted message": multipart(b"\r\nVersion: 1", b"\r\nx", kind=b"encrypted"),
    "inline PGP": multipart(b"\r\n-----BEGIN PGP MESSAGE-----\r\nx\r\n-----END PGP MESSAGE-----", PART),
    "an attachment": multipart(b"Content-Disposition: attachment\r\n" + PART),
    "a part of a message": html(content_type=b"Content-Type: message/partial; id=x; number=1\r\n"),
    "more parts than any reader shows": multipart(*[b"\r\nx"] * 10_001),
    "uuencoded text": FROM + REST + b"\r\nbegin 644 a.html\r\n#86)C\r\n`\r\nend\r\n",
    "a line of 998": FROM + REST + b"\r\n" + b"x" * 998 + b"\r\n",
    "a long line that is signed": multipart(b"\r\n" + b"x" * 2000, b"\r\nsignature", kind=b"signed"),
    "a long line without a structure": multipart(b"\r\n" + b"x" * 2000, end=b""),
    "no blank line": FROM + REST,
    "9000 fields": FROM + REST + b"X-A: b\r\n" * 9000 + b"\r\nx\r\n",
}  # fmt: skip

# The text is the same in another encoding.
ENCODED = {
    "a long line": FROM + REST + b"\r\n" + b"x" * 5000 + b"\r\n",
    "a long line in an attachment": multipart(b"Content-Type: application/octet-stream\r\n\r\n" + b"x" * 3000, PART),
    "a long line of two octets a letter": multipart(b"Content-Type: text/csv; charset=utf-8\r\n\r\n" + "é".encode() * 2000, PART),
    "codes in small letters": html(PAGE + b"=c3=a9", fields=QUOTED),
    "a From line in quoted-printable": html(b"From here\r\n.\r\n" + PAGE, fields=QUOTED),
    "8 bit": html(b"\xef\xbb\xbf" + PAGE + "é".encode()),
    "8 bit in the wrong charset": html(b"\xe9" + PAGE),
    "letters with a backslash in them": html("表ソ".encode("cp932") + PAGE, content_type=HTML.replace(b"utf-8", b"shift_jis")),
    "the encoding in front of the type": multipart(b"Content-Transfer-Encoding: 8bit\r\n" + PART + b"\xe9"),
}  # fmt: skip

# What RFC 5321 2.3.8 does not let through is gone, and nothing came of it.
CLEANED = {
    "NUL in the body": html(b"a\0b" + PAGE),
    "NUL in a field": html(fields=b"X-A: a\0b\r\n"),
    "NUL in the name of a control field": html(fields=b"X-SMT\0Peter-InlineCSS: on\r\n"),
    "NUL in a boundary": multipart(PART, boundary=b"b\0c"),
    "bare CR": html(b"a\rb\r\r\n" + PAGE),
    "bare LF": html(b"a\nb\n" + PAGE),
    "bare CR before a control field": html(fields=b"X-A: a\rX-SMTPeter-Tags: t\r\n"),
    "bare LF before a control field": html(fields=b"X-A: a\nX-SMTPeter-Tags: t\r\n"),
    "a boundary behind a bare LF": multipart(PART + b"\n--b--\nx"),
}

MALFORMED = (550, b"5.6.0")
REFUSED = {
    "levels": (FROM + REST + levels(60), MALFORMED),
    "fields": (FROM + b"X-A: b\r\n" * 11_000 + b"\r\nx\r\n", MALFORMED),
    "a long field": (FROM + b"X-A: " + b"a b " * 15_000 + b"\r\n\r\nx\r\n", MALFORMED),
    "two authors' fields": (FROM + b"From : other@example.com\r\n\r\nx\r\n", MALFORMED),
    "a mailbox line": (FROM + b"From x\r\nX-SMTPeter-Tags: a\r\n\r\nx\r\n", MALFORMED),
    "a byte order mark": (b"\xef\xbb\xbfX-SMTPeter-Tags: a\r\n" + FROM + b"\r\nx\r\n", MALFORMED),
    "too many hops": (b"Received: by x.test; Mon, 2 Feb 2026 10:00:00 +0000\r\n" * 60 + FROM + b"\r\nx\r\n", (554, b"5.4.0")),
}  # fmt: skip


@pytest.fixture(scope="module")
def passed(service, transaction):
    """Sends a message with its CSS to be inlined; what left, if its signature verifies and nothing went wrong on the way."""
    login = service.login("inlinecss=true")
    records = {f"{name}.".encode(): value.encode() for name, value in service.records.items()}
    with service.client(login) as client:

        def send(message: bytes):
            died = service.log.count(" ended: ")
            queue_id = transaction(client, message)
            left = service.captured(queue_id)
            assert dkim.DKIM(left.raw).verify(0, dnsfunc=lambda name, timeout=5: records.get(name))
            assert not any("event=fallback" in line for line in service.events(queue_id))
            assert service.log.count(" ended: ") == died
            assert not re.search(rb"(?im)^x-smtpeter(?:-[^:]*)?[ \t]*:", left.header)
            return left

        yield send


def without_trace(raw: bytes) -> bytes:
    """The message below the fields that were put on top: one Received, one signature."""
    return re.sub(rb"\A(?:(?:Received|DKIM-Signature):[^\n]*\n(?:[ \t][^\n]*\n)*){2}", b"", raw)


def unstyled(message: bytes) -> bytes:
    return message.replace(b' style="color: red;"', b"")


def contents(raw: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded content of each part as Python's parser sees them, without what inlining adds."""
    leaves = [part for part in message_from_bytes(raw).walk() if not part.is_multipart()]
    # SMTP ends a body with CRLF, and a body that is encoded may say that it is not part of the text.
    return [(part.get_content_type(), unstyled(part.get_payload(decode=True)).rstrip(b"\r\n")) for part in leaves]


@pytest.mark.parametrize("trick", STYLED)
def test_only_style_attributes_come(passed, trick: str) -> None:
    left = without_trace(passed(STYLED[trick]).raw)
    assert left.count(b' style="color: red;"') >= 1
    assert unstyled(left) == STYLED[trick]


@pytest.mark.parametrize("trick", UNTOUCHED)
def test_nothing_changes(passed, trick: str) -> None:
    left = without_trace(passed(UNTOUCHED[trick]).raw)
    assert left.removesuffix(b"\r\n") == UNTOUCHED[trick].removesuffix(b"\r\n")


@pytest.mark.parametrize("trick", ENCODED)
def test_another_encoding_holds_the_same(passed, trick: str) -> None:
    left = passed(ENCODED[trick]).raw
    assert left.isascii()
    assert max(map(len, left.split(b"\r\n"))) <= 998
    assert contents(left) == contents(ENCODED[trick])


@pytest.mark.parametrize("trick", CLEANED)
def test_what_is_not_allowed_is_gone(passed, trick: str) -> None:
    left = passed(CLEANED[trick])
    assert re.search(rb"(?<!\r)\n|\r(?!\n)|\0", left.raw) is None
    assert b"hello" in left.body


@pytest.mark.parametrize("trick", REFUSED)
def test_what_cannot_be_meant_is_refused(service, login, trick: str) -> None:
    message, reply = REFUSED[trick]
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        service.send(login, message)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == reply
