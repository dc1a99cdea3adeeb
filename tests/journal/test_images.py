"""The folder of hosted images: whole files under safe names, whoever writes at the same time and whatever goes wrong."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.images import ImageStore

NAME = "ab" + "c" * 30 + ".png"

# Each writes the same pictures, again and again, while it looks whether any is there in part.
WRITER = """
import sys
from pathlib import Path
from journal.images import ImageStore

store = ImageStore(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(60):
    name = f"{chr(97 + number % 26)}{'b' * 30}{chr(97 + number // 26)}.gif"
    content = bytes([number]) * 300_000
    found = store.read(name)
    assert found in (None, content), name
    store.keep(name, content)
    assert store.read(name) == content, name
"""

# A limit on the size of files stops the write in its middle, as a full disk does.
LIMITED = f"""
import resource, sys
from pathlib import Path
from journal.images import ImageStore

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
store = ImageStore(Path(sys.argv[1]))
store.keep("{NAME}", b"x" * 100_000)
for name in ("{NAME}", "{NAME.replace("ab", "cd")}"):
    try:
        store.keep(name, b"y" * 300_000)
    except OSError:
        continue
    sys.exit("it was kept")
"""


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_kept_is_read(store: ImageStore, tmp_path: Path) -> None:
    assert store.read(NAME) is None
    store.keep(NAME, b"picture")
    assert store.read(NAME) == b"picture"
    assert files(tmp_path) == [store.path(NAME)] == [tmp_path / "images" / "ab" / NAME]


def test_other_people_of_the_machine_see_nothing_whatever_the_umask_is(store: ImageStore) -> None:
    for umask in (0o077, 0o000):
        before = os.umask(umask)
        try:
            name = f"{umask:x}".translate(str.maketrans("0123456789", "abcdefghij")) * 32
            path = store.path(f"{name[:32]}.png")
            store.keep(path.name, b"x")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o750, 0o750]


def test_the_group_is_handed_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o2750)
    store = ImageStore(tmp_path)
    store.keep(NAME, b"x")
    assert stat.S_IMODE(store.path(NAME).parent.stat().st_mode) == 0o2750


def test_a_picture_that_is_there_is_not_written_again(store: ImageStore) -> None:
    store.keep(NAME, b"picture")
    before = store.path(NAME).stat()
    store.keep(NAME, b"picture")
    after = store.path(NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_damaged_file_is_replaced(store: ImageStore) -> None:
    store.keep(NAME, b"picture")
    store.path(NAME).write_bytes(b"pict")
    store.keep(NAME, b"picture")
    assert store.read(NAME) == b"picture"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        f"../{NAME}",
        f"{NAME}/..",
        f"/{NAME}",
        f"{NAME}\n",
        f"{NAME}\0",
        NAME.upper(),
        NAME.replace("c", "/", 1),
        NAME.replace("ab", "..", 1),
        NAME.replace("c", "1", 1),
        NAME.replace(".png", ".svg"),
        NAME.replace(".png", ".html"),
        NAME.replace(".png", ""),
        NAME[1:],
        f"a{NAME}",
        f".{NAME[1:]}",
    ],
)
def test_only_names_of_images_are_taken(store: ImageStore, tmp_path: Path, name: str) -> None:
    for act in (store.path, store.read, lambda name: store.keep(name, b"x")):
        with pytest.raises(ValueError, match="no name of a hosted image"):
            act(name)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_write_at_once(tmp_path: Path, root: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "images"], stdin=subprocess.PIPE, cwd=root) for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(files(tmp_path)) == 60
    assert {path.stat().st_size for path in files(tmp_path)} == {300_000}


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path / "images"], cwd=root, timeout=60)
    assert done.returncode == 0
    store = ImageStore(tmp_path / "images")
    assert files(tmp_path) == [store.path(NAME)]
    assert store.read(NAME) == b"x" * 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.system
def test_a_full_disk_is_told_and_what_is_there_stays(small_disk: Path) -> None:
    store = ImageStore(small_disk)
    store.keep(NAME, b"x" * 500_000)
    large = NAME.replace("ab", "cd")
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            store.keep(large, b"y" * 700_000)
        assert store.read(large) is None
    assert files(small_disk) == [store.path(NAME)]
    store.keep(large, b"y" * 300_000)
    assert (store.read(NAME), store.read(large)) == (b"x" * 500_000, b"y" * 300_000)
