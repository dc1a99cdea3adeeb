"""The throttle against a model: whatever comes, in whatever order."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy.throttle import (
    BUDGET,
    FLOOR,
    IN_TURN,
    LONGEST,
    REFILL,
    REPEATED,
    REPEATS,
    Admission,
    Guess,
    Throttle,
    Ticket,
)

PLACE = "192.0.2.9"
STEPS = [0.5, 1.0, 2.0, 4.0, 8.0]


def guess(login: str = "alice", place: str = PLACE, word: object = "x", *, known: bool = False) -> Guess:
    return Guess(login=login, place=place, digest=repr((login, word)).encode(), known=known)


def let_in(throttle: Throttle, what: Guess, now: float = 0.0) -> Ticket:
    ticket = throttle.enter(what, now)
    assert isinstance(ticket, Ticket)
    return ticket


def fail(throttle: Throttle, what: Guess, now: float = 0.0) -> float:
    ticket = let_in(throttle, what, now)
    step = throttle.fail(ticket, now)
    throttle.leave(ticket)
    return step


def test_answers_take_twice_as_long_each_time_up_to_eight_seconds() -> None:
    throttle = Throttle()
    assert [fail(throttle, guess(word=number), number / 10) for number in range(8)] == [*STEPS, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("other", [guess(login="bob"), guess(place="2001:db8::/64")])
def test_the_login_and_the_address_count_whichever_failed_more(other: Guess) -> None:
    throttle = Throttle()
    for number in range(3):
        fail(throttle, guess(word=number))
    assert fail(throttle, other) == 4.0
    assert fail(throttle, guess(login="carol", place="198.51.100.1")) == FLOOR


def test_time_forgives() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess(word=number))
    assert throttle.enter(guess(), 0.0) is Admission.CLOSE
    one = REFILL / BUDGET
    assert throttle.enter(guess(), one - 0.01) is Admission.CLOSE
    assert fail(throttle, guess(), one + 0.01) == 8.0
    assert throttle.enter(guess(word="y"), one + 0.01) is Admission.CLOSE
    assert fail(throttle, guess(word="y"), 2 * REFILL) == FLOOR


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess(word=number), 100.0)
    assert throttle.enter(guess(), 50.0) is Admission.CLOSE
    assert throttle.enter(guess(), 100.0) is Admission.CLOSE


def test_success_and_trouble_cost_nothing() -> None:
    throttle = Throttle()
    for number in range(3 * BUDGET):
        throttle.leave(let_in(throttle, guess(word=number)))
    assert fail(throttle, guess()) == FLOOR


def test_those_in_hand_hold_their_part_of_the_budget_until_they_end() -> None:
    throttle = Throttle()
    tickets = [let_in(throttle, guess(word=number)) for number in range(BUDGET)]
    assert throttle.enter(guess(), 0.0) is Admission.WAIT
    throttle.leave(tickets[0])
    throttle.leave(tickets[0])
    tickets[0] = let_in(throttle, guess())
    assert throttle.enter(guess(word="y"), 0.0) is Admission.WAIT
    for ticket in tickets:
        throttle.fail(ticket, 0.0)
    assert throttle.enter(guess(word="y"), 0.0) is Admission.CLOSE


def test_who_can_never_come_in_does_not_wait() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess("bob", PLACE, number))
    for number in range(BUDGET):
        let_in(throttle, guess("alice", "", number))
    assert throttle.enter(guess("alice", ""), 0.0) is Admission.WAIT
    assert throttle.enter(guess("alice", PLACE), 0.0) is Admission.CLOSE


def test_an_owner_at_a_known_place_is_never_refused_nor_slowed_by_others() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess(word=number))
    assert throttle.enter(guess(), 0.0) is Admission.CLOSE
    owner = guess(word="mistyped", known=True)
    assert [fail(throttle, owner) for _ in range(2 * BUDGET)] == STEPS + [8.0] * (2 * BUDGET - 5)
    # And his mistakes are not counted where others may be: at another address, and for another login at his.
    fresh = Throttle()
    for number in range(3 * BUDGET):
        fail(fresh, guess(word=number, known=True))
    assert fail(fresh, guess(place="198.51.100.1")) == FLOOR
    assert fail(fresh, guess(login="bob")) == FLOOR


def test_a_few_of_a_known_place_are_in_hand_at_once_until_they_are_answered() -> None:
    throttle = Throttle()
    tickets = [let_in(throttle, guess(word=number, known=True)) for number in range(IN_TURN)]
    throttle.fail(tickets[0], 0.0)
    assert throttle.enter(guess(known=True), 0.0) is Admission.WAIT
    throttle.leave(tickets[0])
    let_in(throttle, guess(known=True))


def test_the_same_wrong_password_again_costs_nothing_but_time() -> None:
    throttle = Throttle()
    assert [fail(throttle, guess(word="old")) for _ in range(3 * BUDGET)] == STEPS + [8.0] * (3 * BUDGET - 5)
    for number in range(BUDGET - 1):
        fail(throttle, guess(word=number))
    # Also past the budget, from anywhere; but only the last few are known again, and of this login alone.
    assert throttle.enter(guess(word="new"), 0.0) is Admission.CLOSE
    let_in(throttle, guess(word=BUDGET - 2, place="198.51.100.1"))
    assert throttle.enter(guess(word="old"), 0.0) is Admission.CLOSE
    assert throttle.enter(guess(login="bob", word=BUDGET - 2), 0.0) is Admission.CLOSE
    known_again = []
    for number in range(BUDGET - 1):
        if isinstance(ticket := throttle.enter(guess(word=number, place="198.51.100.2"), 0.0), Ticket):
            throttle.leave(ticket)
            known_again.append(number)
    assert len(known_again) == REPEATED


def test_only_so_many_of_wrong_passwords_again_are_in_hand_at_once_until_they_are_answered() -> None:
    throttle = Throttle()
    for login in ("alice", "bob"):
        fail(throttle, guess(login, word="old"))
    tickets = [let_in(throttle, guess(word="old", place=f"198.51.100.{number}")) for number in range(REPEATS)]
    throttle.fail(tickets[0], 0.0)
    assert throttle.enter(guess("bob", word="old"), 0.0) is Admission.CLOSE
    # Whoever pays is let in, and so is the owner.
    fail(throttle, guess(word="new"))
    fail(throttle, guess(word="old", known=True))
    throttle.leave(tickets[0])
    throttle.leave(tickets[0])
    let_in(throttle, guess("bob", word="old"))
    assert throttle.enter(guess("bob", word="old"), 0.0) is Admission.CLOSE


def test_without_an_address_only_the_login_counts() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess("alice", "", number))
    assert throttle.enter(guess("alice", ""), 0.0) is Admission.CLOSE
    assert fail(throttle, guess("bob", "")) == FLOOR


def test_a_login_and_an_address_of_one_name_are_two() -> None:
    throttle = Throttle()
    for number in range(BUDGET):
        fail(throttle, guess("192.0.2.9", "", number))
    assert fail(throttle, guess("alice", "192.0.2.9")) == FLOOR


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["", "a", "b"]), st.booleans()), max_size=120))
def test_memory_is_bounded_and_the_oldest_idle_goes(steps: list[tuple[int, str, bool]]) -> None:
    throttle, held = Throttle(capacity=8), []
    for number, place, hold in steps:
        ticket = throttle.enter(guess(str(number), place), 0.0)
        if isinstance(ticket, Ticket):
            if hold and len(held) < 3:
                held.append(ticket)
            else:
                throttle.fail(ticket, 0.0)
        assert len(throttle) <= 8
    for ticket in held:
        throttle.fail(ticket, 0.0)


def test_what_is_in_hand_is_not_forgotten_and_neither_is_who_comes_again() -> None:
    throttle = Throttle(capacity=4)
    held = [let_in(throttle, guess("held", "", number)) for number in range(BUDGET)]
    for number in range(BUDGET):
        fail(throttle, guess("guessed", "", number))
    for number in range(100):
        fail(throttle, guess(f"other {number}", ""))
        assert throttle.enter(guess("guessed", ""), 0.0) is Admission.CLOSE
    assert throttle.enter(guess("held", ""), 0.0) is Admission.WAIT
    assert [throttle.fail(ticket, 0.0) for ticket in held][0] == FLOOR
    assert throttle.enter(guess("held", ""), 0.0) is Admission.CLOSE


def test_a_digest_is_not_shown() -> None:
    assert "digest" not in repr(Guess(login="alice", place="", digest=b"secret", known=False))


@pytest.mark.parametrize("step", STEPS)
@given(elapsed=st.floats(0, 9))
def test_the_moments_are_few(step: float, elapsed: float) -> None:
    moment = Throttle().moment(step, elapsed)
    assert moment in STEPS
    assert moment >= step
    assert moment >= min(elapsed, LONGEST)


def test_moments_of_other_settings() -> None:
    throttle = Throttle(floor=0.01, longest=0.05)
    assert [throttle.moment(0.01, elapsed) for elapsed in (0.0, 0.01, 0.015, 0.03, 1.0)] == [0.01, 0.01, 0.02, 0.04, 0.05]
    assert Throttle(floor=1.0, longest=0.2).moment(0.2, 0.0) == 0.2


LOGINS = st.sampled_from(["alice", "bob", "nobody"])
PLACES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::/64"])
PAIRS_KNOWN = {("alice", "192.0.2.1"), ("bob", "192.0.2.1")}


class ThrottleModel(RuleBasedStateMachine):
    """Guessers everywhere at once, at known and unknown places, with passwords old and new, that end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.throttle = Throttle()
        # The same with every login under another name: what it is called, and so whether there is one, changes nothing.
        self.twin = Throttle()
        self.serial = 0
        self.open: list[tuple[Ticket, Ticket]] = []
        self.waiting_known = 0
        self.spent: dict[tuple[str, str], list[float]] = {}
        self.turns: Counter[tuple[str, str]] = Counter()

    def enter(self, login: str, place: str, password: object) -> None:
        known = (login, place) in PAIRS_KNOWN
        found = self.throttle.enter(guess(login, place, password, known=known), self.now)
        twin = self.twin.enter(guess(f"not {login}", place, password, known=known), self.now)
        if not isinstance(found, Ticket) or not isinstance(twin, Ticket):
            assert found == twin
            assert found is Admission.CLOSE or self.open
            if known:
                assert found is Admission.WAIT
                assert self.turns[login, place] == IN_TURN
            return
        self.turns[login, place] += known
        self.open.append((found, twin))

    @rule(login=LOGINS, place=PLACES)
    def new_guess(self, login: str, place: str) -> None:
        self.serial += 1
        self.enter(login, place, self.serial)

    @rule(login=LOGINS, place=PLACES, password=st.integers(-3, -1))
    def old_guess(self, login: str, place: str, password: int) -> None:
        self.enter(login, place, password)

    @rule(login=LOGINS, place=PLACES, count=st.integers(1, 30))
    def many_failures(self, login: str, place: str, count: int) -> None:
        for _ in range(count):
            before = len(self.open)
            self.new_guess(login, place)
            if len(self.open) > before:
                self.end(-1, True)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 100), failed=st.booleans())
    def end(self, which: int, failed: bool) -> None:
        ticket, twin = self.open.pop(which % len(self.open) if which >= 0 else -1)
        said = ticket.guess
        if failed:
            step = self.throttle.fail(ticket, self.now)
            assert step in STEPS
            assert step == self.twin.fail(twin, self.now)
            if ticket.cost:
                for key in (("login", said.login), ("place", said.place)):
                    self.spent.setdefault(key, []).append(self.now)
        self.throttle.leave(ticket)
        self.twin.leave(twin)
        self.turns[said.login, said.place] -= said.known

    @rule(seconds=st.sampled_from([0.0, 1.0, 179.0, 181.0, 1000.0, 5000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        """In no span of time are there more new wrong guesses than the budget and what came back in that time."""
        for times in self.spent.values():
            for first, began in enumerate(times):
                for last in range(first, len(times)):
                    assert last - first + 1 <= BUDGET + (times[last] - began) * BUDGET / REFILL + 1e-6

    @invariant()
    def nobody_has_more_than_his_turns(self) -> None:
        assert all(0 <= count <= IN_TURN for count in self.turns.values())


ThrottleModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestThrottleModel = ThrottleModel.TestCase


def test_the_figures_fit_each_other_and_postfix() -> None:
    assert LONGEST < 10.0
    assert math.log2(LONGEST / FLOOR).is_integer()
