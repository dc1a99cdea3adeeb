"""The log lines of an accepted message: what was decided, then one line for each event that needs a look."""

from filters.job import Result
from filters.tags import MAX_TAG, MAX_TAGS
from journal.event import Event, Kind
from policy.log_line import shown

REPORTED = 20  # events of one message that get a line each
ALL_TAGS = MAX_TAGS * (MAX_TAG + 1)  # characters: the log is where the tags of a message are found


def report(queue_id: str, result: Result) -> list[str]:
    """The lines; `queue_id` is that of this pass. A split message has one decision, and each of its copies has one."""
    job = result.job
    split = " split=yes" if result.split else f" copy_of={job.queue_id}" if job.copy else ""
    decision = (
        f"queue_id={queue_id} login={job.login} account={job.account} verdict=accepted"
        f" recipients={len(job.envelope.rcpt_to)}{split}"
        f" properties={','.join(job.options.properties)} images={job.options.images.value}"
        f" tags={shown(';'.join(job.tags), ALL_TAGS)} {_summary(job.events)}"
    )
    lines = [
        f"queue_id={queue_id} event={event.kind} subject={shown(event.subject)} reason={shown(event.reason)}"
        for event in job.events
        if event.kind in (Kind.WARNING, Kind.FALLBACK, Kind.SKIPPED, Kind.UNTRACKED, Kind.KEPT, Kind.REENCODED)
    ]
    if len(lines) > REPORTED:
        lines[REPORTED:] = [f"queue_id={queue_id} event=more count={len(lines) - REPORTED}"]
    return [decision.rstrip(), *lines]


def _summary(events: tuple[Event, ...]) -> str:
    words = {Kind.MAPPED: "mapped", Kind.APPLIED: "applied", Kind.SIGNED: "signed", Kind.UNSIGNED: "unsigned"}
    found: dict[str, list[str]] = {}
    for event in events:
        if event.kind in words:
            found.setdefault(words[event.kind], []).append(f"{event.subject}: {event.reason}" if event.reason else event.subject)
    return " ".join(f"{word}={shown(', '.join(subjects))}" for word, subjects in found.items())
