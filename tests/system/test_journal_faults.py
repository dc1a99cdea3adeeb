"""The journal under load while its database is stopped, locked, removed, its spool full, its processes killed.

Mail and clicks go on all the while. At the end everything accepted was delivered and is in the journal, once; the same for
every click that was answered. SMTPETER_OUTAGE is how many seconds a database is away.
"""

import http.client
import json
import os
import random
import re
import signal
import smtplib
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.system

OUTAGE = float(os.environ.get("SMTPETER_OUTAGE") or 3)
LINKS = 400
MESSAGE = b"From: news@example.com\r\nTo: %b\r\nContent-Type: text/html\r\n\r\n<a href='https://www.example.com/'>x</a>\r\n"
AGENT = {"Host": "clicks.example.com", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"}
KILLED_SECONDS = 0.25  # before its process is killed a click may be answered and not yet written: web.visits, and a busy machine


@dataclass
class Load:
    """People who send mail and people who click, until they are told to stop."""

    service: Any
    login: Any
    transaction: Callable[..., str]
    tag: str
    targets: list[tuple[str, str]]
    accepted: list[str] = field(default_factory=list)
    refused: list[tuple[str, int, float]] = field(default_factory=list)
    clicked: list[tuple[str, float]] = field(default_factory=list)
    failed: list[tuple[str, object, float]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, senders: int = 2, clickers: int = 2) -> Iterator[None]:
        threads = [threading.Thread(target=self.send, args=(number,)) for number in range(senders)]
        threads += [threading.Thread(target=self.click, args=(number,)) for number in range(clickers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def send(self, number: int) -> None:
        count = 0
        while not self.stop.is_set():
            try:
                with self.service.client(self.login) as client:
                    before = len(self.refused)
                    # Postfix ends a session after five errors.
                    while not self.stop.wait(0.03) and len(self.refused) < before + 3:
                        count += 1
                        recipient = f"{self.tag}-{number}-{count}@example.net"
                        try:
                            self.transaction(client, MESSAGE % recipient.encode(), (recipient,))
                        except smtplib.SMTPResponseException as refusal:
                            self.refused.append((recipient, refusal.smtp_code, time.time()))
                        except (smtplib.SMTPException, OSError):
                            self.refused.append((recipient, 0, time.time()))
                            break
                        else:
                            self.accepted.append(recipient)
            except (smtplib.SMTPException, OSError):
                self.refused.append(("", 0, time.time()))
                self.stop.wait(0.1)

    def click(self, number: int) -> None:
        targets = random.Random(number).sample(self.targets, len(self.targets))
        while not self.stop.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", self.service.web, timeout=20)) as connection:
                for path, destination in targets:
                    if self.stop.wait(0.01):
                        return
                    try:
                        connection.request("GET", path, headers=AGENT)
                        answer = connection.getresponse()
                        answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        self.failed.append((destination, error, time.time()))
                        break
                    if (answer.status, answer.getheader("Location")) == (302, destination):
                        self.clicked.append((destination, time.time()))
                    else:
                        self.failed.append((destination, answer.status, time.time()))

    def wait_for_more(self, wait: Callable[..., Any], messages: int = 20, clicks: int = 50) -> None:
        """Until more was accepted and answered than by now."""
        sent, seen = len(self.accepted) + messages, len(self.clicked) + clicks
        wait(lambda: len(self.accepted) >= sent and len(self.clicked) >= seen, "more mail and clicks")


class Accounts:
    """What the journal and the next hop have of a load."""

    def __init__(self, service: Any, wait: Callable[..., Any], load: Load) -> None:
        self._load = load
        wait(lambda: drained(service), "the end of the drain")
        attempts = [row["recipient"] for row in self._export(service, "attempts")]
        self.attempts = Counter(name for name in attempts if name.startswith(f"{load.tag}-"))
        clicks = [row["destination"] for row in self._export(service, "clicks")]
        self.clicks = Counter(url for url in clicks if f"/{load.tag}/" in url)
        wait(lambda: set(load.accepted) <= set(self._delivered(service)), "the delivery of all mail")
        self.delivered = self._delivered(service)

    def check(self) -> None:
        """Everything accepted or answered is there once, and nothing else."""
        assert self.attempts == Counter(self._load.accepted)
        assert self.delivered == Counter(self._load.accepted)
        assert self.clicks == Counter(destination for destination, _ in self._load.clicked)

    @staticmethod
    def _export(service: Any, kind: str) -> list[dict[str, Any]]:
        days = {datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in (time.time() - 600, time.time())}
        texts = [service.run("journal", "export", "--type", kind, "--date", day, "--format", "json") for day in days]
        return [row for text in texts for row in json.loads(text)]

    def _delivered(self, service: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        for path in service.outbox.glob("*.json"):
            try:
                recipients = json.loads(path.read_text())["rcpt_to"]
            except ValueError:
                continue  # being written
            found.update(each["address"] for each in recipients if each["address"].startswith(f"{self._load.tag}-"))
        return found


def prepare(service: Any) -> None:
    service.run("account", "add", "shop", "--approve")
    service.domain("example.com")


@pytest.fixture
def load(wait, transaction) -> Callable[[Any, str], Load]:
    """Makes a load on a service, with the links of a mail of its own."""

    def make(service: Any, tag: str) -> Load:
        login = service.login("trackclicks=true")
        destinations = [f"https://www.example.com/{tag}/{number}?a={number}" for number in range(LINKS)]
        body = "".join(f'<a href="{url}">x</a>\r\n' for url in destinations).encode()
        raw = b"From: news@example.com\r\nContent-Type: text/html\r\n\r\n" + body
        left = service.through(login, raw, recipients=("clicker@example.net",))
        urls = [urlsplit(unescape(url)) for url in re.findall(r'href="([^"]+)"', left.body.decode())]
        assert len(urls) == LINKS
        targets = [(f"{url.path}?{url.query}", destination) for url, destination in zip(urls, destinations, strict=True)]
        return Load(service, login, transaction, tag, targets)

    return make


@pytest.fixture(scope="module")
def sturdy(make_service) -> Iterator[Any]:
    """A service with SQLite, its spool on a small disk of its own."""
    service = make_service()
    prepare(service)
    service.stop()
    spool = service.data / "spool"
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16m,mode=0750", "tmpfs", str(spool)), check=True)
    try:
        service.start()
        yield service
        if service.process is not None:
            service.stop()
    finally:
        subprocess.run(("umount", str(spool)), check=True)


def drained(service: Any) -> bool:
    """Whether the journal has everything that was written down."""
    done = subprocess.run(service.command("journal", "status", "--json"), capture_output=True, text=True, check=False)
    status = json.loads(done.stdout) if done.returncode == 0 else {}
    assert status.get("set aside", 0) == 0
    return bool(status) and status["waiting octets"] == 0


def processes(service: Any, name: str) -> list[int]:
    """The processes of that name, or for the milter its workers."""
    (*_, started) = re.findall(rf" {name}: started, pid (\d+)", service.log)
    if name != "milter":
        return [int(started)]
    return [int(word) for word in Path(f"/proc/{started}/task/{started}/children").read_text().split()]


def waits(service: Any, since: int) -> bool:
    return "the journal waits" in service.log[since:]


def test_postgresql_stopped_under_load(make_service, postgresql, load, wait) -> None:
    service = make_service()
    service.stop()
    service.settings = service.folder / "settings.toml"
    service.settings.write_text(f'data = "{service.data}"\n[journal]\ndatabase = "{postgresql.database()}"\n')
    service.start()
    prepare(service)
    burden = load(service, "stopped")
    with burden.running():
        burden.wait_for_more(wait)
        since = len(service.log)
        postgresql.stop()
        end = time.monotonic() + OUTAGE
        wait(lambda: waits(service, since), "the journal without its database")
        burden.wait_for_more(wait)
        burden.stop.wait(max(0.0, end - time.monotonic()))
        postgresql.start()
        burden.wait_for_more(wait)
    assert (burden.refused, burden.failed) == ([], [])
    Accounts(service, wait, burden).check()
    service.stop()


def test_sqlite_locked_by_somebody_else_under_load(sturdy, load, wait) -> None:
    burden = load(sturdy, "locked")
    with burden.running():
        burden.wait_for_more(wait)
        since = len(sturdy.log)
        with closing(sqlite3.connect(sturdy.data / "journal.db", isolation_level=None, timeout=20)) as other:
            other.execute("BEGIN EXCLUSIVE")
            end = time.monotonic() + OUTAGE
            wait(lambda: waits(sturdy, since), "the journal without its database")
            burden.wait_for_more(wait)
            burden.stop.wait(max(0.0, end - time.monotonic()))
            other.execute("ROLLBACK")
        burden.wait_for_more(wait)
    assert (burden.refused, burden.failed) == ([], [])
    Accounts(sturdy, wait, burden).check()


def test_sqlite_removed_and_made_anew(sturdy, load, wait) -> None:
    burden = load(sturdy, "removed")
    wait(lambda: drained(sturdy), "the end of the drain")
    since = len(sturdy.log)
    for path in sturdy.data.glob("journal.db*"):
        path.unlink()
    with burden.running():
        wait(lambda: waits(sturdy, since), "the journal without its database")
        burden.wait_for_more(wait)
        # A new one is made at the next start, not behind the back of somebody who is about to put a backup there.
        assert not (sturdy.data / "journal.db").exists()
        (journal,) = processes(sturdy, "journal")
        os.kill(journal, signal.SIGTERM)
        burden.wait_for_more(wait)
    assert (burden.refused, burden.failed) == ([], [])
    Accounts(sturdy, wait, burden).check()


def test_a_full_spool_refuses_mail_and_no_visitor(sturdy, load, wait) -> None:
    burden = load(sturdy, "full")
    filler = sturdy.data / "spool" / "filler"
    with burden.running():
        burden.wait_for_more(wait)
        full = time.time()
        try:
            with filler.open("wb", buffering=0) as file:

                def fill() -> bool:
                    # What the drain gives back is taken at once.
                    try:
                        while file.write(bytes(4096)):
                            pass
                    except OSError:
                        pass
                    return len([at for _, _, at in burden.refused if at > full]) >= 5

                wait(fill, "the first refusals")
                answered = len(burden.clicked)
                wait(lambda: fill() and len(burden.clicked) > answered + 100, "clicks without a place to write")
        finally:
            since = len(sturdy.log)
            filler.unlink()
        again = re.compile(r"visits are written again; \d+ wait, 0 were given up")
        wait(lambda: again.search(sturdy.log[since:]), "the clicks that waited")
        burden.wait_for_more(wait)
    assert burden.failed == []
    assert {code for _, code, _ in burden.refused} == {451}
    Accounts(sturdy, wait, burden).check()


def test_processes_killed_under_load(sturdy, load, wait) -> None:
    burden, choice, killed = load(sturdy, "killed"), random.Random(11), []
    with burden.running(senders=4):
        burden.wait_for_more(wait)
        for victim in ("journal", "milter", "web", "milter", "journal", "milter", "web"):
            try:
                os.kill(choice.choice(processes(sturdy, victim)), signal.SIGKILL)
                killed.append((victim, time.time()))
            except (ProcessLookupError, FileNotFoundError, IndexError):
                continue  # it is being started again
            burden.wait_for_more(wait)
    assert {victim for victim, _ in killed} == {"journal", "milter", "web"}
    assert all(code in (0, 421, 451) for _, code, _ in burden.refused), burden.refused
    accounts = Accounts(sturdy, wait, burden)
    accepted, unsure = set(burden.accepted), {name for name, _, _ in burden.refused}
    # A message whose worker died may have been written down, and is then sent again by its client.
    assert accepted <= accounts.attempts.keys() <= accepted | unsure
    assert accounts.delivered == Counter(accepted)
    assert set(accounts.attempts.values()) == {1}
    clicks = Counter(destination for destination, _ in burden.clicked)
    broken = Counter(destination for destination, _, _ in burden.failed)
    assert accounts.clicks - clicks - broken == Counter()
    ends = [at for victim, at in killed if victim == "web"]
    late = [url for url, at in burden.clicked if any(end - KILLED_SECONDS < at < end + KILLED_SECONDS for end in ends)]
    assert clicks - accounts.clicks - Counter(late) == Counter()
