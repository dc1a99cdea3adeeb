"""What somebody took away after a backup was made must not come back unseen with it: logins, passwords, permissions, keys.

Two stores are compared: the one that was restored, and the one that was in use until then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from journal.seal import Ring
from policy.account import Account, State
from policy.login import Login, Password
from policy.stores.sql import SqlStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What was in use until now: accounts and logins by name, names of sender domains, domain and selector of keys."""

    accounts: dict[str, Account]
    logins: dict[str, Login]
    domains: frozenset[str]
    keys: frozenset[tuple[str, str]]

    @classmethod
    def read(cls, store: SqlStore) -> "Present":
        """All of it. Raises StoreUnavailable."""
        return cls(
            accounts={account.name: account for account in store.accounts()},
            logins={login.name: login for login in store.logins()},
            domains=frozenset(domain.name for domain in store.domains()),
            keys=_key_names(store),
        )


def hold_back(restored: SqlStore, present: Present, *, keep: bool) -> Iterator[str]:
    """Yields a sentence for each thing that differs, and changes `restored` so that what was taken away stays away.

    With `keep` everything is as it was at the time of the backup, and the sentences say so.
    """
    yield from _accounts(restored, dict(present.accounts), keep)
    now = dict(present.logins)
    for login in restored.logins():
        yield from _login(restored, login, now.pop(login.name, None), keep)
    for login in now.values():
        yield f"login {login.name} was made after the backup and is gone"
    for domain in restored.domains():
        if domain.name not in present.domains:
            yield f"sender domain {domain.name} was removed after the backup and is back"
    for name, selector in sorted(_key_names(restored) - present.keys):
        yield f"the DKIM key {selector} of {name} was removed after the backup and is back"


def related(restored: Ring, present: Ring) -> bool:
    """Whether two rings are of the same service: one was made of the other by adding and removing keys."""
    secrets = {(key.id, key.secret) for key in present.keys}
    return any((key.id, key.secret) in secrets for key in restored.keys)


def kept_ring(restored: Ring, present: Ring | None, *, keep: bool, now: int) -> tuple[Ring, list[str]]:
    """The ring to go on with, and sentences. One that belongs to the same service is newer: it reads what was sealed since."""
    if present is None:
        return restored, []
    secrets = {(key.id, key.secret) for key in present.keys}
    if not related(restored, present):
        return restored, ["the key ring becomes that of the backup; links that the other one sealed no longer work"]
    gone = [key for key in restored.keys if (key.id, key.secret) not in secrets]
    free = {key.id for key in gone} - {key.id for key in present.keys}
    back = [key for key in gone if keep and key.id in free]
    told = [
        f"key {key.id} of the ring was removed after the backup and {'is back' if key in back else 'stays away'}" for key in gone
    ]
    return Ring((*present.keys, *back), now) if back else present, told


def _accounts(restored: SqlStore, now: dict[str, Account], keep: bool) -> Iterator[str]:
    for account in restored.accounts():
        found = now.pop(account.name, None)
        if account.state is not State.APPROVED or (found is not None and found.state is State.APPROVED):
            continue
        state = State.SUSPENDED if found is None else found.state
        what = "was removed" if found is None else f"became {found.state}"
        yield f"account {account.name} {what} after the backup and is {State.APPROVED if keep else state}"
        if not keep:
            restored.change_account(account.name, partial(replace, state=state))
    for name in now:
        yield f"account {name} was made after the backup and is gone"


def _login(restored: SqlStore, login: Login, found: Login | None, keep: bool) -> Iterator[str]:
    if found is None or (login.enabled and not found.enabled):
        what = "removed" if found is None else "disabled"
        yield f"login {login.name} of {login.account} was {what} after the backup and is {_is(login.enabled and keep)}"
    enabled = login.enabled if keep else login.enabled and found is not None and found.enabled
    passwords = login.passwords
    if found is not None:
        passwords = login.passwords if keep else found.passwords
        yield from _passwords(login, found, keep)
    if (enabled, passwords) != (login.enabled, login.passwords):
        restored.change_login(login.name, lambda login: replace(login, enabled=enabled, passwords=passwords))


def _passwords(login: Login, found: Login, keep: bool) -> Iterator[str]:
    """Of a login that is in both; a hash may have been renewed, so a password is known by its number and its time."""
    then, now = set(map(_known_by, login.passwords)), set(map(_known_by, found.passwords))
    for number, _ in sorted(then - now):
        yield f"password {number} of login {login.name} ended after the backup and {'is back' if keep else 'stays away'}"
    for number, _ in sorted(now - then):
        yield f"password {number} of login {login.name} was made after the backup and {'is gone' if keep else 'stays'}"


def _known_by(password: Password) -> tuple[int, int]:
    return password.number, password.created


def _is(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _key_names(store: SqlStore) -> frozenset[tuple[str, str]]:
    keys = (key for account in store.accounts() for key in store.signing_keys(account.name))
    return frozenset((key.domain, key.selector) for key in keys)
