"""Copies of a split message on their way to the listener that takes them: they wait, they are told from all else, they repeat."""

import os
import re
import signal
import smtplib
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

pytestmark = pytest.mark.system

THREE = ("anna@example.net", "bob@example.org", "hidden@example.net")


@pytest.fixture(scope="module")
def own(make_service) -> Iterator:
    """A service of its own, whose parts are stopped."""
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    service.domain("example.com")
    yield service
    service.stop()


def internal(service) -> int:
    """The port of the second listener."""
    return int(service.postfix("postconf", "-h", "smtpeter_internal_port"))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def second_listener_closed(service, wait) -> Iterator[None]:
    """Nobody listens for copies meanwhile."""
    master, port = service.data / "postfix" / "etc" / "master.cf", internal(service)
    kept = master.read_text()
    try:
        install(service, re.sub(rf"(?m)^127\.0\.0\.1:{port} .*\n(?: .*\n)+", "", kept))
        wait(lambda: not listens(port), "the end of the second listener")
        yield
    finally:
        install(service, kept)
        wait(lambda: listens(port), "the second listener")


def install(service, services: str) -> None:
    """Puts a master.cf into force, as `postfix reload` does."""
    master = service.data / "postfix" / "etc" / "master.cf"
    master.write_text(services)
    os.kill(int((service.data / "postfix" / "spool" / "pid" / "master.pid").read_text()), signal.SIGHUP)


def deferred(service, queue_id: str) -> Callable[[], bool]:
    """Whether all of a message waits for its next attempt."""
    return lambda: next((service.data / "postfix" / "spool" / "deferred").rglob(queue_id), None) is not None


def waiting(service, queue_id: str) -> bytes:
    """A message in the queue as it is sent on, its ticket included."""
    return service.postfix("postcat", "-bhq", queue_id).encode(errors="surrogateescape").replace(b"\n", b"\r\n")


@contextmanager
def at_second_listener(service) -> Iterator[smtplib.SMTP]:
    """A session of some other program of the host."""
    client = smtplib.SMTP("127.0.0.1", internal(service), local_hostname="client.test", timeout=30)
    with closing(client):  # without QUIT: an error ends the session
        client.ehlo()
        yield client


def refused(service, transaction, message: bytes, recipients: tuple[str, ...] = THREE[:1]) -> str:
    with at_second_listener(service) as client, pytest.raises(smtplib.SMTPResponseException) as caught:
        transaction(client, message, recipients)
    return f"{caught.value.smtp_code} {caught.value.smtp_error.decode()}"


def test_copies_wait_for_the_second_listener_and_are_the_same_whenever_they_are_made(
    own, wait, transaction, several: bytes
) -> None:
    login = own.login("trackclicks=true", "trackopens=true")
    with second_listener_closed(own, wait):
        queue_id = own.send(login, several, THREE)
        wait(deferred(own, queue_id), "the first attempt")
        copy = waiting(own, queue_id)
        own.run("login", "disable", login.name)
        kill_milter(own, wait)
    own.postfix("postqueue", "-f")
    first = {copy.recipient: copy for copy in own.copies(queue_id, 3)}
    wait(lambda: f"{queue_id}: removed" in own.mail_log, "the end of the message in the queue")
    # What Postfix would do that did not hear our answer: the same copy once more, to another worker.
    kill_milter(own, wait)
    with at_second_listener(own) as client:
        transaction(client, copy, ("bob@example.org",))
    found = own.copies(queue_id, 4)
    assert sorted(copy.recipient for copy in found) == sorted((*THREE, "bob@example.org"))
    again = found[-1]
    assert below(again, queue_id) == below(first["bob@example.org"], queue_id)
    assert signature(again) == signature(first["bob@example.org"])
    assert again.identifiers == first["bob@example.org"].identifiers
    assert own.signed(again)


def below(message, queue_id: str) -> bytes:
    """A copy from the trace field of the first pass on: all that may not differ when it is delivered twice."""
    return message.raw[message.raw.index(f"id {queue_id}".encode()) :]


def signature(message) -> bytes:
    return re.search(rb"DKIM-Signature:[^\n]*\n(?:[ \t][^\n]*\n)+", message.header)[0]


def filters(service) -> list[int]:
    """The filter's processes that came up, the last one last."""
    return [int(pid) for pid in re.findall(r" smtpeter\.milter\[(\d+)\]: socket=", service.log)]


def kill_milter(service, wait) -> None:
    """Ends the filter with its workers and waits for the next."""
    before = filters(service)
    os.kill(before[-1], signal.SIGKILL)
    wait(lambda: len(filters(service)) > len(before), "the next filter")


