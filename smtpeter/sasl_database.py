"""The passwords of Cyrus SASL, in the clear, in sasldb2: a Berkeley database in Debian and Ubuntu, GDBM or LMDB elsewhere.

The database's own tool dumps it; a dump that somebody made with that tool elsewhere is read as well.
"""

import base64
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from smtpeter.errors import UserError
from smtpeter.password_files import Entry, Fault

PROPERTY = b"userPassword"
_SECONDS = 300  # for a dump
_HEAD = 64  # octets that tell what a file is

# First octets at a place, in both orders, what dumps it, and the package that has it.
_BERKELEY = tuple(number.to_bytes(4, order) for number in (0x061561, 0x053162) for order in ("little", "big"))
_GDBM = tuple(number.to_bytes(4, order) for number in range(0x13579ACD, 0x13579AD2) for order in ("little", "big"))
_LMDB = tuple(0xBEEFC0DE.to_bytes(4, order) for order in ("little", "big"))
_KINDS: tuple[tuple[int, tuple[bytes, ...], tuple[str, ...], str], ...] = (
    (12, _BERKELEY, ("db5.3_dump",), "db5.3-util"),
    (0, _GDBM, ("gdbm_dump",), "gdbmtool"),
    (16, _LMDB, ("mdb_dump", "-n"), "lmdb-utils"),
)


def read_database(path: Path, realm: str) -> Iterator[Entry | Fault]:
    """The users in a database or in a dump of one; each is USER@REALM, but USER alone for those of `realm`. Raises UserError."""
    for number, (key, value) in enumerate(_pairs(_dump(path)), 1):
        parts = key.split(b"\0")
        if len(parts) != 3 or parts[2] != PROPERTY:
            continue  # what old versions kept for each mechanism
        try:
            user, of, password = parts[0].decode(), parts[1].decode(), value.decode()
        except UnicodeDecodeError:
            yield Fault(number=number, reason="it is no UTF-8")
            continue
        name = user if not of or of.lower() == realm.lower() else f"{user}@{of}"
        yield Entry(number=number, name=name, scheme="PLAIN", value=password)


def _dump(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith((b"VERSION=", b"# GDBM dump", b"#:version=")):
            return path.read_text("ascii")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is a damaged dump") from error
    for place, signs, command, package in _KINDS:
        if head[place : place + 4] in signs:
            return _run(path, command, package)
    raise UserError(f"{path} is no SASL database: neither of Berkeley DB nor of GDBM or LMDB, nor a dump of one")


def _run(path: Path, command: tuple[str, ...], package: str) -> str:
    words = (*command, str(path.absolute()), *(("-",) if package == "gdbmtool" else ()))
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=_SECONDS)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is read with {command[0]}, which is not here; install {package},"
            f" or run it where the database is and import what it writes"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} does not end with {path}") from error
    if done.returncode:
        raise UserError(f"{command[0]} cannot read {path}: {' '.join(done.stderr.decode(errors='replace').split())}")
    return done.stdout.decode("ascii", "replace")


def _pairs(dump: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values. Raises UserError where the dump has no end."""
    lines = iter(dump.splitlines())
    octets = _gdbm(lines) if dump.startswith("#") else _berkeley(lines)
    try:
        for key in octets:
            yield key, next(octets)
    except (ValueError, RuntimeError, StopIteration) as error:
        raise UserError("the dump of the SASL database is damaged") from error


def _berkeley(lines: Iterator[str]) -> Iterator[bytes]:
    """db_dump(1), and the same of mdb_dump(1): a header, then in hex or as text, each behind a blank."""
    read: Callable[[str], bytes] = bytes.fromhex
    for line in lines:
        if line == "format=print":
            read = _printed
        if line == "HEADER=END":
            break
    for line in lines:
        if line == "DATA=END":
            return
        yield read(line[1:])
    raise ValueError("there is no end")


def _printed(text: str) -> bytes:
    """Backslash and two hex digits for an octet; two backslashes for one."""
    found, at = bytearray(), 0
    while at < len(text):
        if text[at] != "\\":
            found.append(ord(text[at]))
            at += 1
        elif text[at : at + 2] == "\\\\":
            found.append(ord("\\"))
            at += 2
        else:
            found += bytes.fromhex(text[at + 1 : at + 3])
            at += 3
    return bytes(found)


def _gdbm(lines: Iterator[str]) -> Iterator[bytes]:
    """gdbm_dump(1): the length of each, then Base64 in lines."""
    length, text, counted = -1, "", False
    for line in lines:
        if not line.startswith("#"):
            text += line
            continue
        if length >= 0:
            octets = base64.b64decode(text, validate=True)
            if len(octets) != length:
                raise ValueError("a length is wrong")
            yield octets
        name, _, value = line.partition("=")
        length, text = int(value) if name == "#:len" else -1, ""
        counted = counted or name == "#:count"
    if not counted:
        raise ValueError("there is no end")
