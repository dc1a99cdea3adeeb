"""How many messages a second Postfix takes with each of several milters, and what they cost: see bench/README.md.

    python -m bench.throughput [--rounds N] [--messages N] [--port N]

Needs root, Postfix, OpenDKIM and rspamd. Prints Markdown; progress goes to standard error.
"""

import argparse
import importlib.metadata
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.parts_dkim import with_attachment
from bench.throughput import milters, postfix, samples, table
from bench.throughput.processes import cpu_seconds, descendants, forget_peak, memory, program
from smtpeter.errors import UserError
from smtpeter.settings import Settings

PACKAGES = {"postfix": "smtp-source", "opendkim": "opendkim", "rspamd": "rspamd"}
LARGE = 10_000_000
PORTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way to run Postfix. `port` takes the load, `sample_port` is the same with a sink behind."""

    name: str
    port: int
    milter: milters.Running | None = None
    login: str = ""
    signs: bool = False
    inlines: bool = False

    @property
    def sample_port(self) -> int:
        """Six further on: there are six set-ups."""
        return self.port + 6

    def listeners(self, sink: int) -> tuple[postfix.Listener, ...]:
        """Both ways in."""
        milter = self.milter.socket if self.milter else None
        return (
            postfix.Listener(port=self.port, milter=milter, login=self.login),
            postfix.Listener(port=self.sample_port, milter=milter, login=self.login, sink=sink),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything started: the set-ups, their Postfix, the sink of the samples, our milter."""

    folder: Path
    postfix: postfix.Postfix
    setups: tuple[Setup, ...]
    sink: samples.Sink
    key: milters.Key
    ours: milters.Running

    def file(self, message: bytes) -> Path:
        """A file for smtp-source, which wants lines that end with LF."""
        path = self.folder / f"{len(message)}.eml"
        path.write_bytes(message.replace(b"\r\n", b"\n"))
        return path

    def check_samples(self, sizes: Sequence[int]) -> None:
        """Raises UserError where a set-up wins by doing less than it should."""
        for message in map(samples.sample, sizes):
            for setup in self.setups:
                self.postfix.send(setup.sample_port, self.file(message), 1)
                received = self.sink.take()
                samples.check(setup.name, message, received, self.key, signs=setup.signs, inlines=setup.inlines)

    def round(self, setup: Setup, file: Path, messages: int) -> table.Round:
        """One run, with the CPU until the last message has left the queue."""
        milter = setup.milter.pid if setup.milter else 0
        before = cpu_seconds(self.postfix.pid), cpu_seconds(milter) if milter else 0.0
        seconds = self.postfix.send(setup.port, file, messages)
        self.postfix.drain()
        after = cpu_seconds(self.postfix.pid), cpu_seconds(milter) if milter else 0.0
        used = [(late - early) * 1000 / messages for early, late in zip(before, after, strict=True)]
        return table.Round(rate=messages / seconds, postfix_ms=used[0], milter_ms=used[1])

    def speed(self, octets: int, rounds: int, messages: int) -> table.Rounds:
        """The rounds of one size: each tries all set-ups, in turn from another one on."""
        file = self.file(samples.sample(octets))
        for setup in self.setups:
            self.round(setup, file, max(messages // 10, postfix.SESSIONS))
        found: dict[str, list[table.Round]] = {setup.name: [] for setup in self.setups}
        for number in range(rounds):
            first = number % len(self.setups)
            for setup in (*self.setups[first:], *self.setups[:first]):
                found[setup.name].append(self.round(setup, file, messages))
                _say(f"{octets} octets, round {number + 1}: {found[setup.name][-1].rate:.0f}/s {setup.name}")
        return found

    def footprint(self) -> table.Footprint:
        """Memory of our milter after the load, and how it grows for one large message."""
        workers = descendants(self.ours.pid)
        parent, private = memory(self.ours.pid).resident, max(memory(pid).private for pid in workers)
        message = with_attachment(LARGE)
        growth = {}
        # What is resident before the first one counts for all: memory that is kept afterwards must not be forgiven.
        resident = {pid: memory(pid).resident for pid in workers}
        for setup in (setup for setup in self.setups if setup.milter == self.ours):
            for pid in workers:
                forget_peak(pid)
            self.postfix.send(setup.port, self.file(message), 1)
            growth[setup.name] = max(memory(pid).peak - resident[pid] for pid in workers)
        self.postfix.drain()
        return table.Footprint(parent=parent, worker=private, growth=growth, message=len(message))


@contextmanager
def started(folder: Path, port: int) -> Iterator[Bench]:
    """All set-ups, running; `port` and the 15 after it are used."""
    with ExitStack() as stack:
        key = milters.Key.make(folder)
        ours = stack.enter_context(milters.ours(folder, key))
        noop = stack.enter_context(milters.noop(folder, Settings().milter_workers))
        opendkim = stack.enter_context(milters.opendkim(folder, key))
        rspamd = stack.enter_context(milters.rspamd(folder, key))
        setups = (
            Setup(name=table.BARE, port=port + 4),
            Setup(name=table.NOOP, port=port + 5, milter=noop),
            Setup(name=table.OPENDKIM, port=port + 6, milter=opendkim, signs=True),
            Setup(name=table.RSPAMD, port=port + 7, milter=rspamd, signs=True),
            Setup(name=table.DKIM, port=port + 8, milter=ours.milter, login=ours.plain, signs=True),
            Setup(name=table.CSS, port=port + 9, milter=ours.milter, login=ours.inlining, signs=True, inlines=True),
        )
        sink = stack.enter_context(samples.sink(port + 3))
        listeners = tuple(listener for each in setups for listener in each.listeners(port + 3))
        running = stack.enter_context(postfix.started(folder, port, listeners))
        yield Bench(folder=folder, postfix=running, setups=setups, sink=sink, key=key, ours=ours.milter)


def missing() -> list[str]:
    """The Debian packages that are not installed."""
    found = []
    for package, name in PACKAGES.items():
        try:
            program(name)
        except UserError:
            found.append(package)
    return found


def require_free(first: int) -> None:
    """Raises UserError where one of the ports is taken."""
    for port in range(first, first + PORTS):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            cause = os.strerror(error.errno or 0)
            raise UserError(f"port {port} of 127.0.0.1 cannot be used ({cause}); choose others with --port") from error


def header(options: argparse.Namespace) -> str:
    """What the figures were made on and with."""
    query = ("dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES, "libmilter1.0.1")
    packages = subprocess.run(query, check=False, capture_output=True, text=True).stdout
    modules = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pymilter", "cryptography", "css-inline"))
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {packages}{modules}; "
        f"load average {os.getloadavg()[0]:.1f} before the start.\n{options.rounds} rounds of {options.messages} messages, "
        f"{postfix.SESSIONS} sessions at a time, one message each, unix sockets, everything discarded after the queue.\n"
    )


def run(options: argparse.Namespace) -> None:
    """Measures and prints. Raises UserError."""
    if os.geteuid() != 0:
        raise UserError("the bench starts a Postfix of its own, so it must be run as root; try sudo")
    if packages := missing():
        raise UserError(f"the bench compares with programs that are not installed: apt-get install {' '.join(packages)}")
    require_free(options.port)
    print("## Throughput\n")
    print(header(options), flush=True)
    with tempfile.TemporaryDirectory(prefix="smtpeter-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # user postfix passes through
        bench = stack.enter_context(started(folder, options.port))
        bench.check_samples(options.sizes)
        _say("the samples are as they should be")
        rounds = {octets: bench.speed(octets, options.rounds, options.messages) for octets in options.sizes}
        print("\n".join(table.lines(rounds, bench.footprint())))


def main() -> int:
    """The exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each set-up is tried; the median counts")
    parser.add_argument("--messages", type=int, default=1000, help="messages in each of them")
    parser.add_argument("--sizes", type=int, nargs="+", default=samples.SIZES, help="octets of the messages")
    parser.add_argument("--port", type=int, default=33000, help="the first of 16 ports of loopback to use")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves no process behind
    try:
        run(options)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
