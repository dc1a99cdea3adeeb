"""The folder of hosted images: a file for each, under the hash of its bytes, so that the same picture is kept once.

A name is told to nobody before its bytes are on disk. Files are never changed, and go when an operator removes them: mail
is opened years later.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from journal.links import IMAGE_NAME

_NAME = re.compile(IMAGE_NAME)
PIECE = 1 << 20  # octets of a picture that are in memory at once where it goes from host to host
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
            self._write(path, (content,))
        # Also where it was there: another process may not have come so far yet.
        for folder in (path.parent, self._folder):
            _sync(folder)

    def keep_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """Like `keep`, for a picture that comes in pieces, and what they raise; it is there when all of them have come."""
        path = self.path(name)
        self._write(path, pieces)
        _sync(path.parent)

    def read(self, name: str) -> bytes | None:
        """The bytes of a picture, or None where there is none. Raises OSError, and ValueError for what is no name of one."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def pieces(self, name: str) -> Iterator[bytes]:
        """The same in pieces. Raises FileNotFoundError where there is none."""
        with self.path(name).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def folders(self) -> dict[str, int]:
        """The sub-folders, and when a name in each last changed, in nanoseconds since 1970. Raises OSError."""
        with os.scandir(self._folder) as found:
            return {entry.name: entry.stat().st_mtime_ns for entry in found if entry.is_dir()}

    def names(self, folder: str, since: int = 0) -> list[str]:
        """The pictures in a sub-folder, or those that came there since then, in nanoseconds since 1970. Raises OSError."""
        with os.scandir(self._folder / folder) as found:
            # Not the time of its content, which a backup or a copy sets back.
            return [
                entry.name for entry in found if _NAME.fullmatch(entry.name) and (not since or entry.stat().st_ctime_ns >= since)
            ]

    def _write(self, path: Path, pieces: Iterable[bytes]) -> None:
        for folder in (self._folder, path.parent):
            _make(folder)
        _write(path, pieces)


def _size(path: Path) -> int:
    """The size of a file in octets, or -1 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _make(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
        # Whatever the umask is; a set-group-ID bit, which hands on the group, is inherited and stays. A process that may not set
        # one (systemd's RestrictSUIDSGID) has a umask that leaves nothing to do here.
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o777 != _FOLDER_MODE:
            folder.chmod(mode & stat.S_ISGID | _FOLDER_MODE)
        _sync(folder.parent)


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=".", suffix=".draft", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor
            os.fchmod(file.fileno(), _FILE_MODE)
            file.writelines(pieces)
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
