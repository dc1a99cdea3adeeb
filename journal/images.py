"""The folder of hosted images: a file for each, under the hash of its bytes, so that the same picture is kept once.

A name is told to nobody before its bytes are on disk. Files are never changed, and go when an operator removes them: mail
is opened years later.
"""

import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from journal.links import IMAGE_NAME

_NAME = re.compile(IMAGE_NAME)
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750  # the web process reads, as one of the group


class ImageStore:
    """Keeps pictures in `folder`, in sub-folders by the first two characters. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """The file of that name. Raises ValueError for what is no name of an image."""
        if not _NAME.fullmatch(name):
            raise ValueError("this is no name of a hosted image")
        return self._folder / name[:2] / name

    def keep(self, name: str, content: bytes) -> None:
        """Writes a picture and waits until it is on disk. Raises OSError, and ValueError for what is no name of an image.

        The name tells the content, so a file of that name and size is the one.
        """
        path = self.path(name)
        if _size(path) != len(content):
            for folder in (self._folder, path.parent):
                _make(folder)
            _write(path, content)
        # Also where it was there: another process may not have come so far yet.
        for folder in (path.parent, self._folder):
            _sync(folder)

    def read(self, name: str) -> bytes | None:
        """The bytes of a picture, or None where there is none. Raises OSError, and ValueError for what is no name of one."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None


def _size(path: Path) -> int:
    """The size of a file in octets, or -1 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _make(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
        # Whatever the umask is; a set-group-ID bit, which hands on the group, is inherited and stays.
        folder.chmod(folder.stat().st_mode & stat.S_ISGID | _FOLDER_MODE)
        _sync(folder.parent)


def _write(path: Path, content: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=".", suffix=".draft", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).rename(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
