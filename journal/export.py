"""Records as files for other programs: attempts, clicks and opens of one day as CSV, JSON or XML.

Times are UTC. `templateid` is 0, there are no templates; the columns of geography are empty. `id` is the message's, so that
the three files can be joined.

What clients and visitors wrote must not act on whoever reads the file. JSON and XML are ASCII: everything else, and every
control character, is an escape there, and comes out of a parser as it was (XML 1.0 forbids some characters; those become
U+FFFD). CSV has no escapes, so this form is not quite faithful:
- Line ends within a field are LF. Other control characters and those that change the direction of text become U+FFFD.
- A field that a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets do not show. These are
  the fields that begin with = + - @ or their full-width forms, behind blanks or not.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from xml.sax.saxutils import escape

from journal.records import MessageRecord, VisitRecord


class Type(StrEnum):
    """What a file is about."""

    ATTEMPTS = "attempts"
    CLICKS = "clicks"
    OPENS = "opens"


class Format(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSON = "json"
    XML = "xml"


TEMPLATE = 0
_GEOGRAPHY = ("city", "countryname", "countrycode", "regioncode")
COLUMNS = {
    Type.ATTEMPTS: ("id", "time", "envelope", "recipient", "properties", "tags", "templateid"),
    Type.CLICKS: ("id", "time", "headers", "ip", "url", "destination", "tags", "recipient", *_GEOGRAPHY, "templateid"),
    Type.OPENS: ("id", "time", "headers", "ip", "protocol", "tags", "recipient", *_GEOGRAPHY, "templateid"),
}

Value = str | int
Row = Sequence[Value]

# Unicode's bidirectional controls (UAX #9), its line ends beside LF, and the controls of ASCII and Latin-1.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
# XML 1.0, production 2 (Char), inverted.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def attempt_row(record: MessageRecord) -> Row:
    """A message in the order of the columns of attempts; the envelope is the client's own."""
    properties, tags = ";".join(record.properties), ";".join(record.tags)
    return record.id, written_time(record.time), record.envelope, record.recipient, properties, tags, TEMPLATE


def click_row(record: VisitRecord, message: MessageRecord | None) -> Row:
    """A click in the order of the columns of clicks; tags and recipient are empty where its message is not known."""
    visit = (record.message, written_time(record.time), record.headers, record.ip, record.url, record.destination)
    return *visit, *_about(message), *_nowhere(), TEMPLATE


def open_row(record: VisitRecord, message: MessageRecord | None) -> Row:
    """An opening in the order of the columns of opens; like `click_row`."""
    visit = (record.message, written_time(record.time), record.headers, record.ip, record.protocol)
    return *visit, *_about(message), *_nowhere(), TEMPLATE


def written(kind: Type, form: Format, rows: Iterable[Row], *, header: bool = False) -> Iterator[str]:
    """The text of the file, piece by piece; `header` gives CSV a first line with the names of the columns."""
    columns = COLUMNS[kind]
    match form:
        case Format.CSV:
            return _csv(columns, rows, header)
        case Format.JSON:
            return _json(columns, rows)
        case Format.XML:
            return _xml(columns, rows)


def written_time(seconds: int) -> str:
    """A time as it is in every file; one that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _about(message: MessageRecord | None) -> tuple[str, str]:
    return (";".join(message.tags), message.recipient) if message is not None else ("", "")


def _nowhere() -> tuple[str, ...]:
    return ("",) * len(_GEOGRAPHY)


def _csv(columns: Sequence[str], rows: Iterable[Row], header: bool) -> Iterator[str]:
    # RFC 4180, but for the line end: LF.
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_plain(value) if isinstance(value, str) else value for value in row])
        yield file.getvalue()
        file.seek(0)
        file.truncate()
    yield file.getvalue()


def _plain(text: str) -> str:
    text = _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if _FORMULA.match(text) else text


def _json(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    separator = "[\n"
    for row in rows:
        # DEL is the one control character that JSON lets through (RFC 8259 7).
        yield separator + json.dumps(dict(zip(columns, row, strict=True))).replace("\x7f", "\\u007f")
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _xml(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="US-ASCII"?>\n<records>\n'
    for row in rows:
        fields = "".join(f"<{name}>{_xml_text(str(value))}</{name}>" for name, value in zip(columns, row, strict=True))
        yield f"<record>{fields}</record>\n"
    yield "</records>\n"


def _xml_text(text: str) -> str:
    # A parser reads a bare CR as LF (XML 1.0, 2.11).
    safe = escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;", "\x7f": "&#127;"})
    return safe.encode("ascii", "xmlcharrefreplace").decode("ascii")
