"""What happens when something dies, hangs or is missing: refused with the right code or delivered whole, never in between."""

import os
import random
import re
import signal
import smtplib
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: %b\r\nX-SMTPeter-Tags: t\r\n\r\nhello\r\n"


@pytest.fixture
def fragile(make_service):
    """A service of its own, to be mistreated."""
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    service.domain("example.com")
    yield service
    if service.process is not None:
        service.stop()


def pid(service, name: str) -> int:
    """The process of that name the supervisor started last."""
    return int(re.findall(rf" {name}: started, pid (\d+)", service.log)[-1])


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def descendants(parent: int) -> set[int]:
    found = set(children(parent))
    return found.union(*(descendants(child) for child in found))


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists() and "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()


def kill(process: int, number: int = signal.SIGKILL) -> None:
    os.kill(process, number)


def refused(service, login, message: bytes = MESSAGE % b"x") -> int:
    """The code a message is refused with."""
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPAuthenticationError)) as caught:
        service.send(login, message)
    return caught.value.smtp_code


def test_processes_killed_under_load_lose_and_double_nothing(fragile, transaction) -> None:
    login = fragile.login("inlinecss=true")
    clients, each = 20, 100
    accepted: set[bytes] = set()
    refusals: list[object] = []
    started, finished = threading.Barrier(clients + 1), threading.Event()

    def send(number: int) -> None:
        started.wait()
        for step in range(each):
            mark = b"load-%d-%d" % (number, step)
            try:
                with fragile.client(login) as client:
                    transaction(client, MESSAGE % mark)
                    accepted.add(mark)
            except (smtplib.SMTPException, OSError) as error:
                refusals.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()

    kills = []

    def assassin() -> None:
        choice = random.Random(7)
        for victim in ["worker", "auth", "worker", "worker"] * 3:
            if finished.wait(1.2):
                return
            try:
                kill(choice.choice(children(pid(fragile, "milter"))) if victim == "worker" else pid(fragile, "auth"))
                kills.append(victim)
            except (ProcessLookupError, FileNotFoundError, IndexError):
                continue  # it is being restarted just now

    killer = threading.Thread(target=assassin)
    started.wait()
    killer.start()
    for thread in threads:
        thread.join()
    finished.set()
    killer.join()

    assert {"worker", "auth"} <= set(kills)
    assert len(accepted) + len(refusals) == clients * each
    assert {mark.split(b"-")[1] for mark in accepted} == {b"%d" % number for number in range(clients)}
    for error in refusals:
        code = getattr(error, "smtp_code", 400)  # a dropped connection counts as "try again"
        assert 400 <= code < 500, error
    limit = time.monotonic() + 60
    while len(list(fragile.outbox.glob("*.eml"))) < len(accepted) and time.monotonic() < limit:
        time.sleep(0.2)
    found = [re.search(rb"^Subject: (load-\S+)\r\n", path.read_bytes(), re.MULTILINE)[1] for path in fragile.outbox.glob("*.eml")]
    assert sorted(found) == sorted(accepted)
    assert all(b"x-smtpeter" not in path.read_bytes().partition(b"\r\n\r\n")[0].lower() for path in fragile.outbox.glob("*.eml"))


def test_without_the_filter_mail_is_put_off(fragile) -> None:
    login = fragile.login()
    kill(fragile.process.pid, signal.SIGSTOP)  # so that it does not start a new one
    victim = pid(fragile, "milter")
    try:
        kill(victim)
        while alive(victim):
            time.sleep(0.05)
        assert 400 <= refused(fragile, login) < 500
    finally:
        kill(fragile.process.pid, signal.SIGCONT)
    assert list(fragile.outbox.glob("*.eml")) == []
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        try:
            assert fragile.through(login, MESSAGE % b"back").raw
            break
        except smtplib.SMTPResponseException:
            time.sleep(0.2)
    else:
        pytest.fail("the filter did not come back")


