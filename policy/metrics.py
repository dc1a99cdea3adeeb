"""What is counted of logins, passwords and recipients. No label names a login: whoever guesses would make labels without end."""

from policy.counting import Bounded, Counter, Gauge, Histogram
from policy.reply import Reply

SERVICES = ("smtp", "submission", "imap", "pop3", "sieve")  # what servers with the Dovecot protocol call themselves
ACCEPTED = "accepted"

_attempts = Counter(
    "smtpeter_auth_attempts_total",
    "Attempts to log in, by what came of them: ok; wrong, unknown, disabled, expired, rotated or address (refused after a"
    " comparison), malformed, throttled (not compared), trouble (ours).",
    ("verdict", "service"),
)
comparison_seconds = Histogram(
    "smtpeter_auth_comparison_seconds",
    "Seconds of a password comparison, the wait for a free place included: by hash here, or by a directory.",
    ("by",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_remembered = Counter(
    "smtpeter_auth_cache_total",
    "Passwords of known logins: hit where one was compared a moment ago, miss where it was not.",
    ("result",),
)
_recipients = Counter(
    "smtpeter_policy_verdicts_total",
    "Recipients asked about before the message is there: accepted, or the reply code and enhanced code of the refusal.",
    ("verdict",),
)
store_answered = Gauge(
    "smtpeter_store_answered_timestamp_seconds",
    "When a database or the directory last answered (UTC, since 1970); each is asked every 15 seconds.",
    ("store",),
    multiprocess_mode="livemax",
)
hit, miss = _remembered.labels("hit"), _remembered.labels("miss")

_reply = Bounded(100)


def attempt(verdict: str, service: str) -> None:
    """One attempt to log in came to this; `service` is what the asking server calls itself."""
    _attempts.labels(verdict, service if service in SERVICES else "other").inc()


def recipient(refusal: Reply | None) -> None:
    """One recipient was accepted, or refused."""
    _recipients.labels(ACCEPTED if refusal is None else _reply(f"{refusal.code} {refusal.enhanced}")).inc()
