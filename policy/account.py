"""An account owns logins and sender domains. Whether its mail is relayed depends on its state alone."""

from dataclasses import dataclass
from enum import StrEnum

from policy.limits import Limits


class State(StrEnum):
    """PENDING and SUSPENDED accounts may log in but not send; the refusal says whom to ask."""

    PENDING = "pending"
    APPROVED = "approved"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who owns logins, sender domains and keys. `name` identifies it; `created` is UTC, seconds since 1970.

    `limits` hold for all of its logins together.
    """

    name: str
    state: State
    created: int
    limits: Limits = Limits()  # frozen, so one default serves all
