"""The destinations that nobody is sent to any more, as `smtpeter link disable` says.

The journal's database is asked in the background, so no visitor waits for it. While it is away the last answer holds; it is
also kept in a file, so that a restart does not let through what was stopped.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from policy.stores import StoreUnavailable

INTERVAL = 0.4  # seconds between two looks; what is disabled is gone within one second

_log = logging.getLogger("smtpeter.web")


class DisabledLinks:
    """The set of disabled destinations. `fetch` asks for them; it may block, and raise StoreUnavailable."""

    def __init__(self, fetch: Callable[[], Iterable[str]], file: Path, *, interval: float = INTERVAL) -> None:
        self._fetch = fetch
        self._file = file
        self._interval = interval
        self._kept: frozenset[str] | None = None  # what the file says
        self._unanswered = self._unkept = False  # the log knows
        self.destinations: frozenset[str] = frozenset()
        self._load()

    async def follow(self) -> None:
        """Keeps the set fresh until it is cancelled."""
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(self._interval)

    def refresh(self) -> None:
        """Looks once. Never fails: the set stays as it is where nobody answers."""
        try:
            self.destinations = frozenset(self._fetch())
        except StoreUnavailable as error:
            if not self._unanswered:
                _log.warning("disabled links cannot be looked up, the %d known ones stay: %s", len(self.destinations), error)
            self._unanswered = True
            return
        if self._unanswered:
            _log.warning("disabled links are looked up again, there are %d", len(self.destinations))
        self._unanswered = False
        if self.destinations != self._kept:
            self._save()

    def _load(self) -> None:
        try:
            found = json.loads(self._file.read_bytes())
            self.destinations = self._kept = frozenset(str(url) for url in found)
        except FileNotFoundError:
            pass  # the first start
        except (OSError, ValueError, TypeError) as error:
            _log.warning("the disabled links kept in %s cannot be read: %s", self._file, error)

    def _save(self) -> None:
        draft = self._file.with_name(f".{self._file.name}.new")
        try:
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
                json.dump(sorted(self.destinations), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)
        except OSError as error:
            if not self._unkept:
                _log.warning("the disabled links cannot be kept in %s: %s", self._file, error)
            self._unkept = True  # the next look tries again
            return
        self._kept, self._unkept = self.destinations, False
