"""Both sockets, with real clients on real unix sockets."""

import asyncio
import logging
import os
import socket
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from policy.account import Account, State
from policy.domains import SenderDomain, SigningKey
from policy.gate import Gate
from policy.limiter import Limiter
from policy.login import Login, Password
from policy.options import Options
from policy.server import Times, serve
from policy.stores import StoreUnavailable
from policy.stores.migrate import USAGE, migrate
from policy.stores.usage import UsageStore
from policy.stores.uses import SqlUses, Use
from policy.throttle import BUDGET
from policy.uses import Uses

PASSWORD = "canary abcd  efgh"
ALICE, BOB, NOBODY = "a" * 32, "b" * 32, "c" * 32
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
QUICK = Times(floor=0.01, auth=2.0)
MINE = frozenset({os.getuid()})
GREETING = ("VERSION", "MECH", "MECH", "SPID", "CUID", "COOKIE", "DONE")
HELLO = b"VERSION\t1\t0\nCPID\t4711\n"
REFUSED = "FAIL\t1\treason=invalid user name or password"


def opened_by(password_hash: str) -> tuple[Password, ...]:
    return (Password(number=1, hash=password_hash, created=0),)


class Memory:
    """A store in dictionaries: `down` makes it fail, `held` makes it wait."""

    def __init__(self) -> None:
        options = Options()
        self.logins = {
            name: Login(name=name, account=account, passwords=opened_by(HASH), options=options, created=0)
            for name, account in ((ALICE, "approved"), (BOB, "pending"))
        }
        self.accounts = {state.value: Account(name=state.value, state=state, created=0) for state in State}
        self.asked: list[str] = []
        self.down = False
        self.entered, self.held = threading.Event(), threading.Event()
        self.held.set()

    def revision(self) -> object:
        return object()

    def login(self, name: str) -> Login | None:
        self.asked.append(name)
        self.entered.set()
        self.held.wait(20)
        if self.down:
            raise StoreUnavailable("the store is down")
        return self.logins.get(name)

    def account(self, name: str) -> Account | None:
        return self.accounts.get(name)

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        return ()

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        return ()

    def bind(self, login: Login, password: bytes) -> bool:
        raise ValueError("no login here is external")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    folder: Path
    store: Memory
    stop: asyncio.Event
    served: "asyncio.Task[None]"


@asynccontextmanager
async def serving(
    folder: Path, store: Memory, *, peers: frozenset[int] = MINE, workers: int = 2, times: Times = QUICK
) -> AsyncIterator[Site]:
    sockets, usage = {}, f"sqlite:///{folder / 'usage.db'}"
    migrate(usage, USAGE)
    uses = Uses(SqlUses(usage))
    for name in ("auth", "policy"):
        sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sockets[name].bind(str(folder / name))
        sockets[name].listen()
    stop = asyncio.Event()
    served = asyncio.create_task(
        serve(
            auth=sockets["auth"],
            policy=sockets["policy"],
            store=store,
            gate=Gate(store, postmaster="pm@example.com", limiter=Limiter(UsageStore(usage)), uses=uses),
            workers=workers,
            peers=peers,
            stop=stop,
            uses=uses,
            times=times,
        )
    )
    try:
        yield Site(folder=folder, store=store, stop=stop, served=served)
    finally:
        store.held.set()
        stop.set()
        await served


