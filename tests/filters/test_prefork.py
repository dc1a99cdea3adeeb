"""What the parent of the milter's workers says of them: ready when all have begun, alive while any of them does."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from filters.pulses import Pulses

SECONDS = 30.0
# Workers that beat until a file of their number is there. What the overseer hears goes to standard output.
PARENT = """
import os, socket, sys, time
from pathlib import Path
from filters import prefork
from filters.runner import Ledger, Runner
from policy.overseer import Overseer

folder, count = Path(sys.argv[1]), int(sys.argv[2])
prefork.BEAT, prefork.STUCK = 0.05, 0.5


class Loud(Overseer):
    def ready(self):
        os.write(1, b"ready\\n")

    def alive(self):
        os.write(1, b"alive\\n")

    def stopping(self):
        os.write(1, b"stopping\\n")


def work(index):
    while not (folder / "begin").exists() and index:
        time.sleep(0.01)
    runner = Runner(ledger, index, 20.0, beat=lambda: parent.pulses.beat(index))
    while True:
        hangs = (folder / f"hang-{index}").exists()
        runner.ask((lambda: time.sleep(3600)) if hangs else (lambda: None))
        time.sleep(0.02)


listener = socket.socket(socket.AF_UNIX)
listener.bind(str(folder / "milter"))
listener.listen()
ledger = Ledger(count)
parent = prefork.Prefork(count, ledger, work, Loud())
parent.run()
"""


class Heard:
    """The lines of a process, as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def close(self) -> None:
        self._thread.join(SECONDS)


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    argv = (sys.executable, "-c", PARENT, str(tmp_path), "2")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        found = Heard(process)
        yield found
        process.kill()  # and its workers with it
        found.close()


def test_all_have_begun_before_it_is_ready_and_one_keeps_it_alive(heard: Heard, tmp_path: Path, wait_for) -> None:
    wait_for(lambda: heard.lines.count("alive") > 3)
    assert "ready" not in heard.lines
    (tmp_path / "begin").touch()
    wait_for(lambda: "ready" in heard.lines)
    (tmp_path / "hang-0").touch()
    before = len(heard.lines)
    wait_for(lambda: len(heard.lines) > before + 30)
    assert set(heard.lines[before:]) == {"alive"}
    heard.process.send_signal(signal.SIGTERM)
    wait_for(lambda: heard.lines[-1] == "stopping")
    assert heard.process.wait(SECONDS) == 0


def test_it_says_nothing_when_none_of_them_gets_anything_done(heard: Heard, tmp_path: Path, wait_for) -> None:
    (tmp_path / "begin").touch()
    wait_for(lambda: "ready" in heard.lines)
    for index in (0, 1):
        (tmp_path / f"hang-{index}").touch()

    def silent() -> bool:
        """Whether nothing was heard for twenty beats."""
        before = len(heard.lines)
        try:
            heard.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return len(heard.lines) == before
        raise AssertionError("it has ended")

    wait_for(silent)


def test_what_workers_note_is_known_to_all() -> None:
    pulses = Pulses(2)
    assert not pulses.complete()
    assert pulses.quiet() > 0
    pulses.beat(0)
    assert not pulses.complete()
    assert pulses.quiet() < SECONDS
    pulses.beat(1)
    assert pulses.complete()
