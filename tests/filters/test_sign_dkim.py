"""Signatures: the same as dkimpy's own, verified by three implementations, and broken by every change that matters."""

import base64
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.job import Envelope, Job, Site, Tracking
from filters.mail.lines import has_long_line
from filters.mail.message import Field, Message
from filters.mail.parts import content, scan
from filters.sign_dkim import OVERSIGNED, SIGNED, KeySigner, Unsignable, sign, sign_all
from filters.sign_dkim import verify as verify_ourselves
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.domains import Algorithm, InvalidKey, new_private_key, read_private_key
from policy.options import Options
from policy.reply import Refused

NOW = 1_700_000_000
DOMAIN = "example.com"

MESSAGE = Message.parse(
    b"Received: from elsewhere\r\nReturn-Path: <a@example.com>\r\nX-SMTPeter-Tags: one\r\n"
    b'From: "Andr\xe9,  x" <a@example.com>\r\nTo: b@example.org,\r\n\tc@example.org\r\nSubject: =?utf-8?q?caf=C3=A9?=  two\r\n'
    b"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nReferences: <0@example.com>\r\n"
    b"List-Unsubscribe: <https://example.com/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=x; h=from; bh=YQ==; b=YQ==\r\n"
    b"\r\n<p>  Hello,\t world =\r\n </p>\r\n\r\nbye \r\n\r\n\r\n"
)


DATE = Field(b"Date", b" Mon, 01 Jan 2024 00:00:00 +0000")  # OpenDKIM takes no message without one


@pytest.fixture(scope="module", name="pems")
def make_pems():
    return {algorithm: new_private_key(algorithm) for algorithm in Algorithm}


@pytest.fixture(scope="module", name="signers")
def make_signers(pems):
    return tuple(KeySigner.load(DOMAIN, f"{algorithm.value}1", algorithm, pem) for algorithm, pem in pems.items())


@pytest.fixture(name="zone")
def make_zone(pems, tmp_path):
    file = tmp_path / "zone"
    records = ((algorithm, read_private_key(pem)[1]) for algorithm, pem in pems.items())
    file.write_text("".join(f"{kind}1._domainkey.{DOMAIN} TXT v=DKIM1; k={kind}; p={public}\n" for kind, public in records))
    return file


def tags(field):
    pairs = (tag.partition(b"=") for tag in b"".join(field.value.split()).split(b";"))
    return {name.decode(): text for name, _, text in pairs}


# The same as dkimpy's.


class SigningKey:
    """PyNaCl's interface, which dkimpy asks for Ed25519, over OpenSSL."""

    def __init__(self, pem, encoder=None):
        self.key = load_pem_private_key(pem, None)

    def sign(self, digest):
        return SimpleNamespace(signature=self.key.sign(digest))


NACL = SimpleNamespace(
    signing=SimpleNamespace(SigningKey=SigningKey),
    encoding=SimpleNamespace(Base64Encoder=None),
    exceptions=SimpleNamespace(ValueError=ValueError),
)


@pytest.fixture(scope="module", name="stock")
def make_stock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkim, "nacl", NACL, raising=False)
        patch.setattr(dkim.time, "time", lambda: float(NOW))

        def sign_by_dkimpy(message, signer, pem, names, domain=DOMAIN):
            return dkim.DKIM(bytes(message), signature_algorithm=signer.algorithm.value.encode() + b"-sha256").sign(
                signer.selector.encode(), domain.encode(), pem, canonicalize=(b"relaxed", b"relaxed"), include_headers=names
            )

        yield sign_by_dkimpy


def check_same(message, signer, pem, stock, domain=DOMAIN):
    field = signer.sign(message, NOW)
    names = tags(field)["h"].split(b":")
    theirs = stock(message, signer, pem, names, domain)
    assert b"%b:%b\r\n" % field == theirs


def test_the_version_that_was_compared():
    from importlib.metadata import version

    assert version("dkimpy") == "1.1.8"


@pytest.mark.parametrize("size", [0, 100, 5_000, 65_536, 200_000])
@pytest.mark.parametrize("unit", [b"<td>  x  y</td> \r\n", b"QUJD" * 19 + b"\r\n", b"\r\n", b"word "])
def test_the_same_as_dkimpy_at_all_sizes(signers, pems, stock, size, unit):
    body = unit * (size // len(unit)) + b"\r\n"
    for signer in signers:
        check_same(Message(MESSAGE.fields, body), signer, pems[signer.algorithm], stock)


NAMES = st.sampled_from([b"From", b"TO", b"Subject", b"Date", b"X-Other", b"references", b"List-Id", b"Content-Type", b"Sender"])
VALUES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"x", b"\xe9", b"=", b";", b"b=QQ", b"y" * 90]), max_size=8).map(
    lambda words: b"".join(words) + b"z"
)
FIELDS = st.lists(st.builds(Field, NAMES, VALUES), max_size=6).map(tuple)
BODIES = st.lists(st.sampled_from([b"x", b" ", b"\t", b"\r\n", b"\xe9", b"  ", b"."]), max_size=30).map(
    lambda words: b"".join(words) + b"\r\n"
)


