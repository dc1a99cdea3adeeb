"""Files that must be there whole, and on disk, before anybody is told of them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a new file of that mode and waits until it is on disk. Raises FileExistsError where there is one."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123  # a descriptor
        os.fchmod(file.fileno(), mode)  # whatever the umask takes away
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file that readers find whole, before or after, and waits until it is on disk.

    The file that was there hands on its mode, and its owner where this process may give files away; `mode` is for a new one. One
    writer at a time.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    write_new(draft, content, mode)
    with suppress(FileNotFoundError):
        found = path.stat()
        with suppress(PermissionError):
            os.chown(draft, found.st_uid, found.st_gid)
        draft.chmod(found.st_mode & 0o777)
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)  # the name, too
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is inside this for the same folder: for who reads a file, changes it and writes it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
