"""Numbers for Prometheus, as every room counts them. With smtpeter.exposition the only import of prometheus_client.

Where the environment names a folder, each process counts in files of its own there, and one process shows what all of them come
to; numbers outlive the process that counted them. Without it a process counts for itself, and nobody asks. Counting never
fails: a folder that cannot be used is as good as none.
"""

import logging
import os

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own
MOST = 2000  # different values of a label in one process, where others decide how many there are
OTHER = "other"


def _folder() -> str:
    """The folder of the numbers, "" for none; one that is no use is forgotten, since the library would stop the process."""
    if NAMED and os.access(NAMED, os.W_OK | os.X_OK):
        return NAMED
    os.environ.pop(VARIABLE, None)
    return ""


NAMED = os.environ.get(VARIABLE, "")
FOLDER = _folder()

# Where the files are is asked once, by this import.
from prometheus_client import Counter, Gauge, Histogram  # noqa: E402
from prometheus_client.multiprocess import mark_process_dead  # noqa: E402

__all__ = ["FOLDER", "MOST", "VARIABLE", "Bounded", "Counter", "Gauge", "Histogram", "begin", "forget", "processes"]

processes = Gauge(
    "smtpeter_processes",
    "Processes of the service that run; of the milter, those that change messages.",
    ("process",),
    multiprocess_mode="livesum",
)


def begin(process: str) -> None:
    """This is one of the processes of the service; its name is a label. A command that counts by the way says nothing."""
    processes.labels(process).set(1)
    if NAMED and not FOLDER:
        log = logging.getLogger("smtpeter.metrics")
        log.warning("%s cannot be written to: nobody sees the numbers of this process", NAMED)


def forget(process: int) -> None:
    """Takes away what counted only while that process was there, sessions for one; what it counted for good stays."""
    if FOLDER:
        mark_process_dead(process, FOLDER)


class Bounded:
    """Keeps the values of a label few: from the `most`-th different one on, new ones are all "other". From any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label for a value."""
        if value in self._seen:
            return value
        if len(self._seen) >= self._most:
            return OTHER
        self._seen.add(value)
        return value
