"""What of a service goes into a backup, as it is while the service runs.

The order matters: a record moves from the spool to the journal, so the spool is read first and every record is in one of them
or in both, where the second one is known as the same. An image is named by the journal, so images come last.
"""

import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from journal.drain import DAMAGED, REFUSED
from journal.migrate import JOURNAL
from journal.segment import segment_paths
from policy.stores.engine import PASSWORD_FILE, database_file, database_url
from policy.stores.migrate import POLICY, USAGE, current_version
from smtpeter.archive import Writer
from smtpeter.errors import UserError
from smtpeter.settings import Settings

SETTINGS = "smtpeter.toml"
MASTER_KEY, RING = "master.key", "keys.ring"
SPOOL, IMAGES, TLS = "spool", "images", "tls"
LOCKED = 60.0  # seconds that a database may be locked

SCHEMAS = {"policy": POLICY, "usage": USAGE, "journal": JOURNAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What there is to save: SQLite databases by name, and what is said about those that are not among them."""

    databases: dict[str, Path]
    left_out: tuple[str, ...]
    schemas: dict[str, str] = field(default_factory=dict)


def urls(settings: Settings) -> dict[str, str]:
    """The URLs of the databases by the names they have in a backup."""
    return {"policy": settings.database_url, "usage": settings.usage_url, "journal": settings.journal_url}


def contents(settings: Settings, *, with_journal: bool) -> Contents:
    """What a backup of that service would have in it. Raises StoreUnavailable for a URL that is none."""
    databases: dict[str, Path] = {}
    left_out: list[str] = []
    servers: dict[str, list[str]] = {}
    for name, url in urls(settings).items():
        file = database_file(url)
        if name == "journal" and not with_journal:
            left_out.append("the journal and its spool are not in it, as it was asked for")
        elif file is None:
            servers.setdefault(_shown(url), []).append(name)
        elif file not in databases.values():
            databases[name] = file
    for shown, names in servers.items():
        dump = f"pg_dump --format=custom --file={'-'.join(names)}.pgdump {shlex.quote(shown)}"
        left_out.append(f"the database of {' and '.join(names)} is on a server and not in it; save it with: {dump}")
    return Contents(databases=databases, left_out=tuple(left_out))


def _shown(url: str) -> str:
    """The URL as the tools of PostgreSQL take it, without a password."""
    parsed = database_url(url).set(drivername="postgresql").difference_update_query([PASSWORD_FILE])
    if parsed.password is not None:
        parsed = parsed._replace(password=None)  # `set` takes None for: as it is
    return parsed.render_as_string()


def sizes(settings: Settings, found: Contents) -> tuple[int, int]:
    """Octets of the largest database, and an estimate of the finished archive: text becomes half, pictures stay."""
    databases = [sum(_size(Path(f"{file}{tail}")) for tail in ("", "-wal")) for file in found.databases.values()]
    spool = sum(map(_size, _spool(settings))) if "journal" in found.databases else 0
    images = sum(_size(path) for path in _images(settings))
    return max(databases, default=0), (sum(databases) + spool) // 2 + images


def save(settings: Settings, settings_file: Path | None, found: Contents, writer: Writer, draft: Path) -> None:
    """Writes everything into `writer`; `draft` is the name of a file that holds one database at a time meanwhile.

    Raises UserError where something cannot be saved, OSError where it cannot be written.
    """
    if settings_file is not None:
        writer.add_content(SETTINGS, _read(settings_file))
    for name, path in ((MASTER_KEY, settings.master_key_file), (RING, settings.ring_file)):
        writer.add_content(name, _read(path))
    if settings.tls.certificate is None:
        for path in sorted((settings.data / TLS).glob("*.pem")):
            writer.add(f"{TLS}/{path.name}", path)
    if "journal" in found.databases:
        for path in _spool(settings):
            with suppress(FileNotFoundError):  # it is in the database by now
                writer.add_content(f"{SPOOL}/{path.relative_to(settings.spool)}", path.read_bytes())
    for name, file in found.databases.items():
        copy_database(file, draft)
        version = current_version(f"sqlite:///{draft}", SCHEMAS[name])
        if version is not None:
            found.schemas[name] = version
        writer.add(f"{name}.db", draft)
        draft.unlink()
    for path in _images(settings):
        with suppress(FileNotFoundError):
            writer.add(f"{IMAGES}/{path.relative_to(settings.images)}", path)


def copy_database(source: Path, target: Path, clock: Callable[[], float] = time.monotonic) -> None:
    """A copy of an SQLite database as it is at one moment, whoever writes to it; `target` must not be there. Raises UserError."""
    limit = clock() + LOCKED

    def progress(status: int, _remaining: int, _total: int) -> None:
        if status not in (sqlite3.SQLITE_OK, sqlite3.SQLITE_DONE) and clock() > limit:
            raise UserError(f"the database {source} is locked")

    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True)) as origin,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA synchronous=OFF")
            # In one step: in several, it begins again with every write in between, and a busy service never stops writing.
            origin.backup(copy, progress=progress)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
            (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"the database {source} cannot be copied: {error}") from error
    if verdict != "ok":
        raise UserError(f"the database {source} is damaged: {' '.join(str(verdict).split())}")


def _spool(settings: Settings) -> list[Path]:
    """Everything that waits in the spool, and what was set aside there."""
    with suppress(FileNotFoundError):
        aside = (*settings.spool.glob(f"*{DAMAGED}"), *(settings.spool / REFUSED).glob("*.jsonl"))
        return [*segment_paths(settings.spool), *sorted(aside)]
    return []


def _images(settings: Settings) -> Iterator[Path]:
    """The hosted images, but for those that are being written."""
    return (path for path in sorted(settings.images.glob("*/*")) if not path.name.startswith("."))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
