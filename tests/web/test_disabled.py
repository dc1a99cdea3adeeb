"""The destinations that nobody is sent to: asked for in the background, kept while nobody answers."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journal.migrate import migrate
from journal.store import JournalStore
from policy.stores import StoreUnavailable
from web.disabled import DisabledLinks

BAD = "https://example.com/bad"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JournalStore]:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    migrate(url)
    store = JournalStore(url)
    yield store
    store.close()


@pytest.fixture
def fetch(store: JournalStore) -> Callable[[], list[str]]:
    return lambda: [link.destination for link in store.disabled_links()]


def test_what_the_store_says_is_known_within_a_second(store: JournalStore, fetch, tmp_path: Path) -> None:
    links = DisabledLinks(fetch, tmp_path / "kept.json")

    async def main() -> list[float]:
        following = asyncio.create_task(links.follow())
        loop = asyncio.get_running_loop()
        taken = []
        for change, wanted in ((lambda: store.disable_link(BAD, 1, ""), {BAD}), (lambda: store.enable_link(BAD), set())):
            change()
            begun = loop.time()
            while links.destinations != wanted:
                assert loop.time() - begun < 5
                await asyncio.sleep(0.01)
            taken.append(loop.time() - begun)
        following.cancel()
        return taken

    assert max(asyncio.run(main())) < 1


def test_a_restart_without_the_database_forgets_nothing(store: JournalStore, fetch, tmp_path: Path, caplog) -> None:
    store.disable_link(BAD, 1, "")
    DisabledLinks(fetch, tmp_path / "kept.json").refresh()
    store.close()
    (tmp_path / "journal.db").unlink()
    caplog.set_level(logging.WARNING)
    links = DisabledLinks(fetch, tmp_path / "kept.json")
    assert links.destinations == {BAD}
    for _ in range(5):
        links.refresh()
    assert links.destinations == {BAD}
    assert len(caplog.records) == 1, "the log is told once"


def test_it_is_looked_up_again_when_the_database_is_back(tmp_path: Path, caplog) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    store = JournalStore(url)
    links = DisabledLinks(lambda: [link.destination for link in store.disabled_links()], tmp_path / "kept.json")
    caplog.set_level(logging.WARNING)
    links.refresh()
    assert links.destinations == frozenset()
    migrate(url)
    store.disable_link(BAD, 1, "")
    links.refresh()
    assert links.destinations == {BAD}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "again" in caplog.records[1].getMessage()
    store.close()


@pytest.mark.parametrize("content", [b"", b"{", b"17", b"\xff\xfe", b"null"])
def test_a_damaged_file_stops_nothing(content: bytes, tmp_path: Path, caplog) -> None:
    file = tmp_path / "kept.json"
    file.write_bytes(content)
    links = DisabledLinks(lambda: [BAD], file)
    assert links.destinations == frozenset()
    assert "cannot be read" in caplog.text
    links.refresh()
    assert json.loads(file.read_text()) == [BAD]


def test_the_file_is_written_only_when_something_changed(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    found = [BAD]
    links = DisabledLinks(lambda: found, file)
    links.refresh()
    before = file.stat().st_ino
    links.refresh()
    assert file.stat().st_ino == before
    found.clear()
    links.refresh()
    assert json.loads(file.read_text()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog) -> None:
    links = DisabledLinks(lambda: [BAD], tmp_path / "nowhere" / "kept.json")
    links.refresh()
    links.refresh()
    assert links.destinations == {BAD}
    assert caplog.text.count("cannot be kept") == 1


def test_trouble_of_the_store_is_no_empty_set(tmp_path: Path) -> None:
    answers: Iterator[object] = iter(([BAD], StoreUnavailable("away"), [BAD, "x"]))

    def fetch() -> list[str]:
        answer = next(answers)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer  # type: ignore[return-value]

    links = DisabledLinks(fetch, tmp_path / "kept.json")
    seen = []
    for _ in range(3):
        links.refresh()
        seen.append(set(links.destinations))
    assert seen == [{BAD}, {BAD}, {BAD, "x"}]
