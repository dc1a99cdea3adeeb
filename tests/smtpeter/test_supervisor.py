"""The supervisor with real processes: restarts, order, and nothing left behind however it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smtpeter import activation, guard
from smtpeter.errors import UserError
from smtpeter.supervisor import Child, Supervisor

PYTHON = (sys.executable, "-I", "-S", "-c")
SLEEP = ("sleep", "300")
STUBBORN = (*PYTHON, "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(300)")
# Starts another process in its group, writes both process ids and waits.
FAMILY = (
    *PYTHON,
    "import os, subprocess, sys; other = subprocess.Popen(['sleep', '300']);"
    "open(sys.argv[1] + '.new', 'w').write(f'{os.getpid()} {other.pid}'); os.rename(sys.argv[1] + '.new', sys.argv[1]);"
    "other.wait()",
)
# Answers each connection on the inherited socket with its process id.
ANSWER = (
    sys.executable,
    "-c",
    "import os\n"
    "from smtpeter import activation\n"
    "listener = activation.inherited()['s']\n"
    "while True:\n"
    "    connection, _ = listener.accept()\n"
    "    connection.sendall(str(os.getpid()).encode())\n"
    "    connection.close()\n",
)
# What `smtpeter up` is to its children: writes their process ids and waits for a signal.
UP = """
import sys
from pathlib import Path
from smtpeter.supervisor import Child, Supervisor
folder = Path(sys.argv[1])
with Supervisor(lambda line: print(line, flush=True)) as supervisor:
    supervisor.start(Child(name="first", argv=("sleep", "300")))
    supervisor.start(Child(name="family", argv=(*sys.argv[2:], str(folder / "family"))))
    supervisor.start(Child(name="last", argv=("sleep", "300")))
    supervisor.wait_until((folder / "family").exists, 20, "the family")
    pids = [supervisor.pid(name) for name in ("first", "last")]
    (folder / "new").write_text((folder / "family").read_text() + " " + " ".join(map(str, pids)))
    (folder / "new").rename(folder / "ready")
    print("ended by", supervisor.run().name, flush=True)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its burial does not."""
    return read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1] not in ([], ["Z"], ["X"])


def guards(pid: int) -> list[int]:
    """The guards among the children of a process."""
    return [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        for status in [read(process / "stat")]
        if status.rpartition(")")[2].split()[1:2] == [str(pid)] and "guard.py" in read(process / "cmdline")
    ]


def read(path: Path) -> str:
    """What proc(5) says; nothing of a process that has ended meanwhile."""
    with suppress(OSError):
        return path.read_text()
    return ""


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def supervisor(log: list[str]) -> Iterator[Supervisor]:
    with Supervisor(log.append) as supervisor:
        yield supervisor


def running(supervisor: Supervisor, name: str) -> int:
    """The process id of a child that runs what it is there for, not the leash any more."""
    pid = supervisor.pid(name)
    assert pid is not None
    command = Path(f"/proc/{pid}/cmdline")
    # Empty in the middle of an exec.
    assert eventually(lambda: b"leash.py" not in (command.read_bytes() or b"leash.py"))
    return pid


def test_a_child_that_is_killed_comes_back(supervisor: Supervisor, log: list[str]) -> None:
    supervisor.start(Child(name="sleeper", argv=SLEEP))
    pid = running(supervisor, "sleeper")
    os.kill(pid, signal.SIGKILL)
    assert supervisor.wait_until(lambda: supervisor.pid("sleeper") not in {pid, None}, 10, "the child")
    again = running(supervisor, "sleeper")
    assert log == [
        f"sleeper: started, pid {pid}",
        f"sleeper: pid {pid} ended by SIGKILL; restart now",
        f"sleeper: started, pid {again}",
    ]


def test_a_child_that_keeps_dying_is_started_more_and_more_slowly(supervisor: Supervisor, log: list[str]) -> None:
    supervisor.start(Child(name="broken", argv=(*PYTHON, "raise SystemExit(3)")))
    deaths: list[str] = []

    def third() -> bool:
        deaths[:] = [line.partition("ended ")[2] for line in log if "ended" in line]
        return len(deaths) >= 3

    supervisor.wait_until(third, 20, "the third death")
    assert deaths == [
        "with status 3; restart now",
        "with status 3; restart in 0.5 s",
        "with status 3; restart in 1 s",
    ]


@pytest.mark.parametrize("program", ["/nowhere/program", "no-such-program"])
def test_a_program_that_is_not_there_is_named(supervisor: Supervisor, program: str) -> None:
    with pytest.raises(UserError, match=f"one cannot be started: there is no program {program}"):
        supervisor.start(Child(name="one", argv=(program,)))


def test_a_program_that_cannot_be_executed_says_so(
    supervisor: Supervisor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    said: list[str] = []
    supervisor.start(Child(name="one", argv=(str(program),)))

    def told() -> bool:
        said.append(capfd.readouterr().err)
        return "\n" in "".join(said)

    supervisor.wait_until(told, 10, "the complaint")
    assert "".join(said).startswith(f"{program} cannot be started: [Errno 2] No such file or directory")


def test_what_is_not_ready_in_time_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(UserError, match=r"Postfix was not ready after 0\.1 s; the log says why"):
        supervisor.wait_until(lambda: False, 0.1, "Postfix")


def test_children_stop_in_reverse_order(log: list[str]) -> None:
    with Supervisor(log.append) as supervisor:
        for name in ("one", "two", "three"):
            supervisor.start(Child(name=name, argv=SLEEP))
        pids = {name: running(supervisor, name) for name in ("one", "two", "three")}
    assert [line.partition(":")[0] for line in log if "stopped" in line] == ["three", "two", "one"]
    assert not any(map(alive, pids.values()))


def test_a_child_that_does_not_stop_is_killed(log: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with Supervisor(log.append) as supervisor:
        supervisor.start(Child(name="stubborn", argv=STUBBORN, grace=0.3))
        supervisor.wait_until(lambda: bool(capfd.readouterr().out), 10, "the child")
        pid = supervisor.pid("stubborn")
    assert log[1:] == [
        f"stubborn: pid {pid} did not stop in 0.3 s, killed",
        f"stubborn: pid {pid} stopped (ended by SIGKILL)",
    ]


def test_a_child_that_is_dead_already_can_be_stopped(log: list[str]) -> None:
    with Supervisor(log.append) as supervisor:
        supervisor.start(Child(name="one", argv=SLEEP))
        pid = running(supervisor, "one")
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not alive(pid))
    assert log[-1] == f"one: pid {pid} stopped (ended by SIGKILL)"


def test_what_a_dead_child_has_started_ends_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(Child(name="family", argv=(*FAMILY, str(tmp_path / "pids"))))
    supervisor.wait_until((tmp_path / "pids").exists, 10, "the family")
    parent, other = map(int, (tmp_path / "pids").read_text().split())
    (tmp_path / "pids").unlink()
    os.kill(parent, signal.SIGKILL)
    supervisor.wait_until((tmp_path / "pids").exists, 10, "the second family")
    assert not alive(other)


def test_a_restart_is_invisible_on_an_inherited_socket(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short

    def asked() -> int:
        received: list[bytes] = []
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0.02)
            client.connect("s")

            def answered() -> bool:
                with suppress(TimeoutError):
                    received.append(client.recv(64))
                return bool(received)

            supervisor.wait_until(answered, 10, "the answer")
        return int(received[0])

    with activation.listen(Path("s")) as listener:
        supervisor.start(Child(name="server", argv=ANSWER, sockets={"s": listener}))
        first = asked()
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not alive(first))
        second = asked()
    assert first != second


def test_no_signal_stays_blocked() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Supervisor(lambda _: None) as supervisor:
        supervisor.start(Child(name="one", argv=SLEEP))
        pid = running(supervisor, "one")
        status = Path(f"/proc/{pid}/status").read_text()
    assert "SigBlk:\t0000000000000000" in status
    assert "SigIgn:\t0000000000000000" in status
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_children_lead_sessions_of_their_own(supervisor: Supervisor) -> None:
    supervisor.start(Child(name="one", argv=SLEEP))
    pid = running(supervisor, "one")
    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_an_unknown_user_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(UserError, match="there is no user nosuchuser to run one as"):
        supervisor.start(Child(name="one", argv=SLEEP, user="nosuchuser"))


@pytest.mark.system
def test_a_child_may_be_another_user_and_still_ends_with_the_supervisor(supervisor: Supervisor) -> None:
    supervisor.start(Child(name="one", argv=SLEEP, user="nobody"))
    pid = running(supervisor, "one")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    assert "\nGroups:\t65534 \n" in status


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A supervisor in a process of its own, and the process ids of all that it has started."""
    with subprocess.Popen((sys.executable, "-c", UP, str(tmp_path), *FAMILY), stdout=subprocess.PIPE, text=True) as process:
        assert eventually((tmp_path / "ready").exists)
        pids = [int(word) for word in (tmp_path / "ready").read_text().split()]
        assert len(pids) == 4
        yield process, pids
        process.kill()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_everything(up: tuple[subprocess.Popen[str], list[int]], name: str) -> None:
    process, pids = up
    process.send_signal(signal.Signals[name])
    out, _ = process.communicate(timeout=20)
    lines = out.splitlines()
    assert f"ended by {name}" in lines
    assert [line.partition(":")[0] for line in lines[-3:]] == ["last", "family", "first"]
    assert process.returncode == 0
    assert not any(map(alive, pids))


