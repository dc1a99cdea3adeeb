"""Does each place that is asked for logins, limits or records answer? Asked now and then, for the metrics."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from policy import counting, metrics
from policy.stores import StoreUnavailable

SECONDS = 15.0

_log = logging.getLogger("smtpeter.metrics")


def follow(places: Mapping[str, Callable[[], object]]) -> None:
    """Asks each place by name every 15 seconds for as long as the process lives; where nobody counts, nobody is asked.

    Each has a thread of its own, since one that hangs must not stand for the others. What is asked raises StoreUnavailable or
    OSError where there is no answer; the moment of the last one then stays what it was.
    """
    if not counting.FOLDER:
        return
    for name, ask in places.items():
        threading.Thread(target=_ask, args=(name, ask), name=f"watch-{name}", daemon=True).start()


def _ask(name: str, ask: Callable[[], object]) -> NoReturn:
    answered = metrics.store_answered.labels(name)
    while True:
        try:
            ask()
        except (StoreUnavailable, OSError):
            pass
        except Exception:  # noqa: BLE001  # the edge of this thread: the next one may be answered
            _log.exception("store=%s could not be asked", name)
        else:
            answered.set(time.time())
        time.sleep(SECONDS)
