"""May a certificate be fetched for a host, and does this service answer there? Asked of a tracking host by raw sockets."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.seal import Ring, SealingKey
from web import ask, proof

QUESTION = "0123456789abcdef"
FIELDS = ("Host: 127.0.0.1:8080", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip")


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    file = tmp_path / "click-hosts.json"
    keep(file, "clicks.example.com", "clicks.mail.test")
    return file


def keep(file: Path, *hosts: str) -> None:
    """Writes the file as the probe does."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"checked": 1, "certificates": hosts, "hosts": []}))
    draft.replace(file)


@pytest.fixture
def host(run_host, certificates: Path):
    return run_host(certificates=ask.CertificateHosts(certificates))


def asked(host, query: str, *fields: str, path: str = ask.PATH.decode()) -> int:
    """The status of the answer, with exactly these fields."""
    lines = "".join(f"{line}\r\n" for line in fields or FIELDS)
    answer = host.raw(f"GET {path}?{query} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize("name", ["clicks.example.com", "CLICKS.Example.com", "clicks.example.com.", "clicks.mail.test"])
def test_a_host_that_was_found_to_lead_here_may_have_a_certificate(host, name: str) -> None:
    assert asked(host, f"domain={name}") == 200


@pytest.mark.parametrize(
    "query",
    [
        "domain=example.com", "domain=clicks.example.org", "domain=a.clicks.example.com", "domain=", "", "domain",
        "host=clicks.example.com", "domain=clicks.example.com&domain=example.org", "domain=clicks.example.com%00",
        "domain=%ff", "domain=*.example.com", "domain=checked",
    ],
)  # fmt: skip
def test_any_other_may_not(host, query: str) -> None:
    assert asked(host, query) == 404


@pytest.mark.parametrize(
    "fields",
    [
        ("Host: clicks.example.com",),
        ("Host: 192.0.2.1:8080",),
        ("Host: 127.0.0.1.example.com",),
        ("Host: localhost.example.com:8080",),
        (*FIELDS, "X-Forwarded-For: 127.0.0.1"),
        (*FIELDS, "X-Forwarded-Proto: https"),
        (*FIELDS, "X-Forwarded-Host: 127.0.0.1"),
        (*FIELDS, "Forwarded: for=127.0.0.1"),
        (*FIELDS, "Via: 1.1 proxy"),
        ("Accept: */*",),
    ],
)
def test_who_comes_through_a_proxy_or_by_another_name_is_not_told(host, fields: tuple[str, ...]) -> None:
    assert asked(host, "domain=clicks.example.com", *fields) == 404


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2:1", "localhost", "LOCALHOST:8080", "[::1]:8080", "[::1]"])
def test_every_name_of_this_machine_is_one(host, name: str) -> None:
    assert asked(host, "domain=clicks.example.com", f"Host: {name}") == 200


@pytest.mark.parametrize(("peer", "told"), [("", True), ("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("x", False)])
def test_only_this_machine_is_told(peer: str, told: bool) -> None:
    assert ask.is_direct(peer, "127.0.0.1:8080", [(b"host", b"127.0.0.1:8080")]) is told


def test_a_unix_socket_is_of_this_machine(run_host, certificates: Path, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "web"))
    listener.listen()
    run_host(listener=listener, certificates=ask.CertificateHosts(certificates))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "web"))
        client.sendall(b"GET %b?domain=clicks.example.com HTTP/1.0\r\nHost: localhost\r\n\r\n" % ask.PATH)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_nobody_who_asks_is_noted(host) -> None:
    assert asked(host, "domain=clicks.example.com") == 200
    assert asked(host, QUESTION, path=proof.PATH.decode()) == 200
    host.records(0)


def test_what_the_probe_writes_counts_at_the_next_question(host, certificates: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert asked(host, "domain=new.example.com") == 404
    keep(certificates, "new.example.com")
    assert asked(host, "domain=new.example.com") == 200
    assert asked(host, "domain=clicks.example.com") == 404
    certificates.write_text("{")  # nobody does; and what was known is not forgotten for it
    assert [asked(host, "domain=new.example.com") for _ in range(3)] == [200, 200, 200]
    assert len([line for line in caplog.messages if "cannot be read, the 1 known ones stay" in line]) == 1
    certificates.unlink()
    assert asked(host, "domain=new.example.com") == 404
    keep(certificates, "new.example.com")
    assert asked(host, "domain=new.example.com") == 200


def test_without_a_file_there_is_no_certificate(run_host, tmp_path: Path) -> None:
    assert asked(run_host(), "domain=clicks.example.com") == 404
    assert "clicks.example.com" not in ask.CertificateHosts(tmp_path / "none.json")
    assert "clicks.example.com" not in ask.CertificateHosts(tmp_path)


# -- the proof --------------------------------------------------------------------------------------------------------------


def test_the_answer_is_ours_for_this_question_and_host_only(host, ring: Ring) -> None:
    reply = host.ask(f"{proof.PATH.decode()}?{QUESTION}")
    assert (reply.status, reply.fields["cache-control"]) == (200, "no-store")
    assert proof.proves(ring, "clicks.example.com", QUESTION.encode(), reply.content)
    assert proof.proves(ring, "CLICKS.example.com", QUESTION.encode(), reply.content)
    assert not proof.proves(ring, "clicks.example.org", QUESTION.encode(), reply.content)
    assert not proof.proves(ring, "clicks.example.com", b"f" * 16, reply.content)


def test_another_ring_gives_another_answer_and_a_renewed_one_knows_the_old(host, ring: Ring) -> None:
    answer = host.ask(f"{proof.PATH.decode()}?{QUESTION}").content
    stranger = Ring([SealingKey(id=7, secret=bytes(64), created=1, active=1)], now=2)
    assert not proof.proves(stranger, "clicks.example.com", QUESTION.encode(), answer)
    renewed = Ring([*ring.keys, SealingKey(id=8, secret=bytes(64), created=2, active=2)], now=3)
    assert proof.proves(renewed, "clicks.example.com", QUESTION.encode(), answer)


@pytest.mark.parametrize("query", ["", "short", "a" * 65, "0123456789abcde%20", "0123456789abcdef=1", "0123456789abcdef&x"])
def test_what_is_no_question_gets_no_answer(host, query: str) -> None:
    assert host.ask(f"{proof.PATH.decode()}?{query}").status == 404


@given(st.binary(max_size=80))
def test_nothing_else_proves_it(answer: bytes) -> None:
    ring = Ring([SealingKey(id=7, secret=bytes(range(64)), created=1, active=1)], now=2)
    assert not proof.proves(ring, "clicks.example.com", QUESTION.encode(), answer)
    assert not proof.proves(ring, "clicks.example.com", QUESTION.encode(), os.urandom(16).hex().encode())
