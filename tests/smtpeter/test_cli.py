"""The command line: what it does, what it says, and that a mistake is one sentence and exit status 2."""

import json
import re
from pathlib import Path

import pytest

from policy.password import verify
from policy.stores.sql import SqlStore
from smtpeter.__main__ import run
from smtpeter.ports import Ports


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
    assert verify(store.login(made["name"]).passwords[0].hash, made["password"].encode())
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
        (("domain", "set", "example.org", "--no-https"), "there is no sender domain 'example.org'"),
        (("domain", "add", "example.com", "--account", "shop", "--clicks", "a b"), "'a b' is no domain name"),
        (("domain", "add", "example.com", "--account", "shop", "--clicks", "clicks.example.org"), "is no click host for"),
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
        "key ring": ["ok"],
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
