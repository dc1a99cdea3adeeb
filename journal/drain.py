"""Brings what is in the spool into the database: in batches, oldest first, nothing lost and nothing twice.

Rows and the note of how far a segment was read are committed together. A segment is removed when it was read to its end and
its writer is gone or has begun another one, which its lock tells. Whatever happens between two steps, the next turn finds it.
"""

import fcntl
import json
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from journal import metrics
from journal.records import Record, decode
from journal.rows import BadRecord
from journal.segment import Tail, read_segment, segment_id, segment_paths
from journal.store import JournalStore
from policy.log_line import shown
from policy.stores import StoreUnavailable

BATCH = 5_000  # records in one transaction
IDLE = 0.1  # seconds until the next look where there was nothing to do
LONGEST_PAUSE = 5.0  # seconds
REFUSED, DAMAGED = "refused", ".damaged"

_log = logging.getLogger("smtpeter.journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What of the spool is not in the database: octets, segments with them, the time of the oldest record or None.

    `aside` counts what was set aside and needs a look: damaged segments and files of refused records.
    """

    octets: int
    segments: int
    oldest: int | None
    aside: int


@dataclass(slots=True)
class _Batch:
    """What one turn found: records, lines that are none, how far each segment was read, those read to their end."""

    entries: list[tuple[str, Record]] = field(default_factory=list)
    refused: list[tuple[str, bytes, str]] = field(default_factory=list)
    drained: dict[str, int] = field(default_factory=dict)
    finished: list[Path] = field(default_factory=list)
    lines: dict[str, bytes] = field(default_factory=dict)


class Drain:
    """Drains the segments in `folder` into `store`. For one thread of one process; `turn` is called again and again.

    `pause` says how many seconds to wait before the next turn.
    """

    def __init__(self, folder: Path, store: JournalStore, *, batch: int = BATCH) -> None:
        self.pause = 0.0
        self._folder = folder
        self._store = store
        self._batch = batch
        self._paths: deque[Path] = deque()
        self._drained: dict[str, int] = {}  # by segment, as the database knows it
        self._gone: list[str] = []  # removed segments that the database still has notes of
        self._aside: set[str] = set()  # lines set aside that the database does not know to be read
        self._away = False
        self._unreadable: set[Path] = set()

    def turn(self) -> int:
        """Takes one batch to the database and returns how many records it was; 0 also while the database is away."""
        try:
            count = self._turn()
        except (StoreUnavailable, OSError) as error:
            self._paths.clear()
            self.pause = min(max(self.pause, IDLE) * 2, LONGEST_PAUSE)
            if not self._away:
                _log.error("the journal waits in %s: %s", self._folder, error)  # noqa: TRY400  # the reason is a sentence
            self._away = True
            return 0
        if self._away:
            _log.info("the journal is written again")
        self._away = False
        self.pause = 0.0 if count or self._paths else IDLE
        return count

    def waiting(self) -> Waiting:
        """What waits now, as far as the last turn knew the database; asks only the disk. From any thread. Raises OSError."""
        return waiting(self._folder, dict(self._drained))

    def _turn(self) -> int:
        if not self._paths:
            self._look()
        batch = self._collect()
        try:
            self._commit(batch)
        except BadRecord:
            self._commit_in_parts(batch.entries, batch)
            batch.entries.clear()
            self._commit(batch)
        self._drained |= batch.drained
        for path in batch.finished:
            self._retire(path)
        return len(batch.lines)

    def _look(self) -> None:
        self._paths.extend(segment_paths(self._folder))
        there = {segment_id(path) for path in self._paths}
        self._drained = {name: offset for name, offset in self._drained.items() if name in there}
        unknown = sorted(there - self._drained.keys())
        if unknown:
            noted = self._store.drained(unknown)
            self._drained |= {name: noted.get(name, 0) for name in unknown}

    def _collect(self) -> _Batch:
        batch = _Batch()
        while self._paths and len(batch.lines) < self._batch:
            path = self._paths[0]
            name = segment_id(path)
            offset = self._drained[name]
            try:
                found = read_segment(path, offset, self._batch - len(batch.lines))
            except FileNotFoundError:
                self._paths.popleft()
                continue
            except OSError as error:
                self._paths.popleft()
                self._complain(path, error)
                continue
            for identifier, line in found.lines:
                batch.lines[identifier] = line
                try:
                    batch.entries.append((identifier, decode(line)))
                except ValueError as error:
                    batch.refused.append((identifier, line, str(error)))
            if found.end > offset:
                batch.drained[name] = found.end
            if found.tail is Tail.MORE:
                break
            self._paths.popleft()
            batch.finished.append(path)
        return batch

    def _commit(self, batch: _Batch) -> None:
        if batch.refused:
            self._set_aside(batch.refused)
            batch.refused.clear()
        if batch.entries or batch.drained or self._gone:
            self._store.insert(batch.entries, batch.drained, self._gone)
            metrics.drained(record for _, record in batch.entries)
            self._gone.clear()
            self._aside.clear()

    def _commit_in_parts(self, entries: Sequence[tuple[str, Record]], batch: _Batch) -> None:
        """Halves until the records that the database refuses stand alone; those go to `batch.refused`."""
        try:
            self._store.insert(entries)
            metrics.drained(record for _, record in entries)
        except BadRecord as error:
            if len(entries) == 1:
                identifier = entries[0][0]
                batch.refused.append((identifier, batch.lines[identifier], str(error)))
                return
            middle = len(entries) // 2
            self._commit_in_parts(entries[:middle], batch)
            self._commit_in_parts(entries[middle:], batch)

    def _set_aside(self, refused: Sequence[tuple[str, bytes, str]]) -> None:
        """Keeps lines that are no records the database takes, in a file of the segment's name."""
        folder = self._folder / REFUSED
        folder.mkdir(mode=0o700, exist_ok=True)
        for identifier, line, reason in refused:
            if identifier in self._aside:
                continue  # read again because the database was away
            path = folder / f"{identifier.partition('-')[0]}.jsonl"
            kept = {"id": identifier, "reason": reason, "line": line.decode("utf-8", "backslashreplace")}
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:  # noqa: PTH123
                file.write(json.dumps(kept).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._aside.add(identifier)
            metrics.refused.inc()
            _log.error("record %s is refused and kept in %s: %s", identifier, path, shown(reason))

    def _retire(self, path: Path) -> None:
        """Removes a segment where nothing more can come: its lock is free, and behind what was read there is nothing."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rest = read_segment(path, self._drained[segment_id(path)])
            if rest.lines:
                return  # written between the reading and the lock; the next turn has it
            if rest.tail is Tail.DAMAGED:
                aside = path.with_name(path.name + DAMAGED)
                path.rename(aside)
                _log.error("segment %s is damaged from octet %d on; it is kept as %s", path.name, rest.end, aside)
            else:
                if rest.tail is Tail.TORN:
                    _log.warning("segment %s ends in an unfinished record at octet %d", path.name, rest.end)
                path.unlink()
            self._gone.append(segment_id(path))
        except BlockingIOError:
            return  # its writer is there
        finally:
            os.close(descriptor)

    def _complain(self, path: Path, error: OSError) -> None:
        if path not in self._unreadable:
            _log.error("segment %s cannot be read: %s", path.name, error.strerror)
        self._unreadable.add(path)


def waiting(folder: Path, drained: Mapping[str, int]) -> Waiting:
    """What waits in a spool, where `drained` tells how far each segment was read. Raises OSError."""
    octets, count, oldest = 0, 0, None
    for path in segment_paths(folder):
        try:
            offset = drained.get(segment_id(path), 0)
            rest = path.stat().st_size - offset
            found = read_segment(path, offset, 1) if rest > 0 and oldest is None else None
        except FileNotFoundError:
            continue
        if rest > 0:
            octets, count = octets + rest, count + 1
        if found is not None and found.lines:
            oldest = _time(found.lines[0][1])
    aside = sum(1 for pattern in (f"*{DAMAGED}", f"{REFUSED}/*") for _ in folder.glob(pattern))
    return Waiting(octets=octets, segments=count, oldest=oldest, aside=aside)


def _time(line: bytes) -> int | None:
    try:
        return decode(line).time
    except ValueError:
        return None
