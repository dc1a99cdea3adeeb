"""The milters that are compared: how each is set up and started. All sign for example.com with the same RSA-2048 key."""

import grp
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.throughput.processes import program, running, wait_until
from journal.drain import waiting
from journal.seal import Ring
from journal.segment import segment_id, segment_paths
from journal.store import JournalStore
from policy.domains import Algorithm, new_private_key, read_private_key
from smtpeter.settings import Settings, load

DOMAIN, SELECTOR, ACCOUNT = "example.com", "bench", "bench"
EVERYTHING = ("inlinecss=true", "trackclicks=true", "trackopens=true", "preventscam=true", "images=hosted")
LOGINS = {"plain": (), "inlining": ("inlinecss=true",), "tracking": EVERYTHING}

# What dkim_signing needs and no more: no rules, no statistics, no Redis, no DNS, no guess at the language of the text (a
# folder without language files), which would cost it 0.7 ms. It signs what comes from loopback.
RSPAMD = """
options {{
  pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}"; cores_dir = "{folder}"; max_cores_size = 0;
  control_socket = "{folder}/control mode=0600"; filters = "dkim"; local_addrs = ["127.0.0.0/8"];
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 1s; retransmits = 1; }}
  rrd = ""; history_file = ""; cache_file = "{folder}/symbols.cache"; stats_file = ""; hs_cache_dir = "{folder}";
}}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "error"; }}
worker "rspamd_proxy" {{
  bind_socket = "{socket} mode=0666"; milter = yes; timeout = 60s; count = {workers};
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
lang_detection {{ languages = "{folder}"; }}
actions {{ reject = 1000; }}
modules {{ path = "$PLUGINSDIR/dkim_signing.lua"; }}
dkim {{ }}
dkim_signing {{
  enabled = true; sign_local = true; sign_authenticated = true; use_esld = false; use_domain = "header";
  allow_username_mismatch = true; allow_hdrfrom_mismatch = true; check_pubkey = false; try_fallback = false;
  domain {{ {domain} {{ path = "{key}"; selector = "{selector}"; }} }}
}}
"""

OPENDKIM = """
Syslog no
Mode s
Domain {domain}
Selector {selector}
KeyFile {key}
RequireSafeKeys no
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
OversignHeaders From
InternalHosts 127.0.0.1
Socket local:{socket}
UMask 000
Background no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The signing key of all set-ups: its file, and the text of the record that would publish it."""

    path: Path
    record: bytes

    @classmethod
    def make(cls, folder: Path) -> "Key":
        """A new key in `folder`. OpenDKIM and rspamd give up root's rights before they read it."""
        pem = new_private_key(Algorithm.RSA)
        path = folder / "key.pem"
        path.write_bytes(pem)
        path.chmod(0o644)
        _, public, _ = read_private_key(pem)
        return cls(path=path, record=f"v=DKIM1; k=rsa; p={public}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A milter that listens: its socket and the id of its first process."""

    socket: Path
    pid: int


@contextmanager
def noop(folder: Path, workers: int, what: str) -> Iterator[Running]:
    """The milter of `bench.throughput.noop`; `what` is one of its ways."""
    socket = _folder(folder / f"milter-{what}") / "milter"
    argv = (sys.executable, "-m", "bench.throughput.noop", str(socket), str(workers), what)
    with _listening(argv, socket) as milter:
        yield milter


@contextmanager
def opendkim(folder: Path, key: Key) -> Iterator[Running]:
    """OpenDKIM as a signer: one process, a thread for each session."""
    here = _folder(folder / "opendkim", user="opendkim")
    socket, settings = here / "milter", here / "opendkim.conf"
    settings.write_text(OPENDKIM.format(domain=DOMAIN, selector=SELECTOR, key=key.path, socket=socket))
    with _listening((program("opendkim"), "-f", "-x", str(settings), "-u", "opendkim"), socket) as milter:
        yield milter


@contextmanager
def rspamd(folder: Path, key: Key, workers: int = 2) -> Iterator[Running]:
    """rspamd with nothing but dkim_signing; the worker that speaks milter scans by itself."""
    here = _folder(folder / "rspamd", user="_rspamd")
    socket, settings = here / "milter", here / "rspamd.conf"
    text = RSPAMD.format(folder=here, socket=socket, workers=workers, domain=DOMAIN, selector=SELECTOR, key=key.path)
    settings.write_text(text)
    with _listening((program("rspamd"), "-f", "-c", str(settings), "-u", "_rspamd", "-g", "_rspamd"), socket) as milter:
        yield milter


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Our milter, and the three logins it knows: no option on, style sheets inlined, every feature on.

    `journal` is the process that fills the journal's database, where it was asked for.
    """

    milter: Running
    plain: str
    inlining: str
    tracking: str
    settings: Settings
    journal: int = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that a message costs time in."""
        return (self.milter.pid, self.journal) if self.journal else (self.milter.pid,)

    @property
    def ring(self) -> Ring:
        """The keys that links are sealed with."""
        return Ring.parse(self.settings.ring_file.read_text(), int(time.time()))

    def settle(self) -> None:
        """Waits until the journal's database has everything, where there is a process that fills it. Raises UserError."""
        if self.journal:
            wait_until(self._has_drained, "the filling of the journal", 120)

    def _has_drained(self) -> bool:
        store = JournalStore(self.settings.journal_url)
        try:
            noted = store.drained([segment_id(path) for path in segment_paths(self.settings.spool)])
        finally:
            store.close()
        return waiting(self.settings.spool, noted).octets == 0


@contextmanager
def ours(folder: Path, key: Key, *, drain: bool = False) -> Iterator[Ours]:
    """`smtpeter milter` with its usual settings, on a database made by the command line.

    What it writes for the journal stays in the spool, or with `drain` goes on into a SQLite database as it does in service.
    """
    here = _folder(folder / "smtpeter")
    path = here / "smtpeter.toml"
    path.write_text('hostname = "bench.invalid"\ndata = "data"\n')
    settings = load(path)
    command = (sys.executable, "-m", "smtpeter", "--settings", str(path))

    def ask(*words: str) -> str:
        return subprocess.run((*command, *words), check=True, capture_output=True, text=True).stdout

    ask("account", "add", ACCOUNT, "--approve")
    ask("domain", "add", DOMAIN, "--account", ACCOUNT, "--import-key", str(key.path), "--selector", SELECTOR)
    for label, options in LOGINS.items():
        ask("login", "add", "--account", ACCOUNT, "--label", label, *options)
    logins = {login["label"]: login["name"] for login in json.loads(ask("login", "list", "--json"))}
    _folder(settings.run)
    with ExitStack() as stack:
        milter = stack.enter_context(_listening((*command, "milter"), settings.run / "milter"))
        serve, log = (*command, "journal", "serve"), here / "journal.log"
        journal = stack.enter_context(running(serve, log, lambda: True)) if drain else 0
        yield Ours(milter=milter, settings=settings, journal=journal, **logins)


@contextmanager
def _listening(argv: tuple[str, ...], socket: Path) -> Iterator[Running]:
    with running(argv, socket.parent / "output.log", socket.is_socket) as pid:
        yield Running(socket=socket, pid=pid)


def _folder(path: Path, user: str | None = None) -> Path:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, grp.getgrgid(entry.pw_gid).gr_gid)
    return path
