"""The data folder: made where it is missing, opened where it is there."""

import secrets
import sys
import time
from pathlib import Path

import journal.migrate
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.store import JournalStore
from policy.account import Account
from policy.domains import MASTER_KEY_LENGTH
from policy.stores import AdminStore, NotFound, StoreUnavailable
from policy.stores.engine import database_file
from policy.stores.migrate import USAGE, current_version, is_newer, migrate, wanted_version, works_with
from policy.stores.sql import SqlStore
from smtpeter import durable, wiring
from smtpeter.errors import UserError
from smtpeter.group_access import DATA, GroupAccess
from smtpeter.settings import Settings


def prepare(settings: Settings) -> None:
    """Makes what is missing: the data folder, the databases at this release's schema, the master key, the key ring, the
    folders of the spool and of hosted images; all of it for the group of the settings, where there is one.

    May run at any time, also twice at once. Raises UserError where the master key is gone although keys are encrypted with it,
    or the ring although links are sealed.
    """
    access = GroupAccess(settings.group) if settings.group else None
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        if access is not None:
            access.folder(settings.data, DATA)
        else:
            settings.data.chmod(0o711)  # the user postfix passes through to its queue; it reads nothing here
    except OSError as error:
        raise UserError(
            f"the data folder {settings.data} cannot be made: {error.strerror}; choose another with --data"
        ) from error
    _make_folders(settings, access)
    try:
        migrate(settings.database_url)
        migrate(settings.usage_url, USAGE)
        store = SqlStore(settings.database_url)
        try:
            in_use = any(store.signing_keys(account.name) for account in store.accounts())
        finally:
            store.close()
    except StoreUnavailable as error:
        raise UserError(str(error)) from error
    with durable.alone(settings.data):
        _make_ring(settings)
        _make_master_key(settings, in_use=in_use)
    _make_journal(settings)
    if access is not None:
        _give_away(settings, access)


def _make_folders(settings: Settings, access: GroupAccess | None) -> None:
    folders = [settings.spool, settings.images, settings.web_folder]
    file = journal_file(settings)
    if file is not None and file.parent != settings.data:
        folders.append(file.parent)
    try:
        for folder in folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            if access is not None and settings.data in folder.parents:
                access.folder(folder)
        before = settings.data / settings.disabled_links_file.name  # its place in the first releases
        if before.exists() and not settings.disabled_links_file.exists():
            before.rename(settings.disabled_links_file)
    except OSError as error:
        raise UserError(f"the folder {error.filename} cannot be made: {error.strerror}") from error


def _make_ring(settings: Settings) -> None:
    if settings.ring_file.exists():
        return
    if _journal_in_use(settings):
        raise UserError(
            f"the key ring {settings.ring_file} is missing and links in sent mail are sealed with it;"
            " put it back from a backup or from another host"
        )
    now = int(time.time())
    key = SealingKey(id=0, secret=secrets.token_bytes(KEY_LENGTH), created=now, active=now)
    durable.replace(settings.ring_file, Ring([key], now).format().encode())


def _make_master_key(settings: Settings, *, in_use: bool) -> None:
    if settings.master_key_file.exists():
        return
    if in_use:
        raise UserError(
            f"the master key {settings.master_key_file} is missing and DKIM keys are encrypted with it; put it back from a backup"
        )
    durable.write_new(settings.master_key_file, secrets.token_bytes(MASTER_KEY_LENGTH))


def _give_away(settings: Settings, access: GroupAccess) -> None:
    """Databases to the group, and the keys to nobody."""
    for url in (settings.database_url, settings.usage_url, settings.journal_url):
        file = database_file(url)
        if file is not None:
            access.database(file)
    for secret in (settings.master_key_file, settings.ring_file):
        access.secret(secret)


def journal_file(settings: Settings) -> Path | None:
    """The file of the journal's database, None where it is on a server. Raises UserError for a URL of neither."""
    try:
        return database_file(settings.journal_url)
    except StoreUnavailable as error:
        raise UserError(f"journal.database: {error}") from error


def _journal_in_use(settings: Settings) -> bool:
    try:
        file = database_file(settings.journal_url)
        if file is not None and not file.exists():
            return False
        if journal.migrate.current_version(settings.journal_url) is None:
            return False
        store = JournalStore(settings.journal_url)
        try:
            return any(store.counts().values())
        finally:
            store.close()
    except StoreUnavailable as error:
        raise UserError(f"{error}; so nobody knows whether the missing {settings.ring_file} was in use") from error


def _make_journal(settings: Settings) -> None:
    """A database server that is away is told and waited for: mail is accepted without it, and the drain makes the schema."""
    try:
        journal.migrate.migrate(settings.journal_url)
    except StoreUnavailable as error:
        if journal_file(settings) is not None:
            raise UserError(str(error)) from error
        sys.stderr.write(f"smtpeter: the journal waits in {settings.spool}: {error}\n")


def open_store(settings: Settings) -> AdminStore:
    """What commands read and change. Raises UserError where the database is not there or of another release's schema."""
    open_database(settings)
    return wiring.make_store(settings)


def open_database(settings: Settings) -> SqlStore:
    """The policy database without the directory. Raises UserError like `open_store`."""
    try:
        version = current_version(settings.database_url)
    except StoreUnavailable as error:
        raise UserError(
            f"{error}; `smtpeter up` or `smtpeter account add` makes it, --data or --settings name another place"
        ) from error
    _check_version("the database", version, wanted_version())
    return SqlStore(settings.database_url)


def find_account(store: AdminStore, name: str) -> Account:
    """The account of that name. Raises NotFound."""
    found = store.account(name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    return found


def open_journal(settings: Settings) -> JournalStore:
    """The journal's database. Raises UserError where it is not there or of another release's schema."""
    try:
        version = journal.migrate.current_version(settings.journal_url)
    except StoreUnavailable as error:
        raise UserError(f"{error}; `smtpeter up` makes the journal, --data or --settings name another place") from error
    _check_version("the journal", version, journal.migrate.wanted_version())
    return JournalStore(settings.journal_url)


def _check_version(what: str, version: str | None, wanted: str) -> None:
    if works_with(version, wanted):
        return
    advice = "it belongs to a later release" if is_newer(version, wanted) else "`smtpeter prepare` brings it up to date"
    raise UserError(f"{what} is at schema {version}, this release works with {wanted}; {advice}")
