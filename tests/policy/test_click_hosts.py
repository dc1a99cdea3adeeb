"""When a click host is used: good at once, bad after a while, and never before somebody has looked."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.click_hosts import (
    EVERY,
    GRACE,
    OFTEN,
    SELDOM,
    UNANSWERED,
    ClickHost,
    HostHealth,
    Look,
    State,
    click_hosts,
    is_due,
    judged,
    refusal,
)
from policy.domains import SenderDomain

PLACE = ClickHost(host="clicks.example.com", https=True)
FINE = Look(certificates=True, links=True)
BROKEN = Look(certificates=True, links=False, reason="its certificate is not valid")
ELSEWHERE = Look(certificates=False, links=False, reason="the DNS leads elsewhere")
SILENT = Look(certificates=False, links=False, reason="the DNS did not answer", answered=False)
NOW = 1_700_000_000


def after(*looks: tuple[int, Look]) -> HostHealth:
    """The state after looks at these seconds from NOW."""
    found: HostHealth | None = None
    for when, look in looks:
        found = judged(PLACE, found, look, NOW + when)
    assert found is not None
    return found


def test_a_host_that_is_found_in_order_is_used_at_once() -> None:
    assert after((0, FINE)) == HostHealth(host=PLACE.host, https=True, certificates=True, links=True, changed=NOW)
    assert after((0, BROKEN), (1, FINE)) == replace(after((0, FINE)), changed=NOW + 1)


@pytest.mark.parametrize("look", [BROKEN, ELSEWHERE, SILENT])
def test_a_host_that_was_never_in_order_is_not_used(look: Look) -> None:
    found = after((0, look))
    assert (found.state, found.links, found.certificates, found.failing) == (State.BAD, False, look.certificates, NOW)
    assert after((0, look), (60, look)).state is State.BAD


def test_one_failure_changes_nothing_and_the_second_does() -> None:
    once = after((0, FINE), (300, ELSEWHERE))
    assert (once.state, once.links, once.certificates, once.failing) == (State.FAILING, True, True, NOW + 300)
    assert once.reason == ELSEWHERE.reason
    assert after((0, FINE), (300, ELSEWHERE), (300 + GRACE - 1, ELSEWHERE)).state is State.FAILING
    twice = after((0, FINE), (300, ELSEWHERE), (300 + GRACE, ELSEWHERE))
    assert (twice.state, twice.links, twice.certificates, twice.failing) == (State.BAD, False, False, NOW + 300)


def test_a_failure_that_is_over_is_forgotten() -> None:
    found = after((0, FINE), (300, BROKEN), (600, FINE), (900, BROKEN))
    assert (found.state, found.failing) == (State.FAILING, NOW + 900)


def test_the_dns_may_be_silent_for_longer() -> None:
    assert after((0, FINE), (300, SILENT), (300 + GRACE, SILENT)).state is State.FAILING
    assert after((0, FINE), (300, SILENT), (300 + UNANSWERED, SILENT)).state is State.BAD
    # Once it answers, what it says counts.
    assert after((0, FINE), (300, SILENT), (300 + GRACE, ELSEWHERE)).state is State.BAD


def test_a_clock_that_was_set_back_does_not_make_the_grace_longer() -> None:
    found = after((0, FINE), (86_400, BROKEN), (300, BROKEN), (300 + GRACE, BROKEN))
    assert found.state is State.BAD


def test_a_warning_is_told_and_the_host_is_used() -> None:
    found = after((0, replace(FINE, reason="its certificate ends soon")))
    assert (found.state, found.reason, refusal(PLACE.host, found)) == (State.WARNING, "its certificate ends soon", "")


def test_the_sentence_for_the_journal_names_host_and_reason() -> None:
    assert refusal(PLACE.host, after((0, BROKEN))) == "click host clicks.example.com: its certificate is not valid"
    assert refusal(PLACE.host, None) == "click host clicks.example.com: it has not been looked at yet"
    assert refusal(PLACE.host, after((0, FINE), (300, BROKEN))) == ""


def test_a_host_that_is_bad_for_long_is_visited_less_often() -> None:
    bad = after((0, BROKEN))
    times = range(NOW, NOW + 86_400, EVERY)
    assert all(is_due(PLACE, found, now) for now in times for found in (None, after((0, FINE)), after((0, FINE), (300, BROKEN))))
    assert all(is_due(PLACE, bad, now) for now in range(NOW, NOW + OFTEN, EVERY))
    visits = [now for now in times if now >= NOW + OFTEN and is_due(PLACE, bad, now)]
    assert {later - now for now, later in pairwise(visits)} == {SELDOM}
    assert all(is_due(PLACE, after((0, ELSEWHERE)), now) for now in times)  # none could be fetched before
    plain = ClickHost(host=PLACE.host, https=False)
    assert all(is_due(plain, replace(bad, https=False), now) for now in times)  # no certificate is fetched for it


looks = st.builds(
    Look, certificates=st.booleans(), links=st.booleans(), reason=st.sampled_from(["", "a", "b"]), answered=st.booleans()
).filter(lambda look: look.certificates or not look.links)


@given(st.lists(st.tuples(st.integers(0, 600), looks), min_size=1, max_size=12))
def test_what_looks_come_to(steps: list[tuple[int, Look]]) -> None:
    found: HostHealth | None = None
    now = NOW
    for seconds, look in steps:
        now += seconds
        before, found = found, judged(PLACE, found, look, now)
        if found == before:
            assert found is before
        else:
            assert found.changed == now  # every change has its time, and nothing else is one
        assert found.links or not look.links
        assert found.certificates or not look.certificates
        assert (found.failing is None) == look.links
        if not look.links:
            kept = before is not None and before.links
            assert not found.links or (kept and now - found.failing < (GRACE if look.answered else UNANSWERED))
    last = judged(PLACE, found, steps[-1][1], now)
    assert last == found  # the same again changes nothing, so that nothing is written


def test_the_click_hosts_of_a_service_are_each_there_once() -> None:
    def domain(name: str, clicks: str, *, https: bool = True) -> SenderDomain:
        return SenderDomain(name=name, account="shop", created=1, clicks=clicks, https=https)

    own = ClickHost(host="clicks.mail.test", https=False)
    domains = [
        domain("example.com", "clicks.example.com"),
        domain("news.example.com", "clicks.example.com"),
        domain("sale.example.com", "clicks.example.com", https=False),
        domain("example.org", ""),
        domain("mail.test", "clicks.mail.test", https=False),
    ]
    bases = [place.base for place in click_hosts(domains, own)]
    assert bases == ["http://clicks.example.com", "https://clicks.example.com", "http://clicks.mail.test"]
