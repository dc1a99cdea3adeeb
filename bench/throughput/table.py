"""The figures of the rounds, and the Markdown made of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

BARE, NOOP, FLOOR = "bare Postfix", "do-nothing milter", "milter that replaces the body"
OPENDKIM, RSPAMD = "OpenDKIM", "rspamd, only dkim_signing"
DKIM, CSS = "smtpeter, DKIM", "smtpeter, DKIM + CSS, new templates"
ONE, NEW = "smtpeter, all features, one template", "smtpeter, all features, new templates"
RATE_GOALS = {  # of bare Postfix
    CSS: {3_600: 0.38, 31_000: 0.28, 79_000: 0.22},
    NEW: {3_600: 0.45, 31_000: 0.34, 79_000: 0.26},
    ONE: {3_600: 0.45, 31_000: 0.34, 79_000: 0.36},
}
WORKER_GOAL = 12e6  # octets beyond the parent
GROWTH_GOAL = 5.0  # times the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of one set-up: messages per second, and milliseconds of CPU per message of Postfix, milter and client."""

    rate: float
    postfix_ms: float
    milter_ms: float
    client_ms: float


Rounds = Mapping[str, Sequence[Round]]  # by set-up, in the order they were run


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of our milter: the parent, the largest private part of a worker, and its growth for one message of `message`."""

    parent: int
    worker: int
    growth: Mapping[str, int]
    message: int


def ratio(rounds: Rounds, name: str, base: str) -> float:
    """The median of the ratios of the messages/s of two set-ups, each in the same round."""
    return median(one.rate / other.rate for one, other in zip(rounds[name], rounds[base], strict=True))


def speed(octets: int, rounds: Rounds) -> Iterator[str]:
    """The table of one message size."""
    yield f"### Message of {octets / 1000:g} kB\n"
    yield "| set-up | msg/s | of bare | lowest - highest | Postfix CPU ms | milter CPU ms | client CPU ms |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in rounds.items():
        rates = [each.rate for each in found]
        milter = f"{median(each.milter_ms for each in found):.2f}" if name != BARE else ""
        yield (
            f"| {name} | {median(rates):.0f} | {ratio(rounds, name, BARE):.2f} | {min(rates):.0f} - {max(rates):.0f} "
            f"| {median(each.postfix_ms for each in found):.2f} | {milter} | {median(each.client_ms for each in found):.2f} |"
        )
    yield ""


def goals(all_rounds: Mapping[int, Rounds], footprint: Footprint) -> Iterator[str]:
    """What must be reached, and whether it was."""
    yield "### Goals\n"
    yield "| goal | at least | found | |"
    yield "|---|---|---|---|"
    for peer in (OPENDKIM, RSPAMD):
        for octets, rounds in all_rounds.items():
            yield _goal(f"DKIM, {octets / 1000:g} kB, msg/s of {peer}", 1.0, ratio(rounds, DKIM, peer))
    for name, wanted in RATE_GOALS.items():
        for octets in sorted(wanted.keys() & all_rounds.keys()):
            yield _goal(
                f"{name}, {octets / 1000:g} kB, msg/s of bare Postfix", wanted[octets], ratio(all_rounds[octets], name, BARE)
            )
    yield ""
    yield "| goal | at most | found | |"
    yield "|---|---|---|---|"
    worker = footprint.worker
    yield _row("memory of a worker beyond the parent, MB", WORKER_GOAL / 1e6, worker / 1e6, worker <= WORKER_GOAL)
    for name, growth in footprint.growth.items():
        times = growth / footprint.message
        size = f"{footprint.message / 1e6:.1f} MB"
        yield _row(f"{name}: extra RSS for a message of {size}, times its size", GROWTH_GOAL, times, times <= GROWTH_GOAL)
    yield f"\nThe parent of the workers: {footprint.parent / 1e6:.1f} MB resident."


def lines(all_rounds: Mapping[int, Rounds], footprint: Footprint) -> Iterable[str]:
    """All tables."""
    for octets, rounds in all_rounds.items():
        yield from speed(octets, rounds)
    yield from goals(all_rounds, footprint)


def _goal(name: str, wanted: float, found: float) -> str:
    return _row(name, wanted, found, found >= wanted)


def _row(name: str, wanted: float, found: float, met: bool) -> str:
    return f"| {name} | {wanted:g} | {found:.2f} | {'met' if met else '**missed**'} |"
