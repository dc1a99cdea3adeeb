"""Messages are kept as the bytes that came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.message import Field, Message

NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1).map(
    str.encode
)
LINES = st.binary(max_size=12).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))
VALUES = st.lists(LINES, min_size=1, max_size=3).map(b"\r\n ".join)
FIELDS = st.builds(Field, NAMES, VALUES)
BODIES = st.lists(LINES, max_size=5).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@given(st.lists(FIELDS, max_size=5), BODIES)
def test_what_was_written_is_read_back(fields, body):
    message = Message(tuple(fields), body)
    assert Message.parse(bytes(message)) == message


@given(st.lists(LINES, max_size=8))
def test_bytes_come_back_where_the_header_is_one(lines):
    raw = b"Subject: x\r\n\r\n" + b"\r\n".join(lines)
    assert bytes(Message.parse(raw)) == raw


@pytest.mark.parametrize(
    ("raw", "fields", "body"),
    [
        (b"A: 1\nB: 2\n\nbody\n", [(b"A", b" 1"), (b"B", b" 2")], b"body\r\n"),
        (b"A: 1\r\n\tmore\r\n\r\n", [(b"A", b" 1\r\n\tmore")], b""),
        (b"A : 1\r\n\r\nx", [(b"A", b" 1")], b"x"),
        (b"A: 1\r\nno field\r\nB: 2\r\n\r\n", [(b"A", b" 1")], b"no field\r\nB: 2\r\n\r\n"),
        (b"\r\nA: 1\r\n", [], b"A: 1\r\n"),
        (b" A: 1\r\n\r\n", [], b" A: 1\r\n\r\n"),
        (b"", [], b""),
        (b"A: 1", [(b"A", b" 1")], b""),
        (b"A:\xe9\r\n\r\n", [(b"A", b"\xe9")], b""),
        (b"A: 1\r\n \r\n\r\nx", [(b"A", b" 1\r\n ")], b"x"),
    ],
    ids=["bare LF", "folded", "blank before the colon", "no field", "no header", "fold first", "empty", "no end", "8-bit",
         "fold of blanks"],
)  # fmt: skip
def test_reading(raw, fields, body):
    message = Message.parse(raw)
    assert message.fields == tuple(Field(*field) for field in fields)
    assert message.body == body


def test_names_are_compared_without_case():
    message = Message.parse(b"Subject: a\r\nsubject: b\r\nX: c\r\n\r\n")
    assert [field.value for field in message.all(b"SUBJECT")] == [b" a", b" b"]
    assert message.first(b"x") == Field(b"X", b" c")
    assert message.first(b"y") is None


def test_the_text_of_a_field_is_unfolded():
    assert Field(b"Subject", b" one\r\n two\r\n\tthree ").text == b"one two\tthree"
