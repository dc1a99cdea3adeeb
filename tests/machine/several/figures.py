"""What the databases hold after it all, and how many connections they had: the operator's arithmetic."""

import threading
import time

from .backend import Backend

_TABLES = """
SELECT relname, n_live_tup, pg_table_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables WHERE n_live_tup > 0 ORDER BY 1
"""
_CONNECTIONS = """
SELECT coalesce(host(client_addr), 'here'), datname, count(*) FROM pg_stat_activity
WHERE usename = 'smtpeter' GROUP BY 1, 2 ORDER BY 1, 2
"""


_WORK = """
SELECT sum(sessions), sum(xact_commit), pg_current_wal_lsn() - '0/0' FROM pg_stat_database WHERE datname IN ('policy', 'journal')
"""


class Work:
    """What PostgreSQL has done since this was made."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._before = self._read()

    def line(self, messages: int) -> str:
        """It, for each of so many messages."""
        time.sleep(3)  # its processes tell what they have done when they have been idle for a while
        made, done, octets = ((now - before) / messages for now, before in zip(self._read(), self._before, strict=True))
        return f"for each message PostgreSQL had {made:.1f} new connections, {done:.1f} transactions, {octets:.0f} octets of WAL"

    def _read(self) -> list[int]:
        return [int(number) for number in self._backend.sql(_WORK).strip().split("|")]


class Connections:
    """Counts the relays' connections once a second until `stop`; `most` has the highest counts, by relay and database."""

    def __init__(self, backend: Backend) -> None:
        self.most: dict[str, int] = {}
        self._backend = backend
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the counting."""
        self._stopping.set()
        self._thread.join(60)

    def _watch(self) -> None:
        while not self._stopping.wait(1.0):
            done = self._backend.machine.run(f'runuser -u postgres -- psql -XAtq -c "{_CONNECTIONS}"', check=False)
            if done.returncode != 0:
                continue  # it is away
            for line in done.stdout.splitlines():
                place, database, number = line.split("|")
                key = f"{place} {database}"
                self.most[key] = max(self.most.get(key, 0), int(number))


def sizes(backend: Backend, database: str) -> list[str]:
    """A line for each table that has rows: rows, octets a row, octets of indexes a row."""
    found = []
    backend.sql("ANALYZE", database)
    for line in backend.sql(_TABLES, database).splitlines():
        name, *numbers = line.split("|")
        rows, table, indexes = map(int, numbers)
        found.append(f"{database}.{name}: {rows} rows, {table // rows} + {indexes // rows} octets each")
    return found
