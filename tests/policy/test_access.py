"""Who may send: every combination of what is known."""

import pytest

from policy.access import decide
from policy.account import Account, State
from policy.login import Login
from policy.options import Options
from policy.reply import AUTHENTICATION_REQUIRED, LOGIN_REVOKED, Reply, no_permission

NAME = "0123456789abcdef0123456789abcdef"
POSTMASTER = "postmaster@example.com"


def login(*, enabled: bool) -> Login:
    return Login(name=NAME, account="a", password_hash="", options=Options(), enabled=enabled, created=0)


def account(state: State) -> Account:
    return Account(name="a", state=state, created=0)


ON, OFF = login(enabled=True), login(enabled=False)
APPROVED, PENDING, SUSPENDED = (account(state) for state in (State.APPROVED, State.PENDING, State.SUSPENDED))
NO = no_permission(POSTMASTER)


@pytest.mark.parametrize(
    ("sasl_username", "known", "owner", "expected"),
    [
        (NAME, ON, APPROVED, None),
        (NAME, ON, PENDING, NO),
        (NAME, ON, SUSPENDED, NO),
        (NAME, ON, None, LOGIN_REVOKED),
        (NAME, OFF, APPROVED, LOGIN_REVOKED),
        (NAME, OFF, PENDING, LOGIN_REVOKED),
        (NAME, None, APPROVED, LOGIN_REVOKED),
        (NAME, None, None, LOGIN_REVOKED),
        ("", ON, APPROVED, AUTHENTICATION_REQUIRED),
        ("", None, None, AUTHENTICATION_REQUIRED),
    ],
)
def test_decisions(sasl_username: str, known: Login | None, owner: Account | None, expected: Reply | None) -> None:
    assert decide(sasl_username, known, owner, postmaster=POSTMASTER) == expected
