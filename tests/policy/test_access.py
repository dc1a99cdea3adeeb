"""Who may send: every combination of what is known."""

from dataclasses import replace

import pytest

from policy.access import Session, decide
from policy.account import Account, State
from policy.login import Login
from policy.options import Options
from policy.reply import ADDRESS_REFUSED, AUTHENTICATION_REQUIRED, LOGIN_REVOKED, Reply, no_permission, port_refused

NAME = "0123456789abcdef0123456789abcdef"
POSTMASTER = "postmaster@example.com"


def login(*, enabled: bool) -> Login:
    return Login(name=NAME, account="a", options=Options(), enabled=enabled, created=0)


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
    assert decide(sasl_username, known, owner, Session(now=5), postmaster=POSTMASTER) == expected


BOUND = replace(ON, networks=("192.0.2.0/24", "2001:db8::/64"), ports=(587, 465), expires=10)
HERE = Session(address="192.0.2.7", port=587, now=9)


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (HERE, None),
        (replace(HERE, address="::ffff:192.0.2.7"), None),
        (replace(HERE, address="2001:db8::5", port=465), None),
        (replace(HERE, address="192.0.3.7"), ADDRESS_REFUSED),
        (replace(HERE, address="2001:db8:0:1::5"), ADDRESS_REFUSED),
        (replace(HERE, address=""), ADDRESS_REFUSED),
        (replace(HERE, address="unknown"), ADDRESS_REFUSED),
        (replace(HERE, port=25), port_refused((587, 465))),
        (replace(HERE, port=0), port_refused((587, 465))),
        (replace(HERE, now=10), LOGIN_REVOKED),
        (Session(now=9, anywhere=True), None),
        (Session(now=10, anywhere=True), LOGIN_REVOKED),
    ],
)
def test_a_login_is_bound_to_places_and_a_time(session: Session, expected: Reply | None) -> None:
    assert decide(NAME, BOUND, APPROVED, session, postmaster=POSTMASTER) == expected
    if session.now < 10:
        assert decide(NAME, ON, APPROVED, session, postmaster=POSTMASTER) is None
    assert str(port_refused((587, 465))) == "550 5.7.1 This login may only be used on port 587 or 465"
