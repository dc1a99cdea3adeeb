"""`smtpeter link`: what a tracked link says, and stopping one; and the process `smtpeter web`, which obeys."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journal.links import hosted, hosted_tracked, pixel, tracked
from journal.records import decode
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.segment import SUFFIX, read_segment
from smtpeter.settings import load

RECIPIENT = bytes(range(9))
NAME = "abcdefghijklmnopqrstuvwxyz234567.png"
TARGET = "https://example.com/shop?a=1#top"


@pytest.fixture
def ring(tmp_path: Path, shop: Callable[..., str]) -> Ring:
    """The key ring of the data folder."""
    ring = Ring([SealingKey(id=1, secret=os.urandom(KEY_LENGTH), created=1, active=1)], now=2)
    (tmp_path / "data" / "keys.ring").write_text(ring.format())
    return ring


@pytest.fixture
def click_host(tmp_path: Path) -> str:
    return load(None, tmp_path / "data").click_host


def test_a_link_is_disabled_by_itself_or_by_where_it_leads(shop, ring: Ring) -> None:
    link = tracked(ring, RECIPIENT, 3, TARGET, "https://clicks.example.com")
    assert shop("link", "disable", link, "--reason", "phishing") == f"nobody is sent to {TARGET} any more\n"
    assert shop("link", "disable", TARGET) == f"{TARGET} was disabled already\n"
    (row,) = json.loads(shop("link", "list", "--json"))
    assert (row["destination"], row["reason"]) == (TARGET, "phishing")
    assert "phishing" in shop("link", "list")
    assert shop("link", "enable", TARGET) == f"visitors are sent to {TARGET} again\n"
    assert "is not disabled" in shop("link", "enable", link, status=2)
    assert shop("link", "list") == "no link is disabled; `smtpeter link disable URL` stops one\n"


def test_an_address_is_disabled_as_links_have_it(shop, ring: Ring) -> None:
    assert "https://xn--bcher-kva.example/%C3%BC" in shop("link", "disable", "https://b\u00fccher.example/\u00fc")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("example.com", "is no address of the web; give one that begins with http:// or https://"),
        ("ftp://example.com/", "is no address of the web"),
        ("javascript:alert(1)", "is no address of the web"),
        ("", "is no address of the web"),
        ("https://user@example.com/", "no link of ours leads to 'https://user@example.com/': a user name in the address"),
        ("https://", "no link of ours leads to"),
        ("http://[::1/", "no link of ours leads to"),
    ],
)
def test_what_is_no_destination(shop, ring: Ring, url: str, sentence: str) -> None:
    assert sentence in shop("link", "disable", url, status=2)
    assert sentence in shop("link", "enable", url, status=2)


def test_a_damaged_link_of_ours_is_no_destination(shop, ring: Ring, click_host: str) -> None:
    link = tracked(ring, RECIPIENT, 3, TARGET, f"https://{click_host}")
    for damaged in (link.replace("shop-", "shop-A"), link.replace("a=1", "a=2"), f"https://{click_host.upper()}/"):
        assert "is no link that was made here" in shop("link", "disable", damaged, status=2)
    assert "is a picture that is kept here" in shop("link", "disable", hosted(NAME, f"https://{click_host}"), status=2)
    assert "is the pixel of a mail" in shop("link", "disable", pixel(ring, RECIPIENT, "https://clicks.example.com"), status=2)
    assert json.loads(shop("link", "list", "--json")) == []


def test_a_reason_is_one_line(shop, ring: Ring) -> None:
    for reason in ("a\nb", "x" * 256):
        assert "a reason takes up to 255 printable characters" in shop("link", "disable", TARGET, "--reason", reason, status=2)


def test_what_a_link_says(shop, ring: Ring) -> None:
    base = "https://clicks.example.com"
    said = {"message": RECIPIENT.hex(), "number": 3}

    def show(url: str) -> object:
        return json.loads(shop("link", "show", url, "--json"))

    assert show(tracked(ring, RECIPIENT, 3, TARGET, base)) == {"kind": "link", **said, "destination": TARGET}
    assert show(tracked(ring, RECIPIENT, 3, TARGET, base, image=True)) == {"kind": "image", **said, "destination": TARGET}
    assert show(pixel(ring, RECIPIENT, base)) == {"kind": "pixel", "message": RECIPIENT.hex(), "number": 0}
    assert show(hosted_tracked(ring, RECIPIENT, 3, NAME, base)) == {"kind": "hosted image", "name": NAME, **said}
    assert show(hosted(NAME, base)) == {"kind": "hosted image", "name": NAME}
    assert f"destination  {TARGET}" in shop("link", "show", tracked(ring, RECIPIENT, 3, TARGET, base))
    for url in ("https://example.com/", hosted_tracked(ring, RECIPIENT, 3, NAME, base).replace("-", "-A"), "https://[", "x"):
        assert "is no link that was made here" in shop("link", "show", url, status=2)


def test_without_a_ring_or_a_journal_there_is_a_sentence(shop, tmp_path: Path) -> None:
    for name in ("keys.ring", "journal.db"):
        (tmp_path / "data" / name).unlink()
    assert "keys.ring cannot be read" in shop("link", "show", TARGET, status=2)
    assert "journal" in shop("link", "list", status=2)


# -- the process -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def web(tmp_path: Path, ring: Ring, listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """The process on a socket that it inherits."""
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web');"
        "os.execv(sys.executable, [sys.executable, '-m', 'smtpeter', '--data', sys.argv[2], 'web'])"
    )
    argv = (sys.executable, "-c", code, str(listener.fileno()), str(tmp_path / "data"))
    process = subprocess.Popen(argv, pass_fds=[listener.fileno()], cwd=Path(__file__).parents[2])
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(10)


def ask(listener: socket.socket, url: str) -> bytes:
    """The answer to a request for the path of a URL."""
    path = "/" + url.partition("#")[0].split("/", 3)[3]
    with socket.create_connection(listener.getsockname(), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: clicks.example.com\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_the_process_obeys_within_a_second_and_loses_nothing(shop, ring: Ring, web, listener, tmp_path: Path) -> None:
    link = tracked(ring, RECIPIENT, 3, TARGET, "https://clicks.example.com")
    assert f"\r\nlocation: {TARGET}\r\n".encode() in ask(listener, link)
    shop("link", "disable", link)
    begun = time.monotonic()
    count = 1
    while not (answer := ask(listener, link)).startswith(b"HTTP/1.1 410 "):
        count += 1
        assert time.monotonic() - begun < 1
    assert b"ocation:" not in answer
    # A ring that gets another key needs no restart.
    grown = Ring([*ring.keys, SealingKey(id=2, secret=os.urandom(KEY_LENGTH), created=5, active=5)], now=10)
    (tmp_path / "data" / "keys.ring").write_text(grown.format())
    other = tracked(grown, RECIPIENT, 4, "https://example.com/other", "https://clicks.example.com")
    while not (answer := ask(listener, other)).startswith(b"HTTP/1.1 302 "):
        assert time.monotonic() - begun < 10
    for _ in range(50):
        ask(listener, other)
    web.send_signal(signal.SIGTERM)
    assert web.wait(10) == 0
    spooled = [
        decode(line) for path in (tmp_path / "data" / "spool").glob(f"*{SUFFIX}") for _, line in read_segment(path, 0).lines
    ]
    assert len(spooled) == count + 51
    assert {record.number for record in spooled} == {3, 4}


def test_the_process_says_what_is_missing(shop, tmp_path: Path) -> None:
    (tmp_path / "data" / "keys.ring").unlink()
    done = subprocess.run(
        (sys.executable, "-m", "smtpeter", "--data", str(tmp_path / "data"), "web"),
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "keys.ring cannot be read" in done.stderr


def test_the_process_listens_where_the_settings_say(ring: Ring, listener: socket.socket, tmp_path: Path) -> None:
    port = listener.getsockname()[1]
    file = tmp_path / "settings.toml"
    file.write_text(f'data = "data"\n[web]\nport = {port}\n')
    done = subprocess.run(
        (sys.executable, "-m", "smtpeter", "--settings", str(file), "web"),
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"port {port} is in use" in done.stderr
