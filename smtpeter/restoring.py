"""A backup becomes a data folder again: unpacked beside what is there, compared with it, then put in its place.

Until everything is unpacked and checked nothing that is there is touched, and then it is moved aside, never removed.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from journal.seal import InvalidRing, Ring
from policy.stores import StoreUnavailable
from policy.stores.engine import database_file
from policy.stores.migrate import POLICY, is_newer, migrate, wanted_version, works_with
from policy.stores.sql import SqlStore
from smtpeter import durable, returning, snapshot
from smtpeter.archive import Manifest
from smtpeter.errors import UserError
from smtpeter.settings import Settings

RESTORED_SETTINGS = "smtpeter.toml.restored"
_LOGS = ("", "-wal", "-shm")  # what SQLite keeps beside a database


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file or folder of a backup, and where it belongs. What is `shared` is added to what is there."""

    name: str
    path: Path
    shared: bool = False

    def present(self) -> list[Path]:
        """What is there already."""
        if self.shared or (self.path.is_dir() and not any(self.path.iterdir())):
            return []
        return [path for tail in _LOGS if os.path.lexists(path := self.path.with_name(self.path.name + tail))]


def targets(settings: Settings, manifest: Manifest) -> list[Target]:
    """Where the parts of a backup belong. Raises UserError where backup and settings do not agree on what there is."""
    found = [
        Target(name=snapshot.MASTER_KEY, path=settings.data / snapshot.MASTER_KEY),
        Target(name=snapshot.RING, path=settings.data / snapshot.RING),
        Target(name=snapshot.SPOOL, path=settings.spool),
        Target(name=snapshot.IMAGES, path=settings.images, shared=True),
        Target(name=snapshot.TLS, path=settings.data / snapshot.TLS),
        Target(name=snapshot.SETTINGS, path=settings.data / RESTORED_SETTINGS),
    ]
    for name, url in snapshot.urls(settings).items():
        file = database_file(url)
        if f"{name}.db" in manifest.files:
            if file is None:
                raise UserError(f"the {name} database is a file in the backup and a server in the settings; they must agree")
            found.append(Target(name=f"{name}.db", path=file))
        elif name == "policy" and file is not None:
            raise UserError("the backup has no policy database: it was on a server, and the settings are to name one")
    names = {name.partition("/")[0] for name in manifest.files}
    if "journal.db" in names:
        names.add(snapshot.SPOOL)  # records that wait belong to the journal that is there now
    return [target for target in found if target.name in names]


def check_schemas(manifest: Manifest) -> None:
    """Raises UserError for a backup whose databases this release cannot read."""
    for name, version in manifest.schemas.items():
        schema = snapshot.SCHEMAS.get(name)
        wanted = "" if schema is None else wanted_version(schema)
        if not wanted or (is_newer(version, wanted) and not works_with(version, wanted)):
            raise UserError(
                f"the backup was made by release {manifest.version}, whose {name} database has schema {version};"
                f" this release works with {wanted or 'none of that name'}"
            )


def check_room(settings: Settings, manifest: Manifest) -> int:
    """Octets the backup takes. Raises UserError where there is no room for them."""
    free = shutil.disk_usage(settings.data).free
    if free < manifest.size:
        raise UserError(f"the backup takes {manifest.size} octets in {settings.data}, and {free} are free")
    return manifest.size


def compare(settings: Settings, staged: Path, scratch: Path, *, keep: bool) -> Iterator[str]:
    """Compares what was unpacked in `staged` with what is in use, and holds back what was taken away since; yields sentences.

    `scratch` is an empty folder. Raises StoreUnavailable where the restored database cannot be read.
    """
    now = int(time.time())
    restored, present = _ring(staged / snapshot.RING, now), _ring(settings.data / snapshot.RING, now)
    if restored is None:
        raise UserError("the key ring in the backup cannot be read")
    ring, told = returning.kept_ring(restored, present, keep=keep, now=now)
    durable.replace(staged / snapshot.RING, ring.format().encode())
    yield from told
    if not (staged / "policy.db").exists():
        return
    migrate(f"sqlite:///{staged / 'policy.db'}", POLICY)
    file = database_file(settings.database_url)
    # Another ring is that of another service, or of one that was made a moment ago to restore this one.
    if file is not None and file.exists() and (present is None or returning.related(restored, present)):
        yield from _compare_logins(file, staged / "policy.db", scratch / "policy.db", keep=keep)


def _compare_logins(present: Path, restored: Path, scratch: Path, *, keep: bool) -> Iterator[str]:
    with ExitStack() as stack:
        before, after = SqlStore(f"sqlite:///{scratch}"), SqlStore(f"sqlite:///{restored}")
        stack.callback(after.close)
        stack.callback(before.close)
        try:
            snapshot.copy_database(present, scratch)
            migrate(f"sqlite:///{scratch}", POLICY)
            found = returning.Present.read(before)
        except (UserError, StoreUnavailable) as error:
            yield f"what was removed after the backup cannot be told, so it is back: {error}"
        else:
            yield from returning.hold_back(after, found, keep=keep)


def _ring(path: Path, now: int) -> Ring | None:
    with suppress(OSError, UnicodeDecodeError, InvalidRing):
        return Ring.parse(path.read_text("ascii"), now)
    return None


def put_in_place(settings: Settings, staged: Path, found: list[Target]) -> Path | None:
    """Moves what is there aside and what was unpacked to its place; returns the folder aside, None where there was nothing.

    Raises OSError.
    """
    aside: Path | None = None
    for target in found:
        for path in target.present():
            if aside is None:
                aside = Path(tempfile.mkdtemp(prefix=f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-", dir=settings.data))
            shutil.move(path, aside / path.name)
    for target in found:
        source = staged / target.name
        target.path.parent.mkdir(parents=True, exist_ok=True)
        if target.shared:
            _add(source, target.path)
            _take_back(target.path)
            continue
        if source.is_dir() and target.path.is_dir():  # an empty one
            target.path.rmdir()
        for tail in _LOGS:
            if source.with_name(source.name + tail).exists():
                shutil.move(source.with_name(source.name + tail), target.path.with_name(target.path.name + tail))
        if target.path.is_dir():
            _take_back(target.path)
    for folder in {settings.data, *(target.path.parent for target in found)}:
        _sync(folder)
    return aside


def _take_back(folder: Path) -> None:
    """To the group of whoever runs this: by that `smtpeter prepare` knows that the folder is yet to be given away as a whole."""
    os.chown(folder, -1, os.getegid())


def _add(source: Path, target: Path) -> None:
    """Adds the files below a folder to those below another; one that is there stays, since its name tells its content."""
    if not target.exists():
        shutil.move(source, target)
    elif source.is_dir():
        for path in sorted(source.iterdir()):
            _add(path, target / path.name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)  # the names, too
    finally:
        os.close(descriptor)
