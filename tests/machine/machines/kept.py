"""What the machines of the tests keep on the host: a folder outside the checkout, and a lock for each run in it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from . import cgroups

CACHE = Path(os.environ.get("SMTPETER_TEST_CACHE") or "/var/cache/smtpeter-tests")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, waiting for it."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for the machines of one run, gone afterwards. Removes first what runs left that were killed."""
    runs = CACHE / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        _remove_unless_held(old)
    folder = Path(mkdtemp(dir=runs))
    folder.chmod(0o711)
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_held(folder: Path) -> None:
    try:
        file = (folder / "lock").open("rb")
    except FileNotFoundError:
        return  # being made, or being removed
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for cgroup in cgroups.left_by(folder.name):
            cgroups.remove(cgroup)
        shutil.rmtree(folder, ignore_errors=True)
