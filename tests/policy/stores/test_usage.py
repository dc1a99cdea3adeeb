"""Counting on both databases: exact at the edge of a limit, whoever races for it, and freed at the minute that was told."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from policy.limits import Limits
from policy.stores import StoreUnavailable
from policy.stores.migrate import USAGE, migrate
from policy.stores.usage import KEPT, LIFE, MANY, Seat, UsageStore
from policy.stores.usage_schema import counters
from policy.usage import WINDOWS, Amount, Excess, Holder

NOW = 30_000_000  # minutes: in 2027
HOUR, DAY = WINDOWS
RACERS, LIMIT = 50, 7


@pytest.fixture
def store(usage_url: str) -> Iterator[UsageStore]:
    made = UsageStore(usage_url)
    yield made
    made.close()


def login(name: str = "a", **limits: int) -> Holder:
    return Holder(kind="login", name=name, limits=Limits(**limits))


def account(**limits: int) -> Holder:
    return Holder(kind="account", name="shop", limits=Limits(**limits))


def message(recipients: int = 1) -> Amount:
    return Amount(messages=1, recipients=recipients)


def counted(store: UsageStore, holder: Holder) -> tuple[int, int]:
    """Messages of the hour and recipients of the day."""
    messages, recipients = (sum(bucket.number for bucket in store.buckets(holder, window, NOW)) for window in WINDOWS)
    return messages, recipients


def rows(usage_url: str, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(usage_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        found = connection.exec_driver_sql(statement)
        return [tuple(row) for row in found] if found.returns_rows else []


def fill(usage_url: str, buckets: list[tuple[str, int]]) -> None:
    values = [{"subject": subject, "minute": minute, "messages": 1, "recipients": 1} for subject, minute in buckets]
    with sa.create_engine(usage_url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.insert(counters), values)


def stubborn(take: Callable[[], Excess | None]) -> Excess | None:
    """What a client does that is told to come again, since others took too long."""
    while True:
        try:
            return take()
        except StoreUnavailable as error:
            assert "deadlock" not in str(error)


def test_the_last_one_that_fits_is_counted_and_the_next_is_not(store: UsageStore) -> None:
    one = login(messages_hour=2, recipients_day=10)
    assert store.take([one], message(4), NOW) is None
    assert store.take([one], message(6), NOW + 10) is None
    assert counted(store, one) == (2, 10)
    refused = store.take([one], message(4), NOW + 20)
    assert refused == Excess(holder=one, window=DAY, allowed=10, free=NOW + 1441)
    assert store.take([one], message(5), NOW + 20) == Excess(holder=one, window=DAY, allowed=10, free=NOW + 1451)
    assert store.take([login(messages_hour=2)], message(), NOW + 20) == Excess(
        holder=login(messages_hour=2), window=HOUR, allowed=2, free=NOW + 61
    )
    assert counted(store, one) == (2, 10)


def test_it_is_freed_at_the_minute_that_was_told(store: UsageStore) -> None:
    one = login(recipients_day=5)
    assert store.take([one], message(3), NOW) is None
    assert store.take([one], message(2), NOW + 7) is None
    refused = store.take([one], message(4), NOW + 8)
    assert refused is not None
    assert refused.free == NOW + 1448
    assert store.take([one], message(4), refused.free - 1) is not None
    assert store.take([one], message(4), refused.free) is None


def test_what_alone_is_more_than_the_limit_never_fits(store: UsageStore) -> None:
    refused = store.take([login(recipients_day=5)], message(6), NOW)
    assert refused is not None
    assert refused.free is None


def test_login_and_account_are_counted_together_or_not_at_all(store: UsageStore) -> None:
    one, other, owner = login(recipients_day=100), login("b", recipients_day=5), account(recipients_day=8)
    assert store.take([one, owner], message(6), NOW) is None
    refused = store.take([other, owner], message(3), NOW)
    assert refused is not None
    assert (refused.holder, refused.free) == (owner, NOW + 1441)
    assert [counted(store, each) for each in (one, other, owner)] == [(1, 6), (0, 0), (1, 6)]
    assert store.take([other, owner], message(2), NOW) is None
    refused = store.take([other, owner], message(6), NOW)
    assert refused is not None
    assert (refused.holder, refused.free) == (other, None)
    assert [counted(store, each) for each in (one, other, owner)] == [(1, 6), (1, 2), (2, 8)]


def test_names_of_logins_and_accounts_are_apart(store: UsageStore) -> None:
    assert store.take([login("shop", messages_hour=1)], message(), NOW) is None
    assert store.take([account(messages_hour=1)], message(), NOW) is None


def test_what_is_given_back_is_free_again(store: UsageStore) -> None:
    both = [login(messages_hour=1), account(recipients_day=3)]
    assert store.take(both, message(3), NOW) is None
    assert store.take(both, message(3), NOW + 1) is not None
    store.give_back(both, message(3), NOW)
    assert store.take(both, message(3), NOW + 1) is None
    assert [counted(store, each) for each in both] == [(1, 3), (1, 3)]


def test_a_look_counts_nothing_and_knows_the_recipients_before(store: UsageStore) -> None:
    one = login(messages_hour=1, recipients_day=5)
    assert [store.excess([one], others, NOW) for others in range(5)] == [None] * 5
    assert store.excess([one], 5, NOW) == Excess(holder=one, window=DAY, allowed=5, free=NOW + 1441)
    assert counted(store, one) == (0, 0)
    assert store.take([one], message(2), NOW - 30) is None
    assert store.excess([one], 0, NOW) == Excess(holder=one, window=HOUR, allowed=1, free=NOW + 31)
    assert store.excess([login(recipients_day=5)], 2, NOW) is None
    found = store.excess([login(recipients_day=5)], 3, NOW)
    assert found is not None
    assert found.free == NOW + 1411


def test_a_clock_that_was_set_back_gives_nothing(store: UsageStore) -> None:
    one = login(messages_hour=1)
    assert store.take([one], message(), NOW) is None
    for minutes in (1, 59, 61, 5_000):
        refused = store.take([one], message(), NOW - minutes)
        assert refused is not None
        assert refused.free == NOW + 61


def racing(usage_url: str, barrier: "threading.Barrier", limits: int, accepted: "Callable[[], None]") -> None:
    store = UsageStore(usage_url)
    barrier.wait()
    both = [login(messages_hour=limits), account(recipients_day=3 * limits)]
    for _ in range(2):
        if stubborn(lambda: store.take(both, message(3), NOW)) is None:
            accepted()
    store.close()


def test_fifty_threads_at_the_edge(usage_url: str, store: UsageStore) -> None:
    taken: list[int] = []
    barrier = threading.Barrier(RACERS)
    threads = [threading.Thread(target=racing, args=(usage_url, barrier, LIMIT, lambda: taken.append(1))) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == LIMIT
    assert counted(store, login()) == (LIMIT, 3 * LIMIT)
    assert counted(store, account()) == (LIMIT, 3 * LIMIT)


def _race(usage_url: str, barrier: "threading.Barrier", results: "multiprocessing.Queue[int]") -> None:
    taken: list[int] = []
    racing(usage_url, barrier, LIMIT, lambda: taken.append(1))
    results.put(len(taken))


def test_processes_at_the_edge(usage_url: str, store: UsageStore) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(12), context.Queue()
    processes = [context.Process(target=_race, args=(usage_url, barrier, results)) for _ in range(12)]
    for process in processes:
        process.start()
    taken = sum(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 12
    assert taken == LIMIT
    assert counted(store, login()) == (LIMIT, 3 * LIMIT)


def test_takers_of_several_never_wait_for_each_other_in_a_circle(usage_url: str, in_threads) -> None:
    names = [login(str(number), messages_hour=10**6) for number in range(4)]

    def work(number: int) -> None:
        store = UsageStore(usage_url)
        order = names[number:] + names[:number]
        for _ in range(20):
            stubborn(lambda: store.take(order, message(), NOW))
            stubborn(lambda: store.give_back(order[:2], message(), NOW))
        store.close()

    in_threads(work)
    reader = UsageStore(usage_url)
    assert sum(counted(reader, each)[0] for each in names) == 4 * 20 * (4 - 2)
    reader.close()


# -- sessions ----------------------------------------------------------------------------------------------------------


def seat(number: int, name: str = "a") -> Seat:
    return Seat(id=f"{number}", login=name, account="shop")


def test_sessions_up_to_the_limit_and_one_for_each_that_leaves(store: UsageStore) -> None:
    one, owner = login(sessions=2), account()
    assert [store.enter(seat(number), [one, owner], "host:1", NOW) for number in range(3)] == [None, None, one]
    assert store.sessions(one, NOW) == store.sessions(owner, NOW) == 2
    store.leave(seat(0))
    store.leave(seat(0))
    assert store.enter(seat(3), [one, owner], "host:1", NOW) is None
    assert store.sessions(one, NOW) == 2


def test_an_account_counts_the_sessions_of_all_its_logins(store: UsageStore) -> None:
    owner = account(sessions=2)
    for number, name in enumerate(("a", "b")):
        assert store.enter(seat(number, name), [login(name, sessions=5), owner], "host:1", NOW) is None
    assert store.enter(seat(2, "c"), [login("c", sessions=5), owner], "host:1", NOW) is owner
    assert store.sessions(login("c"), NOW) == 0


def test_sessions_nobody_tells_of_are_forgotten(store: UsageStore) -> None:
    one = login(sessions=1)
    assert store.enter(seat(1), [one], "host:1", NOW) is None
    assert store.enter(seat(2), [one], "other:1", NOW + LIFE) is one
    store.renew([seat(1)], "host:1", "host:", NOW + LIFE)
    assert store.enter(seat(2), [one], "other:1", NOW + 2 * LIFE) is one
    assert store.enter(seat(2), [one], "other:1", NOW + 2 * LIFE + 1) is None


def test_a_worker_tells_which_sessions_there_are(usage_url: str, store: UsageStore) -> None:
    for number, owner in enumerate(("h%_:0:77", "h%_:0:78", "h%_:1:77", "hxx:0:77", "h%_:01:77")):
        assert store.enter(seat(number), [login()], owner, NOW) is None
    store.renew([seat(1), seat(9)], "h%_:0:78", "h%_:0:", NOW + 1)
    assert sorted(rows(usage_url, "SELECT id, owner, renewed FROM sessions")) == [
        ("1", "h%_:0:78", NOW + 1),  # the one it has
        ("2", "h%_:1:77", NOW),
        ("3", "hxx:0:77", NOW),
        ("4", "h%_:01:77", NOW),
        ("9", "h%_:0:78", NOW + 1),  # one that was lost
    ]
    store.renew([], "h%_:0:79", "h%_:0:", NOW + 2)
    assert store.sessions(login(), NOW) == 3


def test_fifty_sessions_at_the_edge(usage_url: str, store: UsageStore) -> None:
    one = login(sessions=LIMIT)
    let_in: list[int] = []
    barrier = threading.Barrier(RACERS)

    def work(number: int) -> None:
        mine = UsageStore(usage_url)
        barrier.wait()
        while True:
            try:
                if mine.enter(seat(number), [one], f"host:{number}", NOW) is None:
                    let_in.append(number)
            except StoreUnavailable:
                continue
            break
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == store.sessions(one, NOW) == LIMIT


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_old_counts_go_in_portions_and_none_that_counts(usage_url: str, store: UsageStore) -> None:
    one = login(recipients_day=10**6)
    assert store.take([one], message(3), NOW - KEPT) is None
    assert store.take([one], message(2), NOW) is None
    old = NOW - KEPT - 1
    fill(usage_url, [(f"login {number}", old - number // 100) for number in range(MANY + 10)])
    assert store.enter(seat(1), [one], "host:1", NOW * 60 - LIFE - 1) is None
    assert store.enter(seat(2), [one], "host:1", NOW * 60 - LIFE) is None
    assert [store.forget(NOW), store.forget(NOW)] == [True, False]
    assert rows(usage_url, "SELECT minute, recipients FROM counters ORDER BY minute") == [(NOW - KEPT, 3), (NOW, 2)]
    assert rows(usage_url, "SELECT id FROM sessions") == [("2",)]


def test_another_process_sees_what_was_counted(usage_url: str, store: UsageStore) -> None:
    assert store.take([login(messages_hour=1)], message(), NOW) is None
    fresh = UsageStore(usage_url)
    assert fresh.take([login(messages_hour=1)], message(), NOW) is not None
    fresh.close()


# -- a database that cannot answer -------------------------------------------------------------------------------------


@dataclass
class Question:
    ask: Callable[[UsageStore], object]
    writes: bool


QUESTIONS = {
    "take": Question(lambda store: store.take([login(messages_hour=1)], message(), NOW), writes=True),
    "give back": Question(lambda store: store.give_back([login()], message(), NOW), writes=True),
    "look": Question(lambda store: store.excess([login(messages_hour=1)], 0, NOW), writes=False),
    "buckets": Question(lambda store: store.buckets(login(), HOUR, NOW), writes=False),
    "forget": Question(lambda store: store.forget(NOW), writes=True),
    "enter": Question(lambda store: store.enter(seat(1), [login(sessions=1)], "host:1", NOW), writes=True),
    "leave": Question(lambda store: store.leave(seat(1)), writes=True),
    "renew": Question(lambda store: store.renew([seat(1)], "host:1", "host:", NOW), writes=True),
    "sessions": Question(lambda store: store.sessions(login(), NOW), writes=False),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_missing_or_damaged_file_is_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / "usage.db"
    store = UsageStore(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailable):
        QUESTIONS[name].ask(store)
    assert not file.exists()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable):
        QUESTIONS[name].ask(store)
    file.unlink()
    migrate(f"sqlite:///{file}", USAGE)
    QUESTIONS[name].ask(store)
    store.close()


def test_a_file_that_was_put_back_is_the_one_that_counts(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    migrate(f"sqlite:///{file}", USAGE)
    store = UsageStore(f"sqlite:///{file}")
    assert store.take([login(messages_hour=1)], message(), NOW) is None
    for path in tmp_path.glob("usage.db*"):
        path.rename(path.with_name(f"old-{path.name}"))
    migrate(f"sqlite:///{file}", USAGE)
    assert store.take([login(messages_hour=1)], message(), NOW) is None
    assert store.take([login(messages_hour=1)], message(), NOW) is not None
    store.close()


@pytest.mark.parametrize("name", ["take", "look", "enter"])
def test_a_locked_file_is_waited_for_a_moment_and_only_by_writers(tmp_path: Path, name: str) -> None:
    file = tmp_path / "usage.db"
    migrate(f"sqlite:///{file}", USAGE)
    store = UsageStore(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    if QUESTIONS[name].writes:
        with pytest.raises(StoreUnavailable, match="locked"):
            QUESTIONS[name].ask(store)
    else:
        assert QUESTIONS[name].ask(store) is None
    other.execute("ROLLBACK")
    other.close()
    assert QUESTIONS[name].ask(store) is None
    store.close()


def test_a_server_that_restarts_is_asked_again(postgresql) -> None:
    made = postgresql.database()
    migrate(made, USAGE)
    store = UsageStore(made)
    assert store.take([login(messages_hour=2)], message(), NOW) is None
    postgresql.stop()
    for question in QUESTIONS.values():
        with pytest.raises(StoreUnavailable):
            question.ask(store)
    postgresql.start()
    assert store.take([login(messages_hour=2)], message(), NOW) is None
    assert store.take([login(messages_hour=2)], message(), NOW) is not None
    store.close()


def test_a_lock_somebody_keeps_is_not_waited_for_forever(postgresql) -> None:
    made = postgresql.database()
    migrate(made, USAGE)
    store = UsageStore(made)
    with psycopg.connect(sa.make_url(made).set(drivername="postgresql").render_as_string()) as other:
        other.execute("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            store.take([login(messages_hour=1)], message(), NOW)
        other.rollback()
    assert store.take([login(messages_hour=1)], message(), NOW) is None
    store.close()
