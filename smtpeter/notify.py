"""Tells a service manager how this process is, by the protocol of sd_notify(3); nothing happens where nobody has asked.

$NOTIFY_SOCKET is where to; $WATCHDOG_USEC how long, in microseconds, the process may say nothing before it is taken for dead.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Self

from policy.overseer import Overseer

PATIENCE = 1.0  # seconds that one message may wait for a manager that is busy


class Notifier(Overseer):
    """Sends to the socket at `address`, "" for nobody; a name in the abstract space begins with "@".

    The manager hears within `period` seconds that the process is alive, None where it does not want to. `clock` is in seconds
    and never goes back.
    """

    def __init__(self, address: str, period: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._period = period
        self._clock = clock
        self._said = float("-inf")

    @classmethod
    def inherited(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """What the manager asks of this process. The variables are removed: a process started from here is not meant."""
        address, period, pid = (environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        known = address.startswith(("/", "@"))  # others are of no kind that Python knows (AF_VSOCK with a name)
        watched = period.isdecimal() and int(period) > 0 and pid in ("", str(os.getpid()))
        return cls(address if known else "", int(period) / 1e6 if watched else None)

    def ready(self) -> None:
        """See Overseer."""
        self._send("READY=1")

    def stopping(self) -> None:
        """See Overseer."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """What the process is at, in a line for people."""
        self._send(f"STATUS={' '.join(line.split())}")

    def alive(self) -> None:
        """See Overseer. Sent when half of the period is over."""
        now = self._clock()
        if self._period is not None and now - self._said >= self._period / 2:
            self._said = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        """A manager that is not there any more is no trouble of ours."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto(message.encode(), self._address)
