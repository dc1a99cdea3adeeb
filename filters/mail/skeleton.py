"""What the styles of a document depend on: its tags in order, the attributes that rules can name, its style sheets.

Messages made from one template have one skeleton, whatever their text and their links are. Text is only told from blanks
and from nothing, since that is all that the parser and `:empty` see of it.
"""

import re
from collections.abc import Sequence

from filters.mail.markup import RAW_START_TAG
from filters.mail.outline import Outline

_REMEMBERED = 2_000  # stretches of text between tags, and attribute lists; what is markup comes again in the next message
_END_TAG = re.compile(r"(</[a-zA-Z]+>)")
# A stretch that may be nothing but blanks once its references are decoded stays as it is.
_BLANK_REFERENCES = re.compile(r"(?:[ \t\n\f\r]|&#[xX]?[0-9a-fA-F]+;?|&Tab;|&NewLine;)+")
_BLANKS = " \t\n\f\r"
# Attributes whose every double quote begins or ends a value.
_USUAL = re.compile(r"""(?:[ \t\n\f\r]+[^ \t\n\f\r"'=/>]+(?:="[^"]*"|=[^ \t\n\f\r"'=>]+)?)*[ \t\n\f\r]*/?""")
# Values that a rule can only name in brackets, and that mean nothing to the parser; or any other value, to go on behind it.
_VALUES = re.compile(r'([ \t\n\f\r](?:alt|background|href|src|title)=")[^"]*"|("[^"]*)"')
_NAMED = ("alt=", "background=", "href=", "src=", "title=")
_IN_BRACKETS = re.compile(r"\[[^]]*(?:alt|background|href|src|title|\\)")

_texts: dict[str, str] = {}
_attributes: dict[str, str] = {}


class Skeleton:
    """The gaps and attributes of an outline, reduced; number n of each stands for number n of the outline's.

    Where the style sheets in `css` name one of those attributes, or may name it in disguise, none is reduced.
    """

    __slots__ = ("attributes", "gaps", "names")

    def __init__(self, outline: Outline, css: str) -> None:
        self.names = outline.names
        self.gaps = _gaps(outline)
        named = _IN_BRACKETS.search(css.lower()) is not None
        self.attributes = outline.attributes if named else [_reduced(attributes) for attributes in outline.attributes]

    def marked(self, marks: Sequence[str], attributes: Sequence[str]) -> str:
        """The skeleton as HTML, each start tag with its mark behind its name, and with these attributes."""
        tags = [
            f"{gap}<{name}{mark}{rest}>" for gap, name, mark, rest in zip(self.gaps, self.names, marks, attributes, strict=False)
        ]
        return "".join(tags) + self.gaps[-1]


def _gaps(outline: Outline) -> list[str]:
    if len(_texts) > _REMEMBERED:
        _texts.clear()
    gaps, gap = [], ""
    pieces = iter(outline.pieces)
    for text, other, _name, _rest, closed in zip(pieces, pieces, pieces, pieces, pieces, strict=False):
        reduced = _texts.get(text)
        if reduced is None:
            reduced = _texts[text] = _text(text)
        if closed:
            gaps.append(gap + reduced if gap else reduced)
            gap = ""
        elif other:
            gap += f"{reduced}<{_other(other)}"
    gaps.append(gap + _text(outline.tail))
    return gaps


def _text(text: str) -> str:
    return "".join([piece if piece.startswith("</") else _stretch(piece) for piece in _END_TAG.split(text)])


def _stretch(text: str) -> str:
    if not text or _BLANK_REFERENCES.fullmatch(text):
        return text if text.strip(_BLANKS) else " "[: len(text)]
    return "x"


def _other(other: str) -> str:
    """A token that is no start tag, without what a rule cannot see of it: a comment's text, a title."""
    if other.startswith("!--"):
        return "!---->"
    if other[:5].lower() == "style" or other[0] in "/!?":
        return other
    start = RAW_START_TAG.match(f"<{other}")
    return other if start is None or start[3] is None else f"{other[: start.end() - 1]}x</{start[1]}>"


def _reduced(attributes: str) -> str:
    reduced = _attributes.get(attributes)
    if reduced is None:
        if len(_attributes) > _REMEMBERED:
            _attributes.clear()
        plain = any(name in attributes for name in _NAMED) and _USUAL.fullmatch(attributes)
        reduced = _attributes[attributes] = _VALUES.sub(r'\1\2"', attributes) if plain else attributes
    return reduced
