"""Notices a host whose key ring is another than that of the hosts it shares the journal with."""

import asyncio
import logging
import time
from collections.abc import Callable

from journal.rings import Prints, Rings, differences, prints
from journal.seal import Ring
from policy.stores import StoreUnavailable

INTERVAL = 60.0  # seconds between two looks
AGAIN = 3600.0  # seconds until the same ring is noted again
STALE = 86_400  # seconds; who has noted nothing for so long is gone

_log = logging.getLogger("smtpeter.ring")


class SameRing:
    """Notes the ring of `host` in `rings`, and says in the log where another host has another one."""

    def __init__(self, rings: Rings, host: str, ring: Callable[[], Ring], *, now: Callable[[], float] = time.time) -> None:
        self._rings = rings
        self._host = host
        self._ring = ring
        self._now = now
        self._noted: Prints = {}
        self._due = 0.0
        self._said: list[str] = []

    async def follow(self) -> None:
        """Looks again and again until it is cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(INTERVAL)

    def look(self) -> None:
        """Looks once. Never fails: where the database does not answer, the next look may."""
        now, found = self._now(), prints(self._ring())
        try:
            if found != self._noted or not self._due - AGAIN <= now < self._due:
                self._rings.note(self._host, found, int(now))
                self._noted, self._due = found, now + AGAIN
            said = list(differences(found, self._rings.others(self._host, int(now) - STALE)))
        except StoreUnavailable:
            return  # the log is told by those who need the database
        for line in said:
            if line not in self._said:
                _log.error("the key ring differs: %s; links of one host do not work at the other", line)
        if self._said and not said:
            _log.info("all hosts have the same key ring")
        self._said = said
