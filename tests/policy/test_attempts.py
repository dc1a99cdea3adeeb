"""Attempts at a real verifier, throttle and memory of uses: what is compared, what is told, and when."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import pytest
from argon2 import PasswordHasher

from policy.account import Account
from policy.attempts import HELD, HELD_UNCOMPARED, WAITING, Attempts, Caller, Outcome, Verdict
from policy.domains import SenderDomain, SigningKey
from policy.login import Login, Password
from policy.options import Options
from policy.password import UNKNOWN_LOGIN_HASH, hash_password, verify
from policy.stores import StoreUnavailable
from policy.throttle import BUDGET, IN_TURN, Admission, Guess, Throttle, Ticket
from policy.uses import Uses
from policy.verifier import Overloaded, Verifier
from policy.wire.sasl import Credentials

SECRET = "canary abcd  efgh"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(SECRET)
ALICE, NOBODY = "a" * 32, "0123456789abcdef" * 2
FLOOR, LONGEST = 0.05, 0.8
HOME, AWAY = "192.0.2.1", "198.51.100.1"


def login(name: str = ALICE, password_hash: str = CHEAP, **changes: Any) -> Login:
    passwords = (Password(number=1, hash=password_hash, created=0),)
    return replace(Login(name=name, account="a", passwords=passwords, options=Options(), created=0), **changes)


class Memory:
    """A store in a dictionary, which may be down; `bound` is how long its directory takes."""

    def __init__(self, *logins: Login) -> None:
        self.logins = {each.name: each for each in logins}
        self.asked: Counter[str] = Counter()
        self.down = False
        self.bound = 0.0

    def revision(self) -> object:
        return object()

    def login(self, name: str) -> Login | None:
        self.asked[name] += 1
        if self.down:
            raise StoreUnavailable("the store is down")
        return self.logins.get(name)

    def bind(self, login: Login, password: bytes) -> bool:
        time.sleep(self.bound)
        return password == SECRET.encode()

    def account(self, name: str) -> Account | None:
        return None

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        return ()

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        return ()


@dataclass
class Site:
    """Attempts at one store. Counts the comparisons; while `held` is not set they wait."""

    store: Memory
    uses: Uses
    throttle: Throttle
    attempts: Attempts
    compared: int = 0

    async def judge(self, name: str = ALICE, password: str = SECRET, address: str = HOME) -> Outcome:
        caller = Caller(address=address, mechanism="PLAIN", arrived=asyncio.get_running_loop().time())
        return await self.attempts.judge(Credentials(login=name, password=password.encode()), caller)

    async def timed(self, name: str, password: str, address: str) -> tuple[Outcome, float]:
        began = time.monotonic()
        return await self.judge(name, password, address), time.monotonic() - began

    async def verdicts(self, name: str, *pairs: tuple[str, str]) -> Counter[Verdict]:
        """What comes of passwords from addresses, all at once."""
        found = await asyncio.gather(*(self.judge(name, password, address) for password, address in pairs))
        assert all(outcome.told == (outcome.verdict is not Verdict.THROTTLED) for outcome in found)
        return Counter(outcome.verdict for outcome in found)


@asynccontextmanager
async def site(
    *logins: Login,
    floor: float = FLOOR,
    longest: float = LONGEST,
    pending: int = 1000,
    held: threading.Event | None = None,
    cheap: bool = True,
    throttle: Throttle | None = None,
) -> AsyncIterator[Site]:
    def compare(password_hash: str, password: bytes) -> bool:
        made.compared += 1
        if held is not None:
            held.wait(20)
        # An unknown login's costs its full price; mostly it is the number that counts.
        return verify(CHEAP if cheap and password_hash == UNKNOWN_LOGIN_HASH else password_hash, password)

    store, uses = Memory(*logins), Uses()
    verifier = Verifier(store, workers=1, pending_limit=pending, compare=compare, used_since=uses.used_since)
    throttle = Throttle(floor=floor, longest=longest) if throttle is None else throttle
    made = Site(store, uses, throttle, Attempts(verifier, throttle, uses, floor=floor, within=longest))
    try:
        yield made
    finally:
        if held is not None:
            held.set()
        verifier.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


async def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():  # noqa: ASYNC110  # what it waits for happens in threads
        assert time.monotonic() < limit
        await asyncio.sleep(0.001)


def guesses(count: int, word: str = "guess") -> list[tuple[str, str]]:
    """Different passwords from a hundred addresses."""
    return [(f"{word} {number}", f"198.51.100.{number % 100}") for number in range(count)]


@pytest.mark.parametrize("name", [ALICE, NOBODY, "Somebody@Example.com", "no login at all"])
def test_no_guess_past_the_budget_is_compared_or_looked_up_whether_there_is_a_login_or_not(name: str) -> None:
    async def scenario() -> None:
        async with site(login()) as here:
            found = await here.verdicts(name, *guesses(WAITING))
            assert found == {Verdict.REFUSED: BUDGET, Verdict.THROTTLED: WAITING - BUDGET}
            found = await here.verdicts(name, *guesses(200, word="another guess"))
            assert found[Verdict.OK] == 0
            assert here.compared == here.store.asked.total() == BUDGET

    run(scenario())


def test_one_address_has_a_budget_for_all_names() -> None:
    async def scenario() -> None:
        async with site(login()) as here:
            names = [f"name{number}" for number in range(60)]
            found = await asyncio.gather(*(here.judge(name, "x", f"2001:db8::{n}") for n, name in enumerate(names)))
            assert Counter(outcome.verdict for outcome in found) == {Verdict.REFUSED: BUDGET, Verdict.THROTTLED: 40}
            assert here.compared == BUDGET
            assert (await here.judge("name99", "x", "2001:db8:0:1::1")).verdict is Verdict.REFUSED

    run(scenario())


def test_an_owner_at_a_known_place_gets_in_whatever_others_do() -> None:
    async def scenario() -> None:
        async with site(login()) as here:
            assert (await here.judge()).verdict is Verdict.OK
            flood = asyncio.ensure_future(here.verdicts(ALICE, *guesses(WAITING)))
            for _ in range(20):
                assert (await here.judge()).verdict is Verdict.OK
                await asyncio.sleep(0)
            assert (await flood)[Verdict.OK] == 0
            assert (await here.judge(address=HOME)).verdict is Verdict.OK
            assert (await here.judge(password="mistyped", address=HOME)).verdict is Verdict.REFUSED
            # Elsewhere even the right password is not looked at now; trouble is no verdict.
            assert await here.judge(address=AWAY) == Outcome(verdict=Verdict.THROTTLED, login=ALICE, reason="budget", told=False)

    run(scenario())


def test_at_a_known_place_everything_is_compared_a_few_at_a_time() -> None:
    held = threading.Event()
    held.set()

    async def scenario() -> None:
        async with site(login(), held=held, longest=0.05) as here:
            assert (await here.judge()).verdict is Verdict.OK
            before = here.compared
            held.clear()
            tasks = [asyncio.create_task(here.judge(password=f"wrong {n}")) for n in range(10)]
            await asyncio.sleep(0.02)
            # The others wait for their turn, and for no longer than anybody does.
            held.set()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            refused = [outcome for outcome in done if isinstance(outcome, Outcome)]
            assert {outcome.verdict for outcome in refused} == {Verdict.REFUSED}
            assert here.compared - before == len(refused) == IN_TURN
            assert {type(outcome) for outcome in done} == {Outcome, TimeoutError}
        async with site(login(), floor=0.01, longest=5.0) as here:
            assert (await here.judge()).verdict is Verdict.OK
            assert await here.verdicts(ALICE, *((f"wrong {n}", HOME) for n in range(9))) == {Verdict.REFUSED: 9}

    run(scenario())


def test_many_right_passwords_at_once_from_a_new_place_all_get_in() -> None:
    async def scenario() -> None:
        async with site(login(), longest=20.0) as here:
            assert await here.verdicts(ALICE, *[(SECRET, AWAY)] * 100) == {Verdict.OK: 100}

    run(scenario())


def test_a_wrong_password_that_waits_behind_others_does_not_shut_out_the_right_one() -> None:
    async def scenario() -> None:
        async with site(login(), longest=20.0) as here:
            pairs = [(f"wrong {n}", AWAY) for n in range(BUDGET - 1)] + [(SECRET, AWAY)] * 5
            assert await here.verdicts(ALICE, *pairs[BUDGET - 3 :], *[(SECRET, AWAY)] * 40) == {
                Verdict.REFUSED: 2,
                Verdict.OK: 45,
            }

    run(scenario())


def test_trouble_costs_nothing() -> None:
    async def scenario() -> None:
        async with site(login()) as here:
            here.store.down = True
            for _ in range(2 * BUDGET):
                with pytest.raises(StoreUnavailable):
                    await here.judge()
            here.store.down = False
            assert (await here.judge()).verdict is Verdict.OK
            assert here.compared == 1

    run(scenario())


def test_overload_costs_nothing() -> None:
    held = threading.Event()

    async def scenario() -> None:
        async with site(login(), pending=1, held=held, longest=20.0) as here:
            first = asyncio.create_task(here.judge("other", "x", AWAY))
            await until(lambda: here.compared > 0)
            for _ in range(2 * BUDGET):
                with pytest.raises(Overloaded):
                    await here.judge()
            held.set()
            assert (await first).verdict is Verdict.REFUSED
            assert (await here.judge()).verdict is Verdict.OK

    run(scenario())


def test_an_attempt_that_nobody_waits_for_any_more_has_cost_its_guess() -> None:
    held = threading.Event()

    async def scenario() -> None:
        async with site(login(), held=held, longest=20.0) as here:
            tasks = [asyncio.create_task(here.judge(password=f"x{n}")) for n in range(BUDGET + 5)]
            await until(lambda: here.store.asked.total() == BUDGET and here.compared > 0)
            await asyncio.sleep(0.05)
            # Those that wait for a turn end first, and nothing of them stays behind.
            for task in reversed(tasks):
                task.cancel()
            await asyncio.wait(tasks)
            assert (await here.judge()).verdict is Verdict.THROTTLED
            assert here.store.asked.total() == BUDGET

    run(scenario())


class Spoiling(Throttle):
    """Ends the task in `victims` at the very moment in which somebody is let in."""

    victims: list["asyncio.Task[Outcome]"]

    def enter(self, guess: Guess, now: float) -> Ticket | Admission:
        found = super().enter(guess, now)
        if isinstance(found, Ticket) and self.victims:
            self.victims.pop().cancel()
        return found


def test_a_turn_that_comes_when_nobody_waits_for_it_any_more_is_given_back() -> None:
    held = threading.Event()

    async def scenario() -> None:
        throttle = Spoiling(floor=0.01, longest=0.5)
        throttle.victims = []
        async with site(login(), held=held, throttle=throttle) as here:
            inside = [asyncio.create_task(here.judge()) for _ in range(BUDGET)]
            await until(lambda: here.store.asked.total() == BUDGET)
            waiting = [asyncio.create_task(here.judge()) for _ in range(3)]
            await asyncio.sleep(0)
            throttle.victims = [waiting[0]]
            held.set()
            await asyncio.wait((*inside, *waiting))
            assert [task.cancelled() for task in waiting] == [True, False, False]
            assert all(task.result().verdict is Verdict.OK for task in (*inside, *waiting[1:]))
            assert await here.verdicts(ALICE, *guesses(BUDGET)) == {Verdict.REFUSED: BUDGET}

    run(scenario())


def test_the_same_wrong_password_again_is_compared_and_told_but_costs_nothing() -> None:
    async def scenario() -> None:
        async with site(login(), floor=0.001, longest=0.5) as here:
            await here.judge(password="old", address=AWAY)
            for _ in range(2):
                assert await here.verdicts(ALICE, *[("old", AWAY)] * (HELD // 2)) == {Verdict.REFUSED: HELD // 2}
            assert here.compared == HELD + 1
            assert (await here.judge(address=AWAY)).verdict is Verdict.OK

    run(scenario())


def test_answers_that_wait_are_bounded_and_what_is_too_much_is_closed_not_before_the_first_moment() -> None:
    async def scenario() -> None:
        async with site(login(), floor=0.3, longest=2.0) as here:
            tries = [here.timed(f"name{n}", "wrong", f"2001:db8:0:{n}::1") for n in range(HELD + 20)]
            found = await asyncio.gather(*tries)
            assert Counter((outcome.verdict, outcome.told) for outcome, _ in found) == {
                (Verdict.REFUSED, True): HELD,
                (Verdict.REFUSED, False): 20,
            }
            assert min(seconds for _, seconds in found) >= 0.3

    run(scenario())


def test_what_is_not_compared_takes_half_of_them_at_most_and_is_closed_at_once_beyond() -> None:
    async def scenario() -> None:
        async with site(login(), floor=0.5, longest=8.0) as here:
            # The address has no guesses left.
            now = asyncio.get_running_loop().time()
            for n in range(BUDGET):
                ticket = here.throttle.enter(Guess(login=f"name{n}", place=AWAY, digest=b"", known=False), now)
                assert isinstance(ticket, Ticket)
                here.throttle.fail(ticket, now)
            found = await asyncio.gather(*(here.timed("alice", f"{n}", AWAY) for n in range(3 * HELD_UNCOMPARED)))
            assert {outcome.verdict for outcome, _ in found} == {Verdict.THROTTLED}
            assert sum(seconds >= 0.5 for _, seconds in found) == HELD_UNCOMPARED
            assert here.compared == 0

    run(scenario())


def test_success_is_noted_with_its_password_and_makes_the_place_known() -> None:
    async def scenario() -> None:
        old = Password(number=4, hash=CHEAP, created=0)
        new = Password(number=5, hash=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("new"), created=0)
        async with site(login(passwords=(old, new))) as here:
            now = int(time.time())
            assert (await here.judge(password="new", address="2001:db8::77")).verdict is Verdict.OK
            assert here.uses.knows(ALICE, "2001:db8::/64")
            assert here.uses.used_since(ALICE, 5, now - 1)
            assert not here.uses.used_since(ALICE, 4, 0)
            await here.judge(password="wrong", address=AWAY)
            assert not here.uses.knows(ALICE, AWAY)

    run(scenario())


KINDS = ("wrong", "unknown", "impossible", "disabled", "expired", "elsewhere", "rotating", "directory")


def test_nobody_sees_by_the_time_what_kind_of_login_it_was() -> None:
    """Full-price comparisons of every kind at a time; the floor leaves room for all of them on a busy machine."""
    price = hash_password(SECRET, b"0123456789abcdef")
    two = tuple(Password(number=number, hash=price, created=0) for number in (1, 2))
    changes: dict[str, dict[str, Any]] = {
        "wrong": {},
        "disabled": {"enabled": False},
        "expired": {"expires": 1},
        "elsewhere": {"networks": ("203.0.113.0/24",)},
        "rotating": {"passwords": two},
        "directory": {"passwords": (), "external": True},
    }
    rounds = 8
    logins = [login(f"{kind}{n}", price, **change) for kind, change in changes.items() for n in range(rounds)]

    async def scenario() -> None:
        async with site(*logins, floor=1.0, longest=16.0, cheap=False) as here:
            here.store.bound = 0.1
            seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for n in range(rounds):
                right = [here.timed(f"{kind}{n}", SECRET, f"2001:db8:{n}:{k}::1") for k, kind in enumerate(KINDS[3:6])]
                wrong = [
                    here.timed(f"Not a name {n}!" if kind == "impossible" else f"{kind}{n}", "wrong", f"2001:db8:{n}:f{k}::1")
                    for k, kind in enumerate(KINDS)
                    if kind not in KINDS[3:6]
                ]
                found = await asyncio.gather(*right, *wrong)
                order = [*KINDS[3:6], *(kind for kind in KINDS if kind not in KINDS[3:6])]
                for kind, (outcome, took) in zip(order, found, strict=True):
                    assert (outcome.verdict, outcome.told) == (Verdict.REFUSED, True)
                    seconds[kind].append(took)
            medians = {kind: median(values) for kind, values in seconds.items()}
            assert max(medians.values()) <= 1.05 * min(medians.values()), medians
            assert min(map(min, seconds.values())) >= 1.0

    run(scenario())


def test_no_password_is_kept() -> None:
    async def scenario() -> None:
        async with site(login()) as here:
            await here.judge()
            await here.judge(password=SECRET + "!")
            await here.judge(name=SECRET, password="x")
            kept = repr([vars(here.throttle), vars(here.attempts), vars(here.uses)])
            assert "canary" not in kept
            assert SECRET.encode().hex() not in kept

    run(scenario())
