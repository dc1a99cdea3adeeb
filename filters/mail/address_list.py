"""The mailboxes of an address field (RFC 5322 3.4, with groups by RFC 6854), read so that no two readings of it are possible.

What senders write besides the grammar is read where it leaves no doubt about the addresses: special characters in a name
without quotes, groups without an end, two dots in a local part.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from policy.mailbox import Doubtful, Mailbox, forms, unquote

# One step of the field. An unclosed quote, comment or angle bracket matches as a single character, which ends the reading.
_STEP = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\[\]\\]*\]|[^"\[\]()<>,:;@.\\\s]+|\s+|.', re.DOTALL)
_COMMENT_STEP = re.compile(r"[^()\\]+|\\.|.", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNCLOSED = {'"', "[", "]", ")", "\\"}
_NO_LOCAL_PART = frozenset("[,;:<")
MOST = 100  # addresses in a field; one of more is no mail, but work
_STEPS = 5_000  # the same for words and specials
_ROUTE = re.compile(r"[%!]")  # by which a name alone may become an address elsewhere (RFC 1123 5.2.16)


class Step(NamedTuple):
    """A word, a quoted string, a literal, a special character, or " " for blanks and comments; and where it begins."""

    text: str
    start: int


class Place(NamedTuple):
    """What is before and behind the @ at `at`: the local part, and each form the domain may have."""

    local: str
    domains: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressList:
    """`places` are the addresses in order; `nameless` are words that stand for an address but have no domain.

    `names` are the quoted strings (start, end) that are free text: those in the name of a mailbox or a group.
    """

    places: tuple[Place, ...]
    nameless: tuple[str, ...]
    names: tuple[tuple[int, int], ...]

    def mailboxes(self) -> tuple[Mailbox, ...]:
        """Whom the field names; a word without a domain counts where there is nothing else."""
        found = [Mailbox(place.local, domain) for place in self.places for domain in place.domains]
        return tuple(found or [Mailbox(word, "") for word in self.nameless])


def unfolded(field_value: bytes) -> str:
    """The text of a field; bytes that are no UTF-8 are surrogates: they may stand in a name, in no address."""
    return field_value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape")


def parse(text: str) -> AddressList:
    """The addresses of an unfolded field. Raises Doubtful."""
    places: list[Place] = []
    nameless: list[str] = []
    names: list[tuple[int, int]] = []
    for piece, end in _pieces(steps(text)):
        opening = _find(piece, "<")
        name = piece if end == ":" else piece[: max(opening, 0)]
        names.extend((step.start, step.start + len(step.text)) for step in name if step.text[0] == '"')
        if end == ":":
            if opening >= 0:
                raise Doubtful("a colon follows an address")
            continue
        address = piece if opening < 0 else _route_end(piece[opening + 1 : _closing(piece)])
        if _find(address, "@") >= 0:
            places.append(_place(address))
        elif word := "".join(step.text for step in address).strip():
            if _ROUTE.search(word):
                raise Doubtful("a name without a domain has a route in it")
            nameless.append(word)
    return AddressList(places=tuple(places), nameless=tuple(nameless), names=tuple(names))


def steps(text: str) -> list[Step]:
    """The words and specials; a stretch of blanks or comments is one blank. Raises Doubtful."""
    if _CONTROL.search(text):
        raise Doubtful("it has a control character")
    if text.count("@") > MOST:
        raise Doubtful("it has too many addresses")
    found: list[Step] = []
    position = 0
    while position < len(text):
        start = position
        if text[position] == "(":
            position = _comment_end(text, position)
            step = " "
        else:
            match = _STEP.match(text, position)
            if match is None or match[0] in _UNCLOSED:
                raise Doubtful("a quote, comment or bracket has no end or no beginning")
            if match[0][0] == "[" and "@" in match[0]:
                raise Doubtful("an address stands in square brackets")
            step = " " if match[0].isspace() else match[0]
            position = match.end()
        if step != " " or not found or found[-1].text != " ":
            found.append(Step(step, start))
            if len(found) > _STEPS:
                raise Doubtful("it is too long")
    return found


def _comment_end(text: str, position: int) -> int:
    """The place behind the comment at `position` (they nest)."""
    depth = 0
    for match in _COMMENT_STEP.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise Doubtful("a quote, comment or bracket has no end or no beginning")


def _pieces(steps: Sequence[Step]) -> Iterator[tuple[list[Step], str]]:
    """What stands between the specials that end an address or the name of a group, and the special that ends it."""
    piece: list[Step] = []
    inside = False
    for step in steps:
        if step.text == ("<" if inside else ">"):
            raise Doubtful("an angle bracket has no end or no beginning")
        inside = inside != (step.text in {"<", ">"})
        if not inside and step.text in {",", ";", ":"}:
            yield piece, step.text
            piece = []
        else:
            piece.append(step)
    if inside:
        raise Doubtful("an angle bracket has no end or no beginning")
    yield piece, ""


def _closing(piece: list[Step]) -> int:
    """The index of the closing bracket, behind which nothing may follow."""
    closing = _find(piece, ">")
    if any(step.text != " " for step in piece[closing + 1 :]):
        raise Doubtful("something follows an address in angle brackets")
    return closing


def _route_end(inside: list[Step]) -> list[Step]:
    """What stands in angle brackets, without a route (RFC 5322 4.4)."""
    if [step.text for step in inside if step.text != " "][:1] != ["@"]:
        return inside
    colon = _find(inside, ":")
    if colon < 0:
        raise Doubtful("an address has no local part")
    return inside[colon + 1 :]


def _place(address: list[Step]) -> Place:
    """Local part and domain of an address."""
    at = _find(address, "@")
    local, domain = _joined(address[:at]), _joined(address[at + 1 :])
    if not local or any(part[0] in _NO_LOCAL_PART for part in local) or "@" in domain:
        raise Doubtful("an address has no local part, a special character in it, or more than one @")
    plain = "".join(unquote(part) if part[0] == '"' else part for part in local)
    if not plain.isprintable():
        raise Doubtful("a local part has a character that cannot be shown")
    return Place(plain, forms("".join(domain)), address[at].start)


def _joined(steps: list[Step]) -> list[str]:
    """Words and dots, without the blanks that RFC 5322 4.4 allows around dots."""
    last = len(steps) - 1
    kept = [
        step.text
        for at, step in enumerate(steps)
        if step.text != " " or (0 < at < last and "." not in {steps[at - 1].text, steps[at + 1].text})
    ]
    if " " in kept:
        raise Doubtful("a blank stands within an address")
    return kept


def _find(steps: Sequence[Step], special: str) -> int:
    return next((at for at, step in enumerate(steps) if step.text == special), -1)
