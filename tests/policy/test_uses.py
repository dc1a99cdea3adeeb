"""What is remembered of successful logins: at once in memory, soon in the database, and without it too."""

import asyncio
import logging
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from policy.stores import StoreUnavailable
from policy.stores.uses import SqlUses, Use
from policy.uses import AGAIN, KNOWN, READ, Uses

NOW = 1_800_000_000


@pytest.fixture
def clock(make_clock):
    return make_clock(NOW)


@pytest.fixture
def store(file: Path) -> Iterator[SqlUses]:
    made = SqlUses(f"sqlite:///{file}")
    yield made
    made.close()


def used(client: str = "", *, at: int = NOW, address: str = "192.0.2.9", number: int = 1) -> Use:
    return Use(login="alice", password=number, time=at, address=address, mechanism="PLAIN", client=client)


def note(uses: Uses, number: int = 1, address: str = "192.0.2.9", login: str = "alice") -> None:
    uses.note(login, number, address=address, mechanism="PLAIN")


def test_a_place_is_known_by_success_for_thirty_days(clock) -> None:
    uses = Uses(clock=clock)
    assert not uses.knows("alice", "192.0.2.9")
    note(uses)
    note(uses, address="2001:db8::1:2:3:4")
    assert uses.knows("alice", "192.0.2.9")
    assert uses.knows("alice", "2001:db8::/64")
    assert not uses.knows("bob", "192.0.2.9")
    assert not uses.knows("alice", "192.0.2.10")
    clock.now += KNOWN - 1
    assert uses.knows("alice", "192.0.2.9")
    clock.now += 1
    assert not uses.knows("alice", "192.0.2.9")


def test_no_address_is_no_place(clock, store: SqlUses) -> None:
    uses = Uses(store, clock=clock)
    note(uses, address="")
    uses.exchange()
    assert not uses.knows("alice", "")
    assert store.places(0, 10) == {}
    assert store.of("alice") == {1: used(address="")}


def test_what_one_process_learned_the_next_one_knows(clock, store: SqlUses) -> None:
    uses = Uses(store, clock=clock)
    note(uses)
    uses.sent("alice", "192.0.2.9", "phone.test")
    uses.exchange()
    assert store.of("alice") == {1: used("phone.test")}
    after = Uses(store, clock=clock)
    after.exchange()
    assert after.knows("alice", "192.0.2.9")
    assert after.used_since("alice", 1, NOW - 1)
    assert not after.used_since("alice", 1, NOW)
    assert not after.used_since("alice", 2, 0)


def test_what_another_node_learns_is_known_soon(clock, store: SqlUses) -> None:
    here, there = Uses(store, clock=clock), Uses(store, clock=clock)
    here.exchange()
    clock.now += 5
    note(there)
    there.exchange()
    here.exchange()
    assert not here.knows("alice", "192.0.2.9")
    clock.now += READ
    here.exchange()
    assert here.knows("alice", "192.0.2.9")
    assert here.used_since("alice", 1, NOW)


def test_what_is_too_old_is_forgotten(clock, store: SqlUses) -> None:
    store.note((), {("alice", "192.0.2.9"): NOW - KNOWN - 1, ("alice", "192.0.2.10"): NOW - 10})
    uses = Uses(store, clock=clock)
    uses.exchange()
    assert store.places(0, 10) == {("alice", "192.0.2.10"): NOW - 10}
    # Not only at the start.
    clock.now += KNOWN
    uses.exchange()
    assert store.places(0, 10) == {}


def test_a_clock_that_was_set_back_keeps_nobody_from_learning(clock, store: SqlUses) -> None:
    here = Uses(store, clock=clock)
    here.exchange()
    clock.now -= 86_400
    store.note((), {("alice", "192.0.2.9"): int(clock.now)})
    here.exchange()
    assert here.knows("alice", "192.0.2.9")


def test_a_place_is_written_once_an_hour(clock, store: SqlUses) -> None:
    uses = Uses(store, clock=clock)
    written = []
    for seconds in (0, 10, AGAIN, 10):
        clock.now += seconds
        note(uses)
        uses.exchange()
        written.append(store.places(0, 1)["alice", "192.0.2.9"] - NOW)
    assert written == [0, 0, AGAIN + 10, AGAIN + 10]


