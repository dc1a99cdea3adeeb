"""The Dovecot authentication protocol: one table of conversations, and what no client can do."""

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.wire.dovecot import (
    EXCHANGE_LIFETIME,
    MAX_ATTEMPTS,
    MAX_EXCHANGES,
    MAX_LINE,
    Attempt,
    Challenged,
    Connection,
    Malformed,
    ProtocolError,
    Request,
)
from policy.wire.sasl import Credentials

USER, PASSWORD = "0123456789abcdef0123456789abcdef", "abcd efgh"
HELLO = b"VERSION\t1\t0\nCPID\t4711\n"
FAIL = b"FAIL\t%d\treason=invalid user name or password\n"


def b64(text: str | bytes) -> bytes:
    return b64encode(text.encode() if isinstance(text, str) else text)


RESP = b64(f"\0{USER}\0{PASSWORD}")
GOOD = Credentials(login=USER, password=PASSWORD.encode())


def connection() -> Connection:
    return Connection(process=12, serial=3, cookie="0123456789abcdef" * 2)


def greeted() -> Connection:
    opened = connection()
    assert opened.receive(HELLO, 0.0) == []
    return opened


def test_the_greeting() -> None:
    assert connection().greeting == (
        b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t12\nCUID\t3\n"
        b"COOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"
    )


def test_a_request_as_postfix_sends_it() -> None:
    line = b"AUTH\t1\tPLAIN\tservice=smtp25\tnologin\tlip=192.0.2.1\trip=2001:db8::7\tsecured\tresp=" + RESP + b"\n"
    request = Request(number=1, mechanism="PLAIN", service="smtp25", rip="2001:db8::7", lip="192.0.2.1", secured=True)
    assert greeted().receive(line, 0.0) == [Attempt(request=request, credentials=GOOD)]


@pytest.mark.parametrize("name", [b"plain", b"Plain", b"PLAIN"])
def test_the_mechanism_is_matched_in_any_case(name: bytes) -> None:
    (event,) = greeted().receive(b"AUTH\t9\t" + name + b"\tresp=" + RESP + b"\n", 0.0)
    assert event == Attempt(request=Request(number=9, mechanism="PLAIN"), credentials=GOOD)


@pytest.mark.parametrize("ending", [b"", b"\tresp="])
def test_plain_without_an_initial_response_is_challenged(ending: bytes) -> None:
    opened = greeted()
    request = Request(number=1, mechanism="PLAIN", service="smtp")
    events = opened.receive(b"AUTH\t1\tPLAIN\tservice=smtp" + ending + b"\n", 0.0)
    assert events == [Challenged(request=request, reply=b"CONT\t1\t\n")]
    assert opened.receive(b"CONT\t1\t" + RESP + b"\n", 1.0) == [Attempt(request=request, credentials=GOOD)]


def test_login_is_asked_for_both_parts() -> None:
    opened = greeted()
    request = Request(number=1, mechanism="LOGIN")
    assert opened.receive(b"AUTH\t1\tlogin\n", 0.0) == [
        Challenged(request=request, reply=b"CONT\t1\t" + b64("Username:") + b"\n")
    ]
    assert opened.receive(b"CONT\t1\t" + b64(USER) + b"\n", 0.0) == [
        Challenged(request=request, reply=b"CONT\t1\t" + b64("Password:") + b"\n")
    ]
    assert opened.receive(b"CONT\t1\t" + b64(PASSWORD) + b"\n", 0.0) == [Attempt(request=request, credentials=GOOD)]