def test_a_second_signal_does_not_break_the_stop(up: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = up
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    _, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not any(map(alive, pids))


def test_a_supervisor_that_is_killed_leaves_nobody(up: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = up
    (watching,) = guards(process.pid)
    process.kill()
    process.wait()
    assert eventually(lambda: not any(map(alive, (*pids, watching))))


def test_a_guard_that_is_killed_comes_back_and_knows_whom_to_watch(
    up: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, pids = up
    (first,) = guards(process.pid)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: guards(process.pid) not in ([first], []))
    (second,) = guards(process.pid)
    process.kill()
    process.wait()
    assert eventually(lambda: not any(map(alive, (*pids, second))))


def test_the_guard_kills_what_does_not_end(tmp_path: Path) -> None:
    with subprocess.Popen(STUBBORN, start_new_session=True, stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        assert stubborn.stdout.read(1)
        with subprocess.Popen((sys.executable, "-I", "-S", guard.__file__, "0.2"), stdin=subprocess.PIPE) as process:
            process.communicate(f"+{stubborn.pid}\n+{os.getpid()}\n-{os.getpid()}\n".encode())
        assert stubborn.wait() == -signal.SIGKILL


def test_nothing_is_left_of_the_supervisor_itself(up: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, _ = up
    (watching,) = guards(process.pid)
    process.terminate()
    process.communicate(timeout=20)
    assert not alive(watching)


def test_a_signal_that_was_ignored_before_stays_ignored(tmp_path: Path) -> None:
    """As with nohup(1)."""
    script = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); exec(sys.argv.pop(1))"
    with subprocess.Popen(
        (sys.executable, "-c", script, UP, str(tmp_path), *FAMILY), stdout=subprocess.PIPE, text=True
    ) as process:
        assert eventually((tmp_path / "ready").exists)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert "ended by SIGTERM" in process.communicate(timeout=20)[0]
