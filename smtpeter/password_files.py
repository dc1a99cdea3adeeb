"""Names and passwords in the files of other mail servers, line by line: Dovecot's passwd-file, shadow(5).

Nothing here tells a password or a hash: a fault is told by the number of its line alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from policy import foreign_hash

DAY = 86_400  # seconds
_NO_PASSWORD = ("*", "!", "x")  # shadow(5): nothing that a password could match, or the beginning of a locked one


class Format(StrEnum):
    """What the file is."""

    PASSWD_FILE = "passwd-file"  # noqa: S105  # the name of a format
    SHADOW = "shadow"
    SASLDB = "sasldb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A user of another mail server. `scheme` and `value` are as `policy.foreign_hash.split` tells them.

    `networks` are where he may come from ("" = not said), `expires` is UTC, seconds since 1970. `number` is the line's.
    """

    number: int
    name: str
    scheme: str = field(repr=False)
    value: str = field(repr=False)
    networks: tuple[str, ...] = ()
    expires: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A line that cannot be imported, and why; `empty` where it is a user that has no password to import."""

    number: int
    reason: str
    empty: bool = False


def read_lines(form: Format, lines: Iterable[bytes], scheme: str) -> Iterator[Entry | Fault]:
    """What is in each line of a passwd-file or of shadow; `scheme` is that of passwords without a prefix."""
    for number, octets in enumerate(lines, 1):
        try:
            line = octets.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            yield Fault(number=number, reason="it is no UTF-8")
            continue
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(":")
        if len(fields) < 2:
            yield Fault(number=number, reason="it has no colon, so it is no user with a password")
        elif form is Format.SHADOW:
            yield _shadow(number, fields)
        else:
            yield _passwd(number, fields, scheme)


def _passwd(number: int, fields: list[str], default: str) -> Entry | Fault:
    """user:password:uid:gid:gecos:home:shell:extra fields (doc.dovecot.org, "Passwd-file"); all behind the password may lack."""
    extra = dict(word.partition("=")[::2] for word in ":".join(fields[7:]).split())
    if "nologin" in extra or "nopassword" in extra:
        name = "nologin" if "nologin" in extra else "nopassword"
        return Fault(number=number, reason=f"it has the field {name}, for which there is nothing here")
    scheme, value = foreign_hash.split(fields[1], default)
    if not value:
        return Fault(number=number, reason="it has no password", empty=True)
    networks = tuple(filter(None, extra.get("allow_nets", "").split(",")))
    return Entry(number=number, name=fields[0], scheme=scheme, value=value, networks=networks)


def _shadow(number: int, fields: list[str]) -> Entry | Fault:
    """name:hash:changed:min:max:warn:inactive:expires:, times in days since 1970."""
    if not fields[1] or fields[1].startswith(_NO_PASSWORD):
        return Fault(number=number, reason="it has no password", empty=True)
    day = fields[7] if len(fields) > 7 else ""
    expires = int(day) * DAY if day.isascii() and day.isdecimal() else None
    return Entry(number=number, name=fields[0], scheme=foreign_hash.CRYPT, value=fields[1], expires=expires)
