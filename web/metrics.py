"""What is counted of visits."""

from journal.records import VisitKind, VisitRecord
from policy.counting import Counter

_visits = Counter(
    "smtpeter_visits_total", "Clicks and opens, by whether a person was behind them as far as can be told.", ("kind", "by")
)
lost = Counter("smtpeter_visits_lost_total", "Visits that were given up because they could not be written.")

# Made once: this is counted for every visit.
_BY = {False: "person", True: "machine"}
_counters = {(kind, machine): _visits.labels(kind.value, by) for kind in VisitKind for machine, by in _BY.items()}


def visited(visit: VisitRecord) -> None:
    """A visit came."""
    _counters[visit.kind, visit.machine].inc()