MALFORMED = {
    "explicit empty response": b"AUTH\t7\tPLAIN\tresp==",
    "not base64": b"AUTH\t7\tPLAIN\tresp=%%%%",
    "base64 with a blank": b"AUTH\t7\tPLAIN\tresp=AA AA",
    "base64 cut short": b"AUTH\t7\tPLAIN\tresp=AAA",
    "unknown mechanism": b"AUTH\t7\tCRAM-MD5",
    "one NUL": b"AUTH\t7\tPLAIN\tresp=" + b64("a\0b"),
    "12 KiB password": b"AUTH\t7\tPLAIN\tresp=" + b64("\0a\0" + "b" * 9000),
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_cannot_be_read_is_refused_without_an_attempt(line: bytes) -> None:
    opened = greeted()
    (event,) = opened.receive(line + b"\n", 0.0)
    assert isinstance(event, Malformed)
    assert event.reply == FAIL % 7
    # The number is free again.
    (event,) = opened.receive(b"AUTH\t7\tPLAIN\tresp=" + RESP + b"\n", 0.0)
    assert isinstance(event, Attempt)


def test_a_response_that_is_not_base64_ends_the_exchange() -> None:
    opened = greeted()
    opened.receive(b"AUTH\t1\tLOGIN\n", 0.0)
    (event,) = opened.receive(b"CONT\t1\t*\n", 0.0)
    assert isinstance(event, Malformed)
    assert event.reply == FAIL % 1
    with pytest.raises(ProtocolError, match="CONT without AUTH"):
        opened.receive(b"CONT\t1\t" + b64(USER) + b"\n", 0.0)


VIOLATIONS = {
    "number 0": b"AUTH\t0\tPLAIN",
    "number 2^32": b"AUTH\t4294967296\tPLAIN",
    "number with a sign": b"AUTH\t+1\tPLAIN",
    "number with a leading zero": b"AUTH\t01\tPLAIN",
    "number in other digits": "AUTH\t١\tPLAIN".encode(),
    "no number": b"AUTH\t\tPLAIN",
    "no mechanism": b"AUTH\t1",
    "empty mechanism": b"AUTH\t1\t",
    "mechanism with a blank": b"AUTH\t1\tPLAIN x",
    "parameters after resp": b"AUTH\t1\tPLAIN\tresp=" + RESP + b"\tservice=smtp",
    "two resp": b"AUTH\t1\tPLAIN\tresp=" + RESP + b"\tresp=" + RESP,
    "CONT without AUTH": b"CONT\t5\tAAAA",
    "CONT without a response": b"CONT\t5",
    "CONT without anything": b"CONT",
    "major version 2": b"VERSION\t2\t0",
    "no version": b"VERSION",
    "CPID twice": b"CPID\t4711",
    "CANCEL without a number": b"CANCEL",
    "long line": b"x" * MAX_LINE,
    "number in use": b"AUTH\t1\tLOGIN\nAUTH\t1\tPLAIN",
    "number being compared": b"AUTH\t1\tPLAIN\tresp=" + RESP + b"\nAUTH\t1\tPLAIN\tresp=" + RESP,
}


@pytest.mark.parametrize("line", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_violations_end_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        greeted().receive(line + b"\n", 0.0)


def test_a_request_before_the_version_ends_the_connection() -> None:
    with pytest.raises(ProtocolError):
        connection().receive(b"AUTH\t1\tPLAIN\n", 0.0)


def test_the_largest_number_is_taken() -> None:
    (event,) = greeted().receive(b"AUTH\t4294967295\tPLAIN\n", 0.0)
    assert event == Challenged(request=Request(number=4294967295, mechanism="PLAIN"), reply=b"CONT\t4294967295\t\n")


def test_unknown_commands_and_attributes_are_skipped() -> None:
    opened = greeted()
    assert opened.receive(b"\nNOOP\nMASTER\tx\t\t\n\0\xff\n", 0.0) == []
    line = b"AUTH\t1\tPLAIN\tno-penalty\tlocal_name=\xff\tclient_id=\x01\tresp=" + RESP + b"\n"
    assert opened.receive(line, 0.0) == [Attempt(request=Request(number=1, mechanism="PLAIN"), credentials=GOOD)]


def test_the_first_of_two_equal_attributes_counts() -> None:
    (event,) = greeted().receive(b"AUTH\t1\tPLAIN\trip=192.0.2.1\trip=192.0.2.2\n", 0.0)
    assert event.request.rip == "192.0.2.1"


@pytest.mark.parametrize("value", [b"a b", b"a=b", b"\x01t", "é".encode(), b"x" * 65, b'"', b"\0"])
def test_doubtful_values_are_left_out(value: bytes) -> None:
    (event,) = greeted().receive(b"AUTH\t1\tPLAIN\tservice=" + value + b"\trip=192.0.2.1\n", 0.0)
    assert event.request == Request(number=1, mechanism="PLAIN", rip="192.0.2.1")


def attempt(opened: Connection, number: int = 1) -> Attempt:
    (event,) = opened.receive(b"AUTH\t%d\tPLAIN\tresp=%b\n" % (number, RESP), 0.0)
    assert isinstance(event, Attempt)
    return event


def test_answers() -> None:
    opened = greeted()
    assert opened.ok(attempt(opened), USER) == b"OK\t1\tuser=" + USER.encode() + b"\n"
    assert opened.fail(attempt(opened)) == FAIL % 1
    named = b"FAIL\t1\tuser=%b\treason=invalid user name or password\n" % USER.encode()
    assert opened.fail(attempt(opened), USER) == named


def test_an_attempt_is_answered_once() -> None:
    opened = greeted()
    pending = attempt(opened)
    assert opened.fail(pending)
    assert opened.ok(pending, USER) == b""


def test_the_result_of_a_cancelled_attempt_never_answers_its_successor() -> None:
    opened = greeted()
    first = attempt(opened)
    assert opened.receive(b"CANCEL\t1\n", 0.0) == []
    second = attempt(opened)
    assert opened.ok(first, USER) == b""
    assert opened.fail(second) == FAIL % 1


def test_a_cancelled_exchange_is_gone() -> None:
    opened = greeted()
    opened.receive(b"AUTH\t1\tLOGIN\nCANCEL\t1\nCANCEL\t2\n", 0.0)
    with pytest.raises(ProtocolError):
        opened.receive(b"CONT\t1\tAAAA\n", 0.0)


def test_an_unanswered_challenge_expires() -> None:
    opened = greeted()
    opened.receive(b"AUTH\t1\tLOGIN\n", 0.0)
    opened.receive(b"AUTH\t2\tLOGIN\n", 1.0)
    assert len(opened.receive(b"CONT\t2\t" + b64(USER) + b"\n", EXCHANGE_LIFETIME)) == 1
    with pytest.raises(ProtocolError, match="CONT without AUTH"):
        opened.receive(b"CONT\t1\t" + b64(USER) + b"\n", EXCHANGE_LIFETIME)


def test_answering_in_time_starts_the_time_anew() -> None:
    opened = greeted()
    opened.receive(b"AUTH\t1\tLOGIN\nAUTH\t2\tLOGIN\n", 0.0)
    opened.receive(b"CONT\t1\t" + b64(USER) + b"\n", 100.0)
    (event,) = opened.receive(b"CONT\t1\t" + b64(PASSWORD) + b"\n", EXCHANGE_LIFETIME + 50.0)
    assert isinstance(event, Attempt)


def test_the_oldest_unanswered_challenge_makes_room() -> None:
    opened = greeted()
    for number in range(1, MAX_EXCHANGES + 2):
        opened.receive(b"AUTH\t%d\tLOGIN\n" % number, 0.0)
    (event,) = opened.receive(b"CONT\t2\t" + b64(USER) + b"\n", 0.0)
    assert isinstance(event, Challenged)
    with pytest.raises(ProtocolError):
        opened.receive(b"CONT\t1\t" + b64(USER) + b"\n", 0.0)


def test_attempts_in_flight_are_bounded() -> None:
    opened = greeted()
    lines = [b"AUTH\t%d\tPLAIN\tresp=%b\n" % (number, RESP) for number in range(1, MAX_ATTEMPTS + 2)]
    assert len(opened.receive(b"".join(lines[:-1]), 0.0)) == MAX_ATTEMPTS
    with pytest.raises(ProtocolError, match="too many"):
        opened.receive(lines[-1], 0.0)


def test_the_buffer_is_bounded() -> None:
    opened = greeted()
    assert opened.receive(b"x" * (MAX_LINE - 1), 0.0) == []
    with pytest.raises(ProtocolError, match="too long"):
        opened.receive(b"x", 0.0)


def test_the_longest_line_postfix_passes_on_is_refused_not_a_violation() -> None:
    opened = greeted()
    opened.receive(b"AUTH\t1\tPLAIN\n", 0.0)
    (event,) = opened.receive(b"CONT\t1\t" + b"A" * 12288 + b"\n", 0.0)
    assert isinstance(event, Malformed)


def test_since_when_a_line_is_incomplete() -> None:
    opened = connection()
    assert opened.partial_since is None
    opened.receive(b"VERS", 1.0)
    opened.receive(b"ION\t1", 2.0)
    assert opened.partial_since == 1.0
    opened.receive(b"\t0\nCPI", 3.0)
    assert opened.partial_since == 3.0
    opened.receive(b"D\t1\n", 4.0)
    assert opened.partial_since is None


LINES = st.sampled_from(
    [
        b"AUTH\t1\tPLAIN\tservice=smtp\tresp=" + RESP,
        b"AUTH\t2\tLOGIN\tsecured",
        b"AUTH\t3\tLOGIN\tresp=" + b64(USER),
        b"AUTH\t4\tPLAIN\tresp==",
        b"CONT\t2\t" + b64(USER),
        b"CONT\t3\t" + b64(PASSWORD),
        b"CANCEL\t1",
        b"CANCEL\t2",
        b"NEW\tx",
        b"",
        b"CPID\t1",
        b"AUTH\t0\tPLAIN",
    ]
)


def played(chunks: list[bytes]) -> object:
    opened = connection()
    try:
        return [event for chunk in chunks for event in opened.receive(chunk, 0.0)]
    except ProtocolError:
        return ProtocolError


@given(lines=st.lists(LINES, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=10))
def test_any_chunking_gives_the_same_events(lines: list[bytes], cuts: list[int]) -> None:
    stream = b"VERSION\t1\t0\n" + b"".join(line + b"\n" for line in lines)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    whole = played([stream])
    assert played(chunks) == whole
    assert played([bytes([octet]) for octet in stream]) == whole


@given(stream=st.binary(max_size=300))
def test_any_bytes_give_events_or_a_protocol_error(stream: bytes) -> None:
    assert isinstance(played([b"VERSION\t1\t0\n", stream]), list | type)


REPLY = re.compile(
    rb"(?:CONT\t[0-9]+\t[A-Za-z0-9+/=]*"
    rb"|FAIL\t[0-9]+(?:\tuser=[A-Za-z0-9._@-]+)?\treason=invalid user name or password"
    rb"|OK\t[0-9]+\tuser=[A-Za-z0-9._@-]+)\n"
)


@given(user=st.text(max_size=40) | st.text("a.@-\t\n\x01\0 =", max_size=8))
def test_no_user_name_forges_a_field(user: str) -> None:
    opened = greeted()
    assert REPLY.fullmatch(opened.fail(attempt(opened), user))
    pending = attempt(opened)
    if re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", user):
        assert opened.ok(pending, user) == f"OK\t1\tuser={user}\n".encode()
    else:
        with pytest.raises(ValueError, match="cannot be sent"):
            opened.ok(pending, user)


@given(mechanism=st.sampled_from([b"PLAIN", b"LOGIN", b"X"]), response=st.binary(max_size=60), raw=st.booleans())
def test_no_response_forges_a_field(mechanism: bytes, response: bytes, raw: bool) -> None:
    field = response.translate(None, b"\t\n") if raw else b64(response)
    for event in greeted().receive(b"AUTH\t1\t" + mechanism + b"\tresp=" + field + b"\n", 0.0):
        if not isinstance(event, Attempt):
            assert REPLY.fullmatch(event.reply)
