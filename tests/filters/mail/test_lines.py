"""Lines over 998 octets are gone before a message is signed, and nothing but their encoding has changed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.lines import fit_lines, has_long_line
from filters.mail.message import Field, Message
from filters.mail.parts import content, scan

LONG = b"word " * 300


def fit(message):
    return fit_lines(message, scan(message))


def relaxed(field):
    return field.name.lower(), re.sub(rb"[ \t]+", b" ", field.value.replace(b"\r\n", b"")).strip()


def test_a_message_without_long_lines_is_the_same():
    message = Message((Field(b"Subject", b" x"),), b"y" * 998 + b"\r\n")
    assert fit(message) == (message, ())
    assert fit(message)[0] is message


@pytest.mark.parametrize(
    ("content_type", "given_encoding", "written", "encoding"),
    [
        (b"text/html", b"", LONG + b"\xe9\r\n", "quoted-printable"),
        (b"text/plain", b"8bit", LONG + b"\r\n", "quoted-printable"),
        (b"application/json", b"", LONG + b"\r\n", "base64"),
        (b"image/png", b"base64", b"QUJD" * 400 + b"\r\n", "base64"),
        (b"text/html", b"base64", b"QUJD" * 400 + b"\r\n", "base64"),
        (b"text/html", b"quoted-printable", b"a=3D" * 400 + b"\r\n", "quoted-printable"),
    ],
)
def test_one_part(content_type, given_encoding, written, encoding):
    fields = [Field(b"Content-Type", b" " + content_type), Field(b"Content-Transfer-Encoding", b" " + given_encoding)]
    message = Message(tuple(fields if given_encoding else fields[:1]), written)
    (part,) = scan(message).leaves
    after, encoded = fit(message)
    assert encoded == (part,)
    assert not has_long_line(after)
    (new,) = scan(after).leaves
    assert new.encoding == encoding
    assert content(after, new) == content(message, part)


def test_only_the_part_with_the_long_line():
    message = Message.parse(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n" + LONG + b"\r\n"
        b"--b\r\n\r\nshort \xe9\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\n" + LONG + b"\r\n--b--\r\n"
    )
    after, encoded = fit(message)
    assert [part.content_type for part in encoded] == ["text/html"]
    assert after.body.endswith(message.body[message.body.index(b"--b\r\n\r\nshort") :])
    assert has_long_line(after)  # in the attached message, which stays as it is


@pytest.mark.parametrize(
    "message",
    [
        Message((Field(b"Content-Type", b" multipart/signed; boundary=b"),), b"--b\r\n\r\n" + LONG + b"\r\n--b--\r\n"),
        Message((Field(b"Content-Type", b" multipart/mixed; boundary=c"),), b"--b\r\n\r\n" + LONG + b"\r\n--b--\r\n"),
        Message((Field(b"Content-Transfer-Encoding", b" base64"),), b"!" * 1000 + b"\r\n"),
        Message((Field(b"Content-Transfer-Encoding", b" x-uuencode"),), b"!" * 1000 + b"\r\n"),
        Message((Field(b"Subject", b"x" * 1000),), b""),
        Message((Field(b"Subject", b"x" + b" " * 1000),), b""),
    ],
    ids=["signed", "defect", "damaged", "unknown encoding", "one word", "blanks"],
)
def test_what_cannot_be_helped_stays(message):
    assert has_long_line(message)
    assert fit(message) == (message, ())


WORDS = st.lists(st.tuples(st.sampled_from([b" ", b"\t", b"   ", b"\r\n "]), st.sampled_from([b"a", b"bc" * 20, b"d" * 500])))


@given(WORDS)
def test_fields_are_folded_at_their_blanks(words):
    message = Message((Field(b"X-Field", b"".join(blank + word for blank, word in words)),), b"")
    after, _ = fit(message)
    assert not has_long_line(after)
    assert list(map(relaxed, after.fields)) == list(map(relaxed, message.fields))
    assert after.fields[0].value.replace(b"\r\n", b"") == message.fields[0].value.replace(b"\r\n", b"")
    assert all(line.strip() for line in (b"X:" + after.fields[0].value).split(b"\r\n"))
    if not has_long_line(message):
        assert after is message


def test_a_long_word_does_not_keep_the_rest_from_being_folded():
    after, _ = fit(Message((Field(b"X", b" " + b"a" * 1500 + b" " + b"b" * 900 + b" " + b"c" * 900),), b""))
    assert [len(line) for line in after.fields[0].value.split(b"\r\n")] == [0, 1501, 901, 901]


def test_the_header_of_a_part_is_folded():
    message = Message.parse(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nX-Long: " + LONG + b"\r\nX: y\r\n\r\nz\r\n--b\r\n\r\nshort\r\n--b--\r\n"
    )
    after, encoded = fit(message)
    assert encoded == ()
    assert not has_long_line(after)
    assert after.body.replace(b"\r\n word", b" word") == message.body


def test_a_long_field_that_is_not_utf_8_stays_because_the_milter_could_not_write_it():
    latin, utf8 = Field(b"Subject", b" " + b"gr\xfcn " * 300), Field(b"Subject", b" " + "grün ".encode() * 300)
    assert fit(Message((latin,), b""))[0].fields == (latin,)
    folded = fit(Message((utf8,), b""))[0].fields[0]
    assert folded != utf8
    assert relaxed(folded) == relaxed(utf8)


def test_a_content_type_is_not_folded_because_readers_disagree_on_blanks_in_quotes():
    field = Field(b"Content-Type", b' multipart/alternative; x="' + b"a" * 980 + b'"; boundary="b c"')
    assert fit(Message((field,), b""))[0].fields == (field,)
