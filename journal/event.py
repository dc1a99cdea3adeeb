"""What happened to a message in the filters, as values, and what it comes to for each feature."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What an event is about."""

    ATTEMPT = "attempt"  # the message was accepted; carries the options in force
    MAPPED = "mapped"  # a field of another provider was understood; carries what it asks for
    APPLIED = "applied"  # a feature changed the message
    SKIPPED = "skipped"  # a feature was asked for and did not change it; carries the reason
    UNTRACKED = "untracked"  # a feature was asked for and its click host is not in order; carries which, and the reason
    KEPT = "kept"  # a feature left single links or images as they are; carries how many and why
    WARNING = "warning"  # a control field was not obeyed, or not in all it asks for; carries the reason
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


_OUTCOMES = (Kind.APPLIED, Kind.SKIPPED, Kind.UNTRACKED, Kind.KEPT, Kind.FALLBACK)


class Decision(NamedTuple):
    """What became of one feature: `outcome` is applied, skipped or off, `by` who decided that: login, header or rule;
    `login, forced` where no message can, or the name of the dialect whose field it was.

    `reason` says more: why a rule decided otherwise than the login or the header wanted, or what was left as it is.
    """

    feature: str
    outcome: str
    by: str
    reason: str = ""


def decisions(wanted: Mapping[str, bool], by: Mapping[str, str], events: Iterable[Event]) -> tuple[Decision, ...]:
    """One decision for each feature in `wanted`, which tells whether it is on; `by` tells who said so, if not the login.

    A feature that is on and has no event of its own is left out: it belongs to the other pass over this message.
    """
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.subject, []).append(event)
    return tuple(
        decision
        for feature, on in wanted.items()
        if (decision := _decision(feature, on, by.get(feature, "login"), found.get(feature, [])))
    )


def _decision(feature: str, on: bool, by: str, events: list[Event]) -> Decision | None:
    if not on:
        return Decision(feature, "off", by)
    outcomes = [event for event in events if event.kind in _OUTCOMES]
    if not outcomes:
        return None
    applied = any(event.kind is Kind.APPLIED for event in outcomes)
    reason = "; ".join(dict.fromkeys(event.reason for event in outcomes if event.reason))
    return Decision(feature, "applied", by, reason) if applied else Decision(feature, "skipped", "rule", reason)
