"""Who gets in, and what the others are told: said by real clients."""

import base64
import json
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

pytestmark = pytest.mark.system

STRANGERS = count(1)
MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: hello\r\n\r\nhello\r\n"


def swaks(service, *words: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """A session of swaks; its transcript is in stdout."""
    command = (
        "swaks",
        "--server",
        f"127.0.0.1:{port or service.submission}",
        "--from",
        "news@example.com",
        "--to",
        "a@example.net",
    )
    return subprocess.run((*command, *words), capture_output=True, text=True, timeout=60, check=False)


def credentials(login) -> tuple[str, ...]:
    return "--auth-user", login.name, "--auth-password", login.password


def tried(service, name: str, password: str) -> tuple[int, bytes]:
    """The reply to credentials from an address that has not guessed yet: who goes on guessing waits for it."""
    with service.client(address=f"127.0.6.{next(STRANGERS)}") as client:
        return client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())


@contextmanager
def raw(service, port: int | None = None) -> Iterator[Callable[[bytes], bytes]]:
    """A plain socket; the function sends bytes and returns the whole reply."""
    with socket.create_connection(("127.0.0.1", port or service.submission), timeout=20) as connection:
        file = connection.makefile("rb")

        def say(data: bytes) -> bytes:
            connection.sendall(data)
            reply = line = file.readline()
            while line[3:4] == b"-":
                line = file.readline()
                reply += line
            return reply

        say(b"")
        yield say


@pytest.mark.parametrize("listener", ["smtp", "submission"])
def test_before_tls_there_is_starttls_and_no_auth(service, listener: str) -> None:
    with raw(service, getattr(service, listener)) as say:
        ehlo = say(b"EHLO client.test\r\n").decode()
        assert "STARTTLS" in ehlo
        assert "AUTH" not in ehlo
        assert say(b"MAIL FROM:<a@example.com>\r\n").startswith(b"530 5.7.0 ")
        assert say(b"AUTH PLAIN AGEAYg==\r\n").startswith(b"530 5.7.0 ")


@pytest.mark.parametrize("listener", ["smtp", "submission", "submissions"])
def test_after_tls_everything_a_client_needs_is_offered(service, listener: str) -> None:
    port = getattr(service, listener)
    if listener == "submissions":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            "localhost", port, timeout=20, context=service.trust, local_hostname="client.test"
        )
    else:
        client = smtplib.SMTP("localhost", port, local_hostname="client.test", timeout=20)
        client.starttls(context=service.trust)
    with client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        assert {"dsn", "pipelining", "8bitmime", "smtputf8", "enhancedstatuscodes"} <= client.esmtp_features.keys()
        assert client.esmtp_features["size"] == "104857600"
        assert not {"starttls", "chunking", "etrn", "vrfy"} & client.esmtp_features.keys()


