"""`smtpeter backup`: everything a service needs to live again, in one file, while it runs."""

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from policy.stores import StoreUnavailable
from smtpeter import durable, snapshot
from smtpeter.archive import Writer
from smtpeter.cli import Place
from smtpeter.errors import UserError
from smtpeter.output import octets
from smtpeter.settings import SEARCHED, Settings

SUFFIX = ".tar.gz"
_DRAFT = ".smtpeter-backup-"
_ROOM = 16 * 1024 * 1024  # octets that are to be left in any case


def backup(
    context: typer.Context,
    place: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Where to write; in a folder it gets a name of its own.")],
    keep: Annotated[
        int | None, typer.Option(min=1, help="With a folder: remove older backups of this host, all but so many.")
    ] = None,
    without_journal: Annotated[bool, typer.Option("--without-journal", help="Leave out the journal and its spool.")] = False,
) -> None:
    """Write databases, keys, settings, images and spool into one file. Keep it as safe as the keys: they are in it."""
    origin: Place = context.obj
    settings = origin.settings()
    settings_file = origin.settings_file or next((path for path in SEARCHED if path.is_file()), None)
    if keep is not None and not place.is_dir():
        raise UserError(f"--keep goes with a folder, and {place} is none")
    created, target = _target(settings, place)
    found = snapshot.contents(settings, with_journal=not without_journal)
    _check_room(settings, found, target.parent)
    try:
        with _draft_folder(target.parent) as folder:
            draft = folder / "archive"
            count = _write(settings, settings_file, found, draft, created)
            size = draft.stat().st_size
            draft.rename(target)
            _sync(target.parent)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
    typer.echo(f"{target}: {count} files, {octets(size)}")
    _note(settings, created)
    for sentence in found.left_out:
        typer.echo(sentence)
    if keep is not None:
        _remove_older(settings, place, keep)


def _note(settings: Settings, created: int) -> None:
    """Notes for the metrics that there is a backup; who shows them may not read it. It is one all the same."""
    try:
        settings.backup_file.parent.mkdir(mode=0o770 if settings.group else 0o700, exist_ok=True)
        durable.replace(settings.backup_file, json.dumps({"time": created}).encode(), 0o640)
    except OSError as error:
        typer.echo(f"{settings.backup_file} cannot be written: {error.strerror}; the metrics know nothing of this backup")


def _target(settings: Settings, place: Path) -> tuple[int, Path]:
    """The time of the backup and its file. In a folder, one that was made in this very second is waited for."""
    while True:
        created = int(time.time())
        target = place / _name(settings, created) if place.is_dir() else place
        if not target.exists():
            return created, target
        if target == place:
            raise UserError(f"{target} is there already; name another file, or a folder")
        time.sleep(max(0.0, created + 1 - time.time()))


def _name(settings: Settings, created: int) -> str:
    return f"{_prefix(settings)}{datetime.fromtimestamp(created, UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def _prefix(settings: Settings) -> str:
    return f"smtpeter-{re.sub('[^A-Za-z0-9.-]', '_', settings.hostname)}-"


def _check_room(settings: Settings, found: snapshot.Contents, folder: Path) -> None:
    largest, finished = snapshot.sizes(settings, found)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be used: {error.strerror}") from error
    needed = largest + finished + _ROOM
    if free < needed:
        raise UserError(f"the backup needs about {octets(needed)} in {folder}, and {octets(free)} are free")


def _write(settings: Settings, settings_file: Path | None, found: snapshot.Contents, draft: Path, created: int) -> int:
    """Writes the archive and waits until it is on disk; returns how many files are in it."""
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  # a descriptor
        with Writer(file) as writer:
            try:
                snapshot.save(settings, settings_file, found, writer, draft.with_name("database"))
            except StoreUnavailable as error:
                raise UserError(str(error)) from error
            count = len(writer.files)
            writer.finish(
                version=version("smtpeter"),
                created=created,
                host=settings.hostname,
                schemas=found.schemas,
                left_out=found.left_out,
            )
        file.flush()
        os.fsync(file.fileno())
    return count


@contextmanager
def _draft_folder(parent: Path) -> Iterator[Path]:
    """A folder of our own beside the finished file; those of backups that were killed are removed."""
    with ExitStack() as stack:
        with durable.alone(parent):  # until ours is locked, it looks like one of those
            for left in parent.glob(f"{_DRAFT}*"):
                with suppress(OSError), _locked(left):
                    shutil.rmtree(left)
            folder = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(_locked(folder))
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError where another process is inside this for the same folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_older(settings: Settings, folder: Path, keep: int) -> None:
    form = re.compile(re.escape(_prefix(settings)) + "[0-9]{8}T[0-9]{6}Z" + re.escape(SUFFIX))
    ours = sorted(path for path in folder.iterdir() if form.fullmatch(path.name) and path.is_file() and not path.is_symlink())
    for path in ours[:-keep]:
        path.unlink(missing_ok=True)
        typer.echo(f"{path} removed")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)  # the name, too
    finally:
        os.close(descriptor)
