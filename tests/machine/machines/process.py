"""Programs of the host that the machines are made with: each bounded, and each ending when the tests end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from smtpeter import leash


class MachineError(Exception):
    """A machine could not be made, reached or brought to a state. The message is a sentence."""


def sh(*argv: str, check: bool = True, timeout: float = 60, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program; `check`: MachineError with its output where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout, input=stdin, errors="replace")
    if check and done.returncode != 0:
        raise MachineError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


def leashed(
    *argv: str, stdin: int | None = subprocess.DEVNULL, output: IO[bytes] | int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    """A program that is killed when this process ends, however that ends."""
    words = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(int(signal.SIGKILL)), "", "", *argv)
    return subprocess.Popen(words, stdin=stdin, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60, every: float = 0.05) -> None:
    """Returns when a condition holds; MachineError with `what` where it does not in time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise MachineError(f"not within {seconds:.0f} seconds: {what}")
        time.sleep(every)


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that are still there."""
    try:
        return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    except OSError:
        return []
