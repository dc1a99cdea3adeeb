"""Visits on their way into the journal: kept for the blink of an eye, written together, brought to disk a little later.

Nobody waits for any of it. Every 5 ms what has come in is written, in one piece; every 50 ms what was written is brought to
disk, in a thread. When it cannot be written, it waits here; when there is no more room, the oldest are given up, counted,
and the number is in the log.

The answer goes out before the visit is written: a process that is killed may lose the visits of its last 5 ms, a machine
without power those of its last 50 ms and of what the disk was busy with.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol

from journal.records import Record, VisitRecord
from web import metrics

ROOM = 100_000  # visits that wait for a disk with space: about 100 MB of memory, many times that if all have long URLs
AT_ONCE = 500  # visits in one write, so that a backlog does not stop the answers: about 3 ms
WRITE_SECONDS = 0.005
SYNC_SECONDS = 0.05
RETRY_SECONDS = 1.0
REST_SECONDS = 60.0  # between two looks at what was written long ago
QUIET_SECONDS = 10.0  # between two lines in the log about the same trouble

_log = logging.getLogger("smtpeter.web")


class Spool(Protocol):
    """What is asked of journal.spool.Writer."""

    def append(self, records: Iterable[Record], *, durable: bool) -> None:
        """Writes all of the records or none. Raises OSError."""

    def sync(self) -> None:
        """Waits until what was written is on disk. Raises OSError."""

    def close(self) -> None:
        """The same, for the last time."""


class Visits:
    """Takes visits and writes them to `spool`. Belongs to one running event loop; `close` before that one ends."""

    def __init__(self, spool: Spool, *, room: int = ROOM, now: Callable[[], float] = time.monotonic) -> None:
        self.lost = 0  # visits given up
        self._spool = spool
        self._room = room
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self._waiting: deque[VisitRecord] = deque()
        self._due: asyncio.Handle | None = None  # the next write
        self._sync_due: asyncio.Handle | None = None  # the next sync; None while one is under way, or none is needed
        self._syncing = False
        self._written = False  # since the last sync began
        self._complained: float | None = None  # when the log was last told of trouble; None while there is none
        self._told = 0  # how many of the lost ones the log knows of
        self._rest_due = self._loop.call_later(REST_SECONDS, self._rest)

    def __len__(self) -> int:
        """How many wait to be written."""
        return len(self._waiting)

    def add(self, visit: VisitRecord) -> None:
        """Takes a visit. Returns at once and never fails."""
        if len(self._waiting) >= self._room:
            self._waiting.popleft()
            self.lost += 1
            metrics.lost.inc()
        self._waiting.append(visit)
        metrics.visited(visit)
        if self._due is None:
            self._due = self._loop.call_later(WRITE_SECONDS, self._write)

    async def close(self) -> None:
        """Writes what waits and brings it to disk."""
        self._rest_due.cancel()
        if self._due is not None:
            self._due.cancel()
        while self._waiting and self._append():
            pass
        self._written = False
        if self._sync_due is not None:
            self._sync_due.cancel()
        try:
            await self._loop.run_in_executor(self._thread, self._spool.close)
        except OSError as error:
            self._complain(error)
        self._thread.shutdown()
        self.lost += len(self._waiting)
        metrics.lost.inc(len(self._waiting))
        if self.lost > self._told:
            _log.error("%d visits could not be written and are lost", self._untold())

    def _write(self) -> None:
        self._due = None
        if not self._append():
            self._due = self._loop.call_later(RETRY_SECONDS, self._write)
        elif self._waiting:
            self._due = self._loop.call_soon(self._write)

    def _append(self) -> bool:
        """Writes some of what waits; False where that fails."""
        some = list(islice(self._waiting, AT_ONCE))
        try:
            self._spool.append(some, durable=False)
        except OSError as error:
            self._complain(error)
            return False
        if len(some) == len(self._waiting):
            self._waiting.clear()
        else:
            for _ in some:
                self._waiting.popleft()
        if self._complained is not None:
            self._complained = None
            _log.warning("visits are written again; %d wait, %d were given up", len(self._waiting), self._untold())
        self._written = True
        if self._sync_due is None and not self._syncing:
            self._sync_due = self._loop.call_later(SYNC_SECONDS, self._sync)
        return True

    def _rest(self) -> None:
        """Lets the spool leave an old segment to the drain, where nobody comes any more: what is in it may be to be forgotten."""
        self._rest_due = self._loop.call_later(REST_SECONDS, self._rest)
        if self._sync_due is None and not self._syncing:
            self._sync()

    def _sync(self) -> None:
        self._sync_due, self._syncing, self._written = None, True, False
        self._loop.run_in_executor(self._thread, self._spool.sync).add_done_callback(self._synced)

    def _synced(self, result: asyncio.Future[None]) -> None:
        self._syncing = False
        if not result.cancelled() and (error := result.exception()) is not None:
            self._complain(error)
        # A sync that takes long is not overtaken by the next.
        if self._written:
            self._sync_due = self._loop.call_later(SYNC_SECONDS, self._sync)

    def _complain(self, error: BaseException) -> None:
        now = self._now()
        if self._complained is not None and now - self._complained < QUIET_SECONDS:
            return
        self._complained = now
        _log.error("visits cannot be written: %s; %d wait, %d were given up", error, len(self._waiting), self._untold())

    def _untold(self) -> int:
        lost, self._told = self.lost - self._told, self.lost
        return lost
