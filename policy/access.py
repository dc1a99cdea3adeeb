"""Who may send: one decision, asked at MAIL by the milter and at RCPT by the policy server."""

from policy.account import Account, State
from policy.login import Login
from policy.reply import AUTHENTICATION_REQUIRED, LOGIN_REVOKED, Reply, no_permission


def decide(sasl_username: str, login: Login | None, account: Account | None, *, postmaster: str) -> Reply | None:
    """The refusal, or None where the mail may go on.

    `sasl_username` is what the session authenticated as ("" = not at all); `login` and `account` are what the store knows
    of it now, so that a login that was removed or disabled stops at its next command; `postmaster` is the address a
    sender without permission is told to write to.
    """
    if not sasl_username:
        return AUTHENTICATION_REQUIRED
    if login is None or account is None or not login.enabled:
        return LOGIN_REVOKED
    if account.state is not State.APPROVED:
        return no_permission(postmaster)
    return None
