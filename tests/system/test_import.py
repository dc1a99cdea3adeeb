"""Another mail server's users log in as before, through a real Postfix; and a service comes back from its backup."""

import json
import re
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

PASSWORD = "Correct horse, battery"
SCHEMES = ("SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "BLF-CRYPT", "DES-CRYPT", "PBKDF2", "ARGON2I", "ARGON2ID", "PLAIN")
DIGESTS = ("SSHA", "SSHA256", "SSHA512", "SHA", "SHA256", "SHA512", "SMD5")
MESSAGE = (
    b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: offer\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: text/html\r\n\r\n<html><body><a href="https://www.example.com/offer?a=1#top">offer</a></body></html>\r\n'
)


def hashed(scheme: str) -> str:
    command = ("doveadm", "pw", "-s", scheme, "-p", PASSWORD, "-u", "someone@example.com")
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def hashes(service: Any) -> dict[str, str]:
    command = ("sqlite3", str(service.data / "policy.db"), "-json", "SELECT login, hash FROM passwords")
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {row["login"]: row["hash"] for row in rows}


@pytest.fixture
def make_login(login: Any) -> Callable[..., Any]:
    def make(name: str, password: str = PASSWORD) -> Any:
        return type(login)(name=name, password=password, account="shop")

    return make


def test_users_of_another_server_log_in_as_before(
    service: Any, make_login: Callable[..., Any], wait: Callable[..., Any], tmp_path: Path
) -> None:
    users = {f"{scheme}.User@Example.com": hashed(scheme) for scheme in (*SCHEMES, *DIGESTS)}
    file = tmp_path / "users"
    file.write_text("".join(f"{name}:{value}:1000:1000::/home/x:/bin/sh\n" for name, value in users.items()))
    told = service.run("login", "import", str(file), "--format", "passwd-file", "--account", "shop")
    assert told == f"{len(users)} logins were imported\n"
    before = hashes(service)
    for number, name in enumerate(users, 1):
        with pytest.raises(smtplib.SMTPAuthenticationError):  # each from a place of its own, or guessing gets slow
            service.client(make_login(name, PASSWORD.swapcase()), address=f"127.0.1.{number}")
        if name != "PLAIN.User@Example.com":
            assert hashes(service)[name.lower()] == before[name.lower()]
        for typed in (name, name.lower()):
            service.send(make_login(typed), MESSAGE)
        wait(
            lambda name=name: hashes(service)[name.lower()].startswith("$argon2id$v=19$m=19456,t=2,p=1$"), f"a new hash of {name}"
        )
        service.send(make_login(name), MESSAGE)
    log = service.log
    assert PASSWORD not in log
    assert not any(value.partition("}")[2] in log for value in users.values())
    assert f"login={'SSHA.User@Example.com'.lower()} " in log
    assert "sasl_username=ssha.user@example.com" in service.mail_log


def test_users_of_a_sasl_database_log_in_as_before(service: Any, make_login: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "sasldb2"
    for user in ("sasl-anna", "sasl-bob"):
        command = ("/usr/sbin/saslpasswd2", "-p", "-c", "-f", str(file), "-u", "mail.example.net", user)
        subprocess.run(command, input=PASSWORD, text=True, check=True, timeout=60)
    service.run("login", "import", str(file), "--format", "sasldb", "--account", "shop", "--realm", "mail.example.net")
    service.send(make_login("sasl-anna"), MESSAGE)
    service.send(make_login("sasl-bob"), MESSAGE)


def visit(service: Any, url: str) -> tuple[int, str]:
    """Status and Location of a link, asked of the tracking host itself."""
    found = re.match(r"https?://([^/]+)([^#]*)", url)
    assert found is not None
    request = urllib.request.Request(f"http://127.0.0.1:{service.web}{found[2]}", headers={"Host": found[1]})

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        with urllib.request.build_opener(Stay).open(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Location", "")


def tracked(message: Any) -> str:
    (found,) = re.findall(rb'https?://clicks\.[^"\s<>]+', message.body.replace(b"=\r\n", b"").replace(b"=3D", b"="))
    return str(found.decode())


def test_a_service_comes_back_from_its_backup(make_service: Callable[..., Any], tmp_path: Path) -> None:
    old = make_service()
    old.run("account", "add", "shop", "--approve")
    old.domain("example.com")
    first, second = old.login("trackclicks=true"), old.login()
    before = tracked(old.through(first, MESSAGE))
    archive = tmp_path / "backup.tar.gz"
    old.run("backup", str(archive))
    old.run("login", "remove", second.name)
    since = tracked(old.through(first, MESSAGE))
    assert "a service is running" in old.run("restore", str(archive), "--force", status=2)
    new = make_service(started=False)  # while the old one has its ports
    old.stop()

    new.run("restore", str(archive))
    new.start()
    for url in (before, since):
        assert visit(new, url) == (302, "https://www.example.com/offer?a=1#top")
    new.records = old.records
    assert new.signed(new.through(first, MESSAGE))
    new.send(second, MESSAGE)  # nothing was there to compare with

    told = old.run("restore", str(archive), "--force")
    assert f"login {second.name} of shop was removed after the backup and is disabled" in told
    old.start()
    for url in (before, since):
        assert visit(old, url) == (302, "https://www.example.com/offer?a=1#top")
    old.send(first, MESSAGE)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        old.client(second)
