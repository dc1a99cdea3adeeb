"""The key ring's file, read again whenever it was changed, so that a new key needs no restart.

A file that went away or is damaged leaves the last good ring in use and says so in the log: links go on working, and mail is
sealed as before.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from journal.seal import InvalidRing, Ring

RECENT = 100_000_000  # nanoseconds; many ticks of any kernel's clock

_log = logging.getLogger("smtpeter.ring")


class RingFile:
    """The ring in a file. `interval` is the shortest time between two looks at the file, in seconds.

    May be asked from several threads: at worst two of them read the same file.
    """

    def __init__(self, path: Path, *, interval: float = 0.0, now: Callable[[], float] = time.time) -> None:
        self._path = os.fspath(path)
        self._interval = interval
        self._now = now
        self._ring: Ring | None = None
        self._looked = 0.0
        self._stamp: tuple[int, int, int] | None = None
        self._complaint = ""

    def current(self) -> Ring:
        """The ring as it is now. Raises OSError or InvalidRing while there has not been a good one."""
        now, ring = self._now(), self._ring
        if ring is None:
            return self._read(now)
        # A clock that was set back must not put off the next look for as long.
        if not 0 <= now - self._looked < self._interval:
            self._looked = now
            try:
                if self._stamp is None or _stamp(os.stat(self._path)) != self._stamp:  # noqa: PTH116  # a Path costs more
                    ring = self._read(now)
            except (OSError, InvalidRing) as error:
                self._complain(error)
        if ring.next_change is not None and now >= ring.next_change:
            ring = self._ring = Ring(ring.keys, int(now))
        return ring

    def _read(self, now: float) -> Ring:
        with open(self._path, encoding="ascii") as file:  # noqa: PTH123  # the descriptor is asked, not the path
            found = os.fstat(file.fileno())
            # Time stamps are as coarse as the kernel's tick: a file this young may yet change and keep its stamp.
            self._stamp = None if abs(now * 1e9 - found.st_ctime_ns) < RECENT else _stamp(found)
            try:
                ring = Ring.parse(file.read(), int(now))
            except UnicodeDecodeError as error:
                raise InvalidRing("the key ring is no text") from error
        self._ring, self._looked, self._complaint = ring, now, ""
        return ring

    def _complain(self, error: OSError | InvalidRing) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if reason != self._complaint:
            self._complaint = str(reason)
            _log.error("key ring %s: %s; the one read before stays in use", self._path, reason)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    # Not the time of its content, which a backup or a copy sets back: any change moves this one.
    return found.st_ctime_ns, found.st_size, found.st_ino
