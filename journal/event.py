"""What happened to a message, as values. Until the journal exists they are written to the log, one line each."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an event is about."""

    ATTEMPT = "attempt"  # the message was accepted; carries the options in force
    APPLIED = "applied"  # a feature changed the message
    SKIPPED = "skipped"  # a feature was asked for and did not change it; carries the reason
    WARNING = "warning"  # a control field had a value it cannot have
    FALLBACK = "fallback"  # a result failed its check and was left out; carries the reason
    REENCODED = "reencoded"  # a part got another transfer encoding, so that nothing breaks it on its way
    SIGNED = "signed"  # a DKIM signature was added
    UNSIGNED = "unsigned"  # none was added; carries the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `subject` is the feature or field it is about, `reason` a short text without message content."""

    kind: Kind
    subject: str
    reason: str = ""