@given(FIELDS, BODIES)
@settings(max_examples=100)
def test_the_same_as_dkimpy_for_all_messages(signers, pems, stock, fields, body):
    ed25519 = signers[1]  # the layout does not depend on the key, and dkimpy's RSA is slow
    check_same(Message(fields, body), ed25519, pems[ed25519.algorithm], stock)


@pytest.mark.parametrize("length", [4, 20, 50, 60, 66])
@pytest.mark.parametrize("selector", ["s", "s" * 63])
def test_the_same_as_dkimpy_for_long_names(pems, stock, length, selector):
    domain = "x" * (length - 4) + ".com" if length > 4 else "a.io"
    for algorithm, pem in pems.items():
        check_same(MESSAGE, KeySigner.load(domain, selector, algorithm, pem), pem, stock, domain)


# What is signed.


def test_the_tags(signers):
    for signer in signers:
        field = signer.sign(MESSAGE, NOW)
        found = tags(field)
        assert field.name == b"DKIM-Signature"
        assert field.value.startswith(b" v=1; a=")
        assert found["a"] == signer.algorithm.value.encode() + b"-sha256"
        assert (found["c"], found["d"], found["i"]) == (b"relaxed/relaxed", b"example.com", b"@example.com")
        assert (found["s"], found["t"]) == (signer.selector.encode(), b"%d" % NOW)
        assert "l" not in found


def test_the_fields(signers):
    names = tags(signers[0].sign(MESSAGE, NOW))["h"].decode().split(":")
    for name in OVERSIGNED:
        assert names.count(name.decode()) == len(list(MESSAGE.all(name))) + 1
    for name in SIGNED:
        assert names.count(name.decode()) == len(list(MESSAGE.all(name)))
    assert set(names) <= {name.decode() for name in (*OVERSIGNED, *SIGNED)}


def check_lines(field, limit=78):
    lines = (b"%b:%b" % field).split(b"\r\n")
    assert all(len(line) < limit for line in lines)
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    assert field.value.isascii()


def test_the_field_is_folded(signers):
    for signer in signers:
        check_lines(signer.sign(MESSAGE, NOW))


def test_fields_beyond_reason_are_not_signed(signers):
    message = Message((*MESSAGE.fields, *[Field(b"Sender", b" x")] * 300), b"")
    with pytest.raises(Unsignable, match="244 fields"):
        signers[0].sign(message, NOW)


@pytest.mark.parametrize(
    "fields",
    [(), (Field(b"From ", b" a@example.com"),), (Field(b"From", b""),), (Field(b" ", b" x"),), (Field(b"", b"\r\n"),)],
    ids=["none", "blank in the name", "empty", "blank name", "nothing"],
)
def test_odd_fields_are_no_trouble(signers, fields):
    check_lines(signers[0].sign(Message(fields, b""), NOW))


def test_several_keys_give_what_each_gives(signers):
    assert sign_all(MESSAGE, signers, NOW) == tuple(signer.sign(MESSAGE, NOW) for signer in signers)
    assert sign_all(MESSAGE, (), NOW) == ()


def test_a_key_is_not_shown(signers):
    assert "key" not in repr(signers[0])


