"""Ten thousand guesses, and an owner who does not notice; said through the real Postfix and to the real auth socket."""

import asyncio
import base64
import json
import re
import smtplib
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median

import pytest

from policy.login import Login, Password
from policy.options import Options
from policy.password import hash_password
from policy.stores.sql import SqlStore
from policy.throttle import BUDGET, REFILL

pytestmark = pytest.mark.system

MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: hello\r\n\r\nhello\r\n"
CANARY = "canary"
GUESSES, BY_SMTP, ADDRESSES = 10_000, 400, 100
SESSION = 4  # guesses; at the fifth error Postfix ends a session
LINE = re.compile(r"smtpeter\.auth\[\d+\]: verdict=(\w+) login=(\S+) mechanism=\S+ service=\S+ rip=(\S+) ")


@pytest.fixture(scope="module")
def guarded(make_service):
    """A service of its own: what is counted there is nobody else's."""
    made = make_service()
    made.run("account", "add", "shop", "--approve")
    made.domain("example.com")
    return made


def address(number: int) -> str:
    return f"127.0.1.{1 + number % ADDRESSES}"


async def ask(path: Path, name: str, password: str, rip: str) -> tuple[str, float]:
    """The first word of the answer, "" where the connection is closed, and the seconds it took."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        while await reader.readline() != b"DONE\n":
            pass
        response = base64.b64encode(f"\0{name}\0{password}".encode())
        request = b"VERSION\t1\t0\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\tnologin\trip=%b\tsecured\tresp=%b\n"
        began = time.monotonic()
        writer.write(request % (rip.encode(), response))
        answer = await reader.readline()
        return answer.partition(b"\t")[0].decode(), time.monotonic() - began
    finally:
        writer.close()


async def flood(path: Path, name: str, numbers: range) -> Counter[str]:
    """Guesses from all addresses, as many at once."""
    answers: Counter[str] = Counter()
    left = iter(numbers)

    async def guesser() -> None:
        for number in left:
            answers[(await ask(path, name, f"{CANARY} {number}", address(number)))[0]] += 1

    await asyncio.gather(*(guesser() for _ in range(ADDRESSES)))
    return answers


def session(service, name: str, numbers: range) -> list[int]:
    """The reply codes to guesses in one session through Postfix."""
    source = (address(numbers[0] // SESSION), 0)
    with smtplib.SMTP(
        "localhost", service.submission, local_hostname="guesser.test", timeout=60, source_address=source
    ) as client:
        client.starttls(context=service.trust)
        client.ehlo()
        responses = (base64.b64encode(f"\0{name}\0{CANARY} smtp {number}".encode()).decode() for number in numbers)
        return [client.docmd("AUTH", f"PLAIN {response}")[0] for response in responses]


def verdicts(service) -> Counter[tuple[str, str, bool]]:
    """The lines of the auth server: verdict, login, and whether a guesser's address is in it."""
    found = (line.groups() for line in LINE.finditer(service.log))
    return Counter((verdict, login, rip.startswith("127.0.1.")) for verdict, login, rip in found)


def test_ten_thousand_guesses_and_an_owner_who_does_not_notice(guarded) -> None:
    login, path = guarded.login(), guarded.data / "run" / "auth"
    guarded.send(login, MESSAGE)  # from here on its place is known
    ended, sent = threading.Event(), []

    def owner() -> None:
        while not ended.wait(0.1) or len(sent) < 5:
            sent.append(guarded.send(login, MESSAGE))

    began = time.monotonic()
    with ThreadPoolExecutor(12) as threads:
        sending = threads.submit(owner)
        starts = range(0, BY_SMTP, SESSION)
        by_smtp = [threads.submit(session, guarded, login.name, range(start, start + SESSION)) for start in starts]
        try:
            answers = asyncio.run(asyncio.wait_for(flood(path, login.name, range(GUESSES - BY_SMTP)), 120))
            codes = Counter(code for guess in by_smtp for code in guess.result(120))
        finally:
            ended.set()
        sending.result(120)
    budget = BUDGET + int((time.monotonic() - began) * BUDGET / REFILL) + 1

    found = verdicts(guarded)
    assert found["ok", login.name, False] == len(sent) + 1  # and every one of them was accepted
    assert {key for key in found if key[1:] == (login.name, False)} == {("ok", login.name, False)}
    assert BUDGET <= found["refused", login.name, True] <= budget
    assert found["refused", login.name, True] + found["throttled", login.name, True] == GUESSES
    assert answers.keys() <= {"FAIL", ""}
    assert codes.keys() <= {454, 535}
    assert answers["FAIL"] + codes[535] == found["refused", login.name, True]
    assert answers.total() + codes.total() == GUESSES
    assert CANARY not in guarded.log + guarded.mail_log


