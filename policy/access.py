"""Who may send: one decision, asked at MAIL by the milter and at RCPT by the policy server."""

from dataclasses import dataclass

from policy.account import Account, State
from policy.login import Login
from policy.reply import ADDRESS_REFUSED, AUTHENTICATION_REQUIRED, LOGIN_REVOKED, Reply, no_permission, port_refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where a client is: its address ("" = not known), our port (0 = not known), and the time, UTC seconds since 1970.

    `anywhere` tells that there is no client, and so no place it could not come from: a message is only looked at.
    """

    address: str = ""
    port: int = 0
    now: int
    anywhere: bool = False


def decide(
    sasl_username: str, login: Login | None, account: Account | None, session: Session, *, postmaster: str
) -> Reply | None:
    """The refusal, or None where the mail may go on.

    `sasl_username` is what the session authenticated as ("" = not at all); `login` and `account` are what the store knows
    of it now, so that a login that was removed or disabled stops at its next command; `postmaster` is the address a
    sender without permission is told to write to.
    """
    if not sasl_username:
        return AUTHENTICATION_REQUIRED
    if login is None or account is None or not login.usable(session.now):
        return LOGIN_REVOKED
    if account.state is not State.APPROVED:
        return no_permission(postmaster)
    return place_refused(login, session)


def place_refused(login: Login, session: Session) -> Reply | None:
    """The refusal of a login that is used where it may not be used, or None. What is not known is not allowed."""
    if session.anywhere:
        return None
    if not login.may_come_from(session.address):
        return ADDRESS_REFUSED
    if login.ports and session.port not in login.ports:
        return port_refused(login.ports)
    return None
