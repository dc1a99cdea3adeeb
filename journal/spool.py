"""The spool: where every process of the service writes its records, on the local disk, before the database gets them.

A writer appends to a segment file of its own and holds a lock (flock(2)) on it for as long as it may write to it. `Drain`
brings what is there into the database and removes a segment whose lock is free and which has been read to its end.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from journal.records import Record
from journal.segment import SUFFIX, frame

SEGMENT_SIZE = 1 << 20  # octets after which a new segment is begun
SEGMENT_SECONDS = 600.0  # the same by age: what was drained and is to be forgotten must not stay in a file for long
MOST_UNSETTLED = 64  # full segments that may wait for `sync`; each is an open file
MODE = 0o640  # addresses of people are in it


class Writer:
    """Appends records to the spool in `folder`; `name` is part of the file names and tells who writes.

    Nothing is opened before the first record. After a fork parent and child each have a segment of their own. `append` and
    `sync` may be called from different threads.
    """

    def __init__(
        self, folder: Path, name: str, *, segment_size: int = SEGMENT_SIZE, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._name = name
        self._segment_size = segment_size
        self._now = now
        self._unsettled: list[int] = []
        self._forget()
        _writers.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork
        self._descriptor = -1
        self._size = 0
        self._started = 0.0
        self._dirty = False  # the segment has content that may not be on disk
        self._nameless = False  # the folder with the segment's name may not be on disk

    def append(self, records: Iterable[Record], *, durable: bool) -> None:
        """Writes the records, all of them or none; `durable`: they are on disk when this returns.

        Raises OSError where that cannot be done; then nothing of them stays in the spool, and what was written before and
        is written later is not touched by it.
        """
        octets = frame(records)
        if not octets:
            return
        with self._lock:
            if self._descriptor < 0 or self._size >= self._segment_size or (durable and self._outworn()):
                self._begin()
            self._write(octets)
            if durable:
                self._settle(len(octets))
            else:
                self._dirty = True

    def sync(self) -> None:
        """Waits until everything that was appended is on disk. Raises OSError; then it may not be, and never becomes so."""
        with self._lock:
            if self._descriptor >= 0 and self._outworn():
                self._leave()
            waiting, self._unsettled = self._unsettled, []
            if self._descriptor >= 0 and self._dirty:
                waiting.append(os.dup(self._descriptor))
            self._dirty = False
            nameless = self._nameless
            self._nameless = False
        failure: OSError | None = None
        for descriptor in waiting:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                failure = error
            finally:
                os.close(descriptor)
        if nameless:
            _sync_folder(self._folder)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Waits like `sync` and leaves the segment to the drain. A later append begins another one."""
        try:
            self.sync()
        finally:
            with self._lock:
                self._leave()
                self._close_unsettled()

    # -- with the lock held --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._leave()
        if len(self._unsettled) > MOST_UNSETTLED:
            for descriptor in self._unsettled:
                os.fdatasync(descriptor)
            self._close_unsettled()
        while True:
            # Milliseconds come first, so that names sort by age.
            started = self._now()
            path = self._folder / f"{int(started * 1000):011x}{secrets.token_hex(4)}.{self._name}{SUFFIX}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                mine = os.fstat(descriptor).st_nlink > 0
            except OSError:
                os.close(descriptor)
                raise
            if mine:
                break
            os.close(descriptor)  # the drain took it for abandoned in the moment before the lock
        self._descriptor, self._size, self._started, self._nameless = descriptor, 0, started, True

    def _write(self, octets: bytes) -> None:
        try:
            written = os.write(self._descriptor, octets)
            while written < len(octets):
                written += os.write(self._descriptor, octets[written:])
        except BaseException:
            # Half a frame would hide every later one.
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self._leave()
            raise
        self._size += len(octets)

    def _settle(self, length: int) -> None:
        try:
            os.fdatasync(self._descriptor)
            if self._nameless:
                _sync_folder(self._folder)
        except OSError:
            # What the kernel keeps of a file after this is unknown (fsync(2)), so nothing more is written to it.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size - length)
            self._leave()
            raise
        self._dirty = self._nameless = False

    def _outworn(self) -> bool:
        """Whether the segment is old, or somebody removed it."""
        return abs(self._now() - self._started) > SEGMENT_SECONDS or not os.fstat(self._descriptor).st_nlink

    def _leave(self) -> None:
        """Writes no more to the segment; it stays open only where `sync` has still to bring it to disk."""
        if self._descriptor >= 0:
            if self._dirty:
                self._unsettled.append(self._descriptor)
            else:
                os.close(self._descriptor)
        self._descriptor, self._dirty = -1, False

    def _close_unsettled(self) -> None:
        while self._unsettled:
            os.close(self._unsettled.pop())

    # -- after a fork --------------------------------------------------------------------------------------------------

    def _leave_to_parent(self) -> None:
        descriptor = self._descriptor
        self._forget()
        self._close_unsettled()
        if descriptor >= 0:
            os.close(descriptor)


_writers: WeakSet[Writer] = WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
