"""Sealed identifiers: read back exactly, by their ring only, for their purpose only, in one spelling only."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.seal import KEY_LENGTH, InvalidRing, Ring, SealingKey, octets, written

LETTERS = set((string.ascii_letters + string.digits).encode())


def key(number: int, *, created: int = 1, active: int = 1) -> SealingKey:
    return SealingKey(id=number, secret=bytes((number,)) * KEY_LENGTH, created=created, active=active)


RING = Ring([key(7)], now=2)


@given(st.binary(max_size=200), st.sampled_from([b"link", b"pixel"]), st.binary(max_size=100))
def test_what_was_sealed_is_read(payload: bytes, purpose: bytes, associated: bytes) -> None:
    sealed = RING.seal(payload, purpose, associated)
    assert RING.unseal(sealed, purpose, associated) == payload
    assert RING.seal(payload, purpose, associated) == sealed, "the same content gives the same identifier"
    assert RING.unseal(sealed, purpose + b"x", associated) is None
    assert RING.unseal(sealed, purpose, associated + b"x") is None


@given(st.binary(max_size=40))
def test_no_bit_can_be_changed_and_nothing_left_out_or_added(payload: bytes) -> None:
    sealed = RING.seal(payload, b"link", b"/path")
    for bit in range(len(sealed) * 8):
        flipped = (int.from_bytes(sealed, "big") ^ 1 << bit).to_bytes(len(sealed), "big")
        assert RING.unseal(flipped, b"link", b"/path") is None
    for length in range(len(sealed)):
        assert RING.unseal(sealed[:length], b"link", b"/path") is None
        assert RING.unseal(sealed[len(sealed) - length :], b"link", b"/path") is None
    assert RING.unseal(sealed + b"\0", b"link", b"/path") is None


@given(st.binary(max_size=100))
def test_the_payload_cannot_be_seen(payload: bytes) -> None:
    sealed = RING.seal(payload, b"link")
    assert len(sealed) == len(payload) + 17
    assert len(payload) < 4 or payload not in sealed


@given(st.binary())
def test_octets_are_written_in_letters_and_digits_and_read_again(content: bytes) -> None:
    text = written(content)
    assert set(text.encode()) <= LETTERS
    assert octets(text.encode()) == (content or None)


@given(st.text(alphabet=string.ascii_letters + string.digits + "+/=-_ Zpsz", max_size=60))
def test_one_identifier_has_one_spelling(text: str) -> None:
    content = octets(text.encode())
    assert content is None or written(content) == text


@given(st.binary(min_size=1, max_size=60), st.data())
def test_no_other_text_reads_as_the_same_octets(content: bytes, data: st.DataObject) -> None:
    text = written(content)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "+/=Z"))
    changed = text[:at] + letter + text[at + 1 :]
    assert changed == text or octets(changed.encode()) != content


@pytest.mark.parametrize(
    "text", [b"Z", b"ZZ", b"ZZz", b"ZZzz", b"A", b"AB", b"AAA=", b"AA==", b"A+AA", b"A/AA", b"A AA", b"\xc3\xa9AA"]
)
def test_texts_that_nothing_is_written_as(text: bytes) -> None:
    assert octets(text) is None


def test_old_keys_read_and_the_newest_active_one_seals() -> None:
    old, new, waiting = key(1, created=1, active=1), key(2, created=5, active=5), key(3, created=6, active=100)
    before = Ring([old], now=4).seal(b"x", b"link")
    ring = Ring([new, waiting, old], now=10)
    assert ring.sealing == new
    assert ring.next_change == 100
    assert ring.seal(b"x", b"link")[0] == 2
    assert ring.unseal(before, b"link") == b"x"
    assert Ring([new], now=10).unseal(before, b"link") is None
    later = Ring([new, waiting, old], now=100)
    assert (later.sealing, later.next_change) == (waiting, None)
    assert later.unseal(ring.seal(b"y", b"link"), b"link") == b"y"


def test_the_oldest_key_seals_where_none_is_active_yet() -> None:
    assert Ring([key(1, active=50), key(2, active=60)], now=0).sealing.id == 1


def test_a_ring_is_written_and_read_again() -> None:
    ring = Ring([key(200, created=3, active=9), key(0)], now=5)
    again = Ring.parse("# a comment\n\n" + ring.format(), now=5)
    assert sorted(again.keys, key=lambda each: each.id) == sorted(ring.keys, key=lambda each: each.id)
    assert again.sealing.id == 0
    assert "secret" not in repr(ring.keys[0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no key"),
        ("1 2 3", "line 1"),
        ("# x\n1 2 3 QUJD", "line 2"),
        ("1 2 3 ****", "line 1"),
        (f"256 1 1 {'QUFB' * 21}QQ==", "line 1"),
        (f"-1 1 1 {'QUFB' * 21}QQ==", "line 1"),
        (f"one 1 1 {'QUFB' * 21}QQ==", "line 1"),
        ((Ring([key(1)], now=2).format()) * 2, "two keys with one id"),
    ],
)
def test_a_text_that_is_no_ring(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRing, match=sentence):
        Ring.parse(text, now=2)
