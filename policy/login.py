"""A login: what a client authenticates with, and the options its mail gets."""

import re
from dataclasses import dataclass, field

from policy.options import Options

NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One login. `name` is 32 lower-case hex digits, `password_hash` an argon2id PHC string that is never shown.

    `label` is the owner's own note of what uses the login. `created` is UTC, seconds since 1970.
    """

    name: str
    account: str
    password_hash: str = field(repr=False)
    options: Options
    enabled: bool = True
    label: str = ""
    created: int


def new_name(random: bytes) -> str:
    """A login name from 16 random bytes. Raises ValueError for another number of bytes."""
    if len(random) != 16:
        raise ValueError(f"a login name is made of 16 random bytes, not {len(random)}")
    return random.hex()
