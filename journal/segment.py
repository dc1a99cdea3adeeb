"""A segment of the spool: how records lie in a file, and how they are read back.

A segment is a row of frames. Each is what one call of the writer appended, so that it is there whole or not at all: 12
octets of header, then the records, a line each without an end at the last. The header is three big-endian numbers: the
payload's length, its CRC-32, and the CRC-32 of these two, so that a length is believed before its payload is there.

Every record has an identifier made of its segment's and its own place: reading twice gives the same ones.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from zlib import crc32

from journal.records import Record, encode

SUFFIX = ".log"
HEADER = 12  # octets

_SIZES = struct.Struct(">II")
_CHECK = struct.Struct(">I")


class Tail(Enum):
    """What is behind the last whole frame that was read."""

    NOTHING = "nothing"
    MORE = "more"  # frames that were not asked for
    TORN = "torn"  # the beginning of a frame: it is being written, or its writer was stopped, or the power was cut
    DAMAGED = "damaged"  # something that no writer leaves behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a segment holds from an offset on: identifiers and lines, and the offset `end` to go on from."""

    lines: tuple[tuple[str, bytes], ...]
    end: int
    tail: Tail


def frame(records: Iterable[Record]) -> bytes:
    """The records as one frame; b"" for none."""
    payload = b"\n".join(map(encode, records))
    if not payload:
        return b""
    sizes = _SIZES.pack(len(payload), crc32(payload))
    return sizes + _CHECK.pack(crc32(sizes)) + payload


def segment_paths(folder: Path) -> list[Path]:
    """The segments in a folder, oldest first. Raises OSError."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))


def segment_id(path: Path) -> str:
    """The identifier of a segment: its file name up to the first dot."""
    return path.name.partition(".")[0]


def read_segment(path: Path, offset: int, limit: int | None = None) -> Found:
    """The records of a segment from `offset` on; frames are read until there are `limit` records. Raises OSError.

    The file is taken into memory from there: about a megabyte, more only where one frame is larger.
    """
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    name, at = segment_id(path), 0
    lines: list[tuple[str, bytes]] = []
    while (tail := _next(content, at)) is Tail.MORE and (limit is None or len(lines) < limit):
        length, _ = _SIZES.unpack_from(content, at)
        at += HEADER
        place = at
        for line in content[at : at + length].split(b"\n"):
            lines.append((f"{name}-{offset + place:x}", line))
            place += len(line) + 1
        at += length
    return Found(lines=tuple(lines), end=offset + at, tail=tail)


def _next(content: bytes, at: int) -> Tail:
    """MORE where a whole frame begins at `at`."""
    if at >= len(content):
        return Tail.NOTHING
    if at + HEADER > len(content):
        return Tail.TORN
    sizes = content[at : at + _SIZES.size]
    length, check = _SIZES.unpack(sizes)
    if not length or _CHECK.unpack_from(content, at + _SIZES.size) != (crc32(sizes),):
        # A power cut can leave a file with its new length and without its new content.
        return Tail.DAMAGED if content[at:].strip(b"\0") else Tail.TORN
    payload = content[at + HEADER : at + HEADER + length]
    if len(payload) < length:
        return Tail.TORN
    return Tail.MORE if crc32(payload) == check else Tail.DAMAGED
