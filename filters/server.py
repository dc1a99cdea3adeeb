"""The milter: collects what Postfix sends, has the job done elsewhere, and sends the edits. The only import of Milter.

Callbacks collect bytes and send edits, nothing else. A message is answered in one of three ways: edits and CONTINUE at
the end of the body; a refusal with its own text; 451 for everything unexpected, so that nothing of the attempt is sent.
ACCEPT is never returned: Postfix would stop asking for this session.

Mail from a client comes from a login; a copy of a split message comes over a listener of our own, which is told apart by a
name that Postfix gives it (master.cf) and no client can choose.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import Milter
import milter

from filters import metrics
from filters.job import Envelope
from filters.mail.edits import Edit, InsertField, RemoveField, ReplaceBody
from filters.mail.message import Field, Message
from filters.passes import Accepted, Passes, Received
from filters.prefork import BEAT, Prefork
from filters.report import report
from filters.runner import Ledger, Runner
from policy import access
from policy.log_line import shown
from policy.overseer import Overseer
from policy.reply import TROUBLE, Refused, Reply
from policy.stores.usage import Seat
from policy.usage import Holder, holders

log = logging.getLogger("smtpeter.milter")

NAME = "smtpeter"
INTERNAL = "INTERNAL"  # {daemon_name} of the listener for copies
IDLE_SECONDS = 7200  # how long libmilter keeps a session Postfix says nothing on
REST_SECONDS = 60.0  # between two looks at what lies in the spool
BACKLOG = 512  # connections that wait for a worker


class Session(Milter.Base):
    """One SMTP session, as seen by one worker."""

    runner: Runner
    passes: Passes

    def __init__(self) -> None:
        self._seat: Seat | None = None  # where sessions are counted, this one from its first message on
        self._reset()
        metrics.sessions.inc()

    def _reset(self) -> None:
        self._pass: Callable[[Received], Accepted] | None = None
        self._holders: tuple[Holder, ...] = ()
        self._who = ""
        self._login: str | None = None  # None for a copy
        self._mail_from = ""
        self._rcpt_to: list[str] = []
        self._fields: list[Field] = []
        self._body: list[bytes] = []

    def envfrom_bytes(self, mail_from: bytes, *_parameters: bytes) -> int:
        """MAIL: who is this, and may it send?"""
        self._reset()
        self._mail_from = _address(mail_from)
        if self.getsymval("{daemon_name}") == INTERNAL:
            # Who may send a copy is what its ticket says, at the end of the message.
            self._pass, self._who = self.passes.second, f"listener={INTERNAL}"
            return int(Milter.CONTINUE)
        name, senders = "", self.passes.senders
        try:
            name = self.getsymval("{auth_authen}") or ""
            port = self.getsymval("{daemon_port}") or ""
            address = self.getsymval("{client_addr}") or ""
            place = access.Session(address=address, port=int(port) if port.isdecimal() else 0, now=int(time.time()))
            # Most sessions are of a sender just seen: no trip to the other thread for them.
            sender = senders.recall(name, place)
            (metrics.miss if sender is None else metrics.hit).inc()
            sender = sender or self.runner.ask(partial(senders.authorise, name, place))
            self._holders = holders(sender.login, sender.account)
            self._seat = self._seat or self.passes.limiter.enter(self._holders)
        except Refused as refusal:
            log.info("login=%s verdict=refused reply=%s", shown(name), shown(str(refusal)))
            metrics.refused(name, refusal.reply)
            return self._refuse(refusal.reply)
        except Exception:
            log.exception("verdict=failed stage=MAIL")
            metrics.refused(name, None)
            return self._refuse(TROUBLE)
        self._login = name
        self._pass, self._who = partial(self.passes.first, sender), f"login={sender.login.name}"
        return int(Milter.CONTINUE)

    envfrom = envfrom_bytes

    @Milter.noreply
    def envrcpt(self, recipient: str, *_parameters: str) -> int:
        """RCPT: Postfix tells of the accepted ones only."""
        written = _address(recipient.encode(errors="surrogateescape"))
        # Both passes must know a recipient by one address: Postfix's own form, without route and needless quotes, which is
        # what stands in the queue. It is in lower case; where that is all, the address is kept as it was written.
        try:
            resolved = self.getsymval("{rcpt_addr}") or written
        except UnicodeDecodeError:
            resolved = written
        self._rcpt_to.append(written if written.casefold() == resolved.casefold() else resolved)
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
        run, who, login = self._pass, self._who, self._login
        if run is None:
            # Postfix went on after a rejected message without a new MAIL (seen on 3.7.11).
            log.error("queue_id=%s verdict=failed reason=%s", queue_id, shown("end of message without its own MAIL"))
            metrics.refused("", None)
            return self._refuse(TROUBLE)
        try:
            with ExitStack() as undo, metrics.timed(metrics.message_seconds):
                accepted = self._run(queue_id, run, undo)
                for edit in accepted.result.edits:
                    self._send(edit)
                undo.pop_all()
        except Refused as refusal:
            log.info("queue_id=%s %s verdict=refused reply=%s", queue_id, who, shown(str(refusal)))
            metrics.refused(login, refusal.reply)
            return self._refuse(refusal.reply)
        except Exception:
            log.exception("queue_id=%s %s verdict=failed", queue_id, who)
            metrics.refused(login, None)
            return self._refuse(TROUBLE)
        finally:
            self._reset()
        for line in report(queue_id, accepted.result):
            log.info(line)
        metrics.accepted(accepted.result)
        return int(Milter.CONTINUE)

    def abort(self) -> int:
        """The transaction was given up."""
        self._reset()
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """The session ended."""
        self._reset()
        if self._seat is not None:
            self.passes.limiter.leave(self._seat)
            self._seat = None
        metrics.sessions.dec()
        return int(Milter.CONTINUE)

    def _run(self, queue_id: str, run: Callable[[Received], Accepted], undo: ExitStack) -> Accepted:
        """What one of the passes makes of the message, after all that must be kept of it is on disk, and it is counted.

        `undo` gets what takes that back.
        """
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        received = Received(
            queue_id=queue_id,
            envelope=Envelope(mail_from=self._mail_from, rcpt_to=tuple(self._rcpt_to)),
            message=Message(tuple(self._fields), body),
        )
        limiter = self.passes.limiter
        if not any(holder.counted for holder in self._holders):
            return self.runner.work(received.message.lasting(), partial(run, received), self.passes.keep)
        # Between its two parts, off the job thread: the usage database is nothing that others should wait for.
        accepted = self.runner.work(received.message.lasting(), partial(run, received))
        taken = limiter.take(self._holders, len(accepted.result.job.recipients))
        if taken is not None:
            undo.callback(limiter.give_back, taken)
        self.runner.ask(partial(self.passes.keep, accepted))
        return accepted

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


def _address(argument: bytes) -> str:
    return argument.decode("utf-8", "replace").removeprefix("<").removesuffix(">")


def serve(
    path: Path,
    *,
    group: str | None,
    workers: int,
    deadline: float,
    make_passes: Callable[[int], Passes],
    rehearse: Callable[[], None],
    overseer: Overseer | None = None,
) -> None:
    """Serves the milter protocol on the unix socket `path` until SIGTERM. Returns after the last worker ended.

    `group` may connect besides the owner. `make_passes` is called with each worker's number, after the fork;
    `rehearse` before it, to do once what the first messages would do in every worker: what it leaves in memory is shared.
    `overseer` is told how it goes.
    """
    ledger = Ledger(workers)

    def work(index: int) -> None:
        metrics.began()
        Session.runner = Runner(
            ledger, index, deadline, job_seconds=metrics.job_seconds.observe, beat=partial(prefork.pulses.beat, index)
        )
        Session.passes = Session.runner.ask(partial(make_passes, index))
        threading.Thread(target=_rest, args=(Session.passes,), daemon=True).start()
        threading.Thread(target=_beat, args=(Session.runner,), daemon=True).start()
        milter.main()

    prefork = Prefork(workers, ledger, work, overseer)
    _register(path)
    mask = os.umask(0o117)
    milter.opensocket(True)
    os.umask(mask)
    if group is not None:
        shutil.chown(path, group=group)
    rehearse()
    log.info("socket=%s workers=%d ready", path, workers)
    prefork.run()


def _rest(passes: Passes) -> None:
    """Goes on for as long as the worker lives: one that has nothing to do would leave its last records where they are.

    It begins with the sessions of the worker before it, which ended with that one.
    """
    while True:
        passes.limiter.renew()
        time.sleep(REST_SECONDS)
        passes.rest()


def _beat(runner: Runner) -> None:
    """Gives the job thread something to end while no mail comes: that it does is how the parent knows that it can."""
    while True:
        runner.ask(lambda: None)
        time.sleep(BEAT)


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
