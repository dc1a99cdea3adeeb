"""Starts the programs under test, ends them by their id, and reads from /proc what they use."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from smtpeter.errors import UserError

TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 40  # libmilter looks for a stop signal every 5 s; our workers get 25 s to finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of one process in octets: resident, its peak, and the part no other process shares."""

    resident: int
    peak: int
    private: int


def program(name: str) -> str:
    """The path of a program; the folders of sbin count, whoever runs this. Raises UserError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise UserError(f"the program {name} is not installed")
    return found


def require_free(first: int, count: int) -> None:
    """Raises UserError where one of `count` ports of loopback, from `first` on, is taken."""
    for port in range(first, first + count):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            cause = os.strerror(error.errno or 0)
            raise UserError(f"port {port} of 127.0.0.1 cannot be used ({cause}); choose others with --port") from error


@contextmanager
def running(argv: tuple[str, ...], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """A program in a session of its own, its output in `log`; yields its id when `ready` holds, and ends it on leaving.

    Raises UserError with its last words where it does not get ready.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    name = log.parent.name
    try:
        wait_until(lambda: process.poll() is not None or ready(), f"the start of {name}")
        if process.returncode is not None:
            raise UserError(f"{name} ended at its start: {(log.read_text().splitlines() or ['without a word'])[-1]}")
        yield process.pid
    finally:
        children = descendants(process.pid)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in (process.pid, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            process.wait()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0, *, pause: float = 0.02) -> None:
    """Returns when `condition` holds. Raises UserError when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(pause)


def descendants(root: int) -> tuple[int, ...]:
    """The ids of all processes below `root`, itself left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return tuple(found)


def cpu_seconds(root: int) -> float:
    """User and system time of a process and all below it; those that ended are counted in their parents (proc(5))."""
    used = 0
    for pid in (root, *descendants(root)):
        if fields := _stat(pid):
            used += sum(map(int, fields[11:15]))
    return used / TICKS


def memory(pid: int) -> Memory:
    """What one process holds now."""
    status = _sizes(Path(f"/proc/{pid}/status"))
    shares = _sizes(Path(f"/proc/{pid}/smaps_rollup"))
    return Memory(resident=status["VmRSS"], peak=status["VmHWM"], private=shares["Private_Clean"] + shares["Private_Dirty"])


def forget_peak(pid: int) -> None:
    """Lets the peak of `memory` start again from what is resident now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; none where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _sizes(path: Path) -> dict[str, int]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: int(text.split()[0]) * 1024 for name, _, text in lines if text.endswith(" kB")}
