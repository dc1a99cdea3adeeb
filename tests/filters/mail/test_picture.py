"""Pictures by their bytes: what is served, and nothing that a browser could take for anything else."""

import re
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.picture import kind, name
from journal.links import IMAGE_NAME

# The smallest of each that browsers show.
PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")
GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
WEBP = b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
JFIF = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"

SERVED = {
    "png": [PNG, PNG[:8] + PNG[8:16] + b"\0\0\1\0" + PNG[20:]],
    "jpg": [
        JFIF,
        b"\xff\xd8\xff\xe1\x12\x34Exif\0\0",
        b"\xff\xd8\xff\xdb\0\x43\0",
        b"\xff\xd8\xff\xfe\0\x02",
        b"\xff\xd8\xff\xc0\0\x11",
        b"\xff\xd8\xff\xee\0\x0eAdobe",
    ],
    "gif": [GIF, b"GIF87a\1\0\1\0\0\0\0,", b"GIF89a\1\0\1\0\0\0\0!\xf9", b"GIF89a\1\0\1\0\x91\0\0\n\n\n"],
    "webp": [WEBP, b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0", b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0"],
}

REFUSED = {
    "nothing": b"",
    "text": b"hello",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "svg with a declaration": b'<?xml version="1.0"?><svg/>',
    "html": b"<!doctype html><img>",
    "bmp": b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    "tiff": b"II*\0\x08\0\0\0",
    "ico": b"\0\0\1\0\1\0\x10\x10",
    "avif": b"\0\0\0\x20ftypavif",
    "pdf": b"%PDF-1.7",
    "javascript that begins as a gif": b"GIF89a=1;alert(1)//" + b" " * 20,
    "javascript with a comment": b"GIF89a/*" + GIF[6:] + b"*/=1;alert(1)",
    "html before a gif": b"<script>" + GIF,
    "html before a png": b"<b>" + PNG,
    "blank before a png": b"\n" + PNG,
    "zip before a png": b"PK\x03\x04" + PNG,
    "png, the signature only": PNG[:8],
    "png with another chunk first": PNG[:12] + b"IDAT" + PNG[16:],
    "png of no width": PNG[:16] + b"\0\0\0\0" + PNG[20:],
    "png of no height": PNG[:20] + b"\0\0\0\0" + PNG[24:],
    "png after a line end was changed": PNG.replace(b"\r\n", b"\n"),
    "jpeg, the start only": JFIF[:3],
    "jpeg with another start": b"\xff\xd8\xff\xd9\0\x02",
    "jpeg with a segment of no length": b"\xff\xd8\xff\xe0\0\1JFIF",
    "jpeg with text": b"\xff\xd8\xff<script>",
    "gif of another version": b"GIF90a" + GIF[6:],
    "gif, the name only": GIF[:6],
    "wave": b"RIFF\x24\0\0\0WAVEfmt ",
    "webp without a picture": b"RIFF\x24\0\0\0WEBP<svg",
}


@pytest.mark.parametrize(("expected", "content"), [(suffix, content) for suffix, every in SERVED.items() for content in every])
def test_pictures(expected: str, content: bytes) -> None:
    assert kind(content) == expected
    assert kind(content + b"more") == expected
    assert re.fullmatch(IMAGE_NAME, name(content, expected))


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_picture(content: bytes) -> None:
    assert kind(content) is None


def test_line_ends_in_the_numbers_of_a_picture_do_not_matter() -> None:
    assert kind(PNG[:16] + b"\n\n\n\n\r\n\r\n" + PNG[24:]) == "png"
    assert kind(b"GIF89a\n\0\n\0\0\n\0,") == "gif"
    assert kind(b"RIFF\n\n\n\nWEBPVP8 ") == "webp"
    assert kind(b"\xff\xd8\xff\xe0\x0a\x0a") == "jpg"


@given(st.binary(max_size=200))
def test_only_what_begins_as_a_picture_is_one(content: bytes) -> None:
    signatures = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
    assert kind(content) is None or content.startswith(signatures)


@given(st.binary(max_size=100))
def test_names(content: bytes) -> None:
    assert re.fullmatch(IMAGE_NAME, name(content, "png"))
    assert name(content, "png") == name(bytes(bytearray(content)), "png")
    assert name(content, "png") != name(content + b"\0", "png")


def test_a_name_is_the_hash_of_the_bytes() -> None:
    # printf abc | sha256sum | cut -c-40 | xxd -r -p | base32
    assert name(b"abc", "gif") == "xj4bnp4pahh6uqkbidpf3lrceoyagynd.gif"
