"""The filter and the jail for fail2ban, by fail2ban itself, over lines that the real server wrote."""

import asyncio
import logging
import os
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from policy.account import Account
from policy.domains import SenderDomain, SigningKey
from policy.gate import Gate
from policy.limiter import Limiter
from policy.login import Login, Password
from policy.options import Options
from policy.server import Times, serve
from policy.stores import StoreUnavailable
from policy.stores.usage import UsageStore
from policy.throttle import BUDGET
from smtpeter.process import JournalFormatter

LINE = "%(asctime)s %(name)s[%(process)d]: %(message)s"  # as smtpeter.process.start_log has them
JOURNAL_LINE = "%(name)s[%(process)d]: %(message)s"
JOURNAL_REMOTE = "/lib/systemd/systemd-journal-remote"  # writes what `journalctl -o export` shows into a file of journald
REFUSED = "verdict=refused login=alice mechanism=PLAIN service=smtp rip=192.0.2.9 secured=yes reason=credentials"
SECRET = "canary abcd  efgh"
ALICE = "a" * 32
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(SECRET)
FORGED = "x login=y mechanism=PLAIN service=smtp rip=203.0.113.66 secured=yes reason="
HOSTILE = (
    "203.0.113.66",
    "rip=203.0.113.66",
    FORGED,
    f"x\n2026-11-22T21:00:00 smtpeter.auth[1]: verdict=refused login={FORGED}",
    f"x\r\n\x002026-11-22T21:00:00 smtpeter.auth[1]: verdict=refused login={FORGED}",
    "a rip=203.0.113.66",
    "a\trip=203.0.113.66",
    "a\u2028rip=203.0.113.66",
    "<HOST>",
    SECRET,
)


class Store:
    """A store with one login; a name that begins with "down" finds it down."""

    def revision(self) -> object:
        return object()

    def login(self, name: str) -> Login | None:
        if name.startswith("down"):
            raise StoreUnavailable("the store is down rip=203.0.113.66")
        passwords = (Password(number=1, hash=HASH, created=0),)
        return Login(name=name, account="a", passwords=passwords, options=Options(), created=0) if name == ALICE else None

    def bind(self, login: Login, password: bytes) -> bool:
        raise ValueError("no login here is external")

    def account(self, name: str) -> Account | None:
        return None

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        return ()

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        return ()


