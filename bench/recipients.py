"""How long 100 recipients of one transaction take, against 100 messages with one recipient each: see bench/README.md.

    python -m bench.recipients [--rounds N] [--recipients N] [--sizes OCTETS...] [--drain] [--port N]

Needs root and Postfix. All features are on, so each recipient gets a copy of his own. The clock runs from the first
connection until everything has left the queue for a sink. Prints Markdown; progress goes to standard error.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from bench.figures import met
from bench.throughput import client, command, milters, postfix, samples
from bench.throughput.processes import cpu_seconds, program, require_free, running, wait_until
from bench.throughput.templates import Kind, Template
from smtpeter.errors import UserError

GOAL = 1.3  # times as long as the messages one by one
PORTS = 5  # three of Postfix itself, one for the load, one for the sink
CHECKED = 3  # recipients of the sample
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One way, once: seconds until everything was out, and milliseconds of CPU per copy of Postfix and of our milter."""

    seconds: float
    postfix_ms: float
    milter_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything started: our milter, a Postfix with one listener, whose mail goes to the port `sink`."""

    postfix: postfix.Postfix
    ours: milters.Ours
    key: milters.Key
    port: int
    sink: int

    def check_sample(self, octets: int) -> None:
        """Raises UserError where the recipients do not get a copy each, with links of their own and a good signature."""
        message = samples.sample(octets)
        with samples.sink(self.sink) as sink:
            client.send(self.port, [client.Letter.of(message, _recipients(CHECKED))])
            copies = [sink.take() for _ in range(CHECKED)]
        ring = self.ours.ring
        for copy in copies:
            samples.check("several recipients", message, copy, self.key, signs=True, inlines=True, ring=ring)
        if len({samples.recipient("several recipients", message, copy, ring) for copy in copies}) != CHECKED:
            raise UserError("two copies of the sample of several recipients name the same recipient")
        self.postfix.drain()

    def round(self, letters: Sequence[client.Letter], copies: int) -> Round:
        """Sends all of them and waits until all copies are at the sink. Raises UserError where some are not."""
        arrived, before = self._arrived(), self._used()
        start = time.perf_counter()
        client.send(self.port, letters)
        self.postfix.drain()
        seconds = time.perf_counter() - start
        self.ours.settle()
        used = [(late - early) * 1000 / copies for early, late in zip(before, self._used(), strict=True)]
        wait_until(lambda: self._arrived() - arrived >= copies, "the arrival of all copies")  # the log comes a moment later
        if self._arrived() - arrived != copies:
            raise UserError(f"{self._arrived() - arrived} copies arrived where {copies} were sent")
        return Round(seconds=seconds, postfix_ms=used[0], milter_ms=used[1])

    def _used(self) -> tuple[float, float]:
        return cpu_seconds(self.postfix.pid), sum(map(cpu_seconds, self.ours.pids))

    def _arrived(self) -> int:
        """How many deliveries to the sink the mail log has."""
        return len(
            re.findall(rf"relay=127\.0\.0\.1\[127\.0\.0\.1\]:{self.sink}, .*status=sent", self.postfix.instance.log.read_text())
        )


@contextmanager
def started(folder: Path, port: int, *, drain: bool) -> Iterator[Bench]:
    """Our milter and Postfix, running; `port` and the PORTS - 1 after it are used."""
    key = milters.Key.make(folder)
    sink, load = port + 3, port + 4
    with milters.ours(folder, key, drain=drain) as ours:
        listener = postfix.Listener(port=load, milter=ours.milter.socket, login=ours.tracking)
        nexthop, run = f"smtp:[127.0.0.1]:{sink}", ours.settings.run
        with postfix.started(folder, port, (listener,), transport=nexthop, run=run) as found:
            yield Bench(postfix=found, ours=ours, key=key, port=load, sink=sink)


def compare(bench: Bench, octets: int, rounds: int, count: int) -> dict[str, list[Round]]:
    """The rounds of one size: a message of the template for all recipients, and messages of it for one each, in turns."""
    template, chance = Template(samples.sample(octets), Kind.ONE), Random(SEED)
    addresses = _recipients(count)

    def together() -> Round:
        return bench.round([client.Letter.of(template.message(chance), addresses)], count)

    def apart() -> Round:
        return bench.round([client.Letter.of(template.message(chance), (address,)) for address in addresses], count)

    ways: dict[str, Callable[[], Round]] = {"together": together, "apart": apart}
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in sorted(ways, reverse=bool(number % 2)):
            round_ = ways[name]()
            if number:  # the first one warms up
                found[name].append(round_)
                print(f"{octets} octets, round {number}: {round_.seconds:.2f} s {name}", file=sys.stderr, flush=True)
    return found


def row(octets: int, count: int, found: dict[str, list[Round]]) -> str:
    """A line of the table; the ratio is the median of the ratios of two runs in a row."""
    together, apart = found["together"], found["apart"]
    times = [one.seconds / other.seconds for one, other in zip(together, apart, strict=True)]
    ratio = median(times)
    cells = [f"{octets / 1000:g} kB"]
    for way in (together, apart):
        seconds = median(each.seconds for each in way)
        cpu = (median(each.postfix_ms for each in way), median(each.milter_ms for each in way))
        cells += [f"{seconds:.2f}", f"{count / seconds:.0f}", f"{cpu[0]:.2f} + {cpu[1]:.2f}"]
    cells += [f"{ratio:.2f}", f"{min(times):.2f} - {max(times):.2f}", met(ratio <= GOAL)]
    return f"| {' | '.join(cells)} |"


def run(options: argparse.Namespace) -> None:
    """Measures and prints. Raises UserError."""
    command.require_root()
    sink = program("smtp-sink")
    require_free(options.port, PORTS)
    with command.working_folder() as folder, started(folder, options.port, drain=options.drain) as bench:
        for octets in options.sizes:
            bench.check_sample(octets)
        address = f"127.0.0.1:{bench.sink}"
        with running((sink, "-u", "postfix", f"inet:{address}", "512"), folder / "sink.log", lambda: postfix.greets(bench.sink)):
            print(f"## {options.recipients} recipients, load average {os.getloadavg()[0]:.1f} before the start\n")
            print("| message | together s | copies/s | Postfix + milter CPU ms | apart s | copies/s", end="")
            print(f" | Postfix + milter CPU ms | together to apart | lowest - highest | <= {GOAL:g} |")
            print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
            for octets in options.sizes:
                found = compare(bench, octets, options.rounds, options.recipients)
                print(row(octets, options.recipients, found), flush=True)


def main() -> int:
    """The exit status: 0, or 2 where something is missing or did not do its work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recipients", type=int, default=100)
    command.add_options(parser, PORTS)
    return command.exit_status(run, parser.parse_args())


def _recipients(count: int) -> list[str]:
    return [f"reader-{number}@example.org" for number in range(count)]


if __name__ == "__main__":
    sys.exit(main())
