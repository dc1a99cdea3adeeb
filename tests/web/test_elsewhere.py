"""Images of other hosts on the tracking host: fetched once, kept, and never said to be missing while nobody knows."""

import asyncio
import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import psycopg
import pytest

from journal.images import ImageStore
from journal.links import hosted
from journal.migrate import migrate
from journal.shared_images import SharedImages
from web.elsewhere import MISSING_SECONDS, MOST, Elsewhere, Unreachable

NAME = "ab" + "c" * 30 + ".png"


class Counted(SharedImages):
    """Counts the questions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = 0

    def pieces(self, name: str) -> Generator[bytes, None, None]:
        self.asked += 1
        yield from super().pieces(name)


@pytest.fixture
def url(postgresql) -> str:
    """A journal on a server, empty."""
    made = postgresql.database()
    migrate(made)
    return str(made)


@pytest.fixture
def shared(url: str) -> Iterator[Counted]:
    found = Counted(url)
    yield found
    found.close()


@pytest.fixture
def fetched(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "fetched")


async def answers(elsewhere: Elsewhere, *names: str) -> list[bytes | None | BaseException]:
    return await asyncio.gather(*map(elsewhere.read, names), return_exceptions=True)


def test_requests_for_one_image_at_once_are_one_question(shared: Counted, fetched: ImageStore) -> None:
    octets = os.urandom(3_000_000)
    shared.keep(NAME, iter([octets]), 1)

    async def ask() -> None:
        elsewhere = Elsewhere(shared, fetched)
        assert await answers(elsewhere, *[NAME] * 50) == [octets] * 50
        assert await answers(elsewhere, NAME) == [octets]
        elsewhere.close()

    asyncio.run(ask())
    assert shared.asked == 1
    assert fetched.read(NAME) == octets


def test_what_is_missing_is_looked_for_again_after_a_moment(shared: Counted, fetched: ImageStore) -> None:
    now = 100.0

    async def ask() -> None:
        nonlocal now
        elsewhere = Elsewhere(shared, fetched, now=lambda: now)
        for _ in range(5):
            assert await answers(elsewhere, NAME) == [None]
        assert shared.asked == 1
        shared.keep(NAME, iter([b"picture"]), 1)
        now += MISSING_SECONDS
        assert await answers(elsewhere, NAME) == [b"picture"]
        elsewhere.close()

    asyncio.run(ask())
    assert shared.asked == 2


def test_an_outage_is_no_missing_image_and_is_not_asked_into(shared: Counted, fetched: ImageStore, postgresql, caplog) -> None:
    now = 100.0
    shared.keep(NAME, iter([b"picture"]), 1)
    postgresql.stop()

    async def ask() -> None:
        nonlocal now
        elsewhere = Elsewhere(shared, fetched, now=lambda: now)
        for _ in range(5):
            (answer,) = await answers(elsewhere, NAME)
            assert isinstance(answer, Unreachable)
        assert shared.asked == 1
        postgresql.start()
        now += 2.0
        assert await answers(elsewhere, NAME) == [b"picture"]
        elsewhere.close()

    asyncio.run(ask())
    assert caplog.text.count("cannot be looked up") == caplog.text.count("are looked up again") == 1


def test_a_database_that_hangs_holds_up_nobody_for_long(url: str, shared: Counted, fetched: ImageStore) -> None:
    shared.keep(NAME, iter([b"picture"]), 1)
    others = [f"{chr(97 + number % 26)}{chr(97 + number // 26)}{'d' * 30}.png" for number in range(MOST + 20)]

    async def ask() -> None:
        elsewhere = Elsewhere(shared, fetched, wait=0.5)
        begun = time.monotonic()
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute("LOCK TABLE images IN ACCESS EXCLUSIVE MODE")
            found = await answers(elsewhere, NAME, *others)
            assert [type(answer) for answer in found] == [Unreachable] * len(found)
            assert shared.asked == 2  # the others wait
            # What is here already is shown all the while.
            fetched.keep(others[0], b"here")
            assert await answers(elsewhere, others[0]) == [b"here"]
        assert time.monotonic() - begun < 60
        while await asyncio.to_thread(fetched.read, NAME) is None:
            assert time.monotonic() - begun < 60
            await asyncio.sleep(0.02)
        assert await answers(elsewhere, NAME) == [b"picture"]
        elsewhere.close()

    asyncio.run(ask())


def test_an_image_that_breaks_off_is_not_kept(shared: Counted, fetched: ImageStore, postgresql) -> None:
    class Breaking(Counted):
        """Loses the connection after the first piece."""

        def pieces(self, name: str) -> Generator[bytes, None, None]:
            for piece in super().pieces(name):
                yield piece
                postgresql.stop()

    shared.keep(NAME, iter([b"one", b"two"]), 1)
    breaking = Breaking(shared._engine.url.render_as_string(hide_password=False))

    async def ask() -> None:
        elsewhere = Elsewhere(breaking, fetched)
        (answer,) = await answers(elsewhere, NAME)
        assert isinstance(answer, Unreachable)
        elsewhere.close()

    asyncio.run(ask())
    breaking.close()
    assert fetched.read(NAME) is None


def test_the_tracking_host_shows_what_another_host_has(
    run_host: Callable, shared: Counted, fetched: ImageStore, postgresql
) -> None:
    host = run_host(elsewhere=lambda: Elsewhere(shared, fetched))
    missing = host.ask(hosted(NAME, ""))
    assert (missing.status, missing.fields["cache-control"]) == (404, "no-store")
    shared.keep(NAME, iter([b"pic", b"ture"]), 1)
    time.sleep(MISSING_SECONDS)
    shown = host.ask(hosted(NAME, ""))
    assert (shown.status, shown.content) == (200, b"picture")
    assert shown.fields["cache-control"] == "public, max-age=31536000, immutable"
    postgresql.stop()
    assert host.ask(hosted(NAME, "")).content == b"picture"
    away = host.ask(hosted(NAME.replace("ab", "cd"), ""))
    assert (away.status, away.fields["cache-control"], away.fields["retry-after"]) == (503, "no-store", "10")
