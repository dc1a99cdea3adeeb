"""Generated header blocks through a real Postfix: no control field leaves, no feature is lost in silence, neighbours stay."""

import re
import smtplib
from dataclasses import dataclass
from enum import Enum, auto

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.system

REST = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: random\r\nMIME-Version: 1.0\r\n"
BODY = b"\r\nhello\r\n"
CONTROL = re.compile(rb"x-smtpeter(?:-[^:]*)?[ \t]*:", re.IGNORECASE)


class Kind(Enum):
    CONTROL = auto()
    NEIGHBOUR = auto()
    MALFORMED = auto()


@dataclass(frozen=True)
class Line:
    """A piece of a header block, without its last CRLF."""

    kind: Kind
    text: bytes


def any_case(name: bytes) -> st.SearchStrategy[bytes]:
    flips = st.lists(st.booleans(), min_size=len(name), max_size=len(name))
    return flips.map(lambda ups: bytes(ord(chr(c).upper() if up else chr(c).lower()) for c, up in zip(name, ups, strict=True)))


CONTROL_NAMES = st.sampled_from(
    [b"", b"-inlinecss", b"-trackclicks", b"-tags", b"-images", b"-unknown", b"-job", b"-", b"--", b"-a.b_c!", b"-" + b"n" * 200]
).flatmap(lambda ending: any_case(b"x-smtpeter" + ending))
NEIGHBOUR_NAMES = st.sampled_from(
    [b"X-Keep", b"XX-SMTPeter-Tags", b"X-SMTPeterish", b"X-SMTPeter_x", b"X-SMTPeter.x", b"Keywords"]
)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"   ", b" \t "])
WORDS = st.lists(
    st.sampled_from(
        [b"true", b"FALSE", b"a", b",", b";", b'"', b"(", b"\\", b"\xe9", b"\xc3\xa9", b"\xff\xfe", b":", b"x-smtpeter-tags: b"]
        + [b"\r\n ", b"\r\n\t", b"\r\n \t", b"\r\n \r\n ", b" ", b"\t", b"=?utf-8?q?a?=", b"\x01", b"w" * 120]
    ),
    max_size=6,
).map(b"".join)
CONTROLS = st.builds(
    lambda name, before, after, value: Line(Kind.CONTROL, name + before + b":" + after + value),
    CONTROL_NAMES,
    BLANKS,
    BLANKS,
    WORDS,
)
NEIGHBOURS = st.builds(
    lambda name, after, value: Line(Kind.NEIGHBOUR, name + b":" + after + value), NEIGHBOUR_NAMES, BLANKS, WORDS
)
MALFORMED = st.sampled_from(
    [b"no field", b": no name", b"Betr\xe9ff: x", b"two words: x", b"From x", b"\xef\xbb\xbfX-Bom: x"]
).map(lambda text: Line(Kind.MALFORMED, text))
WELL_FORMED = st.lists(st.one_of(CONTROLS, NEIGHBOURS), max_size=12)


@pytest.fixture(scope="module")
def outcome(service, login, transaction):
    """What becomes of a message: what left, or the code and text it was refused with."""
    clients = []

    def send(message: bytes):
        if not clients:
            clients.append(service.client(login))
        try:
            return service.captured(transaction(clients[0], message))
        except smtplib.SMTPResponseException as refusal:
            # Postfix ends a session after five refusals.
            clients.pop().close()
            return refusal.smtp_code, refusal.smtp_error

    yield send
    for client in clients:
        client.close()


def fields(header: bytes) -> list[bytes]:
    return re.split(rb"\r\n(?![ \t])", header.removesuffix(b"\r\n"))


def check_left(left, lines: list[Line]) -> None:
    found = fields(left.header)
    assert not [field for field in found if CONTROL.match(field)]
    assert [field for field in found if field.partition(b":")[0] in names(lines)] == [
        line.text for line in lines if line.kind is Kind.NEIGHBOUR
    ]
    assert b"DKIM-Signature:" in left.header


def names(lines: list[Line]) -> set[bytes]:
    return {line.text.partition(b":")[0] for line in lines if line.kind is Kind.NEIGHBOUR}


def written(lines: list[Line]) -> bytes:
    return b"".join(line.text + b"\r\n" for line in lines)


@given(WELL_FORMED, st.booleans())
@settings(max_examples=120)
def test_every_control_field_goes_and_every_neighbour_stays(outcome, lines: list[Line], first: bool) -> None:
    block = written(lines)
    check_left(outcome((block + REST if first else REST + block) + BODY), lines)


@given(WELL_FORMED, MALFORMED, WELL_FORMED)
@settings(max_examples=120)
def test_a_malformed_line_loses_no_control_field(outcome, before: list[Line], malformed: Line, after: list[Line]) -> None:
    result = outcome(written(before) + REST + written([malformed, *after]) + BODY)
    if any(line.kind is Kind.CONTROL for line in after):
        assert result[0] == 550
        assert result[1].startswith(b"5.6.0")
    else:
        check_left(result, before)
        assert result.body.startswith(malformed.text)
