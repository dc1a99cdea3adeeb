"""The signature on the message as it arrives: three verifiers, both kinds of key, whatever the next hop can do."""

import re
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

VERIFY = Path(__file__).parent / "verifiers" / "verify-dkim"
HTML = "<style>td{font-family:helvetica,sans-serif}.a{color:red}</style><table><tr><td class=a>hello</td></tr></table>"
MESSAGE = b"""\
X-SMTPETER-inlinecss: no\r
From: News <news@example.com>\r
To: reader@example.net\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
Message-ID: <1@example.com>\r
x-smtpeter-INLINECSS:\r
 \tnonsense\r
Subject: signed\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
X-SMTPeter-InlineCSS:\r
  true\r
\r
""" + HTML.encode() + b"\r\n"  # fmt: skip


@pytest.fixture
def verifies(service, tmp_path: Path):
    """Whether dkimpy, opendkim-testmsg and Mail::DKIM all accept a message."""

    def verify(raw: bytes) -> bool:
        file, zone = tmp_path / "message.eml", tmp_path / "zone"
        file.write_bytes(raw)
        zone.write_text("".join(f"{name} TXT {value}\n" for name, value in service.records.items()))
        done = subprocess.run((sys.executable, str(VERIFY), str(file), str(zone)), capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode == 0

    return verify


def test_odd_fields_three_times_the_message_leaves_inlined_stripped_and_verified(service, login, verifies) -> None:
    left = service.through(login, MESSAGE)
    assert b"x-smtpeter" not in left.header.lower()
    assert left.body.count(b' style="') == 1
    assert re.sub(rb' style="[^"]*"', b"", left.body) == MESSAGE.partition(b"\r\n\r\n")[2]
    received, header = left.header.split(b"DKIM-Signature:")[0], MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n"
    kept = re.sub(rb"(?i)x-smtpeter-inlinecss:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", header)
    assert left.header.endswith(kept)
    assert b"Received:" in received + left.header
    assert verifies(left.raw)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw.replace(b"hello", b"hallo"),
        lambda raw: raw + b"appended\r\n",
        lambda raw: raw.replace(b"From: News", b"From: evil@example.org\r\nFrom: News"),
        lambda raw: raw.replace(b"Subject: signed", b"Subject: other\r\nSubject: signed"),
        lambda raw: raw.replace(b"Content-Type: ", b"Content-Type: text/plain\r\nContent-Type: "),
        lambda raw: raw.replace(b"To: reader@", b"Cc: a@example.org\r\nTo: reader@"),
        lambda raw: raw.replace(b"Subject: signed", b"List-Unsubscribe: <https://evil.test/>\r\nSubject: signed"),
    ],
)
def test_a_forged_copy_does_not_verify(service, login, verifies, spoil) -> None:
    raw = service.through(login, MESSAGE).raw
    assert spoil(raw) != raw
    assert not verifies(spoil(raw))


def test_both_kinds_of_key_sign_together(service, verifies) -> None:
    service.domain("both.example.com", "--algorithm", "rsa", "--algorithm", "ed25519")
    left = service.through(service.login(), MESSAGE.replace(b"news@example.com", b"news@both.example.com"))
    assert sorted(re.findall(rb"a=(\S+);", left.header)) == [b"ed25519-sha256", b"rsa-sha256"]
    assert verifies(left.raw)


def test_signature_follows_the_rules(service, login) -> None:
    field = re.search(rb"DKIM-Signature:(?:[^\n]*\n[ \t])*[^\n]*\n", service.through(login, MESSAGE).header)[0]
    tags = dict(part.split(b"=", 1) for part in re.sub(rb"\s", b"", field.partition(b":")[2]).split(b";") if part)
    assert tags[b"c"] == b"relaxed/relaxed"
    assert tags[b"d"] == b"example.com"
    assert b"l" not in tags
    signed = tags[b"h"].lower().split(b":")
    for name in (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type"):
        assert signed.count(name) == 2, name
    for name in (b"cc", b"reply-to", b"content-transfer-encoding", b"list-unsubscribe", b"list-unsubscribe-post"):
        assert signed.count(name) == 1, name
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))


@pytest.mark.parametrize("sender", ["news@example.org", "news@notexample.com", "news@example.com.example.org", "news"])
def test_only_the_accounts_own_domains_are_signed(service, login, sender: str) -> None:
    queue_id = service.send(login, MESSAGE.replace(b"news@example.com", sender.encode()))
    assert b"DKIM-Signature" not in service.captured(queue_id).header
    assert " unsigned=" in service.events(queue_id)[0]


