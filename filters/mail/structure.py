"""The structure of a message: its parts as spans of the body (RFC 2046).

Mail software disagrees about malformed structures, and each disagreement is a way to show a reader something that a filter
never saw. So a structure that is not sound in the strictest reading is a `defect`: nothing in it is edited. Nor is anything
whose meaning is its exact bytes (`opaque`): signed, encrypted or attached messages.

Each boundary is looked for once in the span of its multipart, and depth and number of parts are bounded: time is linear.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import NamedTuple

from filters.mail import transfer
from filters.mail.entity import DIGEST_PART, PLAIN, Entity, header_of, read
from filters.mail.message import Message

DEPTH_LIMIT = 50
PART_LIMIT = 10_000
INLINE_PGP = "inline PGP"

_SEALED = {
    "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime",
}  # fmt: skip
_DELIMITER_END = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")  # RFC 2046 5.1.1


class Span(NamedTuple):
    """The bytes of the body from `start` up to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Multipart:
    """One multipart that encloses a part. No two of a structure have the same boundary, so that tells them apart.

    `header` spans the lines of its header in the body, or is None for the message's own header; `body` spans all parts, with
    what is before and behind them. `content_id` is as in a part, `start` the Content-ID of the part it begins with, or "".
    """

    content_type: str
    boundary: bytes
    header: Span | None = field(default=None, compare=False)
    body: Span = field(default=Span(0, 0), compare=False)
    content_id: str = field(default="", compare=False)
    start: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A leaf of the structure. Words are in lower case, and "" where the header does not say.

    `header` spans the lines of its header in the body, or is None for the message's own header; `body` spans its content as
    it stands, still encoded. `parents` go from the outermost multipart inwards. `opaque` says why its content is not edited.
    `content_id` is without its angle brackets, and "" where it is in doubt.
    """

    content_type: str
    charset: str
    encoding: str
    disposition: str
    content_id: str
    header: Span | None
    body: Span
    parents: tuple[Multipart, ...]
    opaque: str

    @property
    def text(self) -> bool:
        """Whether its content is made of lines of text."""
        return self.content_type.startswith("text/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """The leaves of a message in order.

    `defect` says why the structure has no single meaning (it has no leaves then), `opaque` why nothing in it is edited.
    `too_deep` and `too_many` tell defects that no honest message has: more than 50 levels, more than 10,000 parts.
    """

    leaves: tuple[Part, ...] = ()
    defect: str = ""
    opaque: str = ""
    too_deep: bool = False
    too_many: bool = False


class _DefectFound(Exception):
    """The structure is not sound; carries what Structure says of it."""

    def __init__(self, defect: str, *, too_deep: bool = False, too_many: bool = False) -> None:
        super().__init__(defect)
        self.structure = Structure(defect=defect, too_deep=too_deep, too_many=too_many)


@dataclass(slots=True)
class _Scanner:
    """One pass over a body."""

    body: bytes
    leaves: list[Part] = field(default_factory=list)
    boundaries: set[bytes] = field(default_factory=set)
    count: int = 0

    def entity(self, entity: Entity, header: Span | None, body: Span, parents: tuple[Multipart, ...], opaque: str) -> None:
        """Adds the leaves of one entity. `opaque` is the reason that an enclosing multipart gives, or ""."""
        if entity.defect:
            raise _DefectFound(entity.defect)
        self.count += 1
        if self.count > PART_LIMIT:
            raise _DefectFound(f"more than {PART_LIMIT} parts", too_many=True)
        if entity.content_type in _SEALED or entity.content_type.startswith("message/"):
            opaque = opaque or entity.content_type
        if entity.multipart:
            if entity.disposition not in ("", "inline"):
                opaque = opaque or entity.unclear or "inside an attachment"
            self.multipart(entity, header, body, parents, opaque)
            return
        self.leaves.append(
            Part(
                content_type=entity.content_type,
                charset=entity.charset,
                encoding=entity.encoding,
                disposition=entity.disposition,
                content_id=entity.content_id,
                header=header,
                body=body,
                parents=parents,
                opaque=opaque or entity.unclear,
            )
        )

    def multipart(self, entity: Entity, own: Span | None, body: Span, parents: tuple[Multipart, ...], opaque: str) -> None:
        """Adds the leaves of a multipart whose own header is at `own`."""
        if len(parents) == DEPTH_LIMIT:
            raise _DefectFound(f"more than {DEPTH_LIMIT} levels of parts", too_deep=True)
        self.check_boundary(entity.boundary, parents)
        inside = (*parents, Multipart(entity.content_type, entity.boundary, own, body, entity.content_id, entity.start))
        default = DIGEST_PART if entity.content_type == "multipart/digest" else PLAIN
        for part in self.split(entity.boundary, body):
            header = header_of(self.body, part.start, part.end)
            if header is None:
                raise _DefectFound("a line in the header of a part is no field")
            fields, end = header
            # Without the blank line there is no body, and no place for one either.
            bodiless = "" if end < part.end else "a part without a body"
            content = Span(part.end if bodiless else end + 2, part.end)
            self.entity(read(fields, default), Span(part.start, end), content, inside, opaque or bodiless)

    def check_boundary(self, boundary: bytes, parents: tuple[Multipart, ...]) -> None:
        """Raises where a reader that compares boundaries by their beginning (Postfix does) would see another structure."""
        if boundary in self.boundaries:
            raise _DefectFound("two multiparts with the same boundary")
        self.boundaries.add(boundary)
        for parent in parents:
            if parent.boundary.startswith(boundary) or boundary.startswith(parent.boundary):
                raise _DefectFound("a boundary that begins with the one of an enclosing multipart, or the reverse")

    def split(self, boundary: bytes, body: Span) -> Iterator[Span]:
        """The spans between the delimiters; the line end before a delimiter belongs to it (RFC 2046 5.1.1)."""
        start = -1
        delimiters = self.delimiters(b"--" + boundary, body)
        for delimiter, after in delimiters:
            end = _DELIMITER_END.match(self.body, after, body.end)
            if end is None:
                raise _DefectFound("a line that begins with a boundary and goes on")
            if delimiter == start:
                raise _DefectFound("two boundaries with nothing between them")
            if start >= 0:
                yield Span(start, max(start, delimiter - 2))
            elif end[1]:
                break
            start = end.end()
            if end[1]:
                if next(delimiters, None):
                    raise _DefectFound("a boundary behind the end of its multipart")
                return
        raise _DefectFound("a multipart without an end" if start >= 0 else "a multipart without parts")

    def delimiters(self, line: bytes, body: Span) -> Iterator[tuple[int, int]]:
        """Start and end of each `line` at the start of a line; raises behind the last one where there are others."""
        if self.body.find(b"\r" + line, body.start, body.end) >= 0:
            raise _DefectFound("a boundary behind a bare CR")
        position = body.start
        if self.body.startswith(line, position, body.end):
            position += len(line)
            yield body.start, position
        needle = b"\n" + line
        while (found := self.body.find(needle, position, body.end)) >= 0:
            if self.body[found - 1 : found] != b"\r":
                raise _DefectFound("a boundary behind a bare LF")
            position = found + len(needle)
            yield found + 1, position


def scan(message: Message) -> Structure:
    """The structure of `message`."""
    scanner = _Scanner(message.body)
    root = read(message.fields)
    try:
        scanner.entity(root, None, Span(0, len(message.body)), (), "")
    except _DefectFound as found:
        return found.structure
    leaves = tuple(scanner.leaves)
    opaque = root.content_type if root.content_type in _SEALED else ""
    if not opaque and any(_inline_pgp(message, part) for part in leaves):
        opaque = INLINE_PGP
        leaves = tuple(part if part.opaque else changed(part, opaque=opaque) for part in leaves)
    return Structure(leaves=leaves, opaque=opaque)


def _inline_pgp(message: Message, part: Part) -> bool:
    if not part.text or part.opaque:
        return False
    if part.encoding == "base64":
        try:
            return b"-----BEGIN PGP " in transfer.decode(message.body[slice(*part.body)], part.encoding)
        except ValueError:
            return False
    # The first hyphen of a line may be a code in quoted-printable.
    return message.body.find(b"----BEGIN PGP ", *part.body) >= 0
