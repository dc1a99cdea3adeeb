"""Whom an address field claims to be from, to any reader: to one that knows the grammar, and to those that do not.

A field is shown and judged by others: they may not know comments, quotes or groups, decode words before they look for
addresses, take the first or the last thing with an @ in it. Whatever any of them can find is found here too. A quoted
name is free text, as long as it cannot be taken for more than that.
"""

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from unicodedata import normalize

from filters.mail.address_list import MOST, AddressList, parse, steps, unfolded
from policy.mailbox import Doubtful, Mailbox, forms

_SPECIAL = re.compile(r'[\s"(),:;<>@\[\]\\]')
_RUN = re.compile(r'\s*([^\s"(),:;<>@\[\]\\]*)')  # what may be a domain, behind an @
_HOST = re.compile(r"\.*([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)")
_STRICT_HOST = re.compile(r"\.*([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")  # to those that know of no underscore
_LETTERS = re.compile(r"[\w.-]+")  # to those that take letters of all languages, and nothing else
_SKIPPED = re.compile(r"\s+|\([^()]*\)")
_OTHER_BLANKS = re.compile(r"[^\S \t]+")
_WORD = re.compile(r"=\?([^?]*)\?([bBqQ])\?")  # the beginning of an encoded word
_BETWEEN_WORDS = re.compile(r"\?=\s+=\?")
# Those in use: a codec is asked for by no other name, since Python remembers each name it was ever asked for.
_CHARSET = re.compile(
    r"(?:us-)?ascii|utf-?(?:7|8|16|16le|16be|32)|iso-?8859-?\d{1,2}|iso-2022-(?:jp(?:-[12])?|kr)|(?:windows-|cp)\d{3,4}|"
    r"koi8-[rut]|gb(?:2312|k|18030)|big5(?:-?hkscs)?|euc-?(?:jp|kr)|shift[_-]jis|hz(?:-gb-2312)?",
    re.IGNORECASE,
)
_STRUCTURE = re.compile(r'[<>,;\\"]')  # what in a quoted string means something to those that do not know quotes
_USUAL = 300  # octets of a field that is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """`mailboxes` are those it names; `misread` are domains that are left of others by a reader with a fault."""

    mailboxes: tuple[Mailbox, ...]
    misread: tuple[str, ...]


def claims(field_value: bytes) -> Claims:
    """Whom a From or Sender field claims to be from. Raises Doubtful where it cannot be read."""
    return _remembered(field_value) if len(field_value) <= _USUAL else _read(field_value)


def _read(field_value: bytes) -> Claims:
    text = unfolded(field_value)
    addresses = parse(text)
    loose = _without_names(text, addresses)
    mailboxes = dict.fromkeys(addresses.mailboxes())
    misread: dict[str, None] = {}
    known = {place.at: place.local for place in addresses.places}
    for variant in dict.fromkeys((loose, *_variants(loose))):
        for local, run in _candidates(variant, known):
            whole, parts = _domains(run)
            mailboxes |= {Mailbox(local, domain): None for domain in whole}
            misread |= dict.fromkeys(parts)
        known = {}
        for _, run in _candidates(_glued(variant), known):
            whole, parts = _domains(run)
            misread |= dict.fromkeys((*whole, *parts))
    domains = {mailbox.domain for mailbox in mailboxes}
    return Claims(mailboxes=tuple(mailboxes), misread=tuple(domain for domain in misread if domain not in domains))


_remembered = lru_cache(maxsize=1024)(_read)


def _without_names(text: str, addresses: AddressList) -> str:
    """The field with blanks for the quoted names that are nothing but text; everything else stays where it is."""
    pieces, position = [], 0
    for start, end in addresses.names:
        content = text[start + 1 : end - 1]
        decoded = "".join(_decoded(content)) if "=?" in content else content
        if "@" in decoded and not _STRUCTURE.search(decoded):
            pieces += [text[position : start + 1], " " * len(content)]
            position = end - 1
    return "".join((*pieces, text[position:]))


