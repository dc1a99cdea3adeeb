"""The milter: collects what Postfix sends, has the job done elsewhere, and sends the edits. The only import of Milter.

Callbacks collect bytes and send edits, nothing else. A message is answered in one of three ways: edits and CONTINUE at
the end of the body; a refusal with its own text; 451 for everything unexpected, so that nothing of the attempt is sent.
ACCEPT is never returned: Postfix would stop asking for this session.
"""

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import Milter
import milter

from filters.job import Envelope, Job, Result
from filters.mail.edits import Edit, InsertField, RemoveField, ReplaceBody
from filters.mail.message import Field, Message
from filters.overrides import MAX_TAG, MAX_TAGS
from filters.pipeline import transform
from filters.prefork import Prefork
from filters.runner import Ledger, Runner
from filters.senders import MakeSenders, Sender, Senders
from journal.event import Event, Kind
from policy.log_line import shown
from policy.reply import TROUBLE, Refused, Reply

log = logging.getLogger("smtpeter.milter")

NAME = "smtpeter"
IDLE_SECONDS = 7200  # how long libmilter keeps a session Postfix says nothing on
REPORTED = 20  # events of one message that get a line each
ALL_TAGS = MAX_TAGS * (MAX_TAG + 1)  # characters: the log is where the tags of a message are found
BACKLOG = 512  # connections that wait for a worker


class Session(Milter.Base):
    """One SMTP session, as seen by one worker."""

    runner: Runner
    senders: Senders

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sender: Sender | None = None
        self._mail_from = ""
        self._rcpt_to: list[str] = []
        self._fields: list[Field] = []
        self._body: list[bytes] = []

    def envfrom_bytes(self, mail_from: bytes, *_parameters: bytes) -> int:
        """MAIL: who is this, and may it send?"""
        self._reset()
        try:
            name = self.getsymval("{auth_authen}") or ""
            # Most sessions are of a sender just seen: no trip to the other thread for them.
            self._sender = self.senders.recall(name) or self.runner.ask(partial(self.senders.authorise, name))
        except Refused as refusal:
            log.info("login=%s verdict=refused reply=%s", shown(name), shown(str(refusal)))
            return self._refuse(refusal.reply)
        except Exception:
            log.exception("verdict=failed stage=MAIL")
            return self._refuse(TROUBLE)
        self._mail_from = _address(mail_from)
        return int(Milter.CONTINUE)

    envfrom = envfrom_bytes

    @Milter.noreply
    def envrcpt(self, recipient: str, *_parameters: str) -> int:
        """RCPT: Postfix tells of the accepted ones only."""
        self._rcpt_to.append(_address(recipient.encode(errors="surrogateescape")))
        return int(Milter.CONTINUE)

    @Milter.noreply
    def header(self, name: str, value: bytes) -> int:
        """One header field, its folds as LF and blank, its leading blank kept."""
        self._fields.append(Field(name.encode("ascii"), value.replace(b"\n", b"\r\n")))
        return int(Milter.CONTINUE)

    header_bytes = header  # as bytes, whatever they are

    @Milter.noreply
    def body(self, chunk: bytes) -> int:
        """A piece of the body."""
        self._body.append(chunk)
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        """The end of the message: the job is done, its edits are sent."""
        queue_id = self.getsymval("i") or "NOQUEUE"
        sender = self._sender
        if sender is None:
            # Postfix went on after a rejected message without a new MAIL (seen on 3.7.11).
            log.error("queue_id=%s verdict=failed reason=%s", queue_id, shown("end of message without its own MAIL"))
            return self._refuse(TROUBLE)
        try:
            result = self._run(sender)
            for edit in result.edits:
                self._send(edit)
        except Refused as refusal:
            log.info("queue_id=%s login=%s verdict=refused reply=%s", queue_id, sender.login.name, shown(str(refusal)))
            return self._refuse(refusal.reply)
        except Exception:
            log.exception("queue_id=%s login=%s verdict=failed", queue_id, sender.login.name)
            return self._refuse(TROUBLE)
        finally:
            self._reset()
        for line in report(queue_id, result):
            log.info(line)
        return int(Milter.CONTINUE)

    def abort(self) -> int:
        """The transaction was given up."""
        self._reset()
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """The session ended."""
        self._reset()
        return int(Milter.CONTINUE)

    def _run(self, sender: Sender) -> Result:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        job = Job(
            login=sender.login.name,
            account=sender.login.account,
            envelope=Envelope(mail_from=self._mail_from, rcpt_to=tuple(self._rcpt_to)),
            options=sender.login.options,
            message=Message(tuple(self._fields), body),
        )
        return self.runner.work(body, lambda: transform(job, self.senders.site(sender)))

    def _send(self, edit: Edit) -> None:
        match edit:
            case RemoveField(name, index):
                self.chgheader(name.decode("ascii"), index, "")
            case InsertField(position, field):
                # Our own Postfix's trace field stands first and is not shown to a milter (cleanup_milter.c).
                value = field.value.replace(b"\r\n", b"\n").decode("utf-8")
                self.addheader(field.name.decode("ascii"), value, position + 1)
            case ReplaceBody(body):
                self.replacebody(body)

    def _refuse(self, reply: Reply) -> int:
        self.setreply(str(reply.code), reply.enhanced, reply.text)
        return int(Milter.REJECT if reply.code >= 500 else Milter.TEMPFAIL)


