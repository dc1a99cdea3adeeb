"""The units of a deployed host, judged by systemd's own tools, which need no running systemd."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from smtpeter.__main__ import run

ROLE = Path(__file__).resolve().parents[2] / "ansible" / "roles" / "smtpeter" / "files"
FILES = ROLE / "systemd"
SERVICES = sorted(path.name for path in FILES.glob("*.service"))
UNITS = sorted(path.name for kind in ("service", "socket", "timer", "path", "target") for path in FILES.glob(f"*.{kind}"))
# Units that go with other files; the sandbox is theirs, too, by their name.
ELSEWHERE = sorted(path for path in ROLE.rglob("smtpeter-*.service") if path.parent != FILES)
# What runs all the time; the others come and go.
PROCESSES = ("smtpeter-auth.service", "smtpeter-journal.service", "smtpeter-milter.service", "smtpeter-web.service")
# Programs of the host that units start beside ours.
OTHERS = ("usr/bin/systemctl", "usr/bin/test", "usr/bin/find", "usr/sbin/postfix")
MOST = 2.0  # of 10, as systemd-analyze counts how exposed a service is
OPTIONAL = {"database", "journal", "ldap", "canary"}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a host with the units, and something that can be run in the place of the command."""
    root = tmp_path_factory.mktemp("root")
    units = root / "etc" / "systemd" / "system"
    shutil.copytree(FILES, units, ignore=shutil.ignore_patterns("drop-in", "*.conf"))
    shutil.copytree(FILES / "smtpeter-.service.d", units / "smtpeter-.service.d", dirs_exist_ok=True)
    shutil.copytree("/usr/lib/systemd/system", root / "usr" / "lib" / "systemd" / "system", symlinks=True)
    for path in ELSEWHERE:
        shutil.copy(path, units)
    for program in ("opt/smtpeter/current/bin/smtpeter", *OTHERS):
        path = root / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return root