@pytest.mark.parametrize(
    "sender",
    [
        b"news@EXAMPLE.com",
        b'"a@example.org" <news@example.com>',
        b"(comment@example.org) news@example.com",
        b'"quoted <x@example.org>"@example.com',
        b"=?utf-8?q?a=40example=2Eorg?= <news@example.com>",
        b"\r\n News\r\n\t<news@example.com>",
    ],
)
def test_the_domain_is_that_of_the_address(service, login, verifies, sender: bytes) -> None:
    left = service.through(login, MESSAGE.replace(b"News <news@example.com>", sender))
    assert b"d=example.com;" in left.header
    assert verifies(left.raw)


def test_mail_of_another_accounts_domain_is_not_signed_but_refused(service) -> None:
    service.run("account", "add", "rival", "--approve")
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        service.send(service.login(account="rival"), MESSAGE, mail_from="a@example.org")
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (550, b"5.7.1")


def test_two_from_fields_are_refused(service, login, transaction) -> None:
    two = MESSAGE.replace(b"From: News", b"From: other@example.com\r\nFrom: News")
    with service.client(login) as client, pytest.raises(smtplib.SMTPResponseException) as caught:
        transaction(client, two)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (550, b"5.6.0")


LONG = {
    "text, 8 bit": b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + ("größe " * 300).encode() + b"\r\n",
    "html, 7 bit": b"Content-Type: text/html\r\n\r\n<p>" + b"word " * 500 + b"</p>\r\n",
    "no type": b"\r\n" + b"x" * 5000 + b"\r\n",
    "binary": b"Content-Type: application/octet-stream\r\n\r\n" + b"y" * 3000 + b"\r\n",
    "inside a multipart": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\n' + b"z" * 1500 + b"\r\n--b--\r\n",
}


@pytest.mark.parametrize("case", LONG)
def test_lines_too_long_for_smtp_arrive_with_a_signature_that_verifies(service, login, verifies, case: str) -> None:
    header = MESSAGE.partition(b"X-SMTPETER")[2].partition(b"\r\n")[2].partition(b"Content-Type")[0]
    queue_id = service.send(login, re.sub(rb"(?i)x-smtpeter[^\n]*\n(?:[ \t][^\n]*\n)*", b"", header) + LONG[case])
    left = service.captured(queue_id)
    assert max(map(len, left.raw.split(b"\r\n"))) <= 998
    assert verifies(left.raw)
    assert any("event=reencoded" in line for line in service.events(queue_id))


def test_a_long_header_field_is_folded_not_broken(service, login, verifies) -> None:
    references = b"References: " + b" ".join(b"<%d@example.com>" % number for number in range(120)) + b"\r\n"
    left = service.through(login, MESSAGE.replace(b"Subject:", references + b"Subject:"))
    assert max(map(len, left.raw.split(b"\r\n"))) <= 998
    assert verifies(left.raw)


def test_8_bit_mail_verifies_behind_a_server_that_takes_7_bit_only(make_service, tmp_path: Path) -> None:
    # smtp-sink -8 does not offer 8BITMIME and writes down what it gets.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sink = subprocess.Popen(
        ("smtp-sink", "-8", "-u", "root", "-d", "%s.", f"127.0.0.1:{port}", "10"), cwd=tmp_path, start_new_session=True
    )
    try:
        service = make_service("--relayhost", f"127.0.0.1:{port}")
        service.run("account", "add", "shop", "--approve")
        service.domain("example.com")
        body = "<p>größer</p>\r\n".encode()
        message = (
            re.sub(rb"(?i)x-smtpeter[^\n]*\n(?:[ \t][^\n]*\n)*", b"", MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n")
            + b"\r\n"
            + body
        )
        service.send(service.login(), message)
        limit = time.monotonic() + 30
        while not (found := [file for file in tmp_path.iterdir() if body.replace(b"\r\n", b"\n") in file.read_bytes()]):
            assert time.monotonic() < limit
            time.sleep(0.1)
    finally:
        sink.terminate()
        sink.wait()
    raw = found[0].read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    raw = raw[raw.index(b"Received:") :]
    zone = tmp_path / "zone"
    zone.write_text("".join(f"{name} TXT {value}\n" for name, value in service.records.items()))
    (tmp_path / "message.eml").write_bytes(raw)
    done = subprocess.run((sys.executable, str(VERIFY), str(tmp_path / "message.eml"), str(zone)), check=False)
    assert done.returncode == 0
