"""What the group of the processes may do in the data folder, where each of them has a user of its own.

Several processes write to one folder, so what root gives away there must be what it looks like: links are not followed.
"""

import grp
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smtpeter.errors import UserError

DATA = 0o3770  # who is in the group makes files there, such as those of SQLite, and removes none of others
FOLDER = 0o2770  # there each may remove what another one made: the journal process what was brought to the database
DATABASE = 0o660
SECRET = 0o600
SQLITE = ("", "-wal", "-shm")  # what an SQLite database consists of while somebody has it open


class GroupAccess:
    """Gives files and folders to a group. Raises UserError where there is none of that name, or it cannot be done."""

    def __init__(self, group: str) -> None:
        try:
            self._gid = grp.getgrnam(group).gr_gid
        except KeyError as error:
            raise UserError(f"there is no group {group!r}, which the settings name; make it, or leave `group` out") from error

    def folder(self, path: Path, mode: int = FOLDER) -> None:
        """Gives away a folder, and, the first time, what is in it."""
        with _opened(path, os.O_DIRECTORY) as found:
            if os.fstat(found).st_gid != self._gid and mode == FOLDER:
                self._inside(path)  # before the folder itself, by which the next start knows that it was done
            self._change(found, path, mode)

    def database(self, file: Path) -> None:
        """Gives away an SQLite database, with the files beside it; SQLite gives new ones the owner and mode of the first."""
        for suffix in SQLITE:
            path = Path(f"{file}{suffix}")
            with suppress(FileNotFoundError), _opened(path) as found:
                self._change(found, path, DATABASE)

    def secret(self, path: Path) -> None:
        """Takes a file from everybody but root, or whoever runs this."""
        with _opened(path) as found:
            _change(found, path, os.geteuid(), -1, SECRET)

    def _inside(self, folder: Path) -> None:
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(root, name)
                with suppress(FileNotFoundError), _opened(path) as found:  # what is being written gets another name
                    mode = stat.S_IMODE(os.fstat(found).st_mode)
                    self._change(found, path, mode | (0o070 if name in folders else 0o060))

    def _change(self, descriptor: int, path: Path, mode: int) -> None:
        _change(descriptor, path, -1, self._gid, mode)


def _change(descriptor: int, path: Path, uid: int, gid: int, mode: int) -> None:
    """Only what differs: who runs this may not be allowed to do what was done already."""
    found = os.fstat(descriptor)
    try:
        if uid not in (-1, found.st_uid) or gid not in (-1, found.st_gid):
            os.fchown(descriptor, uid, gid)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
    except OSError as error:
        raise UserError(f"{path} cannot be given away: {error.strerror}") from error


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor of a file or folder that has this name alone. Raises FileNotFoundError, and UserError for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be given away: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not (stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink <= 1)):
            raise UserError(f"{path} cannot be given away: it is no file, or has another name elsewhere")
        yield descriptor
    finally:
        os.close(descriptor)
