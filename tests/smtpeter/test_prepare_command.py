"""`smtpeter prepare`: everything is there before the processes start, and each of their users may do its part and no more.

A member of the group is a process with another number as its user, which no account needs to have.
"""

import grp
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from journal.images import ImageStore
from journal.records import encode
from journal.spool import Writer
from journal.store import JournalStore
from policy.account import Account, State
from policy.stores.engine import connect_engine
from policy.stores.migrate import USAGE, current_version, wanted_version
from policy.stores.sql import SqlStore
from smtpeter import database
from smtpeter.__main__ import run
from smtpeter.errors import UserError
from smtpeter.group_access import GroupAccess
from smtpeter.settings import Settings, load

GROUP = "mail"  # any that every host has
MILTER, JOURNAL, WEB, STRANGER = 61_001, 61_002, 61_003, 61_004
PICTURE = "a" * 32 + ".png"
SECONDS = 60.0
# Python and this checkout may be where only root gets to, so all of it is loaded before root is given up.
BEGINNING = """
import os
from pathlib import Path
import sqlite3
import sqlalchemy.dialects.sqlite, journal.drain, journal.images, journal.store, policy.stores.sql, smtpeter.durable
from smtpeter.settings import load
os.setgroups([])
os.setgid({gid})
os.setuid({uid})
os.umask(0o007)
settings = load(Path({file!r}))
"""
TRY = """
for code in tried:
    try:
        exec(code)
    except PermissionError:
        print("denied")
    except Exception as error:
        print("denied" if "unable to open database file" in str(error) else repr(error))
    else:
        print("done:", code)
"""