def test_a_client_belongs_to_the_password_that_is_used_at_its_address(clock, store: SqlUses) -> None:
    uses = Uses(store, clock=clock)
    note(uses, 1, "192.0.2.1")
    note(uses, 2, "192.0.2.2")
    uses.sent("alice", "192.0.2.1", "old.test")
    uses.sent("alice", "192.0.2.2", "new.test")
    uses.sent("alice", "192.0.2.3", "stranger.test")
    uses.sent("bob", "192.0.2.1", "stranger.test")
    uses.exchange()
    expected = {1: used("old.test", address="192.0.2.1"), 2: used("new.test", address="192.0.2.2", number=2)}
    assert store.of("alice") == expected
    # Its next session is the same client's until it says otherwise; another address is another client.
    note(uses, 1, "192.0.2.1")
    note(uses, 2, "192.0.2.1")
    uses.exchange()
    assert store.of("alice") == expected | {2: used(address="192.0.2.1", number=2)}
    uses.sent("alice", "192.0.2.2", "late.test")
    uses.exchange()
    assert store.of("alice")[2].client == ""


@pytest.mark.parametrize(("said", "kept"), [("a\nb\x00\udce9", "a?b??"), ("x" * 1000, "x" * 255), ("näme.test", "näme.test")])
def test_a_client_may_call_itself_anything(clock, store: SqlUses, said: str, kept: str) -> None:
    uses = Uses(store, clock=clock)
    note(uses)
    uses.sent("alice", "192.0.2.9", said)
    uses.exchange()
    assert store.of("alice")[1].client == kept


def test_without_its_database_everything_goes_on_from_memory(
    clock, file: Path, store: SqlUses, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    away = file.with_suffix(".away")
    file.rename(away)
    uses = Uses(store, clock=clock)
    note(uses)
    for _ in range(3):
        uses.exchange()
        clock.now += 1
    assert uses.knows("alice", "192.0.2.9")
    assert uses.used_since("alice", 1, NOW - 1)
    with pytest.raises(StoreUnavailable):
        uses.used_since("alice", 1, NOW)
    note(uses)
    away.rename(file)
    uses.exchange()
    assert store.of("alice") == {1: used(at=NOW + 3)}
    assert store.places(0, 10) == {("alice", "192.0.2.9"): NOW}
    assert [(record.levelname, record.getMessage()[:28]) for record in caplog.records] == [
        ("WARNING", "last uses are kept in memory"),
        ("INFO", "last uses are written again"),
    ]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(_: Path) -> Iterator[None]:
    """No file can grow: what a full disk is to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", [locked, full])
def test_a_database_that_is_locked_or_full_takes_it_later(
    trouble: Callable[[Path], AbstractContextManager[None]], clock, file: Path, store: SqlUses
) -> None:
    uses = Uses(store, clock=clock)
    uses.exchange()
    note(uses)
    with trouble(file):
        uses.exchange()
        assert uses.knows("alice", "192.0.2.9")
    assert store.of("alice") == {}
    uses.exchange()
    assert store.of("alice") == {1: used()}


def test_memory_is_bounded_also_while_nothing_can_be_written(clock, tmp_path: Path) -> None:
    uses = Uses(SqlUses(f"sqlite:///{tmp_path / 'missing.db'}"), clock=clock, capacity=10)
    for number in range(100):
        note(uses, number, f"192.0.2.{number}", f"login{number}")
        if number % 7 == 0:
            uses.exchange()
    kept = [getattr(uses, name) for name in vars(uses) if isinstance(getattr(uses, name), dict)]
    assert len(kept) == 5
    assert {len(each) for each in kept} == {10}
    assert uses.knows("login99", "192.0.2.99")
    assert not uses.knows("login9", "192.0.2.9")


def test_without_a_store_there_is_memory_alone(clock) -> None:
    uses = Uses(clock=clock)
    note(uses)
    uses.exchange()
    assert uses.used_since("alice", 1, NOW - 1)
    assert not uses.used_since("alice", 2, 0)
    asyncio.run(asyncio.wait_for(uses.keep(asyncio.Event()), 5))


def test_it_is_written_off_the_loop_and_once_more_at_the_end(clock, store: SqlUses) -> None:
    async def scenario() -> None:
        stop, uses = asyncio.Event(), Uses(store, clock=clock)
        kept = asyncio.create_task(uses.keep(stop))
        note(uses)
        limit = time.monotonic() + 10
        while not store.of("alice"):
            assert time.monotonic() < limit
            await asyncio.sleep(0.02)
        note(uses, 2)
        stop.set()
        await asyncio.wait_for(kept, 10)
        assert store.of("alice").keys() == {1, 2}

    asyncio.run(scenario())


def test_nobody_waits_for_a_database_that_is_locked(clock, file: Path, store: SqlUses) -> None:
    async def scenario() -> None:
        stop, uses = asyncio.Event(), Uses(store, clock=clock)
        note(uses)
        kept = asyncio.create_task(uses.keep(stop))
        for number in range(20):
            await asyncio.sleep(0.001)
            note(uses, number)
            assert uses.knows("alice", "192.0.2.9")
        assert not kept.done()
        stop.set()
        await asyncio.wait_for(kept, 20)

    with locked(file):
        asyncio.run(scenario())
    assert store.of("alice") == {}