def test_a_hanging_auth_process_is_trouble_not_a_verdict(fragile) -> None:
    login = fragile.login()
    with fragile.client(login) as client, fragile.client() as other:
        assert client.mail("news@example.com")[0] == 250
        kill(pid(fragile, "auth"), signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert client.rcpt("a@example.net")[0] == 451
            assert time.monotonic() - begun < 15
            with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                other.login(login.name, login.password)
            assert caught.value.smtp_code == 454
        finally:
            kill(pid(fragile, "auth"), signal.SIGCONT)
    assert fragile.through(login, MESSAGE % b"after").raw


@pytest.mark.parametrize("damage", ["gone", "garbage", "truncated"])
def test_a_damaged_database_is_trouble_not_a_verdict(fragile, damage: str) -> None:
    login = fragile.login()
    files = sorted(fragile.data.glob("policy.db*"))
    kept = {file: file.read_bytes() for file in files}
    with fragile.client(login) as client:
        for file in files:
            file.unlink()
        if damage != "gone":
            database = fragile.data / "policy.db"
            database.write_bytes(b"garbage" * 1000 if damage == "garbage" else kept[database][:5000])
        kill(pid(fragile, "auth"))  # and what was open is open no more
        for worker in children(pid(fragile, "milter")):
            kill(worker)
        time.sleep(2)
        assert client.mail("news@example.com")[0] in (451, 421)
    assert refused(fragile, login) == 454
    for file, content in kept.items():
        file.write_bytes(content)
    assert fragile.through(login, MESSAGE % b"restored").raw


def test_a_key_that_cannot_be_used_stops_the_mail_it_should_sign(fragile) -> None:
    login = fragile.login()
    master = fragile.data / "master.key"
    kept = master.read_bytes()
    master.write_bytes(kept[::-1])
    for worker in children(pid(fragile, "milter")):
        kill(worker)
    time.sleep(2.5)
    assert refused(fragile, login) == 451
    assert list(fragile.outbox.glob("*.eml")) == []
    master.write_bytes(kept)
    for worker in children(pid(fragile, "milter")):
        kill(worker)
    time.sleep(2.5)
    assert b"DKIM-Signature" in fragile.through(login, MESSAGE % b"signed").header


def test_content_that_ends_two_workers_is_refused_at_the_third_try(make_service) -> None:
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    service.domain("example.com")
    login = service.login()
    assert service.stop() == 0
    service.settings = service.data / "impatient.toml"
    service.settings.write_text(f'data = "{service.data}"\n[milter]\ndeadline = 0.2\nworkers = 2\n')
    service.start()
    # 20 MB in lines too long for SMTP: all of it is encoded anew before it is signed, which takes longer than that.
    heavy = MESSAGE % b"heavy" + ("ü" * 999 + " ").encode() * 10_000 + b"\r\n"
    assert [refused(service, login, heavy) // 100 for _ in range(2)] == [4, 4]
    time.sleep(2)
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        service.send(login, heavy)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (554, b"5.6.0")
    # Told apart by more than its body: one that many messages share must not be refused because workers died of another message.
    assert refused(service, login, heavy.replace(b"heavy", b"other")) // 100 == 4
    assert service.through(login, MESSAGE % b"light").raw
    assert service.log.count("job passed its deadline") == 3
    service.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_leaves_no_process_behind(make_service, number: signal.Signals) -> None:
    service = make_service()
    processes = descendants(service.process.pid)
    assert len(processes) > 8
    assert service.stop(number) == 0
    assert not [process for process in processes if alive(process)]


def test_a_killed_supervisor_leaves_no_process_behind_and_can_be_started_again(make_service) -> None:
    service = make_service()
    processes = descendants(service.process.pid)
    kill(service.process.pid)
    service.process.wait()
    limit = time.monotonic() + 20
    while [process for process in processes if alive(process)] and time.monotonic() < limit:
        time.sleep(0.1)
    assert not [process for process in processes if alive(process)]
    service.start()


def test_a_restart_keeps_accounts_logins_and_queue(fragile) -> None:
    login = fragile.login()
    assert fragile.stop() == 0
    fragile.start()
    assert fragile.through(login, MESSAGE % b"again").raw
