"""What is counted of records on their way into the database."""

import time
from collections import Counter as Tally
from collections.abc import Iterable

from journal.records import CopyRecord, MessageRecord, Record
from policy.counting import Counter, Histogram

_records = Counter(
    "smtpeter_journal_records_total", "Records that came into the journal's database: attempt, copy, click, open.", ("kind",)
)
refused = Counter("smtpeter_journal_refused_total", "Records that were set aside, since the database can never take them.")
_lag = Histogram(
    "smtpeter_journal_lag_seconds",
    "Age of the oldest record of each batch when it came into the database.",
    buckets=(1, 2, 5, 15, 60, 300, 900, 3600, 14400, 86400),
)


def drained(records: Iterable[Record]) -> None:
    """These records are in the database now."""
    found = tuple(records)
    if not found:
        return
    for kind, count in Tally(map(_kind, found)).items():
        if kind:
            _records.labels(kind).inc(count)
    _lag.observe(max(0.0, time.time() - min(record.time for record in found)))


def _kind(record: Record) -> str:
    """What a record is counted as; "" for a message that comes once more with its copy (filters.attempt)."""
    match record:
        case MessageRecord():
            return "attempt" if record.decisions else ""
        case CopyRecord():
            return "copy"
        case _:
            return record.kind.value
