"""What the tables of several benches are made with."""

import statistics
import time
from collections.abc import Callable


def per_call(call: Callable[[], object], rounds: int, calls: int = 1) -> float:
    """The median time of a call in microseconds; each round makes `calls` of them."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times) * 1e6


def met(goal_is_met: bool) -> str:
    """The word for it, the worse one in bold."""
    return "met" if goal_is_met else "**missed**"
