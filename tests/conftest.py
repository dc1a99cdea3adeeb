"""Fixtures that more than one room uses."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from journal.records import MessageRecord, VisitKind, VisitRecord
from smtpeter import leash

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def corpus() -> Path | None:
    """Test data of others, where it is at hand; a test goes on with what the project ships where it is not."""
    folder = Path(os.environ.get("SMTPETER_CORPUS") or ROOT.parent / "shared" / "corpus")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def awkward_urls() -> list[dict[str, str | None]]:
    """Links as they may be written: `html` is the start tag, `destination` where a redirect must lead, None for a link that
    is left alone; `left` then is a part of the reason, "" for no link to the web.
    """
    found: list[dict[str, str | None]] = json.loads((ROOT / "tests" / "awkward_urls.json").read_text("utf-8"))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRow:
    """A message by a login of the account `shop`; `reply` is the beginning of its refusal, "" where it is accepted."""

    login: str
    senders: tuple[str, ...]
    required: bool
    mail_from: str
    header: str
    reply: str


@pytest.fixture(scope="session")
def sender_domains() -> dict[str, list[str]]:
    """The sender domains of each account of `identity_rows`."""
    found: dict[str, list[str]] = json.loads((ROOT / "tests" / "identity_matrix.json").read_text())["accounts"]
    return found


@pytest.fixture(scope="session")
def identity_rows() -> list[IdentityRow]:
    """Logins, addresses, and ways to write as one. In the file `addresses` says which logins may write as each address.

    Each login has an address of its `own` that it may write as. A shape is refused with `reply` where the address may not be
    written as: "judged"; also where it is allowed only for not being forbidden: "unnamed"; "always"; or "never".
    """
    table = json.loads((ROOT / "tests" / "identity_matrix.json").read_text())
    rows = []
    for (name, login), (address, allowed), shape in product(table["logins"].items(), table["addresses"].items(), table["shapes"]):
        forbidden = name not in allowed or name in shape.get("not_for", ())
        refused = {
            "judged": forbidden,
            "unnamed": forbidden or address in table["unnamed"].get(name, ()),
            "always": True,
            "never": False,
        }[shape["refused"]]
        words = {
            "a": address,
            "d": address.partition("@")[2],
            "own": login["own"],
            "q": "".join(f"={octet:02X}" for octet in address.encode()),
            "b": b64encode(address.encode()).decode(),
        }
        row = IdentityRow(
            login=name,
            senders=tuple(login["senders"]),
            required=login["required"],
            mail_from=shape["mail_from"].format(**words),
            header=shape["header"].format(**words),
            reply=shape["reply"] if refused else "",
        )
        rows.append(row)
    return rows


@pytest.fixture(scope="session")
def make_message() -> Callable[..., MessageRecord]:
    """Makes records of messages that differ in what is given."""
    made = MessageRecord(
        id="00112233445566778a",
        time=1_700_000_000,  # 2023-11-14 22:13:20 UTC
        login="f" * 32,
        account="shop",
        envelope="bounces@example.com",
        recipient="reader@example.net",
        queue_id="4abc",
        message_id="<1@example.com>",
        properties=("trackclicks",),
        tags=("spring", "sale"),
        decisions=(),
    )
    return partial(replace, made)


@pytest.fixture(scope="session")
def make_click(make_message: Callable[..., MessageRecord]) -> Callable[..., VisitRecord]:
    """Makes records of clicks in that message that differ in what is given."""
    message = make_message()
    made = VisitRecord(
        kind=VisitKind.CLICK,
        message=message.id,
        time=message.time + 100,
        number=2,
        url="https://clicks.example.com/a-x",
        destination="https://example.com/a",
        ip="192.0.2.0",
        protocol="https",
        headers="Host: clicks.example.com\nAccept: */*",
        machine=False,
    )
    return partial(replace, made)


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Returns when a condition holds; fails where it does not within half a minute."""

    def wait(condition: Callable[[], object]) -> None:
        limit = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def in_threads() -> Callable[[Callable[[int], None]], None]:
    """Runs a function in four threads at once, each with a number of its own; fails where one of them fails."""

    def run(work: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    return run


class PostgreSQL:
    """A PostgreSQL server of its own on a unix socket. It ends with the process that runs the tests, however that ends."""

    def __init__(self, folder: Path) -> None:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        assert versions, "the tests need Debian's package postgresql; tools/prepare test installs it"
        self._binaries = versions[-1]
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else ""  # the server refuses to run as root
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            subprocess.run(("chown", self._user, folder), check=True)
        words = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", str(folder / "data"))
        done = subprocess.run(self._as_user(str(self._binaries / "initdb"), *words), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self._process is None
        words = ("-D", str(self._folder / "data"), "-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off")
        with (self._folder / "log").open("ab") as log:
            argv = self._as_user(str(self._binaries / "postgres"), *words)
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
        limit = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stops the server: SIGINT ends its sessions, SIGQUIT is like a crash (postgres(1))."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def _as_user(self, *argv: str) -> tuple[str, ...]:
        """The command as the server's user, ending when this process ends."""
        death = str(int(signal.SIGQUIT))
        return (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), death, self._user, "", *argv)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A running server, one for all tests. Who stops it starts it again."""
    with TemporaryDirectory(prefix="smtpeter-postgresql-", dir="/tmp") as name:
        server = PostgreSQL(Path(name))
        server.start()
        yield server
        if server.running:
            server.stop()


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server, running again after the test."""
    yield postgresql_server
    if not postgresql_server.running:
        postgresql_server.start()


class Authority:
    """A certificate authority of the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._sign(self._name, self._key, timedelta(days=2), ()).public_bytes(Encoding.PEM))

    def issue(self, *hosts: str, lifetime: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
        """The files of a certificate for `hosts` and of its key; it has expired where its lifetime is below zero."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        number = next(self._numbers)
        files = self._folder / f"certificate{number}.pem", self._folder / f"key{number}.pem"
        files[0].write_bytes(self._sign(name, key, lifetime, hosts).public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta, hosts: tuple[str, ...]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=7)).not_valid_after(now + life)
        made = made.add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        if hosts:
            names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with TemporaryDirectory(prefix="smtpeter-authority-", dir="/tmp") as name:
        yield Authority(Path(name))


