"""Passwords: generated in groups with single inner spaces, shown once, kept as argon2id; imported ones at first as they came.

Parameters: OWASP Password Storage Cheat Sheet, argon2id with 19 MiB, 2 passes, 1 lane: about 20 ms of
one processor and 19 MiB for each comparison that runs at once (bench/parts). Grammar: 7 groups of 4 out of 32 characters, 140
bits; no character that is mistaken for another one (0 o, 1 l), no blank at either end, no two in a row, so that mail
clients and Postfix's sasl_passwd maps carry it unchanged.
"""

from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from policy import foreign_hash

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GROUPS, GROUP_LENGTH = 7, 4
SALT_LENGTH = 16  # RFC 9106 3.1
MAX_LENGTH = 1024  # octets; longer ones are refused unhashed

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# What an unknown login is compared with, so that it takes as long as a known one. No password is known to match it.
UNKNOWN_LOGIN_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c210cGV0ZXIgbm8gb25lLg$PevoQRZManSiU1rIrF/ao0kay8/jxLh8rZfVUQ1XiqQ"


def new_password(choose: Callable[[str], str]) -> str:
    """A password. `choose` picks one character of its argument; pass `secrets.choice`."""
    return " ".join("".join(choose(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))


def hash_password(password: str | bytes, salt: bytes) -> str:
    """The argon2id PHC string of `password`; `salt` is SALT_LENGTH random bytes."""
    return _hasher.hash(password, salt=salt)


def verify(password_hash: str, password: bytes) -> bool:
    """Whether `password` (UTF-8, every blank counts) is the one behind `password_hash`.

    Raises ValueError where nothing could be compared, because the stored hash is damaged or memory ran out: a fault of
    ours, not of the client.
    """
    if foreign_hash.is_foreign(password_hash):
        return foreign_hash.verify(password_hash, password)
    try:
        return _hasher.verify(password_hash, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        raise ValueError(f"the stored password hash is damaged or cannot be computed: {error}") from error


def is_ours(password_hash: str) -> bool:
    """Whether a hash is one that `hash_password` makes. Raises ValueError for a damaged one."""
    if foreign_hash.is_foreign(password_hash):
        return False
    try:
        return not _hasher.check_needs_rehash(password_hash)
    except InvalidHashError as error:
        raise ValueError("the stored password hash is damaged") from error
