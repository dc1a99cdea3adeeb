"""What Postfix's own log says of deliveries: one line for each attempt at each recipient (smtp(8), bounce(8), qmgr(8)).

The log has local times without a year; the year is the first in which the line is not older than the message. Older logs lie
beside it under names that `postfix logrotate` or logrotate(8) gives them.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

EARLIER = timedelta(hours=26)  # a clock that was set back, or local time that was

_ROTATED = re.compile(r"(?:[.-]\d+(?:-\d+)?)?(?:\.gz)?")  # what follows the name of the log
_ADDRESS = r"(?:[^>]|>(?!, ))*"  # a quoted local part may have a bracket (RFC 5321 4.1.2)
# The time as postlogd(8) writes it, or as syslog daemons do that write RFC 3339.
_LINE = re.compile(
    r"(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ \S+\[\d+\]: (?P<queue_id>[0-9A-Za-z]+): "
    rf"(?:to=<(?P<to>{_ADDRESS})>, (?:orig_to=<(?P<orig_to>{_ADDRESS})>, )?"
    rf"relay=(?P<relay>[^,]+), .*?dsn=(?P<dsn>[\d.]+), |from=<{_ADDRESS}>, )"
    r"status=(?P<status>[a-z]+)(?: \((?P<text>.*)\)|, (?P<end>.*))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to deliver. `time` is UTC, seconds since 1970; `recipient` is the one that was accepted, "" for all of them.

    `status` is Postfix's word: sent, deferred, bounced, expired; `relay` the host that answered `text`, "" or none without one.
    """

    time: int
    queue_id: str
    recipient: str
    relay: str
    dsn: str
    status: str
    text: str


def log_lines(log: Path, since: int) -> Iterator[str]:
    """The lines of a log and of older ones beside it that may be from after `since` (UTC, since 1970), oldest first.

    Raises OSError where the log cannot be read.
    """
    log.open("rb").close()  # also where there are older ones
    found = []
    for path in log.parent.iterdir():
        if path.name.startswith(log.name) and _ROTATED.fullmatch(path.name, len(log.name)):
            with suppress(FileNotFoundError):  # renamed meanwhile
                changed = path.stat().st_mtime
                found += [(changed, path)] if changed >= since else []
    for _, path in sorted(found):
        with suppress(FileNotFoundError), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for line in lines:
                yield line.decode("utf-8", "replace")


def deliveries(lines: Iterable[str], since: Mapping[str, int]) -> Iterator[Delivery]:
    """The attempts at the messages whose queue ids are in `since`, with the time each was accepted (UTC, since 1970)."""
    for line in lines:
        if "status=" not in line or line.partition("]: ")[2].partition(":")[0] not in since:
            continue
        found = _LINE.match(line)
        if found is None:
            continue
        yield Delivery(
            time=_seconds(found["stamp"], since[found["queue_id"]]),
            queue_id=found["queue_id"],
            recipient=found["orig_to"] or found["to"] or "",
            relay=found["relay"] or "",
            dsn=found["dsn"] or "",
            status=found["status"],
            text=found["text"] or found["end"] or "",
        )


def _seconds(stamp: str, since: int) -> int:
    """The time of a line, as local time where it names no zone."""
    if stamp[0].isdigit():
        return int(datetime.fromisoformat(stamp).timestamp())
    accepted = datetime.fromtimestamp(since).astimezone()
    earliest = accepted - EARLIER
    for year in (earliest.year, earliest.year + 1):
        try:
            local = datetime.strptime(f"{year} {stamp}", "%Y %b %d %H:%M:%S").astimezone()
        except ValueError:  # 29 February of another year
            continue
        if local >= earliest:
            return int(local.timestamp())
    return since
