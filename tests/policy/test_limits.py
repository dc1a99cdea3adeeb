"""Limits as words, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.limits import LARGEST, LIMITS, InvalidLimit, Limits

NUMBERS = st.one_of(st.none(), st.integers(1, LARGEST))


@given(st.builds(Limits, **{limit.field: NUMBERS for limit in LIMITS}))
def test_words_and_back(limits: Limits) -> None:
    assert Limits().with_words(limits.as_words()) == limits


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("messages-hour", "1", 1),
        ("messages-hour", " 500 ", 500),
        ("messages-hour", "None", None),
        ("message-size", "25M", 25 * 1024 * 1024),
        ("message-size", "100k", 102_400),
        ("message-size", "1G", 2**30),
        ("sessions", str(LARGEST), LARGEST),
    ],
)
def test_a_word_stands_for_a_number(name: str, word: str, value: int | None) -> None:
    assert getattr(Limits(sessions=3).with_words({name: word}), name.replace("-", "_")) == value


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *[("messages-hour", word) for word in ("0", "-1", "1.5", "", "many", "10k", "99999999999", "１", "1_000")],
        *[("message-size", word) for word in ("0", "2G", "k", "1K", "1 M", "1T")],
        ("sessions", str(LARGEST + 1)),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(name: str, word: str) -> None:
    with pytest.raises(InvalidLimit, match=rf"{name} cannot be .*; it takes a number from 1 to 2147483647.* or none"):
        Limits().with_words({name: word})


def test_an_unknown_limit_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidLimit, match="there is no limit 'messages'; the limits are messages-hour, recipients-day"):
        Limits().with_words({"messages": "1"})
