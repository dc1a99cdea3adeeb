"""A private Postfix instance: its folder made from the files in postfix/, its processes run by a supervisor.

It shares nothing with a Postfix of the host but the programs: configuration, queue, lock files and log are below one
directory, and /etc/postfix is neither read nor written. Where Postfix lies is asked of Postfix itself (postconf -d).
"""

import grp
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtpeter.activation import LONGEST
from smtpeter.errors import UserError
from smtpeter.ports import Ports, open_listener, require_free, unused_port

FILES = ("main.cf", "master.cf", "milter_header_checks", "outgoing_header_checks")
SOCKETS = ("auth", "policy", "milter")
# Addresses that stand for all, and where such a listener is reached from here.
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is bound is the operator's choice
# The services of postfix/master.cf that get other ports.
_LISTENERS = {"smtp": "25/inet", "submission": "587/inet", "submissions": "465/inet"}
_INTERNAL, _INTERNAL_ADDRESS = "127.0.0.1:10587/inet", "127.0.0.1"
# To see that a listener of our own speaks TLS, it need not prove who it is.
_ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY_CERTIFICATE.check_hostname = False
_ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE
# `postfix check` looks through the queue with find(1), which is surprised when a message leaves meanwhile.
_LEFT = re.compile(r"find: .*: No such file or directory\s*$")
# As `postfix check` would make them (postfix-files), which takes 2.6 s: owner, group, mode. "" is root.
_QUEUE = {
    **dict.fromkeys(
        ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"),
        ("postfix", "", 0o700),
    ),
    "maildrop": ("postfix", "postdrop", 0o730),
    "public": ("postfix", "postdrop", 0o710),
    "pid": ("", "", 0o755),
}


def source_directory() -> Path:
    """The folder of main.cf and master.cf: in the checkout, or where the package put it. Raises UserError."""
    places = (Path(__file__).parents[1] / "postfix", Path(sys.prefix) / "share" / "smtpeter" / "postfix")
    for place in places:
        if all((place / name).is_file() for name in FILES):
            return place
    raise UserError(f"the Postfix files are missing; looked in {' and '.join(map(str, places))}: install smtpeter again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One Postfix with a directory of its own.

    `source` holds the files of postfix/. `listen` are the addresses of the listeners; 0.0.0.0 and :: stand for all.
    `run` is where the sockets auth, policy and milter are. `nexthop` is who gets all mail, as Postfix writes it
    ("[127.0.0.1]:2525"); empty for direct delivery. `internal` is the port of the listener for copies, 0 for any free one,
    chosen by `prepare`. `canary` is the domain of the canary's recipient, "" for the default. `extra` are further parameters of
    main.cf.
    """

    directory: Path
    source: Path
    hostname: str
    listen: tuple[str, ...]
    ports: Ports
    run: Path
    certificate: Path
    key: Path
    nexthop: str = ""
    internal: int = 0
    canary: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The folder to give to Postfix's commands: `postqueue -c`, `postconf -c`."""
        return self.directory / "etc"

    @property
    def queue(self) -> Path:
        """The queue directory."""
        return self.directory / "spool"

    @property
    def log(self) -> Path:
        """The mail log, written by postlogd(8); only root reads it."""
        return self.directory / "log" / "mail.log"

    def prepare(self) -> None:
        """Makes the folder anew from the files and settings; the queue is kept. Raises UserError."""
        postconf = _postconf()
        if os.geteuid() != 0:
            raise UserError("Postfix can only be started by root: use sudo")
        for path in (self.run / name for name in SOCKETS):
            if len(os.fsencode(path)) > LONGEST:
                raise UserError(f"the socket path {path} is longer than {LONGEST} octets: choose a shorter directory")
        require_free(self._addresses(), self.ports)
        internal = self._internal_port()
        try:
            self._make_directories()
            for name in FILES:
                shutil.copyfile(self.source / name, self.config / name)
        except OSError as error:
            raise UserError(f"{error.filename} cannot be made: {error.strerror}") from error
        for directory in (self.directory, self.run):
            _require_searchable(directory)
        parameters = {"smtpeter_internal_port": str(internal), **self.parameters()}
        _run(postconf, "-c", str(self.config), "-e", *(f"{name}={value}" for name, value in parameters.items()))
        services = [f"{service}/service={getattr(self.ports, name)}" for name, service in _LISTENERS.items()]
        services.append(f"{_INTERNAL}/service={_INTERNAL_ADDRESS}:{internal}")
        _run(postconf, "-c", str(self.config), "-F", "-e", *services)
        # Every process of Postfix that reads a main.cf younger than two seconds pauses until it is older, in case
        # somebody is still writing it (dict_load_file). Nobody is, and a start would take two seconds longer.
        finished = time.time() - 60
        os.utime(self.config / "main.cf", (finished, finished))

    def parameters(self) -> dict[str, str]:
        """What main.cf gets besides what is in it: the values of this site."""
        addresses = self._addresses()
        everywhere = _ALL.keys() & set(addresses)
        ipv6 = _has_ipv6() and (not everywhere or "::" in addresses)
        return {
            "queue_directory": str(self.queue),
            "data_directory": str(self.directory / "lib"),
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.log.parent),
            # Postfix's own words in the log of the host must not be mistaken for these.
            "syslog_name": "smtpeter",
            "myhostname": self.hostname,
            "inet_interfaces": "all" if everywhere else ", ".join(addresses),
            # Without IPv6 in the kernel every process would warn.
            "inet_protocols": "all" if ipv6 else "ipv4",
            "relayhost": self.nexthop,
            "smtpeter_run": str(self.run),
            "smtpeter_certificate": str(self.certificate),
            "smtpeter_key": str(self.key),
            **({"smtpeter_canary_domain": self.canary} if self.canary else {}),
            **self.extra,
        }

    def check(self) -> tuple[str, ...]:
        """What Postfix itself finds wrong with the prepared instance; empty when all is well. About 0.3 s."""
        return complaints(self.config, self.log)

    def command(self) -> tuple[str, ...]:
        """The program and arguments of master(8), which stays in the foreground and ends its processes on SIGTERM.

        It must lead a session (setsid(2)): it signals its process group to stop, and refuses to start where it would
        have to share one. It is not given -d, which hands debugging on to every daemon, and not -w or -i. With the
        variables, which postfix(1) would set, its last words before it knows main.cf go to the log and not to syslog.
        """
        daemons = _ask(_postconf(), "daemon_directory")
        variables = (f"POSTLOG_SERVICE={self.queue / 'public' / 'postlog'}", f"POSTLOG_HOSTNAME={self.hostname}")
        return ("env", *variables, f"{daemons}/master", "-c", str(self.config))

    def ready(self) -> bool:
        """Whether every listener greets, the one with TLS from the first byte included."""
        address = self._addresses()[0]
        address = _ALL.get(address, address)
        try:
            for port in (self.ports.smtp, self.ports.submission):
                with socket.create_connection((address, port), timeout=5) as plain:
                    _greet(plain)
            with (
                socket.create_connection((address, self.ports.submissions), timeout=5) as plain,
                _ANY_CERTIFICATE.wrap_socket(plain) as encrypted,
            ):
                _greet(encrypted)
        except OSError:
            return False
        return True

    def complaint(self) -> str:
        """The last line of the log in which Postfix gives up; empty when there is none."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if ": fatal: " in line or ": panic: " in line), "")

    def _addresses(self) -> tuple[str, ...]:
        """The addresses there are: :: only counts with IPv6 in the kernel, unless nothing else was asked for."""
        there = tuple(address for address in self.listen if address != "::" or _has_ipv6())
        return there or self.listen

    def _internal_port(self) -> int:
        """The port of the listener for copies, open for nobody yet. Raises UserError."""
        if not self.internal:
            return unused_port(_INTERNAL_ADDRESS, but=self.ports.all())
        open_listener(_INTERNAL_ADDRESS, self.internal, "set another as internal in [listen]").close()
        return self.internal

    def _make_directories(self) -> None:
        for path in (self.config, self.queue, self.log.parent, self.run):
            path.mkdir(parents=True, exist_ok=True)
        lib = self.directory / "lib"
        _directory(lib, "postfix", "", 0o700)
        for name, (owner, group, mode) in _QUEUE.items():
            _directory(self.queue / name, owner, group, mode)


def complaints(config: Path, log: Path) -> tuple[str, ...]:
    """What Postfix itself finds wrong with the files in `config`; empty when all is well. It may say more in its `log`."""
    found = []
    for name, *arguments in (("postconf", "-n"), ("postconf", "-M"), ("postfix", "check")):
        done = program(name, "-c", str(config), *arguments)
        found += done.stderr.splitlines()
        if done.returncode and not done.stderr:
            found.append(f"{name} ended with status {done.returncode}; {log} says why")
    return tuple(dict.fromkeys(line.strip() for line in found if line.strip() and not _LEFT.match(line)))


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What came of a command of Postfix. Raises UserError when Postfix is not installed."""
    return subprocess.run((_found(name), *arguments), capture_output=True, text=True, check=False)