def test_the_third_port_speaks_tls_from_the_first_byte(service) -> None:
    with socket.create_connection(("127.0.0.1", service.submissions), timeout=20) as plain:
        plain.sendall(b"EHLO client.test\r\n")
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert b"220" not in answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*deprecated:DeprecationWarning")
def test_old_tls_is_refused(service, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", service.submissions), timeout=20) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(("listener", "tls"), [("smtp", "--tls"), ("submission", "--tls"), ("submissions", "--tls-on-connect")])
def test_swaks_delivers_by_both_mechanisms_on_every_port(service, login, listener: str, tls: str, mechanism: str) -> None:
    done = swaks(service, tls, "--auth", mechanism, *credentials(login), port=getattr(service, listener))
    assert done.returncode == 0, done.stdout
    queue_id = done.stdout.rpartition("queued as ")[2].split()[0]
    assert service.captured(queue_id).envelope["mail_from"] == "news@example.com"


def test_swaks_without_tls_sees_no_auth_and_530(service, login) -> None:
    without = swaks(service, "--auth", "PLAIN", *credentials(login))
    assert "AUTH" not in without.stdout.partition("EHLO")[2].partition("QUIT")[0].replace("--auth", "")
    refused = swaks(service)
    assert refused.returncode != 0
    assert "530 5.7.0 Must issue a STARTTLS command first" in refused.stdout


def test_swaks_with_tls_and_no_auth_gets_530(service) -> None:
    refused = swaks(service, "--tls")
    assert refused.returncode != 0
    assert "530 5.7.0" in refused.stdout


def test_login_with_initial_response_asks_for_the_password_only(service, login) -> None:
    with service.client() as client:
        code, text = client.docmd("AUTH", "LOGIN " + base64.b64encode(login.name.encode()).decode())
        assert (code, text) == (334, b"UGFzc3dvcmQ6")
        code, _ = client.docmd(base64.b64encode(login.password.encode()).decode())
        assert code == 235


def test_login_without_initial_response_asks_for_both(service, login) -> None:
    with service.client() as client:
        assert client.docmd("AUTH", "LOGIN")[0] == 334
        assert client.docmd(base64.b64encode(login.name.encode()).decode()) == (334, b"UGFzc3dvcmQ6")
        assert client.docmd(base64.b64encode(login.password.encode()).decode())[0] == 235


def test_an_abandoned_authentication_leaves_the_session_usable(service, login) -> None:
    with service.client() as client:
        assert client.docmd("AUTH", "LOGIN")[0] == 334
        assert client.docmd("*")[0] == 501
        client.login(login.name, login.password)
        assert client.mail("news@example.com")[0] == 250


@pytest.mark.parametrize(
    "spoil",
    [
        lambda password: password.replace(" ", ""),
        lambda password: password.replace(" ", "  ", 1),
        lambda password: f" {password}",
        lambda password: f"{password} ",
        lambda password: password.upper(),
        lambda password: password[:-1],
        lambda password: "wrong",
    ],
)
def test_the_password_is_exact_its_spaces_included(service, spoil) -> None:
    login = service.login()
    assert tried(service, login.name, spoil(login.password))[0] == 535


def test_wrong_user_wrong_password_and_disabled_login_look_alike(service) -> None:
    login, disabled = service.login(), service.login()
    service.run("login", "disable", disabled.name)
    answers = set()
    for name, password in (
        ("f" * 32, login.password),
        ("nobody", login.password),
        (login.name, "wrong"),
        (login.name.upper(), login.password),
        (disabled.name, disabled.password),
        (disabled.name, "wrong"),
    ):
        answers.add(tried(service, name, password))
    assert len(answers) == 1
    assert answers.pop()[0] == 535


def test_without_auth_nothing_is_accepted_not_even_for_postmaster(service) -> None:
    with service.client() as client:
        code, text = client.mail("news@example.com")
        assert (code, text) == (530, b"5.7.0 Authentication required")
        for recipient in ("a@example.net", "postmaster"):
            assert client.rcpt(recipient)[0] in (503, 530, 554)
        assert client.docmd("DATA")[0] in (503, 554)


def test_a_pending_account_logs_in_and_is_told_whom_to_ask(service) -> None:
    service.run("account", "add", "newcomer")
    login = service.login(account="newcomer")
    with service.client(login) as client:
        code, text = client.mail("news@example.com")
    assert code == 550
    assert text.startswith(b"5.7.1 You do not have permission to send email; contact postmaster@")
    service.run("account", "approve", "newcomer")
    assert service.through(login, MESSAGE.replace(b"example.com", b"example.org"), mail_from="news@example.org").raw


def test_the_password_is_never_readable_again(service) -> None:
    login = service.login()
    shown = service.run("login", "show", login.name, "--json") + service.run("login", "list", "--json")
    stored = b"".join(path.read_bytes() for path in service.data.glob("policy.db*"))
    for secret in (login.password, login.password.replace(" ", ""), login.password[:9]):
        assert secret not in shown
        assert secret.encode() not in stored
        assert secret not in service.log + service.mail_log


def test_rotation_ends_the_old_password_at_once(service) -> None:
    login = service.login()
    with service.client(login):
        pass
    rotated = json.loads(service.run("login", "rotate", login.name, "--at-once", "--json"))["password"]
    with service.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(login.name, login.password)
    with service.client() as client:
        client.login(login.name, rotated)


@pytest.mark.parametrize("how", ["disable", "remove"])
def test_an_open_session_of_a_revoked_login_stops_at_its_next_message(service, transaction, how: str) -> None:
    login = service.login()
    with service.client(login) as client:
        transaction(client, MESSAGE)
        service.run("login", how, login.name)
        code, text = client.mail("news@example.com")
        assert (code, text) == (554, b"5.7.1 This login is no longer valid")


def test_an_open_session_of_a_suspended_account_stops_at_its_next_recipient(service) -> None:
    service.run("account", "add", "passing", "--approve")
    with service.client(service.login(account="passing")) as client:
        assert client.mail("news@example.org")[0] == 250
        assert client.rcpt("a@example.net")[0] == 250
        service.run("account", "suspend", "passing")
        code, text = client.rcpt("b@example.net")
        assert code == 550
        assert b"You do not have permission to send email; contact" in text
        client.rset()
        assert client.mail("news@example.com")[0] == 550


def test_a_changed_option_counts_from_the_next_message_of_an_open_session(service, transaction) -> None:
    html = MESSAGE.replace(
        b"\r\n\r\nhello", b"\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<style>p{color:red}</style><p>x</p>"
    )
    login = service.login()
    with service.client(login) as client:
        before = transaction(client, html)
        service.run("login", "set", login.name, "inlinecss=true")
        after = transaction(client, html)
    assert b'style="' not in service.captured(before).body
    assert b'style="' in service.captured(after).body


def test_five_wrong_passwords_end_the_session(service, login) -> None:
    with service.client() as client:
        response = base64.b64encode(b"\0" + login.name.encode() + b"\0wrong").decode()
        codes = [client.docmd("AUTH PLAIN", response)[0] for _ in range(6)]
        assert codes == [535] * 5 + [421]
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_another_identity_cannot_be_claimed(service, login) -> None:
    other = service.login()
    for response in (
        f"{other.name}\0{login.name}\0{login.password}",
        f"\0{login.name}\0{login.password}\0{other.name}",
        f"\0\0{login.password}",
        f"\0{login.name}\0",
        f"\0{login.name}\tuser={other.name}\0{login.password}",
    ):
        with service.client() as client:
            assert client.docmd("AUTH PLAIN", base64.b64encode(response.encode()).decode())[0] == 535
    with service.client(login) as client:
        assert client.docmd(f"MAIL FROM:<news@example.com> AUTH=<{other.name}>")[0] == 250
        assert client.rcpt("a@example.net")[0] == 250
        code, text = client.data(MESSAGE)
    assert code == 250
    assert f"login={login.name}" in " ".join(service.events(text.decode().rpartition(" ")[2]))
