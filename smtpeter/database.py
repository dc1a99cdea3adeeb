"""The data folder: made where it is missing, opened where it is there."""

import secrets
import sys
import time

import journal.migrate
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.store import JournalStore
from policy.account import Account
from policy.domains import MASTER_KEY_LENGTH
from policy.stores import AdminStore, NotFound, StoreUnavailable
from policy.stores.engine import database_file
from policy.stores.migrate import USAGE, current_version, migrate, wanted_version
from policy.stores.sql import SqlStore
from smtpeter import durable, wiring
from smtpeter.errors import UserError
from smtpeter.settings import Settings


def prepare(settings: Settings) -> None:
    """Makes what is missing: the data folder, the databases at this release's schema, the master key, the key ring, the
    folders of the spool and of hosted images.

    Raises UserError where the master key is gone although keys are encrypted with it, or the ring although links are sealed.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        settings.data.chmod(0o711)  # the user postfix passes through to its queue; it reads nothing here
    except OSError as error:
        raise UserError(
            f"the data folder {settings.data} cannot be made: {error.strerror}; choose another with --data"
        ) from error
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
    _make_ring(settings)
    _make_journal(settings)
    if settings.master_key_file.exists():
        return
    if in_use:
        raise UserError(
            f"the master key {settings.master_key_file} is missing and DKIM keys are encrypted with it; put it back from a backup"
        )
    durable.write_new(settings.master_key_file, secrets.token_bytes(MASTER_KEY_LENGTH))


def _make_ring(settings: Settings) -> None:
    with durable.alone(settings.data):
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
        for folder in (settings.spool, settings.images):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {error.filename} cannot be made: {error.strerror}") from error
    try:
        here = database_file(settings.journal_url) is not None
    except StoreUnavailable as error:
        raise UserError(f"journal.database: {error}") from error
    try:
        journal.migrate.migrate(settings.journal_url)
    except StoreUnavailable as error:
        if here:
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
    if version != wanted_version():
        raise UserError(
            f"the database is at schema {version}, this release works with {wanted_version()}; `smtpeter up` brings it up to date"
        )
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
    if version != journal.migrate.wanted_version():
        raise UserError(
            f"the journal is at schema {version}, this release works with {journal.migrate.wanted_version()}; "
            "`smtpeter up` brings it up to date"
        )
    return JournalStore(settings.journal_url)
