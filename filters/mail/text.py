"""Text behind a charset, only where an edit leaves every byte around it as it was.

Markup is searched for as ASCII, so a charset is usable if ASCII bytes mean ASCII in it. UTF-16, UTF-7, ISO-2022 and the like
are not; text in them is left alone.
"""

import re
from dataclasses import dataclass

_UNICODE = re.compile(r"utf[-_]?8|(?:us-)?ascii|ansi_x3\.4-19\d\d|iso646-us|us|unicode-1-1-utf-8|")
# One byte a character, and ASCII as it is: no table is needed, each byte stands for itself.
_SINGLE_BYTE = re.compile(
    r"iso[-_]?8859[-_](?:[1-9]|1[013-6])(?:[-_:][a-z0-9]+)?|latin[-_]?\d+|l[1-9]|"
    r"(?:windows|win|cp|x-cp)[-_]?125[0-8]|(?:windows|cp)[-_]?874|tis-620|"
    r"koi8-(?:r|u|ru|t)|(?:x-)?mac(?:intosh|-?[a-z]+)?|(?:ibm|cp)[-_]?(?:437|7[37]7|775|85[0257-8]|86[0-69]|1125)|ptcp154"
)
# Several bytes a character, the second of which may look like ASCII: these are decoded.
_MULTI_BYTE = {
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "ms_kanji": "cp932",
    "windows-31j": "cp932", "cp932": "cp932",
    "gb2312": "gbk", "gbk": "gbk", "cp936": "gbk", "x-gbk": "gbk", "gb18030": "gb18030",
    "big5": "cp950", "big-5": "cp950", "cp950": "cp950", "big5-hkscs": "big5hkscs",
    "euc-jp": "euc_jp", "x-euc-jp": "euc_jp", "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "cp949": "cp949",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """Text, and the codec it came through. In "latin-1" its characters may stand for bytes of another charset."""

    text: str
    codec: str

    def encode(self, text: str) -> bytes:
        """`text`, an edition of this one, as bytes again; unchanged stretches get the bytes they had.

        New characters must be ASCII. Raises UnicodeEncodeError (a ValueError) for others that the codec does not have.
        """
        return text.encode(self.codec)


def decode(data: bytes, charset: str) -> Text | None:
    """`data` as text of that charset, or None where it cannot be edited without a loss."""
    charset = charset.strip().lower()
    # Looking for one octet is many times faster than for two, and hardly any text has it.
    if b"\x1b" in data and (b"\x1b$" in data or b"\x1b(" in data):
        return None  # RFC 1468: ISO-2022, whatever the label says; ASCII bytes are no ASCII there
    if _UNICODE.fullmatch(charset):
        return _lossless(data, "utf-8") or Text(data.decode("latin-1"), "latin-1")
    if _SINGLE_BYTE.fullmatch(charset):
        return Text(data.decode("latin-1"), "latin-1")
    codec = _MULTI_BYTE.get(charset)
    return _lossless(data, codec) if codec else None


def _lossless(data: bytes, codec: str) -> Text | None:
    if codec == "utf-8" and data.isascii():
        return Text(data.decode("ascii"), codec)
    try:
        text = data.decode(codec)
        same = text.encode(codec) == data
    except UnicodeError:
        return None
    return Text(text, codec) if same else None