class Host:
    """A data folder and the settings of a host where each process has a user of its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.file = folder / "smtpeter.toml"
        journal = folder / "data" / "journal" / "journal.db"
        own = f'\n[journal]\ndatabase = "sqlite:///{journal}"\n' if "[journal]" not in more else "\n"
        self.file.write_text(f'data = "data"\ngroup = "{GROUP}"\nhostname = "mail.example.com"\n{more}{own}')

    @property
    def settings(self) -> Settings:
        return load(self.file)

    def prepare(self, status: int = 0) -> None:
        assert run(["--settings", str(self.file), "prepare"]) == status

    def start(self) -> "subprocess.Popen[str]":
        argv = (sys.executable, "-m", "smtpeter", "--settings", str(self.file), "prepare")
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def does(self, uid: int, code: str, *, member: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs Python as that user, with `settings` there."""
        gid = grp.getgrnam(GROUP).gr_gid if member else uid
        return subprocess.run(
            (sys.executable, "-c", BEGINNING.format(file=str(self.file), uid=uid, gid=gid) + code),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def succeeds(self, uid: int, code: str) -> str:
        done = self.does(uid, code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_denied(self, uid: int, *codes: str, member: bool = True) -> None:
        """Each of them, tried one by one."""
        done = self.does(uid, f"tried = {codes!r}" + TRY, member=member)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "denied\n" * len(codes)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can pass through."""
    with TemporaryDirectory(prefix="smtpeter-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def host(place: Path) -> Host:
    found = Host(place)
    found.prepare()
    return found


def mode(path: Path) -> str:
    """Group and mode."""
    found = path.stat()
    return f"{grp.getgrgid(found.st_gid).gr_name} {stat.S_IMODE(found.st_mode):o}"


def test_everything_is_there_for_the_group_and_the_keys_for_nobody(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    data = host.settings.data
    assert {path.name: mode(path) for path in (data, *data.iterdir(), *(data / "journal").iterdir())} == {
        "data": f"{GROUP} 3770",
        **dict.fromkeys(("journal", "spool", "images", "web"), f"{GROUP} 2770"),
        **dict.fromkeys(("policy.db", "usage.db", "journal.db"), f"{GROUP} 660"),
        **dict.fromkeys(("master.key", "keys.ring"), f"{GROUP} 600"),
    }
    keys = (data / "master.key").read_bytes(), (data / "keys.ring").read_bytes()
    host.prepare()
    assert keys == ((data / "master.key").read_bytes(), (data / "keys.ring").read_bytes())
    assert capsys.readouterr().out == f"{data} is ready\n"


ADD_ACCOUNT = """
from policy.account import Account, State
from policy.stores.sql import SqlStore
store = SqlStore(settings.database_url)
store.add_account(Account(name=f"by-{os.getuid()}", state=State.APPROVED, created=0))
print(*[account.name for account in store.accounts()])
"""
COUNT = """
from policy.stores.engine import connect_engine
with connect_engine(settings.usage_url).begin() as connection:
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS tried (uid INTEGER)")
    connection.exec_driver_sql(f"INSERT INTO tried VALUES ({os.getuid()})")
"""
RECORD = """
from journal.records import decode
from journal.records import encode
from journal.spool import Writer
writer = Writer(settings.spool, f"process-{os.getuid()}")
writer.append([decode(LINE)] * 2, durable=True)
"""
DRAIN = """
from journal.drain import Drain
from journal.store import JournalStore
store = JournalStore(settings.journal_url)
drain = Drain(settings.spool, store)
while drain.turn() or list(settings.spool.glob("*.log")):
    pass
print(store.counts()["visits"])
"""
KEEP = f"""
from journal.images import ImageStore
ImageStore(settings.images).keep({PICTURE!r}, b"picture")
"""
SHOW = f"""
from journal.images import ImageStore
from smtpeter import durable
print(ImageStore(settings.images).read({PICTURE!r}))
durable.replace(settings.disabled_links_file, b"[]")
durable.replace(settings.canary_file, b"{{}}")
"""


def add_account(settings: Settings, name: str) -> SqlStore:
    """The store it was added with, which has the database open."""
    store = SqlStore(settings.database_url)
    store.add_account(Account(name=name, state=State.APPROVED, created=0))
    assert name in [account.name for account in store.accounts()]
    return store


def test_members_write_databases_that_root_and_others_have_opened(host: Host) -> None:
    # Who opens an SQLite database first makes the files beside it: root, then one member, then another.
    store = add_account(host.settings, "by-root")
    beside = [host.settings.data / f"policy.db{suffix}" for suffix in ("-wal", "-shm")]
    assert [mode(path) for path in beside] == [f"{GROUP} 660"] * 2
    assert host.succeeds(MILTER, ADD_ACCOUNT) == f"by-{MILTER} by-root\n"
    store.close()
    assert host.succeeds(WEB, ADD_ACCOUNT) == f"by-{MILTER} by-{WEB} by-root\n"
    for uid in (MILTER, JOURNAL, WEB):
        host.succeeds(uid, COUNT)
    store = add_account(host.settings, "by-root-again")
    assert host.succeeds(JOURNAL, ADD_ACCOUNT) == f"by-{MILTER} by-{JOURNAL} by-{WEB} by-root by-root-again\n"
    store.close()
    with connect_engine(host.settings.usage_url).connect() as usage:
        assert usage.exec_driver_sql("SELECT uid FROM tried").scalars().all() == [MILTER, JOURNAL, WEB]


def test_files_of_sqlite_that_a_member_left_behind_serve_the_next(host: Host) -> None:
    """The folder lets nobody remove what is another's, so the end of a process may leave them there."""
    kill = "import signal\nos.kill(os.getpid(), signal.SIGKILL)"
    assert host.does(MILTER, f"{ADD_ACCOUNT}\n{kill}").returncode == -9
    wal = host.settings.data / "policy.db-wal"
    assert (wal.stat().st_uid, mode(wal)) == (MILTER, f"{GROUP} 660")
    assert host.succeeds(WEB, ADD_ACCOUNT) == f"by-{MILTER} by-{WEB}\n"
    add_account(host.settings, "by-root").close()
    host.prepare()
    assert host.succeeds(JOURNAL, ADD_ACCOUNT) == f"by-{MILTER} by-{JOURNAL} by-{WEB} by-root\n"


def test_the_journal_takes_and_removes_what_others_have_written(host: Host, clicked) -> None:
    for uid in (MILTER, WEB, 0):
        host.succeeds(uid, RECORD.replace("LINE", repr(encode(clicked))))
    assert len(list(host.settings.spool.glob("*.log"))) == 3
    assert host.succeeds(JOURNAL, DRAIN) == "6\n"
    assert list(host.settings.spool.iterdir()) == []


def test_what_no_database_takes_is_set_aside(host: Host) -> None:
    """By the journal's user, in a segment of the milter's."""
    broken = 'from journal import segment\nsegment.encode = lambda record: b"no record"\n'
    host.succeeds(MILTER, broken + RECORD.replace("decode(LINE)", "None"))
    assert host.succeeds(JOURNAL, DRAIN) == "0\n"
    assert len(list(host.settings.spool.glob("refused/*"))) == 1


def test_pictures_are_written_by_one_and_shown_by_another(host: Host) -> None:
    host.succeeds(MILTER, KEEP)
    assert host.succeeds(WEB, SHOW) == "b'picture'\n"
    # Root looks by hand, and the process writes the file again afterwards.
    host.succeeds(0, SHOW)
    assert host.succeeds(JOURNAL, SHOW) == "b'picture'\n"


@pytest.mark.parametrize("name", ["master.key", "keys.ring"])
def test_no_member_has_the_keys(host: Host, name: str) -> None:
    for uid in (MILTER, JOURNAL, WEB):
        path = f"(settings.data / {name!r})"
        replaced = f"(settings.data / 'mine').touch()\n(settings.data / 'mine').replace{path}"
        host.is_denied(uid, f"{path}.read_bytes()", f"{path}.unlink()", f"{path}.chmod(0o666)", replaced)


def test_no_member_removes_a_database(host: Host) -> None:
    renamed = "(settings.data / 'spool').rename(settings.data / 'elsewhere')"
    host.is_denied(WEB, "(settings.data / 'policy.db').unlink()", renamed)


def test_others_have_nothing(host: Host) -> None:
    (host.folder / "smtpeter.toml").chmod(0o644)
    host.succeeds(MILTER, KEEP)
    looked = "os.listdir(settings.data)", "os.stat(settings.data / 'policy.db')"
    host.is_denied(STRANGER, ADD_ACCOUNT, COUNT, SHOW, KEEP, *looked, member=False)


def test_what_was_run_by_root_alone_goes_over_to_the_group(place: Path, clicked) -> None:
    before = Settings(data=place / "data")
    database.prepare(before)
    assert stat.S_IMODE(before.data.stat().st_mode) == 0o711
    assert {stat.S_IMODE(path.stat().st_mode) for path in before.data.iterdir() if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in before.data.iterdir() if path.is_dir()} == {0o700}
    store = add_account(before, "by-root")
    writer = Writer(before.spool, "web")
    writer.append([clicked], durable=True)
    writer.close()
    ImageStore(before.images).keep(PICTURE, b"picture")
    (before.data / "disabled-links.json").write_text('["https://example.com/"]')  # where the first releases had it
    host = Host(place)
    host.prepare()
    store.close()
    assert host.settings.disabled_links_file.read_text() == '["https://example.com/"]'
    assert host.succeeds(MILTER, ADD_ACCOUNT) == f"by-{MILTER} by-root\n"
    assert host.succeeds(JOURNAL, DRAIN) == "1\n"
    assert host.succeeds(WEB, SHOW) == "b'picture'\n"
    host.succeeds(MILTER, KEEP.replace(PICTURE, "a" * 31 + "b.png"))  # in the folder that root has made
    assert mode(before.data / "master.key") == f"{grp.getgrgid(0).gr_name} 600"


@pytest.mark.parametrize("name", ["policy.db-shm", "policy.db-wal", "spool/segment.log", "web"])
def test_nothing_is_given_away_through_a_name_that_somebody_else_made(host: Host, name: str, tmp_path: Path, capsys) -> None:
    """A process that was taken over could make such a name, and root would follow it."""
    victim = tmp_path / "victim"
    victim.mkdir() if name == "web" else victim.write_text("secret")
    victim.chmod(0o700)
    path = host.settings.data / name
    if name == "web":
        path.rmdir()
    path.symlink_to(victim)
    os.chown(host.settings.spool, 0, 0)  # as at the first time, when all that is in there is looked at
    host.prepare(status=2)
    # SQLite follows no links either.
    said = "unable to open database file" if name.startswith("policy") else "cannot be given away"
    assert said in capsys.readouterr().err
    assert (victim.stat().st_gid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o700)


def test_a_second_name_of_a_file_is_no_way_either(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    (tmp_path / "policy.db").hardlink_to(victim)
    with pytest.raises(UserError, match="has another name elsewhere"):
        GroupAccess(GROUP).database(tmp_path / "policy.db")
    assert victim.stat().st_gid == 0


def test_a_group_that_is_not_there_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(place)
    host.file.write_text(host.file.read_text().replace(GROUP, "no-such-group"))
    host.prepare(status=2)
    assert "there is no group 'no-such-group'" in capsys.readouterr().err


def test_several_at_once_make_one_of_everything(place: Path) -> None:
    host = Host(place)
    started = [host.start() for _ in range(4)]
    told = [process.communicate(timeout=SECONDS) for process in started]
    assert [process.returncode for process in started] == [0] * 4, told
    assert len((host.settings.data / "master.key").read_bytes()) == 64
    assert current_version(host.settings.database_url) == wanted_version()
    assert host.succeeds(MILTER, ADD_ACCOUNT) == f"by-{MILTER}\n"


def test_two_hosts_prepare_one_database_server_at_once(place: Path, postgresql) -> None:
    url = postgresql.database().replace("+psycopg", "")
    hosts = []
    for name in ("one", "two"):
        (place / name).mkdir(mode=0o711)
        more = f'database = "{url}"\n[journal]\ndatabase = "{url}"\n'
        hosts.append(Host(place / name, more))
    started = [host.start() for host in (*hosts, *hosts)]
    told = [process.communicate(timeout=SECONDS) for process in started]
    assert [process.returncode for process in started] == [0] * 4, told
    assert (current_version(url), current_version(url, USAGE)) == (wanted_version(), wanted_version(USAGE))
    for host in hosts:
        assert host.settings.usage_url == url
        assert sorted(path.name for path in host.settings.data.iterdir()) == ["images", "keys.ring", "master.key", "spool", "web"]
        store = JournalStore(host.settings.journal_url)
        assert store.counts() == {"messages": 0, "copies": 0, "visits": 0}
        store.close()
    postgresql.stop()
    process = hosts[0].start()
    assert "smtpeter: database: " in process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 2
    postgresql.start()
    hosts[0].prepare()
