"""Compares a password with the stored hash: argon2 in a bounded pool, and a short memory of what was right.

The login is read from the store every time, so a change there takes effect with the next attempt. What is remembered,
for at most `lifetime` seconds, is only that a password matched a hash: the memory is keyed by a keyed digest over
login, stored hash and password together, so a new hash, another login or another password never finds it.

An unknown login, a disabled one and a wrong password cost the same: one comparison each, never a remembered one. A login with
two passwords costs two, an imported one what its hash does, and that of a directory an answer of it; `policy.attempts` hides
the difference.
"""

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from policy import metrics
from policy.login import GENERATED, NAME, Login, Password
from policy.password import UNKNOWN_LOGIN_HASH
from policy.password import verify as verify_hash
from policy.stores import LoginStore, StoreUnavailable

LIFETIME = 30.0
CAPACITY = 10_000  # remembered passwords, about 200 octets each
BINDERS = 4  # threads that wait for a directory; a server that hangs holds up nothing else

Subject = TypeVar("Subject")
Result = TypeVar("Result")


class Overloaded(Exception):
    """Too many comparisons are waiting. Never a verdict about a login."""


class Refusal(StrEnum):
    """Why a login is not opened; for the log alone. All but the first are of a password that is right."""

    CREDENTIALS = "credentials"
    DISABLED = "disabled"
    EXPIRED = "expired"
    ADDRESS = "address"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a password opens: a login, and which of its passwords it was; 0 where a directory compared it."""

    login: str
    password: int


def identity(typed: str) -> str:
    """The login name somebody means: people write the names of a directory in any case, generated ones count exactly."""
    lower = typed.lower() if typed.isascii() else typed
    return typed if GENERATED.fullmatch(lower) else lower


class Matches:
    """The memory of passwords that matched: at most `capacity` keys, each for `lifetime` seconds of `clock`."""

    def __init__(self, *, lifetime: float, capacity: int, clock: Callable[[], float]) -> None:
        self._lifetime, self._capacity, self._clock = lifetime, capacity, clock
        self._secret = secrets.token_bytes(32)
        # Never reordered, so the oldest entry is also the first to expire.
        self._deadlines: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._deadlines)

    def key(self, login: str, password_hash: str, password: bytes) -> bytes:
        """The key of one combination. Each part carries its length, so that no two combinations read the same."""
        name, stored = login.encode("utf-8", "surrogatepass"), password_hash.encode("utf-8", "surrogatepass")
        text = b"%d:%b%d:%b%d:%b" % (len(name), name, len(stored), stored, len(password), password)
        return hmac.digest(self._secret, text, hashlib.sha256)

    def add(self, key: bytes) -> None:
        """Remembers a key from now on."""
        self._deadlines.pop(key, None)
        if len(self._deadlines) >= self._capacity:
            del self._deadlines[next(iter(self._deadlines))]
        self._deadlines[key] = self._clock() + self._lifetime

    def __contains__(self, key: bytes) -> bool:
        deadline = self._deadlines.get(key)
        if deadline is None:
            return False
        if self._clock() < deadline:
            return True
        del self._deadlines[key]
        return False


class Verifier:
    """Verifies logins of `store`, on one event loop; at most `pending_limit` attempts are compared or wait for it.

    Argon2 lets other threads run, so `workers` comparisons run at once, each in about 19 MiB. The store is read on
    `readers`, the loop's own executor by default. `compare` tells whether a password matches a stored hash, `used_since`
    whether a password of a login was used after a time; it may block, and raise StoreUnavailable. `opened` is told which
    password has opened a login by a comparison, and as what it was typed; it may not wait.
    """

    def __init__(
        self,
        store: LoginStore,
        *,
        workers: int,
        pending_limit: int,
        readers: Executor | None = None,
        compare: Callable[[str, bytes], bool] = verify_hash,
        used_since: Callable[[str, int, int], bool] = lambda login, password, moment: False,
        opened: Callable[[Login, Password, bytes], None] = lambda login, password, typed: None,
        clock: Callable[[], float] = time.monotonic,
        lifetime: float = LIFETIME,
        capacity: int = CAPACITY,
    ) -> None:
        self._store = store
        self._readers = readers
        self._compare, self._used_since, self._opened = compare, used_since, opened
        self._matches = Matches(lifetime=lifetime, capacity=capacity, clock=clock)
        self._pending = threading.BoundedSemaphore(pending_limit)
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="argon2")
        self._binders = ThreadPoolExecutor(max_workers=BINDERS, thread_name_prefix="directory")

    @property
    def pools(self) -> tuple[Executor, ...]:
        """The threads that compare, and those that wait for a directory."""
        return self._workers, self._binders

    async def verify(self, name: str, password: bytes, address: str = "") -> Opened | Refusal:
        """What `find` and `compare` come to together."""
        name = identity(name)
        return await self.compare(name, await self.find(name), password, address)

    async def find(self, name: str) -> Login | None:
        """The login of a name (see `identity`). Raises StoreUnavailable."""
        # A name of another shape is nobody's: the store is asked for one that cannot exist, so that it costs the same.
        exact = NAME.fullmatch(name) is not None
        asked = name if exact else "0" * 32
        login = await asyncio.get_running_loop().run_in_executor(self._readers, self._store.login, asked)
        # A directory or a database may fold case or blanks; the identity is the stored one, and only if it is equal.
        return login if exact and login is not None and login.name == name else None

    async def compare(self, name: str, login: Login | None, password: bytes, address: str) -> Opened | Refusal:
        """What `password` opens for a client at `address`, where `find` has found `login`.

        Raises StoreUnavailable and Overloaded, which both mean that nothing is known about the pair.
        """
        barrier = None if login is None else _barrier(login, address, int(time.time()))
        if login is not None and login.external:
            return await self._bind(login, password, barrier)
        passwords = () if login is None else login.passwords[::-1]
        hashes = tuple(each.hash for each in passwords) or (UNKNOWN_LOGIN_HASH,)
        keys = [self._matches.key(name, each, password) for each in hashes]
        place = None if barrier else next((place for place, key in enumerate(keys) if key in self._matches), None)
        remembered = place is not None
        if login is not None:
            (metrics.hit if remembered else metrics.miss).inc()
        if place is None:
            place = await self._run(self._workers, self._matching, hashes, password)
        if login is None or place is None or place >= len(passwords):
            return Refusal.CREDENTIALS
        if barrier is not None:
            return barrier
        if not await self._valid(login, place):
            return Refusal.ROTATED
        if not remembered:
            self._matches.add(keys[place])
            self._opened(login, passwords[place], password)
        return Opened(login=login.name, password=passwords[place].number)

    def close(self) -> None:
        """Lets running comparisons end and drops the waiting ones."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._binders.shutdown(wait=False, cancel_futures=True)

    async def _bind(self, login: Login, password: bytes, barrier: Refusal | None) -> Opened | Refusal:
        """What `compare` says of a login whose password a directory compares."""
        try:
            if not await self._run(self._binders, self._store.bind, login, password):
                return Refusal.CREDENTIALS
        except StoreUnavailable:
            # Some directories compare nothing for who is locked, and say that they are unwilling. No answer would let him in.
            if barrier is None:
                raise
            return Refusal.CREDENTIALS
        return barrier or Opened(login=login.name, password=0)

    async def _valid(self, login: Login, place: int) -> bool:
        """Whether the password at `place`, from the newest on, is still accepted."""
        password, now = login.passwords[-1 - place], int(time.time())
        if password.until is not None and now >= password.until:
            return False
        if password.idle is None or place == 0:
            return True
        unused = now - password.idle
        if login.passwords[-place].created > unused:  # the one that replaced it
            return True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._used_since, login.name, password.number, unused)

    def _matching(self, hashes: tuple[str, ...], password: bytes) -> int | None:
        return next((place for place, each in enumerate(hashes) if self._compare(each, password)), None)

    async def _run(
        self, threads: ThreadPoolExecutor, work: Callable[[Subject, bytes], Result], subject: Subject, password: bytes
    ) -> Result:
        if not self._pending.acquire(blocking=False):
            raise Overloaded("too many comparisons are waiting")
        try:
            future = threads.submit(work, subject, password)
        except RuntimeError as error:  # closed meanwhile
            self._pending.release()
            raise Overloaded("closing") from error
        # Also when the caller has gone: the thread works on, and its place is taken until it ends.
        future.add_done_callback(lambda _: self._pending.release())
        began = time.monotonic()
        try:
            return await asyncio.wrap_future(future)
        except ValueError as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            by = "hash" if threads is self._workers else "directory"
            metrics.comparison_seconds.labels(by).observe(time.monotonic() - began)


def _barrier(login: Login, address: str, now: int) -> Refusal | None:
    """Why not even the right password opens a login, None where it does."""
    if not login.enabled:
        return Refusal.DISABLED
    if not login.usable(now):
        return Refusal.EXPIRED
    return None if login.may_come_from(address) else Refusal.ADDRESS
