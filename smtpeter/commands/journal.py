"""`smtpeter journal`: what became of the mail, as files for other programs, and what is kept of it for how long."""

import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from journal.drain import Waiting, waiting
from journal.export import Format, Row, Type, attempt_row, click_row, open_row, written
from journal.images import ImageStore
from journal.records import VisitKind
from journal.segment import segment_id, segment_paths
from journal.store import JournalStore
from policy.stores import StoreUnavailable
from smtpeter import database, draining, metrics_server
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.notify import Notifier
from smtpeter.output import AsJson, print_pairs, utc
from smtpeter.process import start_log
from smtpeter.settings import Settings

app = typer.Typer(help="The journal: attempts, clicks and opens.", no_args_is_help=True)

LONG = 20_000  # rows; from here on an export shows how far it is
DAY = 86_400  # seconds
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@app.command()
def export(
    context: typer.Context,
    kind: Annotated[Type, typer.Option("--type", help="What to export.")],
    date: Annotated[str, typer.Option(help="The day, YYYY-MM-DD, UTC.")],
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.CSV,
    header: Annotated[bool, typer.Option("--header", help="Begin CSV with a line of the columns' names.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write into this file; it is there when it is whole.")] = None,
    people: Annotated[bool, typer.Option("--people", help="Leave out visits of machines: prefetchers, link scanners.")] = False,
) -> None:
    """Write one day's records to standard output or into a file."""
    since = _day(date)
    if header and form is not Format.CSV:
        raise UserError(f"--header is for CSV; {form} names the columns in every record")
    if people and kind is Type.ATTEMPTS:
        raise UserError("--people is for clicks and opens; attempts are no visits")
    store = database.open_journal(settings_of(context))
    try:
        total, rows = _rows(store, kind, since, since + DAY, people=people)
        with _destination(output) as write, _progress(total) as step:
            for piece in written(kind, form, map(step, rows), header=header):
                write(piece)
    finally:
        store.close()


@app.command()
def prune(
    context: typer.Context,
    days: Annotated[
        int | None, typer.Option(min=0, max=36_500, help="Keep so many days; without it journal.retention. 0 keeps everything.")
    ] = None,
) -> None:
    """Remove records that are too old; the running service does so once a day."""
    settings = settings_of(context)
    kept = settings.journal.retention if days is None else days
    if not kept:
        typer.echo("nothing is removed: 0 days means for ever")
        return
    store = database.open_journal(settings)
    try:
        before = int(time.time()) - kept * DAY
        removed = sum(iter(lambda: store.prune(before), 0))
    finally:
        store.close()
    typer.echo(f"{removed} records from before {utc(before)} removed")


@app.command()
def delete(
    context: typer.Context,
    recipient: Annotated[str, typer.Argument(help="The address; upper and lower case are the same.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove everything about a recipient: the messages, their clicks and their openings."""
    if "@" not in recipient:
        raise UserError(f"{recipient!r} is no address")
    settings = settings_of(context)
    store = database.open_journal(settings)
    try:
        if not yes:
            typer.confirm(f"Remove everything about {recipient} for good?", abort=True)
        removed = store.delete_recipient(recipient)
        left = _waiting(settings, store)
    finally:
        store.close()
    typer.echo(f"removed: {removed['messages']} messages, {removed['copies']} copies, {removed['visits']} visits")
    if left.octets:
        typer.echo("there are records that wait for the database; when `smtpeter journal status` shows none, do this again")


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how much there is, and what waits for the database; exit status 1 where the database does not answer."""
    settings = settings_of(context)
    pairs: dict[str, Any] = {}
    store: JournalStore | None = None
    try:
        store = database.open_journal(settings)
        pairs |= store.counts()
        left = _waiting(settings, store)
    except (UserError, StoreUnavailable) as error:
        pairs["database"] = str(error)
        left = _waiting(settings, None)
    finally:
        if store is not None:
            store.close()
    pairs |= {"waiting octets": left.octets, "waiting segments": left.segments}
    nothing = None if as_json else "-"
    pairs["waiting since"] = nothing if left.oldest is None else utc(left.oldest)
    pairs["set aside"] = left.aside
    print_pairs(pairs, as_json=as_json)
    if "database" in pairs:
        raise typer.Exit(1)


@app.command(hidden=True)
def serve(context: typer.Context) -> None:
    """Take what the other processes record to the database; `smtpeter up` or a service manager starts this."""
    start_log()
    settings = settings_of(context)
    with _alone(settings):
        overseer = Notifier.inherited()
        images, begun = ImageStore(settings.images), partial(metrics_server.serve, settings)
        draining.serve(settings.spool, settings.journal_url, settings.journal.retention * DAY, images, begun, overseer)


def _day(date: str) -> int:
    """The first second of a day. Raises UserError."""
    try:
        if _DATE.fullmatch(date):
            return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass  # a day that no month has
    raise UserError(f"--date takes a day as YYYY-MM-DD, not {date!r}")


def _rows(store: JournalStore, kind: Type, since: int, until: int, *, people: bool) -> tuple[int, Iterator[Row]]:
    """How many rows there are now, and the rows."""
    if kind is Type.ATTEMPTS:
        return store.count_attempts(since, until), map(attempt_row, store.attempts(since, until))
    visit, row = (VisitKind.CLICK, click_row) if kind is Type.CLICKS else (VisitKind.OPEN, open_row)
    found = store.visits(visit, since, until, people=people)
    return store.count_visits(visit, since, until, people=people), (row(*pair) for pair in found)


@contextmanager
def _destination(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Where to write. A file gets its name when it is whole; there are addresses in it, so only its owner reads it.

    Where the name is a link, the file it leads to is replaced: /dev/stdout, or one's own link, must stay what it is.
    """
    if path is None:
        yield lambda text: sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():  # a device, a pipe: it cannot be replaced
            with path.open("w", encoding="utf-8", newline="") as file:
                yield file.write
            return
        place = Path(os.path.realpath(path))
        draft = place.with_name(f".{place.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123  # a descriptor
                yield file.write
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Row], Row]]:
    """A step for each row; shown on standard error where somebody looks and it takes a while."""
    console = Console(stderr=True)
    if total < LONG or not console.is_terminal:
        yield lambda row: row
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("exporting", total=total)

        def step(row: Row) -> Row:
            bar.advance(task)
            return row

        yield step


def _waiting(settings: Settings, store: JournalStore | None) -> Waiting:
    try:
        names = [segment_id(path) for path in segment_paths(settings.spool)]
        return waiting(settings.spool, store.drained(names) if store is not None else {})
    except OSError as error:
        raise UserError(f"the spool {settings.spool} cannot be read: {error.strerror}; `smtpeter up` makes it") from error


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One drain for a spool: two would do each other's work. Raises UserError."""
    try:
        descriptor = os.open(settings.spool, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"the spool {settings.spool} cannot be opened: {error.strerror}; `smtpeter up` makes it") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process drains {settings.spool} already") from error
        yield
    finally:
        os.close(descriptor)
