"""How many messages a second Postfix takes with each of several milters, and what they cost: see bench/README.md.

    python -m bench.throughput [--rounds N] [--messages N] [--sizes OCTETS...] [--drain] [--port N]

Needs root, Postfix, OpenDKIM and rspamd. Prints Markdown; progress goes to standard error.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from bench.parts_dkim import with_attachment
from bench.throughput import client, command, milters, postfix, samples, table
from bench.throughput.processes import cpu_seconds, descendants, forget_peak, memory, program, require_free
from bench.throughput.templates import Kind, Template
from smtpeter.errors import UserError
from smtpeter.settings import Settings

PACKAGES = {"postfix": "postconf", "opendkim": "opendkim", "rspamd": "rspamd"}
LARGE = 10_000_000
SEED = 3  # of all that differs between messages: every run has the same
PORTS = 22  # three of Postfix itself, the sink of the samples, two for each set-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way to run Postfix. `port` takes the load; the next port is the same with a sink behind.

    `pids` are the processes behind it besides Postfix; `templates` is what its load is made of.
    """

    name: str
    port: int
    socket: Path | None = None
    pids: tuple[int, ...] = ()
    login: str = ""
    signs: bool = False
    inlines: bool = False
    tracks: bool = False
    templates: Kind = Kind.ONE

    @property
    def sample_port(self) -> int:
        """The port with a sink behind."""
        return self.port + 1

    def listeners(self, sink: int) -> tuple[postfix.Listener, ...]:
        """Both ways in."""
        return (
            postfix.Listener(port=self.port, milter=self.socket, login=self.login),
            postfix.Listener(port=self.sample_port, milter=self.socket, login=self.login, sink=sink),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything started: the set-ups, their Postfix, the sink of the samples, our milter."""

    postfix: postfix.Postfix
    setups: tuple[Setup, ...]
    sink: samples.Sink
    key: milters.Key
    ours: milters.Ours
    chance: Random

    def check_samples(self, sizes: Sequence[int]) -> None:
        """Raises UserError where a set-up wins by doing less than it should."""
        ring = self.ours.ring
        for size in sizes:
            for setup in self.setups:
                message = Template(samples.sample(size), setup.templates).message(self.chance)
                client.send(setup.sample_port, [client.Letter.of(message)])
                received = self.sink.take()
                found = ring if setup.tracks else None
                samples.check(setup.name, message, received, self.key, signs=setup.signs, inlines=setup.inlines, ring=found)

    def round(self, setup: Setup, octets: int, messages: int) -> table.Round:
        """One run, with the CPU until the last message has left the queue."""
        template = Template(samples.sample(octets), setup.templates)
        letters = [client.Letter.of(template.message(self.chance)) for _ in range(messages)]
        before, begun = self._used(setup), time.process_time()
        seconds = client.send(setup.port, letters)
        sending = time.process_time() - begun
        self.postfix.drain()
        self.ours.settle()
        used = [(late - early) * 1000 / messages for early, late in zip(before, self._used(setup), strict=True)]
        return table.Round(rate=messages / seconds, postfix_ms=used[0], milter_ms=used[1], client_ms=sending * 1000 / messages)

    def _used(self, setup: Setup) -> tuple[float, float]:
        """Seconds of CPU so far of Postfix, and of what is behind it."""
        return cpu_seconds(self.postfix.pid), sum(map(cpu_seconds, setup.pids))

    def speed(self, octets: int, rounds: int, messages: int) -> table.Rounds:
        """The rounds of one size: each tries all set-ups, in turn from another one on."""
        for setup in self.setups:
            self.round(setup, octets, max(messages // 10, client.SESSIONS))
        found: dict[str, list[table.Round]] = {setup.name: [] for setup in self.setups}
        for number in range(rounds):
            first = number % len(self.setups)
            for setup in (*self.setups[first:], *self.setups[:first]):
                found[setup.name].append(self.round(setup, octets, messages))
                _say(f"{octets} octets, round {number + 1}: {found[setup.name][-1].rate:.0f}/s {setup.name}")
        return found

    def footprint(self) -> table.Footprint:
        """Memory of our milter after the load, and how it grows for one large message."""
        ours = self.ours.milter.pid
        workers = descendants(ours)
        parent, private = memory(ours).resident, max(memory(pid).private for pid in workers)
        message = with_attachment(LARGE)
        growth = {}
        # What is resident before the first one counts for all: memory that is kept afterwards must not be forgiven.
        resident = {pid: memory(pid).resident for pid in workers}
        logins = {setup.login: setup for setup in self.setups if setup.login}
        for setup in logins.values():
            for pid in workers:
                forget_peak(pid)
            client.send(setup.port, [client.Letter.of(message)])
            growth[setup.name] = max(memory(pid).peak - resident[pid] for pid in workers)
        self.postfix.drain()
        return table.Footprint(parent=parent, worker=private, growth=growth, message=len(message))


@contextmanager
def started(folder: Path, port: int, *, drain: bool) -> Iterator[Bench]:
    """All set-ups, running; `port` and the PORTS - 1 after it are used."""
    with ExitStack() as stack:
        key, workers = milters.Key.make(folder), Settings().milter_workers
        ours = stack.enter_context(milters.ours(folder, key, drain=drain))
        others = {
            table.NOOP: stack.enter_context(milters.noop(folder, workers, "nothing")),
            table.FLOOR: stack.enter_context(milters.noop(folder, workers, "replace")),
            table.OPENDKIM: stack.enter_context(milters.opendkim(folder, key)),
            table.RSPAMD: stack.enter_context(milters.rspamd(folder, key)),
        }
        ports = iter(range(port + 4, port + PORTS, 2))
        setups = [Setup(name=table.BARE, port=next(ports))]
        for name, other in others.items():
            signs = name in (table.OPENDKIM, table.RSPAMD)
            setups.append(Setup(name=name, port=next(ports), socket=other.socket, pids=(other.pid,), signs=signs))
        our = partial(Setup, socket=ours.milter.socket, pids=ours.pids, signs=True)
        setups += (
            our(name=table.DKIM, port=next(ports), login=ours.plain),
            our(name=table.CSS, port=next(ports), login=ours.inlining, inlines=True, templates=Kind.NEW),
            our(name=table.ONE, port=next(ports), login=ours.tracking, inlines=True, tracks=True),
            our(name=table.NEW, port=next(ports), login=ours.tracking, inlines=True, tracks=True, templates=Kind.NEW),
        )
        sink = stack.enter_context(samples.sink(port + 3))
        listeners = tuple(listener for each in setups for listener in each.listeners(port + 3))
        running = stack.enter_context(postfix.started(folder, port, listeners))
        yield Bench(postfix=running, setups=tuple(setups), sink=sink, key=key, ours=ours, chance=Random(SEED))


def missing() -> list[str]:
    """The Debian packages that are not installed."""
    found = []
    for package, name in PACKAGES.items():
        try:
            program(name)
        except UserError:
            found.append(package)
    return found


def header(options: argparse.Namespace) -> str:
    """What the figures were made on and with."""
    query = ("dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES, "libmilter1.0.1")
    packages = subprocess.run(query, check=False, capture_output=True, text=True).stdout
    modules = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pymilter", "cryptography", "css-inline"))
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {packages}{modules}; "
        f"load average {os.getloadavg()[0]:.1f} before the start.\n{options.rounds} rounds of {options.messages} messages, "
        f"{client.SESSIONS} sessions at a time, one message each, unix sockets, everything discarded after the queue"
        f"{', the journal filled as in service' if options.drain else ''}.\n"
    )


def run(options: argparse.Namespace) -> None:
    """Measures and prints. Raises UserError."""
    command.require_root()
    if packages := missing():
        raise UserError(f"the bench compares with programs that are not installed: apt-get install {' '.join(packages)}")
    require_free(options.port, PORTS)
    print("## Throughput\n")
    print(header(options), flush=True)
    with command.working_folder() as folder, started(folder, options.port, drain=options.drain) as bench:
        bench.check_samples(options.sizes)
        _say("the samples are as they should be")
        rounds = {octets: bench.speed(octets, options.rounds, options.messages) for octets in options.sizes}
        print("\n".join(table.lines(rounds, bench.footprint())))


def main() -> int:
    """The exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each set-up is tried; the median counts")
    parser.add_argument("--messages", type=int, default=1000, help="messages in each of them")
    command.add_options(parser, PORTS)
    return command.exit_status(run, parser.parse_args())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
