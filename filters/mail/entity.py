"""What the header of one MIME entity says about its content (RFC 2045), read strictly.

Readers disagree about malformed fields, so nothing is guessed here: what could hide or show parts to somebody else is a
`defect` of the whole structure, what only leaves this entity in doubt makes its content `unclear`.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from filters.mail.message import Field

# A fold line of blanks only ends the header for some readers; it matches nothing here, and neither does a bare CR or LF.
_FIELD = re.compile(rb"([!-9;-~]+):([^\r\n]*(?:\r\n[ \t]+[^ \t\r\n][^\r\n]*)*)(?:\r\n|\Z)")
_TOKEN = rb"[!#-'*+.0-9A-Z^-z{|}~-]+"  # RFC 2045 5.1
_TYPE = re.compile(rb"(" + _TOKEN + rb"/" + _TOKEN + rb")[ \t]*(?=;|\Z)")
# Unquoted values may hold "=", "/", ":" and "?": they are tspecials, but mailers write such boundaries and all read them.
_PARAMETER = re.compile(rb";[ \t;]*(?:(" + _TOKEN + rb')[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"(),<>\\]+)))?[ \t]*(?=;|\Z)')
# Wider than RFC 2046 5.1.1, since mailers are; but no blank at an end, no quote, no backslash, no 8-bit.
_BOUNDARY = re.compile(rb"[!#-\[\]-~](?:[ !#-\[\]-~]*[!#-\[\]-~])?")
_DISPOSITION = re.compile(r"[!#-'*+.0-9a-z^_`|~-]+")  # RFC 2183 2: a token
_NAMES = {
    b"content-type": "Content-Type",
    b"content-transfer-encoding": "Content-Transfer-Encoding",
    b"content-disposition": "Content-Disposition",
    b"content-id": "Content-ID",
}
_IDENTIFIER = re.compile(rb"<([!#-'*-;=?-\[\]-~]+)>")  # narrower than RFC 2045 7: no blanks, quotes, comments or 8-bit


class Entity(NamedTuple):  # there is one for each part, and a frozen dataclass takes twice as long
    """What the header says. Words are in lower case; `charset`, `encoding` and `disposition` are "" where not given.

    `content_id` and `start` (RFC 2387 3.2: the part that a multipart/related begins with) are without their angle brackets,
    and "" where not given or in doubt.
    """

    content_type: str = "text/plain"  # RFC 2045 5.2
    charset: str = ""
    boundary: bytes = b""
    encoding: str = ""
    disposition: str = ""
    content_id: str = ""
    start: str = ""
    defect: str = ""
    unclear: str = ""

    @property
    def multipart(self) -> bool:
        """Whether the body holds parts."""
        return self.content_type.startswith("multipart/")


PLAIN = Entity()
DIGEST_PART = Entity(content_type="message/rfc822")  # RFC 2046 5.1.5


def header_of(body: bytes, start: int, end: int) -> tuple[list[Field], int] | None:
    """The fields of the header at `start` and the place where it ends: at a blank line, or at `end` where there is none.

    None where a line of it is no field.
    """
    fields = []
    position = start
    while position < end and not body.startswith(b"\r\n", position, end):
        field = _FIELD.match(body, position, end)
        if field is None:
            return None
        fields.append(Field(field[1], field[2]))
        position = field.end()
    return fields, position


def read(fields: Iterable[Field], default: Entity = PLAIN) -> Entity:
    """The entity these header fields describe; `default` where they name no Content-Type."""
    found: dict[bytes, bytes] = {}
    twice = set()
    folded = False
    for field in fields:
        name = field.name.lower()
        if name in _NAMES:
            if name in found:
                twice.add(_NAMES[name])
            found[name] = field.text
            folded |= name == b"content-type" and b"\n" in field.value
    if not found:
        return default
    if twice & {"Content-Type", "Content-Transfer-Encoding"}:
        return Entity(defect=f"two {min(twice - {'Content-Disposition', 'Content-ID'})} fields in one header")
    encoding = _word(found.get(b"content-transfer-encoding", b""))
    disposition = _word(found.get(b"content-disposition", b"").partition(b";")[0])
    unclear = "two Content-Disposition fields" if "Content-Disposition" in twice else ""
    if disposition and not _DISPOSITION.fullmatch(disposition):
        unclear = "Content-Disposition cannot be read"
    content_id = _identifier(found[b"content-id"]) if b"content-id" in found and "Content-ID" not in twice else ""
    entity = _typed(found.get(b"content-type"), default, encoding, disposition, content_id, unclear)
    if folded and entity.multipart and b" " in entity.boundary:
        return Entity(defect="a boundary that may be folded")  # not every reader unfolds inside quotes
    return entity


def _typed(value: bytes | None, default: Entity, encoding: str, disposition: str, content_id: str, unclear: str) -> Entity:
    """The entity with that Content-Type."""
    if value is None:
        content_type, charset, boundary, start = default.content_type, "", b"", b""
    else:
        parameters = _parameters(value)
        if parameters is None:
            if b"multipart" in value.lower():
                return Entity(defect="a Content-Type of multipart that cannot be read")
            return Entity(encoding=encoding, disposition=disposition, unclear="Content-Type cannot be read")
        content_type = _word(parameters[b""])
        charset, boundary = _word(parameters.get(b"charset", b"")), parameters.get(b"boundary", b"")
        start = parameters.get(b"start", b"")
    defect = _defect(boundary, encoding) if content_type.startswith("multipart/") else ""
    return Entity(
        content_type=content_type,
        charset=charset,
        boundary=boundary,
        encoding=encoding,
        disposition=disposition,
        content_id=content_id,
        start=_identifier(start) if start else "",
        defect=defect,
        unclear=unclear,
    )


def _defect(boundary: bytes, encoding: str) -> str:
    """What is wrong with a multipart of that boundary and transfer encoding, or ""."""
    if not boundary:
        return "a multipart without a boundary"
    if not _BOUNDARY.fullmatch(boundary):
        return "a boundary with characters that are not allowed in it"
    if encoding not in {"", "7bit", "8bit", "binary"}:
        return "a multipart with a transfer encoding"  # RFC 2045 6.4 forbids it, readers ignore it or obey it
    return ""


def _parameters(value: bytes) -> dict[bytes, bytes] | None:
    """Type (under the name b"") and parameters of a Content-Type, or None where it cannot be read in one way only.

    Parameters in the extended form of RFC 2231 are left out, except that a boundary or charset in it cannot be read. A start
    parameter in doubt is empty: it hides no part.
    """
    match = _TYPE.match(value)
    if match is None:
        return None
    parameters = {b"": match[1]}
    position = match.end()
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is None:
            continue
        name, star, _ = match[1].lower().partition(b"*")
        if name not in {b"boundary", b"charset", b"start"}:
            continue
        given = match[3] if match[2] is None else match[2]
        if star or name in parameters or b"\\" in given:
            if name != b"start":
                return None
            given = b""
        parameters[name] = given
    return parameters


def _identifier(value: bytes) -> str:
    """What is between the angle brackets, or ""."""
    match = _IDENTIFIER.fullmatch(value)
    return match[1].decode("ascii") if match else ""


def _word(value: bytes) -> str:
    return value.strip().lower().decode("latin-1")
