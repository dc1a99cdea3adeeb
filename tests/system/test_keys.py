"""Keys on the message as it arrives: which sign by which rule, keys that change with mail on its way, and what the DNS says."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import dns.message
import dns.query
import dns.rdatatype
import pytest

from smtpeter import leash
from smtpeter.__main__ import run

pytestmark = pytest.mark.system

VERIFY = Path(__file__).parent / "verifiers" / "verify-dkim"
MESSAGE = b"""\
From: News <AUTHOR>\r
To: reader@example.net\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
Message-ID: <1@example.com>\r
Subject: keys\r
\r
hello\r
"""
PERIOD = 30 * 86_400  # seconds, as in the settings without a word about it

Signature = tuple[str, str, str]  # d=, s=, a=


def told(service, *words: str, status: int = 0) -> str:
    """The output of a subcommand, run in this process: one of its own takes most of a second to begin."""
    with redirect_stdout(StringIO()) as output:
        assert run(list(service.command(*words)[3:])) == status
    return output.getvalue()


def message(author: str, *fields: bytes) -> bytes:
    return b"".join(fields) + MESSAGE.replace(b"AUTHOR", author.encode())


def signatures(raw: bytes) -> list[Signature]:
    """Domain, selector and algorithm of each signature, sorted."""
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    fields = re.findall(rb"(?im)^DKIM-Signature:((?:[^\n]*\n[ \t])*[^\n]*\n)", header)
    found = []
    for field in fields:
        tags = dict(part.split("=", 1) for part in "".join(field.decode().split()).split(";"))
        found.append((tags["d"], tags["s"], tags["a"].removesuffix("-sha256")))
    return sorted(found)


@pytest.fixture
def verdicts(tmp_path: Path) -> Callable[[bytes, dict[str, str]], dict[tuple[str, str], list[str]]]:
    """What dkimpy, OpenDKIM and Mail::DKIM say of each signature, by its key's record, with these records as the DNS."""

    def verify(raw: bytes, records: dict[str, str]) -> dict[tuple[str, str], list[str]]:
        file, zone = tmp_path / "message.eml", tmp_path / "records"
        file.write_bytes(raw)
        zone.write_text("".join(f"{name} TXT {value}\n" for name, value in records.items()))
        done = subprocess.run((sys.executable, str(VERIFY), str(file), str(zone)), capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        found: dict[tuple[str, str], list[str]] = {}
        for line in done.stdout.splitlines():
            _, name, algorithm, verdict, *_ = line.split()
            found.setdefault((name, algorithm.removesuffix("-sha256")), []).append(verdict)
        return found

    return verify


def check_verified(found: dict[tuple[str, str], list[str]], expected: list[Signature]) -> None:
    """Every one of three verifiers passes every signature; Mail::DKIM of Debian 12 does not know Ed25519 and says so."""
    assert sorted(found) == sorted((f"{selector}._domainkey.{domain}", kind) for domain, selector, kind in expected)
    for (_, kind), words in found.items():
        assert sorted(words) == sorted(["pass", "pass", "pass" if kind == "rsa" else "unsupported"])


# Every rule.

SENDER, SENDER_ED = ("example.com", "smtpeter", "rsa"), ("example.com", "smtpeter-ed25519", "ed25519")
BELOW = ("news.example.com", "smtpeter", "rsa")
EXACT, PATTERN = ("one.test", "exact", "ed25519"), ("two.test", "pattern", "rsa")
EXPRESSION = ("three.test", "expression", "ed25519")
ALWAYS, ALSO_ALWAYS, FALLBACK = ("four.test", "always", "rsa"), ("five.test", "always", "ed25519"), ("six.test", "last", "rsa")
ON_ALL = [ALWAYS, ALSO_ALWAYS]


@pytest.fixture(scope="module")
def ruled(make_service):
    """A service whose account has a key of each rule, and some that are not to sign now; with the login that sends."""
    service = make_service()
    for account in ("shop", "rival"):
        told(service, "account", "add", account, "--approve")

    def add(*words: str) -> None:
        for record in json.loads(told(service, "domain", *words, "--json"))["records"]:
            service.records[record["name"]] = record["value"]

    def key(domain: str, selector: str, rule: str, *options: str) -> None:
        add("key", "add", domain, "--account", "shop", "--selector", selector, "--rule", rule, *options)

    add("add", "example.com", "--account", "shop", "--algorithm", "rsa", "--algorithm", "ed25519")
    add("add", "news.example.com", "--account", "shop")
    add("add", "strict.test", "--account", "shop")
    told(service, "domain", "set", "strict.test", "--strict")
    key("one.test", "exact", "exact:boss@example.org", "--algorithm", "ed25519")
    key("two.test", "pattern", "pattern:*.shops.test")
    key("three.test", "expression", "expression:(news|sale)-[0-9]+@.*", "--algorithm", "ed25519")
    key("four.test", "always", "always")
    key("five.test", "always", "always", "--algorithm", "ed25519")
    key("six.test", "last", "fallback")
    key("example.com", "over", "domain", "--end", "2020-01-01")
    key("seven.test", "early", "always", "--start", "2100-01-01")
    key("taken.test", "taken", "always")
    told(service, "domain", "add", "taken.test", "--account", "rival")
    return service, service.login()


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("a@example.com", [SENDER, SENDER_ED, *ON_ALL]),
        ("a@EXAMPLE.com", [SENDER, SENDER_ED, *ON_ALL]),
        ("a@news.example.com", [BELOW, *ON_ALL]),
        ("a@sale.example.com", [SENDER, SENDER_ED, *ON_ALL]),
        ("a@b.news.example.com", [BELOW, *ON_ALL]),
        ("a@strict.test", [("strict.test", "smtpeter", "rsa"), *ON_ALL]),
        ("a@below.strict.test", [*ON_ALL, FALLBACK]),
        ("Boss@Example.org", [EXACT, *ON_ALL]),
        ("clerk@example.org", [*ON_ALL, FALLBACK]),
        ("a@one.shops.test", [PATTERN, *ON_ALL]),
        ("a@shops.test", [*ON_ALL, FALLBACK]),
        ("sale-7@one.shops.test", [PATTERN, EXPRESSION, *ON_ALL]),
        ("news-12@example.com", [SENDER, SENDER_ED, EXPRESSION, *ON_ALL]),
        ("news-@example.org", [*ON_ALL, FALLBACK]),
        ("a@notexample.com", [*ON_ALL, FALLBACK]),
    ],
)
def test_a_message_has_exactly_the_signatures_of_its_rules(ruled, verdicts, author: str, expected: list[Signature]) -> None:
    service, login = ruled
    left = service.through(login, message(author))
    assert signatures(left.raw) == sorted(expected)
    check_verified(verdicts(left.raw, service.records), expected)


