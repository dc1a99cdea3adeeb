"""The policy delegation protocol: blocks in, requests out; one fixed line back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.reply import AUTHENTICATION_REQUIRED, Reply, no_permission
from policy.wire.delegation import DUNNO, MAX_ATTRIBUTES, MAX_BLOCK, Action, Parser, ProtocolError, Request, encode, refuse

BLOCK = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\n"
    b"sender=a@example.com\nrecipient=b@example.org\nrecipient_count=0\nqueue_id=\ninstance=1a2b.3c\nsize=0\n"
    b"sasl_method=PLAIN\nsasl_username=0123456789abcdef0123456789abcdef\nsasl_sender=\nencryption_protocol=TLSv1.3\n"
    b"policy_context=submission\ncompatibility_level=3.6\n\n"
)
REQUEST = Request(
    protocol_state="RCPT",
    client_address="192.0.2.7",
    sender="a@example.com",
    recipient="b@example.org",
    instance="1a2b.3c",
    sasl_username="0123456789abcdef0123456789abcdef",
    policy_context="submission",
    size="0",
    encrypted=True,
)


def block(**attributes: str) -> bytes:
    lines = {"request": "smtpd_access_policy", **attributes}
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode("utf-8", "surrogateescape") + b"\n"


def test_a_request_as_postfix_sends_it() -> None:
    assert Parser().receive(BLOCK, 0.0) == [REQUEST]


def test_several_in_one_piece() -> None:
    assert Parser().receive(BLOCK * 3 + BLOCK[:50], 0.0) == [REQUEST] * 3


@pytest.mark.parametrize("value", ["a=b", "=", "100%", "%s%n", "é@example.com", "\udcff\udc80", "x" * 65536, " ", "action=OK"])
def test_a_value_is_everything_behind_the_first_equals_sign(value: str) -> None:
    assert Parser().receive(block(sender=value), 0.0) == [Request(sender=value)]


def test_absent_and_empty_attributes() -> None:
    assert Parser().receive(block(), 0.0) == [Request()]
    assert Parser().receive(block(encryption_protocol="", sasl_username=""), 0.0) == [Request()]
    assert Parser().receive(block(encryption_protocol="TLSv1.2"), 0.0) == [Request(encrypted=True)]


def test_an_attribute_cannot_set_what_is_derived() -> None:
    assert Parser().receive(block(encrypted="yes"), 0.0) == [Request(encrypted=False)]


VIOLATIONS = {
    "no request": b"sender=a@example.com\n\n",
    "another request": b"request=junk\n\n",
    "no equals sign": b"request=smtpd_access_policy\nsender\n\n",
    "an attribute twice": b"request=smtpd_access_policy\nsasl_username=a\nsasl_username=b\n\n",
    "empty block": b"\n\n",
    "too many attributes": block(**{f"x{number}": "" for number in range(MAX_ATTRIBUTES)}),
    "too long": block(sender="x" * MAX_BLOCK),
    "too long and unfinished": b"sender=" + b"x" * MAX_BLOCK,
}


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_violations_end_the_connection(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Parser().receive(data, 0.0)


def test_since_when_a_block_is_incomplete() -> None:
    parser = Parser()
    assert parser.partial_since is None
    parser.receive(BLOCK[:9], 1.0)
    parser.receive(BLOCK[9:20], 2.0)
    assert parser.partial_since == 1.0
    parser.receive(BLOCK[20:] + BLOCK[:5], 3.0)
    assert parser.partial_since == 3.0
    parser.receive(BLOCK[5:], 4.0)
    assert parser.partial_since is None


def test_answers() -> None:
    assert encode(DUNNO) == b"action=DUNNO\n\n"
    assert encode(refuse(AUTHENTICATION_REQUIRED)) == b"action=530 5.7.0 Authentication required\n\n"
    assert encode(refuse(no_permission("postmaster@example.com"))) == (
        b"action=550 5.7.1 You do not have permission to send email; contact postmaster@example.com\n\n"
    )


@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "é", "a\r", "\t", "x" * 511])
def test_only_one_short_line_of_ascii_is_sent(text: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode(Action(text=text))


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=500))
def test_postfix_reads_back_the_reply(text: str) -> None:
    sent = encode(refuse(Reply(code=550, enhanced="5.7.1", text=text)))
    lines = sent.split(b"\n")
    assert lines[1:] == [b"", b""]
    name, _, value = lines[0].partition(b"=")
    assert (name, value.decode()) == (b"action", f"550 5.7.1 {text}")


VALUES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)


def played(chunks: list[bytes]) -> object:
    parser = Parser()
    try:
        return [request for chunk in chunks for request in parser.receive(chunk, 0.0)]
    except ProtocolError:
        return ProtocolError


@given(
    senders=st.lists(VALUES, min_size=1, max_size=3),
    junk=st.binary(max_size=5),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_any_chunking_gives_the_same_requests(senders: list[str], junk: bytes, cuts: list[int]) -> None:
    stream = b"".join(block(sender=sender, sasl_username="x") for sender in senders)
    whole = played([stream])
    assert whole == [Request(sender=sender, sasl_username="x") for sender in senders]
    stream += junk
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    assert played(chunks) == played([stream]) == played([bytes([octet]) for octet in stream])
