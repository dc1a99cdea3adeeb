"""A store that may be out of reach for a while, for those who already know who sends."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from policy.account import Account
from policy.click_hosts import HostHealth
from policy.domains import SenderDomain, SigningKey
from policy.login import Login
from policy.stores import AdminStore, StoreUnavailable

CAPACITY = 10_000  # answers of each kind
SLOW = 0.5  # seconds that an answer may take
SPARED = 30.0  # seconds that one that took longer is repeated unasked: whoever waits for it holds up the mail of others

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


class _Answer(NamedTuple, Generic[A]):
    """What was said, when, and whether it took long."""

    said: A
    time: float
    slow: bool


class _Memory(Generic[K, A]):
    """The last answers to one kind of question; the oldest goes where there are too many."""

    def __init__(self, ask: Callable[[K], A], keep: float, clock: Callable[[], float]) -> None:
        self._ask, self._keep, self._clock = ask, keep, clock
        self._lock = threading.Lock()
        self._known: dict[K, _Answer[A]] = {}

    def __call__(self, key: K) -> A:
        began = self._clock()
        with self._lock:
            known = self._known.get(key)
        if known is not None and known.slow and began - known.time < min(SPARED, self._keep):
            return known.said
        try:
            said = self._ask(key)
        except StoreUnavailable:
            if known is None or self._clock() - known.time >= self._keep:
                raise
            return known.said
        now = self._clock()
        with self._lock:
            self._known.pop(key, None)
            if len(self._known) >= CAPACITY:
                del self._known[next(iter(self._known))]
            self._known[key] = _Answer(said, now, now - began > SLOW)
        return said


class Remembered:
    """A LoginStore that asks `store`, and while that is unavailable repeats what it said last, for `keep` seconds; and for SPARED
    seconds what it took long to say.

    Not for logging in: whether a password is still right is not remembered.
    """

    def __init__(self, store: AdminStore, *, keep: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._login = _Memory(store.login, keep, clock)
        self._account = _Memory(store.account, keep, clock)
        self._signing_keys = _Memory(store.signing_keys, keep, clock)
        self._domains = _Memory(store.domains, keep, clock)
        self._click_hosts = _Memory(store.click_hosts, keep, clock)

    def revision(self) -> object:
        """See LoginStore."""
        return self._store.revision()

    def login(self, name: str) -> Login | None:
        """See Logins."""
        return self._login(name)

    def bind(self, login: Login, password: bytes) -> bool:
        """See Logins."""
        return self._store.bind(login, password)

    def account(self, name: str) -> Account | None:
        """See LoginStore."""
        return self._account(name)

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """See LoginStore."""
        return self._signing_keys(account)

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """See LoginStore."""
        return self._domains(account)

    def click_hosts(self, hosts: frozenset[str] | None = None) -> tuple[HostHealth, ...]:
        """See LoginStore."""
        return self._click_hosts(hosts)

    def close(self) -> None:
        """Gives up what the calling thread holds."""
        self._store.close()
