"""Where the start tags of an HTML text are, and their attributes: the tokeniser of WHATWG HTML 13.2.5 as one pattern.

Nothing is parsed into a tree, so nothing needs to be written back: callers get spans and splice. Comments, bogus comments,
doctypes, end tags and the content of raw text elements are passed over, as a browser passes over them; a tag that the text
ends in the middle of is none. Names decide what is raw text, not the tree: inside `svg` and `math`, where a browser reads
`style` or `title` as ordinary elements, their content is still passed over.

Two rules keep the pattern linear and right on every Python from 3.11.0 on. After `<` some alternative always succeeds, and
nothing that must match follows a repetition inside it, so the engine never comes back to try another way. No possessive
quantifier is used, and no repeated group holds a capturing one: Python 3.11.2 gets both wrong.
"""

import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple

_S = r" \t\n\f\r"
_END_OF_NAME = rf"(?=[{_S}/>])"
_NAME = rf"[a-zA-Z][^{_S}/>]*"
# A quoted value that never ends takes the rest of the text with it.
_VALUE = rf"""(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^{_S}>"'][^{_S}>]*)?"""
_ATTRIBUTES = rf"[{_S}/]*(?:[^{_S}/>][^{_S}/>=]*(?:[{_S}]*=[{_S}]*{_VALUE})?[{_S}/]*)*"
# The usual form, name="value" only, is scanned twice as fast by a pattern that knows no other.
_USUAL = rf"""(?:[^>"'=]*(?<![{_S}/"])="[^"]*")*[^>"'=]*(?=>)"""
_RAW_TEXT = ("style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")


def _any_case(name: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in name)


def _until_end_tag(name: str) -> str:
    return rf"[^<]*(?:<(?!/{_any_case(name)}[{_S}/>])[^<]*)*"


def _script_text() -> str:
    """Script data with its escaped and double escaped states (13.2.5.4, 13.2.5.15 to 13.2.5.31)."""
    script = _any_case("script")
    doubled = rf"[^-<]*(?:(?:-(?!->)|<(?!/{script}[{_S}/>]))[^-<]*)*(?:</{script}[{_S}/>])?"
    escaped = rf"[^-<]*(?:(?:-(?!->)|<(?!/?{script}[{_S}/>])|<{script}[{_S}/>]{doubled})[^-<]*)*"
    return rf"[^<]*(?:<(?:(?!!--|/{script}[{_S}/>])|!--(?:-*>|{escaped}))[^<]*)*"


def _raw_text() -> str:
    contents = {name: _until_end_tag(name) for name in _RAW_TEXT}
    contents |= {"script": _script_text(), "plaintext": r"[\s\S]*"}
    ways = "|".join(rf"{_any_case(name)}{_END_OF_NAME}{_ATTRIBUTES}(?:>{content}|\Z)" for name, content in contents.items())
    # Most tags fail here, so they are told apart by two letters at once.
    return rf"(?=[sS][cCtT]|[tT][eEiI]|[xX][mM]|[iI][fF]|[nN][oO]|[pP][lL])(?:{ways})"


def _token(unless: str) -> re.Pattern[str]:
    return re.compile(
        rf"<{unless}(?:({_raw_text()}"
        rf"|/{_NAME}{_ATTRIBUTES}>?"
        r"|!--(?:-?>|[^-]*(?:-(?!-!?>)[^-]*)*(?:--!?>)?)"
        r"|[/!?][^>]*>?)"
        rf"|({_NAME})({_USUAL}|{_ATTRIBUTES})(?:(>)|\Z))"
    )


TOKEN = _token(unless="(?!/[a-zA-Z]+>)")
"""One token that starts with `<`. Between tokens is character data, or plain end tags, which are not worth a match.

Groups 2 and 3 are the name of a start tag and what stands between name and `>`; group 4 is that `>`, None where the text ends
before it. Group 1 is what follows `<` in any other token: a comment, a doctype, an end tag, or a raw text element, its start
tag and content. Cut by this pattern, a text comes apart without loss: `TOKEN.split`.
"""

TOKEN_OR_END_TAG = _token(unless="")
"""The same with every end tag in group 1."""

RAW_START_TAG = re.compile(rf"<({_NAME})({_ATTRIBUTES})(>)?")
"""The start tag of a raw text element, to be matched at its token's begin; groups: name, attributes, `>` if it ends."""

