import hashlib
import os
import signal
import threading
import time

import pytest

from filters.runner import DIGEST, REMEMBERED, Ledger, Runner
from policy.reply import Refused


def test_the_job_runs_on_a_thread_of_pythons_making() -> None:
    runner = Runner(Ledger(1), 0, 5.0)
    here = threading.current_thread()
    assert runner.ask(threading.current_thread) is not here
    assert runner.work([b"content"], threading.current_thread) is runner.ask(threading.current_thread)


def test_what_a_job_raises_reaches_the_caller_and_the_next_job_runs() -> None:
    ledger = Ledger(1)
    runner = Runner(ledger, 0, 5.0)
    with pytest.raises(ZeroDivisionError):
        runner.work([b"content"], lambda: 1 // 0)
    assert runner.work([b"content"], lambda: 7) == 7
    assert ledger.bury(0) is None


def test_the_timer_is_off_when_a_job_is_done() -> None:
    runner = Runner(Ledger(1), 0, 5.0)
    assert runner.work([b"x"], lambda: signal.getitimer(signal.ITIMER_REAL)[0]) > 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_content_that_killed_two_workers_is_refused_for_good() -> None:
    ledger = Ledger(2)
    runner = Runner(ledger, 0, 5.0)

    def die(worker: int) -> bytes | None:
        digests = []
        runner.work([b"bomb"], lambda: digests.append(ledger._memory[:DIGEST]))
        ledger.begin(worker, digests[0])
        return ledger.bury(worker)

    assert die(0) is not None
    assert runner.work([b"bomb"], lambda: "second try") == "second try"
    assert die(1) is not None
    with pytest.raises(Refused, match=r"^554 5\.6\.0"):
        runner.work([b"bomb"], lambda: "third try")
    assert runner.work([b"bo", b"mb", b"?"], lambda: "fine") == "fine"
    with pytest.raises(Refused):
        runner.work([b"bo", b"mb"], lambda: "in other pieces")


def test_the_ledger_forgets_the_oldest_death_first() -> None:
    ledger = Ledger(1)
    digests = [hashlib.sha256(b"%d" % number).digest()[:DIGEST] for number in range(REMEMBERED + 1)]
    for digest in digests:
        ledger.begin(0, digest)
        ledger.bury(0)
    assert [ledger.strikes(digest) for digest in (digests[0], digests[1], digests[-1])] == [0, 1, 1]


def test_a_job_past_its_deadline_ends_the_process_even_in_code_that_holds_the_lock() -> None:
    ledger = Ledger(1)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        runner = Runner(ledger, 0, 0.2)
        # One regular expression match runs in C for minutes and never gives the interpreter's lock away.
        runner.work([b"slow"], lambda: __import__("re").match(r"(a+)+b", "a" * 40))
        os._exit(0)
    limit = time.monotonic() + 10
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < limit:
        time.sleep(0.05)
    assert found[0] == pid
    assert os.WTERMSIG(found[1]) == signal.SIGALRM
    assert ledger.bury(0) is not None


def test_what_is_kept_of_an_answer_is_kept_on_the_same_thread_without_a_deadline() -> None:
    runner, ledger = Runner(Ledger(1), 0, 5.0), []

    def keep(answer: int) -> None:
        ledger.append((answer, threading.current_thread(), signal.getitimer(signal.ITIMER_REAL)))

    assert runner.work([b"x"], lambda: 7, keep) == 7
    assert ledger == [(7, runner.ask(threading.current_thread), (0.0, 0.0))]


def test_what_cannot_be_kept_is_raised_and_is_not_the_content_s_fault() -> None:
    ledger = Ledger(1)
    runner = Runner(ledger, 0, 5.0)

    def full(_answer: int) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        runner.work([b"x"], lambda: 7, full)
    assert ledger.bury(0) is None
