"""Machines for the tests: booted when the first test asks for one, gone when the tests end. machines/ says how they are made."""

import os
import secrets
import smtplib
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # a folder without __init__.py: a namespace package, and no test module
from machines.deployed import Deployed, Login
from machines.flow import Flow
from machines.ground import Ground
from machines.issuer import Issuer
from machines.machine import Machine
from machines.playbook import Played
from machines.process import wait_until
from machines.sink import Sink
from machines.watch import ProcessWatch
from several import crowd as crowds
from several import figures, reckoning
from several.site import Site, deploy

HOST = "mail.example.com"
LAST = {"without_caddy", "uninstalled", "purged"}  # fixtures that take something away from those before them
LIMIT = 900  # seconds for a test, with the deployments that it is the first to ask for


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests of machines their time, and puts those that take something away behind all others, shuffled or not."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT))
    items.sort(key=lambda item: len(LAST.intersection(getattr(item, "fixturenames", ()))))


@pytest.fixture(scope="session")
def ground(root: Path) -> Iterator[Ground]:
    """Where machines are made: `ground.machine(NAME)`, `ground.playbook`, `ground.network`."""
    with Ground(root) as made:
        yield made


@pytest.fixture(scope="session")
def make_sink(ground: Ground) -> Iterator[Callable[[], Sink]]:
    """Makes servers that take the machines' mail."""
    made: list[Sink] = []

    def make() -> Sink:
        made.append(Sink(ground.network.host))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


@pytest.fixture(scope="session")
def make_flow() -> Callable[..., Flow]:
    """Makes clients that keep sending, see `Flow`."""
    return Flow


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for a condition: `until(condition, what, seconds)`."""
    return wait_until


@pytest.fixture(scope="session")
def make_bundle(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes bundles of this checkout, under its own version or another one."""

    def make(version: str = "") -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        words = ("--version", version) if version else ()
        environment = {**os.environ, "SMTPETER_VENV": sys.prefix}
        argv = (str(root / "tools/release"), *words, str(folder))
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder

    return make


@pytest.fixture(scope="session")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """The bundle of this checkout."""
    return make_bundle()


@pytest.fixture(scope="session")
def known_secrets() -> dict[str, str]:
    """What only root may ever see on a machine, by what it is; tests add what they make."""
    return {"master key": b64encode(secrets.token_bytes(64)).decode()}


@pytest.fixture(scope="session")
def make_deployed(ground: Ground) -> Callable[[Machine, Sink, ssl.SSLContext, dict[str, Any]], Deployed]:
    """Puts the service on a machine; as talkative as Ansible gets, for what it must not tell."""

    def make(machine: Machine, sink: Sink, trust: ssl.SSLContext, variables: dict[str, Any]) -> Deployed:
        first = ground.playbook.run(machine, variables=variables, words=("-vvv", "--diff"))
        assert first.passed, first.ended()
        return Deployed(
            machine=machine, playbook=ground.playbook, sink=sink, trust=trust, variables=variables, first=first, runs=[first]
        )

    return make


@pytest.fixture(scope="session")
def make_issuer(ground: Ground) -> Callable[[tuple[str, ...], str], Issuer]:
    """Makes a machine that is name server and authority for another one, see `Issuer`."""
    return lambda names, address: Issuer(ground, names, address)


@pytest.fixture(scope="session")
def deployed(
    ground: Ground,
    bundle: Path,
    make_sink: Callable[[], Sink],
    make_deployed: Callable[..., Deployed],
    authority: Any,
    known_secrets: dict[str, str],
) -> Deployed:
    """The service on a machine that was bare before."""
    machine = ground.machine("one")
    machine.trust(authority.file)
    sink = make_sink()
    certificate, key = authority.issue(HOST, machine.address)
    known_secrets["key of the certificate"] = key.read_text().splitlines()[1]
    variables = {
        "smtpeter_bundle": str(bundle),
        "smtpeter_hostname": HOST,
        "smtpeter_relayhost": sink.relayhost,
        "smtpeter_tls": "own",
        "smtpeter_tls_certificate": str(certificate),
        "smtpeter_tls_key": str(key),
        "smtpeter_master_key": known_secrets["master key"],
        "smtpeter_fail2ban": True,
    }
    made = make_deployed(machine, sink, ssl.create_default_context(cafile=str(authority.file)), variables)
    made.smtpeter("account", "add", "shop", "--approve")
    domain = made.json("domain", "add", "example.com", "--account", "shop")
    made.records.update({record["name"]: record["value"] for record in domain["records"]})
    return made


