"""Last uses and known places on both databases."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.stores import StoreUnavailable
from policy.stores.uses import SqlUses, Use

USE = Use(login="alice", password=2, time=1000, address="192.0.2.9", mechanism="PLAIN", client="phone.test")


@pytest.fixture
def store(usage_url: str) -> Iterator[SqlUses]:
    made = SqlUses(usage_url)
    yield made
    made.close()


def test_each_password_has_its_last_use(store: SqlUses) -> None:
    other = replace(USE, password=1, time=5, client="")
    store.note((USE, other, replace(USE, login="bob", password=7)), {})
    assert store.of("alice") == {1: other, 2: USE}
    assert store.of("bob").keys() == {7}
    assert store.of("nobody") == {}


def test_a_later_use_takes_the_place_of_the_one_before_and_never_the_other_way_round(store: SqlUses) -> None:
    later = replace(USE, time=2000, address="2001:db8::1", mechanism="LOGIN", client="laptop.test")
    store.note((USE,), {})
    store.note((later,), {})
    store.note((USE,), {})
    assert store.of("alice") == {2: later}


@pytest.mark.parametrize(("address", "client"), [("192.0.2.9", "phone.test"), ("192.0.2.10", "")])
def test_a_client_is_kept_until_another_address_logs_in(store: SqlUses, address: str, client: str) -> None:
    again = replace(USE, time=1001, address=address, client="")
    store.note((USE,), {})
    store.note((again,), {})
    assert store.of("alice") == {2: replace(again, client=client)}


def test_places_are_read_from_a_time_on_the_newest_last(store: SqlUses) -> None:
    store.note((), {("alice", "192.0.2.9"): 100, ("alice", "2001:db8::/64"): 300, ("bob", "192.0.2.9"): 200})
    store.note((), {("alice", "192.0.2.9"): 400, ("bob", "192.0.2.9"): 150})
    assert list(store.places(0, 10).items()) == [
        (("bob", "192.0.2.9"), 200),
        (("alice", "2001:db8::/64"), 300),
        (("alice", "192.0.2.9"), 400),
    ]
    assert list(store.places(300, 10).values()) == [300, 400]
    assert list(store.places(0, 2).values()) == [300, 400]
    store.forget(300)
    assert list(store.places(0, 10).values()) == [300, 400]


def test_nothing_remains_of_a_login_that_is_removed(store: SqlUses) -> None:
    store.note((USE, replace(USE, login="bob")), {("alice", "192.0.2.9"): 1, ("bob", "192.0.2.9"): 1})
    store.remove("alice")
    assert store.of("alice") == {}
    assert store.of("bob") != {}
    assert store.places(0, 10).keys() == {("bob", "192.0.2.9")}


def test_many_at_once_are_one_transaction(store: SqlUses) -> None:
    many = [replace(USE, login=f"login{number}") for number in range(3000)]
    store.note(many, {(use.login, "192.0.2.9"): use.time for use in many})
    assert len(store.places(0, 5000)) == 3000
    # One that cannot be written leaves nothing of the others behind.
    with pytest.raises(StoreUnavailable):
        store.note((replace(USE, login="fresh"), replace(USE, login="zero", time=None)), {})  # type: ignore[arg-type]
    assert store.of("fresh") == {}


def test_two_nodes_write_at_once(usage_url: str, in_threads: Callable[[Callable[[int], None]], None]) -> None:
    def work(number: int) -> None:
        store = SqlUses(usage_url)
        for turn in range(10):
            uses = [replace(USE, login=f"login{place}", time=turn) for place in (range(20) if number % 2 else range(19, -1, -1))]
            store.note(uses, {(use.login, "192.0.2.9"): turn for use in uses})
        store.close()

    in_threads(work)
    store = SqlUses(usage_url)
    assert set(store.places(0, 100).values()) == {9}
    store.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.note((USE,), {}),
        lambda store: store.of("alice"),
        lambda store: store.places(0, 1),
        lambda store: store.forget(0),
        lambda store: store.remove("alice"),
    ],
)
def test_a_database_that_is_not_there_is_no_verdict_and_is_not_made(tmp_path: Path, call: Callable[[SqlUses], object]) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open"):
        call(SqlUses(f"sqlite:///{tmp_path / 'usage.db'}"))
    assert list(tmp_path.iterdir()) == []
