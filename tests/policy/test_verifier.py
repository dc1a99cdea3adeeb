"""The verifier against a model, with real argon2 hashes of little cost."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from policy.account import Account
from policy.domains import SigningKey
from policy.login import Login, Password
from policy.options import Options
from policy.password import UNKNOWN_LOGIN_HASH, verify
from policy.stores import LoginStore, StoreUnavailable
from policy.verifier import LIFETIME, Matches, Opened, Overloaded, Refusal, Verifier, identity

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
NAMES = [f"{number:032x}" for number in range(3)]
PASSWORDS = ["abcd efgh", "abcd efgh ", "pässword"]
HASHES = {password: [CHEAP.hash(password) for _ in range(2)] for password in PASSWORDS}


class Memory:
    """A store in a dictionary; `down` makes it fail. Counts what it is asked."""

    def __init__(self, *logins: Login) -> None:
        self.logins = {login.name: login for login in logins}
        self.down = False
        self.asked = 0

    def revision(self) -> object:
        return object()

    def login(self, name: str) -> Login | None:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("the store is down")
        return self.logins.get(name)

    def account(self, name: str) -> Account | None:
        return None

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        return ()


class Comparisons:
    """Counts the comparisons by stored hash while doing them."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def __call__(self, password_hash: str, password: bytes) -> bool:
        self.made[password_hash] += 1
        return verify(password_hash, password)


def login(name: str, password_hash: str, *, enabled: bool = True) -> Login:
    return Login(
        name=name,
        account="a",
        passwords=(Password(number=1, hash=password_hash, created=0),),
        options=Options(),
        enabled=enabled,
        created=0,
    )


def verifier(
    store: LoginStore,
    compare: Callable[[str, bytes], bool] = verify,
    clock: Callable[[], float] = lambda: 0.0,
    pending_limit: int = 100,
    capacity: int = 100,
) -> Verifier:
    return Verifier(store, workers=2, pending_limit=pending_limit, clock=clock, compare=compare, capacity=capacity)


def opened(name: str, number: int = 1) -> Opened:
    return Opened(login=name, password=number)


def ask(asked: Verifier, *pairs: tuple[str, bytes]) -> list[Opened | Refusal]:
    async def all_of_them() -> list[Opened | Refusal]:
        return [await asked.verify(name, password) for name, password in pairs]

    try:
        return asyncio.run(all_of_them())
    finally:
        asked.close()


PAIR = (NAMES[0], PASSWORDS[0].encode())
KNOWN = login(NAMES[0], HASHES[PASSWORDS[0]][0])
WRONG = Refusal.CREDENTIALS


