"""The hash of an imported password becomes one of ours at its first login, when the password itself is at hand.

It is done beside the login, which waits for nothing of it: where the store cannot be written now, the next login does it.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from policy.login import Login, Password
from policy.password import SALT_LENGTH, hash_password, is_ours
from policy.stores import Conflict, NotFound, StoreUnavailable

WAITING = 100  # renewals that wait; more are left to a later login

Change = Callable[[str, Callable[[Login], Login]], Login]

log = logging.getLogger("smtpeter.auth")


class Renewal:
    """Replaces hashes by `change`, which is `change_login` of a store, one after the other on a thread of its own."""

    def __init__(self, change: Change, *, waiting: int = WAITING) -> None:
        self._change, self._waiting = change, waiting
        self._lock = threading.Lock()
        self._in_hand: set[tuple[str, int]] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="renewal")
        self._complained = False

    def begin(self, login: Login, password: Password, typed: bytes) -> None:
        """Takes note of a password that has opened a login just now, as it was typed. Never waits, never fails."""
        key = (login.name, password.number)
        try:
            if is_ours(password.hash):
                return
            with self._lock:
                if key in self._in_hand or len(self._in_hand) >= self._waiting:
                    return
                self._in_hand.add(key)
            self._thread.submit(self._replace, login.name, password, typed)
        except (ValueError, RuntimeError):  # a hash of nobody's, or closed meanwhile
            self._done(key)

    def close(self) -> None:
        """Lets the one in hand end and drops those that wait."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, key: tuple[str, int]) -> None:
        with self._lock:
            self._in_hand.discard(key)

    def _replace(self, name: str, password: Password, typed: bytes) -> None:
        try:
            made = hash_password(typed, secrets.token_bytes(SALT_LENGTH))
            self._change(name, lambda login: renewed(login, password, made))
        except (StoreUnavailable, NotFound, Conflict, ValueError) as error:
            if not self._complained:
                log.warning("login=%s keeps the hash it was imported with: %s", name, error)
            self._complained = True
        else:
            log.info("login=%s password=%d has a new hash in place of the imported one", name, password.number)
            self._complained = False
        finally:
            self._done((name, password.number))


def renewed(login: Login, password: Password, made: str) -> Login:
    """The login with `made` as the hash of that password; unchanged where the password is another one by now, or gone."""
    passwords = tuple(
        replace(each, hash=made) if (each.number, each.hash) == (password.number, password.hash) else each
        for each in login.passwords
    )
    return replace(login, passwords=passwords)
