"""Keys that change by themselves: whenever the timer runs, no mail is on its way whose key nobody can look up."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.domains import Algorithm, SigningKey
from policy.rotation import RESERVED, Make, due_at, first, move, selectors, turns

PERIOD = 1_000
TTL = 36  # as an hour to 30 days, and more
BOTH = (Algorithm.RSA, Algorithm.ED25519)


def maker(now: int, serials: "count[int]") -> Make:
    """Makes keys whose public half is a serial number."""

    def make(algorithm: Algorithm, selector: str) -> SigningKey:
        return SigningKey(
            domain="example.com",
            selector=selector,
            account="shop",
            algorithm=algorithm,
            public=str(next(serials)),
            sealed=b"",
            created=now,
            rotates=True,
        )

    return make


def roles(keys: tuple[SigningKey, ...], algorithm: Algorithm = Algorithm.RSA) -> tuple[str, ...]:
    """The selectors of the previous, the current and the next key."""
    turn = turns(keys)[algorithm]
    return tuple("" if key is None else key.selector for key in (turn.previous, turn.current, turn.next))


def test_the_selectors_take_turns() -> None:
    serials = count()
    keys = first(BOTH, maker(0, serials), 0)
    assert roles(keys) == ("", "zero", "one")
    assert roles(keys, Algorithm.ED25519) == ("", "zero-ed25519", "one-ed25519")
    seen = []
    for now in range(PERIOD, 6 * PERIOD, PERIOD):
        assert due_at(keys, period=PERIOD) == now
        keys = move(keys, maker(now, serials), now)
        seen.append(roles(keys))
    assert seen == [("zero", "one", "two"), ("one", "two", "zero"), ("two", "zero", "one"), *seen[:2]]
    assert len(keys) == 6


def test_keys_of_ones_own_stay_as_they_are() -> None:
    serials = count()
    imported = replace(maker(0, serials)(Algorithm.RSA, "mine"), rotates=False, active=0)
    keys = (imported, *first([Algorithm.RSA], maker(0, serials), 0))
    for now in range(PERIOD, 5 * PERIOD, PERIOD):
        keys = move(keys, maker(now, serials), now)
        assert imported in keys
    assert turns([imported]) == {}
    assert due_at([imported], period=PERIOD) is None
    assert move([imported], maker(0, serials), 0) == (imported,)


def test_the_reserved_selectors_are_those_of_rotation() -> None:
    assert selectors(Algorithm.RSA) == ("zero", "one", "two")
    assert frozenset((*selectors(Algorithm.RSA), *selectors(Algorithm.ED25519))) == RESERVED


def test_a_key_counts_as_published_since_it_was_seen_where_that_is_asked_for() -> None:
    keys = first([Algorithm.RSA], maker(0, count()), 0)
    assert due_at(keys, period=PERIOD, by_sight=True) is None
    seen = tuple(replace(key, seen=2 * PERIOD) for key in keys)
    assert due_at(seen, period=PERIOD, by_sight=True) == 3 * PERIOD


def test_both_kinds_move_together() -> None:
    keys = first(BOTH, maker(0, count()), 0)
    younger = tuple(replace(key, created=5) if key.selector == "one-ed25519" else key for key in keys)
    assert due_at(younger, period=PERIOD) == PERIOD + 5


@pytest.mark.parametrize(
    "spoil", [lambda keys: keys[:1], lambda keys: keys[1:], lambda keys: tuple(replace(key, active=1) for key in keys)]
)
def test_keys_in_no_order_are_left_alone(spoil: Callable[[tuple[SigningKey, ...]], tuple[SigningKey, ...]]) -> None:
    keys = spoil(first([Algorithm.RSA], maker(0, count()), 0))
    with pytest.raises(ValueError, match="not in the order"):
        due_at(keys, period=PERIOD)
    with pytest.raises(ValueError, match="not in the order"):
        move(keys, maker(0, count()), 0)


# Whenever the timer runs.

PAUSES = st.lists(st.integers(0, 3 * PERIOD) | st.integers(0, PERIOD // 20) | st.just(PERIOD), min_size=1, max_size=30)
History = list[tuple[int, tuple[SigningKey, ...]]]


def run(pauses: list[int]) -> History:
    """The keys from each moment on, of a domain whose timer runs after each of the pauses."""
    serials, now = count(), 0
    keys = first(BOTH, maker(now, serials), now)
    history = [(now, keys)]
    for pause in pauses:
        now += pause
        if (due_at(keys, period=PERIOD) or 0) <= now:
            keys = move(keys, maker(now, serials), now)
            history.append((now, keys))
    return history


@given(PAUSES)
def test_a_key_is_published_a_period_before_it_signs_and_a_period_after(pauses: list[int]) -> None:
    history = run(pauses)
    for (_, before), (now, after) in pairwise(history):
        for key in before:
            gone = key.public not in {other.public for other in after}
            assert not gone or (key.retired is not None and now - key.retired >= PERIOD)
        for key in after:
            assert key.active is None or key.created == 0 or key.active - key.created >= PERIOD
        assert len({key.selector for key in after}) == len(after) <= 6
        assert {key.selector for key in after} <= RESERVED


@given(PAUSES)
def test_one_key_of_each_kind_signs_at_any_time(pauses: list[int]) -> None:
    for _, keys in run(pauses):
        signing = [key.algorithm for key in keys if key.active is not None and key.retired is None]
        assert sorted(signing) == sorted(BOTH)


@given(PAUSES, st.data())
def test_mail_on_its_way_for_a_period_verifies_with_whatever_a_resolver_remembers(pauses: list[int], data: st.DataObject) -> None:
    history = run(pauses)
    times = [time for time, _ in history]
    signed = data.draw(st.integers(0, times[-1] + PERIOD) | st.sampled_from(times).map(lambda time: max(time - 1, 0)))
    delivered = signed + data.draw(st.integers(0, PERIOD) | st.just(PERIOD))
    signing = [key for key in history[bisect_right(times, signed) - 1][1] if key.active is not None and key.retired is None]
    # A record that was in the DNS at any time since `asked` may be what the receiver sees, but for before the beginning.
    asked = max(delivered - TTL, 0)
    oldest = bisect_right(times, asked) - 1
    for _, zone in history[oldest : max(bisect_right(times, delivered - 1), oldest + 1)]:
        published = {(key.selector, key.public) for key in zone}
        assert {(key.selector, key.public) for key in signing} <= published
