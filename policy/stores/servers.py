"""Servers that know the same, asked in order, over connections that are kept.

Every question runs on a thread of its own, which is left behind when its time is up: no library has a limit for a name that
does not resolve and an answer that stops halfway as well. One that failed is left alone for PAUSE seconds; then one caller
finds out, while the others do not wait for it. So a server that swallows everything costs one wait, not one for each login.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from policy.stores import StoreUnavailable

PATIENCE = 3.0  # seconds for one question, all servers together; Postfix waits 10 for an answer to AUTH, 5 to a policy request
PAUSE = 5.0  # seconds
SLOW = 1.0  # seconds that an answer may take; once one has taken longer, callers wait FEW at a time, and fail beyond that
FEW = 2  # less than threads read the database (policy.server.READERS): those that wait here are missing there
IDLE = 60.0  # seconds without use after which a connection may have been forgotten by something on its way


class Lost(Exception):
    """A server cannot be reached, or says nothing of use; the message is the cause. The next one may know more."""


class Untouched(Lost):
    """The same of a server that certainly has not done what was asked."""


class _Busy(Lost):
    """As many ask a server as may. It has not failed."""


class Connection(Protocol):
    """A connection to a server; used by one thread at a time."""

    def close(self) -> None:
        """Ends it."""


C = TypeVar("C", bound=Connection)
A = TypeVar("A")


@dataclass(slots=True)
class _Server(Generic[C]):
    """One server: its connections nobody uses, each with the time of its last use, and until when it is left alone."""

    url: str
    slots: threading.BoundedSemaphore
    idle: list[tuple[float, C]] = field(default_factory=list)
    alone: float = 0.0
    cause: str = ""


class Servers(Generic[C]):
    """The servers at `urls`; from any thread. `connect` makes a connection to one of them and raises Lost where it cannot.

    Each has `timeout` seconds and is asked by `connections` callers at once. Nothing is opened before the first question, so
    this may be made before a fork.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        *,
        connect: Callable[[str], C],
        timeout: float,
        connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting, self._slow = 0, False
        self._servers = [_Server[C](url=url, slots=threading.BoundedSemaphore(connections)) for url in urls]

    def ask(self, question: Callable[[C], A]) -> A:
        """The answer of the first server that has one, over a kept connection; a lost one is replaced once.

        Raises StoreUnavailable, and what `question` raises but for Lost.
        """
        with self._counted():
            return self._ask(lambda server: self._over_kept(server, question))

    def ask_apart(self, question: Callable[[C], A], connect: Callable[[str], C]) -> A:
        """The same over a connection that `connect` makes for this question alone."""

        def over_new(server: _Server[C]) -> A:
            connection = connect(server.url)
            try:
                return question(connection)
            finally:
                connection.close()

        return self._ask(over_new)

    def order(self, change: Callable[[C], A]) -> A:
        """The same for what must not be done twice: where it may have been done, no other server is asked."""

        def change_once(connection: C) -> A:
            try:
                return change(connection)
            except Untouched:
                raise
            except Lost as error:
                raise StoreUnavailable(f"the directory may have been changed, or not: {error}") from error

        return self.ask_apart(change_once, self._connect)

    def close(self) -> None:
        """Ends the connections nobody uses."""
        for server in self._servers:
            self._forget(server)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Raises StoreUnavailable where enough callers wait for what is slow."""
        began = self._clock()
        with self._lock:
            if self._slow and self._waiting >= FEW:
                raise StoreUnavailable("the directory is slow, and others wait for it already")
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                self._slow = self._clock() - began > SLOW

    def _ask(self, work: Callable[[_Server[C]], A]) -> A:
        end = self._clock() + PATIENCE
        for server in self._servers:
            now = self._clock()
            if now >= end or not self._turn(server, now):
                continue
            try:
                answer = self._within(min(self._timeout, end - now), server, work)
            except Lost as error:
                with self._lock:
                    server.cause = str(error)
                    if not isinstance(error, _Busy):
                        server.alone = self._clock() + PAUSE
                continue
            with self._lock:
                server.alone = 0.0
            return answer
        causes = "; ".join(f"{server.url}: {server.cause or 'not asked, time was up'}" for server in self._servers)
        raise StoreUnavailable(f"no directory server answers ({causes})")

    def _turn(self, server: _Server[C], now: float) -> bool:
        """Whether to ask a server now. Who asks one that failed before keeps the others from it meanwhile."""
        with self._lock:
            if now < server.alone:
                return False
            if server.alone:
                server.alone = now + PAUSE
            return True

    def _within(self, seconds: float, server: _Server[C], work: Callable[[_Server[C]], A]) -> A:
        if not server.slots.acquire(timeout=seconds):
            raise _Busy("all connections are in use")
        future: Future[A] = Future()

        def run() -> None:
            try:
                future.set_result(work(server))
            except Exception as error:  # noqa: BLE001  # whoever waits gets it
                future.set_exception(error)
            finally:
                server.slots.release()

        threading.Thread(target=run, name="directory", daemon=True).start()
        try:
            return future.result(seconds)
        except TimeoutError as error:
            raise Lost(f"no answer within {seconds:.1f} s") from error

    def _over_kept(self, server: _Server[C], question: Callable[[C], A]) -> A:
        connection = self._kept(server)
        if connection is not None:
            try:
                return self._put_back(server, connection, question)
            except Lost:
                self._forget(server)
        return self._put_back(server, self._connect(server.url), question)

    def _put_back(self, server: _Server[C], connection: C, question: Callable[[C], A]) -> A:
        try:
            answer = question(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            server.idle.append((self._clock(), connection))
        return answer

    def _kept(self, server: _Server[C]) -> C | None:
        """A connection of late that nobody uses, the one used last."""
        with self._lock:
            if server.idle and self._clock() - server.idle[-1][0] < IDLE:
                return server.idle.pop()[1]
        self._forget(server)
        return None

    def _forget(self, server: _Server[C]) -> None:
        with self._lock:
            idle, server.idle = server.idle, []
        for _, connection in idle:
            connection.close()
