"""Click hosts with a real name server and a real Caddy: what the probe finds, who gets a certificate, which mail is tracked."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dns.message
import dns.query
import pytest

from policy.click_hosts import HostHealth
from smtpeter import database, leash, wiring
from smtpeter.name_server import NameServer
from smtpeter.probe import Probe
from smtpeter.settings import load

pytestmark = pytest.mark.system

HOST = "clicks.example.com"
OWN = "clicks.mail.test"
FIVE_MINUTES = 300
MESSAGE = b"""\
From: News <news@DOMAIN>\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
Message-ID: <1@example.com>\r
Subject: click hosts\r
MIME-Version: 1.0\r
Content-Type: multipart/related; boundary="b"\r
\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<p><a href="http://www.example.com/offer">offer</a> <img src="cid:picture@example.com"></p>\r
--b\r
Content-Type: image/gif\r
Content-ID: <picture@example.com>\r
Content-Transfer-Encoding: base64\r
\r
R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7\r
--b--\r
"""
FEATURES = ("trackclicks=true", "trackopens=true", "images=hosted")


@dataclass
class Server:
    """A program in a folder of its own that ends with the process of the tests."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *argv: str) -> None:
        leashed = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "15", "", "", *argv)
        with (self.folder / "log").open("ab") as log:
            # Nothing of the user's: Caddy keeps what it makes below these.
            places = {name: str(self.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
            self.process = subprocess.Popen(leashed, stdout=log, stderr=log, cwd=self.folder, env=os.environ | places)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


@dataclass
class Named(Server):
    """BIND, and the addresses it tells of names in example.com, example.org and mail.test."""

    port: int = 0
    serial: int = 0
    names: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = (
            f'options {{ directory "{self.folder}"; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
            "pid-file none; session-keyfile none; recursion no; dnssec-validation no; notify no; };\ncontrols { };\n"
        )
        config += "".join(f'zone "{zone}" {{ type primary; file "{self.folder / zone}"; }};\n' for zone in self.zones)
        (self.folder / "named.conf").write_text(config)
        self.write()
        self.start("/usr/sbin/named", "-g", "-n", "1", "-c", str(self.folder / "named.conf"))

    zones = ("example.com", "example.org", "mail.test")

    def write(self) -> None:
        self.serial += 1
        for zone in self.zones:
            lines = [
                f"$TTL 0\n@ IN SOA ns.{zone}. root.{zone}. {self.serial} 60 60 60 0\n@ IN NS ns.{zone}.\nns IN A 127.0.0.1\n"
            ]
            lines += [f"{name}. IN A {address}\n" for name, address in self.names.items() if name.endswith(f".{zone}")]
            (self.folder / zone).write_text("".join(lines))

    def serves(self) -> bool:
        """Whether it answers from what was written last."""
        self.alive()
        try:
            answers = [
                dns.query.tcp(dns.message.make_query(zone, "SOA"), "127.0.0.1", 5, self.port).answer for zone in self.zones
            ]
        except (OSError, EOFError):
            return False
        return all(answer and answer[0][0].serial == self.serial for answer in answers)


@dataclass
class Caddy(Server):
    """Caddy on ports 80 and 443 of a loopback address, in front of the web process, as the role sets it up."""

    address: str = ""
    web: int = 0

    @property
    def authority(self) -> Path:
        return self.folder / "storage" / "pki" / "authorities" / "local" / "root.crt"

    def config(self, sites: str = "") -> Path:
        """The configuration, with `sites` that come before the one for all other hosts; in these BIND is the address to be on."""
        text = f"""
{{
	admin unix/{self.folder}/admin
	storage file_system {self.folder}/storage
	skip_install_trust
	on_demand_tls {{
		ask http://127.0.0.1:{self.web}/.smtpeter/ask
	}}
	servers {{
		protocols h1 h2
	}}
}}
{sites}
https:// {{
	BIND
	tls internal {{
		on_demand
	}}
	reverse_proxy 127.0.0.1:{self.web}
}}
http:// {{
	BIND
	reverse_proxy 127.0.0.1:{self.web}
}}
"""
        file = self.folder / "Caddyfile"
        file.write_text(text.replace("BIND", f"bind {self.address}"))
        return file

    def begin(self) -> None:
        self.start("/usr/bin/caddy", "run", "--config", str(self.config()), "--adapter", "caddyfile")

    def change(self, sites: str = "") -> None:
        """Another configuration, as a reload brings it in; it is in force when this returns."""
        argv = ("caddy", "reload", "--config", str(self.config(sites)), "--adapter", "caddyfile")
        done = subprocess.run((*argv, "--address", f"unix/{self.folder}/admin"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def certificates(self) -> set[str]:
        """The hosts it has fetched certificates for."""
        return {path.stem for path in (self.folder / "storage" / "certificates").glob("*/*/*.crt")}

    def shake(self, host: str) -> str:
        """What comes of a TLS handshake for a host: "" for a session, or what TLS says against it."""
        context = ssl.create_default_context(cafile=str(self.authority))
        with socket.create_connection((self.address, 443), timeout=30) as connection:
            try:
                context.wrap_socket(connection, server_hostname=host).close()
            except ssl.SSLError as error:
                return str(error.reason)
        return ""


@dataclass
class Place:
    """A service with its Caddy and its name server, and the time that has passed for its probe."""

    service: object
    named: Named
    caddy: Caddy
    wait: Callable[..., object]
    login: object = None
    passed: int = 0

    def dns(self, name: str, address: str | None) -> None:
        """Publishes an address, or takes it away; the name server answers so when this returns."""
        self.named.names.pop(name, None)
        if address:
            self.named.names[name] = address
        self.named.write()
        assert self.named.process is not None
        self.named.process.send_signal(signal.SIGHUP)
        self.wait(self.named.serves, "the name server")

    def look(self, *, later: int = FIVE_MINUTES) -> dict[str, HostHealth]:
        """What the probe finds when so many seconds have passed, by how links begin."""
        self.passed += later
        settings = load(self.service.settings, self.service.data)
        store = database.open_store(settings)
        try:
            found = Probe(
                settings=settings,
                store=store,
                ring=wiring.ring_file(settings).current(),
                name_server=lambda: NameServer.at(f"127.0.0.1:{self.named.port}"),
                clock=lambda: time.time() + self.passed,
            ).run()
        finally:
            store.close()
        return {health.place.base: health for health in found}

    def probe(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Output and log of the command."""
        argv = self.service.command("domain", "probe", "--nameserver", f"127.0.0.1:{self.named.port}", *words)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr

    def fate(self, domain: str = "example.com", *, recipients: tuple[str, ...] = ("reader@example.net",)) -> str:
        """Whether a mail that is sent now leaves "tracked", or why not, as the log says."""
        message = MESSAGE.replace(b"DOMAIN", domain.encode())
        queue_id = self.service.send(self.login, message, recipients, mail_from=f"news@{domain}")
        left = self.service.captured(queue_id)
        body = left.body.replace(b"=\r\n", b"").replace(b"=3D", b"=")
        found = re.findall(rb'(?:href|src)="(https?://clicks\.%b/)(?:offer-|o/|i/)' % re.escape(domain.encode()), body)
        if found:
            assert len(found) == 3, body  # the link, the picture and the added one
            return "tracked"
        assert b"//clicks." not in body
        assert b'href="http://www.example.com/offer"' in body
        assert b"R0lGODlhAQABAIAAAAAAAP" in body
        assert len(left.envelope["rcpt_to"]) == len(recipients)  # nothing differs, so it was not split
        lines = self.wait(lambda: [line for line in self.service.events(queue_id) if "event=untracked" in line], "the log line")
        told = [re.search(r'event=untracked subject=(\w+) reason="(.*)" $', line).groups() for line in lines]
        assert {feature for feature, _ in told} == {"trackclicks", "trackopens", "images"}
        (reason,) = {reason for _, reason in told}
        return reason


@pytest.fixture(scope="module")
def running(make_service, wait) -> Iterator[Place]:
    """A service that uses only click hosts that are in order, behind a Caddy; its account owns example.com."""
    with TemporaryDirectory(prefix="smtpeter-click-hosts-", dir="/tmp") as name:
        for each in ("named", "caddy"):
            Path(name, each).mkdir()
        service = make_service(started=False)
        # One that nobody else on this machine listens on.
        number = os.getpid()
        address = f"127.{100 + number % 100}.{number // 100 % 250}.{1 + service.web % 250}"
        named = Named(Path(name, "named"), names={HOST: address, OWN: address})
        caddy = Caddy(Path(name, "caddy"), address=address, web=service.web)
        ca = Path(name, "ca.pem")
        service.settings = service.folder / "settings.toml"
        service.settings.write_text(f'hostname = "mail.test"\n[web]\nchecked = true\nca = "{ca}"\nproxies = ["127.0.0.1"]\n')
        try:
            named.begin()
            caddy.begin()
            service.start()
            service.run("account", "add", "shop", "--approve")
            service.domain("example.com")
            wait(named.serves, "the name server")
            wait(lambda: caddy.alive() and caddy.authority.exists() and (caddy.folder / "admin").exists(), "Caddy")
            ca.write_bytes(caddy.authority.read_bytes())
            yield Place(service, named, caddy, wait, service.login(*FEATURES))
        finally:
            caddy.stop()
            named.stop()


@pytest.fixture
def place(running: Place) -> Place:
    """The same with everything in order."""
    running.dns(HOST, running.caddy.address)
    running.caddy.change()
    assert {base: health.state for base, health in running.look().items() if "example.org" not in base} == {
        f"https://{HOST}": "ok",
        f"https://{OWN}": "ok",
    }
    return running


def test_mail_is_tracked_where_the_click_host_is_in_order(place: Place) -> None:
    assert place.fate() == "tracked"
    assert {HOST, OWN} <= place.caddy.certificates()
    queue_id = place.service.send(place.login, MESSAGE.replace(b"DOMAIN", b"example.com"), ("a@example.net", "b@example.net"))
    assert len(place.service.copies(queue_id, 2)) == 2


def test_without_dns_mail_goes_out_untracked_until_it_is_back(place: Place) -> None:
    place.dns(HOST, None)
    health = place.look()[f"https://{HOST}"]
    assert (health.state, health.reason) == ("failing", "it has no address in the DNS")
    assert place.fate() == "tracked"  # one failure says little
    health = place.look()[f"https://{HOST}"]
    assert (health.state, health.certificates) == ("bad", False)
    assert place.fate() == f"click host {HOST}: it has no address in the DNS"
    assert place.fate(recipients=("a@example.net", "b@example.net")) == f"click host {HOST}: it has no address in the DNS"
    place.dns(HOST, place.caddy.address)
    assert place.look(later=1)[f"https://{HOST}"].state == "ok"
    assert place.fate() == "tracked"


def test_a_host_that_leads_elsewhere_is_not_visited_and_not_used(place: Place) -> None:
    foreign = f"{place.caddy.address.rpartition('.')[0]}.254"
    with socket.create_server((foreign, 443)) as elsewhere:
        place.dns(HOST, foreign)
        place.look()
        health = place.look()[f"https://{HOST}"]
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            elsewhere.accept()
    assert (health.state, health.reason) == ("bad", f"the DNS leads to {foreign}, which is not this service")
    assert place.fate() == f"click host {HOST}: {health.reason}"


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        ((HOST,), -1, "its certificate is not valid: certificate has expired"),
        (("clicks.example.net",), 1, f"its certificate is not valid: Hostname mismatch, certificate is not valid for '{HOST}'"),
    ],
    ids=["expired", "of another host"],
)
def test_with_a_bad_certificate_mail_goes_out_untracked(place: Place, authority, names, days: int, reason: str) -> None:
    certificate, key = authority.issue(*names, lifetime=timedelta(days=days))
    settings = load(place.service.settings, place.service.data)
    settings.web.ca.write_bytes(place.caddy.authority.read_bytes() + authority.file.read_bytes())
    place.caddy.change(f"{HOST} {{\n BIND\n tls {certificate} {key}\n reverse_proxy 127.0.0.1:{place.service.web}\n}}\n")
    assert place.look()[f"https://{HOST}"].state == "failing"
    health = place.look()[f"https://{HOST}"]
    assert (health.state, health.certificates) == ("bad", True)
    assert health.reason == f"{reason} ({place.caddy.address} port 443)"
    assert place.fate() == f"click host {HOST}: {health.reason}"
    place.caddy.change()
    assert place.look(later=1)[f"https://{HOST}"].state == "ok"
    assert place.fate() == "tracked"


def test_a_certificate_that_ends_soon_is_a_warning(place: Place, authority) -> None:
    certificate, key = authority.issue(HOST, lifetime=timedelta(days=1))  # of eight
    load(place.service.settings, place.service.data).web.ca.write_bytes(
        place.caddy.authority.read_bytes() + authority.file.read_bytes()
    )
    place.caddy.change(f"{HOST} {{\n BIND\n tls {certificate} {key}\n reverse_proxy 127.0.0.1:{place.service.web}\n}}\n")
    health = place.look()[f"https://{HOST}"]
    assert health.state == "warning"
    assert re.fullmatch(r"its certificate ends on \d{4}-\d\d-\d\d \d\d:\d\d UTC and has not been renewed", health.reason)
    assert place.fate() == "tracked"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('respond "hello"', "another server answers"),
        ("respond 404", "it answers with status 404"),
        ("redir https://www.example.com{uri}", "it sends visitors to 'https://www.example.com/.well-known/smtpeter'"),
        ("reverse_proxy 127.0.0.1:9", "it answers with status 502"),
        ("reverse_proxy 127.0.0.1:WEB {\n header_up Host www.example.com\n }", "another server answers"),
    ],
)
def test_who_answers_must_be_this_service(place: Place, answer: str, reason: str) -> None:
    answer = answer.replace("WEB", str(place.service.web))
    place.caddy.change(f"{HOST} {{\n BIND\n tls internal\n {answer}\n}}\n")
    health = place.look()[f"https://{HOST}"]
    assert (health.state, health.reason) == ("failing", f"{reason} ({place.caddy.address} port 443)")


def test_only_hosts_that_were_found_to_lead_here_get_a_certificate(place: Place) -> None:
    service, caddy = place.service, place.caddy
    service.domain("example.org")
    new = "clicks.example.org"
    assert place.fate("example.org") == f"click host {new}: it has not been looked at yet"
    before = caddy.certificates()
    for host in (new, "example.com", "www.example.com", "stranger.test"):
        assert "INTERNAL_ERROR" in caddy.shake(host)
    place.look()  # its DNS leads nowhere yet
    assert "INTERNAL_ERROR" in caddy.shake(new)
    assert caddy.certificates() == before
    place.dns(new, caddy.address)
    # The probe's own visit has the certificate fetched.
    assert place.look(later=1)[f"https://{new}"].state == "ok"
    assert caddy.certificates() == before | {new}
    assert place.fate("example.org") == "tracked"
    # Links without TLS, and no certificate for them.
    service.run("domain", "set", "example.org", "--no-https")
    assert place.fate("example.org") == f"click host {new}: it has not been looked at yet"
    assert place.look(later=1)[f"http://{new}"].state == "ok"
    assert new not in json.loads((service.data / "web" / "click-hosts.json").read_text())["certificates"]
    assert place.fate("example.org") == "tracked"
    caddy.change(f"http://{new} {{\n BIND\n redir https://{new}{{uri}}\n}}\n")
    health = place.look()[f"http://{new}"]
    assert health.reason == f"it sends visitors to 'https://{new}/.well-known/smtpeter' ({caddy.address} port 80)"
    service.run("domain", "remove", "example.org")
    assert sorted(place.look()) == [f"https://{HOST}", f"https://{OWN}"]


def test_a_visitor_cannot_ask_through_the_web_server_in_front(place: Place) -> None:
    context = ssl.create_default_context(cafile=str(place.caddy.authority))
    for host in (HOST, "127.0.0.1:8080", "localhost"):
        with (
            socket.create_connection((place.caddy.address, 443), timeout=30) as connection,
            context.wrap_socket(connection, server_hostname=HOST) as session,
        ):
            session.sendall(f"GET /.smtpeter/ask?domain={HOST} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            assert session.recv(65_536).split(b" ")[1] == b"404"


def test_a_look_that_finds_nothing_new_writes_nothing_to_the_database(place: Place) -> None:
    def stamps() -> list[tuple[int, int]]:
        files = [place.service.data / name for name in ("policy.db", "policy.db-wal")]
        return [(file.stat().st_mtime_ns, file.stat().st_size) for file in files]

    assert place.fate() == "tracked"  # so that a milter has the database open, and follows its files
    before, checked = stamps(), place.look()
    assert place.look() == checked
    assert stamps() == before


def test_the_command_tells_people_programs_and_the_log(place: Place) -> None:
    shown, log = place.probe()
    assert re.search(rf"https://{HOST} +ok ", shown)
    assert log == ""
    place.dns(HOST, None)
    shown, log = place.probe("example.com", status=1)
    assert re.search(rf"https://{HOST} +failing .* it has no address in the DNS", shown)
    assert f'click_host=https://{HOST} state=failing was=ok reason="it has no address in the DNS"' in log
    assert len(log.splitlines()) == 1
    shown, log = place.probe("--json", status=1)
    (row,) = [row for row in json.loads(shown) if row["host"] == HOST]
    assert (row["state"], row["https"], row["links"], row["reason"]) == ("failing", True, True, "it has no address in the DNS")
    assert log == ""
    (row,) = json.loads(place.service.run("domain", "list", "--json"))
    assert row["click_host"]["state"] == "failing"
    assert f"https://{HOST} (failing)" in place.service.run("domain", "list")
    server = f"127.0.0.1:{place.named.port}"
    argv = place.service.command("domain", "check", "example.com", "--nameserver", server, "--json")
    found = json.loads(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
    probed = {row["record"]: (row["verdict"], row["advice"]) for row in found if row["type"] == "HTTPS"}
    assert probed == {HOST: ("error", "it has no address in the DNS")}
    assert "there is no sender domain" in place.probe("example.net", status=2)[1]
