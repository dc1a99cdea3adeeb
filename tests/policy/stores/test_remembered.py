"""A store that may be out of reach: what is remembered of it, and for how long."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.login import Login
from policy.options import Options
from policy.stores import StoreUnavailable, remembered
from policy.stores.migrate import migrate
from policy.stores.remembered import SLOW, SPARED, Remembered
from policy.stores.sql import SqlStore

LOGIN = Login(name="a" * 32, account="shop", options=Options(), created=1)
ACCOUNT = Account(name="shop", state=State.APPROVED, created=1)


class Place:
    """A database that can be taken away, and the time."""

    def __init__(self, file: Path) -> None:
        self.now = 100.0
        self.file, self.away = file, file.with_suffix(".away")
        self.url = f"sqlite:///{file}"
        migrate(self.url)
        self.store = SqlStore(self.url)

    def __call__(self) -> float:
        return self.now

    def take(self) -> None:
        self.store.close()
        self.file.rename(self.away)

    def bring(self) -> None:
        self.store.close()
        self.away.rename(self.file)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "policy.db")
    found.store.add_account(ACCOUNT)
    found.store.add_login(LOGIN)
    yield found
    found.store.close()


@pytest.fixture
def store(place: Place) -> Remembered:
    return Remembered(place.store, keep=60, clock=place)


def test_what_was_said_last_is_said_for_a_while(place: Place, store: Remembered) -> None:
    asked = (lambda: store.login(LOGIN.name), lambda: store.account("shop"), lambda: store.signing_keys("shop"), store.domains)
    asked = (*asked, lambda: store.click_hosts(frozenset({"clicks.example.com"})))
    said = [ask() for ask in asked]
    assert said == [LOGIN, ACCOUNT, (), (), ()]
    place.take()
    place.now += 59
    assert [ask() for ask in asked] == said
    place.now += 1
    for ask in asked:
        with pytest.raises(StoreUnavailable):
            ask()
    place.bring()
    assert [ask() for ask in asked] == said


def test_the_time_runs_from_the_last_answer(place: Place, store: Remembered) -> None:
    store.login(LOGIN.name)
    place.now += 50
    store.login(LOGIN.name)
    place.take()
    place.now += 50
    assert store.login(LOGIN.name) == LOGIN


def test_who_was_never_asked_about_is_not_known(place: Place, store: Remembered) -> None:
    store.login(LOGIN.name)
    place.take()
    for ask in (lambda: store.login("b"), lambda: store.account("shop"), lambda: store.domains("shop")):
        with pytest.raises(StoreUnavailable):
            ask()


def test_a_change_that_was_seen_is_not_taken_back(place: Place, store: Remembered) -> None:
    store.login(LOGIN.name)
    place.store.change_login(LOGIN.name, lambda login: replace(login, enabled=False))
    assert not store.login(LOGIN.name).enabled
    place.take()
    assert not store.login(LOGIN.name).enabled
    place.bring()
    place.store.remove_login(LOGIN.name)
    assert store.login(LOGIN.name) is None
    place.take()
    assert store.login(LOGIN.name) is None


def test_only_so_much_is_remembered(place: Place, store: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "CAPACITY", 2)
    for name in (LOGIN.name, "b", LOGIN.name, "c"):
        store.login(name)
    place.take()
    assert (store.login(LOGIN.name), store.login("c")) == (LOGIN, None)
    with pytest.raises(StoreUnavailable):
        store.login("b")


def test_a_store_that_is_slow_is_asked_less_often(place: Place) -> None:
    class Slow(SqlStore):
        seconds, asked = 0.0, 0

        def login(self, name: str) -> Login | None:
            place.now += self.seconds  # time passes
            self.asked += 1
            return super().login(name)

    slow = Slow(place.url)
    store = Remembered(slow, keep=60, clock=place)
    store.login(LOGIN.name)
    store.login(LOGIN.name)
    assert slow.asked == 2
    slow.seconds = SLOW + 0.1
    store.login(LOGIN.name)
    place.store.remove_login(LOGIN.name)
    place.now += SPARED - 1
    assert store.login(LOGIN.name) == LOGIN
    assert store.login("b") is None  # who is not remembered is asked about
    assert slow.asked == 4
    slow.seconds = 0.0
    place.now += 1
    assert store.login(LOGIN.name) is None
    assert slow.asked == 5
    slow.close()


def test_a_password_is_never_remembered(place: Place, store: Remembered) -> None:
    with pytest.raises(ValueError, match="has its password here"):
        store.bind(LOGIN, b"x")
    assert store.revision() is not None
    store.close()