def _candidates(text: str, local_parts: dict[int, str]) -> Iterator[tuple[str, str]]:
    """What stands before and behind each @; `local_parts` are those that are known, by the place of the @."""
    if text.count("@") > MOST:
        raise Doubtful("it has too many addresses")
    position, at = 0, text.find("@")
    while at >= 0:
        run = _RUN.match(text, at + 1)
        local = local_parts.get(at)
        yield local if local is not None else _SPECIAL.split(text[position:at])[-1].strip("'"), run[1] if run else ""
        position, at = at + 1, text.find("@", at + 1)


def _domains(run: str) -> tuple[tuple[str, ...], list[str]]:
    """The domains a run of characters may be, with a dot in them at least; and those that are left when some are not known."""
    run = run.strip("'.")
    parts = [match[1].lower().rstrip("-") for pattern in (_HOST, _STRICT_HOST) if (match := pattern.match(run))]
    if run.isascii():
        return tuple(parts[:1]), parts[1:]
    whole = _known_forms(run)
    letters = _LETTERS.match(run)
    parts += _known_forms(letters[0]) if letters else ()
    return whole, [*parts, "".join(filter(str.isascii, run)).strip(".").lower()]


def _known_forms(name: str) -> tuple[str, ...]:
    """The forms of a name with a dot in it; none where it is no name."""
    try:
        return tuple(form for form in forms(name) if "." in form)
    except Doubtful:
        return ()


def _glued(text: str) -> str:
    """The text without blanks and comments, as those see it who skip them wherever they are."""
    try:
        return "".join(step.text for step in steps(text) if step.text != " ")
    except Doubtful:
        return _SKIPPED.sub("", text)


def _variants(text: str) -> Iterator[str]:
    """The text as those see it who decode it, or take characters for similar ones, before they look for addresses."""
    if "=?" in text:
        for variant in _decoded(text):
            yield variant
            if not variant.isascii():
                yield normalize("NFKC", variant)
    if not text.isascii():
        yield normalize("NFKC", text)
        yield _OTHER_BLANKS.sub("", text)


def _decoded(text: str) -> Iterator[str]:
    """The text with its encoded words decoded (RFC 2047), also where none should be: joined, apart, and without their charset."""
    joined = _BETWEEN_WORDS.sub("?==?", text)
    for (apart, blank), charset, marks in product(((joined, ""), (text, " ")), (True, False), (True, False)):
        yield _with_words(apart, blank, charset=charset, marks=marks)


def _with_words(text: str, blank: str, *, charset: bool, marks: bool) -> str:
    """The text with its words decoded and `blank` around them; `marks` tells that there may be question marks in a word."""
    pieces, position = [], 0
    while start := _WORD.search(text, position):
        end = text.find("?=" if marks else "?", start.end())
        if end < 0:
            break
        if text.startswith("?=", end):
            word = _word(start[1] if charset else "", start[2], text[start.end() : end])
            pieces += [text[position : start.start()], blank, word, blank]
            position = end + 2
        else:
            pieces.append(text[position : start.start() + 2])
            position = start.start() + 2
    return "".join((*pieces, text[position:]))


def _word(charset: str, encoding: str, text: str) -> str:
    content = text.encode("utf-8", "surrogateescape")
    octets = _base64(content) if encoding in "bB" else binascii.a2b_qp(content, header=True)
    name = charset.partition("*")[0]  # RFC 2231 5: behind it is a language
    if _CHARSET.fullmatch(name):
        with suppress(LookupError, UnicodeError):
            return octets.decode(name, "replace")
    return octets.decode("latin-1").replace("\0", "")  # what is left of UTF-16


def _base64(content: bytes) -> bytes:
    """What can be read of base64, with any end."""
    for text in (content, content[:-1]):
        try:
            return binascii.a2b_base64(text + b"===")
        except binascii.Error:
            continue
    return b""
