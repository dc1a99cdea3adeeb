"""Starts the processes of the service, restarts one that dies unasked, and leaves none behind.

There are no signal handlers and no threads: the signals of interest are blocked and fetched one by one with sigtimedwait,
so none is lost between two looks and nothing runs at an unexpected moment. Each child leads a session of its own: Ctrl-C
reaches only the supervisor, which stops the children in order, and what a dead child has started can be ended with it.
A supervisor that is killed cannot stop anybody; the kernel (leash.py) and a process for this purpose (guard.py) do it then.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from smtpeter.errors import UserError
from smtpeter.guard import Guard

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds before a restart: at once after the first death, then slower, so that a broken child does not eat the machine.
DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0)
# A child that has run for so many seconds was healthy; its next death counts as the first.
HEALTHY = 3.0
# Seconds that the children of a killed supervisor get to finish.
LAST_GRACE = 30.0
_LEASH = Path(__file__).with_name("leash.py")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One process to keep running.

    `argv[0]` is looked up in PATH. `sockets` are handed over by the protocol of sd_listen_fds(3), see activation.py.
    `user` is who the process runs as, None for the user of the supervisor. `grace` is the number of seconds between
    SIGTERM and SIGKILL; a child ends only after the processes it has started, since those are killed when it has ended.
    """

    name: str
    argv: tuple[str, ...]
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    user: str | None = None
    grace: float = 30.0


@dataclass(slots=True, kw_only=True)
class _Running:
    """A child and what is known of its process; `process` is None while it waits for its restart at `due`."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float = 0.0


class Supervisor:
    """Keeps children running while its context is open; leaving the context stops them, the last started first.

    To be entered in the main thread of a process without other threads: the kernel ends the children when the thread
    that started them ends. `log` gets one line for each start, death and stop.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._running: list[_Running] = []
        # What nohup or a shell ignores for us stays ignored; blocked signals would be delivered all the same.
        self._stops = {number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
        self._stopped: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stops, signal.SIGCHLD})
        # What a dead child leaves behind becomes ours to reap, also where process 1 reaps nothing (containers).
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._guard = Guard(LAST_GRACE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            for running in reversed(self._running):
                self._stop(running)
        finally:
            self._guard.close()
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            # A second Ctrl-C while stopping has been obeyed already.
            while signal.sigtimedwait({*self._stops, signal.SIGCHLD}, 0) is not None:
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def start(self, child: Child) -> None:
        """Starts a child. Raises UserError when its program or its user does not exist."""
        if shutil.which(child.argv[0]) is None:
            raise UserError(f"{child.name} cannot be started: there is no program {child.argv[0]}")
        if child.user is not None:
            try:
                pwd.getpwnam(child.user)
            except KeyError as error:
                raise UserError(f"there is no user {child.user} to run {child.name} as") from error
        running = _Running(child=child)
        self._running.append(running)
        self._launch(running)

    def pid(self, name: str) -> int | None:
        """The process id of a child; None while it waits for its restart."""
        processes = (running.process for running in self._running if running.child.name == name)
        return next((process.pid for process in processes if process), None)

    def wait_until(self, ready: Callable[[], bool], timeout: float, what: str) -> bool:
        """Keeps the children running until `ready` says yes, asked every 20 ms. False when a stop signal came first.

        Raises UserError when `what` is not ready after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not self._stopped:
            if ready():
                return True
            if time.monotonic() > end:
                raise UserError(f"{what} was not ready after {timeout:g} s; the log says why")
            self._turn(0.02)
        return False

    def run(self) -> signal.Signals:
        """Keeps the children running until SIGINT, SIGTERM or SIGHUP, and returns which."""
        while not self._stopped:
            self._turn(60.0)
        return self._stopped

    def _turn(self, longest: float) -> None:
        """Waits for a signal or the next restart, at most `longest` seconds, and does what there is to do."""
        waiting = [running.due for running in self._running if running.process is None]
        pause = max(0.0, min([longest, *(due - time.monotonic() for due in waiting)]))
        came = signal.sigtimedwait({*self._stops, signal.SIGCHLD}, pause)
        if came is not None and came.si_signo in self._stops:
            self._stopped = signal.Signals(came.si_signo)
            return
        self._reap()
        for running in self._running:
            if running.process is None and running.due <= time.monotonic():
                self._launch(running)

    def _launch(self, running: _Running) -> None:
        child = running.child
        program = shutil.which(child.argv[0]) or child.argv[0]
        sockets = ",".join(f"{name}={listener.fileno()}" for name, listener in child.sockets.items())
        # Not -c and no secret: the command line is public.
        leash = (sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(signal.SIGTERM.value))
        running.process = subprocess.Popen(
            (*leash, child.user or "", sockets, program, *child.argv[1:]),
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno() for listener in child.sockets.values()],
            start_new_session=True,
        )
        self._guard.watch(running.process.pid)
        running.started = time.monotonic()
        self._log(f"{child.name}: started, pid {running.process.pid}")

    def _reap(self) -> None:
        """Buries the dead: children of ours get their restart, orphans only their burial."""
        while True:
            try:
                # WNOWAIT: as long as a child is not buried, its process group is not given to a stranger.
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            running = next((one for one in self._running if one.process and one.process.pid == dead.si_pid), None)
            if running is not None:
                self._died(running)
            elif not self._guard.died(dead.si_pid):
                os.waitpid(dead.si_pid, 0)

    def _died(self, running: _Running) -> None:
        pid, status = self._bury(running)
        if time.monotonic() - running.started > HEALTHY:
            running.deaths = 0
        delay = DELAYS[min(running.deaths, len(DELAYS) - 1)]
        running.deaths += 1
        running.due = time.monotonic() + delay
        self._log(f"{running.child.name}: pid {pid} {_fate(status)}; restart {f'in {delay:g} s' if delay else 'now'}")

    def _stop(self, running: _Running) -> None:
        """Ends one child; the others have been stopped or are still running, and are not restarted any more."""
        process = running.process
        if process is None:
            return
        end = time.monotonic() + running.child.grace
        # Not process.terminate(), which buries a child that is dead already.
        os.kill(process.pid, signal.SIGTERM)
        while _alive(process.pid):
            left = end - time.monotonic()
            if left <= 0:
                self._log(f"{running.child.name}: pid {process.pid} did not stop in {running.child.grace:g} s, killed")
                os.kill(process.pid, signal.SIGKILL)
                left = 1.0
            signal.sigtimedwait({signal.SIGCHLD}, left)
        pid, status = self._bury(running)
        self._log(f"{running.child.name}: pid {pid} stopped ({_fate(status)})")
        self._reap()

    def _bury(self, running: _Running) -> tuple[int, int]:
        """Ends what a dead child has left running, and returns its process id and status (negative: the signal)."""
        process = running.process
        if process is None:
            raise ValueError(f"{running.child.name} is not running")
        # Processes of a dead leader hold its ports and sockets, and would fail the restart.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._guard.forget(process.pid)
        running.process = None
        return process.pid, process.wait()


def _alive(pid: int) -> bool:
    """Whether a child of ours has not ended yet; it is not buried by this."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _fate(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"ended by {signal.Signals(-status).name}"
