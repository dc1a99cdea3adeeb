"""An account owns logins and sender domains. Whether its mail is relayed depends on its state alone."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """PENDING and SUSPENDED accounts may log in but not send; the refusal says whom to ask."""

    PENDING = "pending"
    APPROVED = "approved"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who owns logins, sender domains and keys. `name` identifies it; `created` is UTC, seconds since 1970."""

    name: str
    state: State
    created: int
