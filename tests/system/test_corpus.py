"""Real and hostile mail of all shapes through a real Postfix: refused with a reason, or delivered whole, stripped and signed."""

import re
import smtplib
import sys
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import dkim
import pytest

pytestmark = pytest.mark.system

CONTROL = b"X-SMTPeter-Tags: corpus\r\nx-smtpeter-unknown: 1\r\n"


def messages(corpus: Path | None) -> list[tuple[str, bytes]]:
    """Name and bytes: CPython's own test messages where they are installed, the corpus where it is at hand, and our own."""
    found = [("sample", sample(encoding).as_bytes()) for encoding in ("7bit", "8bit", "quoted-printable", "base64")]
    folders = [Path(path) / "test" / "test_email" / "data" for path in sys.path]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("msg_*.txt"))]
    if corpus is not None:
        files += sorted((corpus / "mime").glob("*.eml")) + sorted((corpus / "bounces").glob("*.eml"))
        for file in sorted((corpus / "html").glob("*.html")):
            for encoding in ("8bit", "quoted-printable", "base64"):
                found.append((f"{file.name} {encoding}", sample(encoding, file.read_text()).as_bytes()))
    return found + [(file.name, file.read_bytes()) for file in files]


def sample(encoding: str, html: str = "<style>p{color:red}</style><p>hello</p>\n") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "news@example.com", "reader@example.net", "corpus"
    message.set_content("hello\n")
    # A line too long for 7bit and 8bit would be encoded by the library against our will.
    short = re.sub(r"(.{900}[^<]*)", r"\1\n", html) if encoding.endswith("bit") else html
    plain = short.encode("ascii", "xmlcharrefreplace").decode() if encoding == "7bit" else short
    message.add_alternative(plain, subtype="html", cte=encoding)
    return message


def ours(raw: bytes) -> bytes:
    """A message as a client of ours would send it: its From in our domain, control fields on top."""
    raw = re.sub(rb"\r?\n|\r", b"\r\n", raw)
    raw = re.sub(rb"\A(?:From |>From )[^\n]*\n", b"", raw)  # the line of a mailbox file
    header, separator, body = raw.partition(b"\r\n\r\n")
    header = re.sub(rb"(?im)^(?:from|sender|resent-from)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n?", b"", header + b"\r\n")
    return CONTROL + b"From: News <news@example.com>\r\n" + header.removesuffix(b"\r\n") + separator + body


@pytest.mark.parametrize("inlinecss", ["false", "true"])
def test_every_message_is_refused_with_a_reason_or_arrives_whole(service, transaction, corpus, inlinecss: str) -> None:
    login = service.login(f"inlinecss={inlinecss}")
    accepted, refused = {}, {}
    with service.client(login) as client:
        for name, raw in messages(corpus):
            try:
                accepted[name] = transaction(client, ours(raw))
            except smtplib.SMTPResponseException as refusal:
                refused[name] = refusal
                if refusal.smtp_code == 421:
                    client.close()
                    client = service.client(login)  # noqa: PLW2901  # Postfix ends a session after five errors
    for name, refusal in refused.items():
        assert refusal.smtp_code == 550, (name, refusal)
        assert refusal.smtp_error.startswith(b"5.6."), (name, refusal)
    assert len(refused) < len(accepted) / 10
    records = {f"{record}.".encode(): value.encode() for record, value in service.records.items()}
    for name, queue_id in accepted.items():
        left = service.captured(queue_id)
        assert b"x-smtpeter" not in re.sub(rb"\n[ \t]", b" ", left.header.lower()), name
        assert dkim.verify(left.raw, dnsfunc=lambda record, timeout=5: records.get(record)), name
        assert not any("event=fallback" in line for line in service.events(queue_id)), (name, service.events(queue_id))
