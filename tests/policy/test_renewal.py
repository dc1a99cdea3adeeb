"""Imported hashes are replaced beside the login, and nothing is lost by it."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.login import Login, Password
from policy.options import Options
from policy.password import hash_password, is_ours, verify
from policy.renewal import Renewal
from policy.stores import StoreUnavailable
from policy.stores.migrate import migrate
from policy.stores.sql import SqlStore
from policy.verifier import Opened, Verifier

TYPED = b"correct horse"
FOREIGN = "{SHA}" + b64encode(hashlib.sha1(TYPED, usedforsecurity=False).digest()).decode()
LOGIN = Login(
    name="alice@example.com",
    account="shop",
    passwords=(Password(number=3, hash=FOREIGN, created=7),),
    options=Options(),
    created=7,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    migrate(f"sqlite:///{tmp_path / 'policy.db'}")
    found = SqlStore(f"sqlite:///{tmp_path / 'policy.db'}")
    found.add_account(Account(name="shop", state=State.APPROVED, created=1))
    found.add_login(LOGIN)
    yield found
    found.close()


def log_in(store: SqlStore, renewal: Renewal, typed: bytes = TYPED, name: str = LOGIN.name) -> object:
    async def once() -> object:
        verifier = Verifier(store, workers=1, pending_limit=2, opened=renewal.begin)
        try:
            return await verifier.verify(name, typed)
        finally:
            verifier.close()

    return asyncio.run(once())


def test_the_first_login_replaces_the_hash_and_nothing_else(store: SqlStore, wait_for: Callable[..., None]) -> None:
    renewal = Renewal(store.change_login)
    assert log_in(store, renewal, name="Alice@Example.COM") == Opened(login=LOGIN.name, password=3)
    wait_for(lambda: store.login(LOGIN.name).passwords[0].hash != FOREIGN)
    found = store.login(LOGIN.name)
    assert is_ours(found.passwords[0].hash)
    assert verify(found.passwords[0].hash, TYPED)
    assert replace(found, passwords=(replace(found.passwords[0], hash=FOREIGN),)) == LOGIN
    before = found.passwords[0].hash
    assert log_in(store, renewal) == Opened(login=LOGIN.name, password=3)
    renewal._thread.shutdown()
    assert store.login(LOGIN.name).passwords[0].hash == before
    renewal.close()


def test_a_wrong_password_or_a_disabled_login_replaces_nothing(store: SqlStore) -> None:
    renewal = Renewal(store.change_login)
    assert not isinstance(log_in(store, renewal, b"wrong"), Opened)
    store.change_login(LOGIN.name, lambda login: replace(login, enabled=False))
    assert not isinstance(log_in(store, renewal), Opened)
    renewal._thread.shutdown()
    assert store.login(LOGIN.name).passwords == LOGIN.passwords


def test_a_rotation_in_between_is_not_lost(store: SqlStore) -> None:
    newer = Password(number=4, hash=hash_password("another", bytes(16)), created=8)

    def slow_change(name: str, change: Callable[[Login], Login]) -> Login:
        store.change_login(name, lambda login: replace(login, passwords=(newer,)))  # somebody is quicker
        return store.change_login(name, change)

    renewal = Renewal(slow_change)
    assert isinstance(log_in(store, renewal), Opened)
    renewal._thread.shutdown()
    assert store.login(LOGIN.name).passwords == (newer,)


def test_a_hash_that_was_replaced_in_between_stays(store: SqlStore) -> None:
    other = hash_password("another", bytes(16))

    def slow_change(name: str, change: Callable[[Login], Login]) -> Login:
        store.change_login(name, lambda login: replace(login, passwords=(replace(login.passwords[0], hash=other),)))
        return store.change_login(name, change)

    renewal = Renewal(slow_change)
    assert isinstance(log_in(store, renewal), Opened)
    renewal._thread.shutdown()
    assert store.login(LOGIN.name).passwords[0].hash == other


def test_a_store_that_cannot_be_written_fails_no_login_and_the_next_one_tries_again(
    store: SqlStore, caplog: pytest.LogCaptureFixture, wait_for: Callable[..., None]
) -> None:
    down = [True]

    def change(name: str, made: Callable[[Login], Login]) -> Login:
        if down[0]:
            raise StoreUnavailable("attempt to write a readonly database")
        return store.change_login(name, made)

    renewal = Renewal(change)
    for _ in range(2):
        assert isinstance(log_in(store, renewal), Opened)
        wait_for(lambda: not renewal._in_hand)
    assert store.login(LOGIN.name).passwords[0].hash == FOREIGN
    assert len([record for record in caplog.records if "readonly" in record.getMessage()]) == 1
    down[0] = False
    assert isinstance(log_in(store, renewal), Opened)
    wait_for(lambda: is_ours(store.login(LOGIN.name).passwords[0].hash))
    assert TYPED.decode() not in caplog.text
    assert FOREIGN not in caplog.text
    renewal.close()


def test_a_flood_of_logins_makes_no_queue_without_an_end(store: SqlStore) -> None:
    renewal = Renewal(store.change_login, waiting=0)
    assert isinstance(log_in(store, renewal), Opened)
    renewal._thread.shutdown()
    assert store.login(LOGIN.name).passwords == LOGIN.passwords
    renewal.begin(LOGIN, LOGIN.passwords[0], TYPED)  # closed: it is nobody's trouble
