"""Whether a link's label shows the link itself, so that mail programs would warn if it led somewhere else.

The label counts as the link if it is the address, with or without its scheme, or only its host. Whatever looks like an
address and cannot be compared for certain counts as well: in doubt a link is left alone.
"""

import re
import unicodedata
from collections.abc import Iterator
from html import unescape

from filters.mail.markup import TOKEN_OR_END_TAG
from filters.mail.outline import Element, Outline
from filters.target import host_of

LONGEST = 10_000  # characters of a label that are looked at; nobody reads an address behind more markup

_NO_LABEL = "area"
_PLAIN_LABEL = re.compile(r"[A-Za-z0-9 ,;!?'\"()\t\r\n-]*</[aA]>")
# Characters that show as nothing (Unicode: Default_Ignorable_Code_Point), as far as text has them.
_HIDDEN = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff]"
)
_FULL_STOPS = {0x3002: "."}  # as in a host; NFKC makes the others of RFC 3490 3.1 this one or "."
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?://)?(?:[^\s/?#@:]+\.)+[^\s/?#@:.]{2,}\.?(?::[0-9]+)?(?:[/?#]\S*)?", re.IGNORECASE)


def shows_itself(outline: Outline, element: Element, url: str) -> bool:
    """Whether the label of a link, an element of the text in `outline`, is the link to `url`."""
    plain = _PLAIN_LABEL.match(outline.source, element.end)
    if plain is not None or element.name == _NO_LABEL:  # most labels are words and nothing else
        return False
    text = "".join(_texts(outline, element))
    if text.isascii() and "." not in text and "&" not in text and ":" not in text:
        return False
    label = unicodedata.normalize("NFKC", _HIDDEN.sub("", unescape(text))).translate(_FULL_STOPS).strip()
    if not label.isascii():
        return _ADDRESS.fullmatch(label) is not None  # in letters that may only look like those of the link
    shown, real = _bare(label), _bare(url)
    return shown in (real, re.split("[/?#]", real, maxsplit=1)[0], host_of(url).removesuffix("."))


def _texts(outline: Outline, element: Element) -> Iterator[str]:
    """What stands between a start tag and its end tag, or the next start tag of that name, without tags and comments."""
    source, limit = outline.source, element.end + LONGEST
    ends = [rf"</?{element.name}(?=[ \t\n\f\r/>])"]
    comment = outline.conditional_at(element.at)
    spans = [(element.end, min(comment[1] - len("-->"), limit)), (comment[1], limit)] if comment else [(element.end, limit)]
    for number, (position, stop) in enumerate(spans):
        if number:
            ends.append(r"<!--\[if")  # behind its comment a label goes on up to the next one
        end = re.compile("|".join(ends), re.IGNORECASE)
        for token in TOKEN_OR_END_TAG.finditer(source, position, stop):
            yield source[position : token.start()]
            position = token.end()
            if end.match(token[0]):
                return
        yield source[position:stop]


def _bare(url: str) -> str:
    """An address without scheme, the host in lower case and without a final dot, without one trailing slash."""
    bare = _SCHEME.sub("", url, count=1)
    host, slash, rest = bare.partition("/")
    return f"{host.lower().removesuffix('.')}{slash}{rest}".removesuffix("/")
