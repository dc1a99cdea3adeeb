"""The data folder: made where it is missing, opened where it is there."""

import secrets

from policy.domains import MASTER_KEY_LENGTH
from policy.stores import StoreUnavailable
from policy.stores.migrate import current_version, migrate, wanted_version
from policy.stores.sql import SqlStore
from smtpeter.durable import write_new
from smtpeter.errors import UserError
from smtpeter.settings import Settings


def prepare(settings: Settings) -> None:
    """Makes what is missing: the data folder, the database at this release's schema, the master key.

    Raises UserError where the master key is gone although keys are encrypted with it.
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
        store = SqlStore(settings.database_url)
        try:
            in_use = any(store.signing_keys(account.name) for account in store.accounts())
        finally:
            store.close()
    except StoreUnavailable as error:
        raise UserError(str(error)) from error
    if settings.master_key_file.exists():
        return
    if in_use:
        raise UserError(
            f"the master key {settings.master_key_file} is missing and DKIM keys are encrypted with it; put it back from a backup"
        )
    write_new(settings.master_key_file, secrets.token_bytes(MASTER_KEY_LENGTH))


def open_store(settings: Settings) -> SqlStore:
    """The policy database. Raises UserError where it is not there or of another release's schema."""
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
