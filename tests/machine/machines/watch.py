"""Looks at the lists of processes, those of the machines included, for words that must not be in them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY = 0.05  # seconds; a process that lives for less may be missed


class ProcessWatch:
    """Looks while it is entered; `seen` tells which secret stood in which command line."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.seen: set[str] = set()
        self.looks = 0
        self._secrets = {name: secret.encode() for name, secret in secrets.items()}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join(30)

    def _look(self) -> None:
        while not self._done.wait(_EVERY):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes()
                except OSError:
                    continue
                self.seen |= {f"{name}: {words!r}" for name, secret in self._secrets.items() if secret in words}
            self.looks += 1
