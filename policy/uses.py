"""What is remembered of successful logins: which password was used last, when and how, and from which places.

It is kept in memory, and written to the usage database a moment later by a thread of its own: no login waits for it, and without
that database everything goes on from memory.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from policy.login import neighbourhood
from policy.stores import StoreUnavailable
from policy.stores.uses import CLIENT_LENGTH, SqlUses, Use

KNOWN = 30 * 86_400  # seconds that a place is known after a login succeeded there
TIDY = 86_400  # seconds between two looks for places that are not known any more
AGAIN = 3_600  # seconds after which it is written again that a place was used
WRITTEN = 1.0  # seconds between two writes
READ = 30  # seconds between two looks at what other nodes wrote
CAPACITY = 100_000  # logins and addresses, about 300 octets each

log = logging.getLogger("smtpeter.auth")

Key = TypeVar("Key")
Value = TypeVar("Value")


class Uses:
    """Remembers uses, from any thread; `store` keeps them, None keeps them nowhere. `clock` is UTC, seconds since 1970."""

    def __init__(self, store: SqlUses | None = None, *, clock: Callable[[], float] = time.time, capacity: int = CAPACITY) -> None:
        self._store, self._clock, self._capacity = store, clock, capacity
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._uses: OrderedDict[tuple[str, int], Use] = OrderedDict()
        self._numbers: OrderedDict[tuple[str, str], int] = OrderedDict()  # the password last used at an address
        # What is to be written; it waits here while the database cannot take it.
        self._unwritten_uses: OrderedDict[tuple[str, int], Use] = OrderedDict()
        self._unwritten_places: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._read = 0  # when the database was last looked at
        self._tidied = 0  # when places were last removed from it
        self._down = False

    def knows(self, login: str, place: str) -> bool:
        """Whether a login has succeeded at a place (see `policy.login.neighbourhood`) not long ago."""
        with self._lock:
            return self._places.get((login, place), 0) > self._clock() - KNOWN

    def note(self, login: str, password: int, *, address: str, mechanism: str) -> None:
        """A password has opened a login just now."""
        now, place = int(self._clock()), neighbourhood(address)
        use = Use(login=login, password=password, time=now, address=address[:45], mechanism=mechanism[:20])
        with self._lock:
            before = self._uses.get((login, password))
            if before is not None and before.address == use.address:
                use = replace(use, client=before.client)
            _put(self._uses, (login, password), use, self._capacity)
            _put(self._unwritten_uses, (login, password), use, self._capacity)
            _put(self._numbers, (login, use.address), password, self._capacity)
            if place and self._places.get((login, place), 0) <= now - AGAIN:
                _put(self._places, (login, place), now, self._capacity)
                _put(self._unwritten_places, (login, place), now, self._capacity)

    def sent(self, login: str, address: str, client: str) -> None:
        """A login sends: `client` is the name that its client gave itself."""
        client = "".join(c if c.isprintable() else "?" for c in client[:CLIENT_LENGTH])
        with self._lock:
            number = self._numbers.get((login, address))
            use = None if number is None else self._uses.get((login, number))
            if use is None or use.address != address or use.client == client:
                return
            use = replace(use, client=client)
            _put(self._uses, (login, use.password), use, self._capacity)
            _put(self._unwritten_uses, (login, use.password), use, self._capacity)

    def used_since(self, login: str, password: int, moment: int) -> bool:
        """Whether a password was used after a time; the database is asked where this process does not know. Blocks.

        Raises StoreUnavailable.
        """
        with self._lock:
            use = self._uses.get((login, password))
        if use is None or use.time <= moment:
            use = None if self._store is None else self._store.of(login).get(password)
        return use is not None and use.time > moment

    async def keep(self, stop: asyncio.Event) -> None:
        """Writes and reads in a thread until `stop` is set, and then once more."""
        if self._store is None:
            return
        with_stop = asyncio.ensure_future(stop.wait())
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uses")
        try:
            while True:
                last = stop.is_set()
                await asyncio.get_running_loop().run_in_executor(thread, self.exchange)
                if last:
                    return
                await asyncio.wait((with_stop,), timeout=WRITTEN)
        finally:
            with_stop.cancel()
            thread.shutdown(wait=False, cancel_futures=True)

    def exchange(self) -> None:
        """Writes what is to be written, and reads what others wrote where it is time. Blocks; never fails."""
        if self._store is None:
            return
        try:
            self._write(self._store)
            if not 0 <= self._clock() - self._read < READ:  # below 0 where the clock was set back
                self._learn(self._store)
        except StoreUnavailable as error:
            if not self._down:
                log.warning("last uses are kept in memory: %s", error)
            self._down = True
        else:
            if self._down:
                log.info("last uses are written again")
            self._down = False

    def _write(self, store: SqlUses) -> None:
        with self._lock:
            used, visits = self._unwritten_uses, self._unwritten_places
            self._unwritten_uses, self._unwritten_places = OrderedDict(), OrderedDict()
        if not used and not visits:
            return
        try:
            store.note(tuple(used.values()), visits)
        except StoreUnavailable:
            with self._lock:  # what came meanwhile is newer
                for number, use in self._unwritten_uses.items():
                    _put(used, number, use, self._capacity)
                for place, visited in self._unwritten_places.items():
                    _put(visits, place, visited, self._capacity)
                self._unwritten_uses, self._unwritten_places = used, visits
            raise

    def _learn(self, store: SqlUses) -> None:
        now = int(self._clock())
        if not 0 <= now - self._tidied < TIDY:
            store.forget(now - KNOWN)
            self._tidied = now
        # A node may write late, and its clock may be a little off.
        since = max(now - KNOWN, min(now, self._read) - 10 * READ)
        found = store.places(since, self._capacity)
        with self._lock:
            for key, last in found.items():
                if last > self._places.get(key, 0):
                    _put(self._places, key, last, self._capacity)
        self._read = now


def _put(where: OrderedDict[Key, Value], key: Key, value: Value, capacity: int) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > capacity:
        where.popitem(last=False)
