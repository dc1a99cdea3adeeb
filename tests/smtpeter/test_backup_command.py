"""`smtpeter backup`: whole or not there, while others write."""

import json
import os
import re
import resource
import shlex
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from journal.images import ImageStore
from journal.spool import Writer
from policy.stores.engine import with_password_file
from smtpeter import snapshot
from smtpeter.settings import Settings

IMAGE = "abcdefghijklmnopqrstuvwxyz234567.png"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "backups"
    made.mkdir()
    return made


def manifest(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        assert names[-1] == "manifest.json"
        content = tar.extractfile("manifest.json")
        assert content is not None
        found: dict[str, Any] = json.load(content)
    assert set(found["files"]) == set(names[:-1])
    return found


def database(archive: Path, name: str, folder: Path) -> sqlite3.Connection:
    with tarfile.open(archive) as tar:
        content = tar.extractfile(f"{name}.db")
        assert content is not None
        (folder / f"{name}.copy").write_bytes(content.read())
    return sqlite3.connect(folder / f"{name}.copy")


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_everything_is_in_it_and_only_its_owner_reads_it(shop, data: Path, folder: Path, make_message) -> None:
    login = json.loads(shop("login", "add", "--account", "shop", "--json"))
    writer = Writer(data / "spool", "test")
    writer.append([make_message()], durable=True)
    (data / "spool" / "refused").mkdir()
    (data / "spool" / "refused" / "0a.jsonl").write_text("{}")
    ImageStore(data / "images").keep(IMAGE, b"picture")
    (data / "images" / "ab" / ".half.draft").write_bytes(b"pict")
    (data / "tls").mkdir()
    (data / "tls" / "key.pem").write_text("key")
    told = shop("backup", str(folder))
    archive = only(folder)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert str(archive) in told
    found = manifest(archive)
    (segment,) = (data / "spool").glob("*.log")
    assert set(found["files"]) == {
        "policy.db", "usage.db", "journal.db", "master.key", "keys.ring", "tls/key.pem",
        f"images/ab/{IMAGE}", f"spool/{segment.name}", "spool/refused/0a.jsonl",
    }  # fmt: skip
    assert set(found["schemas"]) == {"policy", "usage", "journal"}
    assert found["version"] == "0.1.0"
    with closing(database(archive, "policy", folder)) as connection:
        assert connection.execute("SELECT name FROM logins").fetchall() == [(login["name"],)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert login["password"].encode() not in archive.read_bytes()
    writer.close()


def test_the_settings_file_is_in_it(shop, data: Path, tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text('hostname = "mail.example.com"\n')
    shop("--settings", str(file), "backup", str(folder))
    assert only(folder).name.startswith("smtpeter-mail.example.com-2")
    assert "smtpeter.toml" in manifest(only(folder))["files"]


def test_without_the_journal_it_says_so(shop, data: Path, folder: Path, make_message) -> None:
    Writer(data / "spool", "test").append([make_message()], durable=True)
    assert "the journal and its spool are not in it" in shop("backup", str(folder), "--without-journal")
    found = manifest(only(folder))
    assert set(found["files"]) == {"policy.db", "usage.db", "master.key", "keys.ring"}
    assert len(found["left_out"]) == 1


def test_of_databases_on_a_server_it_tells_how_to_save_them(shop, data: Path, tmp_path: Path, folder: Path, postgresql) -> None:
    url = postgresql.database().replace("postgres@", "postgres:canary-word@")
    secret = tmp_path / "secret"
    secret.write_text("other-canary")
    file = tmp_path / "smtpeter.toml"
    file.write_text(f'database = "{url}"\ndatabase_password_file = "{secret}"\n')
    shop("--settings", str(file), "account", "add", "club")
    told = shop("--settings", str(file), "backup", str(folder))
    archive = only(folder)
    found = manifest(archive)
    assert "policy.db" not in found["files"]
    assert "journal.db" in found["files"]
    (sentence,) = found["left_out"]
    assert sentence in told
    assert "policy and usage" in sentence
    assert "canary" not in told + archive.read_bytes().decode("latin-1") + json.dumps(found)
    command = shlex.split(sentence.partition("save it with: ")[2])
    assert command[0] == "pg_dump"
    assert with_password_file(url, secret) not in sentence
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert b"PGDMP" in (tmp_path / "policy-usage.pgdump").read_bytes()[:8]


@pytest.fixture
def writing(settings: Settings) -> Callable[[], Any]:
    """While a thread adds pairs of rows that belong together, as quickly as it can."""

    @contextmanager
    def run() -> Iterator[None]:
        stop, made = threading.Event(), [0]

        def write() -> None:
            with closing(sqlite3.connect(settings.data / "journal.db", timeout=30)) as connection:
                while not stop.is_set():
                    with connection:
                        connection.execute("INSERT INTO segments (id, drained) VALUES (?, 1)", (str(made[0]),))
                        connection.execute("INSERT INTO disabled_links VALUES (?, 'x', 1, 'x')", (str(made[0]),))
                    made[0] += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            limit = time.monotonic() + 30
            while made[0] < 50:
                assert time.monotonic() < limit
                time.sleep(0.01)
            yield
            before = made[0]
            while made[0] < before + 10:  # it still writes
                assert time.monotonic() < limit
                time.sleep(0.01)
        finally:
            stop.set()
            thread.join()

    return run


def test_a_copy_is_of_one_moment_while_somebody_writes(smtpeter, settings: Settings, folder: Path, writing) -> None:
    with writing():
        for _ in range(3):
            smtpeter("backup", str(folder / "some.tar.gz"))
            with closing(database(folder / "some.tar.gz", "journal", folder)) as connection:
                pair = "SELECT (SELECT count(*) FROM segments), (SELECT count(*) FROM disabled_links)"
                counts = connection.execute(pair).fetchone()
            assert counts[0] == counts[1] >= 50
            (folder / "some.tar.gz").unlink()


def test_it_leaves_nothing_beside_it_and_overwrites_nothing(shop, folder: Path) -> None:
    shop("backup", str(folder / "one.tar.gz"))
    assert [path.name for path in folder.iterdir()] == ["one.tar.gz"]
    before = (folder / "one.tar.gz").read_bytes()
    assert "is there already" in shop("backup", str(folder / "one.tar.gz"), status=2)
    assert (folder / "one.tar.gz").read_bytes() == before
    assert "No such file" in shop("backup", str(folder / "none" / "one.tar.gz"), status=2)


def test_several_in_one_second_have_names_of_their_own(shop, folder: Path) -> None:
    for _ in range(3):
        shop("backup", str(folder))
    assert len(list(folder.iterdir())) == 3


def test_older_ones_of_its_own_naming_go(shop, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text('hostname = "mail.example.com"\n')
    mine = [f"smtpeter-mail.example.com-2020010{day}T000000Z.tar.gz" for day in range(1, 6)]
    others = ["smtpeter-other.example.com-20200101T000000Z.tar.gz", "smtpeter-mail.example.com-1.tar.gz", "notes"]
    for name in (*mine, *others):
        (folder / name).write_text("x")
    told = shop("--settings", str(file), "backup", str(folder), "--keep", "3")
    left = {path.name for path in folder.iterdir()}
    assert set(others) <= left
    assert {name for name in left if name in mine} == set(mine[-2:])
    assert len(left) == len(others) + 3
    assert all(name in told for name in mine[:3])
    assert "--keep goes with a folder" in shop("backup", str(folder / "x.tar.gz"), "--keep", "3", status=2)


def test_a_damaged_database_is_not_saved_as_if_it_were_good(shop, data: Path, folder: Path) -> None:
    for name in range(40):
        shop("account", "add", f"account{name}")
    with (data / "policy.db").open("r+b") as file:
        for place in range(3 * 4096, os.fstat(file.fileno()).st_size, 4096):
            file.seek(place)
            file.write(b"\xff" * 100)
    assert re.search("damaged|malformed", shop("backup", str(folder), status=2))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("missing", ["policy.db", "keys.ring"])
def test_what_is_missing_is_said(shop, data: Path, folder: Path, missing: str) -> None:
    (data / missing).unlink()
    assert missing in shop("backup", str(folder), status=2)
    assert list(folder.iterdir()) == []


def start(data: Path, folder: Path, **options: Any) -> "subprocess.Popen[bytes]":
    command = (sys.executable, "-m", "smtpeter", "--data", str(data), "backup", str(folder))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def fill(data: Path, count: int) -> None:
    """Pictures that gzip makes no smaller."""
    store = ImageStore(data / "images")
    for number in range(count):
        letters = "".join(chr(ord("a") + int(digit)) for digit in f"{number:06}")
        store.keep(f"abcdefghijklmnopqrstuvwxyz{letters}.png", os.urandom(200_000))


def test_a_full_disk_leaves_nothing(shop, data: Path, folder: Path) -> None:
    fill(data, 6)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    process = start(data, folder, preexec_fn=limited)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 2, output
    assert "cannot be written" in output
    assert output.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_too_little_room_is_said_before(shop, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=50_000))
    assert "50 kB are free" in shop("backup", str(folder), status=2)
    assert list(folder.iterdir()) == []


def test_one_that_is_killed_leaves_no_file_of_that_name_and_the_next_one_tidies_up(
    shop, data: Path, folder: Path, wait_for: Callable[..., None]
) -> None:
    fill(data, 40)
    process = start(data, folder)
    wait_for(lambda: [path for path in folder.glob("*/archive") if path.stat().st_size > 1_000_000])
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob("*.gz")) == []
    assert len(list(folder.iterdir())) == 1
    shop("backup", str(folder))
    assert only(folder).name.endswith(".tar.gz")


def test_two_at_once_do_not_touch_each_other(shop, data: Path, folder: Path) -> None:
    fill(data, 10)
    processes = [start(data, folder / f"{number}.tar.gz") for number in range(3)]
    for process in processes:
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
    assert len({json.dumps(manifest(path)["files"]["master.key"]) for path in folder.iterdir()}) == 1
    assert len(list(folder.iterdir())) == 3


def test_a_database_that_stays_locked_is_said(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        times = iter((0.0, *[snapshot.LOCKED + 1] * 100))
        with pytest.raises(Exception, match="locked"):
            snapshot.copy_database(file, tmp_path / "copy.db", clock=lambda: next(times))
