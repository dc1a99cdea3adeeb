"""What an SMTP client reads when something is refused: reply code, enhanced code, text (RFC 5321 4.2, RFC 3463).

The text is for the sender of the mail and discloses nothing of the inside; the cause goes to the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


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


def limit_reached(limit: str, minute: int) -> Reply:
    """The refusal for now of what would pass a limit; `minute` (since 1970, UTC) is when there is room for it."""
    when = datetime.fromtimestamp(minute * 60, UTC)
    return Reply(code=450, enhanced="4.7.1", text=f"Limit of {limit} reached; free again at {when:%Y-%m-%d %H:%M} UTC")


def limit_too_small(limit: str, number: int) -> Reply:
    """The refusal of a message that alone passes a limit, with what it has of it."""
    return Reply(code=550, enhanced="5.7.1", text=f"Limit of {limit}; this message alone has {number}")


def too_many_recipients(most: int, *, whole: bool) -> Reply:
    """The refusal of one recipient too many (RFC 5321 4.5.3.1.10: the others are delivered), or of a `whole` message."""
    text = f"Too many recipients of one message; at most {most}"
    return Reply(code=450 if whole else 452, enhanced="4.5.3", text=text)


def too_large(most: int) -> Reply:
    """The refusal of a message that is larger than its limit (RFC 1870 6.1); `most` is in octets."""
    return Reply(code=552, enhanced="5.3.4", text=f"Message too large; at most {most} octets")


def too_many_sessions(whose: str, most: int) -> Reply:
    """The refusal of one session too many; `whose` is "login" or "account"."""
    return Reply(code=450, enhanced="4.7.1", text=f"Too many sessions of this {whose} at a time; at most {most}")


def path_refused(what: str, why: str, allowed: str) -> Reply:
    """The refusal of an address in MAIL FROM; `allowed` is what the login may write as."""
    return Reply(code=553, enhanced="5.7.1", text=f"MAIL FROM {what} {why}; this login may send as {allowed}")


def path_doubtful(why: str) -> Reply:
    """The refusal of an address in MAIL FROM that could be read in two ways."""
    # Not 5.1.7: at RCPT, Postfix would make a complaint about the recipient of it.
    return Reply(code=553, enhanced="5.7.1", text=f"The address in MAIL FROM cannot be read without doubt: {why}")


def author_refused(field: str, what: str, why: str, allowed: str) -> Reply:
    """The refusal of an address in From or Sender; `allowed` is what the login may write as."""
    return Reply(code=550, enhanced="5.7.1", text=f"{field} {what} {why}; this login may send as {allowed}")


def null_sender_refused(allowed: str) -> Reply:
    """The refusal of a message with an empty MAIL FROM and no author."""
    return Reply(code=550, enhanced="5.7.1", text=f"An empty MAIL FROM needs a From of {allowed}")
