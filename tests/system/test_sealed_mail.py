"""Signed and encrypted mail, made with openssl and gpg: it leaves byte for byte as it came, and still verifies and decrypts."""

import base64
import json
import os
import quopri
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dkim
import pytest

pytestmark = pytest.mark.system

FEATURES = ("images", "inlinecss", "trackopens", "trackclicks")
# What a client may have made: lines and blanks at their ends that a careless program would tidy, tracking in every form.
HTML = """\
<style>a{color:red} .x:hover{color:blue}</style><p class=3Dx>gr=C3=BC=C3=9Fe =E2=80=93 <a href=3D"https://www.example.com/a?b=3D1">here</a>=20\r
<img src=3D"cid:a@example.com"><img src=3D"http://images.example.org/a.png"></p>\r
"""
ENTITY = f"""\
Content-Type: multipart/alternative; boundary="inner"\r
\r
--inner\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
From here: https://www.example.com/a?b=3D1=20\r
\r
--inner\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
{HTML}--inner--\r
""".encode()
FIELDS = b"""\
From: News <news@example.com>\r
To: reader@example.net\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
Message-ID: <sealed@example.com>\r
Subject: sealed\r
"""


def run(*argv: str, given: bytes = b"", **environment: str) -> bytes:
    done = subprocess.run(argv, input=given, capture_output=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, (argv, done.stderr.decode(errors="replace"))
    return done.stdout


@dataclass(frozen=True)
class Smime:
    """A key and its certificate, which is its own authority."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Smime":
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=News", "-days", "2"),
            *("-addext", "subjectAltName=email:news@example.com", "-addext", "extendedKeyUsage=emailProtection"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
        )
        return cls(folder)

    @property
    def pair(self) -> tuple[str, ...]:
        return "-inkey", str(self.folder / "key.pem")

    @property
    def certificate(self) -> str:
        return str(self.folder / "certificate.pem")

    def sign(self, entity: bytes, *options: str, tool: str = "smime") -> bytes:
        return crlf(run("openssl", tool, "-sign", "-signer", self.certificate, *self.pair, *options, given=entity))

    def encrypt(self, entity: bytes, tool: str = "cms") -> bytes:
        return crlf(run("openssl", tool, "-encrypt", "-aes256", self.certificate, given=entity))

    def verified(self, entity: bytes) -> bytes:
        return run("openssl", "cms", "-verify", "-CAfile", self.certificate, given=entity)

    def decrypted(self, entity: bytes) -> bytes:
        return run("openssl", "cms", "-decrypt", *self.pair, given=entity)


@dataclass(frozen=True)
class Pgp:
    """A keyring with one key."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Pgp":
        pgp = cls(folder)
        pgp("--quick-generate-key", "News <news@example.com>", "future-default", "default", "never")
        return pgp

    def __call__(self, *options: str, given: bytes = b"") -> bytes:
        words = (
            "gpg",
            "--batch",
            "--quiet",
            "--yes",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            "--trust-model",
            "always",
        )
        return run(*words, *options, given=given, GNUPGHOME=str(self.folder))

    def end(self) -> None:
        run("gpgconf", "--kill", "all", GNUPGHOME=str(self.folder))

    def sign(self, entity: bytes) -> bytes:
        signature = crlf(self("--armor", "--detach-sign", given=entity))
        return (
            b'Content-Type: multipart/signed; micalg=pgp-sha512;\r\n protocol="application/pgp-signature"; boundary="pgp"\r\n\r\n'
            b"This is a signed message.\r\n--pgp\r\n" + entity + b"\r\n--pgp\r\n"
            b"Content-Type: application/pgp-signature; name=signature.asc\r\n\r\n" + signature + b"--pgp--\r\n"
        )

    def encrypt(self, entity: bytes) -> bytes:
        text = crlf(self("--armor", "--encrypt", "--sign", "--recipient", "news@example.com", given=entity))
        return (
            b'Content-Type: multipart/encrypted;\r\n\tprotocol="application/pgp-encrypted"; boundary="pgp"\r\n\r\n'
            b"--pgp\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
            b"--pgp\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n" + text + b"--pgp--\r\n"
        )

    def verified(self, entity: bytes, folder: Path) -> bytes:
        """What was signed in a multipart/signed. Fails where the signature is not good."""
        _, signed, signature, _ = entity.split(b"--pgp")
        content, file = signed.removeprefix(b"\r\n").removesuffix(b"\r\n"), folder / "signature"
        file.write_bytes(signature.partition(b"\r\n\r\n")[2])
        assert b"VALIDSIG" in self("--status-fd", "1", "--verify", str(file), "-", given=content)
        return content


def crlf(text: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", text)


@pytest.fixture(scope="module")
def smime(tmp_path_factory: pytest.TempPathFactory) -> Smime:
    return Smime.make(tmp_path_factory.mktemp("smime"))


@pytest.fixture(scope="module")
def pgp() -> Iterator[Pgp]:
    # Its agent's socket needs a short path.
    with TemporaryDirectory(prefix="gpg-", dir="/tmp") as name:
        pgp = Pgp.make(Path(name))
        yield pgp
        pgp.end()


@pytest.fixture(scope="module")
def everything(service):
    """A login with all features on."""
    return service.login("inlinecss=true", "trackclicks=true", "trackopens=true", "preventscam=true", "images=hosted")


@pytest.fixture
def arrives(service, everything):
    """Sends an entity as a mail and gives it back as it arrived, after looking at all that must not have happened to it."""

    def send(entity: bytes, reason: str, recipients: tuple[str, ...] = ("reader@example.net",)) -> bytes:
        fields, _, body = entity.partition(b"\r\n\r\n")
        own = re.sub(rb"(?i)\AMIME-Version: 1\.0\r\n", b"", fields)
        queue_id = service.send(everything, FIELDS + b"MIME-Version: 1.0\r\n" + own + b"\r\n\r\n" + body, recipients)
        left = service.captured(queue_id)
        assert left.header.endswith(FIELDS + b"MIME-Version: 1.0\r\n" + own + b"\r\n")
        assert left.body == body
        assert [recipient["address"] for recipient in left.envelope["rcpt_to"]] == list(recipients)
        records = {f"{name}.".encode(): value.encode() for name, value in service.records.items()}
        assert dkim.verify(left.raw, dnsfunc=lambda record, timeout=5: records.get(record))
        says_why(service, queue_id, reason)
        return left.header + b"\r\n" + left.body

    return send


def says_why(service, queue_id: str, reason: str) -> None:
    """The log says that nothing was applied, and why."""
    decision, *events = service.events(queue_id)
    assert " applied=" not in decision
    assert " split=" not in decision
    for feature in FEATURES:
        assert any(f"event=skipped subject={feature} " in line and reason in line for line in events), (feature, events)


def lives(service, queue_id: str) -> list[dict]:
    """What `smtpeter trace` tells of a message, once the journal has it."""
    done = subprocess.run(service.command("trace", queue_id, "--json"), capture_output=True, check=False)
    return json.loads(done.stdout)["messages"] if done.returncode == 0 else []


def signed_part(entity: bytes) -> bytes:
    """The first part of a multipart/signed, as it stands."""
    boundary = re.search(rb'boundary="([^"]+)"', entity)[1]
    return entity.split(b"--" + boundary + b"\r\n")[1].removesuffix(b"\r\n")


def test_smime_signed(arrives, smime: Smime) -> None:
    for tool in ("smime", "cms"):
        signed = smime.sign(ENTITY, tool=tool)
        assert signed_part(signed) == ENTITY
        assert smime.verified(arrives(signed, "multipart/signed")) == ENTITY


def test_smime_signed_and_opaque(arrives, smime: Smime) -> None:
    signed = smime.sign(ENTITY, "-nodetach", tool="cms")
    assert b"application/pkcs7-mime; smime-type=signed-data" in signed
    assert smime.verified(arrives(signed, "application/pkcs7-mime")) == ENTITY


def test_smime_encrypted(arrives, smime: Smime) -> None:
    assert smime.decrypted(arrives(smime.encrypt(ENTITY), "application/pkcs7-mime")) == ENTITY
    # openssl smime still writes the older name of the type.
    assert smime.decrypted(arrives(smime.encrypt(ENTITY, tool="smime"), "application/x-pkcs7-mime")) == ENTITY


def test_smime_signed_encrypted_and_signed_again(arrives, smime: Smime) -> None:
    inner = smime.sign(ENTITY)
    arrived = arrives(smime.sign(smime.encrypt(inner)), "multipart/signed")
    assert smime.verified(smime.decrypted(smime.verified(arrived))) == ENTITY


def test_pgp_mime_signed(arrives, pgp: Pgp, tmp_path: Path) -> None:
    arrived = arrives(pgp.sign(ENTITY), "multipart/signed")
    assert pgp.verified(arrived, tmp_path) == ENTITY


def test_pgp_mime_encrypted(arrives, pgp: Pgp) -> None:
    arrived = arrives(pgp.encrypt(ENTITY), "multipart/encrypted")
    assert pgp("--decrypt", given=arrived) == ENTITY


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
def test_pgp_inline_beside_html(arrives, pgp: Pgp, encoding: str) -> None:
    text = crlf(pgp("--armor", "--clear-sign", given=b"See https://www.example.com/a?b=1 \r\n- and more\r\n"))
    encode, decode = CODECS[encoding]
    arrived = arrives(beside(b"alternative", b"text/plain", encoding, crlf(encode(text))), "inline PGP")
    shown = arrived.split(b"\r\n\r\n", 2)[2].partition(b"--outer\r\n")[0]
    assert b"VALIDSIG" in pgp("--status-fd", "1", "--verify", given=decode(shown))


def test_a_sealed_mail_to_several_recipients_is_not_split(arrives, smime: Smime, pgp: Pgp, tmp_path: Path) -> None:
    recipients = ("reader@example.net", "second@example.net", "third@example.org")
    assert smime.verified(arrives(smime.sign(ENTITY), "multipart/signed", recipients)) == ENTITY
    assert pgp.verified(arrives(pgp.sign(ENTITY), "multipart/signed", recipients), tmp_path) == ENTITY


def test_the_journal_tells_why_too(service, everything, wait, smime: Smime) -> None:
    queue_id = service.send(everything, FIELDS + smime.sign(ENTITY))
    (message,) = wait(lambda: lives(service, queue_id), "the record in the journal")
    decided = {decision["feature"]: decision for decision in message["decisions"]}
    for feature in FEATURES:
        assert decided[feature] == {"feature": feature, "outcome": "skipped", "by": "rule", "reason": "multipart/signed"}


def test_a_sealed_part_beside_html_stays_while_the_html_is_tracked(service, everything, pgp: Pgp, tmp_path: Path) -> None:
    signed = pgp.sign(ENTITY)
    fields, _, content = signed.partition(b"\r\n\r\n")
    entity = beside(b"mixed", fields.removeprefix(b"Content-Type: "), "7bit", content, mark=b"")
    left = service.through(everything, FIELDS + b"MIME-Version: 1.0\r\n" + entity)
    before, sealed, html = left.body.split(b"--outer\r\n", 2)
    assert (before, sealed.partition(b"\r\n\r\n")) == (b"", (fields, b"\r\n\r\n", content + b"\r\n"))
    assert pgp.verified(sealed, tmp_path) == ENTITY
    assert b"https://www.example.com/a" not in html
    assert b"/a-" in html


CODECS = {
    "7bit": (bytes, bytes),
    "quoted-printable": (quopri.encodestring, quopri.decodestring),
    "base64": (base64.encodebytes, base64.b64decode),
}


def beside(kind: bytes, content_type: bytes, encoding: str, content: bytes, mark: bytes = b"\r\n") -> bytes:
    """An entity with a part and HTML behind it."""
    return (
        b"Content-Type: multipart/" + kind + b'; boundary="outer"\r\n\r\n--outer\r\nContent-Type: ' + content_type + mark
        + (b"Content-Transfer-Encoding: " + encoding.encode() if mark else b"") + b"\r\n\r\n" + content
        + b"\r\n--outer\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + HTML.encode() + b"--outer--\r\n"
    )  # fmt: skip
