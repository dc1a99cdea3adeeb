"""Sealed identifiers: AES-SIV (RFC 5297) under a ring of keys, and the letters and digits they are written in.

An identifier is `key id, SIV, ciphertext`. What it holds cannot be read and not be changed by a bit without the key; the
same content gives the same identifier, so a message that is filtered twice gets the same links. New ones are made with the
ring's newest active key, old ones are read with whichever key made them.

The ring is a text, one key a line: `id created active key`, both times in seconds since 1970 (UTC), the key in base64.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_LENGTH = 64  # octets: AES-256-SIV
KEY_IDS = 256
SHORTEST = 17  # octets of the smallest identifier: key id and SIV

# Base64, in letters and digits only: Z begins a pair, so what is between two characters is never in doubt.
_TO_PLAIN = ((b"Z", b"Zz"), (b"+", b"Zp"), (b"/", b"Zs"))


class InvalidRing(ValueError):
    """A text is no key ring; the message says which line and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """One key of a ring. `id` is 0 to 255; `active` is when it begins to seal, both times in seconds since 1970 (UTC)."""

    id: int
    secret: bytes = field(repr=False)
    created: int
    active: int


class Ring:
    """The keys that identifiers are made and read with. `now` decides which key seals: the newest that is active."""

    def __init__(self, keys: Iterable[SealingKey], now: int) -> None:
        self.keys = tuple(keys)
        if not self.keys:
            raise InvalidRing("the key ring has no key")
        if len({key.id for key in self.keys}) != len(self.keys):
            raise InvalidRing("the key ring has two keys with one id")
        # Before any key is active (a clock that was set back) the oldest one seals: mail goes on.
        active = [key for key in self.keys if key.active <= now] or [min(self.keys, key=_age)]
        self.sealing = max(active, key=_age)
        self.next_change = min((key.active for key in self.keys if key.active > now), default=None)
        self._ciphers = {key.id: AESSIV(key.secret) for key in self.keys}
        self._cipher = self._ciphers[self.sealing.id]
        self._id = bytes((self.sealing.id,))

    @classmethod
    def parse(cls, text: str, now: int) -> Self:
        """The ring in a text. Raises InvalidRing."""
        keys = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                identifier, created, active, secret = line.split()
                key = SealingKey(
                    id=int(identifier), secret=b64decode(secret, validate=True), created=int(created), active=int(active)
                )
            except ValueError as error:
                raise InvalidRing(f"line {number} of the key ring is no key: it takes id, created, active and the key") from error
            if not 0 <= key.id < KEY_IDS or len(key.secret) != KEY_LENGTH:
                raise InvalidRing(
                    f"line {number} of the key ring is no key: ids go to {KEY_IDS - 1}, keys have {KEY_LENGTH} octets"
                )
            keys.append(key)
        return cls(keys, now)

    def format(self) -> str:
        """The text of this ring."""
        lines = (f"{key.id} {key.created} {key.active} {b64encode(key.secret).decode()}\n" for key in sorted(self.keys, key=_age))
        return "".join(lines)

    def seal(self, payload: bytes, purpose: bytes, associated: bytes = b"") -> bytes:
        """`payload` as an identifier's octets, bound to its purpose and to `associated`, which is not in it."""
        return self._id + self._cipher.encrypt(payload, [purpose, associated])

    def unseal(self, sealed: bytes, purpose: bytes, associated: bytes = b"") -> bytes | None:
        """What was sealed, or None where a key of this ring did not make exactly this for that."""
        cipher = self._ciphers.get(sealed[0]) if len(sealed) >= SHORTEST else None
        if cipher is None:
            return None
        try:
            return cipher.decrypt(sealed[1:], [purpose, associated])
        except InvalidTag:
            return None


def _age(key: SealingKey) -> tuple[int, int, int]:
    return key.active, key.created, key.id


def written(sealed: bytes) -> str:
    """The octets in letters and digits; about 1.38 characters each."""
    text = b2a_base64(sealed, newline=False).rstrip(b"=")
    for octet, pair in _TO_PLAIN:
        text = text.replace(octet, pair)
    return text.decode("ascii")


def octets(identifier: bytes) -> bytes | None:
    """The inverse of `written`; None for a text that `written` does not give."""
    if not identifier.isalnum():
        return None
    text = identifier
    for octet, pair in reversed(_TO_PLAIN):
        text = text.replace(pair, octet)
    try:
        sealed = a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except Base64Error:
        return None
    # A Z that begins no pair, or spare bits that are not 0, would let several texts stand for one identifier.
    paired = len(identifier) - len(text) == identifier.count(b"Z")
    return sealed if paired and b2a_base64(sealed, newline=False).rstrip(b"=") == text else None
