"""One listening socket, several worker processes, and a parent that replaces those that die.

The parent has no threads and runs no message: it opens the socket, forks, and waits for signals.
"""

import ctypes
import gc
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from filters import metrics
from filters.pulses import Pulses
from filters.runner import Ledger
from policy.overseer import Overseer

log = logging.getLogger("smtpeter.milter")

# mallopt(3). Each thread of libmilter's pool would otherwise keep a heap of its own, and no heap would shrink.
_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8
_TRIM_OCTETS = 2 * 1024 * 1024  # less than what one newsletter takes, and every message grows the heap anew
_OBJECTS_PER_COLLECTION = 50_000
GRACE = 25.0  # seconds a worker has to finish what it is at when it is told to stop
_PR_SET_PDEATHSIG = 1
BEAT = 5.0  # seconds between two looks at the workers' pulses; shorter until all of them have begun
BEGINNING = 0.1
STUCK = 60.0  # seconds after which none of them gets anything done; a job has 20, and what it waits for ends sooner


def listening_descriptor() -> int:
    """The descriptor of this process's listening socket, which libmilter opened and does not tell.

    Raises LookupError where there is none.
    """
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as duplicate:
                if duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return descriptor
        except OSError:  # the descriptor of the listing itself, gone by now
            continue
    raise LookupError("the milter socket is not open")


class Prefork:
    """Keeps `count` workers alive until SIGTERM or SIGINT. `work(index)` runs in each of them and does not return early.

    `pulses` is where they tell that they get something done; `overseer` is told when all of them have begun, and for how long any
    of them does.
    """

    def __init__(self, count: int, ledger: Ledger, work: Callable[[int], None], overseer: Overseer | None = None) -> None:
        self.pulses = Pulses(count)
        self._overseer = overseer or Overseer()
        self._begun = False
        self._count = count
        self._ledger = ledger
        self._work = work
        self._workers: dict[int, int] = {}
        self._born: dict[int, float] = {}
        self._stopping = False

    def run(self) -> None:
        """Forks the workers and returns when all have ended after a stop signal."""
        # A worker that lost the race for a connection would otherwise sit in accept() and not see SIGTERM.
        os.set_blocking(listening_descriptor(), False)
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_OCTETS)
        gc.collect()
        gc.freeze()  # the collector does not touch, and so does not copy, the pages shared with the parent
        for index in range(self._count):
            self._spawn(index)
        while self._workers:
            received = signal.sigtimedwait(signals, self._pause())
            if received is None:
                if self._stopping:
                    self._signal_all(signal.SIGKILL)
            elif received.si_signo == signal.SIGCHLD:
                self._reap()
            elif not self._stopping:
                self._stopping = True
                self._overseer.stopping()
                self._signal_all(signal.SIGTERM)
            if not self._stopping:
                self._tell()

    def _pause(self) -> float:
        return GRACE if self._stopping else BEAT if self._begun else BEGINNING

    def _tell(self) -> None:
        if not self._begun and self.pulses.complete():
            self._begun = True
            self._overseer.ready()
        if self.pulses.quiet() < STUCK:
            self._overseer.alive()

    def _spawn(self, index: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(index, parent)
        self._workers[pid] = index
        self._born[pid] = time.monotonic()
        metrics.worker_starts.inc()

    def _child(self, index: int, parent: int) -> None:
        status = 1
        try:
            # A worker never outlives its parent, however that one ended.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                return
            # A message makes thousands of objects and hardly a cycle: looking for cycles all the time finds nothing.
            gc.set_threshold(_OBJECTS_PER_COLLECTION)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            self._work(index)
            status = 0
        except BaseException:
            log.exception("worker=%d could not run", index)
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            index = self._workers.pop(pid, None)
            age = time.monotonic() - self._born.pop(pid, 0)
            if index is None or self._stopping:
                continue
            metrics.died(pid, _kind(status))
            digest = self._ledger.bury(index)
            log.error("worker=%d pid=%d ended: %s%s", index, pid, _cause(status), f" content={digest.hex()}" if digest else "")
            if age < 1:
                time.sleep(1)  # one that cannot even start must not turn the machine into a fork mill
            self._spawn(index)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)


def _kind(status: int) -> str:
    """The cause in one word, of which there are few."""
    if not os.WIFSIGNALED(status):
        return "exit"
    number = os.WTERMSIG(status)
    return "deadline" if number == signal.SIGALRM else signal.Signals(number).name


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "job passed its deadline" if number == signal.SIGALRM else signal.Signals(number).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"