ATTRIBUTE = re.compile(rf"""([^{_S}/>][^{_S}/>=]*)(?:[{_S}]*=[{_S}]*(?:"([^"]*)"|'([^']*)'|([^{_S}>"'][^{_S}>]*))?)?""")
"""One attribute of a start tag: group 1 is its name; 2, 3 or 4 its value, double quoted, single quoted or unquoted."""

_CONDITIONAL = re.compile(r"<!--\[if[^>]*>", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#(?:[xX][0-9a-fA-F]+|[0-9]+);?|[a-zA-Z][a-zA-Z0-9]*[;=]?)")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class StartTag(NamedTuple):
    """A start tag. `name` is in lower case; the tag is `source[start:end]`, its attributes `source[name_end:end - 1]`."""

    name: str
    start: int
    name_end: int
    end: int


class Attribute(NamedTuple):
    """One attribute, name to closing quote at `source[start:end]`, its value without quotes at `[value_start:value_end]`.

    `name` is in lower case. `quote` is `"`, `'`, or empty for an unquoted value; None says that there is no value.
    """

    name: str
    start: int
    end: int
    value_start: int
    value_end: int
    quote: str | None


def start_tags(source: str, *, conditional: bool = False) -> Iterator[StartTag]:
    """The start tags in order. With `conditional`, also those inside comments that Outlook reads: `<!--[if mso]>`."""
    for token in TOKEN.finditer(source):
        if tag := _start_tag(token):
            yield tag
        elif conditional and (opening := _CONDITIONAL.match(source, token.start())):
            inside = TOKEN.finditer(source, opening.end(), max(opening.end(), token.end() - len("-->")))
            yield from (tag for inner in inside if (tag := _start_tag(inner)))


def attributes(source: str, tag: StartTag) -> Iterator[Attribute]:
    """The attributes of `tag` in order. Of several with one name, only the first counts (13.2.5.33)."""
    for found in ATTRIBUTE.finditer(source, tag.name_end, tag.end - 1):
        group = found.lastindex or 1
        span = found.span(group) if group > 1 else (found.end(), found.end())
        quote = (None, '"', "'", "")[group - 1]
        yield Attribute(lowered(found[1]), *found.span(), *span, quote)


def value(source: str, attribute: Attribute) -> str:
    """What a browser takes the attribute's value to be: references decoded once, line ends as LF, NUL replaced."""
    return decoded(source[attribute.value_start : attribute.value_end])


def decoded(raw: str) -> str:
    """The attribute value written as `raw`: 13.2.3.5 for line ends, then 13.2.5.72 to 13.2.5.80 for references."""
    raw = raw.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return _REFERENCE.sub(_character, raw) if "&" in raw else raw


def lowered(name: str) -> str:
    """A tag or attribute name as a browser compares it: only A to Z change (13.2.5.8), NUL is replaced."""
    return (name.lower() if name.isascii() else name.translate(_LOWER)).replace("\0", "\ufffd")


def _start_tag(token: re.Match[str]) -> StartTag | None:
    if token.lastindex == 4:
        return StartTag(lowered(token[2]), token.start(), token.end(2), token.end())
    raw = RAW_START_TAG.match(token[0])
    if raw is None or raw.lastindex != 3:
        return None
    return StartTag(lowered(raw[1]), token.start(), token.start() + raw.end(1), token.start() + raw.end())


def _character(reference: re.Match[str]) -> str:
    text = reference[0]
    if text[1] == "#":
        digits = text[2:].rstrip(";")
        return _numbered(digits[1:].lstrip("0"), 16) if digits[0] in "xX" else _numbered(digits.lstrip("0"), 10)
    # 13.2.5.73: in an attribute, a name without semicolon before `=`, a letter or a digit is just text.
    return text if text[-1] == "=" else html5.get(text[1:], text)


def _numbered(digits: str, base: int) -> str:
    """13.2.5.80: what cannot be a character is U+FFFD, and 0x80 to 0x9F mean windows-1252."""
    code = int(digits or "0", base) if len(digits) < 8 else 0
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "\ufffd"
    if 0x80 <= code < 0xA0:
        return bytes((code,)).decode("cp1252", "ignore") or chr(code)
    return chr(code)