def report(queue_id: str, result: Result) -> list[str]:
    """The log lines of an accepted message: the decision, then one line for each event that needs a look."""
    job = result.job
    decision = (
        f"queue_id={queue_id} login={job.login} account={job.account} verdict=accepted recipients={len(job.envelope.rcpt_to)}"
        f" properties={','.join(job.options.properties)} images={job.options.images.value}"
        f" tags={shown(';'.join(job.tags), ALL_TAGS)} {_summary(job.events)}"
    )
    lines = [
        f"queue_id={queue_id} event={event.kind} subject={shown(event.subject)} reason={shown(event.reason)}"
        for event in job.events
        if event.kind in (Kind.WARNING, Kind.FALLBACK, Kind.SKIPPED, Kind.REENCODED)
    ]
    if len(lines) > REPORTED:
        lines[REPORTED:] = [f"queue_id={queue_id} event=more count={len(lines) - REPORTED}"]
    return [decision.rstrip(), *lines]


def _summary(events: tuple[Event, ...]) -> str:
    words = {Kind.APPLIED: "applied", Kind.SIGNED: "signed", Kind.UNSIGNED: "unsigned"}
    found: dict[str, list[str]] = {}
    for event in events:
        if event.kind in words:
            found.setdefault(words[event.kind], []).append(f"{event.subject}: {event.reason}" if event.reason else event.subject)
    return " ".join(f"{word}={shown(', '.join(subjects))}" for word, subjects in found.items())


def _address(argument: bytes) -> str:
    return argument.decode("utf-8", "replace").removeprefix("<").removesuffix(">")


def serve(
    path: Path,
    *,
    group: str | None,
    workers: int,
    deadline: float,
    make_senders: MakeSenders,
    rehearse: Callable[[], None],
) -> None:
    """Serves the milter protocol on the unix socket `path` until SIGTERM. Returns after the last worker ended.

    `group` may connect besides the owner. `make_senders` is called in each worker, after the fork; `rehearse` before it, to do
    once what the first messages would do in every worker: what it leaves in memory is shared.
    """
    ledger = Ledger(workers)

    def work(index: int) -> None:
        Session.runner = Runner(ledger, index, deadline)
        Session.senders = Session.runner.ask(make_senders)
        milter.main()

    _register(path)
    mask = os.umask(0o117)
    milter.opensocket(True)
    os.umask(mask)
    if group is not None:
        shutil.chown(path, group=group)
    rehearse()
    log.info("socket=%s workers=%d ready", path, workers)
    Prefork(workers, ledger, work).run()


def _register(path: Path) -> None:
    # Leading blanks and folds of fields come and go as they are.
    Milter.factory = Milter.header_leading_space(Session)
    Milter.set_flags(Milter.ADDHDRS | Milter.CHGHDRS | Milter.CHGBODY)
    milter.set_exception_policy(milter.TEMPFAIL)
    milter.set_connect_callback(Milter.connect_callback)
    milter.set_envfrom_callback(_method("envfrom_bytes"))
    milter.set_envrcpt_callback(_method("envrcpt_bytes"))
    milter.set_header_callback(_method("header_bytes"))
    milter.set_body_callback(_method("body"))
    milter.set_eom_callback(_method("eom"))
    milter.set_abort_callback(_method("abort"))
    milter.set_close_callback(Milter.close_callback)
    milter.setconn(f"unix:{path}")
    milter.settimeout(IDLE_SECONDS)
    milter.setbacklog(BACKLOG)
    milter.register(NAME, negotiate=Milter.negotiate_callback)


def _method(name: str) -> Callable[..., Any]:
    return lambda context, *arguments: getattr(context.getpriv(), name)(*arguments)