Attempts = list[tuple[str, str, str]]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[[Attempts], list[str]]]:
    """The lines the auth server writes when these tries come: address, login name, password."""
    log, file = logging.getLogger("smtpeter"), tmp_path / "log"
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter(LINE, "%Y-%m-%dT%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)

    def run(attempts: Attempts) -> list[str]:
        asyncio.run(asyncio.wait_for(speak(tmp_path, attempts), 60))
        return file.read_text().splitlines()

    yield run
    log.removeHandler(handler)
    log.setLevel(level)
    handler.close()


async def speak(folder: Path, attempts: Attempts) -> None:
    sockets = {}
    for name in ("auth", "policy"):
        sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sockets[name].bind(str(folder / name))
        sockets[name].listen()
    stop, store = asyncio.Event(), Store()
    limiter = Limiter(UsageStore(f"sqlite:///{folder / 'usage.db'}"))
    served = asyncio.create_task(
        serve(
            **sockets,
            store=store,
            gate=Gate(store, postmaster="pm@example.com", limiter=limiter),
            workers=1,
            peers=frozenset({os.getuid()}),
            stop=stop,
            times=Times(floor=0.001, auth=0.3),
        )
    )
    for address, name, password in attempts:
        reader, writer = await asyncio.open_unix_connection(str(folder / "auth"))
        while await reader.readline() != b"DONE\n":
            pass
        response = b64encode(f"\0{name}\0{password}".encode())
        request = b"VERSION\t1\t0\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\trip=%b\tsecured\tresp=%b\n"
        writer.write(request % (address.encode(), response))
        await reader.readline()
        writer.close()
        await writer.wait_closed()
    stop.set()
    await served


def found(root: Path, file: Path | str) -> list[str]:
    """What fail2ban finds in a file or a journal, as it reads lines for a ban: address and user."""
    config = root / "postfix" / "fail2ban" / "filter.d" / "smtpeter.conf"
    command = ("fail2ban-regex", "--out", "<ip> <F-USER>", str(file), str(config))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_wrong_passwords_are_found_and_nothing_else(root: Path, tmp_path: Path, logged: Callable[[Attempts], list[str]]) -> None:
    lines = logged(
        [
            ("192.0.2.1", ALICE, SECRET),
            ("192.0.2.2", ALICE, "wrong"),
            ("2001:db8::3", "nobody@example.com", "wrong"),
            ("192.0.2.4", "", "no name"),
            ("192.0.2.5", "down@example.com", "trouble"),
            ("", ALICE, "from nowhere"),
            *(("192.0.2.6", f"name{number}", "wrong") for number in range(BUDGET + 1)),
        ]
    )
    assert sum("verdict=throttled" in line for line in lines) == 1
    assert sum("verdict=ok" in line for line in lines) == 1
    assert sum("verdict=trouble" in line for line in lines) == 1
    assert found(root, tmp_path / "log") == [
        f"192.0.2.2 {ALICE}",
        "2001:db8::3 nobody@example.com",
        "192.0.2.4 -",
        *(f"192.0.2.6 name{number}" for number in range(BUDGET + 1)),
    ]
    assert "canary" not in "".join(lines)


def test_no_name_forges_a_line_or_an_address(root: Path, tmp_path: Path, logged: Callable[[Attempts], list[str]]) -> None:
    lines = logged([(f"192.0.2.{place}", name, "wrong") for place, name in enumerate(HOSTILE)])
    assert len(lines) == len(HOSTILE)
    ours = found(root, tmp_path / "log")
    assert [line.split()[0] for line in ours] == [f"192.0.2.{place}" for place in range(len(HOSTILE))]
    assert {line.split()[1] for line in ours[1:]} == {"-"}
    assert "canary" not in "".join(lines)


def test_an_address_that_is_none_is_not_taken_from_elsewhere(
    root: Path, tmp_path: Path, logged: Callable[[Attempts], list[str]]
) -> None:
    logged([(address, "nobody", "wrong") for address in ("unknown", "192.0.2.1 rip=203.0.113.66", "example.com")])
    assert found(root, tmp_path / "log") == []


@pytest.mark.parametrize(
    "front",
    [
        "2026-11-22T21:00:00 ",
        "2026-11-22T21:00:00.123456+01:00 mail smtpeter[99]: 2026-11-22T21:00:00 ",
        "Nov 22 21:00:00 mail smtpeter[99]: 2026-11-22T21:00:00 ",
        "2026-11-22T21:00:00.123456+01:00 mail smtpeter[99]: ",
        "Nov 22 21:00:00 mail smtpeter[99]: ",
    ],
    ids=["a file", "a syslog file", "an old syslog file", "forwarded by journald", "forwarded to an old one"],
)
def test_the_lines_are_found_wherever_they_are_kept(root: Path, tmp_path: Path, front: str) -> None:
    line = f"{front}smtpeter.auth[7]: {REFUSED}\n"
    file = tmp_path / "lines"
    file.write_text(line + line.replace("smtpeter.auth[7]", "smtpeter.policy[7]") + line.replace("refused", "ok"))
    assert found(root, file) == ["192.0.2.9 alice"]


def test_the_lines_are_found_in_the_journal_of_their_unit_alone(root: Path, tmp_path: Path) -> None:
    """In a real journal, as journald keeps what the process writes to standard error."""
    record = logging.makeLogRecord({"name": "smtpeter.auth", "process": 7, "levelno": logging.INFO, "msg": REFUSED})
    priority, _, message = JournalFormatter(JOURNAL_LINE).format(record).partition(">")
    assert priority == "<6"
    units = ("smtpeter-auth.service", "smtpeter-web.service", "user@1000.service", "smtpeter-auth.service")
    entries = [
        f"__REALTIME_TIMESTAMP={1_795_000_000_000_000 + number}\n_BOOT_ID={'0' * 31}1\n_HOSTNAME=mail\n_SYSTEMD_UNIT={unit}\n"
        f"SYSLOG_IDENTIFIER=smtpeter\n_PID=7\nMESSAGE={message.replace('192.0.2.9', f'192.0.2.{number}')}\n\n"
        for number, unit in enumerate(units, 1)
    ]
    journal = tmp_path / "one.journal"
    written = "".join(entries).encode()
    subprocess.run((JOURNAL_REMOTE, "-o", journal, "-"), input=written, capture_output=True, timeout=60, check=True)
    assert found(root, f"systemd-journal[journalfiles={journal}]") == ["192.0.2.1 alice", "192.0.2.4 alice"]


@pytest.mark.parametrize("kept", ["in the journal", "in a file"])
def test_fail2ban_takes_the_jail(root: Path, tmp_path: Path, kept: str) -> None:
    """With Debian's own configuration around it, as an operator would have it."""
    etc = tmp_path / "etc"
    shutil.copytree("/etc/fail2ban", etc)
    for name in ("filter.d", "jail.d"):
        shutil.copy(root / "postfix" / "fail2ban" / name / "smtpeter.conf", etc / name)
    (tmp_path / "lines").touch()
    place = f"backend = auto\nlogpath = {tmp_path / 'lines'}\n" if kept == "in a file" else ""
    local = f"[sshd]\nenabled = false\n[smtpeter]\nenabled = true\n{place}"
    (etc / "jail.d" / "zz-here.local").write_text(local)
    done = subprocess.run(("fail2ban-client", "-c", str(etc), "-d"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    if place:
        assert f"['set', 'smtpeter', 'addlogpath', '{tmp_path / 'lines'}', 'head']" in said
    else:
        assert "['add', 'smtpeter', 'systemd']" in said
        assert "['set', 'smtpeter', 'addjournalmatch', '_SYSTEMD_UNIT=smtpeter-auth.service']" in said
    assert "['set', 'smtpeter', 'maxretry', 30]" in said
    assert r"smtpeter\\.auth" in said
    assert "'sshd'" not in said
    (etc / "jail.d" / "zz-here.local").write_text("[sshd]\nenabled = false\n")
    done = subprocess.run(("fail2ban-client", "-c", str(etc), "-d"), capture_output=True, text=True, timeout=60, check=False)
    assert "'smtpeter'" not in done.stdout
