"""Hosted images of several hosts in one PostgreSQL: each brings its own, whatever happens meanwhile, and all of them read."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journal.images import PIECE, ImageStore
from journal.migrate import migrate
from journal.shared_images import SharedImages
from journal.sharing import Sharing, SharingThread
from policy.stores import StoreUnavailable

NAME = "ab" + "c" * 30 + ".png"


@pytest.fixture
def url(postgresql) -> str:
    """A journal on a server, empty."""
    made = postgresql.database()
    migrate(made)
    return str(made)


@pytest.fixture
def shared(url: str) -> Iterator[SharedImages]:
    found = SharedImages(url)
    yield found
    found.close()


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[str], ImageStore]:
    """Makes the folder of images of a host."""

    def make(host: str) -> ImageStore:
        (tmp_path / host).mkdir()
        return ImageStore(tmp_path / host)

    return make


def named(number: int) -> str:
    """A name of an image; many have a sub-folder in common."""
    digits = "".join(chr(ord("a") + int(digit)) for digit in f"{number:06}")
    return f"{digits[-1]}a{digits}{'z' * 24}.gif"


def content(shared: SharedImages, name: str) -> bytes:
    return b"".join(shared.pieces(name))


def test_what_was_kept_is_read_by_others(shared: SharedImages, url: str) -> None:
    assert shared.missing([NAME, named(1)]) == [NAME, named(1)]
    assert list(shared.pieces(NAME)) == []
    pieces = [os.urandom(PIECE), os.urandom(PIECE), b"\0the end"]
    shared.keep(NAME, iter(pieces), 1)
    other = SharedImages(url)
    assert other.missing([NAME, named(1)]) == [named(1)]
    assert list(other.pieces(NAME)) == pieces
    other.keep(NAME, iter([b"something else"]), 2)
    assert list(other.pieces(NAME)) == pieces
    other.close()


def test_nobody_sees_a_part_of_an_image(shared: SharedImages) -> None:
    seen = []

    def pieces() -> Iterator[bytes]:
        yield b"one"
        seen.append(content(shared, NAME))
        yield b"two"
        raise OSError("the disk is broken")

    with pytest.raises(OSError, match="the disk is broken"):
        shared.keep(NAME, pieces(), 1)
    assert seen == [b""]
    assert shared.missing([NAME]) == [NAME]


def test_hosts_may_bring_the_same_image_at_once(url: str, in_threads) -> None:
    def bring(_number: int) -> None:
        own = SharedImages(url)
        for number in range(30):
            own.keep(named(number), iter([b"x" * 1000, str(number).encode()]), 1)
        own.close()

    in_threads(bring)
    found = SharedImages(url)
    assert [content(found, named(number)) for number in range(30)] == [b"x" * 1000 + str(number).encode() for number in range(30)]
    found.close()


def test_new_files_are_brought_once(shared: SharedImages, make_store) -> None:
    store = make_store("a")
    sharing = Sharing(store, shared)
    assert sharing.turn() == 0
    for number in range(40):
        store.keep(named(number), str(number).encode())
    assert [sharing.turn() for _ in range(3)] == [40, 0, 0]
    assert [content(shared, named(number)) for number in range(40)] == [str(number).encode() for number in range(40)]
    store.keep(named(40), b"40")
    assert [sharing.turn() for _ in range(3)] == [1, 0, 0]
    assert Sharing(store, shared).turn() == 0  # another start


def test_no_file_is_missed_whenever_it_comes(shared: SharedImages, make_store, in_threads) -> None:
    store = make_store("a")
    sharing = Sharing(store, shared)
    done: list[int] = []

    def work(number: int) -> None:
        if number:
            for other in range(150):
                store.keep(named(1000 * number + other), b"x")
            done.append(number)
            return
        limit = time.monotonic() + 60.0
        while len(done) < 3 and time.monotonic() < limit:
            sharing.turn()

    in_threads(work)
    sharing.turn()
    names = [named(1000 * number + other) for number in (1, 2, 3) for other in range(150)]
    assert shared.missing(names) == []


def test_a_folder_with_an_old_stamp_is_not_read_again_before_the_next_day(shared: SharedImages, make_store) -> None:
    store, now = make_store("a"), time.time()
    store.keep(named(1), b"1")
    sharing = Sharing(store, shared, now=lambda: now)
    assert sharing.turn() == 1
    folder = store.path(named(2)).parent
    folder.mkdir(exist_ok=True)
    os.utime(folder, ns=(1, 1))
    assert sharing.turn() == 0
    store.keep(named(2), b"2")
    os.utime(folder, ns=(1, 1))  # as no kernel does
    assert sharing.turn() == 0
    now += 86_401
    assert sharing.turn() == 1


def test_an_outage_leaves_the_rest_to_the_next_turn(shared: SharedImages, make_store, postgresql) -> None:
    store = make_store("a")
    for number in range(30):
        store.keep(named(number), b"x")
    brought: list[int] = []

    def stop_in_the_middle() -> None:
        brought.append(1)
        if len(brought) == 10:
            postgresql.stop()

    sharing = Sharing(store, shared, pause=stop_in_the_middle)
    with pytest.raises(StoreUnavailable):
        sharing.turn()
    with pytest.raises(StoreUnavailable):
        sharing.turn()
    postgresql.start()
    assert sharing.turn() == 21
    assert shared.missing([named(number) for number in range(30)]) == []


def test_the_thread_waits_for_the_database_and_says_so_once(url: str, make_store, postgresql, wait_for, caplog) -> None:
    caplog.set_level("INFO", "smtpeter.images")
    store = make_store("a")
    thread = SharingThread(store, url)
    postgresql.stop()
    store.keep(NAME, b"picture")
    thread.start()
    try:
        wait_for(lambda: "other hosts do not get hosted images" in caplog.text)
        postgresql.start()
        other = SharedImages(url)
        wait_for(lambda: content(other, NAME) == b"picture")
        wait_for(lambda: "get hosted images again" in caplog.text)
        other.close()
    finally:
        thread.close(30.0)
    assert caplog.text.count("do not get") == 1


def test_the_thread_ends_in_the_middle_and_the_next_one_brings_the_rest(url: str, make_store, wait_for) -> None:
    store = make_store("a")
    for number in range(30):
        store.keep(named(number), b"x")
    names, other = [named(number) for number in range(30)], SharedImages(url)
    thread = SharingThread(store, url)
    thread.behind = True  # a second for each image
    thread.start()
    wait_for(lambda: len(other.missing(names)) < 30)
    thread.close(30.0)
    left = other.missing(names)
    assert left
    following = SharingThread(store, url)
    following.start()
    wait_for(lambda: not other.missing(names))
    following.close(30.0)
    other.close()


def test_pieces_become_a_file_that_is_whole(make_store, shared: SharedImages) -> None:
    store, octets = make_store("b"), os.urandom(2 * PIECE + 5)
    shared.keep(NAME, iter([octets[:PIECE], octets[PIECE:]]), 1)
    store.keep_pieces(NAME, shared.pieces(NAME))
    assert store.read(NAME) == octets == b"".join(store.pieces(NAME))
    assert stat.S_IMODE(store.path(NAME).stat().st_mode) == 0o640

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        store.keep_pieces(named(1), broken())
    assert store.read(named(1)) is None
    assert [path for path in store.path(named(1)).parent.iterdir() if path.name != named(1) and path.is_file()] == []