@pytest.fixture(scope="session")
def login(deployed: Deployed, known_secrets: dict[str, str]) -> Login:
    """A login of `shop` with everything off."""
    made = deployed.login()
    known_secrets["password of a login"] = made.password
    return made


@pytest.fixture(scope="session")
def every_secret(deployed: Deployed, login: Login, known_secrets: dict[str, str]) -> dict[str, str]:
    """What only root may see: what the tests gave or got, each of it used at least once, and what the machine made itself."""
    found = dict(known_secrets)
    found["password of the canary"] = deployed.machine.read("/etc/smtpeter/credentials/canary").decode().strip()
    ring = deployed.machine.read("/var/lib/smtpeter/keys.ring").decode()
    found |= {f"sealing key {number}": line.split()[-1] for number, line in enumerate(ring.splitlines()) if line[:1].isdigit()}
    deployed.client(login).quit()
    assert all(len(secret) >= 16 for secret in found.values()), [name for name, secret in found.items() if len(secret) < 16]
    return found


@pytest.fixture(scope="session")
def make_process_watch() -> type[ProcessWatch]:
    """Makes what looks at the lists of processes."""
    return ProcessWatch


@pytest.fixture(scope="session")
def process_watch(every_secret: dict[str, str]) -> ProcessWatch:
    """What looked at them during the second run."""
    return ProcessWatch(every_secret)


@pytest.fixture(scope="session")
def second_run(deployed: Deployed, process_watch: ProcessWatch) -> Played:
    """What the role prints when it runs on a machine where everything is in place, as talkative as the first time."""
    with process_watch:
        return deployed.play(words=("-vvv", "--diff"))


@pytest.fixture
def connect(deployed: Deployed, login: Login) -> Callable[[], smtplib.SMTP]:
    """Makes sessions that are logged in."""
    return lambda: deployed.client(login)


@pytest.fixture(scope="session")
def machine(deployed: Deployed) -> Machine:
    """The machine the service is on."""
    return deployed.machine


# -- two relays and the machine behind them ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gate(ground: Ground) -> Iterator[reckoning.Gate]:
    """Where the relays' mail goes."""
    made = reckoning.Gate(ground.network.host)
    yield made
    made.close()


@pytest.fixture(scope="session")
def site(ground: Ground, root: Path, bundle: Path, authority: Any, gate: reckoning.Gate) -> Site:
    """Two relays, and a third machine with PostgreSQL, directory and HAProxy, all of them bare before."""
    return deploy(ground, root, bundle, authority, gate.relayhost)


@pytest.fixture(scope="session")
def all_crowds() -> list[crowds.Crowd]:
    """All crowds there were, in order."""
    return []


@pytest.fixture(scope="session")
def make_crowd(site: Site, all_crowds: list[crowds.Crowd]) -> Callable[..., crowds.Crowd]:
    """Makes clients that keep sending through HAProxy, see `Crowd`; each has numbers of its own."""

    def make(**words: Any) -> crowds.Crowd:
        all_crowds.append(crowds.Crowd(site.connect, first=100_000 * len(all_crowds), **words))
        return all_crowds[-1]

    return make


@pytest.fixture(scope="session")
def reckon(
    site: Site, gate: reckoning.Gate, all_crowds: list[crowds.Crowd]
) -> Callable[[dict[str, reckoning.Kill]], reckoning.Reckoning]:
    """Compares what all crowds were promised with what has arrived and what the journal has."""

    def compare(kills: dict[str, reckoning.Kill]) -> reckoning.Reckoning:
        attempts = [attempt for crowd in all_crowds for attempt in crowd.attempts]
        return reckoning.reckon(attempts, gate.arrivals(), site.recorded(), kills)

    return compare


@pytest.fixture(scope="session")
def make_kill() -> Callable[..., reckoning.Kill]:
    """Makes notes of what was done to a relay."""
    return reckoning.Kill


@pytest.fixture(scope="session")
def mail() -> Any:
    """What a crowd sends: `mail.destination(NUMBER)`, `mail.picture(NUMBER)`, `mail.number_of(RECIPIENT)`."""
    return crowds


@pytest.fixture(scope="session")
def make_connections() -> Callable[..., figures.Connections]:
    """Makes counters of the connections to PostgreSQL."""
    return figures.Connections


@pytest.fixture(scope="session")
def make_work() -> Callable[..., figures.Work]:
    """Makes counters of what PostgreSQL does for a message."""
    return figures.Work


@pytest.fixture(scope="session")
def sizes() -> Callable[..., list[str]]:
    """What the tables of a database take."""
    return figures.sizes
