"""The whole service as an operator starts it: `smtpeter up` with a real Postfix, and what leaves kept as files."""

import json
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dkim
import pytest

SECONDS = 30.0  # for anything to happen; nothing here takes a tenth of it on an idle machine


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below the range the kernel gives to outgoing connections."""
    found: list[int] = []
    candidate = 20_000 + os.getpid() % 8_000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        found.append(candidate)
    return found


@dataclass
class Login:
    """A login as the command made it."""

    name: str
    password: str
    account: str


@dataclass
class Captured:
    """A message as the next hop got it, and its envelope."""

    raw: bytes
    envelope: dict[str, Any]

    @property
    def identifiers(self) -> frozenset[bytes]:
        """The paths of its tracked links and pixel."""
        return frozenset(re.findall(rb"https?://clicks\.[^/\"]+/([^\"?]+)", self.body))

    @property
    def recipient(self) -> str:
        (recipient,) = self.envelope["rcpt_to"]
        return recipient["address"]

    @property
    def header(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


@dataclass
class Service:
    """A running `smtpeter up` in a folder of its own."""

    folder: Path
    smtp: int
    submission: int
    submissions: int
    web: int
    options: tuple[str, ...] = ()
    records: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    settings: Path | None = None

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def mail_log(self) -> str:
        return (self.data / "postfix" / "log" / "mail.log").read_text(errors="replace")

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.data / "tls" / "certificate.pem"))

    def start(self) -> None:
        ports = f"{self.smtp},{self.submission},{self.submissions}"
        where = () if "--relayhost" in self.options else ("--capture", str(self.outbox))
        with (self.folder / "log").open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                self.command(
                    *("up", "--listen", "127.0.0.1", "--ports", ports, "--web-port", str(self.web)), *where, *self.options
                ),
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: "smtpeter is ready" in self.log[before:] or self.process.poll() is not None, "smtpeter up")
        assert self.process.poll() is None, self.log

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(SECONDS * 2)
        self.process = None
        return status

    def command(self, *words: str) -> tuple[str, ...]:
        settings = () if self.settings is None else ("--settings", str(self.settings))
        return (sys.executable, "-m", "smtpeter", *settings, "--data", str(self.data), *words)

    def run(self, *words: str, status: int = 0) -> str:
        """The output of a subcommand; its exit status must be `status`."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def login(self, *options: str, account: str = "shop") -> Login:
        made = json.loads(self.run("login", "add", "--account", account, "--json", *options))
        return Login(name=made["name"], password=made["password"], account=account)

    def domain(self, name: str, *options: str, account: str = "shop") -> None:
        added = json.loads(self.run("domain", "add", name, "--account", account, "--json", *options))
        self.records |= {record["name"]: record["value"] for record in added["records"]}

    def client(self, login: Login | None = None, *, address: str = "127.0.0.1") -> smtplib.SMTP:
        """A session on the submission port after STARTTLS, logged in; it comes from `address`."""
        # With a name of its own, or the library asks the DNS for one.
        client = smtplib.SMTP(
            "localhost", self.submission, local_hostname="client.test", timeout=SECONDS, source_address=(address, 0)
        )
        try:
            client.starttls(context=self.trust)
            client.ehlo()
            if login is not None:
                client.login(login.name, login.password)
        except BaseException:
            client.close()
            raise
        return client

    def send(self, login: Login, message: bytes, recipients: tuple[str, ...] = ("reader@example.net",), **options: Any) -> str:
        """Sends one message and returns its queue id."""
        with self.client(login) as client:
            return submit(client, message, recipients, **options)

    def captured(self, queue_id: str) -> Captured:
        """The message that left under a queue id, once it has."""
        mark = f"id {queue_id}".encode()

        def look() -> Path | None:
            for path in sorted(self.outbox.glob("*.eml"), reverse=True):
                if mark in path.read_bytes():
                    return path
            return None

        path = wait_for(look, f"message {queue_id}")
        return Captured(raw=path.read_bytes(), envelope=json.loads(path.with_suffix(".json").read_text()))

    def copies(self, queue_id: str, count: int) -> list[Captured]:
        """All messages that left of one accepted under a queue id, once there are so many; each has one recipient."""
        mark = f"id {queue_id}".encode()

        def look() -> list[Path]:
            found = [path for path in sorted(self.outbox.glob("*.eml")) if mark in path.read_bytes()]
            return found if len(found) >= count else []

        # Where an earlier test ended what copies go to, Postfix rests before the next try (minimal_backoff_time, 60 s).
        paths = wait_for(look, f"{count} copies of {queue_id}", seconds=90)
        return [Captured(raw=path.read_bytes(), envelope=json.loads(path.with_suffix(".json").read_text())) for path in paths]

    def passed_on(self, queue_id: str) -> list[str]:
        """Postfix's log lines about copies of a message that the listener for them took."""
        return [line for line in self.mail_log.splitlines() if f"orig_queue_id={queue_id}," in line]

    def signed(self, message: Captured) -> bool:
        """Whether the signature of a domain of the service verifies."""
        records = {f"{record}.".encode(): value.encode() for record, value in self.records.items()}
        return bool(dkim.verify(message.raw, dnsfunc=lambda record, timeout=5: records.get(record)))

    def postfix(self, program: str, *words: str) -> str:
        """The output of one of Postfix's own commands on the service's Postfix."""
        command = (f"/usr/sbin/{program}", "-c", str(self.data / "postfix" / "etc"), *words)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def through(self, login: Login, message: bytes, **options: Any) -> Captured:
        """What leaves of a message."""
        return self.captured(self.send(login, message, **options))

    def events(self, queue_id: str) -> list[str]:
        """The milter's log lines about a message."""
        lines = (line for line in self.log.splitlines() if " smtpeter.milter[" in line and f"queue_id={queue_id} " in line)
        # A blank at the end, so that every word can be looked for with blanks around it.
        return [line.partition(": ")[2] + " " for line in lines]


