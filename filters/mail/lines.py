"""Lines that are too long for SMTP: Postfix breaks them behind our back, which breaks a signature made before."""

from filters.mail.message import Field, Message
from filters.mail.parts import Part, Structure, content, replace, scan
from filters.mail.transfer import LINE_LIMIT, long_line


def has_long_line(message: Message) -> bool:
    """Whether a line of the header or the body has more than 998 octets."""
    return any(_long_field(field) for field in message.fields) or long_line(message.body) >= 0


def fit_lines(message: Message, structure: Structure) -> tuple[Message, tuple[Part, ...]]:
    """`message` without lines over 998 octets as far as that is possible, and the parts that got encoded anew for it.

    The content of a part is the same behind its encoding. Header fields are folded where they have blanks. What is not to
    be edited keeps its long lines, and so do a word that has no blank in it and a field that is not UTF-8; `has_long_line` tells.
    """
    if not has_long_line(message):
        return message, ()
    fitted = Message(tuple(_folded(field) if _foldable(field) else field for field in message.fields), message.body)
    changes = {}
    for part in structure.leaves:
        if part.opaque or long_line(message.body, *part.body) < 0:
            continue
        try:
            changes[part] = content(message, part)
        except ValueError:
            continue  # the encoding is damaged: there is no content to encode anew
    fitted = replace(fitted, changes)
    if structure.leaves and long_line(fitted.body) >= 0:
        fitted = Message(fitted.fields, _with_folded_headers(fitted))
    return fitted, tuple(changes)


def _long_field(field: Field) -> bool:
    size = len(field.name) + len(field.value) + 1
    return size > LINE_LIMIT and long_line(b"%b:%b" % field) >= 0


def _foldable(field: Field) -> bool:
    # Not every reader unfolds inside the quotes of a boundary.
    if not _long_field(field) or field.name.lower() == b"content-type":
        return False
    try:
        field.value.decode("utf-8")
    except UnicodeDecodeError:
        return False  # a milter written with pymilter hands fields to Postfix as UTF-8 and has no way for other bytes
    return True


def _folded(field: Field) -> Field:
    lines = (b"%b:%b" % field).split(b"\r\n")
    name, _, value = b"\r\n".join([_folded_line(line) for line in lines]).partition(b":")
    return Field(name, value)


def _folded_line(line: bytes) -> bytes:
    """A line of a header, folded before blanks so that no line of blanks comes up (RFC 5322 3.2.2)."""
    pieces = []
    while len(line) > LINE_LIMIT:
        first_word = len(line) - len(line.lstrip(b" \t"))
        cut = max(line.rfind(b" ", first_word, LINE_LIMIT + 1), line.rfind(b"\t", first_word, LINE_LIMIT + 1))
        if cut < 0:
            cuts = [at for at in (line.find(b" ", first_word), line.find(b"\t", first_word)) if at >= 0]
            cut = min(cuts, default=-1)
        if cut < 0 or not line[cut:].strip(b" \t"):
            break
        pieces.append(line[:cut])
        line = line[cut:]
    return b"\r\n".join([*pieces, line])


def _with_folded_headers(message: Message) -> bytes:
    """The body with the long lines in the headers of its parts folded."""
    body, pieces, position = message.body, [], 0
    for part in scan(message).leaves:
        if part.header is not None and not part.opaque and long_line(body, *part.header) >= 0:
            lines = body[slice(*part.header)].split(b"\r\n")
            pieces += [body[position : part.header.start], b"\r\n".join(map(_folded_line, lines))]
            position = part.header.end
    return b"".join([*pieces, body[position:]])
