"""Records as lines, and back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.event import Decision
from journal.records import CopyRecord, MessageRecord, Record, VisitKind, VisitRecord, decode, encode
from journal.rows import BadRecord, table_and_row

# Everything but lone surrogates, which are no characters; they have their own test.
text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\0\x7f\u2028'), max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
words = st.lists(text, max_size=3).map(tuple)
decisions = st.lists(st.builds(Decision, text, text, text, text), max_size=3).map(tuple)
messages = st.builds(
    MessageRecord,
    **dict.fromkeys(("id", "login", "account", "envelope", "recipient", "queue_id", "message_id"), text),
    time=number,
    properties=words,
    tags=words,
    decisions=decisions,
)
copies = st.builds(CopyRecord, message=text, time=number, queue_id=text, decisions=decisions)
visits = st.builds(
    VisitRecord,
    **dict.fromkeys(("message", "url", "destination", "ip", "protocol", "headers"), text),
    kind=st.sampled_from(VisitKind),
    time=number,
    number=number,
    machine=st.booleans(),
)
CLICK = VisitRecord(
    kind=VisitKind.CLICK,
    message="m",
    time=1,
    number=2,
    url="u",
    destination="d",
    ip="",
    protocol="http",
    headers="",
    machine=False,
)


@given(messages | copies | visits)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    line = encode(record)
    assert decode(line) == record
    assert b"\n" not in line


@given(visits)
def test_the_fast_form_of_a_visit_is_json_as_any_encoder_writes_it(record: VisitRecord) -> None:
    line = encode(record).decode()
    assert line == json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":"))


def test_half_a_character_does_not_stop_a_record() -> None:
    assert decode(encode(replace(CLICK, headers="a\ud800b"))) == replace(CLICK, headers="a?b")


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"{}", b"7", b"[]", b'["click"]', b'["message",1]', b'["copy","m",1,"q",7]', b'["copy","m",1,"q",[["a"]]]']
    + [b"\xff", b'["tap","m",1,2,"u","d","i","p","h",true]', b'[["click"],"m",1,2,"u","d","i","p","h",true]'],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line)


@given(messages | copies | visits)
def test_a_row_is_made_or_the_record_is_bad(record: Record) -> None:
    try:
        _, row = table_and_row("s-0", record)
    except BadRecord:
        assert isinstance(record, MessageRecord)
        assert len(record.id) > 64
    else:
        assert not any("\0" in value for value in row.values() if isinstance(value, str))
