"""`smtpeter trace`: what became of a message, asked by anything that names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from filters.target import Untracked, target
from journal.drain import waiting
from journal.links import HostedImage
from journal.records import CopyRecord, MessageRecord
from journal.seal import Ring
from journal.segment import segment_id, segment_paths
from journal.store import JournalStore
from smtpeter import database, life, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.link import unseal
from smtpeter.commands.up import postfix_for
from smtpeter.errors import UserError
from smtpeter.mail_log import Delivery, deliveries, log_lines
from smtpeter.output import AsJson, print_json
from smtpeter.settings import Settings

MANY = 1000  # older messages that are still counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The messages meant, newest first, and what is to be said before them."""

    messages: tuple[MessageRecord, ...]
    note: str = ""


def trace(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="A queue id, a Message-ID, a recipient, a link of a sent mail, or where links lead.")
    ],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show so many messages, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what became of a message: accepted, changed, delivered, opened, clicked; all times are UTC."""
    settings = settings_of(context)
    store = database.open_journal(settings)
    try:
        found = find(store, settings, what.strip(), limit + MANY)
        if not found.messages:
            raise UserError((found.note or f"the journal has no message with {what!r}") + _on_its_way(settings, store))
        shown = found.messages[:limit]
        identifiers = [message.id for message in shown]
        copies, visits = store.copies_of(identifiers), store.visits_of(identifiers)
    finally:
        store.close()
    log = settings.postfix.log or postfix_for(settings).log
    delivered = read_log(log, shown, copies)
    rows = life.lives(shown, copies, delivered or (), visits)
    more = len(found.messages) - limit
    if as_json:
        messages = [life.as_json(row) for row in rows]
        print_json({"note": found.note, "messages": messages, "more": max(0, more), "log": delivered is not None})
        return
    if found.note:
        typer.echo(f"{found.note}\n")
    for row in rows:
        typer.echo("\n".join((*life.timeline(row), "")))
    if more > 0:
        typer.echo(f"{'at least ' if more == MANY else ''}{more} older; --limit {limit + more} shows them as well")
    if delivered is None:
        typer.echo(f"what became of the delivery is not known here: there is no mail log {log} to read")


def find(store: JournalStore, settings: Settings, what: str, limit: int) -> Found:
    """The messages that `what` means. Raises UserError where the key ring is needed and cannot be read."""
    if "://" in what:
        return _by_url(store, wiring.ring_file(settings).current(), what, limit)
    if "@" not in what and not what.startswith("<"):
        named = store.messages_by(queue_id=what, limit=limit)
        return Found(messages=named or store.messages_by(id=what.lower(), limit=limit))
    bare = what.removeprefix("<").removesuffix(">")
    received = store.messages_by(recipient=bare, limit=limit)
    sent = store.messages_by(message_id=f"<{bare}>", limit=limit)
    both = {message.id: message for message in (*received, *sent)}
    return Found(messages=tuple(sorted(both.values(), key=lambda message: -message.time)[:limit]))


def _by_url(store: JournalStore, ring: Ring, url: str, limit: int) -> Found:
    said = unseal(ring, url)
    visit = said.visit if isinstance(said, HostedImage) else said
    if visit is None:
        try:
            written = target(url, unicode=True) or url
        except Untracked:
            written = url
        messages = store.messages_by(destination=written, limit=limit)
        unknown = "it is a picture that names no recipient" if said else "it is none of ours"
        return Found(messages=messages, note="" if messages else f"nobody followed a link to {url!r}, and {unknown}")
    identifier = visit.recipient.hex()
    messages = store.messages_by(id=identifier, limit=limit)
    picture = f"picture {visit.number}" if visit.number else "the pixel"
    leads = f", which leads to {visit.destination}" if visit.destination else ""
    note = f"{picture if visit.image else f'link {visit.number}'} of message {identifier}{leads}"
    if not messages:
        note += "; the journal does not have that message, or no longer"
    return Found(messages=messages, note=note)


def _on_its_way(settings: Settings, store: JournalStore) -> str:
    """What to add where nothing was found: it may not have come to the database yet."""
    try:
        names = [segment_id(path) for path in segment_paths(settings.spool)]
        left = waiting(settings.spool, store.drained(names))
    except OSError:
        return ""
    return "; some records wait for the database, `smtpeter journal status` tells how many" if left.octets else ""


def read_log(path: Path, messages: Sequence[MessageRecord], copies: Sequence[CopyRecord]) -> tuple[Delivery, ...] | None:
    """What Postfix's log says of the messages and their copies; None where it cannot be read."""
    accepted = {copy.queue_id: copy.time for copy in copies} | {message.queue_id: message.time for message in messages}
    try:
        return tuple(deliveries(log_lines(path, min(accepted.values(), default=0)), accepted))
    except OSError:
        return None
