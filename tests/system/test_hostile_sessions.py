"""Sessions that break the rules: smuggling, pipelining, injected commands and lost transactions."""

import re
import smtplib
import socket
import ssl

import pytest

pytestmark = pytest.mark.system

MESSAGE = b"From: news@example.com\r\nTo: reader@example.net\r\nSubject: %b\r\n\r\nhello\r\n"


def begin(client: smtplib.SMTP, recipient: str = "a@example.net") -> None:
    assert client.mail("news@example.com")[0] == 250
    assert client.rcpt(recipient)[0] == 250


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n\0.\r\n", b"\n.\r"])
def test_only_one_message_arrives_whatever_looks_like_an_end(service, login, end: bytes) -> None:
    smuggled = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nFrom: evil@example.com\r\n\r\nevil\r\n"
    with service.client(login) as client:
        begin(client)
        assert client.docmd("DATA")[0] == 354
        client.send(MESSAGE % b"one" + end + smuggled + b"\r\n.\r\n")
        code, text = client.getreply()
        assert code in (250, 550)
        # The rest, if the server took the false end for a real one, would be answered as commands.
        assert client.noop()[0] in (250, 421)
    assert not any(b"evil@example.com" in path.read_bytes() for path in service.outbox.glob("*.json"))
    if code == 250:
        left = service.captured(text.decode().rpartition(" ")[2])
        assert left.envelope["mail_from"] == "news@example.com"
        assert b"\0" not in left.raw
        assert re.search(rb"(?<!\r)\n|\r(?!\n)", left.raw) is None


def test_a_stray_cr_before_the_end_smuggles_nothing_either(service, login) -> None:
    # CR CR LF . CR LF: the line before the dot ends with CRLF, so Postfix takes the dot for the end; but a client that
    # does not wait for the answer to DATA is out of turn, and the second message gets no further.
    second = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    client = service.client(login)
    begin(client)
    assert client.docmd("DATA")[0] == 354
    client.send(MESSAGE % b"one" + b"\r\r\n.\r\n" + second + MESSAGE % b"two" + b".\r\n")
    replies = []
    with pytest.raises(smtplib.SMTPServerDisconnected):
        while True:
            replies.append(client.getreply())
    assert [code for code, _ in replies] == [250, 250, 250, 554]
    service.captured(replies[0][1].decode().rpartition(" ")[2])
    assert not any(b"evil@example.com" in path.read_bytes() for path in service.outbox.glob("*.json"))


def test_commands_behind_starttls_are_discarded(service) -> None:
    with socket.create_connection(("127.0.0.1", service.submission), timeout=20) as plain:
        plain.recv(1000)
        plain.sendall(b"EHLO client.test\r\n")
        plain.recv(1000)
        plain.sendall(b"STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<news@example.com>\r\n")
        assert plain.recv(1000).startswith(b"220")
        try:
            with service.trust.wrap_socket(plain, server_hostname="localhost") as encrypted:
                encrypted.sendall(b"RCPT TO:<a@example.net>\r\n")
                assert encrypted.recv(1000).startswith(b"503")
        except ssl.SSLError:
            pass  # the server gave up the session: nothing was injected either


def test_talking_out_of_turn_is_refused(service, login) -> None:
    with service.client(login) as client:
        begin(client)
        client.send(b"DATA\r\n" + MESSAGE % b"early" + b".\r\nNOOP\r\n")
        assert client.getreply()[0] in (354, 554)


@pytest.mark.parametrize(
    "command", ["XCLIENT ADDR=1.2.3.4", "XFORWARD NAME=x", "VRFY postmaster", "EXPN list", "ETRN example.com", "BDAT 5 LAST"]
)
def test_commands_of_others_are_refused(service, login, command: str) -> None:
    with service.client(login) as client:
        assert 500 <= client.docmd(command)[0] < 600


def test_a_second_message_after_a_refused_one_needs_its_own_mail(service, login) -> None:
    bad = b"From: news@example.com\r\nno field\r\nX-SMTPeter-Tags: a\r\n\r\nx\r\n"
    with service.client(login) as client:
        begin(client)
        assert client.data(bad)[0] == 550
        code, _ = client.rcpt("b@example.net")
        assert code == 503
        begin(client)
        assert client.data(MESSAGE % b"after")[0] == 250


def test_what_was_said_before_rset_is_forgotten(service, login, transaction) -> None:
    with service.client(login) as client:
        begin(client, "forgotten@example.net")
        client.rset()
        left = service.captured(transaction(client, MESSAGE % b"rset", ("kept@example.net",)))
    assert [recipient["address"] for recipient in left.envelope["rcpt_to"]] == ["kept@example.net"]


def test_a_message_over_the_limit_is_refused_at_mail(service, login) -> None:
    with service.client(login) as client:
        assert client.docmd("MAIL FROM:<news@example.com> SIZE=104857601")[0] == 552


def test_many_recipients_are_one_message(service, login) -> None:
    recipients = tuple(f"r{number}@example.net" for number in range(120))
    queue_id = service.send(login, MESSAGE % b"many", recipients)
    assert " recipients=120 " in service.events(queue_id)[0]
    service.captured(queue_id)


def test_delivery_status_options_and_utf8_addresses_reach_the_next_hop(service, login, transaction) -> None:
    with service.client(login) as client:
        queue_id = transaction(
            client,
            MESSAGE % b"dsn",
            mail_options=("RET=HDRS", "ENVID=QQ314159"),
            rcpt_options=("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@example.net"),
        )
        envelope = service.captured(queue_id).envelope
        assert envelope["mail_parameters"] | {"RET": "HDRS", "ENVID": "QQ314159"} == envelope["mail_parameters"]
        parameters = envelope["rcpt_to"][0]["parameters"]
        assert set(parameters["NOTIFY"].split(",")) == {"SUCCESS", "FAILURE"}
        assert parameters["ORCPT"] == "rfc822;first@example.net"
        client.send("MAIL FROM:<bücher@example.com> SMTPUTF8\r\n".encode())
        assert client.getreply()[0] == 250
        client.rset()
