"""Where the processes count, and which places are asked now and then whether they answer."""

import os
import shutil
from collections.abc import Callable

from policy import counting
from policy.stores import watch
from policy.stores.sql import SqlStore
from policy.stores.uses import SqlUses
from smtpeter.errors import UserError
from smtpeter.settings import Settings


def make_folder(settings: Settings) -> None:
    """An empty folder for the numbers of all processes that are started from here. Raises UserError."""
    folder = settings.run / "metrics"
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error.strerror}") from error
    os.environ[counting.VARIABLE] = str(folder)


def follow_stores(settings: Settings) -> None:
    """Asks the databases and the directory behind logins now and then. For `smtpeter auth`, which needs all of them."""
    accounts, uses = SqlStore(settings.database_url), SqlUses(settings.usage_url)
    places: dict[str, Callable[[], object]] = {"accounts": lambda: accounts.account(""), "usage": lambda: uses.of("")}
    if settings.directory.urls:
        from smtpeter.directory import open_directory  # as in wiring.py

        directory = open_directory(settings)
        places["directory"] = lambda: directory.login("0" * 32)
    watch.follow(places)
