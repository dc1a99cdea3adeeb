"""The process that fills the journal's database: drains the spool, forgets what is too old, waits for a server that is away."""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from journal.drain import BATCH, DAMAGED, LONGEST_PAUSE, REFUSED, Drain
from journal.images import ImageStore
from journal.migrate import migrate
from journal.sharing import SharingThread
from journal.store import JournalStore
from policy.overseer import Overseer
from policy.stores import StoreUnavailable
from policy.stores.engine import database_file

DAY = 86_400.0  # seconds
LAST_TURNS = 5.0  # seconds; what is not drained by then is there at the next start
STOP = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("smtpeter.journal")


class Pruning:
    """Removes what is older than `retention` seconds (0: nothing), once a day, a piece at a time.

    That is records in the database, and files that the drain has set aside in the spool's `folder`.
    """

    def __init__(self, store: JournalStore, folder: Path, retention: int) -> None:
        self._store = store
        self._folder = folder
        self._retention = retention
        self._next = 0.0
        self._removed = 0

    def step(self, now: float, running: float) -> bool:
        """One piece, where it is time; whether there is more. `now` is UTC seconds since 1970, `running` never goes back."""
        if not self._retention or running < self._next:
            return False
        try:
            removed = self._store.prune(int(now) - self._retention)
        except StoreUnavailable:
            self._next = running + LONGEST_PAUSE
            return False
        self._removed += removed
        if removed:
            return True
        self._removed += _remove_aside(self._folder, now - self._retention)
        if self._removed:
            _log.info("%d records older than %d days removed", self._removed, self._retention // int(DAY))
        self._removed, self._next = 0, running + DAY
        return False


def _remove_aside(folder: Path, before: float) -> int:
    """How many files that the drain could not read, or the database not take, were last written before then, and are gone."""
    removed = 0
    for path in (*folder.glob(f"*{DAMAGED}"), *(folder / REFUSED).glob("*")):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                removed += 1
    return removed


def serve(
    folder: Path,
    url: str,
    retention: int,
    images: ImageStore,
    begun: Callable[[Drain], None] = lambda drain: None,
    overseer: Overseer | None = None,
) -> None:
    """Drains the spool in `folder` until SIGTERM or SIGINT; `retention` is in seconds, 0 keeps everything.

    `begun` is called once before the first turn, with the signals blocked, so that it may start threads. `overseer` is told
    how it goes: to wait for a database that is away is all right.

    Where the database is a server, other hosts may have it too: then they also get the hosted images of this one.
    """
    # They are waited for, not handled: nothing is interrupted between a commit and what follows from it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    store = JournalStore(url)
    drain, pruning = Drain(folder, store), Pruning(store, folder, retention)
    begun(drain)
    overseer = overseer or Overseer()
    overseer.ready()
    sharing = None if database_file(url) else SharingThread(images, url)
    ready, complained = False, False
    while True:
        overseer.alive()
        if not ready:
            ready = _make_schema(url, silent=complained)
            complained = True
            if ready and sharing is not None:
                sharing.start()
        pause = LONGEST_PAUSE
        if ready:
            count = drain.turn()
            if sharing is not None:
                sharing.behind = count >= BATCH
            pause = 0.0 if pruning.step(time.time(), time.monotonic()) else drain.pause
        if signal.sigtimedwait(STOP, pause) is not None:
            break
    overseer.stopping()
    limit = time.monotonic() + LAST_TURNS
    while ready and drain.turn() and time.monotonic() < limit:
        pass
    if sharing is not None:
        sharing.close(LAST_TURNS)
    store.close()


def _make_schema(url: str, *, silent: bool) -> bool:
    try:
        migrate(url)
    except StoreUnavailable as error:
        if not silent:
            _log.error("the journal waits for its database: %s", error)  # noqa: TRY400  # the reason is a sentence
        return False
    return True
