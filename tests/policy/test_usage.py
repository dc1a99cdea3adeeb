"""The arithmetic of limits, against a list of everything that was ever accepted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.account import Account, State
from policy.limits import Limits
from policy.login import Login
from policy.options import Options
from policy.usage import LONGEST, WINDOWS, Bucket, Excess, Holder, Window, free_at, holders, latest

HOUR, DAY = WINDOWS
SHORT = Window(limit="recipients_day", counts="recipients", minutes=3, words="recipients in three minutes")
LOGIN = Login(name="a", account="shop", options=Options(), created=1, limits=Limits(messages_hour=3))
ACCOUNT = Account(name="shop", state=State.APPROVED, created=1)


class Ledger:
    """Counts by the minute, and beside it the plain list of what was accepted: second and number."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.minutes: dict[int, int] = {}
        self.accepted: list[tuple[int, int]] = []

    @property
    def buckets(self) -> list[Bucket]:
        return [Bucket(minute, number) for minute, number in self.minutes.items()]

    def free(self, second: int, needed: int) -> int | None:
        return free_at(self.buckets, SHORT, needed=needed, allowed=self.allowed, now=second // 60)

    def take(self, second: int, needed: int) -> bool:
        if self.free(second, needed) != second // 60:
            return False
        self.minutes[second // 60] = self.minutes.get(second // 60, 0) + needed
        self.accepted.append((second, needed))
        return True

    def give_back(self, place: int) -> None:
        second, needed = self.accepted.pop(place)
        self.minutes[second // 60] -= needed

    def most(self) -> int:
        """The most there is within any 180 s, the ends included; a window that has the most can begin at one of them."""
        found = (
            sum(number for second, number in self.accepted if start <= second <= start + 60 * SHORT.minutes)
            for start, _ in self.accepted
        )
        return max(found, default=0)


STEPS = st.lists(
    st.tuples(
        st.integers(-200, 200) | st.integers(0, 30),  # seconds since the last one: the clock may be set back
        st.integers(1, 8),  # recipients
        st.integers(0, 5),  # 0: one that was accepted is given back first
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 10))
def test_no_window_ever_has_more_than_the_limit(steps: list[tuple[int, int, int]], allowed: int) -> None:
    ledger, second = Ledger(allowed), 1_000_000
    for passed, needed, undo in steps:
        second += passed
        if undo == 0 and ledger.accepted:
            ledger.give_back(needed % len(ledger.accepted))
        ledger.take(second, needed)
        assert ledger.most() <= allowed


@given(STEPS, st.integers(1, 10), st.integers(1, 10))
def test_there_is_room_at_the_time_told_and_not_before(steps: list[tuple[int, int, int]], allowed: int, needed: int) -> None:
    ledger, second = Ledger(allowed), 1_000_000
    for passed, number, _ in steps:
        second += passed
        ledger.take(second, number)
    free = ledger.free(second, needed)
    if free is None:
        assert needed > allowed
        return
    assert needed <= allowed
    if free > second // 60:
        assert ledger.free(free * 60 - 1, needed) == free  # a second before there is none, and the same is told
        assert not ledger.take(free * 60 - 1, needed)
    assert ledger.take(free * 60, needed)
    assert ledger.most() <= allowed


@given(STEPS, st.integers(1, 10))
def test_more_is_never_free_earlier(steps: list[tuple[int, int, int]], allowed: int) -> None:
    ledger, second = Ledger(allowed), 1_000_000
    for passed, number, _ in steps:
        second += passed
        ledger.take(second, number)
    times = [ledger.free(second, needed) for needed in range(1, allowed + 1)]
    assert all(time is not None for time in times)
    assert all(first <= second for first, second in pairwise(time for time in times if time is not None))


def test_a_minute_counts_until_its_last_second_is_an_hour_old() -> None:
    full = [Bucket(100, 5)]
    assert free_at(full, HOUR, needed=1, allowed=5, now=160) == 161
    assert free_at(full, HOUR, needed=1, allowed=5, now=161) == 161
    assert free_at([Bucket(100, 5)], DAY, needed=1, allowed=5, now=100) == 100 + 1441


def test_only_as_much_must_leave_as_is_needed() -> None:
    found = [Bucket(103, 2), Bucket(100, 1), Bucket(101, 4)]
    assert [free_at(found, HOUR, needed=needed, allowed=8, now=110) for needed in (1, 2, 3, 6, 7, 8, 9)] == [
        *(110, 161, 162, 162, 164, 164, None)
    ]


def test_minutes_to_come_count() -> None:
    assert free_at([Bucket(500, 5)], HOUR, needed=1, allowed=5, now=100) == 561


def test_who_has_limits_for_a_time_is_counted() -> None:
    login, account = holders(LOGIN, ACCOUNT)
    assert (login.subject, account.subject) == ("login a", "account shop")
    assert (login.counted, account.counted) == (True, False)
    assert (login.allowed(HOUR), login.allowed(DAY), account.allowed(HOUR)) == (3, None, None)
    for limits in (Limits(recipients_message=1), Limits(message_size=1), Limits(sessions=1)):
        assert not Holder(kind="login", name="a", limits=limits).counted


@pytest.mark.parametrize(("times", "expected"), [((), None), ((5, 7, 6), 7), ((5, None, 7), None), ((5, 5), 5)])
def test_what_is_waited_for_longest_is_told(times: tuple[int | None, ...], expected: int | None) -> None:
    holder = Holder(kind="login", name="a", limits=Limits())
    found = latest(Excess(holder=holder, window=HOUR, allowed=1, free=time) for time in times)
    assert (found.free if found else None) == expected
    assert (found is None) == (not times)


def test_the_longest_window_is_known() -> None:
    assert LONGEST == DAY.minutes == 1440
    assert HOUR.minutes == 60
