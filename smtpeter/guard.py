"""Ends the children of a supervisor that was killed.

The kernel's signal at the death of a parent (leash.py) is not enough: it is lost when a program changes its user, as
Postfix's master(8) does for a moment while it opens a lock file, and what a child has started gets none. So a small
process of its own holds the other end of a pipe and knows the process groups that are alive. When the pipe ends and there
are any left, it does what the supervisor would have done: SIGTERM, and SIGKILL for what is still there after a while.

It is run by path in an interpreter without site-packages:

    python -I -S guard.py SECONDS
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Guard:
    """The supervisor's end: tells the guard which process groups live. `seconds` pass between SIGTERM and SIGKILL."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._groups: list[int] = []
        self._launch()

    def watch(self, group: int) -> None:
        """A process group that must not outlive the supervisor; its id is that of the process leading it."""
        self._groups.append(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """A process group that has ended; to be called before its leader is buried and the id may be given away."""
        self._groups.remove(group)
        self._tell(f"-{group}\n")

    def died(self, pid: int) -> bool:
        """Whether the dead process of that id was the guard; there is a new one then."""
        if pid != self._process.pid:
            return False
        self._replace()
        return True

    def close(self) -> None:
        """Ends the guard, and with it everything that it still watches."""
        os.close(self._pipe)
        self._process.wait()

    def _tell(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:
            self._replace()

    def _replace(self) -> None:
        self.close()
        self._launch()
        os.write(self._pipe, "".join(f"+{group}\n" for group in self._groups).encode())

    def _launch(self) -> None:
        reading, self._pipe = os.pipe()
        try:
            # A session of its own: Ctrl-C in the terminal is not for it.
            command = (sys.executable, "-I", "-S", __file__, str(self._seconds))
            self._process = subprocess.Popen(command, stdin=reading, start_new_session=True)
        finally:
            os.close(reading)


def main(seconds: float, lines: Iterable[str]) -> None:
    """The guard's end: reads until the pipe ends, then ends what is left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in lines:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    end(groups, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (groups := groups & living()) and time.monotonic() < deadline:
        time.sleep(0.05)
    end(groups, signal.SIGKILL)


def end(groups: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to process groups, some of which may have ended."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def living() -> set[int]:
    """The process groups with a process that is more than unburied (proc(5): state, parent and group follow the name)."""
    groups = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group, *_ = status.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                groups.add(int(group))
    return groups


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.stdin)
