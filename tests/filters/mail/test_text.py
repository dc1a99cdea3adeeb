"""Charsets: which text may be edited, and that every byte around an edit stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.text import decode

AS_IT_IS = b"<p>caf\xe9</p>"
# Charset, bytes in it, and what is seen of them; None: left alone.
CHARSETS = [
    ("", b"<p>abc</p>", "<p>abc</p>"),
    ("", "<p>é</p>".encode(), "<p>é</p>"),
    ("us-ascii", b"<p>\xe9</p>", "<p>\xe9</p>"),
    ("ascii", b"<p>", "<p>"),
    ("ANSI_X3.4-1968", b"<p>", "<p>"),
    ("utf-8", "<p>日本</p>".encode(), "<p>日本</p>"),
    ("UTF8", "é".encode(), "é"),
    ("utf-8", b"\xef\xbb\xbf<p>", "\ufeff<p>"),
    ("utf-8", b"<p>\xff\xfe</p>", "<p>\xff\xfe</p>"),
    ("iso-8859-1", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("latin1", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-2", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-5", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-6", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-7", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-8-i", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-9", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("iso-8859-15", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("windows-1250", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("windows-1251", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("Windows-1252", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("cp1252", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("windows-1256", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("windows-874", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("tis-620", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("koi8-r", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("koi8-u", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("macintosh", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("ibm850", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("cp866", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("cp437", AS_IT_IS, AS_IT_IS.decode("latin-1")),
    ("shift_jis", "<p>表示</p>".encode("cp932"), "<p>表示</p>"),
    ("x-sjis", b"\x81\xad", None),
    ("gb2312", "<p>中文</p>".encode("gbk"), "<p>中文</p>"),
    ("gbk", "<p>中文</p>".encode("gbk"), "<p>中文</p>"),
    ("gb18030", "<p>中文\U00020000</p>".encode("gb18030"), "<p>中文\U00020000</p>"),
    ("big5", "<p>功蓋</p>".encode("cp950"), "<p>功蓋</p>"),
    ("euc-jp", "<p>日本</p>".encode("euc_jp"), "<p>日本</p>"),
    ("euc-kr", "<p>한국</p>".encode("euc_kr"), "<p>한국</p>"),
    ("gbk", b"<p>\xff</p>", None),
    ("utf-7", b"+ADw-p+AD4-", None),
    ("utf-16", "<p>".encode("utf-16"), None),
    ("utf-16le", "<p>".encode("utf-16le"), None),
    ("utf-32", "<p>".encode("utf-32"), None),
    ("iso-2022-jp", "<p>日本</p>".encode("iso2022_jp"), None),
    ("iso-2022-kr", b"<p>", None),
    ("utf-8", "<p>日本</p>".encode("iso2022_jp"), None),
    ("hz-gb-2312", b"~{VPND~}", None),
    ("ibm037", b"<p>", None),
    ("viscii", b"<p>", None),
    ("x-unknown", b"<p>", None),
    ("?", b"<p>", None),
]  # fmt: skip


@pytest.mark.parametrize(("charset", "data", "text"), CHARSETS)
def test_charset(charset, data, text):
    decoded = decode(data, charset)
    if text is None:
        assert decoded is None
        return
    assert decoded.text == text
    assert decoded.encode(decoded.text) == data
    assert decoded.encode("<!-- new -->" + decoded.text) == b"<!-- new -->" + data


@pytest.mark.parametrize("charset", sorted({charset for charset, _, text in CHARSETS if text is not None}))
def test_ascii_means_ascii(charset):
    every = bytes(range(128)).replace(b"\x1b", b"")
    assert decode(every, charset).text.encode("ascii") == every


@given(st.binary(max_size=60), st.sampled_from(sorted({charset for charset, *_ in CHARSETS})), st.integers(0, 60))
def test_an_insertion_changes_no_other_byte(data, charset, place):
    decoded = decode(data, charset)
    if decoded is None:
        return
    before, after = decoded.text[:place], decoded.text[place:]
    assert decoded.encode(before) + decoded.encode(after) == data
    assert decoded.encode(before + '<img src="x">' + after) == decoded.encode(before) + b'<img src="x">' + decoded.encode(after)


def test_a_character_the_charset_does_not_have_is_an_error():
    with pytest.raises(ValueError):
        decode(b"abc\xe9", "iso-8859-5").encode("\u20ac")
