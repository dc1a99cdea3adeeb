"""The relaxed form against its definition and against dkimpy's."""

import hashlib
import re
import time

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.mail.relaxed import relaxed_body_hash, relaxed_fields

PIECES = st.sampled_from([b" ", b"\t", b"  ", b"\r\n", b"a", b"b" * 20, b"\r", b"\n", b"\xe9", b"\0"])
BODIES = st.lists(PIECES, max_size=60).map(b"".join)


def by_definition(body):
    """RFC 6376 3.4.4, word for word."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    body = re.sub(rb"[ \t]+", b" ", re.sub(rb"[ \t]+\r\n", b"\r\n", body))
    body = re.sub(rb"(?:\r\n)+\Z", b"", body)
    return body + b"\r\n" if body else b""


@given(body=BODIES, piece=st.sampled_from([1, 7, 30, 1 << 16]))
@example(body=b"", piece=1)
@example(body=b"\r\n\r\n", piece=1)
@example(body=b" \r\n\t\r\n", piece=1)
@example(body=b"a\r\n \r\n\r\nb\n\r\n", piece=1)
@settings(max_examples=300)
def test_body(body, piece):
    assert relaxed_body_hash(body, piece) == hashlib.sha256(by_definition(body)).digest()
    if body.endswith(b"\r\n") or not body:
        assert relaxed_body_hash(body, piece) == hashlib.sha256(Relaxed.canonicalize_body(body)).digest()


@given(st.lists(st.tuples(st.sampled_from([b"A", b"a-B"]), BODIES), max_size=4))
def test_fields(fields):
    assert relaxed_fields(fields) == Relaxed.canonicalize_headers(fields)


@pytest.mark.parametrize("piece", [b" ", b"\t", b" \t", b"\r\n", b" \r\n", b"a ", b"\n\r\n", b"a  ", b"\r"])
def test_hostile_bodies_take_no_time(piece):
    body = piece * (10_000_000 // len(piece)) + b"\r\n"
    start = time.perf_counter()
    relaxed_body_hash(body)
    assert time.perf_counter() - start < 3
