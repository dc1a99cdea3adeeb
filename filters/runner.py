"""Runs the jobs of one worker: one at a time, on a thread Python made, against a deadline the worker cannot outlive.

A callback of libmilter must not run code that re-enters Python (docs/adr/0007), and code that holds the interpreter's lock
cannot be interrupted by another thread. So the work happens here, and the deadline is a kernel timer whose signal ends
the process: its sessions get 451, the parent makes a new worker. What a worker was at when it died is written beforehand
into memory shared with the parent; content that killed two workers is refused for good.
"""

import hashlib
import mmap
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from policy.reply import POISONED, Refused

DIGEST = 16  # octets
REMEMBERED = 1024  # deaths
STRIKES = 2  # deaths after which the same content is refused

Answer = TypeVar("Answer")


class Ledger:
    """Which content killed workers. Made before the fork; a worker writes its own slot, the parent everything else."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, (workers + REMEMBERED) * DIGEST)
        self._deaths = 0

    def begin(self, worker: int, digest: bytes) -> None:
        """Notes that `worker` now works on the content of that digest."""
        self._memory[worker * DIGEST : (worker + 1) * DIGEST] = digest

    def end(self, worker: int) -> None:
        """Notes that `worker` is done with it."""
        self.begin(worker, bytes(DIGEST))

    def strikes(self, digest: bytes) -> int:
        """How many workers died of the content of that digest."""
        return self._memory[self._workers * DIGEST :].count(digest)

    def bury(self, worker: int) -> bytes | None:
        """Counts the death of `worker`, asked by the parent; the digest of what it was at, if it was at something."""
        digest = self._memory[worker * DIGEST : (worker + 1) * DIGEST]
        self.end(worker)
        if digest == bytes(DIGEST):
            return None
        place = self._workers + self._deaths % REMEMBERED
        self._memory[place * DIGEST : (place + 1) * DIGEST] = digest
        self._deaths += 1
        return digest


class Runner:
    """The job thread of one worker. `deadline` is in seconds of one job's run, waiting not counted.

    `job_seconds` is told what each run took; `beat` is called whenever the thread has ended something.
    """

    def __init__(
        self,
        ledger: Ledger,
        worker: int,
        deadline: float,
        *,
        job_seconds: Callable[[float], object] = lambda seconds: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self._deadline = deadline
        self._job_seconds = job_seconds
        self._beat = beat
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job")

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """The answer of a short function, run on the job thread; what it raises is raised here."""
        return self._thread.submit(self._told, question).result()

    def work(
        self, content: Iterable[bytes], job: Callable[[], Answer], then: Callable[[Answer], None] = lambda answer: None
    ) -> Answer:
        """The answer of a job on `content`, within the deadline, after `then` has kept what must be kept of it.

        `content`, in pieces, is all that tells this message from others: what kills workers is one message, not every one with
        the same few words in its body.
        `then` may wait for a disk: that is no fault of the content, so there is no deadline for it. Raises Refused for content
        that ended two workers before; whatever one of both raises is raised here.
        """
        return self._thread.submit(self._told, partial(self._complete, content, job, then)).result()

    def _told(self, task: Callable[[], Answer]) -> Answer:
        try:
            return task()
        finally:
            self._beat()

    def _complete(self, content: Iterable[bytes], job: Callable[[], Answer], then: Callable[[Answer], None]) -> Answer:
        answer = self._guarded(content, job)
        then(answer)
        return answer

    def _guarded(self, content: Iterable[bytes], job: Callable[[], Answer]) -> Answer:
        digest = _digest(content)
        if self._ledger.strikes(digest) >= STRIKES:
            raise Refused(POISONED)
        self._ledger.begin(self._worker, digest)
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, self._deadline)
        try:
            return job()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._ledger.end(self._worker)
            self._job_seconds(time.perf_counter() - began)


def _digest(content: Iterable[bytes]) -> bytes:
    hashed = hashlib.sha256()
    for piece in content:
        hashed.update(piece)
    return hashed.digest()[:DIGEST]