def test_keys_that_are_none(pems):
    for pem in (b"", b"-----BEGIN PRIVATE KEY-----\nYQ==\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(InvalidKey, match="cannot be read"):
            KeySigner.load(DOMAIN, "s", Algorithm.RSA, pem)
    with pytest.raises(InvalidKey, match="no rsa key"):
        KeySigner.load(DOMAIN, "s", Algorithm.RSA, pems[Algorithm.ED25519])


# Verified by others.


@pytest.fixture(name="verify")
def make_verify(root, zone, tmp_path):
    command = root / "tests" / "system" / "verifiers" / "verify-dkim"

    def run(message, zone_file=zone):
        file = tmp_path / "message.eml"
        file.write_bytes(bytes(message))
        return subprocess.run([sys.executable, command, file, zone_file], capture_output=True, text=True, timeout=120)

    return run


def signed(message, signers):
    return Message((*sign_all(message, signers, NOW), *message.fields), message.body)


def check_verified(result, verdicts=5):
    assert result.returncode == 0, result.stdout + result.stderr
    assert sum(line.endswith(" pass") for line in result.stdout.splitlines()) == verdicts


def test_three_verifiers(signers, verify):
    result = verify(signed(MESSAGE, signers))
    check_verified(result)
    for verifier in ("dkimpy", "opendkim", "mail-dkim"):
        assert f"{verifier} rsa1._domainkey.{DOMAIN} rsa-sha256 pass" in result.stdout
    for verifier in ("dkimpy", "opendkim"):  # Mail::DKIM of Debian 12 does not know Ed25519
        assert f"{verifier} ed255191._domainkey.{DOMAIN} ed25519-sha256 pass" in result.stdout


@pytest.mark.parametrize(
    "message",
    [
        Message((DATE, Field(b"From", b" a@example.com")), b""),
        Message((DATE, Field(b"From", b" a@example.com")), b"\r\n\r\n"),
        Message((DATE, Field(b"FROM", b"\r\n\ta@example.com "), Field(b"to", b"")), b" \t x\t \r\n\t\r\n"),
        Message((DATE, Field(b"From", b" J\xf6rg <a@example.com>"), Field(b"Subject", b" \xff\xfe")), b"\xe9\r\n"),
        Message((*MESSAGE.fields, Field(b"List-Id", b" <x>")), b"line  x\r\n" * 20_000),
    ],
    ids=["empty", "blank", "folds", "8-bit", "large"],
)
def test_shapes_of_messages(signers, verify, message):
    check_verified(verify(signed(message, signers)))


def test_a_domain_that_dkimpy_cuts(pems, verify, tmp_path):
    domain = ".".join(["a" * 60, "b" * 60, "com"])
    signers = [KeySigner.load(domain, "s" * 40, algorithm, pem) for algorithm, pem in pems.items()]
    for signer, pem in zip(signers, pems.values(), strict=True):
        zone = tmp_path / "long"
        public = read_private_key(pem)[1]
        zone.write_text(f"{signer.selector}._domainkey.{domain} TXT v=DKIM1; k={signer.algorithm}; p={public}\n")
        field = signer.sign(MESSAGE, NOW)
        assert b"d=%b;" % domain.encode() in field.value
        check_lines(field, limit=len(domain) + 10)
        result = verify(Message((field, *MESSAGE.fields), MESSAGE.body), zone)
        assert result.returncode == 0, result.stdout


def with_field(message, line):
    name, _, value = line.partition(b":")
    return Message((Field(name, value), *message.fields), message.body)


CHANGES = {
    "body byte": lambda message: Message(message.fields, message.body.replace(b"Hello", b"Hallo")),
    "line at the end": lambda message: Message(message.fields, message.body + b"more\r\n"),
    "line at the start": lambda message: Message(message.fields, b"more\r\n" + message.body),
    "second From": lambda message: with_field(message, b"From: c@example.org"),
    "second Subject": lambda message: with_field(message, b"Subject: other"),
    "second Content-Type": lambda message: with_field(message, b"Content-Type: text/plain"),
    "second To": lambda message: with_field(message, b"To: c@example.org"),
    "a Cc": lambda message: with_field(message, b"Cc: c@example.org"),
    "a Reply-To": lambda message: with_field(message, b"Reply-To: c@example.org"),
    "second List-Unsubscribe": lambda message: with_field(message, b"List-Unsubscribe: <https://example.org>"),
    "other Date": lambda message: Message(
        tuple(Field(b"Date", b" today") if field.name == b"Date" else field for field in message.fields), message.body
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changes_break_every_signature(signers, verify, change):
    result = verify(change(signed(MESSAGE, signers)))
    assert result.returncode == 1, result.stderr
    assert " pass" not in result.stdout
    assert result.stdout.count(" fail") == 5


def test_changes_that_do_not_matter(signers, verify):
    message = signed(MESSAGE, signers)
    fields = [Field(field.name.upper(), field.value.replace(b"  ", b" \t")) for field in message.fields]
    added = (Field(b"Received", b" from here"), Field(b"X-Spam", b" no"), Field(b"List-Id", b" <list>"))
    check_verified(verify(Message((*added, *fields), message.body.replace(b"  ", b" ") + b"\r\n\r\n")))


def test_no_signature_is_no_pass(verify):
    assert verify(MESSAGE).returncode == 1


def test_our_own_verdict(signers, pems):
    message = signed(MESSAGE, signers)
    name, other = f"rsa1._domainkey.{DOMAIN}", f"ed255191._domainkey.{DOMAIN}"
    records = {name: f"v=DKIM1; k=rsa; p={read_private_key(pems[Algorithm.RSA])[1]}"}
    assert verify_ourselves(bytes(message), records)
    assert not verify_ourselves(bytes(CHANGES["body byte"](message)), records)
    assert not verify_ourselves(bytes(message), {})
    assert not verify_ourselves(bytes(message), {other: "v=DKIM1; k=ed25519; p=YQ=="})
    assert not verify_ourselves(bytes(message), {name: "v=DKIM1; k=rsa; p="})
    assert not verify_ourselves(bytes(message), {name: "v=DKIM1; k=none; p=YQ=="})
    assert not verify_ourselves(bytes(with_field(message, b"DKIM-Signature: s=rsa1; d=example.com")), records)


# The filter.


def job_of(message):
    envelope = Envelope(mail_from="a@example.com", rcpt_to=("b@example.org",))
    return Job(login="x", account="y", envelope=envelope, options=Options(), message=message)


def site_of(signers):
    return Site(
        signers=lambda address: signers if address.endswith(f"@{DOMAIN}") else (),
        tracking=lambda _: Tracking(base="https://clicks.test", hosts=frozenset()),
        ring=Ring([SealingKey(id=0, secret=bytes(64), created=0, active=0)], now=NOW),
        now=NOW,
    )


def kinds(job):
    return [(event.kind, event.subject) for event in job.events]


def test_signatures_go_to_the_top(signers):
    job = sign(job_of(MESSAGE), site_of(signers))
    assert job.message == signed(MESSAGE, signers)
    assert kinds(job) == [
        (Kind.SIGNED, "rsa1._domainkey.example.com"),
        (Kind.SIGNED, "ed255191._domainkey.example.com"),
    ]


@pytest.mark.parametrize(
    ("line", "subject", "reason"),
    [
        (b"From: a@example.org", "example.org", "the account has no key for this domain"),
        (b"From: nobody", "dkim", "the From field gives no domain"),
        (b"X-From: a@example.com", "dkim", "the From field gives no domain"),
    ],
)
def test_without_a_key_the_message_leaves_as_it_is(signers, line, subject, reason):
    message = with_field(Message((), b"z" * 2_000 + b"\r\n"), line)
    job = sign(job_of(message), site_of(signers))
    assert job.message == message
    assert [(event.kind, event.subject, event.reason) for event in job.events] == [(Kind.UNSIGNED, subject, reason)]


def test_the_signers_are_those_for_the_whole_address(signers):
    asked = []
    site = replace(site_of(signers), signers=lambda address: asked.append(address) or signers[:1])
    for line in (b'From: "N." <News@EXAMPLE.org>', b'From: "a b"@example.org', b"From: nobody", b"X-From: a@example.com"):
        job = sign(job_of(with_field(Message((), b"x\r\n"), line)), site)
        assert kinds(job) == [(Kind.SIGNED, "rsa1._domainkey.example.com")]
    assert asked == ["News@example.org", "a b@example.org", "", ""]


def test_two_authors_are_refused(signers):
    with pytest.raises(Refused, match="550 5.6.0"):
        sign(job_of(with_field(MESSAGE, b"from: c@example.com")), site_of(signers))


def test_a_message_that_is_not_signed_says_why(signers):
    message = Message((*MESSAGE.fields, *[Field(b"Sender", b" x")] * 300), b"")
    job = sign(job_of(message), site_of(signers))
    assert job.message == message
    assert kinds(job) == [(Kind.UNSIGNED, DOMAIN)]


def test_long_lines_are_gone_before_the_signature(signers, verify):
    text = b"<p>" + b"word " * 500 + b"</p>\r\n"
    message = replace(MESSAGE, body=text, fields=(*MESSAGE.fields[:-4], Field(b"References", b" <0@example.com>" * 100)))
    job = sign(job_of(message), site_of(signers))
    assert kinds(job)[0] == (Kind.REENCODED, "text/html")
    assert not has_long_line(job.message)
    (part,) = scan(job.message).leaves
    assert content(job.message, part) == text
    check_verified(verify(job.message))


def test_long_lines_that_stay_are_told(signers):
    message = Message((*MESSAGE.fields, Field(b"X-Long", b"x" * 2_000)), MESSAGE.body)
    job = sign(job_of(message), site_of(signers))
    assert [kind for kind, _ in kinds(job)] == [Kind.WARNING, Kind.SIGNED, Kind.SIGNED]


def test_the_collected_messages_are_signed(corpus, signers, verify, tmp_path):
    files = sorted(corpus.glob("mime/*.eml")) if corpus else []
    messages = [MESSAGE, *(Message.parse(file.read_bytes()) for file in files)]
    for message in messages:
        signature = signers[1].sign(message, NOW)
        verified = dkim.DKIM(bytes(Message((signature, *message.fields), message.body)))
        assert verified.headers[0][0] == b"DKIM-Signature"
        assert base64.b64decode(tags(signature)["bh"]) == body_hash(verified.body)


def body_hash(body):
    from hashlib import sha256

    return sha256(dkim.canonicalization.Relaxed.canonicalize_body(body)).digest()
