"""Does a process of the service work on a data folder, or could one begin to?"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from journal.segment import segment_paths
from policy.stores.engine import database_file
from smtpeter import snapshot
from smtpeter.errors import UserError
from smtpeter.settings import Settings

_FLOCK = "hhqqi4x"  # struct flock of fcntl(2): type, whence, start, length, process


@contextmanager
def nobody_else(settings: Settings) -> Iterator[None]:
    """Keeps `smtpeter up` and the drain from starting meanwhile. Raises UserError where a process of the service runs."""
    with ExitStack() as stack:
        for path in (settings.data / "up.lock", settings.spool):
            if path == settings.spool and not path.is_dir():
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY if path == settings.spool else os.O_RDWR | os.O_CREAT
            descriptor = os.open(path, flags, 0o600)
            stack.callback(os.close, descriptor)
            _lock(descriptor, settings)
        for path in segment_paths(settings.spool) if settings.spool.is_dir() else ():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                _lock(descriptor, settings)  # one who may yet write to it has it locked
            finally:
                os.close(descriptor)
        for url in snapshot.urls(settings).values():
            file = database_file(url)
            # A connection to a database with a log holds a lock there for as long as it is open (sqlite.org/wal.html).
            holder = None if file is None else _holder(Path(f"{file}-shm"))
            if holder is not None:
                raise _refusal(settings, f" (process {holder} has {file} open)")
        yield


def _lock(descriptor: int, settings: Settings) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _refusal(settings) from error


def _holder(path: Path) -> int | None:
    """A process that has a part of a file locked, None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(process)


def _refusal(settings: Settings, who: str = "") -> UserError:
    return UserError(f"a service is running on {settings.data}{who}; stop it first")
