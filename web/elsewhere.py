"""Hosted images that mail of another host shows: fetched from the database the hosts share, and kept here from then on.

They have a folder of their own, which may be emptied at any time: this process, which strangers talk to, need not be able to
write where the images of this host are.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import Protocol

from journal.images import ImageStore
from policy.stores import StoreUnavailable

THREADS = 2  # questions at once, each with a connection to the database
MOST = 64  # images that are asked for at once; whoever wants another one comes again
WAIT = 5.0  # seconds that a visitor waits; the question goes on for the next one
MISSING_SECONDS = 1.0  # that an image is taken not to be there; it may be on its way
AWAY_SECONDS = 1.0  # between two questions to a database that did not answer
MISSING = 10_000  # names remembered

_log = logging.getLogger("smtpeter.web")


class Unreachable(Exception):
    """Nobody knows at the moment whether an image is there."""


class Shared(Protocol):
    """What is asked of journal.shared_images.SharedImages."""

    def pieces(self, name: str) -> Generator[bytes, None, None]:
        """The octets of an image, none where it is not there. Raises StoreUnavailable."""


class Elsewhere:
    """Asks `shared` for images and keeps them in `store`. Belongs to one event loop."""

    def __init__(
        self, shared: Shared, store: ImageStore, *, wait: float = WAIT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._wait = wait
        self._shared = shared
        self._store = store
        self._now = now
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="images")
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._missing: dict[str, float] = {}  # until when
        self._away: float | None = None  # until when the database is not asked; None while it answers

    async def read(self, name: str) -> bytes | None:
        """The octets of an image, or None where no host has brought it. Raises Unreachable, and what ImageStore raises."""
        octets = await asyncio.to_thread(self._store.read, name)
        if octets is not None or self._now() < self._missing.get(name, 0.0):
            return octets
        question = self._asked.get(name) or self._ask(name)
        try:
            found = await asyncio.wait_for(asyncio.shield(question), self._wait)
        except (TimeoutError, StoreUnavailable) as error:
            raise Unreachable from error
        return await asyncio.to_thread(self._store.read, name) if found else None

    def close(self) -> None:
        """Waits for the questions that are on their way, and asks no more."""
        self._threads.shutdown(cancel_futures=True)

    def _ask(self, name: str) -> asyncio.Future[bool]:
        if len(self._asked) >= MOST or (self._away is not None and self._now() < self._away):
            raise Unreachable
        question = asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, name)
        self._asked[name] = question
        question.add_done_callback(lambda answered: self._answered(name, answered))
        return question

    def _fetch(self, name: str) -> bool:
        """Whether the image was there; it is here then."""
        with closing(self._shared.pieces(name)) as pieces:
            first = next(pieces, None)
            if first is None:
                return False
            self._store.keep_pieces(name, chain((first,), pieces))
        return True

    def _answered(self, name: str, question: asyncio.Future[bool]) -> None:
        del self._asked[name]
        if question.cancelled():
            return
        error = question.exception()
        if isinstance(error, StoreUnavailable):
            if self._away is None:
                _log.warning("hosted images of other hosts cannot be looked up: %s", error)
            self._away = self._now() + AWAY_SECONDS
            return
        if self._away is not None:
            _log.warning("hosted images of other hosts are looked up again")
        self._away = None
        if error is None and not question.result():
            if len(self._missing) >= MISSING:
                self._missing.clear()
            self._missing[name] = self._now() + MISSING_SECONDS
