"""Whether the time grows no faster than the input: every repeatable shape of a message at n, 2n and 4n pieces.

    python -m bench.linear [--only WORD] [--rounds N]

Prints a Markdown table: the shortest processor time of each size, and what each doubling multiplies it by. Linear is 2. A
shape that grows more than 1.2 times that (2.4) and takes more than 5 ms is marked, and the exit status is 1. Both doublings
must show it: a step, where memory stops to fit into a cache, is in one only. Sizes go up to about 1 MB or to the filter's own
limits; "refused" says that the filter answers 550 there.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from itertools import chain
from math import prod

from bench import linear_links, linear_shapes
from bench.linear_shapes import Shape
from policy.reply import Refused
from policy.wire import delegation, dovecot

LIMIT = 2.4
NOTEWORTHY = 0.005  # seconds; below that the growth of a fixed cost is all there is to see
ENOUGH = 2.0  # seconds for one shape; slow ones get fewer rounds
AGAIN = 4
REFUSED = float("inf")


def duration(run: Callable[[], object]) -> float:
    """The processor time of one run in seconds; infinite where the input is refused."""
    start = time.process_time()
    try:
        run()
    except (Refused, dovecot.ProtocolError, delegation.ProtocolError):
        return REFUSED
    except ValueError:
        pass  # no single meaning: that took its time too
    return time.process_time() - start


def measure(shape: Shape, rounds: int) -> list[float]:
    """The shortest times at a quarter, half and all of the largest count; each round tries all three."""
    runs = [shape.run(count) for count in (shape.largest // 4, shape.largest // 2, shape.largest)]
    times = [REFUSED] * len(runs)
    begun = time.monotonic()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            times = [min(best, duration(run)) for best, run in zip(times, runs, strict=True)]
            if time.monotonic() - begun > ENOUGH:
                break
    finally:
        gc.enable()
    return times


def ratios(times: list[float]) -> list[float]:
    """What each doubling multiplies the time by; 0 where a size is refused."""
    return [
        0.0 if REFUSED in (before, after) else after / max(before, 1e-9) for before, after in zip(times, times[1:], strict=False)
    ]


def steep(times: list[float]) -> bool:
    """Whether doubling costs too much where it matters."""
    found = ratios(times)
    return times[-1] > NOTEWORTHY and min(found) > 2.1 and prod(found) > LIMIT ** len(found)


def settled(shape: Shape, rounds: int) -> list[float]:
    """The times, measured again while they look bad: noise goes away, growth stays."""
    times = measure(shape, rounds)
    for _ in range(AGAIN):
        if not steep(times):
            break
        times = list(map(min, times, measure(shape, rounds)))
    return times


def main() -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD", help="shapes with this in their name")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print("| shape | 4n | n ms | 2n ms | 4n ms | 2n / n | 4n / 2n | |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for shape in chain(linear_shapes.shapes(), linear_links.shapes()):
        if given.only not in shape.name:
            continue
        times = settled(shape, given.rounds)
        mark = "**more than linear**" if steep(times) else ""
        found += [shape.name] * bool(mark)
        shown = ["refused" if seconds == REFUSED else f"{seconds * 1000:.2f}" for seconds in times]
        shown += [f"{ratio:.2f}" if ratio else "" for ratio in ratios(times)]
        name = shape.name.replace("|", "\\|")
        print(f"| {name} | {shape.largest} | {' | '.join(shown)} | {mark} |", flush=True)
    print(f"\n{len(found)} more than linear{': ' if found else ''}{'; '.join(found)}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