def test_copies_wait_for_the_filter(own, wait, several: bytes) -> None:
    login = own.login("trackclicks=true")
    with second_listener_closed(own, wait):
        queue_id = own.send(login, several, THREE)
        wait(deferred(own, queue_id), "the first attempt")
        supervisor = own.process.pid
        before = filters(own)
        os.kill(supervisor, signal.SIGSTOP)  # so that it starts no other
        os.kill(before[-1], signal.SIGKILL)
    try:
        failures = own.mail_log.count("status=deferred")
        own.postfix("postqueue", "-f")
        wait(lambda: own.mail_log.count("status=deferred") >= failures + 3, "the second attempt")
        assert own.passed_on(queue_id) == []
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait(lambda: len(filters(own)) > len(before), "the next filter")

    def tried_again() -> bool:
        own.postfix("postqueue", "-f")
        return f"{queue_id}: removed" in own.mail_log

    wait(tried_again, "the copies")
    assert sorted(copy.recipient for copy in own.copies(queue_id, 3)) == sorted(THREE)


def test_without_a_journal_nothing_is_accepted_and_no_copy_leaves(own, wait, several: bytes) -> None:
    login, spool = own.login("trackclicks=true"), own.data / "spool"
    with second_listener_closed(own, wait):
        queue_id = own.send(login, several, THREE)
        wait(deferred(own, queue_id), "the first attempt")
        before, failures = len(list(own.outbox.glob("*.eml"))), own.mail_log.count("status=deferred")
        spool.rename(own.data / "away")
    try:
        kill_milter(own, wait)
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            own.send(login, several, THREE)
        assert caught.value.smtp_code == 451
        own.postfix("postqueue", "-f")
        wait(lambda: own.mail_log.count("status=deferred") >= failures + 3, "the second attempt")
        assert len(list(own.outbox.glob("*.eml"))) == before
    finally:
        (own.data / "away").rename(spool)
    own.postfix("postqueue", "-f")
    assert sorted(copy.recipient for copy in own.copies(queue_id, 3)) == sorted(THREE)


def test_queued_copies_survive_another_port(own, wait, several: bytes) -> None:
    login = own.login("trackclicks=true")
    port = internal(own)
    with second_listener_closed(own, wait):
        queue_id = own.send(login, several, THREE)
        wait(deferred(own, queue_id), "the first attempt")
    assert own.stop() == 0
    own.start()
    assert internal(own) != port
    own.postfix("postqueue", "-f")
    assert sorted(copy.recipient for copy in own.copies(queue_id, 3)) == sorted(THREE)


@pytest.fixture(scope="module")
def copy(own, wait, several: bytes) -> bytes:
    """A copy as the second listener gets it, from the queue."""
    with second_listener_closed(own, wait):
        queue_id = own.send(own.login("trackclicks=true"), several, THREE)
        wait(deferred(own, queue_id), "the first attempt")
        return waiting(own, queue_id)


REFUSED = "550 5.7.1 Nothing but this server's own copies is accepted here"


def test_another_program_of_the_host_cannot_send_over_the_second_listener(own, transaction, several: bytes) -> None:
    before = len(list(own.outbox.glob("*.eml")))
    for field in (b"", b"X-SMTPeter-Job: AAAA\r\n", b"X-SMTPeter-Job:\r\n", b"X-SMTPeter-TrackClicks: yes\r\n"):
        assert refused(own, transaction, field + several) == REFUSED
        assert refused(own, transaction, field + several, THREE) == REFUSED
    assert len(list(own.outbox.glob("*.eml"))) == before
    assert f'listener=INTERNAL verdict=refused reply="{REFUSED}"' in own.log


@pytest.mark.parametrize(
    "change",
    [
        lambda copy: copy.replace(b"offer</a>", b"other</a>"),
        lambda copy: copy.replace(b"Subject: several", b"Subject: another"),
        lambda copy: copy.replace(b"From: News", b"From: Boss"),
        lambda copy: re.sub(rb"(X-SMTPeter-Job: ..........)(.)", lambda found: found[1] + bytes((found[2][0] ^ 1,)), copy),
        lambda copy: re.sub(rb"(X-SMTPeter-Job: [^\r]*)\r\n [^\r]*", rb"\1", copy),
        lambda copy: re.sub(rb"(X-SMTPeter-Job:.*?\r\n)(?=\S)", rb"\1\1", copy, flags=re.DOTALL),
    ],
    ids=["body", "field", "author", "bit", "cut", "twice"],
)
def test_a_ticket_is_good_for_its_message_only(own, transaction, copy: bytes, change: Callable[[bytes], bytes]) -> None:
    assert change(copy) != copy
    assert refused(own, transaction, change(copy)) == REFUSED


def test_a_ticket_is_not_good_for_the_message_as_it_was_sent(own, transaction, copy: bytes, several: bytes) -> None:
    ticket = re.search(rb"X-SMTPeter-Job:.*?\r\n(?=\S)", copy, re.DOTALL)[0]
    assert refused(own, transaction, ticket + several) == REFUSED


def test_a_copy_is_for_one_recipient(own, transaction, copy: bytes) -> None:
    assert refused(own, transaction, copy, THREE).startswith("451 4.3.0 ")


def test_a_ticket_is_worth_nothing_at_the_front_door(own, copy: bytes) -> None:
    login = own.login()
    queue_id = own.send(login, copy, THREE[:1])
    left = own.captured(queue_id)
    assert b"x-smtpeter" not in left.raw.lower()
    assert left.identifiers == frozenset()
    assert "copy_of=" not in own.events(queue_id)[0]
