"""`smtpeter login rotate`, and what `login show` tells of passwords: no outage, and nothing stays valid unseen."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policy.login import Login
from policy.password import verify
from policy.stores.sql import SqlStore
from policy.stores.uses import SqlUses, Use
from policy.verifier import Opened, Refusal, Verifier
from smtpeter.commands import passwords
from smtpeter.settings import Settings

HOUR = 3_600


class Shop:
    """An account with one login, its command and its databases."""

    def __init__(self, command: Callable[..., str], folder: Path) -> None:
        self.command = command
        made = json.loads(command("login", "add", "--account", "shop", "--json"))
        self.name, self.first = made["name"], made["password"]
        self.settings = Settings(data=folder / "data")
        self.store = SqlStore(self.settings.database_url)
        self.uses = SqlUses(self.settings.usage_url)

    @property
    def login(self) -> Login:
        found = self.store.login(self.name)
        assert found is not None
        return found

    def rotate(self, *words: str) -> str:
        """The new password."""
        return str(json.loads(self.command("login", "rotate", self.name, "--json", *words))["password"])

    def use(self, number: int, ago: int) -> None:
        use = Use(login=self.name, password=number, time=int(time.time()) - ago, address="192.0.2.9", mechanism="PLAIN")
        self.uses.note((replace(use, client="phone.test"),), {})

    def age(self, seconds: int) -> None:
        """Makes all passwords so much older."""
        older = tuple(replace(each, created=each.created - seconds) for each in self.login.passwords)
        self.store.change_login(self.name, lambda login: replace(login, passwords=older))

    def opens(self, *given: str) -> list[bool]:
        """Which passwords the auth server would accept now."""

        def used_since(name: str, number: int, moment: int) -> bool:
            use = self.uses.of(name).get(number)
            return use is not None and use.time > moment

        async def ask() -> list[Opened | Refusal]:
            verifier = Verifier(self.store, workers=1, pending_limit=9, used_since=used_since)
            try:
                return [await verifier.verify(self.name, password.encode()) for password in given]
            finally:
                verifier.close()

        return [isinstance(found, Opened) for found in asyncio.run(ask())]

    def rows(self) -> list[dict[str, Any]]:
        return passwords.rows(self.settings, self.login)


@pytest.fixture
def rotating(shop: Callable[..., str], tmp_path: Path) -> Iterator[Shop]:
    made = Shop(shop, tmp_path)
    yield made
    made.store.close()
    made.uses.close()


def test_a_second_password_works_beside_the_first_until_that_is_not_used_for_a_day(rotating: Shop) -> None:
    second = rotating.rotate()
    old, new = rotating.login.passwords
    assert (old.number, old.until, old.idle) == (1, None, 24 * HOUR)
    assert (new.number, new.until, new.idle) == (2, None, None)
    assert rotating.opens(rotating.first, second) == [True, True]
    rotating.age(23 * HOUR)
    assert rotating.opens(rotating.first, second) == [True, True]
    rotating.age(2 * HOUR)
    assert rotating.opens(rotating.first, second) == [False, True]
    rotating.use(1, ago=23 * HOUR)
    assert rotating.opens(rotating.first, second) == [True, True]


@pytest.mark.parametrize(
    ("words", "until", "idle"),
    [
        (("--hours", "48"), None, 48 * HOUR),
        (("--until", "2200-01-31 12:00"), 7_260_753_600, None),
        (("--until", "2200-01-31 12:00", "--hours", "1"), 7_260_753_600, HOUR),
    ],
)
def test_how_long_the_old_one_goes_on(rotating: Shop, words: tuple[str, ...], until: int | None, idle: int | None) -> None:
    rotating.rotate(*words)
    old, _ = rotating.login.passwords
    assert (old.until, old.idle) == (until, idle)


def test_at_once_leaves_only_the_new_one(rotating: Shop) -> None:
    second = rotating.rotate()
    third = rotating.rotate("--at-once")
    assert [each.number for each in rotating.login.passwords] == [3]
    assert rotating.opens(rotating.first, second, third) == [False, False, True]


def test_a_third_one_ends_the_oldest_and_says_so(rotating: Shop) -> None:
    second = rotating.rotate()
    said = rotating.command("login", "rotate", rotating.name)
    assert [each.number for each in rotating.login.passwords] == [2, 3]
    assert rotating.opens(rotating.first, second) == [False, True]
    assert "Password 1, made " in said
    assert ", is no longer accepted." in said
    assert "is accepted until it was not used for 24 hours." in said


def test_what_has_expired_is_dropped_at_the_next_rotation_without_a_word(rotating: Shop) -> None:
    rotating.rotate()
    rotating.age(25 * HOUR)
    said = rotating.command("login", "rotate", rotating.name)
    assert "no longer" not in said
    assert [each.number for each in rotating.login.passwords] == [2, 3]


def test_numbers_are_never_used_again(rotating: Shop) -> None:
    for _ in range(3):
        rotating.rotate("--at-once")
    assert [each.number for each in rotating.login.passwords] == [4]


def test_without_its_usage_database_nothing_that_may_be_in_use_is_dropped(rotating: Shop) -> None:
    second = rotating.rotate()
    rotating.age(25 * HOUR)
    rotating.uses.close()
    for file in rotating.settings.data.glob("usage.db*"):
        file.unlink()
    said = rotating.command("login", "rotate", rotating.name)
    assert "Password 1, made " in said  # it was taken for valid, and so its end is told
    assert [each.number for each in rotating.login.passwords] == [2, 3]
    assert [row["last_use"] for row in rotating.rows()] == [None, None]
    assert verify(rotating.login.passwords[0].hash, second.encode())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--at-once", "--hours", "2"), "--at-once leaves no time for --hours or --until"),
        (("--at-once", "--until", "2200-01-31"), "--at-once leaves no time for --hours or --until"),
        (("--until", "2001-01-31"), "2001-01-31 has passed; --at-once ends the old password now"),
        (("--until", "soon"), "the end of a password cannot be 'soon'"),
        (("--hours", "0"), "Invalid value"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(rotating: Shop, words: tuple[str, ...], sentence: str) -> None:
    before = rotating.login
    assert sentence in rotating.command("login", "rotate", rotating.name, *words, status=2)
    assert rotating.login == before


def test_never_is_no_deadline(rotating: Shop) -> None:
    rotating.rotate("--until", "never", "--hours", "5")
    assert (rotating.login.passwords[0].until, rotating.login.passwords[0].idle) == (None, 5 * HOUR)


def test_each_password_tells_its_last_use(rotating: Shop) -> None:
    rotating.rotate("--hours", "36")
    rotating.use(1, ago=60)
    first, second = rotating.rows()
    assert (first["number"], first["unused_hours"], first["until"]) == (1, 36.0, None)
    assert (first["address"], first["mechanism"], first["client"]) == ("192.0.2.9", "PLAIN", "phone.test")
    assert (second["number"], second["last_use"], second["client"]) == (2, None, None)
    lines = passwords.lines([first, second])
    assert f"ends when not used for 36 h, last used {first['last_use']} from 192.0.2.9 as phone.test, PLAIN" in lines[0]
    assert lines[1].endswith(", no use known")
    shown = json.loads(rotating.command("login", "show", rotating.name, "--json"))
    assert shown["passwords"] == [first, second]
    assert lines[0] in rotating.command("login", "show", rotating.name)


def test_a_login_of_a_directory_has_a_last_use_but_no_password_here(rotating: Shop) -> None:
    rotating.use(0, ago=60)
    (row,) = passwords.rows(rotating.settings, replace(rotating.login, passwords=(), external=True))
    assert (row["number"], row["created"], row["address"]) == (0, None, "192.0.2.9")
    assert passwords.lines([row])[0].startswith("in the directory, last used ")


def test_the_new_password_is_the_only_one_that_is_shown(rotating: Shop) -> None:
    second = rotating.rotate()
    said = rotating.command("login", "rotate", rotating.name) + rotating.command("login", "show", rotating.name)
    assert rotating.first not in said
    assert second not in said
    assert "argon2" not in said


def test_nothing_is_left_of_a_login_that_is_removed(rotating: Shop) -> None:
    rotating.use(1, 5)
    assert rotating.uses.of(rotating.name)
    rotating.command("login", "remove", rotating.name)
    assert rotating.uses.of(rotating.name) == {}