def submit(
    client: smtplib.SMTP,
    message: bytes,
    recipients: tuple[str, ...] = ("reader@example.net",),
    *,
    mail_from: str = "news@example.com",
    mail_options: tuple[str, ...] = (),
    rcpt_options: tuple[str, ...] = (),
) -> str:
    """One transaction, the message as it is but for dots; the queue id, or SMTPResponseException."""
    steps = [f"MAIL FROM:<{mail_from}> {' '.join(mail_options)}".rstrip()]
    steps += [f"RCPT TO:<{recipient}> {' '.join(rcpt_options)}".rstrip() for recipient in recipients]
    for step in steps:
        code, text = client.docmd(step)
        if code != 250:
            client.rset()
            raise smtplib.SMTPResponseException(code, text)
    code, text = client.docmd("DATA")
    assert code == 354
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in message.split(b"\r\n"))
    client.send(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    code, text = client.getreply()
    if code != 250:
        raise smtplib.SMTPResponseException(code, text)
    return text.decode().rpartition(" ")[2]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first true value of `condition`."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > limit:
            pytest.fail(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def several() -> bytes:
    """A message with two links, to two readers and a blind one."""
    return (
        b"From: News <news@example.com>\r\nTo: anna@example.net, bob@example.org\r\nBcc: hidden@example.net\r\n"
        b"Subject: several\r\nX-SMTPeter-Tags: spring\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        b'<html><body><p><a href="https://www.example.com/offer?a=1">offer</a> <a href="https://www.example.com/">home</a></p>'
        b"</body></html>\r\n"
    )


@pytest.fixture(scope="session")
def wait() -> Callable[[Callable[[], Any], str], Any]:
    return wait_for


@pytest.fixture(scope="session")
def transaction() -> Callable[..., str]:
    return submit


@pytest.fixture(scope="session")
def make_service() -> Iterator[Callable[..., Service]]:
    """Makes services that are stopped at the end."""
    with ExitStack() as stack:

        def make(*options: str, started: bool = True) -> Service:
            # Not pytest's folder: it is closed to others, and the user postfix must pass through.
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="smtpeter-test-")))
            folder.chmod(0o711)
            service = Service(folder, *free_ports(4), options=options)
            stack.callback(lambda: service.process is None or service.stop())
            if started:
                service.start()
            return service

        yield make


@pytest.fixture(scope="session")
def service(make_service: Callable[..., Service]) -> Service:
    """One running service with an approved account `shop` that owns example.com, shared by the tests that only send."""
    made = make_service()
    made.run("account", "add", "shop", "--approve")
    made.domain("example.com")
    return made


@pytest.fixture(scope="session")
def login(service: Service) -> Login:
    """A login of `shop` with everything off."""
    return service.login()