def test_a_message_that_no_key_is_for_leaves_unsigned(ruled) -> None:
    service, _ = ruled
    left = service.through(service.login(account="rival"), message("a@example.org"), mail_from="a@example.org")
    assert signatures(left.raw) == []


def test_a_key_of_a_name_that_belongs_to_another_account_is_refused(ruled) -> None:
    service, _ = ruled
    words = ("domain", "key", "add", "below.example.com", "--account", "rival", "--rule", "always")
    assert "belongs to account shop" in service.run(*words, status=2)


# A real name server.


@dataclass
class Named:
    """BIND on a port of its own, for zones that are files in its folder. It ends with the process that runs the tests."""

    folder: Path
    port: int
    control: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def reload_command(self) -> list[str]:
        # Without the clock of the command that starts it: rndc and named must agree on the time.
        return ["env", "-u", "LD_PRELOAD", "rndc", "-c", str(self.folder / "rndc.conf"), "reload"]

    def start(self, *zones: str) -> None:
        key = 'key "k" { algorithm hmac-sha256; secret "c2VjcmV0"; };\n'
        config = (
            f'{key}controls {{ inet 127.0.0.1 port {self.control} allow {{ 127.0.0.1; }} keys {{ "k"; }}; }};\n'
            f'options {{ directory "{self.folder}"; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
            "pid-file none; session-keyfile none; recursion no; dnssec-validation no; notify no; minimal-responses yes; };\n"
        )
        config += "".join(f'zone "{zone}" {{ type primary; file "{self.folder / zone}"; }};\n' for zone in zones)
        (self.folder / "named.conf").write_text(config)
        (self.folder / "rndc.conf").write_text(
            f'{key}options {{ default-key "k"; default-server 127.0.0.1; default-port {self.control}; }};\n'
        )
        argv = ("named", "-g", "-n", "1", "-c", str(self.folder / "named.conf"))
        leashed = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "15", "", "", "/usr/sbin/named", *argv[1:])
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(leashed, stdout=log, stderr=log, cwd="/")

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)

    def reload(self) -> None:
        subprocess.run(self.reload_command, check=True, capture_output=True)

    def ask(self, name: str, kind: str) -> list[str]:
        """The records at a name, aliases followed."""
        for _ in range(4):
            query = dns.message.make_query(name, kind)
            answer = dns.query.tcp(query, "127.0.0.1", timeout=10, port=self.port).answer
            for rrset in answer:
                if rrset.rdtype == dns.rdatatype.from_text(kind):
                    return [record.to_text() for record in rrset]
            aliases = [rrset[0].target.to_text() for rrset in answer if rrset.rdtype == dns.rdatatype.CNAME]
            if not aliases:
                return []
            name = aliases[-1]
        return []

    def text(self, name: str) -> str:
        (found,) = self.ask(name, "TXT")
        return "".join(re.findall(r'"([^"]*)"', found))


