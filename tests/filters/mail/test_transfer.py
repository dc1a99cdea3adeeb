"""Transfer encodings are exact in both directions, and what is written survives any relay."""

import base64
import binascii
import quopri

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.mail.transfer import decode, encode, has_bare_line_end, long_line, without_hyphens

PIECES = st.sampled_from(
    [
        b"a",
        b"=",
        b" ",
        b"\t",
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"From ",
        b"-",
        b"--",
        b"\xc3\xa9",
        b"\0",
        b"x" * 60,
        b" " * 80,
        b"=3D",
    ]
)
CONTENT = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join))


@given(CONTENT)
@example(b"x" * 75 + b" \r\n")
@example(b"x" * 74 + b"\t\r\n")
@example(b"x" * 200 + b"= ")
@example(b"From " + b"x" * 71)
@example(b"a\r\n.\r\nb")
def test_quoted_printable_is_exact_and_safe(data):
    text = encode(data, "quoted-printable")
    assert decode(text, "quoted-printable") == data
    assert quopri.decodestring(text) == data
    check_lines(text)


@given(CONTENT)
def test_base64_is_exact_and_safe(data):
    text = encode(data, "base64")
    assert decode(text, "base64") == data
    assert binascii.a2b_base64(text) == data
    check_lines(text)


@pytest.mark.parametrize("size", [56_999, 57_000, 57_001, 114_057])
def test_base64_of_any_size_is_one_text(size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    text = encode(data, "base64")
    assert text.replace(b"\r\n", b"\n") + b"\n" == base64.encodebytes(data)


def check_lines(text):
    assert text.isascii()
    assert b"\0" not in text
    assert not has_bare_line_end(text)
    for line in text.split(b"\r\n"):
        assert len(line) <= 76
        assert line != b"."
        assert not line.startswith(b"From ")
        assert not line.endswith((b" ", b"\t"))


@given(CONTENT)
def test_no_line_begins_with_a_hyphen_on_request(data):
    text = without_hyphens(encode(data, "quoted-printable"))
    assert not any(line.startswith(b"-") for line in text.split(b"\r\n"))
    assert decode(text, "quoted-printable") == data
    assert max(map(len, text.split(b"\r\n"))) <= 76


@pytest.mark.parametrize("encoding", ["", "7bit", "8bit", "binary"])
def test_other_content_stands_as_it_is(encoding):
    assert decode(b"= \xff\0\r\n", encoding) == b"= \xff\0\r\n"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"a=3d=E9", b"a=\xe9"),
        (b"a \t\r\nb  ", b"a\r\nb"),
        (b"a=  \r\nb", b"ab"),
        (b"a=", b"a"),
        (b"\xe9=20\r\n", b"\xe9 \r\n"),
    ],
)
def test_quoted_printable_as_it_comes(text, data):
    assert decode(text, "quoted-printable") == data


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (b"a=XY", "quoted-printable"),
        (b"a=4", "quoted-printable"),
        (b"a=\r", "quoted-printable"),
        (b"YQ", "base64"),
        (b"YQ==YQ==", "base64"),
        (b"Y!Q=", "base64"),
        (b"=", "base64"),
        (b"begin 644 x\r\n", "x-uuencode"),
        (b"a", "7bits"),
    ],
)
def test_damage_is_said(text, encoding):
    with pytest.raises(ValueError):
        decode(text, encoding)


@pytest.mark.parametrize("size", [0, 1, 997, 998])
def test_lines_that_fit(size):
    line = b"x" * size
    assert long_line(line) == -1
    assert long_line((line + b"\r\n") * 5) == -1
    assert long_line(line + b"\r\n" + line) == -1


@pytest.mark.parametrize("size", [999, 1000, 1001, 5000])
def test_lines_that_do_not_fit(size):
    line = b"x" * size
    assert long_line(line) == 0
    assert long_line(line + b"\r\n") == 0
    assert long_line(b"ab\r\n" + line + b"\r\ncd\r\n") == 4
    assert long_line(b"ab\r\n" + line + b"\r\ncd\r\n", 0, 900) == -1


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 30))
def test_the_first_long_line_is_found(sizes, limit):
    lines = [b"x" * size for size in sizes]
    text = b"".join(line + b"\r\n" for line in lines)
    long = [at for at, size in enumerate(sizes) if size > limit]
    expected = sum(size + 2 for size in sizes[: long[0]]) if long else -1
    assert long_line(text, limit=limit) == expected
