"""`smtpeter login import`: everything or nothing, each password as it was, and none of them in what is printed."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.login import Login
from policy.password import is_ours, verify
from policy.stores.sql import SqlStore

PASSWORD = "Correct horse, battery: none"


def hashed(scheme: str, password: str = PASSWORD) -> str:
    command = ("doveadm", "pw", "-s", scheme, "-p", password, "-u", "someone@example.com")
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@dataclass
class Import:
    """Runs the command on a file with some lines."""

    run: Callable[..., str]
    file: Path
    data: Path
    form: str = "passwd-file"

    def __call__(self, *lines: str, words: tuple[str, ...] = (), status: int = 0) -> str:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        return self.go(*words, status=status)

    def go(self, *words: str, status: int = 0) -> str:
        return self.run("login", "import", str(self.file), "--format", self.form, "--account", "shop", *words, status=status)

    def logins(self) -> dict[str, Login]:
        store = SqlStore(f"sqlite:///{self.data / 'policy.db'}")
        with closing(store):
            return {login.name: login for login in store.logins()}

    def opens(self, name: str, password: str = PASSWORD) -> bool:
        (known,) = self.logins()[name].passwords
        return verify(known.hash, password.encode())


@pytest.fixture
def bring(shop: Callable[..., str], tmp_path: Path) -> Import:
    return Import(shop, tmp_path / "users", tmp_path / "data")


def test_a_file_of_dovecot(bring: Import) -> None:
    told = bring(
        "# users",
        "",
        f"alice:{hashed('SHA512-CRYPT')}",
        f"Bob@Example.com:{hashed('SSHA256')}:1000:1000:Bob:/home/bob:/bin/sh:userdb_mail=x",
        f"carol:{hashed('ARGON2ID')}::::::allow_nets=192.0.2.0/24,2001:db8::1 userdb_quota=1",
        f"dave:{hashed('SHA256-CRYPT').partition('}')[2]}:1:1::::",
        "erin:{PLAIN}pass  word ",
        words=("--label", "from before", "trackclicks=true", "--sender", "example.com", "--limit", "messages-hour=5"),
    )
    assert told == "5 logins were imported\n"
    found = bring.logins()
    assert set(found) == {"alice", "bob@example.com", "carol", "dave", "erin"}
    assert all(map(bring.opens, set(found) - {"erin"}))
    assert bring.opens("erin", "pass  word ")
    assert is_ours(found["erin"].passwords[0].hash)
    assert found["carol"].networks == ("192.0.2.0/24", "2001:db8::1/128")
    for login in found.values():
        assert (login.label, login.senders, login.options.trackclicks, login.account) == (
            "from before",
            ("example.com",),
            True,
            "shop",
        )
        assert login.limits.messages_hour == 5
        assert login.enabled


def test_what_is_typed_goes_before_what_the_file_says(bring: Import) -> None:
    bring(f"carol:{hashed('SSHA')}::::::allow_nets=192.0.2.0/24", words=("--network", "198.51.100.7"))
    assert bring.logins()["carol"].networks == ("198.51.100.7/32",)


def test_nothing_is_imported_unless_everything_is_fine(bring: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        f"alice:{hashed('SSHA')}",
        "canary-one",
        "bo b:{PLAIN}canary-two",
        "carol:{FOO}canary-three",
        f"dave:{hashed('CRAM-MD5')}",
        "erin:canary-four",
        f"ALICE:{hashed('SSHA')}",
        "frank:{SSHA}canary-five",
        "grace:{PLAIN}x:::::: nologin",
        "heidi:{PLAIN}x:::::: allow_nets=local",
        "x" * 65 + ":{PLAIN}canary-six",
        "A" * 32 + ":{PLAIN}canary-seven",  # would have to be typed in capitals
        "ivan:",
        "judy:{PLAIN}" + "p" * 1025,
        "mallory+tag:{PLAIN}canary-eight",
    )
    told = bring(*lines, status=2)
    assert "13 of 15 cannot be imported, so nothing was; --skip-bad" in told
    assert bring.logins() == {}
    told = bring(*lines, words=("--skip-bad",))
    assert set(bring.logins()) == {"alice"}
    numbers = [int(line.split()[1].rstrip(":")) for line in told.splitlines() if line.startswith("line ")]
    assert numbers == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
    assert "canary" not in told
    assert told.splitlines()[-1] == (
        "1 logins were imported; 1 have no password and were left out; 13 cannot be imported and were left out"
    )
    for reason in (
        "no colon",
        "its name",
        "scheme is not known",
        "challenges",
        "crypt(3)",
        "already, at 1",
        "damaged",
        "nologin",
    ):
        assert reason in told


def test_a_second_time_changes_nothing(bring: Import) -> None:
    bring(f"alice:{hashed('SSHA')}")
    before = bring.logins()
    told = bring(f"Alice:{hashed('SSHA', 'another')}", f"bob:{hashed('SSHA')}")
    assert told == "1 logins were imported; 1 are there already and were left alone\n"
    assert bring.logins()["alice"] == before["alice"]


def test_a_rehearsal_imports_nothing(bring: Import) -> None:
    assert bring(f"alice:{hashed('SSHA')}", words=("--dry-run",)) == "1 logins would be imported\n"
    assert bring.logins() == {}


def test_hashes_that_guessers_would_notice_are_asked_about(bring: Import) -> None:
    slow = "alice:{BLF-CRYPT}$2y$14$" + "e" * 53
    told = bring(slow, words=("--skip-bad",))
    assert "tell that there is such a login" in told
    assert bring(slow, words=("--slow",)) == "1 logins were imported\n"
    assert "would take about" in bring("bob:$2y$17$" + "e" * 53, words=("--slow", "--skip-bad"))


def test_a_scheme_for_those_without_a_prefix(bring: Import) -> None:
    bare = hashed("SSHA512").partition("}")[2]
    bring(f"alice:{bare}", "bob:{PLAIN}" + PASSWORD.replace(":", ""), words=("--scheme", "ssha512"))
    assert bring.opens("alice")
    assert bring.opens("bob", PASSWORD.replace(":", ""))


def test_a_file_of_the_system(bring: Import) -> None:
    bring.form = "shadow"
    yescrypt = subprocess.run(("mkpasswd", "-m", "yescrypt", "-s"), input=PASSWORD, capture_output=True, text=True, check=True)
    told = bring(
        "root:*:19000:0:99999:7:::",
        "daemon:!:19000:0:99999:7:::",
        "locked:!$6$abc$def:19000:0:99999:7:::",
        "nobody::19000:0:99999:7:::",
        f"alice:{yescrypt.stdout.strip()}:19000:0:99999:7:::",
        f"bob:{hashed('SHA512-CRYPT').partition('}')[2]}:19000:0:99999:7::20000:",
    )
    assert told == "2 logins were imported; 4 have no password and were left out\n"
    assert bring.opens("alice")
    assert bring.opens("bob")
    assert bring.logins()["bob"].expires == 20_000 * 86_400


# -- Cyrus SASL --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sasldb(bring: Import, tmp_path: Path) -> Path:
    """A database that the program of Cyrus SASL made."""
    file = tmp_path / "sasldb2"
    for user, realm in (("alice", "example.com"), ("bob", "mail.example.net"), ("Carol", "example.com")):
        command = ("/usr/sbin/saslpasswd2", "-p", "-c", "-f", str(file), "-u", realm, user)
        subprocess.run(command, input=PASSWORD, text=True, check=True, timeout=60)
    bring.form, bring.file = "sasldb", file
    return file


def test_a_sasl_database(bring: Import, sasldb: Path) -> None:
    before = sasldb.read_bytes()
    assert bring.go("--realm", "mail.example.net") == "3 logins were imported\n"
    assert set(bring.logins()) == {"alice@example.com", "bob", "carol@example.com"}
    for name, login in bring.logins().items():
        assert bring.opens(name)
        assert is_ours(login.passwords[0].hash)
    assert sasldb.read_bytes() == before
    assert bring.go("--realm", "mail.example.net") == "0 logins were imported; 3 are there already and were left alone\n"


def dumped(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("words", [(), ("-p",)])
def test_a_dump_of_one(bring: Import, sasldb: Path, words: tuple[str, ...]) -> None:
    bring.file = sasldb.with_name("dump")
    bring.file.write_text(dumped("db5.3_dump", *words, str(sasldb)))
    assert bring.go() == "3 logins were imported\n"
    assert bring.opens("bob@mail.example.net")


def test_a_database_of_lmdb(bring: Import, sasldb: Path) -> None:
    """Where Berkeley DB is no longer built in."""
    lines = dumped("db5.3_dump", str(sasldb)).splitlines()
    rows = lines[lines.index("HEADER=END") + 1 : -1]
    text = "\n".join(("VERSION=3", "format=bytevalue", "type=btree", "mapsize=1048576", "HEADER=END", *rows, "DATA=END", ""))
    bring.file = sasldb.with_name("lmdb")
    subprocess.run(("mdb_load", "-n", str(bring.file)), input=text, text=True, check=True, timeout=60)
    assert bring.go() == "3 logins were imported\n"
    assert bring.opens("carol@example.com")


@pytest.mark.parametrize("dump", [False, True])
def test_a_database_of_gdbm(bring: Import, sasldb: Path, dump: bool) -> None:
    bring.file = sasldb.with_name("gdbm")
    key, value = b"alice\0example.com\0userPassword", ("ü" * 60).encode()
    octets = "\n".join(f"#:len={len(text)}\n{encoded(text)}" for text in (key, value))
    text = f"#:version=1.1\n#:file=x\n#:format=standard\n# End of header\n{octets}\n#:count=1\n# End of data\n"
    if dump:
        bring.file.write_text(text)
    else:
        subprocess.run(("gdbm_load", "-", str(bring.file)), input=text, text=True, check=True, timeout=60)
    assert bring.go() == "1 logins were imported\n"
    assert bring.opens("alice@example.com", "ü" * 60)


def encoded(content: bytes) -> str:
    return subprocess.run(("base64", "-w", "76"), input=content, capture_output=True, check=True).stdout.decode().strip()


def test_what_is_no_sasl_database_is_said(bring: Import, sasldb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dumped("db5.3_dump", str(sasldb))
    bring.file = tmp_path / "other"
    for content in (b"", b"x" * 100, b"VERSION=3\nHEADER=END\n zz\nDATA=END\n", whole.partition("DATA=END")[0].encode()):
        bring.file.write_bytes(content)
        assert re.search("no SASL database|damaged", bring.go(status=2))
    bring.file.write_bytes(sasldb.read_bytes()[:4096] + os.urandom(8192))
    assert re.search("cannot read|damaged", bring.go(status=2))
    monkeypatch.setenv("PATH", str(tmp_path))
    bring.file = sasldb
    assert "install db5.3-util" in bring.go(status=2)
    assert bring.logins() == {}
    bring.file = tmp_path / "nothing"
    assert "cannot be read" in bring.go(status=2)


def test_an_account_that_is_not_there_is_said(bring: Import) -> None:
    bring.file.write_text("alice:{PLAIN}x\n")
    told = bring.run("login", "import", str(bring.file), "--format", "passwd-file", "--account", "none", status=2)
    assert "there is no account" in told


def test_names_can_be_found_again(bring: Import) -> None:
    bring(f"Alice@Example.com:{hashed('SSHA')}")
    assert json.loads(bring.run("login", "show", "alice@example.com", "--json"))["name"] == "alice@example.com"
