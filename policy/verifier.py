"""Compares a password with the stored hash: argon2 in a bounded pool, and a short memory of what was right.

The login is read from the store every time, so a change there takes effect with the next attempt. What is remembered,
for at most `lifetime` seconds, is only that a password matched a hash: the memory is keyed by a keyed digest over
login, stored hash and password together, so a new hash, another login or another password never finds it.

An unknown login, a disabled one and a wrong password cost the same: one comparison each, never a remembered one.
"""

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from policy.login import NAME, Login
from policy.password import UNKNOWN_LOGIN_HASH
from policy.password import verify as verify_hash
from policy.stores import LoginStore, StoreUnavailable

LIFETIME = 30.0
CAPACITY = 10_000  # remembered passwords, about 200 octets each


class Overloaded(Exception):
    """Too many comparisons are waiting. Never a verdict about a login."""


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
    """Verifies logins of `store`, on one event loop; at most `pending_limit` comparisons run or wait.

    Argon2 lets other threads run, so `workers` comparisons run at once, each in about 19 MiB. The store is read on
    `readers`, the loop's own executor by default. `compare` tells whether a password matches a stored hash.
    """

    def __init__(
        self,
        store: LoginStore,
        *,
        workers: int,
        pending_limit: int,
        readers: Executor | None = None,
        compare: Callable[[str, bytes], bool] = verify_hash,
        clock: Callable[[], float] = time.monotonic,
        lifetime: float = LIFETIME,
        capacity: int = CAPACITY,
    ) -> None:
        self._store = store
        self._readers = readers
        self._compare = compare
        self._matches = Matches(lifetime=lifetime, capacity=capacity, clock=clock)
        self._pending = threading.BoundedSemaphore(pending_limit)
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="argon2")

    async def verify(self, login_name: str, password: bytes) -> str | None:
        """The name of the login that `password` opens, None where there is no such pair or the login is disabled.

        The name counts exactly: 32 lower-case hex digits. Raises StoreUnavailable and Overloaded, which both mean
        that nothing is known about the pair.
        """
        login = await self._read(login_name)
        now = int(time.time())
        usable = login is not None and login.usable(now)
        hashes = [each.hash for each in reversed(login.passwords)] if login is not None else []
        for password_hash in hashes or [UNKNOWN_LOGIN_HASH]:
            key = self._matches.key(login_name, password_hash, password)
            if usable and key in self._matches:
                return login_name
            if await self._matched(password_hash, password) and usable:
                self._matches.add(key)
                return login_name
        return None

    def close(self) -> None:
        """Lets running comparisons end and drops the waiting ones."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _read(self, name: str) -> Login | None:
        # A name of another shape is nobody's: the store is asked for one that cannot exist, so that it costs the same.
        exact = NAME.fullmatch(name) is not None
        asked = name if exact else "0" * 32
        login = await asyncio.get_running_loop().run_in_executor(self._readers, self._store.login, asked)
        # A directory or a database may fold case or blanks; the identity is the stored one, and only if it is equal.
        return login if exact and login is not None and login.name == name else None

    async def _matched(self, password_hash: str, password: bytes) -> bool:
        if not self._pending.acquire(blocking=False):
            raise Overloaded("too many comparisons are waiting")
        try:
            future = self._workers.submit(self._compare, password_hash, password)
        except RuntimeError as error:  # closed meanwhile
            self._pending.release()
            raise Overloaded("closing") from error
        # Also when the caller has gone: the thread works on, and its place is taken until it ends.
        future.add_done_callback(lambda _: self._pending.release())
        try:
            return await asyncio.wrap_future(future)
        except ValueError as error:
            raise StoreUnavailable(str(error)) from error
