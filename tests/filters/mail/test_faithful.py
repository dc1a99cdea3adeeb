"""The check that reads a changed message again: nothing in it may be other than what was declared."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail import parts
from filters.mail.faithful import Unsound, check_faithful
from filters.mail.message import Field, Message


def changed(body: bytes, content: bytes = "<i>grün</i>".encode()):
    """A message, its structure, and the same with its shown HTML changed as it should be."""
    before = Message.parse(body)
    structure = parts.scan(before)
    changes = {part: content for part in structure.leaves if part.content_type == "text/html" and not part.disposition}
    assert changes
    return before, structure, parts.replace(before, changes), changes


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body.replace(b"<i>", b"<u>"),
        lambda body: body.replace(b"<b>gr", b"<b>kr"),
        lambda body: body.replace(b"attached", b"attackid"),
        lambda body: body.replace(b"filename=a.html", b"filename=b.html"),
        lambda body: body.replace(b"--m--", b"--m\r\n\r\nmore\r\n--m--"),
        lambda body: body.replace(b"text/plain", b"text/other"),
        lambda body: body.replace(b"preamble", b"preramble"),
        lambda body: body.replace(b"epilogue", b"epilog"),
    ],
)
def test_every_undeclared_change_is_found(mixed: bytes, damage) -> None:
    before, structure, after, changes = changed(mixed)
    check_faithful(before, structure, after, changes)
    assert damage(after.body) != after.body
    with pytest.raises(Unsound):
        check_faithful(before, structure, replace(after, body=damage(after.body)), changes)


@given(st.data())
def test_no_byte_of_the_body_can_be_other_than_declared(mixed: bytes, data) -> None:
    """Any one byte changed, taken out or put in: either it is found, or the parts and their headers say the same."""
    before, structure, after, changes = changed(mixed)
    place = data.draw(st.integers(0, len(after.body) - 1))
    byte = data.draw(st.sampled_from([b"", b"x", b"-", b"\r\n", b"=", b" ", b";", b"\0", after.body[place : place + 1] * 2]))
    damaged = replace(after, body=after.body[:place] + byte + after.body[place + 1 :])
    try:
        check_faithful(before, structure, damaged, changes)
    except Unsound:
        return
    html = after.body.index(b"Content-Type: text/html")
    assert damaged == after or html <= place < after.body.index(b"--a--"), (place, byte)
    now = parts.scan(damaged)
    assert [parts.content(damaged, part) for part in now.leaves] == [
        parts.content(after, part) for part in parts.scan(after).leaves
    ]
    assert [part.content_type for part in now.leaves] == [part.content_type for part in structure.leaves]


FIELDS = {
    "one more": lambda fields: (*fields, Field(b"X-Other", b" x")),
    "one less": lambda fields: fields[1:],
    "another order": lambda fields: fields[::-1],
    "another value": lambda fields: (Field(b"From", b" other@example.com"), *fields[1:]),
    "another name": lambda fields: (Field(b"from", fields[0].value), *fields[1:]),
    "another blank": lambda fields: (Field(b"From", b"  news@example.com"), *fields[1:]),
    "twice": lambda fields: (fields[0], *fields),
}


@pytest.mark.parametrize("damage", FIELDS.values(), ids=FIELDS.keys())
def test_a_header_field_that_was_changed_is_found(mixed: bytes, damage) -> None:
    before, structure, after, changes = changed(mixed)
    with pytest.raises(Unsound, match="a header field was changed"):
        check_faithful(before, structure, replace(after, fields=damage(after.fields)), changes)


SINGLE = b"From: a@example.com\r\nContent-Type: text/html\r\nSubject: x\r\n\r\n<b>x</b>\r\n"


def test_only_fields_of_the_transfer_encoding_may_come() -> None:
    before, structure, after, changes = changed(SINGLE, b"<b>x" + b"x" * 1000 + b"</b>\r\n")
    assert {field.name for field in after.fields} - {field.name for field in before.fields} == {
        b"Content-Transfer-Encoding",
        b"MIME-Version",
    }
    check_faithful(before, structure, after, changes)
    with pytest.raises(Unsound, match="a header field was changed"):
        check_faithful(before, structure, replace(after, fields=after.fields[1:]), changes)
    with pytest.raises(Unsound, match="does not read back"):
        check_faithful(before, structure, replace(after, fields=after.fields[:-2]), changes)


def test_a_change_that_was_not_made_is_found(mixed: bytes) -> None:
    before, structure, _, changes = changed(mixed)
    with pytest.raises(Unsound, match="does not read back"):
        check_faithful(before, structure, before, changes)
    check_faithful(before, structure, before, {})


def test_a_part_that_is_no_more_is_found(mixed: bytes) -> None:
    before, structure, after, changes = changed(mixed)
    without = after.body[: after.body.index(b"--m\r\nContent-Type: text/html")] + b"--m--\r\nepilogue\r\n"
    with pytest.raises(Unsound, match="the parts are not those"):
        check_faithful(before, structure, replace(after, body=without), changes)
