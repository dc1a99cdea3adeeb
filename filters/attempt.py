"""What the journal keeps of a message that is accepted: one record for each recipient, and for the second pass its copy."""

from filters.job import Job, Result
from journal.event import Decision, decisions
from journal.records import CopyRecord, MessageRecord, Record
from policy.options import OPTIONS, Images

LONGEST_MESSAGE_ID = 998  # octets: a line of RFC 5322 2.1.1


def records(result: Result, now: int, queue_id: str, *, copied: int = 0) -> tuple[Record, ...]:
    """The records of an accepted message. `queue_id` is that of this pass.

    `now` is when the message was accepted, `copied` when this copy was made of it; both UTC, seconds since 1970.
    """
    job = result.job
    decided = explained(job)
    messages = tuple(
        MessageRecord(
            id=identifier.hex(),
            time=now,
            login=job.login,
            account=job.account,
            envelope=job.envelope.mail_from,
            recipient=address,
            queue_id=job.queue_id or queue_id,
            message_id=message_id(job),
            properties=job.options.properties,
            tags=job.tags,
            # Whichever comes to the database first, what the first pass decided is not lost there (journal.store).
            decisions=() if job.copy else decided,
        )
        for address, identifier in job.recipients.items()
    )
    if not job.copy:
        return messages
    copies = (CopyRecord(message=message.id, time=copied or now, queue_id=queue_id, decisions=decided) for message in messages)
    return (*messages, *copies)


def explained(job: Job) -> tuple[Decision, ...]:
    """What became of each feature, and who decided it."""
    wanted = {option.name: getattr(job.options, option.name) in (True, Images.HOSTED) for option in OPTIONS}
    return decisions(wanted, job.decided_by, job.events)


def message_id(job: Job) -> str:
    """The Message-ID of a job's message as it is written, "" where there is none."""
    field = job.message.first(b"message-id")
    return field.text[:LONGEST_MESSAGE_ID].decode("utf-8", "replace") if field else ""
