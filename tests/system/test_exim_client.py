"""Exim's own dovecot authenticator as a client of the auth socket: somebody else's reading of the protocol."""

import asyncio
import os
import socket
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from policy.account import Account, State
from policy.domains import SenderDomain, SigningKey
from policy.gate import Gate
from policy.limiter import Limiter
from policy.login import Login, Password
from policy.options import Options
from policy.password import SALT_LENGTH, hash_password
from policy.server import serve
from policy.stores import StoreUnavailable
from policy.stores.usage import UsageStore

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".cache" / "exim"
EXIM_USER = 61001  # Exim drops root for a user of its own before it asks; nobody else's number here
NAME, PASSWORD = "0123456789abcdef" * 2, "abcd efgh  jkmn "

CONFIGURATION = """
primary_hostname = exim.test.invalid
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
begin authenticators
plain:
  driver = dovecot
  public_name = PLAIN
  server_socket = {folder}/auth
  server_set_id = $auth1
login:
  driver = dovecot
  public_name = LOGIN
  server_socket = {folder}/auth
  server_set_id = $auth1
"""


class OneLogin:
    """A store that knows one login; `down` makes it fail."""

    def __init__(self) -> None:
        self.down = False
        password_hash = hash_password(PASSWORD, bytes(SALT_LENGTH))
        self.known = Login(
            name=NAME, account="a", passwords=(Password(number=1, hash=password_hash, created=0),), options=Options(), created=0
        )

    def revision(self) -> object:
        return object()

    def login(self, name: str) -> Login | None:
        if self.down:
            raise StoreUnavailable("the store is down")
        return self.known if name == NAME else None

    def account(self, name: str) -> Account | None:
        return Account(name=name, state=State.APPROVED, created=0)

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        return ()

    def bind(self, login: Login, password: bytes) -> bool:
        raise ValueError("no login here is external")

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        return ()


@pytest.fixture(scope="module")
def exim() -> Path:
    subprocess.run([ROOT / "tests/system/unpack-exim", UNPACKED], check=True, timeout=300)
    return UNPACKED


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: Exim's user has to get in.
    with tempfile.TemporaryDirectory(prefix="exim-") as name:
        made = Path(name)
        made.chmod(0o755)
        for part in ("spool", "log"):
            (made / part).mkdir()
            os.chown(made / part, EXIM_USER, EXIM_USER)
        (made / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\nDebian-exim:x:{EXIM_USER}:{EXIM_USER}::/:/bin/false\n")
        (made / "group").write_text(f"root:x:0:\nDebian-exim:x:{EXIM_USER}:\n")
        (made / "exim.conf").write_text(CONFIGURATION.format(folder=made))
        yield made


@asynccontextmanager
async def serving(folder: Path, store: OneLogin) -> AsyncIterator[None]:
    sockets = {}
    for name in ("auth", "policy"):
        sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sockets[name].bind(str(folder / name))
        (folder / name).chmod(0o666)
        sockets[name].listen()
    stop = asyncio.Event()
    served = asyncio.create_task(
        serve(
            auth=sockets["auth"],
            policy=sockets["policy"],
            store=store,
            gate=Gate(store, postmaster="pm@example.com", limiter=Limiter(UsageStore(f"sqlite:///{folder / 'usage.db'}"))),
            workers=1,
            peers=frozenset({EXIM_USER}),
            stop=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await served


class Session:
    """An SMTP session with Exim on its standard input and output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout

    async def reply(self) -> str:
        while True:
            line = (await asyncio.wait_for(self.stdout.readline(), 20)).decode().rstrip("\r\n")
            if line[3:4] != "-":
                return line

    async def ask(self, command: str) -> str:
        self.stdin.write(command.encode() + b"\r\n")
        return await self.reply()


def environment(exim: Path, folder: Path) -> dict[str, str]:
    """What lets the unpacked Exim find its libraries, and its user without an entry in /etc/passwd."""
    libraries = {str(path.parent) for path in exim.rglob("*.so*")}
    (wrapper,) = exim.rglob("libnss_wrapper.so")
    return {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
    }


@asynccontextmanager
async def session(exim: Path, folder: Path) -> AsyncIterator[Session]:
    process = await asyncio.create_subprocess_exec(
        str(exim / "usr/sbin/exim4"),
        "-C",
        str(folder / "exim.conf"),
        "-bs",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(exim, folder),
    )
    talk = Session(process)
    try:
        assert (await talk.reply()).startswith("220 exim.test.invalid")
        assert (await talk.ask("EHLO client.test.invalid")).startswith("250 ")
        yield talk
        await talk.ask("QUIT")
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 60)

    asyncio.run(bounded())


GOOD = b64(f"\0{NAME}\0{PASSWORD}")


def test_plain_with_and_without_an_initial_response(exim: Path, folder: Path) -> None:
    async def scenario() -> None:
        async with serving(folder, OneLogin()):
            async with session(exim, folder) as smtp:
                assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("235 ")
            async with session(exim, folder) as smtp:
                assert (await smtp.ask("AUTH PLAIN")).startswith("334 ")
                assert (await smtp.ask(GOOD)).startswith("235 ")

    run(scenario())


def test_login_with_and_without_an_initial_response(exim: Path, folder: Path) -> None:
    async def scenario() -> None:
        async with serving(folder, OneLogin()):
            async with session(exim, folder) as smtp:
                assert await smtp.ask("AUTH LOGIN") == "334 " + b64("Username:")
                assert await smtp.ask(b64(NAME)) == "334 " + b64("Password:")
                assert (await smtp.ask(b64(PASSWORD))).startswith("235 ")
            async with session(exim, folder) as smtp:
                assert await smtp.ask(f"AUTH LOGIN {b64(NAME)}") == "334 " + b64("Password:")
                assert (await smtp.ask(b64(PASSWORD))).startswith("235 ")

    run(scenario())


@pytest.mark.parametrize(
    ("name", "password"),
    [(NAME, PASSWORD.strip()), (NAME, "wrong"), ("f" * 32, PASSWORD), (NAME.upper(), PASSWORD), (NAME, "")],
)
def test_wrong_credentials_are_refused_for_good(exim: Path, folder: Path, name: str, password: str) -> None:
    async def scenario() -> None:
        async with serving(folder, OneLogin()), session(exim, folder) as smtp:
            assert (await smtp.ask("AUTH PLAIN " + b64(f"\0{name}\0{password}"))).startswith("535 ")
            # Exim opens a connection for each attempt; the session goes on.
            assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("235 ")

    run(scenario())


def test_a_client_that_gives_up_may_try_again(exim: Path, folder: Path) -> None:
    async def scenario() -> None:
        async with serving(folder, OneLogin()), session(exim, folder) as smtp:
            assert (await smtp.ask("AUTH LOGIN")).startswith("334 ")
            assert (await smtp.ask("*")).startswith("501 ")
            assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("235 ")

    run(scenario())


def test_trouble_and_a_stopped_server_are_temporary(exim: Path, folder: Path) -> None:
    async def scenario() -> None:
        store = OneLogin()
        async with session(exim, folder) as smtp:
            async with serving(folder, store):
                store.down = True
                assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("4")
            assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("4")
            for name in ("auth", "policy"):
                (folder / name).unlink()
            assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("4")
            store.down = False
            async with serving(folder, store):
                assert (await smtp.ask(f"AUTH PLAIN {GOOD}")).startswith("235 ")

    run(scenario())
