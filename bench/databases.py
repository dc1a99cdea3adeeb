"""What a PostgreSQL server takes: messages that are counted for a limit, records of the journal, reads of a login.

    python -m bench.databases postgresql://USER@HOST/EMPTY_DATABASE [--seconds 4] [--rounds 3] [--clients 4]

The database must be empty; tables are made in it and left there. Prints a Markdown table: how often a second, and the same
of the least that psycopg can do for it, in alternating rounds.
"""

import argparse
import itertools
import multiprocessing
import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from journal import migrate as journal
from journal.records import MessageRecord
from journal.store import JournalStore
from policy.account import Account, State
from policy.limits import Limits
from policy.login import Login, new_name
from policy.options import Options
from policy.stores.engine import database_url
from policy.stores.migrate import USAGE, migrate
from policy.stores.sql import SqlStore
from policy.stores.usage import UsageStore
from policy.usage import Amount, Holder

BATCH = 500  # records in one transaction, as in the drain of a busy host

Work = Callable[[], int]  # does something, and tells how much


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Ours, and the least that can be done, as makers of work for the client of a number."""

    what: str
    ours: Callable[[str, int], Work]
    least: Callable[[str, int], Work]


def plain(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    """A connection without anything of ours."""
    return psycopg.connect(database_url(url).set(drivername="postgresql").render_as_string(hide_password=False))


def counting(url: str, subject: str) -> Work:
    """Counts messages of an account, as at the end of each one that has a limit."""
    store = UsageStore(url)
    holders = [Holder(kind="account", name=subject, limits=Limits(messages_hour=10**9, recipients_day=10**9))]

    def work() -> int:
        assert store.take(holders, Amount(messages=1, recipients=1), int(time.time() // 60)) is None
        return 1

    return work


def updating(url: str, subject: str) -> Work:
    """Adds one to a row, in a transaction."""
    connection = plain(url)
    connection.execute("INSERT INTO bench_counts VALUES (%s, 0) ON CONFLICT DO NOTHING", (subject,))
    connection.commit()

    def work() -> int:
        with connection.transaction():
            connection.execute("UPDATE bench_counts SET number = number + 1 WHERE subject = %s", (subject,))
        return 1

    return work


def messages() -> Iterator[MessageRecord]:
    """Records such as a shop's newsletter leaves."""
    while True:
        yield MessageRecord(
            id=secrets.token_hex(9),
            time=int(time.time()),
            login="f" * 32,
            account="shop",
            envelope="bounces@example.com",
            recipient=f"{secrets.token_hex(6)}@example.net",
            queue_id=secrets.token_hex(6),
            message_id=f"<{secrets.token_hex(12)}@example.com>",
            properties=("inlinecss", "trackclicks", "trackopens"),
            tags=("spring",),
            decisions=(),
        )


def recording(url: str) -> Work:
    """Puts records of messages into the journal."""
    store, made = JournalStore(url), messages()

    def work() -> int:
        store.insert([(record.id, record) for record in itertools.islice(made, BATCH)])
        return BATCH

    return work


def copying(url: str) -> Work:
    """The same octets with COPY, into a table that has nothing but a primary key."""
    connection, made = plain(url), messages()

    def work() -> int:
        with connection.transaction(), connection.cursor().copy("COPY bench_records FROM STDIN") as copy:
            for record in itertools.islice(made, BATCH):
                text = (record.login, record.account, record.envelope, record.recipient, record.queue_id, record.message_id)
                copy.write_row((record.id, record.time, " ".join((*text, *record.properties, *record.tags))))
        return BATCH

    return work


def reading(url: str, login: str) -> Work:
    """Reads a login, as each attempt to log in does."""
    store = SqlStore(url)

    def work() -> int:
        assert store.login(login) is not None
        return 1

    return work


def selecting(url: str) -> Work:
    """Reads nothing."""
    connection = plain(url)
    connection.autocommit = True

    def work() -> int:
        connection.execute("SELECT 1").fetchone()
        return 1

    return work


def rate(make: Callable[[str, int], Work], url: str, clients: int, seconds: float) -> float:
    """How much that many processes do in a second."""
    with multiprocessing.get_context("fork").Pool(clients) as pool:
        done = pool.starmap(_work, [(make, url, number, seconds) for number in range(clients)], chunksize=1)
    return sum(done)


def _work(make: Callable[[str, int], Work], url: str, number: int, seconds: float) -> float:
    work = make(url, number)
    work()
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        done += work()
    return done / (time.perf_counter() - began)


# The pool hands functions over by their names, so none of these is a lambda.
def _one_account(url: str, _number: int) -> Work:
    return counting(url, "one")


def _one_row(url: str, _number: int) -> Work:
    return updating(url, "one")


def _many_accounts(url: str, number: int) -> Work:
    return counting(url, f"many {number}")


def _many_rows(url: str, number: int) -> Work:
    return updating(url, f"many {number}")


def _records(url: str, _number: int) -> Work:
    return recording(url)


def _copies(url: str, _number: int) -> Work:
    return copying(url)


def _logins(url: str, _number: int) -> Work:
    return reading(url, LOGIN)


def _nothings(url: str, _number: int) -> Work:
    return selecting(url)


LOGIN = new_name(bytes(16))
ROWS = (
    Peers(what="messages counted, all of one account; an UPDATE of one row", ours=_one_account, least=_one_row),
    Peers(what="messages counted, an account for each client; an UPDATE of its own row", ours=_many_accounts, least=_many_rows),
    Peers(what=f"records of messages, {BATCH} at a time; COPY to a table with a primary key alone", ours=_records, least=_copies),
    Peers(what="logins read; SELECT 1", ours=_logins, least=_nothings),
)


def prepare(url: str) -> None:
    """Makes the tables, or ends where there are any."""
    with plain(url) as connection:
        if connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public' LIMIT 1").fetchone():
            sys.exit("bench.databases: the database is not empty")
        connection.execute("CREATE TABLE bench_counts (subject text PRIMARY KEY, number bigint)")
        connection.execute("CREATE TABLE bench_records (id text PRIMARY KEY, time bigint, words text)")
    migrate(url)
    migrate(url, USAGE)
    journal.migrate(url)
    store = SqlStore(url)
    store.add_account(Account(name="bench", state=State.APPROVED, created=0))
    store.add_login(Login(name=LOGIN, account="bench", passwords=(), options=Options(), enabled=True, label="", created=0))
    store.close()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.databases")
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    words = parser.parse_args()
    try:
        prepare(words.url)
    except (psycopg.OperationalError, sa.exc.SQLAlchemyError) as error:
        sys.exit(f"bench.databases: {error}")
    print(f"{words.clients} clients, {words.rounds} rounds of {words.seconds:g} s, {os.cpu_count()} cores here\n")
    print("| what; its peer | a second | peer a second | of peer |\n|---|---|---|---|")
    for row in ROWS:
        found = []
        for _ in range(words.rounds):
            found.append([rate(make, words.url, words.clients, words.seconds) for make in (row.ours, row.least)])
        ours, least = (statistics.median(side) for side in zip(*found, strict=True))
        ratio = statistics.median(one / other for one, other in found)
        print(f"| {row.what} | {ours:,.0f} | {least:,.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
