"""Visits on their way into the spool: none is lost while it can be written, none is doubled, nobody waits."""

import asyncio
import fcntl
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from journal.links import tracked
from journal.records import VisitKind, VisitRecord, decode
from journal.segment import SUFFIX, read_segment
from journal.spool import SEGMENT_SECONDS, Writer
from web import visits as module
from web.visits import AT_ONCE, Visits


def visit(number: int) -> VisitRecord:
    return VisitRecord(
        kind=VisitKind.CLICK, message="00" * 9, time=1, number=number, url="http://c.test/-x", destination="https://example.com/",
        ip="", protocol="http", headers="", machine=False,
    )  # fmt: skip


def numbers(folder: Path) -> list[int]:
    paths = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
    return [decode(line).number for path in paths for _, line in read_segment(path, 0).lines]


def is_free(folder: Path) -> bool:
    """Whether nobody writes to the only segment any more."""
    (segment,) = folder.glob(f"*{SUFFIX}")
    with segment.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("this took too long")


def test_all_that_was_taken_is_written_once(tmp_path: Path) -> None:
    async def main() -> None:
        visits = Visits(Writer(tmp_path, "web"))
        for number in range(AT_ONCE * 3 + 7):
            visits.add(visit(number))
        assert len(visits) == AT_ONCE * 3 + 7, "nothing is written while a request is answered"
        await until(lambda: not len(visits))
        assert numbers(tmp_path) == list(range(AT_ONCE * 3 + 7))
        visits.add(visit(9999))
        await visits.close()
        assert visits.lost == 0

    asyncio.run(main())
    assert numbers(tmp_path) == [*range(AT_ONCE * 3 + 7), 9999]


def test_closing_writes_what_came_at_the_last_moment(tmp_path: Path) -> None:
    async def main() -> None:
        visits = Visits(Writer(tmp_path, "web"))
        for number in range(AT_ONCE * 2 + 1):
            visits.add(visit(number))
        await visits.close()

    asyncio.run(main())
    assert numbers(tmp_path) == list(range(AT_ONCE * 2 + 1))


def test_what_is_written_comes_to_disk_soon(tmp_path: Path) -> None:
    class Watched(Writer):
        synced = 0

        def sync(self) -> None:
            super().sync()
            self.synced += 1

    async def main() -> None:
        spool = Watched(tmp_path, "web")
        visits = Visits(spool)
        loop = asyncio.get_running_loop()
        for expected in (1, 2, 3):
            begun = loop.time()
            visits.add(visit(expected))
            await until(lambda expected=expected: spool.synced >= expected)
            assert loop.time() - begun < 1
        await asyncio.sleep(0.2)
        assert spool.synced == 3, "there is nothing to do where nothing was written"
        await visits.close()

    asyncio.run(main())


def test_a_spool_that_cannot_be_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "spool"

    async def main() -> None:
        visits = Visits(Writer(folder, "web"), room=10)
        for number in range(6):
            visits.add(visit(number))
        await until(lambda: caplog.records)
        for number in range(6, 14):
            visits.add(visit(number))
        assert (len(visits), visits.lost) == (10, 4)
        await asyncio.sleep(0.1)
        assert len(caplog.records) == 1, "the log is not flooded"
        folder.mkdir()
        await until(lambda: not len(visits))
        await visits.close()
        assert visits.lost == 4

    asyncio.run(main())
    assert numbers(folder) == list(range(4, 14)), "the oldest are given up"
    assert "No such file or directory" in caplog.records[0].getMessage()
    assert caplog.records[1].getMessage() == "visits are written again; 0 wait, 4 were given up"


def test_what_is_lost_in_the_end_is_in_the_log(tmp_path: Path, caplog) -> None:
    async def main() -> int:
        visits = Visits(Writer(tmp_path / "nowhere", "web"))
        for number in range(3):
            visits.add(visit(number))
        await visits.close()
        return visits.lost

    assert asyncio.run(main()) == 3
    assert "3 visits could not be written and are lost" in caplog.text


def test_a_redirect_works_without_a_spool_and_its_visit_comes_later(run_host, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    host = run_host(spool=lambda folder: Writer(folder / "full", "web"))
    path = tracked(host.ring, bytes(9), 1, "https://example.com/x", "")
    assert [host.ask(path).status for _ in range(30)] == [302] * 30
    assert len(host.visits[0]) == 30
    (host.spool / "full").mkdir()
    host.spool = host.spool / "full"
    host.records(30)


def test_a_segment_is_left_to_the_drain_when_nobody_comes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.02)
    clock = [1_000.0]

    async def main() -> None:
        visits = Visits(Writer(tmp_path, "web", now=lambda: clock[0]))
        visits.add(visit(1))
        await until(lambda: numbers(tmp_path) == [1])
        assert not is_free(tmp_path)
        clock[0] += SEGMENT_SECONDS + 1
        await until(lambda: is_free(tmp_path))
        await visits.close()

    asyncio.run(main())