class Talk:
    """A client that reads with a time limit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> str:
        """The next line, "" where the connection is over."""
        return (await asyncio.wait_for(self.reader.readline(), 10)).decode().rstrip("\n")

    async def lines(self, count: int) -> list[str]:
        return [await self.line() for _ in range(count)]

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except (ConnectionResetError, BrokenPipeError):
            return b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, data: bytes) -> str:
        self.send(data)
        return await self.line()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionResetError, BrokenPipeError):
            await writer.wait_closed()


@asynccontextmanager
async def authenticating(site: Site) -> AsyncIterator[Talk]:
    async with connected(site.folder / "auth") as talk:
        greeting = await talk.lines(len(GREETING))
        assert tuple(line.partition("\t")[0] for line in greeting) == GREETING
        talk.send(HELLO)
        yield talk


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 50)

    asyncio.run(bounded())


def b64(text: str) -> bytes:
    return b64encode(text.encode())


def plain(name: str, password: str = PASSWORD, number: int = 1, rip: str = "192.0.2.9") -> bytes:
    response = b64(f"\0{name}\0{password}")
    return b"AUTH\t%d\tPLAIN\tservice=smtp\tnologin\trip=%b\tsecured\tresp=%b\n" % (number, rip.encode(), response)


def test_plain_and_login(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory()) as site, authenticating(site) as talk:
            assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"
            assert await talk.ask(b"AUTH\t2\tPLAIN\tservice=smtp\tresp=\n") == "CONT\t2\t"
            assert await talk.ask(b"CONT\t2\t" + b64(f"\0{BOB}\0{PASSWORD}") + b"\n") == f"OK\t2\tuser={BOB}"
            assert await talk.ask(b"AUTH\t3\tLOGIN\n") == "CONT\t3\tVXNlcm5hbWU6"
            assert await talk.ask(b"CONT\t3\t" + b64(ALICE) + b"\n") == "CONT\t3\tUGFzc3dvcmQ6"
            assert await talk.ask(b"CONT\t3\t" + b64(PASSWORD) + b"\n") == f"OK\t3\tuser={ALICE}"
            assert await talk.ask(b"AUTH\t4\tLOGIN\tresp=" + b64(ALICE) + b"\n") == "CONT\t4\tUGFzc3dvcmQ6"
            assert (await talk.ask(b"CONT\t4\t" + b64(PASSWORD.strip("canry")) + b"\n")).startswith("FAIL\t4\t")

    run(scenario())


def test_wrong_unknown_and_disabled_look_alike(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        store.logins[BOB] = replace(store.logins[BOB], enabled=False)
        async with serving(tmp_path, store) as site, authenticating(site) as talk:
            answers = [
                (await talk.ask(plain(name, password))).replace(name, "NAME")
                for name, password in ((ALICE, "wrong"), (BOB, PASSWORD), (BOB, "wrong"), (NOBODY, PASSWORD))
            ]
            assert answers == ["FAIL\t1\tuser=NAME\treason=invalid user name or password"] * 4
            # What cannot be a login is not named: it may be a password in the wrong field.
            assert await talk.ask(plain(PASSWORD)) == REFUSED
            assert await talk.ask(plain("x\tuser=" + ALICE)) == REFUSED

    run(scenario())


@pytest.mark.parametrize(
    "message", ["", "\0\0", f"\0{ALICE}\0", f"\0\0{PASSWORD}", f"{BOB}\0{ALICE}\0{PASSWORD}", f"\0{ALICE}\0a\0b"]
)
def test_malformed_credentials_are_refused_without_the_store(tmp_path: Path, message: str) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site, authenticating(site) as talk:
            assert await talk.ask(b"AUTH\t1\tPLAIN\tresp=%b\n" % (b64(message) or b"=")) == REFUSED
            assert store.asked == []

    run(scenario())


BREACHES = {
    "1 MB line": b"A" * 1_000_000,
    "number 0": b"AUTH\t0\tPLAIN\n",
    "number 2^32": b"AUTH\t4294967296\tPLAIN\n",
    "CONT without AUTH": b"CONT\t1\tAAAA\n",
    "CPID twice": b"CPID\t1\n",
    "major version 2": b"VERSION\t2\t0\n",
    "number twice": b"AUTH\t1\tLOGIN\nAUTH\t1\tLOGIN\n",
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_ends_that_connection_only(tmp_path: Path, breach: bytes) -> None:
    async def scenario() -> None:
        async with (
            serving(tmp_path, Memory()) as site,
            authenticating(site) as honest,
            authenticating(site) as rogue,
        ):
            rogue.send(breach)
            began = time.monotonic()
            assert await honest.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"
            assert time.monotonic() - began < 1.0
            assert await rogue.rest() == b""
            assert await honest.ask(plain(ALICE, number=2)) == f"OK\t2\tuser={ALICE}"

    run(scenario())


def test_a_hundred_requests_in_one_piece(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory()) as site, authenticating(site) as talk:
            pairs = [(number, PASSWORD if number % 4 else "wrong") for number in range(1, 101)]
            talk.send(b"".join(plain(ALICE, password, number) for number, password in pairs))
            answers = await talk.lines(100)
            expected = [
                f"OK\t{number}\tuser={ALICE}"
                if number % 4
                else f"FAIL\t{number}\tuser={ALICE}\treason=invalid user name or password"
                for number, _ in pairs
            ]
            assert sorted(answers) == sorted(expected)

    run(scenario())


def test_past_the_budget_the_connection_is_closed_for_all_but_who_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def guess(site: Site, number: int) -> bytes:
        async with authenticating(site) as talk:
            talk.send(plain(ALICE, f"guess {number}", rip=f"198.51.100.{number}"))
            return (await talk.line()).encode() if number < BUDGET else await talk.rest()

    async def scenario() -> None:
        async with serving(tmp_path, Memory(), times=replace(QUICK, auth=1.0)) as site:
            async with authenticating(site) as talk:
                assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"
            first = await asyncio.gather(*(guess(site, number) for number in range(BUDGET)))
            assert all(answer.startswith(b"FAIL\t1\t") for answer in first)
            assert await asyncio.gather(*(guess(site, number) for number in range(BUDGET, BUDGET + 5))) == [b""] * 5
            async with authenticating(site) as talk:
                assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"

    run(scenario())
    throttled = [record.getMessage() for record in caplog.records if "verdict=throttled" in record.getMessage()]
    assert sorted(throttled) == [
        f"verdict=throttled login={ALICE} mechanism=PLAIN service=smtp rip=198.51.100.{number} secured=yes reason=budget"
        for number in range(BUDGET, BUDGET + 5)
    ]


def test_the_last_use_tells_which_client_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site:
            async with authenticating(site) as talk:
                assert (await talk.ask(plain(ALICE, rip="2001:db8::9"))).startswith("OK")
                assert (await talk.ask(plain(BOB, number=2))).startswith("OK")
            async with connected(tmp_path / "policy") as talk:
                talk.send(question(client_address="2001:db8::9", helo_name="phone.test"))
                assert await talk.lines(2) == ["action=DUNNO", ""]

    began = int(time.time())
    run(scenario())
    kept = SqlUses(f"sqlite:///{tmp_path / 'usage.db'}")
    found = {name: kept.of(name)[1] for name in (ALICE, BOB)}
    kept.close()
    assert all(began <= use.time <= time.time() for use in found.values())
    assert [replace(use, time=0) for use in found.values()] == [
        Use(login=ALICE, password=1, time=0, address="2001:db8::9", mechanism="PLAIN", client="phone.test"),
        Use(login=BOB, password=1, time=0, address="192.0.2.9", mechanism="PLAIN", client=""),
    ]


def test_several_clients_octet_by_octet(tmp_path: Path) -> None:
    async def one(site: Site, name: str) -> None:
        async with authenticating(site) as talk:
            for octet in plain(name):
                talk.send(bytes([octet]))
                await asyncio.sleep(0)
            assert await talk.line() == f"OK\t1\tuser={name}"

    async def scenario() -> None:
        async with serving(tmp_path, Memory()) as site:
            await asyncio.gather(*(one(site, name) for name in (ALICE, BOB) * 8))

    run(scenario())


@pytest.mark.parametrize("name", ["auth", "policy"])
def test_half_a_request_does_not_stay(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory(), times=replace(QUICK, partial=0.2)) as site:
            async with connected(tmp_path / name) as idle, connected(tmp_path / name) as half:
                began = time.monotonic()
                for _ in range(4):
                    half.send(b"x")
                    await asyncio.sleep(0.02)
                await half.rest()
                assert 0.15 < time.monotonic() - began < 5
                # An idle client stays: Postfix keeps its connection for the life of a process.
                idle.send(HELLO + plain(ALICE) if name == "auth" else question())
                assert await idle.line()
            site.stop.set()

    run(scenario())


def test_a_store_that_is_down_closes_the_connection_and_never_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site:
            store.down = True
            for name in (ALICE, NOBODY, "x"):
                async with authenticating(site) as talk:
                    talk.send(plain(name))
                    assert await talk.rest() == b""
            store.down = False
            async with authenticating(site) as talk:
                assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"

    run(scenario())


def test_a_store_that_hangs_closes_the_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store, times=replace(QUICK, auth=0.2)) as site, authenticating(site) as talk:
            store.held.clear()
            talk.send(plain(ALICE))
            assert await talk.rest() == b""

    run(scenario())


def test_a_damaged_hash_closes_the_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        store.logins[ALICE] = replace(store.logins[ALICE], passwords=opened_by("$argon2id$v=19$m=8,t=1,p=1$AAAA"))
        async with serving(tmp_path, store) as site, authenticating(site) as talk:
            talk.send(plain(ALICE))
            assert await talk.rest() == b""

    run(scenario())


def test_a_fault_of_the_store_closes_the_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Memory):
        def login(self, name: str) -> Login | None:
            raise ZeroDivisionError

    async def scenario() -> None:
        async with serving(tmp_path, Broken()) as site:
            async with authenticating(site) as talk:
                talk.send(plain(ALICE))
                assert await talk.rest() == b""
            async with connected(tmp_path / "policy") as talk:
                talk.send(question())
                assert await talk.rest() == b""

    run(scenario())
    assert [record.levelno for record in caplog.records if "fault" in record.getMessage()] == [logging.ERROR] * 2


def test_overload_closes_the_connection_and_never_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        times = replace(QUICK, pending=1)
        async with serving(tmp_path, Memory(), workers=1, times=times) as site:
            # Each costs a comparison of full price, so one is under way when the next comes.
            async with authenticating(site) as talk:
                talk.send(b"".join(plain(NOBODY, "x", number) for number in range(1, 21)))
                assert await talk.rest() == b""
            answer = ""
            for _ in range(100):
                async with authenticating(site) as talk:
                    answer = await talk.ask(plain(ALICE))
                if answer:
                    break
            assert answer == f"OK\t1\tuser={ALICE}"

    run(scenario())


def test_a_revoked_login_is_refused_on_an_open_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site, authenticating(site) as talk:
            assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"
            del store.logins[ALICE]
            assert (await talk.ask(plain(ALICE, number=2))).startswith("FAIL\t2\t")

    run(scenario())


@pytest.mark.parametrize("name", ["auth", "policy"])
def test_another_user_is_not_served(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with (
            serving(tmp_path, Memory(), peers=frozenset({os.getuid() + 1})),
            connected(tmp_path / name) as talk,
        ):
            talk.send(HELLO)
            assert await talk.rest() == b""

    run(scenario())


def test_stopping_answers_what_is_in_hand(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site, authenticating(site) as busy, authenticating(site) as idle:
            store.held.clear()
            busy.send(plain(ALICE))
            assert await asyncio.to_thread(store.entered.wait, 10)
            site.stop.set()
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_unix_connection(str(tmp_path / "auth"))
            assert not site.served.done()
            store.held.set()
            assert await busy.rest() == f"OK\t1\tuser={ALICE}\n".encode()
            await asyncio.wait_for(asyncio.shield(site.served), 5)
            assert (tmp_path / "auth").is_socket()

    run(scenario())


def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        times = replace(QUICK, finish=0.2)
        async with serving(tmp_path, store, times=times) as site, authenticating(site) as talk:
            store.held.clear()
            talk.send(plain(ALICE))
            assert await asyncio.to_thread(store.entered.wait, 10)
            site.stop.set()
            await asyncio.wait_for(asyncio.shield(site.served), 5)
            assert await talk.rest() == b""

    run(scenario())


def question(**attributes: str) -> bytes:
    values = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "client_address": "192.0.2.9",
        "sender": "a@example.com",
        "recipient": "b@example.org",
        "queue_id": "4Xy",
        "sasl_username": ALICE,
        "encryption_protocol": "TLSv1.3",
        **attributes,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode() + b"\n"


DECISIONS = [
    ({}, "DUNNO"),
    ({"sasl_username": ""}, "530 5.7.0 Authentication required"),
    ({"sasl_username": "", "encryption_protocol": ""}, "530 5.7.0 Authentication required"),
    ({"encryption_protocol": ""}, "530 5.7.0 Must issue a STARTTLS command first"),
    ({"sasl_username": BOB}, "550 5.7.1 You do not have permission to send email; contact pm@example.com"),
    ({"sasl_username": NOBODY}, "554 5.7.1 This login is no longer valid"),
    ({"sasl_username": ALICE.upper()}, "554 5.7.1 This login is no longer valid"),
    ({"sasl_username": "x=y%s é"}, "554 5.7.1 This login is no longer valid"),
    ({"sender": "x" * 65536 + "@example.com", "recipient": "action=OK"}, "DUNNO"),
]


def test_policy_decisions_in_order_and_piece_by_piece(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory()), connected(tmp_path / "policy") as talk:
            expected = [text for _, action in DECISIONS for text in (f"action={action}", "")]
            talk.send(b"".join(question(**attributes) for attributes, _ in DECISIONS))
            assert await talk.lines(len(expected)) == expected
            for octet in question():
                talk.send(bytes([octet]))
                await asyncio.sleep(0)
            assert await talk.lines(2) == ["action=DUNNO", ""]

    run(scenario())


def test_policy_cuts_a_login_that_is_disabled_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store), connected(tmp_path / "policy") as talk:
            talk.send(question())
            assert await talk.lines(2) == ["action=DUNNO", ""]
            store.logins[ALICE] = replace(store.logins[ALICE], enabled=False)
            assert await talk.ask(question()) == "action=554 5.7.1 This login is no longer valid"

    run(scenario())


def test_policy_trouble_is_temporary(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        trouble = ["action=451 4.3.0 Temporary failure, please try again later", ""]
        async with serving(tmp_path, store, times=replace(QUICK, policy=0.2)), connected(tmp_path / "policy") as talk:
            store.down = True
            talk.send(question())
            assert await talk.lines(2) == trouble
            store.down = False
            store.held.clear()
            talk.send(question())
            assert await talk.lines(2) == trouble
            store.held.set()
            talk.send(question())
            assert await talk.lines(2) == ["action=DUNNO", ""]

    run(scenario())


@pytest.mark.parametrize("data", [b"request=junk\n\n", b"no attribute\n\n", b"x" * 200_000, b"sender=a\n\n"])
def test_policy_garbage_closes_the_connection(tmp_path: Path, data: bytes) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory()), connected(tmp_path / "policy") as talk:
            talk.send(data)
            assert b"action" not in await talk.rest()

    run(scenario())


def test_policy_requests_that_wait_are_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store), connected(tmp_path / "policy") as talk:
            store.held.clear()
            talk.send(question() * 300)
            assert b"action" not in await talk.rest()

    run(scenario())


def test_a_client_that_does_not_read_is_not_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Memory()) as site:
            with socket.socket(socket.AF_UNIX) as mute:
                mute.connect(str(tmp_path / "auth"))
                mute.setblocking(False)
                mute.send(HELLO)
                lines = b"".join(b"AUTH\t%d\tPLAIN\tresp==\n" % number for number in range(1, 1000))
                sent, rested = 0, 0
                while rested < 20 and sent < 20_000_000:
                    try:
                        sent += mute.send(lines[sent % len(lines) :])
                        rested = 0
                    except BlockingIOError:
                        rested += 1
                        await asyncio.sleep(0.01)
                assert sent < 20_000_000
                async with authenticating(site) as talk:
                    assert await talk.ask(plain(ALICE)) == f"OK\t1\tuser={ALICE}"
                # As soon as it reads, everything it asked is answered.
                asked = sent // len(lines) * 999 + lines[: sent % len(lines)].count(b"\n")
                answered = -len(GREETING)
                while answered < asked:
                    received = await asyncio.get_running_loop().sock_recv(mute, 65536)
                    assert received
                    answered += received.count(b"\n")
                assert answered == asked

    run(scenario())


def test_one_line_for_each_decision_and_no_secret_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        store = Memory()
        async with serving(tmp_path, store) as site:
            async with authenticating(site) as talk:
                await talk.ask(plain(ALICE))
                await talk.ask(plain(ALICE, PASSWORD + "!"))
                await talk.ask(plain(PASSWORD, PASSWORD))
                await talk.ask(b"AUTH\t1\tPLAIN\tresp=" + b64("\0" + PASSWORD) + b"\n")
                store.down = True
                talk.send(plain(ALICE))
                await talk.rest()
            async with connected(tmp_path / "policy") as talk:
                await talk.ask(question(sender='a"@example.com verdict=ok', sasl_username=""))

    run(scenario())
    lines = [(record.name, record.getMessage()) for record in caplog.records if record.name.startswith("smtpeter")]
    common = "mechanism=PLAIN service=smtp rip=192.0.2.9 secured=yes"
    assert lines == [
        ("smtpeter.auth", f"verdict=ok login={ALICE} {common} reason=-"),
        ("smtpeter.auth", f"verdict=refused login={ALICE} {common} reason=credentials"),
        ("smtpeter.auth", f"verdict=refused login=- {common} reason=credentials"),
        (
            "smtpeter.auth",
            'verdict=refused login=- mechanism=PLAIN service=- rip=- secured=no reason="wrong number of NULs"',
        ),
        (
            "smtpeter.auth",
            f'verdict=trouble login={ALICE} {common} reason="StoreUnavailable the store is down"',
        ),
        ("smtpeter.auth", "closed reason=trouble"),
        (
            "smtpeter.policy",
            "verdict=530/5.7.0 login=- state=RCPT client=192.0.2.9 queue_id=4Xy instance=- "
            'sender="a\\u{22}@example.com verdict=ok" recipient=b@example.org reason=-',
        ),
    ]
    everything = caplog.text
    assert "canary" not in everything
    for message in (f"\0{ALICE}\0{PASSWORD}", f"\0{PASSWORD}"):
        assert b64(message).decode() not in everything
