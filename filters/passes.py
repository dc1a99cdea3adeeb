"""The two passes over a message, and what each does besides the filters: whose message it is, and what must be kept of it.

Every message goes through the first. A message that was split (DESIGN: several recipients) comes back to our own second
listener, one copy for each recipient, and goes through the second, which knows what the first one decided from the ticket.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass

from filters.attempt import records
from filters.copies import ticket
from filters.job import Envelope, Job, Result
from filters.mail.message import Message
from filters.pipeline import transform
from filters.senders import Sender, Senders
from journal.images import ImageStore
from journal.records import Record
from journal.spool import Writer
from policy.limiter import Limiter, message_refusal
from policy.reply import Refused, Reply
from policy.usage import holders

NO_TICKET = Reply(code=550, enhanced="5.7.1", text="Nothing but this server's own copies is accepted here")
SEED = 16  # octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message as Postfix handed it over; `queue_id` is that of this pass."""

    queue_id: str
    envelope: Envelope
    message: Message

    @property
    def size(self) -> int:
        """Octets, as SIZE counts them (RFC 1870 5)."""
        around = len(b":") + len(b"\r\n")
        return sum(len(name) + len(value) + around for name, value in self.message.fields) + 2 + len(self.message.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What leaves, and what the journal keeps of it."""

    result: Result
    records: tuple[Record, ...]


class Passes:
    """The passes of one worker, for its job thread. `journal` and `images` keep what must be on disk before a message leaves.

    `limiter` counts what is accepted; it is for every thread.
    """

    def __init__(self, senders: Senders, *, journal: Writer, images: ImageStore, limiter: Limiter) -> None:
        self.senders = senders
        self.limiter = limiter
        self._journal = journal
        self._images = images

    def first(self, sender: Sender, received: Received) -> Accepted:
        """The pass over what a client sent. Raises Refused; every other exception means: nothing of this attempt is sent."""
        people = len(set(map(str.casefold, received.envelope.rcpt_to)))
        limited = holders(sender.login, sender.account)
        refusal = message_refusal(limited, recipients=people, size=received.size, whole=True)
        if refusal is not None:
            raise Refused(refusal)
        site = self.senders.site(sender)
        job = Job(
            login=sender.login.name,
            account=sender.login.account,
            envelope=received.envelope,
            options=sender.login.options,
            forced=sender.login.forced,
            dialects=sender.login.dialects,
            message=received.message,
            seed=os.urandom(SEED),
            queue_id=received.queue_id,
        )
        result = transform(job, site)
        return Accepted(result=result, records=records(result, site.now, received.queue_id))

    def second(self, received: Received) -> Accepted:
        """The pass over a copy; it gives the same again for the same copy. Raises Refused where it has no ticket of ours.

        Every other exception means: nothing of this attempt is sent.
        """
        found = ticket(received.message, self.senders.ring())
        if found is None:
            raise Refused(NO_TICKET)
        if len(received.envelope.rcpt_to) != 1:
            raise ValueError(f"a copy has {len(received.envelope.rcpt_to)} recipients")
        site = self.senders.site_of_copies(found.account, found.time)
        job = Job(
            login=found.login,
            account=found.account,
            envelope=Envelope(mail_from=found.mail_from, rcpt_to=received.envelope.rcpt_to),
            options=found.options,
            message=received.message,
            seed=found.seed,
            queue_id=found.queue_id,
            copy=True,
            decided_by=found.decided_by,
            tags=found.tags,
        )
        result = transform(job, site)
        return Accepted(result=result, records=records(result, site.now, received.queue_id, copied=int(time.time())))

    def keep(self, accepted: Accepted) -> None:
        """Brings to disk what must be there before a message leaves. Raises OSError."""
        for image in accepted.result.job.images:
            self._images.keep(image.name, image.content)
        self._journal.append(accepted.records, durable=True)

    def rest(self) -> None:
        """Leaves what was written long ago to the drain, so that nothing lies about that is to be forgotten. From any thread."""
        with suppress(OSError):  # everything here was on disk before
            self._journal.sync()
