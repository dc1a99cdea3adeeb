"""The numbers of a whole service, as Prometheus gets them: exactly what was sent, whoever dies meanwhile and whatever hangs."""

import base64
import http.client
import json
import os
import re
import signal
import smtplib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from policy.click_hosts import HostHealth
from smtpeter.probe import write
from smtpeter.settings import load

pytestmark = pytest.mark.system

ROLE = Path("ansible") / "roles" / "smtpeter" / "files"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"
MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: hello\r\n\r\nsecret words\r\n"
LINKED = (
    MESSAGE.replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n")
    + b'<a href="https://www.example.com/offer">offer</a>\r\n'
)
SECONDS = 10.0  # for an answer, whatever hangs; Prometheus waits as long
BAD_HOST = "links.bad.example.net"

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Scraped:
    """What was shown at one moment."""

    numbers: Numbers
    text: str

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of what has these labels, 0 where nothing has."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.numbers.items() if found == name and wanted <= has)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> Scraped:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        text = answer.read().decode()
    finally:
        connection.close()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    numbers = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(numbers) == len(samples)
    return Scraped(numbers=numbers, text=text)


def shown(port: int) -> bool:
    """Whether somebody shows numbers there yet."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def visit(service: Any, link: str, agent: str) -> None:
    parts = urlsplit(link)
    connection = http.client.HTTPConnection("127.0.0.1", service.web, timeout=30)
    connection.request("GET", parts.path, headers={"Host": parts.netloc, "User-Agent": agent})
    connection.getresponse().read()
    connection.close()


def refused(service: Any, login: Any, **options: Any) -> int:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        service.send(login, options.pop("message", MESSAGE), **options)
    return int(caught.value.smtp_code)


def guess(service: Any, name: str, password: str) -> None:
    with smtplib.SMTP("localhost", service.submission, local_hostname="guesser.test", timeout=30) as client:
        client.starttls(context=service.trust)
        client.ehlo()
        response = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {response}")[0] == 535  # the library would try another mechanism, too


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def milter(service: Any) -> int:
    """The process that the workers are children of."""
    return int(re.findall(r"milter: started, pid (\d+)", service.log)[-1])


@dataclass
class Measured:
    """A service with metrics, and what it showed before and after a busy minute."""

    service: Any
    port: int
    login: Any = None
    limited: Any = None
    canary: Any = None
    before: Scraped = field(init=False)
    after: Scraped = field(init=False)

    def grown(self, name: str, **labels: str) -> float:
        return self.after(name, **labels) - self.before(name, **labels)


def configure(service: Any, port: int, *lines: str) -> None:
    service.settings = service.folder / "settings.toml"
    head = ('hostname = "mail.example.test"', "[metrics]", f"port = {port}", "[web]", "https = false", f"port = {service.web}")
    service.settings.write_text("\n".join((*head, *lines, "")))


@pytest.fixture(scope="module")
def measured(make_service: Callable[..., Any], wait: Callable[..., Any], several: bytes) -> Measured:
    made = make_service(started=False)
    found = Measured(service=made, port=free_port())
    configure(made, found.port)
    # Made before the start, so that the settings can name them.
    made.run("account", "add", "shop", "--approve")
    made.domain("example.com", "--clicks", "")
    made.domain("mail.example.test", "--clicks", "")
    found.login, found.limited = made.login("trackclicks=true"), made.login("--limit", "messages-hour=1")
    found.canary = made.login("--sender", "canary@mail.example.test")
    secret = made.folder / "canary"
    secret.write_text(found.canary.password)
    configure(made, found.port, "[canary]", f'login = "{found.canary.name}"', f'password_file = "{secret}"')
    made.start()
    made.outbox.mkdir(exist_ok=True)
    wait(lambda: shown(found.port) and scrape(found.port)("smtpeter_processes", process="milter") >= 2, "the workers")
    found.before = scrape(found.port)
    busy(found, several, wait)
    found.after = scrape(found.port)
    return found


def busy(found: Measured, several: bytes, wait: Callable[..., Any]) -> None:
    """What the numbers are to tell of."""
    made, login = found.service, found.login
    for _ in range(3):
        queue_id = made.send(login, LINKED)
    made.send(login, several, ("anna@example.net", "bob@example.org"))
    made.send(found.limited, MESSAGE)
    assert refused(made, found.limited) == 450  # before the message
    assert refused(made, login, message=MESSAGE.replace(b"\r\nTo:", b"\r\nFrom: other@example.com\r\nTo:")) == 550  # after it
    guess(made, login.name, "wrong password")
    guess(made, login.name, "another wrong one")
    guess(made, "0123456789abcdef" * 2, "of nobody")
    link = unescape(re.findall(rb'href="([^"]+)"', made.captured(queue_id).body)[0].decode())
    visit(made, link, PERSON)
    visit(made, link, PERSON)
    visit(made, link, "curl/8")
    made.run("check", "--live")
    made.run("backup", str(made.folder))
    settings = load(made.settings, made.data)
    write(settings, [HostHealth(host=BAD_HOST, https=True, certificates=True, links=False, reason="x")], int(time.time()))
    worker = children(milter(made))[0]
    os.kill(worker, signal.SIGKILL)
    wait(lambda: f"pid={worker} ended: SIGKILL" in made.log, "the end of a worker")
    wait(lambda: scrape(found.port)("smtpeter_processes", process="milter") >= 2, "a new worker")
    wait(lambda: scrape(found.port)("smtpeter_journal_records_total", kind="click") >= 5, "the clicks in the journal")


def test_messages_are_counted_by_login_and_verdict(measured: Measured) -> None:
    name = measured.login.name
    assert measured.grown("smtpeter_messages_total", login=name, verdict="accepted") == 4
    assert measured.grown("smtpeter_messages_total", login=name, verdict="refused") == 1
    assert measured.grown("smtpeter_messages_total", login=name) == 5
    assert measured.grown("smtpeter_messages_total", login=measured.limited.name) == 1
    assert measured.grown("smtpeter_messages_total", login=measured.canary.name, verdict="accepted") == 2
    assert measured.grown("smtpeter_message_recipients_total", login=name) == 5
    assert measured.grown("smtpeter_copies_total", verdict="accepted") == 2
    assert measured.grown("smtpeter_copies_total") == 2
    assert measured.grown("smtpeter_message_seconds_count") == 10
    assert measured.grown("smtpeter_job_seconds_count") == 10
    assert measured.grown("smtpeter_features_total", feature="trackclicks", outcome="applied") == 3 + 2 + 2
    assert measured.grown("smtpeter_signatures_total", outcome="signed") == 3 + 2 + 2 + 1
    assert measured.after("smtpeter_sessions") == 0


def test_recipients_are_counted_by_verdict(measured: Measured) -> None:
    assert measured.grown("smtpeter_policy_verdicts_total", verdict="accepted") == 3 + 2 + 1 + 1 + 2
    assert measured.grown("smtpeter_policy_verdicts_total", verdict="450 4.7.1") == 1
    assert measured.grown("smtpeter_policy_verdicts_total") == 10


def test_wrong_and_unknown_are_told_apart(measured: Measured) -> None:
    assert measured.grown("smtpeter_auth_attempts_total", verdict="wrong", service="smtp") == 2
    assert measured.grown("smtpeter_auth_attempts_total", verdict="unknown", service="smtp") == 1
    accepted = 4 + 1 + 2  # sessions that sent something
    assert measured.grown("smtpeter_auth_attempts_total", verdict="ok", service="smtp") == accepted + 2
    assert measured.grown("smtpeter_auth_attempts_total") == accepted + 2 + 3
    cached = measured.grown("smtpeter_auth_cache_total", result="hit")
    missed = measured.grown("smtpeter_auth_cache_total", result="miss")
    assert cached + missed == accepted + 2 + 2  # an unknown login is not looked for there
    assert measured.grown("smtpeter_auth_comparison_seconds_count", by="hash") == missed + 1


def test_visits_and_records_are_counted_by_kind(measured: Measured) -> None:
    assert measured.grown("smtpeter_visits_total", kind="click", by="person") == 2
    assert measured.grown("smtpeter_visits_total", kind="click", by="machine") == 1 + 2  # two canaries
    assert measured.grown("smtpeter_visits_total", kind="open") == 0
    assert measured.grown("smtpeter_journal_records_total", kind="click") == 5
    assert measured.grown("smtpeter_journal_records_total", kind="attempt") == 3 + 2 + 1 + 2
    assert measured.grown("smtpeter_journal_records_total", kind="copy") == 2
    assert measured.after("smtpeter_spool_octets") == 0
    assert measured.after("smtpeter_spool_oldest_seconds") == 0


def test_the_death_of_a_worker_is_counted_and_takes_nothing_away(measured: Measured) -> None:
    assert measured.grown("smtpeter_worker_deaths_total", cause="SIGKILL") == 1
    assert measured.grown("smtpeter_worker_deaths_total") == 1
    assert measured.grown("smtpeter_worker_starts_total") == 1
    assert measured.after("smtpeter_processes", process="milter") == measured.before("smtpeter_processes", process="milter")


def test_nothing_falls_when_all_workers_and_their_parent_are_killed(measured: Measured, wait: Callable[..., Any]) -> None:
    service, folder = measured.service, measured.service.data / "run" / "metrics"
    before, parent = scrape(measured.port), milter(service)
    dead = [parent, *children(parent)]
    with service.client(measured.login) as client:
        client.docmd("MAIL FROM:<news@example.com>")  # a session that nobody ends
        assert scrape(measured.port)("smtpeter_sessions") == 1
        for process in dead:
            os.kill(process, signal.SIGKILL)
        wait(lambda: milter(service) != parent, "another milter")
        # A process is there until it is buried.
        wait(lambda: not any(Path(f"/proc/{process}").exists() for process in dead), "the burial")
        wait(lambda: scrape(measured.port)("smtpeter_processes", process="milter") == len(dead) - 1, "its workers")
        after = scrape(measured.port)
        assert after("smtpeter_sessions") == 0
    for (name, labels), value in before.numbers.items():
        if name.endswith(("_total", "_bucket", "_count", "_sum")):
            assert after.numbers[name, labels] >= value, (name, labels)
    assert not [path.name for path in folder.iterdir() if path.stem.rpartition("_")[2] in map(str, dead)]
    name = measured.login.name
    service.send(measured.login, MESSAGE)
    assert scrape(measured.port)("smtpeter_messages_total", login=name) == before("smtpeter_messages_total", login=name) + 1


def test_the_rest_of_the_host_is_there(measured: Measured) -> None:
    after = measured.after
    assert after("smtpeter_canary_ok") == 1
    assert after("smtpeter_canary_info", login=measured.canary.name) == 1
    assert {dict(labels)["part"] for (name, labels), value in after.numbers.items() if name == "smtpeter_readable" and value} == {
        "spool", "queue", "certificate", "click hosts", "canary", "backup",
    }  # fmt: skip
    assert after("smtpeter_click_hosts", state="bad") == 1
    assert after("smtpeter_click_host_bad", host=BAD_HOST) == 1
    for process in ("auth", "journal", "web"):
        assert after("smtpeter_processes", process=process) == 1
    now = time.time()
    assert now - 600 < after("smtpeter_backup_timestamp_seconds") <= now
    assert now - 600 < after("smtpeter_canary_timestamp_seconds") <= now
    assert after("smtpeter_certificate_not_after_timestamp_seconds") > now
    for store in ("accounts", "usage", "journal"):
        assert now - 600 < after("smtpeter_store_answered_timestamp_seconds", store=store) <= now


def test_no_address_no_password_and_no_text_is_shown(measured: Measured) -> None:
    passwords = [login.password for login in (measured.login, measured.limited, measured.canary)]
    said = ("secret words", "reader@", "anna@", "bob@", "news@", "wrong password", "0123456789abcdef", "127.0.0.1")
    for word in (*passwords, *said):
        assert word not in measured.after.text, word
    names = {dict(labels).get("login") for _, labels in measured.after.numbers}
    assert names == {None, measured.login.name, measured.limited.name, measured.canary.name}


def test_dashboard_and_alerts_ask_for_what_is_shown_and_leave_nothing_out(measured: Measured, root: Path) -> None:
    exported = {name for name, _ in measured.after.numbers if name.startswith("smtpeter_")}
    board = json.loads((root / ROLE / "grafana" / "smtpeter.json").read_text())
    asked = {
        word
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for word in re.findall(r"\bsmtpeter_\w+", target["expr"])
    }
    alerts = (root / ROLE / "prometheus" / "smtpeter.rules.yml").read_text()
    asked_by_alerts = set(re.findall(r"\bsmtpeter_[a-z_]+", alerts))
    assert asked <= exported
    assert asked_by_alerts <= exported
    unseen = {name for name in exported - asked if not name.endswith("_created")}
    # A histogram is asked for its buckets.
    timed = ("message", "job", "auth_comparison", "journal_lag")
    assert unseen == {f"smtpeter_{name}_seconds_{part}" for name in timed for part in ("sum", "count")}


@contextmanager
def frozen(server: Any) -> Iterator[None]:
    """Nobody at the database answers, and no connection is refused."""
    processes = [server._process.pid, *children(server._process.pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@pytest.fixture(scope="module")
def remote(make_service: Callable[..., Any], postgresql_server: Any, wait: Callable[..., Any]) -> tuple[Any, int]:
    """A service whose databases are on a server."""
    made, port = make_service(started=False), free_port()
    configure(made, port, "[journal]", f'database = "{postgresql_server.database()}"')
    text = made.settings.read_text()
    made.settings.write_text(f'database = "{postgresql_server.database()}"\n{text}')
    made.start()
    made.run("account", "add", "shop", "--approve")
    made.domain("example.com", "--clicks", "")
    wait(lambda: shown(port), "the metrics")
    return made, port


def test_a_scrape_is_answered_while_the_database_is_stopped(
    remote: tuple[Any, int], postgresql: Any, wait: Callable[..., Any]
) -> None:
    service, port = remote
    login = service.login()
    service.send(login, MESSAGE)
    wait(lambda: scrape(port)("smtpeter_journal_records_total", kind="attempt") == 1, "the record")
    with service.client(login) as client:
        postgresql.stop()
        began = time.monotonic()
        found = scrape(port)
        assert time.monotonic() - began < SECONDS
        assert found("smtpeter_messages_total", login=login.name, verdict="accepted") == 1
        assert found("smtpeter_readable", part="spool") == 1
        client.rset()
    answered = found("smtpeter_store_answered_timestamp_seconds", store="journal")
    postgresql.start()
    wait(lambda: scrape(port)("smtpeter_store_answered_timestamp_seconds", store="journal") > answered, "an answer again")


def test_a_scrape_is_answered_while_the_database_hangs(remote: tuple[Any, int], postgresql: Any) -> None:
    _, port = remote
    with frozen(postgresql):
        began = time.monotonic()
        found = scrape(port)
        assert time.monotonic() - began < SECONDS
    assert found("smtpeter_processes", process="auth") == 1