@pytest.mark.parametrize(
    ("name", "password", "enabled", "compared"),
    [
        (NAMES[0], "wrong", True, KNOWN.passwords[0].hash),
        (NAMES[0], PASSWORDS[0] + " ", True, KNOWN.passwords[0].hash),
        (NAMES[0], PASSWORDS[0], False, KNOWN.passwords[0].hash),
        (NAMES[0], "wrong", False, KNOWN.passwords[0].hash),
        (NAMES[1], PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        (NAMES[0].upper() + "A", PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        (NAMES[0] + " ", PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        (NAMES[0] + "\n", PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        ("' OR 1=1 --", PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        ("*)(uid=*", PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
        ("０" * 32, PASSWORDS[0], True, UNKNOWN_LOGIN_HASH),
    ],
)
def test_every_refusal_costs_one_comparison_and_one_look(name: str, password: str, enabled: bool, compared: str) -> None:
    store, comparisons = Memory(replace(KNOWN, enabled=enabled)), Comparisons()
    right = not enabled and password == PASSWORDS[0]
    assert ask(verifier(store, comparisons), (name, password.encode())) == [Refusal.DISABLED if right else WRONG]
    assert comparisons.made == {compared: 1}
    assert store.asked == 1


def test_what_was_right_is_remembered_for_its_time() -> None:
    comparisons, now = Comparisons(), [0.0]

    async def scenario() -> None:
        asked = verifier(Memory(KNOWN), comparisons, clock=lambda: now[0])
        for moment, expected in ((0.0, 1), (LIFETIME - 0.01, 1), (LIFETIME, 2), (LIFETIME * 1.5, 2)):
            now[0] = moment
            assert await asked.verify(*PAIR) == opened(KNOWN.name)
            assert comparisons.made.total() == expected
        asked.close()

    asyncio.run(scenario())
    assert LIFETIME <= 30


def test_what_was_wrong_is_never_remembered() -> None:
    comparisons = Comparisons()
    assert ask(verifier(Memory(KNOWN), comparisons), *[(KNOWN.name, b"wrong")] * 3) == [WRONG] * 3
    assert comparisons.made.total() == 3


def test_disabling_takes_effect_at_once_and_costs_a_comparison() -> None:
    store, comparisons = Memory(KNOWN), Comparisons()

    async def scenario() -> None:
        asked = verifier(store, comparisons)
        assert await asked.verify(*PAIR) == opened(KNOWN.name)
        store.logins[KNOWN.name] = replace(KNOWN, enabled=False)
        assert await asked.verify(*PAIR) is Refusal.DISABLED
        del store.logins[KNOWN.name]
        assert await asked.verify(*PAIR) is WRONG
        assert comparisons.made == {KNOWN.passwords[0].hash: 2, UNKNOWN_LOGIN_HASH: 1}
        asked.close()

    asyncio.run(scenario())


def test_a_store_that_folds_case_opens_no_second_name() -> None:
    class Folding(Memory):
        def login(self, name: str) -> Login | None:
            return super().login(name.lower()[:32])

    named = login("ab" * 16, KNOWN.passwords[0].hash)
    folding = Folding(named)
    folding.logins["cd" * 16] = named
    assert ask(verifier(folding), ("AB" * 16, PAIR[1]), ("cd" * 16, PAIR[1]), ("ab" * 16, PAIR[1])) == [
        WRONG,
        WRONG,
        opened(named.name),
    ]


def test_a_store_that_is_down_is_no_verdict() -> None:
    store = Memory(KNOWN)

    async def scenario() -> None:
        asked = verifier(store)
        assert await asked.verify(*PAIR) == opened(KNOWN.name)
        store.down = True
        with pytest.raises(StoreUnavailable):
            await asked.verify(*PAIR)
        asked.close()

    asyncio.run(scenario())


def test_a_damaged_hash_is_no_verdict() -> None:
    with pytest.raises(StoreUnavailable, match="damaged"):
        ask(verifier(Memory(login(NAMES[0], "{SSHA}xyz"))), PAIR)


def test_more_comparisons_than_allowed_are_no_verdict_and_pass_by() -> None:
    release = threading.Event()

    def slow(password_hash: str, password: bytes) -> bool:
        release.wait(30)
        return verify(password_hash, password)

    async def scenario() -> None:
        asked = verifier(Memory(KNOWN), slow, pending_limit=2)
        tasks = [asyncio.create_task(asked.verify(*PAIR)) for _ in range(5)]
        done, waiting = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_EXCEPTION)
        done, waiting = await asyncio.wait(tasks, timeout=0.3)
        assert [type(task.exception()) for task in done] == [Overloaded] * 3
        gone = waiting.pop()
        gone.cancel()
        release.set()
        assert await waiting.pop() == opened(KNOWN.name)
        # The places are free again, also that of the caller who went away.
        stranger = (NAMES[1], b"x")
        while True:
            try:
                assert await asyncio.gather(asked.verify(*stranger), asked.verify(*stranger)) == [WRONG, WRONG]
                break
            except Overloaded:
                await asyncio.sleep(0.01)
        asked.close()
        with pytest.raises(Overloaded):
            await asked.verify(*stranger)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_what_is_remembered_is_not_held_up_by_comparisons() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(password_hash: str, password: bytes) -> bool:
        if password == PAIR[1]:
            return verify(password_hash, password)
        started.set()
        return not release.wait(30)

    async def scenario() -> None:
        asked = verifier(Memory(KNOWN), slow, pending_limit=1)
        assert await asked.verify(*PAIR) == opened(KNOWN.name)
        held = asyncio.create_task(asked.verify(NAMES[1], b"x"))
        assert await asyncio.to_thread(started.wait, 10)
        with pytest.raises(Overloaded):
            await asked.verify(NAMES[1], b"y")
        assert await asked.verify(*PAIR) == opened(KNOWN.name)
        release.set()
        assert await held is WRONG
        asked.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    matches = Matches(lifetime=30.0, capacity=3, clock=lambda: 0.0)
    keys = [bytes([number]) for number in range(5)]
    for key in keys:
        matches.add(key)
    assert [key in matches for key in keys] == [False, False, True, True, True]
    matches.add(keys[2])
    matches.add(keys[0])
    assert [key in matches for key in keys] == [True, False, True, False, True]
    assert len(matches) == 3


PARTS = st.tuples(st.text(max_size=6), st.text(max_size=6), st.binary(max_size=6))


@given(left=PARTS, right=PARTS)
def test_keys_are_equal_only_for_equal_parts(left: tuple[str, str, bytes], right: tuple[str, str, bytes]) -> None:
    matches = Matches(lifetime=30.0, capacity=3, clock=lambda: 0.0)
    assert (matches.key(*left) == matches.key(*right)) == (left == right)


def test_parts_do_not_run_into_each_other() -> None:
    matches = Matches(lifetime=30.0, capacity=3, clock=lambda: 0.0)
    assert len({matches.key("ab", "c", b"d"), matches.key("a", "bc", b"d"), matches.key("a", "b", b"cd")}) == 3


def test_another_process_has_other_keys() -> None:
    first, second = (Matches(lifetime=30.0, capacity=3, clock=lambda: 0.0) for _ in range(2))
    assert first.key("a", "b", b"c") != second.key("a", "b", b"c")


def rotating(*, until: int | None = None, idle: int | None = None, replaced: int = 0) -> Login:
    """A login with an old password, PASSWORDS[0], and a new one, PASSWORDS[2]."""
    old = Password(number=4, hash=HASHES[PASSWORDS[0]][0], created=0, until=until, idle=idle)
    new = Password(number=5, hash=HASHES[PASSWORDS[2]][0], created=replaced)
    return replace(KNOWN, passwords=(old, new))


NOW = int(time.time())
OLD, NEW = opened(NAMES[0], 4), opened(NAMES[0], 5)
DAY = 86_400


@pytest.mark.parametrize(
    ("rotated", "used", "expected"),
    [
        (rotating(), 0, OLD),
        (rotating(until=NOW + DAY), 0, OLD),
        (rotating(until=NOW), NOW, Refusal.ROTATED),
        (rotating(idle=DAY, replaced=NOW - DAY // 2), 0, OLD),
        (rotating(idle=DAY, replaced=NOW - 2 * DAY), 0, Refusal.ROTATED),
        (rotating(idle=DAY, replaced=NOW - 2 * DAY), NOW - DAY // 2, OLD),
        (rotating(idle=DAY, replaced=NOW - 9 * DAY), NOW - 2 * DAY, Refusal.ROTATED),
        (rotating(idle=DAY, until=NOW, replaced=NOW), NOW, Refusal.ROTATED),
    ],
)
def test_an_old_password_goes_on_as_long_as_it_may(rotated: Login, used: int, expected: Opened | Refusal) -> None:
    def used_since(name: str, number: int, moment: int) -> bool:
        assert (name, number) == (rotated.name, 4)
        return used > moment

    comparisons = Comparisons()
    asked = Verifier(Memory(rotated), workers=1, pending_limit=9, compare=comparisons, used_since=used_since)
    old, new, wrong = PASSWORDS[0].encode(), PASSWORDS[2].encode(), b"wrong"
    pairs = [(rotated.name, password) for password in (old, new, wrong, old)]
    assert ask(asked, *pairs) == [expected, NEW, WRONG, expected]
    # The newest is tried first. What was right is remembered, what is refused never.
    old_made, new_made = (comparisons.made[password.hash] for password in rotated.passwords)
    assert (old_made, new_made) == ((2, 3) if expected == OLD else (3, 4))


def test_an_old_password_whose_last_use_cannot_be_told_is_no_verdict() -> None:
    def away(name: str, number: int, moment: int) -> bool:
        raise StoreUnavailable("the usage database is away")

    def asked(replaced: int) -> Verifier:
        return Verifier(Memory(rotating(idle=DAY, replaced=replaced)), workers=1, pending_limit=9, used_since=away)

    assert ask(asked(NOW), (NAMES[0], PASSWORDS[0].encode())) == [OLD]
    assert ask(asked(0), (NAMES[0], PASSWORDS[2].encode()), (NAMES[0], b"wrong")) == [NEW, WRONG]
    with pytest.raises(StoreUnavailable, match="away"):
        ask(asked(0), (NAMES[0], PASSWORDS[0].encode()))


@pytest.mark.parametrize(
    ("changed", "address", "expected"),
    [
        ({"networks": ("192.0.2.0/24",)}, "192.0.2.9", opened(NAMES[0])),
        ({"networks": ("192.0.2.0/24",)}, "198.51.100.9", Refusal.ADDRESS),
        ({"networks": ("192.0.2.0/24",)}, "", Refusal.ADDRESS),
        ({"expires": NOW + DAY}, "", opened(NAMES[0])),
        ({"expires": NOW - 1}, "192.0.2.9", Refusal.EXPIRED),
        ({"enabled": False, "expires": 0}, "", Refusal.DISABLED),
    ],
)
def test_where_it_may_not_be_used_a_right_password_is_compared_and_refused(
    changed: dict[str, Any], address: str, expected: Opened | Refusal
) -> None:
    comparisons = Comparisons()

    async def scenario() -> None:
        asked = verifier(Memory(replace(KNOWN, **changed)), comparisons)
        for _ in range(2):
            assert await asked.verify(*PAIR, address) == expected
        assert await asked.verify(KNOWN.name, b"wrong", address) is WRONG
        asked.close()

    asyncio.run(scenario())
    assert comparisons.made.total() == (2 if isinstance(expected, Opened) else 3)


class Directory(Memory):
    """A store whose logins are external; `open` is the password of all of them."""

    def __init__(self, *logins: Login) -> None:
        super().__init__(*logins)
        self.bound: list[tuple[str, bytes]] = []
        self.away = False

    def bind(self, login: Login, password: bytes) -> bool:
        self.bound.append((login.name, password))
        if self.away:
            raise StoreUnavailable("no server answers")
        return password == b"open"


def test_a_directory_compares_each_time_in_any_case_of_letters() -> None:
    alice = replace(KNOWN, name="alice@example.com", passwords=(), external=True)
    directory, comparisons = Directory(alice), Comparisons()
    pairs = [("Alice@Example.COM", b"open"), ("alice@example.com", b"open"), ("ALICE@example.com", b"shut")]
    assert ask(verifier(directory, comparisons), *pairs) == [opened(alice.name, 0)] * 2 + [WRONG]
    assert directory.bound == [(alice.name, password) for _, password in pairs]
    assert comparisons.made.total() == 0
    directory.away = True
    with pytest.raises(StoreUnavailable, match="no server"):
        ask(verifier(directory), pairs[0])


def test_a_disabled_login_of_a_directory_is_bound_all_the_same() -> None:
    directory = Directory(replace(KNOWN, passwords=(), external=True, enabled=False))
    assert ask(verifier(directory), (KNOWN.name, b"open"), (KNOWN.name, b"shut")) == [Refusal.DISABLED, WRONG]
    assert len(directory.bound) == 2


@pytest.mark.parametrize("closed", [{"enabled": False}, {"expires": 1}])
def test_a_login_nothing_opens_is_refused_where_its_directory_is_unwilling_to_compare(closed: dict[str, Any]) -> None:
    directory = Directory(replace(KNOWN, passwords=(), external=True, **closed))
    directory.away = True
    assert ask(verifier(directory), (KNOWN.name, b"open")) == [WRONG]
    assert len(directory.bound) == 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Alice@Example.com", "alice@example.com"),
        ("ab" * 16, "ab" * 16),
        ("AB" * 16, "AB" * 16),
        ("aB" * 16, "aB" * 16),
        ("AB" * 15, "ab" * 15),
        ("\u212aelvin", "\u212aelvin"),
        ("J\u00d6RG", "J\u00d6RG"),
        ("Alice ", "alice "),
    ],
)
def test_only_the_letters_of_ascii_have_no_case(typed: str, meant: str) -> None:
    assert identity(typed) == meant


class VerifierModel(RuleBasedStateMachine):
    """Whatever is changed and whenever it is asked: exactly the pairs that are right now open exactly their login."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store, self.comparisons = Memory(), Comparisons()
        self.passwords: dict[str, str] = {}
        self.asked = verifier(self.store, self.comparisons, clock=lambda: self.now, capacity=2)
        self.runner = asyncio.Runner()

    @rule(name=st.sampled_from(NAMES), password=st.sampled_from(PASSWORDS), which=st.integers(0, 1))
    def set_password(self, name: str, password: str, which: int) -> None:
        self.passwords[name] = password
        self.store.logins[name] = login(name, HASHES[password][which])

    @rule(name=st.sampled_from(NAMES), enabled=st.booleans())
    def set_enabled(self, name: str, enabled: bool) -> None:
        if name in self.store.logins:
            self.store.logins[name] = replace(self.store.logins[name], enabled=enabled)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.store.logins.pop(name, None)

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from([*NAMES[:2], NAMES[2], NAMES[2]]), password=st.sampled_from(PASSWORDS))
    def ask(self, name: str, password: str) -> None:
        known = self.store.logins.get(name)
        right = known is not None and known.enabled and self.passwords[name] == password
        before = self.comparisons.made.total()
        found = self.runner.run(self.asked.verify(name, password.encode()))
        assert found == opened(name) if right else isinstance(found, Refusal)
        made = self.comparisons.made.total() - before
        assert made == 1 or (right and made == 0)

    @rule(name=st.sampled_from(NAMES))
    def ask_while_down(self, name: str) -> None:
        self.store.down = True
        with pytest.raises(StoreUnavailable):
            self.runner.run(self.asked.verify(name, PASSWORDS[0].encode()))
        self.store.down = False

    @invariant()
    def the_store_is_up(self) -> None:
        assert not self.store.down

    def teardown(self) -> None:
        self.asked.close()
        self.runner.close()


VerifierModel.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestVerifierModel = VerifierModel.TestCase
