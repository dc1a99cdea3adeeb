"""The self-signed certificate, and what is said about any certificate."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smtpeter.certificate import describe, ensure
from smtpeter.errors import UserError

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "key.pem"


def test_it_is_made_once(files: tuple[Path, Path]) -> None:
    assert ensure(*files, hostname="mail.example.com", now=NOW)
    before = [path.read_bytes() for path in files]
    assert not ensure(*files, hostname="other.example.com", now=NOW)
    assert [path.read_bytes() for path in files] == before


def test_only_the_owner_reads_the_key(files: tuple[Path, Path]) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    assert stat.S_IMODE(files[1].stat().st_mode) == 0o600


def test_nothing_else_is_left_in_the_folder(files: tuple[Path, Path]) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["certificate.pem", "key.pem"]


def test_what_it_says(files: tuple[Path, Path]) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    said = describe(*files)
    assert said.names == ("mail.example.com", "localhost", "127.0.0.1", "::1")
    assert timedelta(days=820) < said.not_after - NOW < timedelta(days=825)
    assert said.self_signed
    assert said.matches_key


@pytest.mark.parametrize("name", ["mail.example.com", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_it_accepts_it(files: tuple[Path, Path], name: str) -> None:
    ensure(*files, hostname="mail.example.com", now=datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*files)
    client = ssl.create_default_context(cafile=str(files[0]))
    ours, theirs = socket.socketpair()
    greeter = threading.Thread(target=lambda: server.wrap_socket(theirs, server_side=True).close())
    greeter.start()
    with client.wrap_socket(ours, server_hostname=name) as connection:
        assert connection.getpeercert()
    greeter.join()


def test_a_host_name_of_any_length(files: tuple[Path, Path]) -> None:
    name = ".".join(["x" * 40] * 4) + ".example.com"
    ensure(*files, hostname=name, now=NOW)
    assert describe(*files).names[0] == name


def test_a_key_that_is_there_is_used(files: tuple[Path, Path]) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    key = files[1].read_bytes()
    files[0].unlink()
    assert ensure(*files, hostname="mail.example.com", now=NOW)
    assert files[1].read_bytes() == key
    assert describe(*files).matches_key


def test_a_certificate_without_its_key_is_not_replaced(files: tuple[Path, Path]) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    files[1].unlink()
    with pytest.raises(UserError, match=r"the key .* of the certificate .* is missing: put it back, or remove both"):
        ensure(*files, hostname="mail.example.com", now=NOW)
    with pytest.raises(UserError, match=r"the key .* cannot be read: No such file"):
        describe(*files)


def test_the_key_of_another_certificate(files: tuple[Path, Path], tmp_path: Path) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    ensure(tmp_path / "c.pem", tmp_path / "k.pem", hostname="mail.example.com", now=NOW)
    assert not describe(files[0], tmp_path / "k.pem").matches_key


@pytest.mark.parametrize(("place", "what"), [(0, "certificate"), (1, "private key")])
def test_a_file_of_something_else_is_named(files: tuple[Path, Path], place: int, what: str) -> None:
    ensure(*files, hostname="mail.example.com", now=NOW)
    files[place].write_text("hello\n")
    with pytest.raises(UserError, match=f"{files[place]} holds no {what} in PEM form"):
        describe(*files)


def test_a_host_name_that_is_not_ascii(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="xn-- form"):
        ensure(*files, hostname="pöst.example.com", now=NOW)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"certificate .* cannot be written: File exists"):
        ensure(tmp_path / "file" / "c.pem", tmp_path / "file" / "k.pem", hostname="mail.example.com", now=NOW)
