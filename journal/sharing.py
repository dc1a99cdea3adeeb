"""Brings the hosted images of this host to the others: each new file to the database that they share.

The files alone tell what is new. A sub-folder is read again when a name in it has changed, and then only for what has come
since; all of it is compared with the database at the start and once a day, so that nothing is left out for good.
"""

import logging
import threading
import time
from collections.abc import Callable

from journal.images import ImageStore
from journal.shared_images import SharedImages
from policy.stores import StoreUnavailable

LOOK = 0.5  # seconds between two looks
LONGEST_PAUSE = 5.0  # seconds
YIELD = 1.0  # seconds before each image while records wait for the database: they come first
DAY = 86_400.0  # seconds
FEW = 500  # names in one statement
RECENT = 2_000_000_000  # nanoseconds; many ticks of any kernel's clock, whose stamps may be alike for two changes

_log = logging.getLogger("smtpeter.images")


class Sharing:
    """Brings the images of `store` to `shared`. `turn` is called again and again, in one thread."""

    def __init__(
        self,
        store: ImageStore,
        shared: SharedImages,
        *,
        pause: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._shared = shared
        self._pause = pause
        self._now = now
        self._seen: dict[str, int] = {}  # when each sub-folder had last changed when all in it was there, nanoseconds
        self._all_due = 0.0

    def turn(self) -> int:
        """Brings what is new and returns how many images that was. `pause` is called before each of them.

        Raises StoreUnavailable and OSError; what is not there then is found at the next turn.
        """
        now = self._now()
        if not self._all_due - DAY <= now < self._all_due:
            self._seen.clear()
            self._all_due = now + DAY
        count = 0
        for folder, changed in self._store.folders().items():
            before = self._seen.get(folder)
            if changed == before:
                continue
            begun = int(self._now() * 1e9)
            names = self._store.names(folder, max(0, before - RECENT) if before else 0)
            for at in range(0, len(names), FEW):
                count += sum(map(self._bring, self._shared.missing(names[at : at + FEW])))
            # A stamp this young may stay the same when another name comes.
            self._seen[folder] = changed if begun - changed > RECENT else changed - 1
        return count

    def _bring(self, name: str) -> bool:
        self._pause()
        try:
            self._shared.keep(name, self._store.pieces(name), int(self._now()))
        except FileNotFoundError:
            return False  # an operator has removed it
        return True


class SharingThread:
    """Does that in a thread of its own, beside the one that brings records. `behind` is set while many of those wait."""

    def __init__(self, store: ImageStore, url: str) -> None:
        self.behind = False
        self._shared = SharedImages(url)
        self._sharing = Sharing(store, self._shared, pause=self._give_way)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)
        self._away = False

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Ends after the image in hand, or without it where it takes longer; the rest is found at the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        self._shared.close()

    def _give_way(self) -> None:
        if self._stop.is_set():
            raise _Stopped
        if self.behind:
            self._stop.wait(YIELD)

    def _run(self) -> None:
        pause = LOOK
        while not self._stop.wait(pause):
            try:
                self._sharing.turn()
            except _Stopped:
                return
            except (StoreUnavailable, OSError) as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                if not self._away:
                    _log.error("other hosts do not get hosted images: %s", error)  # noqa: TRY400  # the reason is a sentence
                self._away = True
            else:
                if self._away:
                    _log.info("other hosts get hosted images again")
                pause, self._away = LOOK, False


class _Stopped(Exception):
    """The thread is to end."""
