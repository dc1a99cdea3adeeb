"""Does the whole service work? Canaries go in as a customer's mail, come back as a recipient's, and their links are followed."""

import fcntl
import json
import logging
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filters.sign_dkim import verify
from journal.store import JournalStore
from policy.log_line import shown
from policy.stores import StoreUnavailable
from smtpeter import database, durable, wiring
from smtpeter.canary_inbox import Inbox, listening
from smtpeter.canary_message import Canary, control_fields, links
from smtpeter.canary_route import Entrance, Failed, entrances, follow
from smtpeter.errors import UserError
from smtpeter.mail_queue import postqueue
from smtpeter.process import mail_group
from smtpeter.settings import Settings

SOCKET = "canary"
PATIENCE = 60.0  # seconds for each canary to come back, and for each visit to be in the journal
TURN = 240.0  # seconds to wait for another run to end
LOOK = 0.1  # seconds between two looks

_log = logging.getLogger("smtpeter.canary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: `status` is ok or error, `seconds` how long it took, `advice` what was seen."""

    what: str
    status: str
    seconds: float
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beforehand: the key records by name, where links must lead, the credentials, the journal."""

    records: dict[str, str]
    click_host: str
    login: str
    password: str = field(repr=False)
    journal: JournalStore


def run(settings: Settings, *, public: bool = False, patience: float = PATIENCE) -> tuple[Check, ...]:
    """Sends a canary through the port for STARTTLS and the one for TLS; the checks in their order, also kept for the metrics.

    `public` follows links by their public host. Raises UserError where nothing can be tried.
    """
    known, (began, started) = _known(settings), (time.monotonic(), time.time())
    try:
        doors = entrances(settings, wiring.ports(settings))
    except (OSError, ValueError) as error:
        raise UserError(f"the certificate {settings.certificate} cannot be read: {error}") from error
    with closing(known.journal), _alone(settings.run), listening(settings.run / SOCKET, mail_group()) as inbox:
        _call_back(settings)
        trips = [Trip(settings=settings, known=known, inbox=inbox, door=door, public=public, patience=patience) for door in doors]
        checks = [check for trip in trips for check in trip.checks()]
        checks += [check for trip in trips for check in trip.last_checks()]
        left = [trip.queue_id for trip in trips if trip.queue_id and not trip.arrived]
    wrong = ", ".join(f"{check.what}: {check.advice}" for check in checks if check.status != "ok")
    seconds = time.monotonic() - began
    level, verdict = (logging.ERROR, "failed") if wrong else (logging.INFO, "ok")
    _log.log(level, "verdict=%s seconds=%.1f wrong=%s", verdict, seconds, shown(wrong))
    rows = [asdict(check) for check in checks]
    _keep(settings, {"time": started, "ok": not wrong, "seconds": seconds, "checks": rows, "left": left})
    return tuple(checks)


@dataclass(slots=True, kw_only=True)
class Trip:
    """One canary's way through one port."""

    settings: Settings
    known: Known
    inbox: Inbox
    door: Entrance
    public: bool
    patience: float
    queue_id: str = ""
    arrived: bool = False
    canary: Canary = field(init=False)

    def __post_init__(self) -> None:
        sender, recipient = self.settings.canary_sender, self.settings.canary_recipient
        self.canary = Canary(token=secrets.token_hex(16), sender=sender, recipient=recipient)
        self.inbox.expect(self.canary.token)

    def checks(self) -> Iterator[Check]:
        """What can be seen one after the other; what stands on a failed one is not tried."""
        accepted = self._check("accepted", self._send)
        yield accepted
        if accepted.status != "ok":
            return
        delivered = self._check("delivered", self._wait)
        yield delivered
        if delivered.status != "ok":
            return
        raw = self.inbox.arrived(self.canary.token)[0]
        yield self._check("stripped", lambda: self._stripped(raw))
        yield self._check("signed", lambda: self._signed(raw))
        tracked = self._check("tracked", lambda: self._tracked(raw))
        yield tracked
        if tracked.status == "ok":
            redirected = self._check("redirected", lambda: self._redirected(raw))
            yield redirected
            if redirected.status == "ok":
                yield self._check("recorded", self._recorded)

    def last_checks(self) -> Iterator[Check]:
        """What can only be told at the end."""
        if self.arrived:
            yield self._check("once", self._once)

    def _check(self, name: str, look: Callable[[], str]) -> Check:
        began = time.monotonic()
        try:
            advice, status = look(), "ok"
        except Failed as error:
            advice, status = str(error), "error"
        return Check(what=f"{self.door.port} {name}", status=status, seconds=round(time.monotonic() - began, 3), advice=advice)

    def _send(self) -> str:
        self.queue_id = self.door.send(self.canary, self.known.login, self.known.password)
        return self.queue_id

    def _wait(self) -> str:
        self.arrived = self.inbox.wait(self.canary.token, time.monotonic() + self.patience) is not None
        if not self.arrived:
            raise Failed(f"it did not come back within {self.patience:g} s; Postfix's log tells of {self.queue_id}")
        return ""

    def _once(self) -> str:
        count = len(self.inbox.arrived(self.canary.token))
        if count != 1:
            raise Failed(f"it came {count} times")
        return ""

    def _stripped(self, raw: bytes) -> str:
        found = control_fields(raw)
        if found:
            raise Failed(f"control fields were left: {', '.join(found)}")
        return ""

    def _signed(self, raw: bytes) -> str:
        if not verify(raw, self.known.records):
            domain = self.settings.canary_sender.rpartition("@")[2]
            raise Failed(f"no signature of a key for {domain} verifies; `smtpeter domain list` shows the keys")
        return ""

    def _tracked(self, raw: bytes) -> str:
        link = (links(raw) or [""])[0]
        if link == self.canary.destination:
            raise Failed(f"the link was left as it is; `smtpeter trace {self.queue_id}` tells why")
        if urlsplit(link).netloc != self.known.click_host:
            raise Failed(f"the link leads to {urlsplit(link).netloc or 'nowhere'}, not to {self.known.click_host}")
        return self.known.click_host

    def _redirected(self, raw: bytes) -> str:
        place = follow(links(raw)[0], self.settings, public=self.public)
        if place != self.canary.destination:
            raise Failed(f"its visitor is sent to {place or 'nowhere'}, not to {self.canary.destination}")
        return ""

    def _recorded(self) -> str:
        until = time.monotonic() + self.patience
        while True:
            try:
                messages = self.known.journal.messages_by(queue_id=self.queue_id)
                visits = self.known.journal.visits_of([message.id for message in messages])
            except StoreUnavailable as error:
                raise Failed(str(error)) from error
            if visits:
                break
            if time.monotonic() > until:
                raise Failed(f"the visit is not in the journal after {self.patience:g} s; `smtpeter journal status` tells more")
            time.sleep(LOOK)
        if not all(visit.machine for visit in visits):
            raise Failed("it is counted as a person's")
        return ""


def _known(settings: Settings) -> Known:
    """What is known beforehand. Raises UserError."""
    name, file = settings.canary.login, settings.canary.password_file
    if not name or file is None:
        raise UserError("there is no canary: set login and password_file in [canary]")
    try:
        password = file.read_text().rstrip("\n")
    except OSError as error:
        raise UserError(f"the password of the canary {file} cannot be read: {error.strerror}") from error
    store = database.open_database(settings)
    login = store.login(name)
    accounts = [account.name for account in store.accounts()] if login is None else [login.account]
    keys = [key for account in accounts for key in store.signing_keys(account)]
    sender = settings.canary_sender.rpartition("@")[2]
    own = next((domain.clicks for domain in store.domains() if domain.name == sender and domain.clicks), "")
    store.close()
    return Known(
        records={f"{key.selector}._domainkey.{key.domain}": key.record_text for key in keys},
        click_host=own or settings.click_host,
        login=name,
        password=password,
        journal=database.open_journal(settings),
    )


def _call_back(settings: Settings) -> None:
    """Has Postfix bring what earlier runs left behind; it is thrown away. Where that fails it ends by itself, after a day."""
    with suppress(OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        for queue_id in json.loads(settings.canary_file.read_text())["left"]:
            command = postqueue(settings.postfix_config, "-i", str(queue_id))
            subprocess.run(command, capture_output=True, timeout=10, check=False)


def _keep(settings: Settings, result: dict[str, object]) -> None:
    path = settings.canary_file
    try:
        path.parent.mkdir(mode=0o770 if settings.group else 0o700, exist_ok=True)
        durable.replace(path, json.dumps(result).encode(), 0o640)
    except OSError as error:
        _log.error("%s cannot be written: %s", path, error.strerror)  # noqa: TRY400  # a sentence says it


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time: they share a socket. Raises UserError where the other one does not end."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be opened: {error.strerror}; is the service running?") from error
    try:
        until = time.monotonic() + TURN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise UserError("another canary is on its way and does not come back") from error
                time.sleep(LOOK)
        yield
    finally:
        os.close(descriptor)
