"""What limits say, with a real usage database; and that nobody without limits ever asks it."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from policy.account import Account, State
from policy.gate import Gate
from policy.limiter import TIDY, Limiter, message_refusal
from policy.limits import Limits
from policy.login import Login
from policy.options import Options
from policy.reply import Refused
from policy.stores import StoreUnavailable
from policy.stores.migrate import USAGE, migrate
from policy.stores.sql import SqlStore
from policy.stores.usage import KEPT, LIFE, UsageStore
from policy.usage import Holder, holders
from policy.wire.delegation import Request

NOW = 1_795_356_300  # 2026-11-22 14:05 UTC
NONE = Limits()


@pytest.fixture
def clock(make_clock):
    return make_clock(NOW)


@pytest.fixture
def limiter(file: Path, clock) -> Limiter:
    return Limiter(UsageStore(f"sqlite:///{file}"), place="host:milter-0", clock=clock)


def limited(login: Limits = NONE, account: Limits = NONE) -> tuple[Holder, Holder]:
    return holders(
        Login(name="a", account="shop", options=Options(), created=1, limits=login),
        Account(name="shop", state=State.APPROVED, created=1, limits=account),
    )


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        ask()
    return str(caught.value)


def told(limiter: Limiter, who: tuple[Holder, Holder], accepted: int = 0, size: int = 0) -> str:
    return str(limiter.refusal(who, accepted=accepted, size=size))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def sessions(file: Path) -> list[tuple[str, str, int]]:
    connection = sqlite3.connect(file)
    found = list(connection.execute("SELECT login, owner, renewed FROM sessions"))
    connection.close()
    return found


def test_without_limits_nobody_is_asked(tmp_path: Path) -> None:
    limiter = Limiter(UsageStore(f"sqlite:///{tmp_path / 'missing' / 'usage.db'}"))
    for who in (limited(), limited(Limits(message_size=100, recipients_message=5))):
        assert limiter.refusal(who, accepted=4, size=100) is None
        assert limiter.take(who, 10_000) is None
        assert limiter.enter(who) is None


def test_each_limit_has_its_reply(limiter: Limiter) -> None:
    hour, day = limited(Limits(messages_hour=1)), limited(account=Limits(recipients_day=5))
    assert limiter.take(hour, 100) is not None
    assert limiter.take(day, 4) is not None
    assert refusal(lambda: limiter.take(hour, 1)) == (
        "450 4.7.1 Limit of 1 messages an hour reached; free again at 2026-11-22 15:06 UTC"
    )
    assert refusal(lambda: limiter.take(day, 2)) == (
        "450 4.7.1 Limit of 5 recipients a day of this account reached; free again at 2026-11-23 14:06 UTC"
    )
    assert (
        refusal(lambda: limiter.take(day, 6)) == "550 5.7.1 Limit of 5 recipients a day of this account; this message alone has 6"
    )
    assert told(limiter, hour) == "450 4.7.1 Limit of 1 messages an hour reached; free again at 2026-11-22 15:06 UTC"
    assert told(limiter, day) == "None"
    assert told(limiter, day, accepted=1).startswith(
        "450 4.7.1 Limit of 5 recipients a day of this account reached; free again at "
    )


def test_the_time_told_is_when_it_is_free(limiter: Limiter, clock) -> None:
    who = limited(Limits(messages_hour=1))
    clock.now += 59.9  # still 14:05
    assert limiter.take(who, 1) is not None
    clock.now = NOW + 61 * 60 - 0.1
    assert "15:06" in refusal(lambda: limiter.take(who, 1))
    clock.now = NOW + 61 * 60
    assert limiter.take(who, 1) is not None


def test_a_message_of_more_recipients_than_a_day_has_goes_in_parts(limiter: Limiter) -> None:
    who = limited(Limits(recipients_day=3))
    assert [told(limiter, who, accepted)[:9] for accepted in range(5)] == ["None"] * 3 + ["450 4.7.1"] * 2
    assert limiter.take(who, 3) is not None


def test_what_is_given_back_counts_no_more(limiter: Limiter, clock) -> None:
    who = limited(Limits(messages_hour=1), Limits(recipients_day=2))
    taken = limiter.take(who, 2)
    assert taken is not None
    clock.now += 90  # another minute by now
    limiter.give_back(taken)
    assert limiter.take(who, 2) is not None


def test_the_smallest_limit_holds() -> None:
    who = limited(Limits(recipients_message=3, message_size=100), Limits(recipients_message=5, message_size=50))
    assert message_refusal(who, recipients=3, size=50, whole=True) is None
    assert str(message_refusal(who, recipients=4, size=50, whole=False)) == (
        "452 4.5.3 Too many recipients of one message; at most 3"
    )
    assert str(message_refusal(who, recipients=4, size=50, whole=True)).startswith("450 4.5.3 ")
    assert str(message_refusal(who, recipients=9, size=51, whole=True)) == "552 5.3.4 Message too large; at most 50 octets"


def test_the_gate_asks_for_those_it_lets_in(tmp_path: Path, limiter: Limiter) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    store = SqlStore(url)
    store.add_account(Account(name="shop", state=State.APPROVED, created=1))
    limits = Limits(recipients_day=5, recipients_message=2, message_size=1000)
    store.add_login(Login(name="a", account="shop", options=Options(), created=1, limits=limits))
    gate = Gate(store, postmaster="pm@example.com", limiter=limiter)

    def asked(accepted: int, **more: str) -> str:
        return str(gate.refusal(Request(sasl_username="a", recipient="b@example.net", encrypted=True, **more), accepted))

    assert asked(1, size="1000") == "None"
    assert asked(2)[:9] == "452 4.5.3"
    assert asked(0, size="1001") == "552 5.3.4 Message too large; at most 1000 octets"
    assert [asked(0, size=size) for size in ("", "0", "-1", "x")] == ["None"] * 4
    assert limiter.take(limited(limits), 5) is not None
    assert asked(0)[:9] == "450 4.7.1"
    store.close()


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_sessions_come_and_go(limiter: Limiter, file: Path, wait_for) -> None:
    who = limited(Limits(sessions=1))
    seat = limiter.enter(who)
    assert seat is not None
    assert refusal(lambda: limiter.enter(who)) == "450 4.7.1 Too many sessions of this login at a time; at most 1"
    limiter.leave(seat)
    wait_for(lambda: sessions(file) == [])
    assert limiter.enter(limited(account=Limits(sessions=1))) is not None
    assert refusal(lambda: limiter.enter(limited(account=Limits(sessions=1)))) == (
        "450 4.7.1 Too many sessions of this account at a time; at most 1"
    )


def test_a_session_that_lasts_is_told_of_again(limiter: Limiter, file: Path, clock, wait_for) -> None:
    who = limited(Limits(sessions=1))
    assert limiter.enter(who) is not None
    for _ in range(12):
        clock.now += LIFE / 5
        limiter.renew()
        wait_for(lambda: [row[2] for row in sessions(file)] == [int(clock.now)])
    assert "Too many" in refusal(lambda: limiter.enter(who))


def test_the_next_one_in_a_place_knows_that_the_sessions_of_the_last_are_over(
    limiter: Limiter, file: Path, clock, wait_for
) -> None:
    who = limited(Limits(sessions=1))
    assert limiter.enter(who) is not None  # and nothing more is heard of this one
    elsewhere = Limiter(UsageStore(f"sqlite:///{file}"), place="host:milter-1", clock=clock)
    elsewhere.renew()
    assert "Too many" in refusal(lambda: elsewhere.enter(who))
    Limiter(UsageStore(f"sqlite:///{file}"), place="host:milter-0", clock=clock).renew()
    wait_for(lambda: sessions(file) == [])
    assert elsewhere.enter(who) is not None


def test_a_session_that_ended_while_the_database_was_locked_is_removed_later(limiter: Limiter, file: Path, wait_for) -> None:
    seat = limiter.enter(limited(Limits(sessions=1)))
    assert seat is not None
    limiter.renew()
    with locked(file):
        limiter.leave(seat)
        with pytest.raises(StoreUnavailable):
            limiter.enter(limited(Limits(sessions=1)))
    assert len(sessions(file)) == 1
    limiter.renew()
    wait_for(lambda: sessions(file) == [])


# -- old counts --------------------------------------------------------------------------------------------------------


def test_old_counts_are_removed_by_whoever_takes(limiter: Limiter, file: Path, clock, wait_for) -> None:
    who = limited(Limits(messages_hour=10))

    def minutes() -> list[int]:
        connection = sqlite3.connect(file)
        found = [minute for (minute,) in connection.execute("SELECT minute FROM counters ORDER BY minute")]
        connection.close()
        return found

    first = NOW // 60
    assert limiter.take(who, 1) is not None
    clock.now += 60 * (KEPT + 1)
    assert limiter.take(who, 1) is not None
    wait_for(lambda: minutes() == [first + KEPT + 1])
    clock.now += 60 * (TIDY - 1)
    assert limiter.take(who, 1) is not None
    assert minutes() == [first + KEPT + 1, first + KEPT + TIDY]


# -- a database that cannot answer -------------------------------------------------------------------------------------


def test_a_missing_database_lets_nobody_with_limits_through(tmp_path: Path) -> None:
    limiter = Limiter(UsageStore(f"sqlite:///{tmp_path / 'usage.db'}"))
    for ask in (
        lambda: limiter.refusal(limited(Limits(messages_hour=1)), accepted=0, size=0),
        lambda: limiter.take(limited(Limits(recipients_day=1)), 1),
        lambda: limiter.enter(limited(Limits(sessions=1))),
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    assert limiter.take(limited(Limits(message_size=1)), 1) is None


def test_what_cannot_be_given_back_stays_counted_and_is_told(limiter: Limiter, file: Path, caplog) -> None:
    taken = limiter.take(limited(Limits(messages_hour=1)), 1)
    assert taken is not None
    with locked(file):
        limiter.give_back(taken)
    assert "subject=login a verdict=failed" in caplog.text
    assert "450 4.7.1" in refusal(lambda: limiter.take(limited(Limits(messages_hour=1)), 1))


def backend(url: str) -> int:
    """The process of the server that answers the only other one who asks it about this database."""
    with psycopg.connect(sa.make_url(url).set(drivername="postgresql").render_as_string()) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    ((pid,),) = found
    return int(pid)


def test_nobody_queues_behind_a_database_that_hangs(postgresql) -> None:
    url = postgresql.database()
    migrate(url, USAGE)
    limiter, who = Limiter(UsageStore(url)), limited(Limits(messages_hour=5))
    assert limiter.take(who, 1) is not None
    process = backend(url)
    looks: list[str] = []
    takes: list[str] = []

    def unanswered(ask: Callable[[], object], ends: list[str]) -> None:
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        ends.append(str(caught.value))

    def look() -> None:
        unanswered(lambda: limiter.refusal(who, accepted=0, size=0), looks)

    takers = [threading.Thread(target=unanswered, args=(lambda: limiter.take(who, 1), takes)) for _ in range(3)]
    os.kill(process, signal.SIGSTOP)
    try:
        first = threading.Thread(target=look)
        first.start()
        for thread in takers:
            thread.start()
        first.join()
        limit = time.monotonic() + 30
        while "waited for already" not in looks[-1]:  # from now on at once
            assert time.monotonic() < limit
            look()
        os.kill(process, signal.SIGTERM)
    finally:
        os.kill(process, signal.SIGCONT)
    for thread in takers:
        thread.join()
    assert "did not answer within" in looks[0]
    # Whoever came late enough is one of those told at once.
    assert all(any(word in end for word in ("terminat", "failed another one", "waited for already")) for end in takes)
    assert len(takes) == 3
    assert limiter.take(who, 1) is not None