def told(*words: str) -> str:
    """What a program of systemd says, its complaints included."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stderr + done.stdout


def values(unit: str, key: str) -> list[str]:
    """What a unit says for a key, in its order."""
    return re.findall(rf"^{key}=(.*)$", (FILES / unit).read_text(), re.M)


def test_systemd_has_nothing_to_say_about_them(machine: Path) -> None:
    assert told("systemd-analyze", "verify", "--man=no", f"--root={machine}", *UNITS) == ""


def test_it_would_say_what_is_wrong(machine: Path) -> None:
    wrong = machine / "etc" / "systemd" / "system" / "wrong.service"
    wrong.write_text("[Service]\nExecStart=/opt/smtpeter/current/bin/smtpeter\nProtectSytem=strict\n")
    assert "ProtectSytem" in told("systemd-analyze", "verify", "--man=no", f"--root={machine}", "wrong.service")
    wrong.unlink()


@pytest.mark.parametrize("network", [False, True], ids=["alone", "network"])
def test_none_of_them_is_exposed(machine: Path, tmp_path: Path, network: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    shutil.copytree(machine, root, symlinks=True)
    figures = {}
    for service in (*SERVICES, *(path.name for path in ELSEWHERE)):
        if network and service in SERVICES:
            folder = root / "etc" / "systemd" / "system" / f"{service}.d"
            folder.mkdir()
            shutil.copy(FILES / "drop-in" / "network.conf", folder)
        words = ("security", "--no-pager", "--offline=true", f"--root={root}", f"--threshold={MOST * 10:.0f}", service)
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told("systemd-analyze", *words))
        assert found is not None
        figures[service] = float(found[1])
    with capsys.disabled():
        print(f"\nexposure{' with a network' if network else ''}:", ", ".join(f"{name} {figures[name]}" for name in figures))  # noqa: T201  # what the test is asked to show
    assert max(figures.values()) <= MOST


def test_a_service_without_a_sandbox_is_exposed(machine: Path) -> None:
    bare = machine / "etc" / "systemd" / "system" / "bare.service"
    bare.write_text("[Service]\nExecStart=/opt/smtpeter/current/bin/smtpeter\n")
    words = ("systemd-analyze", "security", "--no-pager", "--offline=true", f"--root={machine}", "--threshold=20", "bare.service")
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode != 0
    bare.unlink()


@pytest.mark.parametrize("service", SERVICES)
def test_what_they_start_is_there(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = values(service, "ExecStart")[0].split()
    if service == "smtpeter-logrotate.service":
        assert {command.split()[0][1:] for command in values(service, "ExecStart")} <= set(OTHERS)
        return
    if service == "smtpeter-keys.service":
        units = [word for word in words if word.endswith(".service")]
        assert (program, set(units) - set(SERVICES)) == ("/usr/bin/systemctl", set())
        return
    assert [program, *words[:2]] == ["/opt/smtpeter/current/bin/smtpeter", "--settings", "/etc/smtpeter/smtpeter.toml"]
    assert run([*words[2:], "--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words[2:] if word.startswith("--"))


@pytest.mark.parametrize("service", SERVICES)
def test_secrets_that_need_not_be_there_stop_nobody(service: str) -> None:
    loaded = dict(value.split(":", 1) for value in values(service, "LoadCredential"))
    stand_ins = dict(value.split(":", 1) for value in values(service, "SetCredential"))
    assert set(stand_ins) == set(loaded) & OPTIONAL
    assert set(stand_ins.values()) <= {r"\n"}  # which counts as none, see smtpeter.settings
    assert {name: path for name, path in loaded.items() if name in OPTIONAL} == {
        name: f"/etc/smtpeter/credentials/{name}" for name in stand_ins
    }
    for name in set(loaded) - OPTIONAL:
        assert loaded[name] == f"/var/lib/smtpeter/{name}"


def test_keys_reach_those_alone_who_need_them() -> None:
    having = {name: [unit for unit in SERVICES if any(f"{name}:" in value for value in values(unit, "LoadCredential"))]
              for name in ("master.key", "keys.ring", "canary")}  # fmt: skip
    assert having == {
        "master.key": ["smtpeter-milter.service"],
        "keys.ring": ["smtpeter-milter.service", "smtpeter-probe.service", "smtpeter-web.service"],
        "canary": ["smtpeter-canary.service"],
    }
    for unit in ("smtpeter-auth.service", "smtpeter-milter.service", "smtpeter-probe.service", "smtpeter-canary.service"):
        hidden = " ".join(values(unit, "InaccessiblePaths")).split()
        assert {"-/var/lib/smtpeter/master.key", "-/var/lib/smtpeter/keys.ring"} <= set(hidden)
    for unit in ("smtpeter-journal.service", "smtpeter-web.service", "smtpeter-retention.service"):
        assert values(unit, "TemporaryFileSystem") == ["/var/lib/smtpeter:ro"]
        seen = {path.removeprefix("-") for key in ("BindPaths", "BindReadOnlyPaths", "ReadWritePaths")
                for value in values(unit, key) for path in value.split()}  # fmt: skip
        assert seen <= {*(f"/var/lib/smtpeter/{name}" for name in ("journal", "spool", "images", "web")), "/run/smtpeter/metrics"}


@pytest.mark.parametrize("service", PROCESSES)
def test_what_runs_is_watched_and_started_again_for_ever(service: str) -> None:
    assert values(service, "Type") == ["notify"]
    assert values(service, "Restart") == ["always"]
    assert values(service, "StartLimitIntervalSec") == ["0"]
    assert len(values(service, "WatchdogSec")) == len(values(service, "TimeoutStopSec")) == 1
    assert values(service, "User") == [f"smtpeter-{service.removeprefix('smtpeter-').removesuffix('.service')}"]


def test_sockets_have_the_names_their_process_asks_for() -> None:
    for name in ("auth", "policy", "web"):
        unit = f"smtpeter-{name}.socket"
        assert values(unit, "FileDescriptorName") == [name]
        service = values(unit, "Service")[0]
        assert unit in values(service, "Sockets")[0].split()
        assert unit in values(service, "Requires")[0].split()


def test_every_timer_and_path_has_what_it_starts() -> None:
    for unit in UNITS:
        name, _, kind = unit.rpartition(".")
        if kind in ("timer", "path"):
            assert f"{name}.service" in SERVICES


@pytest.fixture
def users(machine: Path, tmp_path: Path) -> Path:
    """A root with Debian's own users, those of Postfix, and ours."""
    root = tmp_path / "users"
    (root / "etc").mkdir(parents=True)
    for name in ("passwd", "group"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    assert "not a valid" not in told("systemd-sysusers", f"--root={root}", str(FILES / "sysusers.conf"))
    return root


def test_each_process_has_a_user(users: Path) -> None:
    group = re.search(r"^smtpeter:x:(\d+):", (users / "etc" / "group").read_text(), re.M)
    assert group is not None
    rows = {row.split(":")[0]: row.split(":") for row in (users / "etc" / "passwd").read_text().splitlines()}
    wanted = {value for unit in SERVICES for value in values(unit, "User")} - {"root"}
    assert wanted == {name for name in rows if name.startswith("smtpeter-")}
    for name in wanted:
        _, _, uid, gid, _, home, shell = rows[name]
        assert (gid, home, shell) == (group[1], "/", "/usr/sbin/nologin")
        assert uid != "0"


def test_the_folders_are_as_the_processes_need_them(users: Path) -> None:
    for folder in ("run", "var/lib", "var/log", "var/backups", "etc"):
        (users / folder).mkdir(parents=True, exist_ok=True)
    told("systemd-tmpfiles", "--create", f"--root={users}", str(FILES / "tmpfiles.conf"))
    gid = (users / "etc" / "group").read_text().split("smtpeter:x:")[1].split(":")[0]
    found = {}
    for path in sorted(users.rglob("smtpeter")):
        for folder in (path, *(each for each in path.rglob("*") if each.is_dir())):
            status = folder.stat()
            group = "smtpeter" if str(status.st_gid) == gid else "root"
            found[str(folder.relative_to(users))] = f"{group} {stat.S_IMODE(status.st_mode):o}"
    assert found == {
        "etc/smtpeter": "root 755",
        "etc/smtpeter/credentials": "root 700",
        "run/smtpeter": "smtpeter 3771",
        "run/smtpeter/metrics": "smtpeter 2770",
        "var/backups/smtpeter": "root 700",
        "var/lib/smtpeter": "smtpeter 3770",
        **{f"var/lib/smtpeter/{name}": "smtpeter 2770" for name in ("images", "journal", "spool", "web")},
        "var/log/smtpeter": "smtpeter 750",
    }
