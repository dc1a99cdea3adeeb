"""Edits are Postfix's: what `apply` makes of them is what leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.edits import InsertField, RemoveField, ReplaceBody, apply, diff
from filters.mail.message import Field, Message

# Few names and values, in two cases, so that there are many duplicates.
FIELDS = st.lists(st.builds(Field, st.sampled_from([b"A", b"a", b"B", b"X-Y"]), st.sampled_from([b" 1", b" 2"])), max_size=8)
MESSAGES = st.builds(lambda fields, body: Message(tuple(fields), body), FIELDS, st.sampled_from([b"", b"x\r\n", b"y\r\n"]))


@given(MESSAGES, MESSAGES)
def test_the_edits_make_one_message_of_the_other(before, after):
    assert apply(before, diff(before, after)) == after


@given(MESSAGES)
def test_no_change_takes_no_edit(message):
    assert diff(message, Message(tuple(message.fields), bytes(message.body))) == ()


@given(MESSAGES, st.data())
def test_what_stays_is_not_touched(before, data):
    kept = [data.draw(st.booleans()) for _ in before.fields]
    after = Message(tuple(field for field, keep in zip(before.fields, kept, strict=True) if keep), before.body)
    edits = diff(before, after)
    assert all(isinstance(edit, RemoveField) for edit in edits)
    assert len(edits) == len(before.fields) - len(after.fields)


def test_removals_go_from_the_tail_up():
    before = Message(tuple(Field(b"X-S", b" %d" % number) for number in range(7)), b"")
    edits = diff(before, Message((), b""))
    assert [edit.index for edit in edits] == [7, 6, 5, 4, 3, 2, 1]


def test_a_field_at_the_top_is_one_insertion():
    before = Message((Field(b"A", b" 1"),), b"x\r\n")
    new = Field(b"DKIM-Signature", b" v=1")
    assert diff(before, Message((new, *before.fields), before.body)) == (InsertField(0, new),)


def test_the_body_is_replaced_whole():
    assert diff(Message((), b"a"), Message((), b"b")) == (ReplaceBody(b"b"),)


@pytest.mark.parametrize("edit", [RemoveField(b"B", 1), RemoveField(b"A", 2), InsertField(2, Field(b"C", b""))])
def test_an_edit_of_nothing_is_an_error(edit):
    with pytest.raises(IndexError):
        apply(Message((Field(b"A", b""),), b""), [edit])
