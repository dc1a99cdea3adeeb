"""The ticket of a split message: what its second pass must know, in a field that only we can write (DESIGN: several recipients).

The first pass over a message for several recipients adds it; Postfix then sends each recipient's copy to our own second
listener, where the ticket is read and removed. A copy without a valid ticket is refused there. A ticket is good for the
message it was made for: it is bound to the fields below it and to the body.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

from filters.job import Job, Site
from filters.mail.message import Field, Message
from journal.seal import Ring
from policy.options import Options

FIELD = b"X-SMTPeter-Job"
_PURPOSE = b"job"
_LINE = 72  # characters of the field in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The facts of the first pass: whose message it is, the options in force and who decided them, and how to name its
    recipients. `mail_from` and `queue_id` are the client's, `time` is when it was accepted (UTC, seconds since 1970).
    """

    login: str
    account: str
    options: Options
    decided_by: Mapping[str, str]
    tags: tuple[str, ...]
    mail_from: str
    queue_id: str
    seed: bytes
    time: int


def with_ticket(job: Job, site: Site) -> Job:
    """`job` with its ticket on top of its message."""
    facts = (
        *(job.login, job.account, job.options.as_words(), dict(job.decided_by), job.tags),
        *(job.envelope.mail_from, job.queue_id, job.seed.hex(), site.now),
    )
    payload = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
    text = b64encode(site.ring.seal(payload, _PURPOSE, _digest(job.message)))
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    field = Field(FIELD, b" " + b"\r\n ".join(lines))
    return replace(job, message=Message((field, *job.message.fields), job.message.body))


def ticket(message: Message, ring: Ring) -> Ticket | None:
    """The ticket of a copy, or None where there is none, or one that this ring did not seal for this message."""
    places = [place for place, field in enumerate(message.fields) if field.name.lower() == FIELD.lower()]
    if len(places) != 1:
        return None
    # Above it is what Postfix has written since: a trace field.
    below = Message(message.fields[places[0] + 1 :], message.body)
    try:
        sealed = b64decode(b"".join(message.fields[places[0]].value.split()), validate=True)
        facts = ring.unseal(sealed, _PURPOSE, _digest(below))
    except ValueError:
        return None
    if facts is None:
        return None
    login, account, words, decided_by, tags, mail_from, queue_id, seed, time = json.loads(facts)
    return Ticket(
        login=login,
        account=account,
        options=Options().with_words(words),
        decided_by=decided_by,
        tags=tuple(tags),
        mail_from=mail_from,
        queue_id=queue_id,
        seed=bytes.fromhex(seed),
        time=time,
    )


def _digest(message: Message) -> bytes:
    """What a message is known by. Blanks and the end of the body do not count, as in a signature (RFC 6376 3.4.2)."""
    found = hashlib.blake2b(digest_size=32)
    for field in message.fields:
        found.update(b"%b:%b\n" % (field.name.lower(), b" ".join(field.value.split())))
    found.update(b"\n")
    found.update(message.body.rstrip(b"\r\n"))
    return found.digest()