class Slapd:
    """An OpenLDAP server of its own, with the shipped schema, at dc=example,dc=com. It ends with the process of the tests.

    `cn=admin` may everything, its password is `secret`. Whoever binds with an empty password is let in as nobody.
    """

    base = "dc=example,dc=com"
    admin = f"cn=admin,{base}"

    def __init__(self, folder: Path, certificate: tuple[Path, Path], config: str = "") -> None:
        self._folder = folder
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        with closing(socket.socket()) as first, closing(socket.socket()) as second:
            for probe in (first, second):
                probe.bind(("127.0.0.1", 0))
            self.port, self.tls_port = first.getsockname()[1], second.getsockname()[1]
        # Not localhost: the library takes that for another word for the host's name.
        self.url, self.tls_url = f"ldap://127.0.0.1:{self.port}", f"ldaps://127.0.0.1:{self.tls_port}"
        self.password_file = folder / "password"
        self.password_file.write_text("secret\n")
        for name in ("config", "entries"):
            (folder / name).mkdir()
        schema = [Path("/etc/ldap/schema") / f"{name}.ldif" for name in ("core", "cosine", "inetorgperson")]
        included = "\n".join(f"include: file://{path}" for path in (*schema, ROOT / "policy" / "ldap" / "smtpeter.ldif"))
        text = SLAPD.format(folder=folder, base=self.base, admin=self.admin, included=included)
        self.present(certificate)
        self._filled("0", text.replace("# more", config))
        self._filled("1", f"dn: {self.base}\nobjectClass: domain\ndc: example\n")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self._process is None
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} {self._socket}"
        argv = ("/usr/sbin/slapd", "-F", str(self._folder / "config"), "-h", urls, "-d", "stats")
        leashed = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(int(signal.SIGKILL)), "", "", *argv)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(leashed, stdout=log, stderr=log)
        limit = time.monotonic() + 30
        while self._run("ldapwhoami", check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < limit
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stops the server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    def pause(self) -> None:
        """Keeps the server from answering; the kernel still takes connections for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def present(self, certificate: tuple[Path, Path]) -> None:
        """Shows another certificate from the next start on."""
        for name, file in zip(("certificate.pem", "key.pem"), certificate, strict=True):
            (self._folder / name).write_bytes(file.read_bytes())

    @property
    def running(self) -> bool:
        return self._process is not None

    def branch(self) -> str:
        """The name of a new entry with nothing below."""
        name = f"test{next(self._numbers)}"
        self.change(f"dn: ou={name},{self.base}\nchangetype: add\nobjectClass: organizationalUnit\nou: {name}\n")
        return f"ou={name},{self.base}"

    def change(self, ldif: str) -> None:
        """Makes changes (RFC 2849), `changetype: add` where none is said."""
        self._run("ldapmodify", "-a", text=ldif)

    def search(self, base: str, *words: str) -> str:
        """What there is at and below an entry, as LDIF."""
        return self._run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, *words).stdout

    def connections(self) -> list[str]:
        """What the log tells of connections over the network since the start."""
        return [line for line in (self._folder / "log").read_text().splitlines() if " ACCEPT from IP=" in line]

    @property
    def _socket(self) -> str:
        return "ldapi://" + quote(str(self._folder / "socket"), safe="")

    def _run(self, program: str, *words: str, text: str = "", check: bool = True) -> "subprocess.CompletedProcess[str]":
        argv = (f"/usr/bin/{program}", "-x", "-H", self._socket, "-D", self.admin, "-y", str(self._folder / "exact"), *words)
        (self._folder / "exact").write_text("secret")
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def _filled(self, number: str, ldif: str) -> None:
        argv = ("/usr/sbin/slapadd", "-F", str(self._folder / "config"), "-n", number)
        done = subprocess.run(argv, input=ldif, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


SLAPD = """\
dn: cn=config
objectClass: olcGlobal
cn: config
olcAllows: bind_anon_dn
olcTLSCACertificateFile: {folder}/certificate.pem
olcTLSCertificateFile: {folder}/certificate.pem
olcTLSCertificateKeyFile: {folder}/key.pem
olcPidFile: {folder}/pid

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: memberof
olcModuleLoad: ppolicy

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

{included}

dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{-1}}frontend