def ask(*arguments: str) -> str:
    """What postconf(1) says. Raises UserError with what it complains of when it fails."""
    return _run(_postconf(), *arguments)


def _greet(connection: socket.socket) -> None:
    """Waits for the greeting and says goodbye, so that the log shows no lost connection. Raises OSError."""
    if not connection.recv(512).startswith(b"220 "):
        raise ConnectionRefusedError
    connection.sendall(b"QUIT\r\n")
    connection.recv(512)


def _directory(path: Path, owner: str, group: str, mode: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    os.chown(path, pwd.getpwnam(owner).pw_uid if owner else 0, grp.getgrnam(group).gr_gid if group else 0)


def _postconf() -> str:
    """The path of postconf(1). Raises UserError when Postfix is not installed."""
    return _found("postconf")


def _found(program: str) -> str:
    # The sbin folders are not in the PATH of every user.
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise UserError("Postfix is not installed: apt-get install postfix")
    return found


def _ask(postconf: str, parameter: str) -> str:
    """A built-in default, which needs no main.cf."""
    return _run(postconf, "-d", "-h", parameter).strip()


def _run(*command: str) -> str:
    """The output of a command of Postfix. Raises UserError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _require_searchable(directory: Path) -> None:
    """Raises UserError when user postfix cannot reach a directory: one above it is closed to others."""
    user = pwd.getpwnam("postfix")
    groups = os.getgrouplist("postfix", user.pw_gid)
    for path in (directory, *directory.absolute().parents):
        status = path.stat()
        bit = 0o100 if status.st_uid == user.pw_uid else 0o010 if status.st_gid in groups else 0o001
        if not status.st_mode & bit:
            raise UserError(f"user postfix cannot pass through {path}: choose another directory, or run: chmod o+x {path}")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def version() -> str:
    """The version of the installed Postfix. Raises UserError."""
    return _ask(_postconf(), "mail_version")
