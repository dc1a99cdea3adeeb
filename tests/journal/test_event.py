"""What became of a feature, and who decided it: the login, the header, or a rule of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.event import Decision, Event, Kind, decisions


def event(kind: Kind, reason: str = "", subject: str = "a") -> Event:
    return Event(kind=kind, subject=subject, reason=reason)


@pytest.mark.parametrize(
    ("events", "outcome", "by", "reason"),
    [
        ([event(Kind.APPLIED)], "applied", "login", ""),
        ([event(Kind.APPLIED, "2 links")], "applied", "login", "2 links"),
        ([event(Kind.SKIPPED, "no HTML part")], "skipped", "rule", "no HTML part"),
        ([event(Kind.UNTRACKED, "click host x: y")], "skipped", "rule", "click host x: y"),
        ([event(Kind.FALLBACK, "KeyError in it")], "skipped", "rule", "KeyError in it"),
        ([event(Kind.KEPT, "1 link: x")], "skipped", "rule", "1 link: x"),
        ([event(Kind.KEPT, "1 link: x"), event(Kind.APPLIED)], "applied", "login", "1 link: x"),
        ([event(Kind.SKIPPED, "one part"), event(Kind.APPLIED)], "applied", "login", "one part"),
        ([event(Kind.APPLIED), event(Kind.SKIPPED, "one part")], "applied", "login", "one part"),
        ([event(Kind.SKIPPED, "x"), event(Kind.SKIPPED, "y"), event(Kind.SKIPPED, "x")], "skipped", "rule", "x; y"),
        ([event(Kind.SKIPPED, "x"), event(Kind.FALLBACK, "y")], "skipped", "rule", "x; y"),
        ([event(Kind.SKIPPED)], "skipped", "rule", ""),
        ([event(Kind.APPLIED), event(Kind.WARNING, "w"), event(Kind.REENCODED, "r")], "applied", "login", ""),
        ([event(Kind.SKIPPED, "of another", "b"), event(Kind.APPLIED)], "applied", "login", ""),
    ],
)
def test_what_events_come_to(events: list[Event], outcome: str, by: str, reason: str) -> None:
    assert decisions({"a": True}, {}, events) == (Decision("a", outcome, by, reason),)
    by = "header" if by == "login" else by
    assert decisions({"a": True}, {"a": "header"}, events) == (Decision("a", outcome, by, reason),)


@pytest.mark.parametrize("events", [[], [event(Kind.APPLIED, subject="b")], [event(Kind.WARNING)], [event(Kind.ATTEMPT)]])
def test_a_feature_that_belongs_to_the_other_pass_is_left_out(events: list[Event]) -> None:
    assert decisions({"a": True}, {}, events) == ()


def test_what_is_off_is_off_whatever_happened() -> None:
    assert decisions({"a": False}, {}, []) == (Decision("a", "off", "login"),)
    assert decisions({"a": False}, {"a": "header"}, [event(Kind.APPLIED)]) == (Decision("a", "off", "header"),)


def test_features_come_in_the_order_they_are_asked_in() -> None:
    wanted = {"b": False, "a": True, "c": True}
    found = decisions(wanted, {"c": "header"}, [event(Kind.APPLIED, subject="c"), event(Kind.SKIPPED, "x")])
    assert found == (Decision("b", "off", "login"), Decision("a", "skipped", "rule", "x"), Decision("c", "applied", "header"))


names = st.sampled_from(["a", "b", "c"])
events = st.builds(Event, kind=st.sampled_from(Kind), subject=names, reason=st.text(max_size=3))


@given(st.dictionaries(names, st.booleans()), st.dictionaries(names, st.just("header")), st.lists(events, max_size=8))
def test_nothing_that_was_asked_for_and_looked_at_is_silent(
    wanted: dict[str, bool], by: dict[str, str], found: list[Event]
) -> None:
    decided = {decision.feature: decision for decision in decisions(wanted, by, found)}
    outcomes = (Kind.APPLIED, Kind.SKIPPED, Kind.UNTRACKED, Kind.KEPT, Kind.FALLBACK)
    told = {each.subject for each in found if each.kind in outcomes}
    assert decided.keys() == {name for name, on in wanted.items() if not on or name in told}
    for name, decision in decided.items():
        applied = any(each.kind is Kind.APPLIED and each.subject == name for each in found)
        assert decision.outcome == ("off" if not wanted[name] else "applied" if applied else "skipped")
        assert decision.by == ("rule" if decision.outcome == "skipped" else by.get(name, "login"))