def test_an_unknown_login_has_the_same_budget_and_the_same_replies(guarded) -> None:
    name = "0123456789abcdef" * 2
    answers = asyncio.run(asyncio.wait_for(flood(guarded.data / "run" / "auth", name, range(500)), 60))
    found = verdicts(guarded)
    assert BUDGET <= found["refused", name, True] == answers["FAIL"] <= BUDGET + 1
    assert found["throttled", name, True] == answers[""]


def test_right_passwords_from_elsewhere_wait_until_guessing_ends_but_are_never_called_wrong(guarded) -> None:
    login = guarded.login()
    path = guarded.data / "run" / "auth"
    asyncio.run(asyncio.wait_for(flood(path, login.name, range(3 * ADDRESSES)), 60))
    assert BUDGET <= verdicts(guarded)["refused", login.name, True] <= BUDGET + 1
    source = ("127.0.2.1", 0)
    with smtplib.SMTP("localhost", guarded.submission, local_hostname="away.test", timeout=60, source_address=source) as client:
        client.starttls(context=guarded.trust)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(login.name, login.password)
    assert caught.value.smtp_code == 454
    assert verdicts(guarded)["refused", login.name, False] == 0


def test_the_time_tells_nothing_of_a_login(guarded) -> None:
    path, rounds, numbers = guarded.data / "run" / "auth", 20, count()
    store = SqlStore(f"sqlite:///{guarded.data / 'policy.db'}")
    made = hash_password("some password", b"0123456789abcdef")
    names = [f"timed{number}" for number in range(2 * rounds)]
    for name in names:
        passwords = (Password(number=1, hash=made, created=0),)
        store.add_login(Login(name=name, account="shop", passwords=passwords, options=Options(), created=0))
    store.close()

    async def one(name: str, taken: list[float]) -> None:
        answer, seconds = await ask(path, name, f"{CANARY} timed", f"2001:db8:0:{next(numbers):x}::1")
        assert answer == "FAIL"
        taken.append(seconds)

    async def interleaved() -> tuple[list[float], list[float]]:
        wrong: list[float] = []
        unknown: list[float] = []
        for turn in range(rounds):
            mine = names[2 * turn : 2 * turn + 2]
            await asyncio.gather(*(tried for name in mine for tried in (one(name, wrong), one(f"no{name}", unknown))))
        return wrong, unknown

    wrong, unknown = asyncio.run(asyncio.wait_for(interleaved(), 120))
    assert len(wrong) == len(unknown) == 2 * rounds
    assert abs(median(wrong) - median(unknown)) <= 0.05 * min(median(wrong), median(unknown))
    assert min(wrong + unknown) >= 0.5


def test_fail2ban_finds_the_guessers_and_not_the_owner(guarded, root: Path) -> None:
    config = root / "postfix" / "fail2ban" / "filter.d" / "smtpeter.conf"
    login = guarded.login()
    guarded.send(login, MESSAGE)
    with (
        pytest.raises(smtplib.SMTPAuthenticationError),
        smtplib.SMTP(
            "localhost", guarded.submission, local_hostname="guesser.test", timeout=60, source_address=("127.0.3.1", 0)
        ) as client,
    ):
        client.starttls(context=guarded.trust)
        client.login(login.name, CANARY)
    command = ("fail2ban-regex", "--out", "<ip> <F-USER>", str(guarded.folder / "log"), str(config))
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    assert f"127.0.3.1 {login.name}" in found
    assert f"127.0.0.1 {login.name}" not in found
    # What is found are the lines of all guesses, no more and no less.
    assert len(found) == sum(
        number for (verdict, _, _), number in verdicts(guarded).items() if verdict in ("refused", "throttled")
    )


def test_both_passwords_send_while_a_login_rotates(guarded, wait) -> None:
    login = guarded.login()
    guarded.send(login, MESSAGE)
    fresh = json.loads(guarded.run("login", "rotate", login.name, "--hours", "48", "--json"))["password"]
    assert fresh != login.password
    guarded.send(login, MESSAGE)
    old, login.password = login.password, fresh
    guarded.send(login, MESSAGE)

    def used() -> bool:
        rows = json.loads(guarded.run("login", "show", login.name, "--json"))["passwords"]
        assert [row["number"] for row in rows] == [1, 2]
        return all((row["address"], row["mechanism"], row["client"]) == ("127.0.0.1", "PLAIN", "client.test") for row in rows)

    wait(used, "the last use of both passwords")
    guarded.run("login", "rotate", login.name, "--at-once")
    for gone in (old, fresh):
        login.password = gone
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            guarded.client(login)
        assert caught.value.smtp_code == 535
