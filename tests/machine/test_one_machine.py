"""From a bare Debian to a running service: the role, mail through every port, clicks, a second run, variables that are wrong."""

import csv
import io
import re
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.machine

ON = {"X_SMTPeter_TrackClicks": "true", "X_SMTPeter_InlineCSS": "true", "X_SMTPeter_Tags": "spring"}


@pytest.fixture(scope="module")
def through(deployed, login) -> Callable[..., object]:
    """What leaves of a message sent through a port."""

    def send(port: int = 587, **fields: str):
        mark, message = deployed.message(**fields)
        with deployed.client(login, port) as client:
            client.sendmail("news@example.com", ["reader@example.net"], message)
        return deployed.left(mark)

    return send


@pytest.fixture(scope="module")
def click(machine, through, until) -> Callable[[], str]:
    """Follows the link of a new message once; where it led. The web process is asked as a web server in front of it would."""
    ask = """
import socket, sys
with socket.create_connection(("127.0.0.1", 8080), 10) as connection:
    connection.sendall(sys.stdin.buffer.read())
    print(connection.makefile("rb").read().decode())
"""

    def follow() -> str:
        body = through(**ON).raw.partition(b"\r\n\r\n")[2].replace(b"=\r\n", b"").decode()
        host, path = re.search(r'href=3?D?"https?://([^/]+)(/[^"]+)"', body).groups()
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nConnection: close\r\n\r\n"
        answer = machine.run(f"python3 -c '{ask}'", stdin=request.replace("&amp;", "&")).stdout
        assert re.match(r"HTTP/1\.1 30[1-8] ", answer), answer
        return re.search(r"(?im)^location: (\S+)", answer)[1]

    return follow


def test_the_role_ran_on_a_bare_machine_and_saw_the_service_work(deployed) -> None:
    assert deployed.first.recap["one"]["failed"] == 0
    # The last of the role is `smtpeter check --live`.
    live = deployed.first.output.partition("TASK [smtpeter : Send a message through")[2].partition("\nTASK ")[0]
    assert re.search(r"^ok: \[one\]", live, re.MULTILINE), deployed.first.ended()
    assert deployed.machine.run("systemctl is-active smtpeter.target postfix.service").stdout.split() == ["active", "active"]
    # Its timer may have begun while Postfix was not configured yet.
    deployed.machine.run("systemctl start smtpeter-canary.service", timeout=180)
    assert deployed.machine.run("systemctl --failed --no-legend --plain").stdout == ""


@pytest.mark.parametrize("port", [25, 587, 465])
def test_mail_leaves_stripped_tracked_and_signed(deployed, through, port: int) -> None:
    left = through(port, **ON)
    assert b"x-smtpeter" not in left.header.lower()
    assert b"https://www.example.com/" not in left.raw
    assert b"clicks.example.com/mark-" in left.raw
    assert deployed.signed(left)


@pytest.mark.parametrize("port", [25, 587])
def test_nothing_is_taken_without_a_login_or_without_tls(deployed, port: int) -> None:
    with deployed.client(None, port) as client:
        assert client.docmd("MAIL FROM:<news@example.com>")[0] == 530
    with smtplib.SMTP(deployed.machine.address, port, local_hostname="client.test", timeout=30) as plain:
        plain.ehlo()
        assert not plain.has_extn("auth")
        assert plain.docmd("MAIL FROM:<news@example.com>")[0] == 530


def test_a_click_leads_on_and_is_in_the_journal(deployed, click, until) -> None:
    destination = click()
    assert re.fullmatch(r"https://www\.example\.com/mark-\d+\?a=1", destination)
    today = datetime.now(UTC).date().isoformat()

    def journalled() -> bool:
        rows = csv.DictReader(io.StringIO(deployed.smtpeter("journal", "export", "--type", "clicks", "--date", today)))
        return any(destination in row.values() for row in rows)

    until(journalled, "the click is in the journal", 60)


def test_a_message_can_be_traced(deployed, login, until) -> None:
    mark, message = deployed.message(**ON)
    with deployed.client(login) as client:
        client.mail("news@example.com")
        client.rcpt("reader@example.net")
        queue_id = client.data(message)[1].decode().rpartition(" ")[2]
    deployed.left(mark)
    until(lambda: "reader@example.net" in deployed.smtpeter("trace", queue_id), "the journal knows the message", 60)


def test_a_second_run_changes_nothing(second_run) -> None:
    assert second_run.passed, second_run.ended()
    assert second_run.changed == 0, re.findall(r"^changed: [^\n]*", second_run.output, re.MULTILINE)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("smtpeter_keep_versions", "many", "smtpeter_keep_versions"),
        ("smtpeter_tls", "starttls", "value of smtpeter_tls must be one of"),
        ("smtpeter_settings", {"journal": {"retention": "long"}}, "retention"),
        ("smtpeter_postfix_parameters", {"mynetworks": "0.0.0.0/0"}, "mynetworks"),
    ],
)
def test_a_wrong_variable_is_refused_with_a_sentence(deployed, variable: str, value: object, sentence: str) -> None:
    before = deployed.state()
    played = deployed.play(**{variable: value})
    assert not played.passed
    assert played.changed == 0, played.ended()
    assert sentence in played.output, played.ended()
    assert "Traceback" not in played.output
    assert deployed.state() == before


def test_a_machine_that_lost_its_power_serves_again(deployed, login, connect, until) -> None:
    mark, message = deployed.message(**ON)
    deployed.sink.putting_off = True
    try:
        with connect() as client:
            client.sendmail("news@example.com", ["reader@example.net"], message)
        deployed.machine.kill()
    finally:
        deployed.sink.putting_off = False
    deployed.machine.start()
    deployed.machine.run("postqueue -f")
    assert deployed.signed(deployed.left(mark))
    with connect() as client:
        assert client.noop()[0] == 250
