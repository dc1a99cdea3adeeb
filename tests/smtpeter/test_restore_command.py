"""`smtpeter restore`: only what is whole, only where nothing runs, and nothing that was taken away comes back unseen."""

import gc
import gzip
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from journal.images import ImageStore
from journal.segment import SUFFIX
from journal.spool import Writer
from policy.stores.sql import SqlStore
from smtpeter.archive import Writer as ArchiveWriter

IMAGES = [letters * 16 + ".png" for letters in ("ab", "cd")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar.gz"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[..., str]:
    """Runs the command on another, empty data folder as `other`, in a process of its own."""

    def go(*words: str, status: int = 0) -> str:
        command = (sys.executable, "-m", "smtpeter", "--data", str(tmp_path / "other"), *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    return go


def added(shop: Callable[..., str], *words: str) -> str:
    return str(json.loads(shop("login", "add", "--account", "shop", "--json", *words))["name"])


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, but for the databases, whose octets may differ."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".db" not in path.name)
    found = (path for path in found if path.name not in ("up.lock", "backup.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return sorted(connection.iterdump())


def logins(data: Path) -> dict[str, tuple[bool, list[int]]]:
    """Whether each login is enabled, and the numbers of its passwords."""
    store = SqlStore(f"sqlite:///{data / 'policy.db'}")
    try:
        return {login.name: (login.enabled, [password.number for password in login.passwords]) for login in store.logins()}
    finally:
        store.close()


def test_what_was_saved_is_what_there_is_again(shop, elsewhere, data: Path, archive: Path, make_message) -> None:
    added(shop)
    shop("domain", "add", "example.com", "--account", "shop")
    ImageStore(data / "images").keep(IMAGES[0], b"picture")
    writer = Writer(data / "spool", "test")
    writer.append([make_message()], durable=True)
    writer.close()
    shop("backup", str(archive))
    assert "restored" in elsewhere("restore", str(archive))
    other = data.parent / "other"
    assert files(other) == files(data)
    for name in ("policy", "usage", "journal"):
        assert dump(other / f"{name}.db") == dump(data / f"{name}.db")
    for name in ("policy.db", "master.key", "keys.ring"):
        assert (other / name).stat().st_mode & 0o777 == 0o600
    assert not list(other.glob(".restore-*"))
    assert "shop" in elsewhere("account", "list")


def test_a_rehearsal_changes_nothing(shop, data: Path, archive: Path) -> None:
    name = added(shop)
    shop("backup", str(archive))
    shop("login", "remove", name)
    before, rows = files(data), dump(data / "policy.db")
    told = shop("restore", str(archive), "--dry-run", "--force")
    assert f"login {name} of shop was removed after the backup and is disabled" in told
    assert "nothing was changed" in told
    assert (files(data), dump(data / "policy.db")) == (before, rows)


def test_without_force_nothing_that_is_there_is_touched(shop, data: Path, archive: Path) -> None:
    shop("backup", str(archive))
    before = files(data)
    assert "--force" in shop("restore", str(archive), status=2)
    assert files(data) == before


def test_what_is_there_is_moved_aside_and_images_stay(shop, data: Path, archive: Path, make_message) -> None:
    store = ImageStore(data / "images")
    store.keep(IMAGES[0], b"before")
    shop("backup", str(archive))
    store.keep(IMAGES[1], b"after")
    (data / "images" / "ab" / IMAGES[0]).unlink()
    (data / "postfix").mkdir()
    (data / "postfix" / "queue").write_text("mail")
    writer = Writer(data / "spool", "test")
    writer.append([make_message()], durable=True)
    writer.close()
    (segment,) = (data / "spool").glob(f"*{SUFFIX}")
    shop("account", "add", "later")
    told = shop("restore", str(archive), "--force")
    (aside,) = data.glob("before-restore-*")
    assert str(aside) in told
    assert aside.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in aside.iterdir()} >= {"policy.db", "usage.db", "journal.db", "master.key", "keys.ring", "spool"}
    assert (aside / "spool" / segment.name).exists()
    assert not list((data / "spool").iterdir())
    assert store.read(IMAGES[0]) == b"before"
    assert store.read(IMAGES[1]) == b"after"
    assert (data / "postfix" / "queue").read_text() == "mail"
    assert "later" not in shop("account", "list")
    assert "account later was made after the backup and is gone" in told


@pytest.fixture
def changed(shop, data: Path, archive: Path) -> dict[str, str]:
    """A backup, and what was done afterwards with each login."""
    names = {what: added(shop) for what in ("same", "removed", "disabled", "rotated", "rotated at once")}
    shop("account", "add", "club", "--approve")
    shop("backup", str(archive))
    shop("login", "remove", names["removed"])
    shop("login", "disable", names["disabled"])
    shop("login", "rotate", names["rotated"])
    shop("login", "rotate", names["rotated at once"], "--at-once")
    shop("account", "suspend", "club")
    names["new"] = added(shop)
    return names


def test_what_was_taken_away_stays_away_and_is_told(shop, data: Path, archive: Path, changed: dict[str, str]) -> None:
    told = shop("restore", str(archive), "--force")
    found = logins(data)
    assert found[changed["same"]] == (True, [1])
    assert found[changed["removed"]] == (False, [1])
    assert found[changed["disabled"]] == (False, [1])
    assert found[changed["rotated"]] == (True, [1, 2])
    assert found[changed["rotated at once"]] == (True, [2])
    assert changed["new"] not in found
    for sentence in (
        f"login {changed['removed']} of shop was removed after the backup and is disabled",
        f"login {changed['disabled']} of shop was disabled after the backup and is disabled",
        f"password 1 of login {changed['rotated at once']} ended after the backup and stays away",
        f"password 2 of login {changed['rotated at once']} was made after the backup and stays",
        f"login {changed['new']} was made after the backup and is gone",
        "account club became suspended after the backup and is suspended",
    ):
        assert sentence in told
    assert changed["same"] not in told
    assert json.loads(shop("account", "show", "club", "--json"))["state"] == "suspended"


def test_everything_comes_back_where_that_is_asked_for_and_is_told(
    shop, data: Path, archive: Path, changed: dict[str, str]
) -> None:
    told = shop("restore", str(archive), "--force", "--keep-removed")
    found = logins(data)
    assert all(found[changed[what]] == (True, [1]) for what in ("same", "removed", "disabled", "rotated", "rotated at once"))
    assert f"login {changed['removed']} of shop was removed after the backup and is enabled" in told
    assert f"password 1 of login {changed['rotated at once']} ended after the backup and is back" in told
    assert json.loads(shop("account", "show", "club", "--json"))["state"] == "approved"


def test_where_the_old_database_cannot_be_read_that_is_told(shop, data: Path, archive: Path, changed: dict[str, str]) -> None:
    (data / "policy.db").write_bytes(b"\xff" * 50_000)
    for tail in ("-wal", "-shm"):
        (data / f"policy.db{tail}").unlink(missing_ok=True)
    told = shop("restore", str(archive), "--force")
    assert "cannot be told, so it is back" in told
    assert logins(data)[changed["removed"]] == (True, [1])


def test_links_sealed_since_still_open_and_a_removed_key_stays_away(shop, data: Path, archive: Path) -> None:
    shop("keys", "rotate")
    shop("backup", str(archive))
    shop("keys", "rotate")
    shop("keys", "remove", "0", "--yes")
    before = (data / "keys.ring").read_text()
    told = shop("restore", str(archive), "--force")
    assert (data / "keys.ring").read_text() == before
    assert "key 0 of the ring was removed after the backup and stays away" in told
    told = shop("restore", str(archive), "--force", "--keep-removed")
    assert "key 0 of the ring was removed after the backup and is back" in told
    assert [row["id"] for row in json.loads(shop("keys", "list", "--json"))] == [0, 1, 2]


def test_a_new_service_becomes_the_old_one(shop, elsewhere, data: Path, archive: Path) -> None:
    name = added(shop)
    shop("backup", str(archive))
    elsewhere("account", "add", "shop")
    told = elsewhere("restore", str(archive), "--force")
    assert "the key ring becomes that of the backup" in told
    other = data.parent / "other"
    assert (other / "keys.ring").read_bytes() == (data / "keys.ring").read_bytes()
    assert logins(other) == {name: (True, [1])}


def test_a_folder_that_is_in_use_is_left_alone(shop, data: Path, archive: Path, settings) -> None:
    shop("backup", str(archive))
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM uses'); print(flush=True); input()"
    command = (sys.executable, "-c", script, str(data / "usage.db"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert f"(process {process.pid} has" in shop("restore", str(archive), "--force", status=2)
        process.communicate(b"\n")
    assert "restored" in shop("restore", str(archive), "--force")


def test_a_writer_of_the_spool_is_somebody(shop, data: Path, archive: Path, make_message) -> None:
    shop("backup", str(archive))
    writer = Writer(data / "spool", "test")
    writer.append([make_message()], durable=True)
    assert "a service is running" in shop("restore", str(archive), "--force", status=2)
    writer.close()
    assert "restored" in shop("restore", str(archive), "--force")


# -- archives that are not what they were ------------------------------------------------------------------------------


def same(one: bytes, other: bytes) -> bool:
    """Whether two archives hold the same, but for what gzip puts in front and the bits it fills its last octet with."""
    try:
        return gzip.decompress(one) == gzip.decompress(other)
    except (OSError, EOFError, zlib.error):
        return False


def test_a_changed_octet_is_seen_or_changes_nothing(shop, tmp_path: Path, archive: Path) -> None:
    shop("backup", str(archive))
    whole, damaged = archive.read_bytes(), tmp_path / "damaged.tar.gz"
    places = [*range(40), *range(len(whole) - 40, len(whole)), *random.Random(1).sample(range(40, len(whole) - 40), 150)]
    passed = 0
    for place in places:
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        if same(whole, damaged.read_bytes()):
            passed += 1
        else:
            assert "damaged" in shop("restore", str(damaged), "--dry-run", "--force", status=2), place
    assert passed < 10


def test_a_part_of_an_archive_is_none(shop, tmp_path: Path, archive: Path) -> None:
    shop("backup", str(archive))
    whole, damaged = archive.read_bytes(), tmp_path / "damaged.tar.gz"
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        assert "damaged" in shop("restore", str(damaged), "--force", status=2), length
    damaged.write_bytes(b"no archive at all" * 100)
    assert "is no backup" in shop("restore", str(damaged), "--force", status=2)
    assert "cannot be read" in shop("restore", str(tmp_path / "nothing"), "--force", status=2)


def forged(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], **facts: Any) -> None:
    """An archive whose manifest agrees with its members."""
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb") as plain, tarfile.open(fileobj=plain, mode="w") as tar:
        listed = {}
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            listed[member.name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
        found = {
            "format": 1,
            "version": "9.0",
            "created": 1,
            "host": "h",
            "schemas": {},
            "left_out": [],
            "files": listed,
            **facts,
        }
        text = json.dumps(found).encode()
        last = tarfile.TarInfo("manifest.json")
        last.size = len(text)
        tar.addfile(last, io.BytesIO(text))


def kind(name: str, made: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = made, link
    return member


@pytest.mark.parametrize(
    "member",
    [
        *map(tarfile.TarInfo, ("../outside", "/etc/outside", "images/../../outside", "images/ab/../../../outside", ".hidden")),
        *map(tarfile.TarInfo, ("images//x", "a/b/c/d/e", "x" * 300, "name\n", "images/ab/.x", "ä")),
        kind("policy.db", tarfile.SYMTYPE, "/etc/passwd"),
        kind("policy.db", tarfile.LNKTYPE, "master.key"),
        kind("policy.db", tarfile.CHRTYPE),
        kind("policy.db", tarfile.FIFOTYPE),
        kind("images", tarfile.DIRTYPE),
    ],
    ids=lambda member: repr(member.name[:20]) + member.type.decode(),
)
def test_a_name_that_leads_elsewhere_is_refused(shop, tmp_path: Path, archive: Path, member: tarfile.TarInfo) -> None:
    forged(archive, [(member, b"" if member.type != tarfile.REGTYPE else b"x")])
    before = files(tmp_path)
    assert "damaged" in shop("restore", str(archive), "--force", status=2)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"schemas": {"policy": "1000"}}, "was made by release 9.0, whose policy database has schema 1000; this release works"),
        ({"schemas": {"policy": "x"}}, "this release works with"),
        ({"schemas": {"other": "0001"}}, "none of that name"),
        ({"format": 2}, "of a later release"),
        ({"format": None}, "of a later release"),
        ({"files": {}}, "not what its manifest says"),
        ({"files": []}, "no manifest"),
        ({"left_out": 7}, "no manifest"),
    ],
)
def test_what_its_manifest_says_must_make_sense(shop, archive: Path, facts: dict[str, Any], reason: str) -> None:
    forged(archive, [(tarfile.TarInfo("master.key"), b"x")], **facts)
    assert reason in shop("restore", str(archive), "--force", status=2)


def test_a_backup_of_a_later_release_of_the_same_thousand_is_welcome(shop, tmp_path: Path, data: Path, archive: Path) -> None:
    with closing(sqlite3.connect(data / "policy.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
        connection.execute("ALTER TABLE logins ADD COLUMN later INTEGER NOT NULL DEFAULT 1")
    shop("backup", str(archive))
    assert "restored" in shop("restore", str(archive), "--force")
    assert "shop" in shop("account", "list")


def test_a_backup_that_goes_elsewhere_than_the_settings_say_is_refused(shop, tmp_path: Path, archive: Path, postgresql) -> None:
    shop("backup", str(archive))
    file = tmp_path / "smtpeter.toml"
    file.write_text(f'database = "{postgresql.database()}"\n')
    assert "must agree" in shop("--settings", str(file), "restore", str(archive), "--force", status=2)
    with archive.open("wb") as opened, ArchiveWriter(opened) as writer:
        writer.add_content("master.key", b"x" * 64)
        writer.finish(version="0.1.0", created=1, host="h", schemas={}, left_out=())
    assert "no policy database" in shop("restore", str(archive), "--force", status=2)


def test_a_full_disk_leaves_what_is_there(shop, data: Path, archive: Path) -> None:
    name = added(shop)
    ImageStore(data / "images").keep(IMAGES[0], os.urandom(900_000))
    shop("backup", str(archive))
    shop("login", "disable", name)
    gc.collect()  # the commands above ran in this process, which is to have nothing open
    before, rows = files(data), dump(data / "policy.db")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000));"
        "from smtpeter.__main__ import run; sys.exit(run(sys.argv[1:]))"
    )
    command = (sys.executable, "-c", script, "--data", str(data), "restore", str(archive), "--force")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert (files(data), dump(data / "policy.db")) == (before, rows)
    assert not list(data.glob(".restore-*"))


def test_one_that_is_killed_while_it_unpacks_touches_nothing(shop, data: Path, archive: Path, wait_for) -> None:
    for number in range(20):
        ImageStore(data / "images").keep(
            IMAGES[0][:-5] + "ab"[number % 2] + ".png" if number < 2 else chr(97 + number) * 32 + ".png", os.urandom(300_000)
        )
    shop("backup", str(archive))
    gc.collect()  # the commands above ran in this process, which is to have nothing open
    before, rows = files(data), dump(data / "policy.db")
    command = (sys.executable, "-m", "smtpeter", "--data", str(data), "restore", str(archive), "--force")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        wait_for(lambda: list(data.glob(".restore-*/staged/*")) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = {name: content for name, content in files(data).items() if not name.startswith(".restore-")}
    assert (left, dump(data / "policy.db")) == (before, rows)
    assert "restored" in shop("restore", str(archive), "--force")
    assert not list(data.glob(".restore-*"))
