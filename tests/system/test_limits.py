"""Limits through the real Postfix: exactly as much as is allowed reaches the next hop, and the others are told when to come."""

import os
import re
import signal
import smtplib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: %b\r\n\r\nhello\r\n"
SESSIONS, MESSAGES = 50, 20
REACHED = re.compile(r"4\.7\.1 .*Limit of (.+) reached; free again at (\d{4}-\d\d-\d\d \d\d:\d\d) UTC")


@pytest.fixture(scope="module")
def busy(make_service):
    """A service of its own, since it is stopped and its counts are changed."""
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    return service


def counters(service, subject: str) -> list[tuple[int, int, int]]:
    """Minute, messages and recipients."""
    with reading(service) as connection:
        query = "SELECT minute, messages, recipients FROM counters WHERE subject = ? AND messages > 0 ORDER BY minute"
        return list(connection.execute(query, (subject,)))


def used(service, subject: str) -> tuple[int, int]:
    found = counters(service, subject)
    return sum(messages for _, messages, _ in found), sum(recipients for _, _, recipients in found)


@contextmanager
def reading(service) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(service.data / "usage.db", timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def age(service, subject: str, minutes: int) -> int:
    """Makes all that was counted `minutes` old; the minute that is."""
    minute = int(time.time()) // 60 - minutes
    with reading(service) as connection:
        connection.execute("BEGIN IMMEDIATE")
        total = connection.execute("SELECT sum(messages), sum(recipients) FROM counters WHERE subject = ?", (subject,)).fetchone()
        connection.execute("DELETE FROM counters WHERE subject = ?", (subject,))
        connection.execute("INSERT INTO counters VALUES (?, ?, ?, ?)", (subject, minute, *total))
        connection.execute("COMMIT")
    return minute


def free_again(text: bytes) -> tuple[str, int]:
    """The limit and the minute that a refusal tells."""
    found = REACHED.search(text.decode())
    assert found, text
    return found[1], int(datetime.strptime(found[2], "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()) // 60


def refused(client: smtplib.SMTP, *commands: str) -> tuple[int, bytes]:
    """The reply to the last of some commands; the others are answered with 250."""
    for command in commands[:-1]:
        assert client.docmd(command)[0] == 250, command
    code, text = client.docmd(commands[-1])
    client.rset()
    return code, text


MAIL, RCPT = "MAIL FROM:<news@example.com>", "RCPT TO:<reader@example.net>"


def open_session(service, login, port: int) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", port, local_hostname="client.test", timeout=30)
    client.starttls(context=service.trust)
    client.ehlo()
    client.login(login.name, login.password)
    return client


def all_at_once(service, logins, mark: str) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """What many sessions are told at the end of their messages, sent at the same time: marks accepted, and refusals."""
    accepted: list[bytes] = []
    refusals: list[tuple[int, bytes]] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(SESSIONS, timeout=60)

    def send(number: int) -> None:
        port = (service.smtp, service.submission)[number % 2]  # Postfix lets 50 of one address into each
        name = f"{mark}-{number}-".encode()
        try:
            with open_session(service, logins[number % len(logins)], port) as client:
                for command in (MAIL, "RCPT TO:<a@example.net>", "RCPT TO:<b@example.net>"):
                    assert client.docmd(command)[0] == 250
                assert client.docmd("DATA")[0] == 354
                barrier.wait()  # the end of no message has come yet
                client.send(MESSAGE % name + b".\r\n")
                code, text = client.getreply()
                if code == 250:
                    accepted.append(name)
                else:
                    refusals.append((code, text))
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return accepted, refusals


@pytest.mark.parametrize(
    ("whose", "limit", "words"),
    [
        ("login", f"messages-hour={MESSAGES}", f"{MESSAGES} messages an hour"),
        ("account", f"recipients-day={2 * MESSAGES + 1}", f"{2 * MESSAGES + 1} recipients a day of this account"),
    ],
)
def test_fifty_sessions_at_the_edge_of_a_limit(busy, wait, whose: str, limit: str, words: str) -> None:
    if whose == "login":
        logins = [busy.login("--limit", limit)]
        subject, window = f"login {logins[0].name}", 60
    else:
        busy.run("account", "add", "many", "--approve")
        busy.run("account", "limit", "many", limit)
        logins = [busy.login(account="many") for _ in range(2)]
        subject, window = "account many", 24 * 60
    accepted, refusals = all_at_once(busy, logins, whose)
    assert len(accepted) == MESSAGES
    assert len(refusals) == SESSIONS - MESSAGES
    minutes = [minute for minute, _, _ in counters(busy, subject)]
    for code, text in refusals:
        assert code == 450
        limit_told, free = free_again(text)
        assert limit_told == words
        assert free in {minute + window + 1 for minute in minutes}
    assert used(busy, subject) == (MESSAGES, 2 * MESSAGES)

    def at_the_sink() -> set[bytes]:
        texts = (path.read_bytes() for path in busy.outbox.glob("*.eml"))
        return {found[1] for text in texts if (found := re.search(rb"Subject: (%b-\d+-)" % whose.encode(), text))}

    wait(lambda: len(at_the_sink()) >= MESSAGES, "delivery")
    wait(lambda: "Mail queue is empty" in busy.postfix("postqueue", "-p"), "an empty queue")
    assert at_the_sink() == set(accepted)


def test_after_a_restart_it_is_refused_until_the_time_that_was_told(busy, transaction) -> None:
    login = busy.login("--limit", "recipients-day=3")
    subject = f"login {login.name}"
    busy.send(login, MESSAGE % b"three", ("a@example.net", "b@example.net", "c@example.net"))
    ((minute, _, _),) = counters(busy, subject)
    busy.stop()
    busy.start()
    with busy.client(login) as client:
        code, text = refused(client, MAIL, RCPT)
        assert code == 450
        assert free_again(text) == ("3 recipients a day", minute + 24 * 60 + 1)
        minute = age(busy, subject, 24 * 60 - 3)
        code, text = refused(client, MAIL, RCPT)
        assert code == 450
        assert free_again(text) == ("3 recipients a day", minute + 24 * 60 + 1)
        age(busy, subject, 24 * 60 + 1)
        transaction(client, MESSAGE % b"again")


def test_what_never_becomes_a_message_uses_nothing(busy) -> None:
    login = busy.login("--limit", "recipients-day=5", "--limit", "messages-hour=2")
    for _ in range(3):
        with busy.client(login) as client:
            for number in range(15):
                for command in (MAIL, RCPT, RCPT, "RCPT TO:<READER@example.net>", f"RCPT TO:<{number}@example.net>", "RSET"):
                    assert client.docmd(command)[0] == 250
            for command in (MAIL, RCPT, RCPT):
                assert client.docmd(command)[0] == 250
            assert client.docmd("DATA")[0] == 354
            client.send(MESSAGE % b"cut off")
            client.close()
    with busy.client(login) as client:
        assert client.docmd(MAIL)[0] == 250
        for recipient in [f"r{number}@example.net" for number in range(5)] * 3:
            assert client.docmd(f"RCPT TO:<{recipient}>")[0] == 250
        code, text = client.docmd("RCPT TO:<one-more@example.net>")
        assert code == 450
        assert free_again(text)[0] == "5 recipients a day"
        code, text = client.data(MESSAGE % b"five")
        assert code == 250, text
    assert used(busy, f"login {login.name}") == (1, 5)


def test_a_message_that_is_refused_after_all_uses_nothing(busy, transaction) -> None:
    login = busy.login("--limit", "messages-hour=1")
    with busy.client(login) as client:
        with pytest.raises(smtplib.SMTPResponseException, match="550"):
            transaction(client, b"From: a@example.com\r\n" + MESSAGE % b"two authors")
        assert used(busy, f"login {login.name}") == (0, 0)
        transaction(client, MESSAGE % b"one author")
        assert used(busy, f"login {login.name}") == (1, 1)


def test_a_journal_that_cannot_be_written_gives_back_what_was_counted(make_service, wait) -> None:
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    login = service.login("--limit", "messages-hour=1")
    spool = service.data / "spool"
    spool.rename(service.data / "spool.away")
    with pytest.raises(smtplib.SMTPResponseException, match="451"):
        service.send(login, MESSAGE % b"lost")
    with reading(service) as connection:
        assert connection.execute("SELECT messages, recipients FROM counters").fetchall() == [(0, 0)]
    (service.data / "spool.away").rename(spool)
    service.send(login, MESSAGE % b"kept")
    assert used(service, f"login {login.name}") == (1, 1)
    service.stop()


def test_the_copies_of_a_message_are_not_counted_again(busy, several: bytes) -> None:
    login = busy.login("trackclicks=true", "--limit", "recipients-day=3", "--limit", "messages-hour=5")
    queue_id = busy.send(login, several, ("anna@example.net", "bob@example.org", "hidden@example.net"))
    assert len(busy.copies(queue_id, 3)) == 3
    assert used(busy, f"login {login.name}") == (1, 3)


# -- one message -------------------------------------------------------------------------------------------------------


def test_the_size_is_limited_as_declared_and_as_it_is(busy, transaction) -> None:
    login = busy.login("--limit", "message-size=2k")
    small, large = MESSAGE % b"small", MESSAGE % b"large" + b"x" * 100 + b"\r\n" + b"y" * 1900 + b"\r\n"
    with busy.client(login) as client:
        code, text = refused(client, f"{MAIL} SIZE=2049", RCPT)
        assert (code, text[:6]) == (552, b"5.3.4 ")
        assert text.endswith(b"Message too large; at most 2048 octets")
        for options in ((), ("SIZE=100",)):
            with pytest.raises(smtplib.SMTPResponseException) as caught:
                transaction(client, large, mail_options=options)
            assert (caught.value.smtp_code, caught.value.smtp_error) == (552, b"5.3.4 Message too large; at most 2048 octets")
        transaction(client, small, mail_options=("SIZE=2048",))


def test_recipients_past_the_limit_of_a_message_are_refused_and_the_others_delivered(busy) -> None:
    login = busy.login("--limit", "recipients-message=2")
    with busy.client(login) as client:
        assert client.docmd(MAIL)[0] == 250
        replies = [client.docmd(f"RCPT TO:<{name}@example.net>") for name in ("a", "A", "b", "c", "a", "d")]
        assert [code for code, _ in replies] == [250, 250, 250, 452, 250, 452]
        assert replies[3][1].startswith(b"4.5.3 ")
        code, text = client.data(MESSAGE % b"two")
        assert code == 250
        captured = busy.captured(text.decode().rpartition(" ")[2])
        assert [each["address"] for each in captured.envelope["rcpt_to"]] == ["a@example.net", "b@example.net"]
        # RFC 5321 4.5.1: nobody is asked about this one.
        for command in (MAIL, "RCPT TO:<e@example.net>", "RCPT TO:<f@example.net>", "RCPT TO:<postmaster>"):
            assert client.docmd(command)[0] == 250
        assert client.data(MESSAGE % b"three")[0] == 450


# -- sessions ----------------------------------------------------------------------------------------------------------


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_so_many_sessions_at_a_time(busy, wait) -> None:
    login = busy.login("--limit", "sessions=2")
    with ExitStack() as stack:
        clients = [stack.enter_context(busy.client(login)) for _ in range(3)]
        assert [client.docmd(MAIL)[0] for client in clients] == [250, 250, 450]
        clients[0].rset()
        assert clients[0].docmd(MAIL)[0] == 250  # a session is counted once
        code, text = clients[2].docmd(MAIL)
        assert (code, text) == (450, b"4.7.1 Too many sessions of this login at a time; at most 2")
        clients[1].close()  # without QUIT
        wait(lambda: clients[2].docmd(MAIL)[0] == 250, "the place of a session that ended")
        other = stack.enter_context(busy.client(login))
        assert other.docmd(MAIL)[0] == 450


def test_a_killed_worker_leaves_no_sessions_behind(busy, wait) -> None:
    login = busy.login("--limit", "sessions=2")
    milter = int(re.findall(r" milter: started, pid (\d+)", busy.log)[-1])
    with ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(busy.client(login)).docmd(MAIL)[0] == 250
        assert stack.enter_context(busy.client(login)).docmd(MAIL)[0] == 450
        for worker in children(milter):
            os.kill(worker, signal.SIGKILL)

        def lets_in() -> bool:
            try:
                client = stack.enter_context(busy.client(login))
            except (smtplib.SMTPException, OSError):
                return False
            return client.docmd(MAIL)[0] == 250

        for _ in range(2):
            wait(lets_in, "a session after the worker was killed")
        assert not lets_in()


def test_sessions_up_to_the_limit_from_fifty_at_once(busy) -> None:
    login = busy.login("--limit", "sessions=7")
    codes: list[int] = []
    barrier, done = threading.Barrier(SESSIONS, timeout=60), threading.Barrier(SESSIONS, timeout=60)

    def begin(number: int) -> None:
        with open_session(busy, login, (busy.smtp, busy.submission)[number % 2]) as client:
            barrier.wait()
            codes.append(client.docmd(MAIL)[0])
            done.wait()

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes.count(250), codes.count(450)) == (7, SESSIONS - 7)


# -- the usage database is away ----------------------------------------------------------------------------------------


def test_a_usage_database_that_is_locked_or_gone_stops_those_with_limits_only(busy, transaction) -> None:
    limited, free = busy.login("--limit", "messages-hour=5"), busy.login()
    file = busy.data / "usage.db"
    with busy.client(limited) as client, busy.client(free) as other:
        with reading(busy) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            with pytest.raises(smtplib.SMTPResponseException, match="451"):
                transaction(client, MESSAGE % b"locked")
            transaction(other, MESSAGE % b"free")
            connection.execute("ROLLBACK")
        transaction(client, MESSAGE % b"unlocked")
        file.rename(file.with_name("away"))
        assert refused(client, MAIL, RCPT)[0] == 451
        transaction(other, MESSAGE % b"free")
        assert not file.exists()
        file.with_name("away").rename(file)
        transaction(client, MESSAGE % b"back")
    assert used(busy, f"login {limited.name}") == (2, 2)
