"""Password hashes made by others: those of Dovecot's passwd files and of crypt(3). Read when logins are imported, then compared.

They are kept as {SCHEME}VALUE, in one form for each scheme, until their first login (`policy.renewal`). Schemes of
Dovecot: doc.dovecot.org, "Password Schemes"; of LDAP: RFC 2307 5.3.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

from policy import host_crypt

LONGEST = 255  # characters of a kept hash
SLOW = 0.25  # seconds: half of what a wrong password waits for anyway (policy.throttle.FLOOR), so it is not seen
TOO_SLOW = 2.0  # seconds that a comparison may take at most
MEMORY = 131_072  # KiB that one may take
PLAIN = frozenset(("PLAIN", "CLEAR", "CLEARTEXT"))
CRYPT = "CRYPT"

_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(B64|BASE64|HEX))?\}(.*)", re.IGNORECASE | re.DOTALL)
_CRYPT_NAMES = frozenset((CRYPT, "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "BLF-CRYPT", "DES-CRYPT"))
_ARGON2_NAMES = frozenset(("ARGON2I", "ARGON2ID"))
# Name of the digest, and whether a salt follows it.
_DIGESTS = {
    "SHA": ("sha1", False),
    "SSHA": ("sha1", True),
    "SHA256": ("sha256", False),
    "SSHA256": ("sha256", True),
    "SHA512": ("sha512", False),
    "SSHA512": ("sha512", True),
    "LDAP-MD5": ("md5", False),
    "SMD5": ("md5", True),
}
_SAME = {"SHA1": "SHA", "PLAIN-MD5": "LDAP-MD5"}
_HEX_AS_A_RULE = frozenset(("PLAIN-MD5",))
_CHALLENGE = frozenset(("CRAM-MD5", "DIGEST-MD5", "HMAC-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "OTP"))

_ARGON2 = re.compile(r"\$argon2i?d?\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")
_PBKDF2 = re.compile(r"\$1\$([!-#%-~]{1,64})\$([0-9]{1,9})\$([0-9a-f]{40})")  # with HMAC-SHA1, the salt as it is written
# The last characters of salt and hash have bits that no maker sets.
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_BCRYPT_LENGTH = 72  # octets of a password that count
_SHA_CRYPT = re.compile(r"\$[56]\$(?:rounds=([0-9]{1,9})\$)?[./0-9A-Za-z]{0,16}\$[./0-9A-Za-z]{43,86}")
_MD5_CRYPT = re.compile(r"\$1\$[./0-9A-Za-z]{0,8}\$[./0-9A-Za-z]{22}")
_DES_CRYPT = re.compile(r"[./0-9A-Za-z]{13}")
_SHA_ROUNDS = 5_000  # where none are written

# Seconds of one round, pass or megabyte on a slow processor of today (bench/parts has those of ours).
_BCRYPT_SECONDS, _SHA_SECONDS, _PBKDF2_SECONDS, _ARGON2_SECONDS = 6e-5, 7e-7, 3e-7, 8e-7


class UnknownHash(ValueError):
    """This is no hash that can be compared; the message is a part of a sentence, without the hash."""


def split(text: str, scheme: str = CRYPT) -> tuple[str, str]:
    """Name of the scheme in capitals, and the value, of a password as a file has it; `scheme` is that of one without a prefix.

    An encoding behind the scheme stays part of its name: "SSHA.HEX".
    """
    match = _SCHEME.fullmatch(text)
    if match is None:
        return scheme.upper(), text
    return match[1].upper() + (f".{match[2].upper()}" if match[2] else ""), match[3]


def plain(scheme: str, value: str) -> str | None:
    """The password itself where the file has it in the clear, else None. Raises UnknownHash."""
    name, _, encoding = scheme.partition(".")
    if name not in PLAIN:
        return None
    try:
        return _decoded(value, encoding).decode() if encoding else value
    except UnicodeDecodeError as error:
        raise UnknownHash("the password is no UTF-8") from error


def kept(scheme: str, value: str) -> str:
    """What is kept of a hash. Raises UnknownHash where it could not be compared, or not within bounds."""
    name, _, encoding = scheme.partition(".")
    if name in _CHALLENGE:
        raise UnknownHash(f"{name} is for challenges, and clients here send the password (PLAIN, LOGIN)")
    text = _text(value, encoding) if encoding and _SAME.get(name, name) not in _DIGESTS else value
    if name == "MD5":  # Dovecot's name of crypt(3)'s, LDAP's of a digest
        name = CRYPT if text.startswith("$") else "LDAP-MD5"
    if name in _ARGON2_NAMES or (name in _CRYPT_NAMES and text.startswith("$argon2")):
        found = _argon2(text)
    elif name in _CRYPT_NAMES:
        found = f"{{{CRYPT}}}{_crypt(text)}"
    elif name == "PBKDF2":
        found = f"{{PBKDF2}}{_pbkdf2(text)}"
    elif (same := _SAME.get(name, name)) in _DIGESTS:
        found = f"{{{same}}}{_digest(same, value, encoding or ('HEX' if name in _HEX_AS_A_RULE else ''))}"
    else:
        raise UnknownHash("its scheme is not known")
    if len(found) > LONGEST:
        raise UnknownHash(f"it is longer than {LONGEST} characters")
    if seconds(found) > TOO_SLOW:
        raise UnknownHash(f"one comparison would take about {seconds(found):.0f} s, and {TOO_SLOW:g} s are the most")
    return found


def seconds(found: str) -> float:
    """About how long a comparison with a kept hash takes."""
    if match := _ARGON2.fullmatch(found):
        return int(match[1]) * int(match[2]) * _ARGON2_SECONDS
    name, value = split(found)
    if name == "PBKDF2" and (match := _PBKDF2.fullmatch(value)):
        return int(match[2]) * _PBKDF2_SECONDS
    if match := _BCRYPT.fullmatch(value):
        return float(2 ** int(match[1])) * _BCRYPT_SECONDS
    if match := _SHA_CRYPT.fullmatch(value):
        return int(match[1] or _SHA_ROUNDS) * _SHA_SECONDS
    return host_crypt.seconds(value)


def is_foreign(found: str) -> bool:
    """Whether a kept hash is one that `verify` compares."""
    return found.startswith("{")


def verify(found: str, password: bytes) -> bool:
    """Whether `password` is the one behind a kept hash. Raises ValueError where nothing could be compared."""
    try:
        return _verify(*split(found), password)
    except ValueError as error:
        raise ValueError(f"the stored password hash is damaged or cannot be computed: {error}") from error


def _verify(scheme: str, value: str, password: bytes) -> bool:
    if scheme == CRYPT:
        return _verify_crypt(value, password)
    if scheme == "PBKDF2" and (match := _PBKDF2.fullmatch(value)):
        made = hashlib.pbkdf2_hmac("sha1", password, match[1].encode(), int(match[2])).hex()
        return hmac.compare_digest(made, match[3])
    if scheme in _DIGESTS:
        name, _ = _DIGESTS[scheme]
        octets = base64.b64decode(value, validate=True)
        size = hashlib.new(name, usedforsecurity=False).digest_size
        made_octets = hashlib.new(name, password + octets[size:], usedforsecurity=False).digest()
        return hmac.compare_digest(made_octets, octets[:size])
    raise UnknownHash("there is no such scheme")


def _verify_crypt(value: str, password: bytes) -> bool:
    if b"\0" in password:  # crypt(3) takes none; no password with one was ever hashed
        return False
    if host_crypt.FORM.fullmatch(value):
        return host_crypt.verify(value, password)
    matches = _handler(value).verify
    # Who made the hash left the rest out; the library of now refuses instead.
    return bool(matches(password[:_BCRYPT_LENGTH] if _BCRYPT.fullmatch(value) else password, value))


def _handler(value: str) -> Any:
    """The library's part for a hash of crypt(3). Raises UnknownHash.

    Imported where it is used: most services have nothing imported, and it is 12 MB of memory.
    """
    from passlib.hash import bcrypt, des_crypt, md5_crypt, sha256_crypt, sha512_crypt

    forms = ((_BCRYPT, bcrypt), (_SHA_CRYPT, sha512_crypt if value.startswith("$6$") else sha256_crypt))
    for form, handler in (*forms, (_MD5_CRYPT, md5_crypt), (_DES_CRYPT, des_crypt)):
        if form.fullmatch(value):
            return handler
    raise UnknownHash("it is no hash of crypt(3) that is known")


def _crypt(value: str) -> str:
    if host_crypt.FORM.fullmatch(value):
        if not host_crypt.available():
            raise UnknownHash("it is yescrypt, and this host's libcrypt.so.1 does not know that")
        _check_memory(host_crypt.memory(value))
        return value
    return _accepted(_handler(value).from_string, value)


def _accepted(read: Callable[[str], object], value: str) -> str:
    """`value`, where the library can read it; it is asked to compute nothing."""
    try:
        read(value)
    except ValueError as error:
        raise UnknownHash("it is damaged") from error
    return value


def _argon2(value: str) -> str:
    match = _ARGON2.fullmatch(value)
    if match is None:
        raise UnknownHash("it is damaged")
    _check_memory(int(match[1]))
    return value


def _check_memory(size: int) -> None:
    if size > MEMORY:
        raise UnknownHash(f"one comparison would take {size // 1024} MiB of memory, and {MEMORY // 1024} MiB are the most")


def _pbkdf2(value: str) -> str:
    match = _PBKDF2.fullmatch(value)
    if match is None or not int(match[2]):
        raise UnknownHash("it is damaged")
    return value


def _digest(scheme: str, value: str, encoding: str) -> str:
    """The digest and its salt in Base64. Without a salt it may be in hex instead, which its length tells, as in Dovecot."""
    name, salted = _DIGESTS[scheme]
    size = hashlib.new(name, usedforsecurity=False).digest_size
    octets = _decoded(value, encoding or ("HEX" if not salted and len(value) == 2 * size else "B64"))
    if len(octets) < size or (len(octets) == size) is salted:
        raise UnknownHash("it is damaged")
    return base64.b64encode(octets).decode()


def _text(value: str, encoding: str) -> str:
    try:
        return _decoded(value, encoding).decode("ascii")
    except UnicodeDecodeError as error:
        raise UnknownHash("it is damaged") from error


def _decoded(value: str, encoding: str) -> bytes:
    try:
        return bytes.fromhex(value) if encoding == "HEX" else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UnknownHash("it is damaged") from error