@pytest.fixture
def named(wait) -> Iterator[Callable[..., Named]]:
    """Makes name servers, each of which serves zones by their texts, once it answers for all of them."""
    made: list[Named] = []
    with TemporaryDirectory(prefix="smtpeter-named-") as name:

        def make(zones: dict[str, str]) -> Named:
            folder = Path(name)
            with socket.socket() as one, socket.socket() as other:
                for probe in (one, other):
                    probe.bind(("127.0.0.1", 0))
                server = Named(folder, one.getsockname()[1], other.getsockname()[1])
            for zone, text in zones.items():
                (folder / zone).write_text(text)
            server.start(*zones)
            made.append(server)

            def ready() -> bool:
                assert server.process.poll() is None, (folder / "log").read_text()
                try:
                    return all(server.ask(zone, "SOA") for zone in zones)
                except (OSError, EOFError):
                    return False

            wait(ready, "named")
            return server

        yield make
        for server in made:
            server.stop()


def zone_of(service, domain: str) -> str:
    """The zone file that the command prints, after named-checkzone has taken it."""
    text = told(service, "domain", "dns", *([domain] if domain else ["--service"]), "--zone")
    file, origin = service.folder / "printed", domain or "mail.test"
    file.write_text(text)
    done = subprocess.run(("named-checkzone", origin, file), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("OK\n")
    return text


HELD = b"X-Hold: until it is released\r\n"


@pytest.fixture
def rotating(make_service, named):
    """A service with a domain whose keys change by themselves, the name server of its zones, and the time it began."""
    service = make_service(started=False)
    service.settings, zone = service.folder / "settings.toml", service.folder / "zone"
    service.settings.write_text(f'hostname = "mail.test"\n[keys]\nzone = "{zone}"\n')
    told(service, "account", "add", "shop", "--approve")
    began = int(time.time())
    both = ("--algorithm", "rsa", "--algorithm", "ed25519")
    told(service, "domain", "add", "example.com", "--account", "shop", "--rotate", *both)
    zones = {
        "example.com": zone_of(service, "example.com"),
        "mail.test": zone_of(service, "") + "mail.test. IN A 192.0.2.1\n",
        "dkim.mail.test": zone.read_text(),
    }
    server = named(zones)
    # From now on the command writes where the name server reads.
    shared, reload = server.folder / "dkim.mail.test", json.dumps(server.reload_command)
    service.settings.write_text(f'hostname = "mail.test"\n[keys]\nzone = "{shared}"\nreload = {reload}\n')
    service.start()
    return service, server, began


def clock(now: int) -> dict[str, str]:
    """The environment of a process whose clock stands at `now` when it begins."""
    # Not the command faketime, which would stand between us and the process.
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return os.environ | {
        "TZ": "UTC",
        "LD_PRELOAD": str(library),
        "FAKETIME": f"@{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S}",
    }


def at(service, now: int, *words: str) -> str:
    """The output of a subcommand on such a clock."""
    done = subprocess.run(service.command(*words), capture_output=True, text=True, check=False, env=clock(now))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def served(server: Named, zone: str, number: int) -> bool:
    """Whether the zone of that serial number is what the name server answers from."""
    return serial(server, zone) == str(number)


def serial(server: Named, zone: str = "dkim.mail.test") -> str:
    return server.ask(zone, "SOA")[0].split()[2]


def test_six_periods_with_mail_on_its_way_for_up_to_a_period(rotating, verdicts, wait) -> None:
    service, server, began = rotating
    login = service.login()
    hold = service.folder / "hold"
    hold.write_text("/^X-Hold:/ HOLD\n")
    service.postfix("postconf", "-e", f"header_checks=regexp:{hold}")
    service.postfix("postfix", "reload")

    def check(raw: bytes, selector: str) -> None:
        """The message has the signatures of these selectors, and verifies with what the name server says now."""
        expected = [("example.com", selector, "rsa"), ("example.com", f"{selector}-ed25519", "ed25519")]
        assert signatures(raw) == sorted(expected)
        records = {name: server.text(name) for name in (f"{key}._domainkey.{domain}" for domain, key, _ in expected)}
        check_verified(verdicts(raw, records), expected)

    def send_held() -> str:
        queue_id = service.send(login, message("a@example.com", HELD))
        wait(lambda: f"{queue_id}!" in service.postfix("postqueue", "-p"), "holding")
        return queue_id

    waiting: tuple[str, str] | None = None
    words = ("domain", "rotate", "--nameserver", server.address)
    assert "no keys are to change now" in at(service, began + PERIOD - 60, *words)
    for turn in range(7):
        selector = ("zero", "one", "two")[turn % 3]
        check(service.through(login, message("a@example.com")).raw, selector)
        # At the last moment of the period: mail that was held for a whole one leaves, and other mail is held.
        if waiting is not None:
            queue_id, signed_by = waiting
            service.postfix("postsuper", "-H", queue_id)
            service.postfix("postqueue", "-f")
            check(service.captured(queue_id).raw, signed_by)
        waiting = (send_held(), selector)
        before, now = serial(server), began + (turn + 1) * (PERIOD + 60)
        if turn < 6:
            assert at(service, now, *words).startswith("example.com: mail is signed by ")
        else:
            by_timer(service, now, words, "example.com: mail is signed by one and one-ed25519 now", wait)
        wait(lambda before=before: serial(server) != before, "the new zone")


def by_timer(service, now: int, words: tuple[str, ...], said: str, wait) -> None:
    """Runs the timer on a clock that is ahead: it moves the keys once and waits."""
    assert re.search(r"rotation: started, pid \d+", service.log)
    with (service.folder / "timer").open("wb") as log:
        timer = subprocess.Popen(service.command(*words, "--timer"), stderr=log, env=clock(now))
        try:
            wait(lambda: said in (service.folder / "timer").read_text(), "the timer")
            assert timer.poll() is None
        finally:
            timer.terminate()
            assert timer.wait(30) == 0


# What the DNS says.


@pytest.fixture(scope="module")
def printed(make_service):
    """A service with two domains, and what the command prints of them and of its own as zone files."""
    service = make_service(started=False)
    service.settings = service.folder / "settings.toml"
    service.settings.write_text('hostname = "mail.test"\n')
    told(service, "account", "add", "shop", "--approve")
    told(service, "domain", "add", "example.com", "--account", "shop", "--algorithm", "rsa", "--algorithm", "ed25519")
    told(service, "domain", "add", "turning.test", "--account", "shop", "--rotate")
    zones = {domain or "mail.test": zone_of(service, domain) for domain in ("example.com", "turning.test", "")}
    zones["mail.test"] += "mail.test. IN A 192.0.2.1\n"
    return service, zones


@pytest.fixture
def published(printed, named):
    """That service, and a name server that says what was printed."""
    service, zones = printed
    return service, named(zones)


def checked(service, server: Named, domain: str, *, status: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """What `domain check` says, by name and type."""
    said = told(service, "domain", "check", domain, "--nameserver", server.address, "--json", status=status)
    return {(row["record"], row["type"]): row for row in json.loads(said)}


def test_what_is_printed_is_what_is_checked(published) -> None:
    service, server = published
    for domain, count in (("example.com", 9), ("turning.test", 10)):
        found = checked(service, server, domain)
        assert len(found) == count
        assert {row["verdict"] for row in found.values()} == {"ok"}, found
    keys = json.loads(told(service, "domain", "key", "list", "--json"))
    assert all(key["seen"] for key in keys)
    assert "error" not in service.run("domain", "check", "example.com", "--nameserver", server.address)


SPOILED = [
    # record, what replaces its line (None: nothing), status, verdict, a part of the advice
    (("smtpeter._domainkey.example.com", "TXT"), None, "missing", "error", "publish this TXT record"),
    (("smtpeter._domainkey.example.com", "TXT"), 'TXT "v=DKIM1; k=rsa; p=AAAA"', "different", "error", "publish this TXT record"),
    (("smtpeter._domainkey.example.com", "TXT"), 'TXT "one"\nTXT "two"', "error", "error", "several TXT records"),
    (("clicks.example.com", "CNAME"), None, "missing", "error", "clicks.mail.test"),
    (("clicks.example.com", "CNAME"), "CNAME nowhere.mail.test.", "error", "error", "alias of nowhere.mail.test"),
    (("bounces.example.com", "MX"), None, "missing", "warning", "10 mail.test"),
    (("bounces.example.com", "MX"), "MX 10 mx.example.net.", "different", "warning", "go to mx.example.net"),
    (("example.com", "TXT"), None, "missing", "warning", "include:_spf.mail.test"),
    (("example.com", "TXT"), 'TXT "v=spf1 mx -all"', "different", "warning", "put include:_spf.mail.test"),
    (
        ("example.com", "TXT"),
        'TXT "v=spf1 a -all"\nTXT "v=spf1 include:_spf.mail.test -all"',
        "error",
        "warning",
        "several SPF",
    ),
    (("example.com", "TXT"), 'TXT "v=spf1 include:more.example.com -all"', "ok", "ok", ""),
    (("example.com", "TXT"), 'TXT "v=spf1 redirect=loop.example.com"', "different", "warning", "put include:_spf.mail.test"),
    (("_dmarc.example.com", "TXT"), None, "missing", "warning", "v=DMARC1; p=none"),
    (("_dmarc.example.com", "TXT"), 'TXT "v=DMARC1; p=none; adkim=s"', "different", "warning", "--strict"),
    (("_submission._tcp.example.com", "SRV"), None, "missing", "warning", "0 1 587 mail.test"),
    (("_submission._tcp.example.com", "SRV"), "SRV 0 1 25 mail.test.", "different", "warning", "0 1 587 mail.test"),
]


def spoil(server: Named, zone: str, record: tuple[str, str], instead: str | None) -> None:
    """Takes the record out of the zone, or puts another one in its place."""
    file, (name, kind) = server.folder / zone, record
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}. IN {kind}")]
    lines += [f"{name}. IN {line}" for line in (instead or "").splitlines()]
    file.write_text("\n".join([*lines, ""]))


def test_each_mistake_is_told_with_what_mends_it(published, wait) -> None:
    service, server = published
    file = server.folder / "example.com"
    good = file.read_text()
    good += (
        'more.example.com. IN TXT "v=spf1 include:_spf.mail.test"\nloop.example.com. IN TXT "v=spf1 include:loop.example.com"\n'
    )
    for number, (record, instead, status, verdict, advice) in enumerate(SPOILED):
        file.write_text(re.sub(r"\( \d+ ", f"( {number + 10} ", good, count=1))
        spoil(server, "example.com", record, instead)
        server.reload()
        wait(lambda number=number: served(server, "example.com", number + 10), "the new zone")
        found = checked(service, server, "example.com", status=1 if verdict == "error" else 0)
        row = found.pop(record)
        assert (row["status"], row["verdict"]) == (status, verdict), (record, instead, row)
        assert advice in row["advice"]
        assert {other["verdict"] for other in found.values()} == {"ok"}, (record, instead)


TURNED = [
    (("one._domainkey.turning.test", "CNAME"), None, "missing", "publish this CNAME record: one.turning.test.dkim.mail.test."),
    (("one._domainkey.turning.test", "CNAME"), "CNAME other.mail.test.", "different", "it is an alias of other.mail.test"),
    (("one._domainkey.turning.test", "CNAME"), 'TXT "v=DKIM1; p=AAAA"', "different", "not replaced when the keys change"),
    (("two._domainkey.turning.test", "CNAME"), None, "missing", "publish this CNAME record"),
]


def test_each_wrong_alias_is_told(published, wait) -> None:
    service, server = published
    file = server.folder / "turning.test"
    good = file.read_text()
    for number, (record, instead, status, advice) in enumerate(TURNED):
        file.write_text(re.sub(r"\( \d+ ", f"( {number + 10} ", good, count=1))
        spoil(server, "turning.test", record, instead)
        server.reload()
        wait(lambda number=number: served(server, "turning.test", number + 10), "the new zone")
        row = checked(service, server, "turning.test", status=1)[record]
        assert (row["status"], row["verdict"]) == (status, "error")
        assert advice in row["advice"]


def test_what_the_operator_forgot_is_told(published, wait) -> None:
    service, server = published
    file = server.folder / "mail.test"
    kept = [line for line in file.read_text().splitlines() if not line.startswith(("_spf.", "zero.turning.test"))]
    file.write_text(re.sub(r"\( \d+ ", "( 10 ", "\n".join([*kept, ""]), count=1))
    server.reload()
    wait(lambda: served(server, "mail.test", 10), "the new zone")
    found = checked(service, server, "turning.test", status=1)
    assert "which the operator publishes" in found["zero._domainkey.turning.test", "CNAME"]["advice"]
    assert found["turning.test", "TXT"]["status"] == "error"
    assert "has no SPF record" in found["turning.test", "TXT"]["advice"]


def test_where_only_published_keys_sign_one_signs_once_it_was_seen(make_service, named) -> None:
    service = make_service(started=False)
    service.settings = service.folder / "settings.toml"
    service.settings.write_text('hostname = "mail.test"\n[keys]\nonly_published = true\n')
    told(service, "account", "add", "shop", "--approve")
    both = ("--algorithm", "rsa", "--algorithm", "ed25519")
    told(service, "domain", "add", "example.com", "--account", "shop", "--clicks", "", *both)
    service.start()
    login = service.login()
    assert signatures(service.through(login, message("a@example.com")).raw) == []
    own = zone_of(service, "") + "mail.test. IN A 192.0.2.1\n"
    checked(service, named({"example.com": zone_of(service, "example.com"), "mail.test": own}), "example.com")
    left = service.through(login, message("a@example.com"))
    assert [selector for _, selector, _ in signatures(left.raw)] == ["smtpeter", "smtpeter-ed25519"]
