"""The units: how far they are shut in, whom they run as, and that they come back."""

import re
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.machine

MOST_EXPOSED = 2.0  # of 10, as `systemd-analyze security` counts
SERVING = {
    "smtpeter-auth.service": "smtpeter-auth",
    "smtpeter-milter.service": "smtpeter-milter",
    "smtpeter-journal.service": "smtpeter-journal",
    "smtpeter-web.service": "smtpeter-web",
}
TIMERS = ("rotation", "retention", "backup", "canary", "probe")


def test_every_unit_is_shut_in(deployed, capsys: pytest.CaptureFixture[str]) -> None:
    units = deployed.services()
    assert set(SERVING) < set(units)
    said = {unit: deployed.machine.run(f"systemd-analyze security --no-pager {unit}").stdout for unit in units}
    found = {unit: float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1]) for unit, text in said.items()}
    with capsys.disabled():
        print("\n" + "\n".join(f"{exposure:4.1f}  {unit}" for unit, exposure in sorted(found.items())))
    assert {unit: exposure for unit, exposure in found.items() if exposure > MOST_EXPOSED} == {}


@pytest.mark.parametrize(("unit", "user"), SERVING.items())
def test_every_process_runs_as_its_user(deployed, unit: str, user: str) -> None:
    processes = deployed.unit_processes(unit)
    assert processes
    for process in processes:
        status = deployed.machine.read(f"/proc/{process}/status").decode()
        ids = set(re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)[1].split())
        names = {deployed.machine.run(f"getent passwd {number}").stdout.partition(":")[0] for number in ids}
        assert names == {user}
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)


@pytest.fixture
def hasty_watchdog(deployed) -> Iterator[str]:
    """A unit whose watchdog waits for five seconds in place of a minute, for the length of a test."""
    unit = "smtpeter-auth.service"
    drop_in = f"/run/systemd/system/{unit}.d/hasty.conf"
    assert int(deployed.machine.show(unit, "WatchdogUSec").removesuffix("min")) == 1
    deployed.machine.write(drop_in, "[Service]\nWatchdogSec=5s\n")
    deployed.machine.run(f"systemctl daemon-reload && systemctl restart {unit}")
    yield unit
    deployed.machine.run(f"rm {drop_in} && systemctl daemon-reload && systemctl restart {unit}")


def back(deployed, until, unit: str, process: str) -> None:
    """Waits until a unit has another main process that is ready; five seconds where the machine has nothing else to do."""
    until(lambda: deployed.machine.show(unit, "MainPID") not in (process, "0"), f"{unit} has a new process", 30)
    until(lambda: deployed.machine.show(unit, "ActiveState") == "active", f"{unit} is ready", 30)


@pytest.mark.parametrize("unit", SERVING)
def test_a_killed_process_is_back_and_mail_goes_on(deployed, connect, until, unit: str) -> None:
    process = deployed.machine.show(unit, "MainPID")
    deployed.machine.run(f"systemctl kill --signal=KILL --kill-whom=main {unit}")
    back(deployed, until, unit, process)
    mark, message = deployed.message()
    with connect() as client:
        client.sendmail("news@example.com", ["reader@example.net"], message)
    deployed.left(mark)


def test_a_process_that_hangs_is_restarted_by_the_watchdog(deployed, connect, until, hasty_watchdog: str) -> None:
    process = deployed.machine.show(hasty_watchdog, "MainPID")
    deployed.machine.run(f"systemctl kill --signal=STOP --kill-whom=main {hasty_watchdog}")
    back(deployed, until, hasty_watchdog, process)
    assert "watchdog timeout" in deployed.machine.journal("-u", hasty_watchdog).lower()
    with connect() as client:
        assert client.noop()[0] == 250


def test_timers_wait_for_their_time(deployed) -> None:
    listed = deployed.machine.run("systemctl list-timers --all --no-legend --plain").stdout
    for name in TIMERS:
        assert re.search(rf"^\S.*\bsmtpeter-{name}\.timer", listed, re.MULTILINE), listed
        assert deployed.machine.show(f"smtpeter-{name}.timer", "ActiveState") == "active"
        assert deployed.machine.show(f"smtpeter-{name}.timer", "UnitFileState") == "enabled"


@pytest.mark.parametrize("name", TIMERS)
def test_what_a_timer_starts_succeeds(deployed, name: str) -> None:
    unit = f"smtpeter-{name}.service"
    started = deployed.machine.run(f"systemctl start {unit}", check=False, timeout=180)
    assert started.returncode == 0, deployed.machine.journal("-u", unit, "-n", "40")
    assert deployed.machine.show(unit, "Result") == "success"


def test_a_backup_is_made_and_only_root_reads_it(deployed) -> None:
    folder = "/var/backups/smtpeter"
    deployed.machine.run("systemctl start smtpeter-backup.service", timeout=180)
    found = deployed.machine.run(f"find {folder} -type f -printf '%m %u %s %p\\n'").stdout.splitlines()
    assert found
    assert all(re.match(r"600 root [1-9]", line) for line in found), found