dn: olcDatabase=mdb,cn=config
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: {base}
olcRootDN: {admin}
olcRootPW: secret
olcDbDirectory: {folder}/entries
olcDbIndex: objectClass,uid,smtpeterName eq
olcDbNoSync: TRUE
olcAccess: to attrs=userPassword,smtpeterPassword by anonymous auth by * none
olcAccess: to * by * read

dn: olcOverlay=memberof,olcDatabase={{1}}mdb,cn=config
objectClass: olcMemberOfConfig
olcOverlay: memberof

dn: olcOverlay=ppolicy,olcDatabase={{1}}mdb,cn=config
objectClass: olcPPolicyConfig
olcOverlay: ppolicy
olcPPolicyDefault: cn=policy,{base}

# more
"""


@pytest.fixture(scope="session")
def make_slapd(authority: Authority) -> Iterator[Callable[..., Slapd]]:
    """Makes running servers that are stopped at the end; with a certificate for 127.0.0.1, or the one given."""
    with ExitStack() as stack:

        def make(certificate: tuple[Path, Path] | None = None, config: str = "") -> Slapd:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="smtpeter-slapd-", dir="/tmp")))
            server = Slapd(folder, certificate or authority.issue("127.0.0.1"), config)
            stack.callback(lambda: server.stop() if server.running else None)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def slapd_server(make_slapd: Callable[..., Slapd]) -> Slapd:
    """A running server, one for all tests. Who stops it starts it again."""
    return make_slapd()


@pytest.fixture
def slapd(slapd_server: Slapd) -> Iterator[Slapd]:
    """The server, running again after the test."""
    yield slapd_server
    if slapd_server.running:
        slapd_server.resume()
    else:
        slapd_server.start()
