"""What an SMTP client reads when something is refused: reply code, enhanced code, text (RFC 5321 4.2, RFC 3463).

The text is for the sender of the mail and discloses nothing of the inside; the cause goes to the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One SMTP reply. `code` is the three-digit reply code, `enhanced` the RFC 3463 status, `text` one line of ASCII."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


class Refused(Exception):
    """The message or the session is refused with `reply`; raised where the fact is known, answered at the edge."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


AUTHENTICATION_REQUIRED = Reply(code=530, enhanced="5.7.0", text="Authentication required")  # RFC 4954 6
TLS_REQUIRED = Reply(code=530, enhanced="5.7.0", text="Must issue a STARTTLS command first")  # RFC 3207 4
LOGIN_REVOKED = Reply(code=554, enhanced="5.7.1", text="This login is no longer valid")
ADDRESS_REFUSED = Reply(code=550, enhanced="5.7.1", text="This login may not be used from your address")
TROUBLE = Reply(code=451, enhanced="4.3.0", text="Temporary failure, please try again later")
POISONED = Reply(code=554, enhanced="5.6.0", text="This message could not be processed; it failed repeatedly")


def no_permission(postmaster: str) -> Reply:
    """The refusal of an account that is not approved; `postmaster` is the address that can approve it."""
    text = f"You do not have permission to send email; contact {postmaster}"
    return Reply(code=550, enhanced="5.7.1", text=text)


def port_refused(ports: Sequence[int]) -> Reply:
    """The refusal of a login on a port that it may not be used on; `ports` are the allowed ones."""
    return Reply(code=550, enhanced="5.7.1", text=f"This login may only be used on port {' or '.join(map(str, ports))}")


def malformed(what: str) -> Reply:
    """The refusal of a message that cannot be read the way its sender meant it; `what` names the defect."""
    return Reply(code=550, enhanced="5.6.0", text=what)
