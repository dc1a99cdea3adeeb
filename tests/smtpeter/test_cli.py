"""The command line: what it does, what it says, and that a mistake is one sentence and exit status 2."""

import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from policy.password import verify
from policy.stores.sql import SqlStore
from smtpeter.__main__ import run
from smtpeter.ports import Ports


@pytest.fixture
def smtpeter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a subcommand on a data folder of its own; returns what it printed, checks its exit status."""

    def command(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert run(["--data", str(tmp_path / "data"), *words]) == status
        out, err = capsys.readouterr()
        if status == 2:
            assert err.startswith("smtpeter: ")
            assert err.count("\n") == 1
            return err
        return out

    return command


@pytest.fixture
def shop(smtpeter) -> Callable[..., str]:
    smtpeter("account", "add", "shop", "--approve")
    return smtpeter


def test_accounts_are_pending_until_approved(smtpeter) -> None:
    smtpeter("account", "add", "shop")
    assert json.loads(smtpeter("account", "show", "shop", "--json"))["state"] == "pending"
    smtpeter("account", "approve", "shop")
    assert json.loads(smtpeter("account", "list", "--json"))[0]["state"] == "approved"
    smtpeter("account", "suspend", "shop")
    assert "suspended" in smtpeter("account", "list")


def test_a_login_shows_its_password_once(shop, tmp_path: Path) -> None:
    made = json.loads(shop("login", "add", "--account", "shop", "--label", "web shop", "--json", "inlinecss=yes"))
    assert len(made["name"]) == 32
    assert made["password"].count(" ") == 6
    assert made["options"]["inlinecss"] == "true"
    for later in (("show", made["name"]), ("show", made["name"], "--json"), ("list",), ("list", "--json")):
        assert made["password"] not in shop("login", *later)
    store = SqlStore(f"sqlite:///{tmp_path}/data/policy.db")
    assert verify(store.login(made["name"]).password_hash, made["password"].encode())
    store.close()


def test_a_login_is_named_by_its_beginning(shop) -> None:
    name = json.loads(shop("login", "add", "--account", "shop", "--json"))["name"]
    assert json.loads(shop("login", "show", name[:8], "--json"))["name"] == name
    assert "there is no login 'xyz'" in shop("login", "show", "xyz", status=2)
    assert "there is no login ''" in shop("login", "show", "", status=2)


def test_options_are_set_one_by_one(shop) -> None:
    name = json.loads(shop("login", "add", "--account", "shop", "--json", "trackopens=true"))["name"]
    shop("login", "set", name, "inlinecss=1", "images=hosted", "--label", "new")
    shown = json.loads(shop("login", "show", name, "--json"))
    assert shown["label"] == "new"
    on = {option: word for option, word in shown["options"].items() if word not in ("false", "default")}
    assert on == {"inlinecss": "true", "trackopens": "true", "images": "hosted"}


def test_disable_enable_rotate_remove(shop) -> None:
    made = json.loads(shop("login", "add", "--account", "shop", "--json"))
    name = made["name"]
    shop("login", "disable", name)
    assert json.loads(shop("login", "show", name, "--json"))["enabled"] is False
    shop("login", "enable", name)
    rotated = json.loads(shop("login", "rotate", name, "--json"))
    assert rotated["enabled"] is True
    assert rotated["password"] != made["password"]
    shop("login", "remove", name)
    assert json.loads(shop("login", "list", "--json")) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("account", "add", "Shop!"), "'Shop!' is no account name; it takes"),
        (("account", "add", "shop"), "there is an account 'shop' already"),
        (("account", "show", "nobody"), "there is no account 'nobody'"),
        (("account", "approve", "nobody"), "there is no account 'nobody'"),
        (("login", "add", "--account", "nobody"), "there is no account 'nobody'"),
        (("login", "add", "--account", "shop", "inlinecss"), "takes OPTION=VALUE"),
        (("login", "add", "--account", "shop", "inlinecss=maybe"), "inlinecss cannot be 'maybe'; it takes true or false"),
        (("login", "add", "--account", "shop", "images=yes"), "images cannot be 'yes'; it takes hosted or default"),
        (("login", "add", "--account", "shop", "colour=red"), "there is no option 'colour'; the options are inlinecss"),
        (("login", "add", "--account", "shop", "--label", "a\nb"), "a label takes up to 255 printable characters"),
        (
            (
                "login",
                "add",
            ),
            "Missing option '--account'",
        ),
        (("login", "remove", "0123"), "there is no login '0123'"),
        (("domain", "add", "not a domain", "--account", "shop"), "'not a domain' is no domain name"),
        (("domain", "add", "example.com", "--account", "nobody"), "there is no account 'nobody'"),
        (("domain", "add", "example.com", "--account", "shop", "--selector", "a_b"), "'a_b' is no selector"),
        (("domain", "add", "example.com", "--account", "shop", "--import-key", "/none"), "key file /none cannot be read"),
        (("domain", "remove", "example.org"), "there is no sender domain 'example.org'"),
        (("domain", "check", "example.org"), "there is no sender domain 'example.org'"),
        (("preview", "/none", "--login", "x"), "the message /none cannot be read"),
        (("up", "--ports", "25"), "--ports takes three numbers"),
        (("up", "--capture", "x", "--relayhost", "y:25"), "--capture and --relayhost exclude each other"),
        (("up", "--relayhost", "a b"), "--relayhost takes HOST:PORT"),
        (("nonsense",), "No such command 'nonsense'"),
        (("login", "list", "--nonsense"), "No such option"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(shop, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in shop(*words, status=2)


def test_before_anything_exists_the_next_step_is_named(smtpeter) -> None:
    assert "`smtpeter up` or `smtpeter account add` makes it" in smtpeter("login", "list", status=2)


def test_a_domain_brings_the_records_to_publish(shop) -> None:
    text = shop("domain", "add", "Example.COM", "--account", "shop")
    assert 'smtpeter._domainkey.example.com. IN TXT ( "v=DKIM1; k=rsa; p=' in text
    listed = json.loads(shop("domain", "list", "--json"))
    assert listed[0]["name"] == "example.com"
    assert len(listed[0]["keys"]) == 1
    shop("domain", "remove", "example.com")
    assert json.loads(shop("domain", "list", "--json")) == []


def test_both_kinds_of_key_have_selectors_of_their_own(shop) -> None:
    added = json.loads(
        shop("domain", "add", "example.com", "--account", "shop", "--algorithm", "rsa", "--algorithm", "ed25519", "--json")
    )
    assert [record["name"] for record in added["records"]] == [
        "smtpeter._domainkey.example.com",
        "smtpeter-ed25519._domainkey.example.com",
    ]


def test_keys_are_imported_and_bad_ones_refused(shop, tmp_path: Path) -> None:
    good, short = tmp_path / "good.pem", tmp_path / "short.pem"
    ed = ed25519.Ed25519PrivateKey.generate()
    good.write_bytes(ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # what must be refused
    short.write_bytes(weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    added = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--import-key", str(good), "--json"))
    assert [record["value"].split(";")[1] for record in added["records"]] == [" k=ed25519"]
    assert "1024 bits" in shop("domain", "add", "example.org", "--account", "shop", "--import-key", str(short), status=2)
    assert "two keys of kind ed25519" in shop(
        "domain", "add", "example.org", "--account", "shop", "--import-key", str(good), "--import-key", str(good), status=2
    )


@pytest.fixture
def nameserver():
    """A name server on loopback that answers from a dictionary: name -> list of texts."""
    zone: dict[str, list[str]] = {}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while (packet := server.recvfrom(4096))[0] != b"stop":
            query = dns.message.from_wire(packet[0])
            response = dns.message.make_response(query)
            name = query.question[0].name
            texts = zone.get(name.to_text(omit_final_dot=True), [])
            if texts:
                quoted = [" ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200)) for text in texts]
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *quoted))
            else:
                response.set_rcode(3)
            server.sendto(response.to_wire(), packet[1])

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}", zone
    server.sendto(b"stop", server.getsockname())
    thread.join()
    server.close()


def test_the_dns_is_asked_whether_the_keys_are_published(shop, nameserver) -> None:
    address, zone = nameserver
    record = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--json"))["records"][0]

    def status(expected: int) -> str:
        return json.loads(shop("domain", "check", "example.com", "--nameserver", address, "--json", status=expected))[0]["status"]

    assert status(1) == "missing"
    zone[record["name"]] = [record["value"].replace("p=MI", "p=XX")]
    assert status(1) == "different"
    zone[record["name"]] = [record["value"], "v=spf1 -all"]
    assert status(1) == "error"
    zone[record["name"]] = [record["value"].replace("k=rsa; ", "")]
    assert status(0) == "ok"


MESSAGE = b"""\
From: News <news@example.com>
Subject: sample
X-SMTPeter-Tags: a
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<style>p { color: red }</style><p>hello</p>
"""


def test_preview_shows_what_would_leave_and_why(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    def smtpeter(*words: str) -> bytes:
        capsysbinary.readouterr()
        assert run(["--data", str(tmp_path / "data"), *words]) == 0
        return capsysbinary.readouterr().out

    file = tmp_path / "message.eml"
    file.write_bytes(MESSAGE)
    smtpeter("account", "add", "shop", "--approve")
    smtpeter("domain", "add", "example.com", "--account", "shop")
    name = json.loads(smtpeter("login", "add", "--account", "shop", "--json", "inlinecss=true"))["name"]

    left = smtpeter("preview", str(file), "--login", name)
    assert left.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com;")
    assert re.search(rb'<p style="color: red;?">hello</p>', left)
    assert b"x-smtpeter" not in left.lower()

    text = smtpeter("preview", str(file), "--login", name, "--diff").decode()
    assert "# inlinecss: applied" in text
    assert "-X-SMTPeter-Tags: a" in text
    assert "+DKIM-Signature:" in text
    assert "-<style>p { color: red }</style><p>hello</p>" in text

    events = json.loads(smtpeter("preview", str(file), "--login", name, "--json"))["events"]
    assert {"kind": "applied", "subject": "inlinecss", "reason": ""} in events


def test_preview_says_when_the_message_would_be_refused(shop, tmp_path: Path) -> None:
    file = tmp_path / "message.eml"
    file.write_bytes(b"From: a@example.com\nno field\nX-SMTPeter-Tags: a\n\nx\n")
    name = json.loads(shop("login", "add", "--account", "shop", "--json"))["name"]
    assert "would be refused: 550 5.6.0 " in shop("preview", str(file), "--login", name, status=2)


def test_check_finds_what_is_wrong(shop, tmp_path: Path) -> None:
    def findings(status: int = 0) -> dict[str, list[str]]:
        rows = json.loads(shop("check", "--json", status=status))
        return {row["what"]: [other["status"] for other in rows if other["what"] == row["what"]] for row in rows}

    shop("domain", "add", "example.com", "--account", "shop")
    assert findings() == {
        "settings": ["ok"],
        "database": ["ok"],
        "logins": ["warning"],
        "keys": ["ok"],
        "certificate": ["warning"],
        "postfix": ["ok", "warning"],
    }
    shop("login", "add", "--account", "shop")
    assert "logins" not in findings()
    master = tmp_path / "data" / "master.key"
    kept = master.read_bytes()
    master.write_bytes(kept[::-1])
    assert findings(1)["keys"] == ["error", "ok"]
    master.write_bytes(kept)
    master.chmod(0o644)
    assert findings(1)["keys"] == ["error", "ok"]
    master.unlink()
    assert findings(1)["keys"] == ["error"]
    assert "master key" in shop("account", "add", "other", status=2)


def test_ports_in_the_greeting_are_those_in_use(shop, tmp_path: Path) -> None:
    (tmp_path / "data" / "run").mkdir()
    (tmp_path / "data" / "run" / "ports").write_text("2525,2587,2465")
    assert "2587 or 2525 with STARTTLS, 2465 with TLS" in shop("login", "add", "--account", "shop")
    assert Ports.parse("2525,2587,2465").all() == (2525, 2587, 2465)
