"""`smtpeter preview`: what would leave, made by the same function the milter runs, from a file."""

import difflib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from filters.attempt import explained
from filters.job import Envelope, Job, Link, Result
from filters.mail import parts
from filters.mail.address import author_address
from filters.mail.message import Message
from filters.mail.text import decode
from filters.pipeline import transform
from filters.senders import Senders
from filters.target import LONGEST
from journal.event import Event, Kind
from policy.access import Session
from policy.log_line import shown
from policy.reply import Refused
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.login_shown import find
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_json

READER = "reader@example.net"
WORDS = {
    Kind.ATTEMPT: "would be accepted",
    Kind.MAPPED: "understood",
    Kind.APPLIED: "applied",
    Kind.SKIPPED: "not applied",
    Kind.UNTRACKED: "not applied",
    Kind.KEPT: "left as it is",
    Kind.WARNING: "warning",
    Kind.FALLBACK: "given up, the original is kept",
    Kind.REENCODED: "re-encoded",
    Kind.SIGNED: "signed",
    Kind.UNSIGNED: "not signed",
}


def preview(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A message (RFC 5322); - reads standard input.")],
    login: Annotated[str, typer.Option(help="The login it would be sent with, or the beginning of its name.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show what changes and why, link by link, not the result.")] = False,
    to: Annotated[str, typer.Option(help="The recipient.")] = READER,
    as_json: AsJson = False,
) -> None:
    """Print what would leave if a login sent this message. Nothing is sent."""
    settings = settings_of(context)
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UserError(f"the message {file} cannot be read: {error.strerror}") from error
    store = database.open_store(settings)
    name = find(store, login).name
    received = Message.parse(raw)
    try:
        # As the milter reads an address that is no UTF-8.
        result = run(wiring.make_senders(settings, store), name, received, os.fsencode(to).decode("utf-8", "replace"))
    except Refused as refusal:
        raise UserError(f"this message would be refused: {refusal.reply}") from refusal
    if as_json:
        print_json(
            {
                "events": events(result),
                "features": [decision._asdict() for decision in explained(result.job)],
                "links": [link._asdict() for link in result.job.links],
                "message": bytes(result.job.message).decode("utf-8", "surrogateescape"),
            }
        )
    elif diff:
        for line in explain(received, result):
            typer.echo(line)
    else:
        sys.stdout.buffer.write(bytes(result.job.message))


def run(senders: Senders, login: str, received: Message, recipient: str) -> Result:
    """The result for a message as if `login` had sent it to `recipient`, from its author. Raises Refused."""
    sender = senders.authorise(login, Session(now=int(time.time()), anywhere=True))
    mail_from, site = author_address(received), senders.site(sender)
    if not mail_from:
        site = replace(site, identity=None)  # what MAIL FROM would say is not known
    job = Job(
        login=sender.login.name,
        account=sender.login.account,
        envelope=Envelope(mail_from=mail_from, rcpt_to=(recipient,)),
        options=sender.login.options,
        forced=sender.login.forced,
        dialects=sender.login.dialects,
        message=received,
    )
    return transform(job, site)


def events(result: Result) -> list[dict[str, str]]:
    """The events of a result, for JSON."""
    return [{"kind": event.kind.value, "subject": event.subject, "reason": event.reason} for event in result.job.events]


def explain(received: Message, result: Result) -> Iterator[str]:
    """What was decided, by whom and why, each link, then what changed: header fields, and each part as its decoded text."""
    for event in result.job.events:
        yield _sentence(event)
    for decision in explained(result.job):
        yield f"# {decision.feature}: {decision.outcome}, decided by {decision.by}"
    for image in result.job.images:
        yield f"# image hosted: {image.name} ({len(image.content)} octets)"
    for link in result.job.links:
        yield _link(link)
    left = result.job.message
    yield from _differences("header", _header_lines(received), _header_lines(left))
    before, after = parts.scan(received).leaves, parts.scan(left).leaves
    for place, (old, new) in enumerate(zip_longest(before, after), 1):
        kind = (new or old).content_type if (new or old) else ""
        old_lines = _text_lines(received, old) if old else []
        new_lines = _text_lines(left, new) if new else []
        yield from _differences(f"part {place} ({kind})", old_lines, new_lines)


def _sentence(event: Event) -> str:
    reason = f" ({event.reason})" if event.reason else ""
    return f"# {event.subject}: {WORDS[event.kind]}{reason}"


def _link(link: Link) -> str:
    kind = "image" if link.image else "link"
    if not link.number:
        return f"# {kind} left as it is ({link.reason}): {shown(link.before, LONGEST)}"
    return f"# {kind} {link.number}: {shown(link.before, LONGEST)} -> {link.after}"


def _header_lines(message: Message) -> list[str]:
    return [f"{field.name.decode()}:{field.value.decode('utf-8', 'replace')}" for field in message.fields]


def _text_lines(message: Message, part: parts.Part) -> list[str]:
    try:
        content = parts.content(message, part)
    except ValueError:
        content = message.body[part.body[0] : part.body[1]]
    text = decode(content, part.charset) if part.content_type.startswith("text/") else None
    return text.text.splitlines() if text else [f"({len(content)} octets)"]


def _differences(what: str, before: list[str], after: list[str]) -> Iterator[str]:
    yield from difflib.unified_diff(before, after, f"received: {what}", f"sent: {what}", lineterm="", n=1)
