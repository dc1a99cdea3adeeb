"""The sink over a real connection: bytes, envelope, durability."""

import json
import os
import random
import re
import shutil
import signal
import smtplib
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smtpeter.capture import listen
from smtpeter.errors import UserError
from smtpeter.supervisor import Child, Supervisor

SERVE = "import sys; from pathlib import Path; from smtpeter.capture import serve; serve(Path(sys.argv[1]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A running sink: its folder, its port, and the supervisor that holds it."""

    folder: Path
    port: int
    supervisor: Supervisor

    @contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.test", timeout=20) as client:
            client.ehlo()
            yield client

    def kept(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Messages and envelopes, in the order they came."""
        return [
            (path.read_bytes(), json.loads(path.with_suffix(".json").read_text())) for path in sorted(self.folder.glob("*.eml"))
        ]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with listen() as listener, Supervisor(lambda _: None) as supervisor:
        folder = tmp_path / "out" / "box"
        child = Child(name="capture", argv=(sys.executable, "-c", SERVE, str(folder)), sockets={"capture": listener}, grace=5)
        supervisor.start(child)
        yield Sink(folder=folder, port=listener.getsockname()[1], supervisor=supervisor)


@pytest.fixture
def client(sink: Sink) -> Iterator[smtplib.SMTP]:
    with sink.session() as client:
        yield client


def data(client: smtplib.SMTP, wire: bytes) -> tuple[int, bytes]:
    """DATA with exactly these bytes; smtplib would tidy them up."""
    assert client.docmd("DATA")[0] == 354
    client.sock.sendall(wire)
    return client.getreply()


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        pytest.param(b"Subject: a\r\n\r\nhello\r\n.\r\n", b"Subject: a\r\n\r\nhello\r\n", id="plain"),
        pytest.param(b"a\r\n..\r\n...b\r\n.\r\n", b"a\r\n.\r\n..b\r\n", id="dots"),
        pytest.param(b"a: \xe9\xff\x00\x80\r\n\r\n\xc3\xa9\r\n.\r\n", b"a: \xe9\xff\x00\x80\r\n\r\n\xc3\xa9\r\n", id="8bit"),
        pytest.param(b"a\rb\nc\r\r\n.\r\n", b"a\rb\nc\r\r\n", id="bare CR and LF"),
        pytest.param(b"\n.\n\n.\r\n.\r\r\n\r\n.\r\n", b"\n.\n\n.\r\n\r\r\n\r\n", id="no smuggling"),
        pytest.param(b"L" * 300_000 + b"\r\n.\r\n", b"L" * 300_000 + b"\r\n", id="long line"),
        pytest.param(b".\r\n", b"", id="empty"),
    ],
)
def test_the_bytes_are_those_of_the_wire(sink: Sink, client: smtplib.SMTP, wire: bytes, kept: bytes) -> None:
    client.mail("a@example.com")
    client.rcpt("b@example.org")
    assert data(client, wire)[0] == 250
    assert [content for content, _ in sink.kept()] == [kept]


def test_the_envelope(sink: Sink, client: smtplib.SMTP) -> None:
    assert client.docmd("mail from:<a@example.com> BODY=8BITMIME SIZE=99 RET=HDRS ENVID=Ab+2Bc")[0] == 250
    assert client.docmd("RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@example.org")[0] == 250
    assert client.docmd("RCPT TO: <c@example.org>")[0] == 250
    code, text = data(client, b"x\r\n.\r\n")
    ((_, envelope),) = sink.kept()
    assert envelope | {"received": ""} == {
        "received": "",
        "mail_from": "a@example.com",
        "mail_parameters": {"BODY": "8BITMIME", "SIZE": "99", "RET": "HDRS", "ENVID": "Ab+2Bc"},
        "rcpt_to": [
            {"address": "b@example.org", "parameters": {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;B@example.org"}},
            {"address": "c@example.org", "parameters": {}},
        ],
    }
    assert datetime.now(UTC) - datetime.fromisoformat(envelope["received"]) < timedelta(minutes=1)
    (path,) = sink.folder.glob("*.eml")
    assert code == 250
    assert text.decode().endswith(path.stem)
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{8}", path.stem)


@pytest.mark.parametrize(
    ("mail", "rcpt", "sender", "recipient"),
    [
        ("MAIL FROM:<>", "RCPT TO:<b@example.org>", "", "b@example.org"),
        ("MAIL FROM:<a@b.test>", 'RCPT TO:<"x>y \\" z"@example.org>', "a@b.test", '"x>y \\" z"@example.org'),
        ("MAIL FROM:<jörg@exämple.test> SMTPUTF8", "RCPT TO:<é@example.org>", "jörg@exämple.test", "é@example.org"),
    ],
)
def test_addresses(sink: Sink, client: smtplib.SMTP, mail: str, rcpt: str, sender: str, recipient: str) -> None:
    client.command_encoding = "utf-8"
    assert client.docmd(mail)[0] == 250
    assert client.docmd(rcpt)[0] == 250
    assert data(client, b"x\r\n.\r\n")[0] == 250
    ((_, envelope),) = sink.kept()
    assert (envelope["mail_from"], envelope["rcpt_to"][0]["address"]) == (sender, recipient)


def test_what_is_advertised(client: smtplib.SMTP) -> None:
    assert {"8bitmime", "smtputf8", "dsn"} <= client.esmtp_features.keys()
    assert "size" not in client.esmtp_features


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["RCPT TO:<b@example.org>"], 503),
        (["DATA"], 503),
        (["MAIL FROM:a@example.com"], 501),
        (["MAIL"], 501),
        (["MAIL TO:<a@example.com>"], 501),
        (["MAIL FROM:<>", "MAIL FROM:<>"], 503),
        (["MAIL FROM:<>", "RCPT TO:<>"], 501),
        (["MAIL FROM:<>", "RCPT TO:b@example.org"], 501),
        (["MAIL FROM:<>", "RSET", "RCPT TO:<b@example.org>"], 503),
        (["MAIL FROM:<>", "DATA"], 503),
    ],
)
def test_commands_out_of_order_are_refused(client: smtplib.SMTP, commands: list[str], code: int) -> None:
    assert [client.docmd(command)[0] for command in commands][-1] == code


def test_several_messages_in_a_session(sink: Sink, client: smtplib.SMTP) -> None:
    for number in range(3):
        client.sendmail(f"a{number}@example.com", ["b@example.org"], f"Subject: {number}\r\n\r\n")
    assert [envelope["mail_from"] for _, envelope in sink.kept()] == [f"a{n}@example.com" for n in range(3)]


def test_only_the_owner_reads(sink: Sink, client: smtplib.SMTP) -> None:
    client.sendmail("a@example.com", ["b@example.org"], "x")
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in sink.folder.iterdir()}
    assert modes == {".eml": 0o600, ".json": 0o600}
    assert stat.S_IMODE(sink.folder.stat().st_mode) == 0o700


def test_twenty_at_once(sink: Sink) -> None:
    def deliver(number: int) -> None:
        with sink.session() as client:
            for turn in range(5):
                client.sendmail("a@example.com", ["b@example.org"], f"{number} {turn}\r\n" + "x" * 20_000 + "\r\n")

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(deliver, range(20)))
    firsts = sorted(content.partition(b"\r\n")[0] for content, _ in sink.kept())
    assert firsts == sorted(b"%d %d" % (number, turn) for number in range(20) for turn in range(5))
    assert len(list(sink.folder.iterdir())) == 200


def test_a_message_that_cannot_be_kept_is_to_be_sent_again(sink: Sink, client: smtplib.SMTP) -> None:
    shutil.rmtree(sink.folder)
    with pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("a@example.com", ["b@example.org"], "x")
    assert caught.value.smtp_code == 452
    sink.folder.mkdir()
    client.sendmail("a@example.com", ["b@example.org"], "x")
    assert len(sink.kept()) == 1


def test_killed_at_any_moment_no_half_message_is_there_and_no_accepted_one_is_missing(sink: Sink) -> None:
    accepted: list[str] = []
    done = threading.Event()
    body = "x" * 76 + "\r\n"

    def deliver(number: int) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            mark = f"{number} {turn}"
            with suppress(OSError, smtplib.SMTPException), sink.session() as client:
                client.sendmail("a@example.com", ["b@example.org"], f"{mark}\r\n{body * 2000}end {mark}\r\n")
                accepted.append(mark)

    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(deliver, number) for number in range(8)]
        dice = random.Random(7)
        try:
            for _ in range(3):
                before = len(accepted)
                sink.supervisor.wait_until(lambda before=before: len(accepted) > before, 20, "a delivery")
                time.sleep(dice.random() * 0.05)
                pid = sink.supervisor.pid("capture")
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                sink.supervisor.wait_until(lambda pid=pid: sink.supervisor.pid("capture") not in {pid, None}, 20, "the sink")
        finally:
            done.set()  # or the threads would go on for ever, and the pool with them
        for one in sent:
            one.result()
    kept = set()
    for content, _ in sink.kept():
        mark = content.partition(b"\r\n")[0]
        assert content.endswith(b"end " + mark + b"\r\n")
        kept.add(mark.decode())
    assert len(accepted) >= 3
    assert set(accepted) <= kept


def test_sigterm_ends_it_with_status_0(tmp_path: Path) -> None:
    log: list[str] = []
    with listen() as listener, Supervisor(log.append) as supervisor:
        argv = (sys.executable, "-c", SERVE, str(tmp_path))
        supervisor.start(Child(name="capture", argv=argv, sockets={"capture": listener}))
        with socket.create_connection(listener.getsockname(), timeout=20) as client:
            assert client.recv(4) == b"220 "
    assert log[-1].endswith("stopped (ended with status 0)")


def test_a_port_that_is_taken_is_named() -> None:
    with listen() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be opened on 127.0.0.1: Address already in use"):
            listen(port)
