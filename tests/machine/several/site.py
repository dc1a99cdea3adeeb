"""Two relays, deployed with the role, and the machine behind them, as their operator and clients know them."""

import http.client
import json
import re
import secrets
import shlex
import smtplib
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machines.ground import Ground
from machines.machine import Machine
from machines.playbook import Played
from machines.process import wait_until

from journal.seal import KEY_LENGTH
from policy.domains import MASTER_KEY_LENGTH

from .backend import ADMIN, BASE, DIRECTORY_PASSWORD, PASSWORD, PORTS, Backend
from .crowd import DOMAIN

SECONDS = 30.0  # for one answer of a server
CLICKS = "clicks.example.com"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"
AUTHORITY = "/etc/ssl/directory-authority.pem"
OPTIONS = ("trackclicks=true", "trackopens=true", "images=hosted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tracking host said."""

    status: int
    location: str
    content: bytes


@dataclass(kw_only=True)
class Site:
    """All three machines; `logins` are names and passwords, those of the directory first and every second."""

    ground: Ground
    backend: Backend
    relays: tuple[Machine, Machine]
    trust: ssl.SSLContext
    variables: dict[str, Any]
    of_hosts: dict[str, dict[str, Any]]
    logins: list[tuple[str, str]] = field(default_factory=list)

    def play(self, **changed: object) -> Played:
        """Runs the role on both relays, one after the other."""
        return self.ground.playbook.run(
            *self.relays, variables={**self.variables, **changed}, of_hosts=self.of_hosts, timeout=1500
        )

    def connect(self, place: int) -> smtplib.SMTP:
        """A session through HAProxy, logged in. Raises what smtplib does."""
        name, password = self.logins[place % len(self.logins)]
        client = smtplib.SMTP(self.backend.machine.address, PORTS["submission"][0], local_hostname="client.test", timeout=SECONDS)
        try:
            client.starttls(context=self.trust)
            client.ehlo()
            client.login(name, password)
        except BaseException:
            client.close()
            raise
        return client

    def ask(self, relay: Machine, url: str) -> Answer:
        """Opens a link or a picture at one relay, whatever its host name leads to."""
        path = re.sub(r"^https?://[^/]+", "", url)
        with closing(http.client.HTTPConnection(relay.address, 8080, timeout=SECONDS)) as connection:
            connection.request("GET", path, headers={"Host": CLICKS, "User-Agent": AGENT})
            answer = connection.getresponse()
            return Answer(status=answer.status, location=answer.getheader("Location") or "", content=answer.read())

    def waiting(self) -> int:
        """Messages in both queues, after telling Postfix to try them all again, and octets in both spools."""
        total = 0
        for relay in self.relays:
            total += len(relay.run("postqueue -f; postqueue -j").stdout.splitlines())
            found = json.loads(relay.run("smtpeter journal status --json", check=False).stdout)
            assert found["set aside"] == 0, found
            total += found["waiting octets"]
        return total

    def recorded(self) -> dict[str, int]:
        """How many attempts the journal has, by recipient."""
        statement = f"SELECT recipient, count(*) FROM messages WHERE recipient LIKE '%@{DOMAIN}' GROUP BY recipient"  # noqa: S608
        listed = self.backend.sql(statement, "journal")
        return {recipient: int(number) for recipient, _, number in (line.rpartition("|") for line in listed.splitlines())}

    def clicked(self) -> dict[tuple[str, str], int]:
        """How many clicks the journal has, by recipient and destination."""
        listed = self.backend.sql(
            "SELECT recipient, destination, count(*) FROM visits JOIN messages ON messages.id = visits.message"
            " WHERE kind = 'click' GROUP BY recipient, destination",
            "journal",
        )
        rows = (line.split("|") for line in listed.splitlines())
        return {(recipient, destination): int(number) for recipient, destination, number in rows}

    def restart(self, relay: Machine) -> None:
        """Boots a relay that was killed, and waits until it takes mail."""
        relay.start()
        wait_until(lambda: relay.run("smtpeter check --json", check=False).returncode == 0, f"{relay.name} is in order", 240)


def deploy(ground: Ground, root: Path, bundle: Path, authority: Any, relayhost: str) -> Site:
    """Bare machines become a running service with two accounts' worth of logins."""
    one, two, three = (ground.machine(name) for name in ("one", "two", "three"))
    backend = Backend(three, root, authority.issue(three.address))
    certificate, key = authority.issue("mail.example.com", "one.example.com", "two.example.com", three.address)
    now = int(time.time())
    variables = {
        "smtpeter_bundle": str(bundle),
        "smtpeter_relayhost": relayhost,
        "smtpeter_tls": "own",
        "smtpeter_tls_certificate": str(certificate),
        "smtpeter_tls_key": str(key),
        "smtpeter_master_key": b64encode(secrets.token_bytes(MASTER_KEY_LENGTH)).decode(),
        "smtpeter_key_ring": f"0 {now} {now} {b64encode(secrets.token_bytes(KEY_LENGTH)).decode()}\n",
        "smtpeter_database_password": PASSWORD,
        "smtpeter_journal_password": PASSWORD,
        "smtpeter_directory_password": DIRECTORY_PASSWORD,
        "smtpeter_proxy_ports": {name: at_relay for name, (_, at_relay) in PORTS.items()},
        "smtpeter_proxy_networks": [f"{three.address}/32"],
    }
    settings = {
        "database": backend.database("policy"),
        "journal": {"database": backend.database("journal")},
        "web": {"host": CLICKS, "https": False},
        "keys": {"domain": "mail.example.com"},
        "directory": {"urls": backend.directories, "ca": AUTHORITY, "bind_dn": ADMIN, "base": BASE},
    }
    of_hosts = {}
    for relay in (one, two):
        relay.write(AUTHORITY, authority.file.read_bytes())
        relay.run(f"cat {AUTHORITY} >>/etc/ssl/certs/ca-certificates.crt")  # a certificate that clients trust
        web = {**settings["web"], "address": relay.address}
        of_hosts[relay.name] = {"smtpeter_hostname": f"{relay.name}.example.com", "smtpeter_settings": {**settings, "web": web}}
    site = Site(
        ground=ground,
        backend=backend,
        relays=(one, two),
        trust=ssl.create_default_context(cafile=str(authority.file)),
        variables=variables,
        of_hosts=of_hosts,
    )
    played = site.play()
    assert played.passed, played.ended()
    backend.balance(site.relays)
    site.logins = _logins(one)
    return site


def _logins(relay: Machine) -> list[tuple[str, str]]:
    """Three of the directory and three of the database, taking turns; all with everything on."""
    relay.run("smtpeter account add shop --approve && smtpeter domain add example.com --account shop")
    found = []
    for _ in range(3):
        for place in ((), ("--local",)):
            words = ("smtpeter", "login", "add", "--account", "shop", "--json", *place, *OPTIONS)
            made: Mapping[str, str] = json.loads(relay.run(shlex.join(words)).stdout)
            found.append((made["name"], made["password"]))
    return found
