"""What is counted of messages, sessions and workers. Labels hold logins and reasons, never anything of a message."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from filters.job import Result
from journal.event import Event, Kind
from policy.counting import MOST, Bounded, Counter, Gauge, Histogram, begin, forget
from policy.login import NAME
from policy.reply import Reply

ACCEPTED, REFUSED, DEFERRED, FAILED = "accepted", "refused", "deferred", "failed"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
LONGEST = 80  # characters of a reason

_messages = Counter(
    "smtpeter_messages_total",
    "Messages of clients by login and verdict: accepted, refused (5xx), deferred (4xx), failed (451 for trouble of ours).",
    ("login", "verdict"),
)
_recipients = Counter("smtpeter_message_recipients_total", "Recipients of accepted messages, by login.", ("login",))
_copies = Counter("smtpeter_copies_total", "Copies of split messages by verdict, as for messages.", ("verdict",))
_features = Counter(
    "smtpeter_features_total",
    "What became of features that were asked for, in each message and copy: applied, skipped, untracked or fallback, and why.",
    ("feature", "outcome", "reason"),
)
_signatures = Counter("smtpeter_signatures_total", "Messages and copies by whether they were signed.", ("outcome",))
_senders = Counter(
    "smtpeter_sender_cache_total",
    "Sessions at MAIL: hit where the sender is remembered, miss where the store is asked.",
    ("result",),
)
_deaths = Counter(
    "smtpeter_worker_deaths_total", "Workers of the milter that ended unasked: by deadline, signal or exit.", ("cause",)
)
worker_starts = Counter("smtpeter_worker_starts_total", "Workers of the milter that were started, the first ones included.")
sessions = Gauge("smtpeter_sessions", "SMTP sessions that are open at the milter.", multiprocess_mode="livesum")
message_seconds = Histogram(
    "smtpeter_message_seconds", "Seconds from the end of a message to its answer, waits included.", buckets=SECONDS
)
job_seconds = Histogram("smtpeter_job_seconds", "Seconds of the work on a message, waits not included.", buckets=SECONDS)
hit, miss = _senders.labels("hit"), _senders.labels("miss")

_login, _reason = Bounded(), Bounded(200)
_SIGNATURES = (Kind.SIGNED, Kind.UNSIGNED)
_COUNTED = frozenset((Kind.APPLIED, Kind.SKIPPED, Kind.UNTRACKED, Kind.FALLBACK, *_SIGNATURES))
_VARYING = re.compile(r"\d+")


def accepted(result: Result) -> None:
    """A message or a copy was accepted."""
    job = result.job
    if job.copy:
        _copies.labels(ACCEPTED).inc()
    else:
        messages, recipients = _of_login(job.login)
        messages.inc()
        recipients.inc(len(job.recipients))
    for event in job.events:
        if event.kind in _COUNTED:
            _of_event(event).inc()


def refused(login: str | None, reply: Reply | None) -> None:
    """A message of `login` was refused, a copy where that is None; `reply` is None for unexpected trouble of ours."""
    verdict = FAILED if reply is None else REFUSED if reply.code >= 500 else DEFERRED
    if login is None:
        _copies.labels(verdict).inc()
    else:
        _messages.labels(_login(login) if NAME.fullmatch(login) else "", verdict).inc()


def began() -> None:
    """This process is a worker from now on. A number of an ended one that had the same process id may still be in its files."""
    sessions.set(0)
    begin("milter")


def died(process: int, cause: str) -> None:
    """The worker with that process id ended unasked."""
    _deaths.labels(cause).inc()
    forget(process)


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Counts the seconds of what is done inside, however it ends."""
    began = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - began)


# The same few come again and again, and finding what counts them takes longer than to count.
@lru_cache(maxsize=MOST)
def _of_login(login: str) -> tuple[Counter, Counter]:
    label = _login(login)
    return _messages.labels(label, ACCEPTED), _recipients.labels(label)


@lru_cache(maxsize=MOST)
def _of_event(event: Event) -> Counter:
    if event.kind in _SIGNATURES:
        return _signatures.labels(event.kind.value)
    return _features.labels(event.subject, event.kind.value, _class(event))


def _class(event: Event) -> str:
    """The reason without what differs from message to message: numbers, and the host in front of why it is not used."""
    reason = "click host" if event.kind is Kind.UNTRACKED else event.reason
    return _reason(_VARYING.sub("N", reason)[:LONGEST]) if event.kind is not Kind.APPLIED else ""
