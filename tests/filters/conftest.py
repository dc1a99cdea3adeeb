"""Messages that more than one test of the filters goes through."""

import re
import sys
from pathlib import Path

import pytest

TEMPLATE = b"""\
From: News <news@example.com>\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
X-SMTPeter-Tags: a\r
Subject: hello\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
"""
HTML = b"""\
<style>p { color: red } p:hover { color: blue }</style><body background="http://img.example.com/b">\r
<p class=x>gr\xc3\xbc\xc3\x9fe <a href='http://www.example.com/?a&amp;b'>x</a>\r
<a href=http://www.example.com/ data-no-track>y</a>\r
<!--[if mso]><v:rect href="http://www.example.com/mso"><![endif]--><img src="http://img.example.com/a.png"></p>\r
"""

MIXED = b"""\
From: news@example.com\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="m"\r
\r
preamble\r
--m\r
Content-Type: multipart/alternative; boundary="a"\r
\r
--a\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<b>gr\xc3\xbcn</b>\r
--a\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<b>gr\xc3\xbcn</b>\r
--a--\r
--m\r
Content-Type: text/html\r
Content-Disposition: attachment; filename=a.html\r
\r
<b>attached</b>\r
--m--\r
epilogue\r
"""


@pytest.fixture(scope="session")
def mixed() -> bytes:
    """A message with HTML that is shown, as it stands in its plain part and in an attachment as well."""
    return MIXED


@pytest.fixture(scope="session")
def messages(corpus: Path | None) -> list[tuple[str, bytes]]:
    """Messages with their names: one of ours, those of CPython's own tests, and the corpus where it is at hand."""
    found = [("ours", TEMPLATE + HTML)]
    for folder in sys.path:
        data = Path(folder) / "test" / "test_email" / "data"
        found += [(file.name, file.read_bytes()) for file in sorted(data.glob("msg_*.txt"))]
    if corpus is not None:
        for pattern in ("mime/*.eml", "bounces/*.eml"):
            found += [(file.name, file.read_bytes()) for file in sorted(corpus.glob(pattern))]
        for file in sorted(corpus.glob("html/*.html")):
            found.append((file.name, TEMPLATE + re.sub(rb"\r?\n", b"\r\n", file.read_bytes())))
    return found
