"""The numbers of several processes in one folder, whoever of them ends, and of a process that counts for itself."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpeter.exposition import Everything, fold
from smtpeter.host_numbers import Number

COUNT = """
import os, signal, sys
from policy.counting import Counter, Gauge, Histogram
messages = Counter("test_messages_total", "m", ("login",))
open_ones = Gauge("test_open", "o", multiprocess_mode="livesum")
seconds = Histogram("test_seconds", "s", buckets=(1, 10))
messages.labels("a").inc(int(sys.argv[1]))
open_ones.set(1)
seconds.observe(5)
print("counted", flush=True)
sys.stdin.readline()
"""
FORK = """
import os, sys
from policy import counting
from policy.counting import Counter
messages = Counter("test_messages_total", "m", ("login",))
messages.labels("parent").inc()
for _ in range(3):
    if os.fork() == 0:
        messages.labels("child").inc()
        messages.labels("parent").inc()
        os._exit(0)
for _ in range(3):
    os.wait()
messages.labels("parent").inc()
"""


BEGIN = """
from policy import counting, metrics
counting.begin("auth")
metrics.attempt("ok", "smtp")
print(repr(counting.FOLDER))
"""


def start(folder: Path, count: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        (sys.executable, "-c", COUNT, str(count)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def shown(folder: Path) -> dict[str, float]:
    found = {}
    for metric in Everything(folder, lambda: ()).collect():
        for sample in metric.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_what_ended_processes_counted_stays_and_what_they_held_goes(tmp_path: Path) -> None:
    first, second = start(tmp_path, 1), start(tmp_path, 10)
    assert shown(tmp_path)["test_messages_total{login=a}"] == 11
    assert shown(tmp_path)["test_open{}"] == 2
    for process, left in ((first, 1), (second, 0)):
        end(process)
        for _ in range(2):  # added up once, whoever looks how often
            found = shown(tmp_path)
            assert found["test_messages_total{login=a}"] == 11
            assert found.get("test_open{}", 0) == left
            assert found["test_seconds_count{}"] == 2
            assert found["test_seconds_bucket{le=1.0}"] == 0
            assert found["test_seconds_bucket{le=10.0}"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_ended.db", "histogram_ended.db"]


def test_a_hundred_deaths_leave_no_files(tmp_path: Path) -> None:
    for number in range(10):
        end(start(tmp_path, 1))
        fold(tmp_path)
        assert shown(tmp_path)["test_messages_total{login=a}"] == number + 1
    assert len(list(tmp_path.iterdir())) == 2


def test_children_of_a_process_that_counted_begin_at_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run((sys.executable, "-c", FORK), env=environment, check=True, timeout=60)
    found = shown(tmp_path)
    assert found["test_messages_total{login=child}"] == 3
    assert found["test_messages_total{login=parent}"] == 1 + 3 + 1


@pytest.mark.parametrize("folder", ["missing", "closed", ""])
def test_a_folder_that_is_no_use_stops_nobody(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder if folder else Path()
    if folder == "closed":
        path.mkdir()
        if os.geteuid() == 0:
            path = Path("/proc/self")  # root may write everywhere else
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(path) if folder else ""}
    command = (sys.executable, "-c", BEGIN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "''\n"), done.stderr
    assert ("cannot be written to" in done.stderr) == bool(folder)


SERVE = """
import sys
from policy import metrics
from smtpeter import exposition
from smtpeter.host_numbers import Number
metrics.attempt("ok", "smtp")
exposition.serve("127.0.0.1", int(sys.argv[1]), "", lambda: [Number(name="test_host", meaning="x", value=7, labels={"a": 'q"'})])
sys.stdin.readline()
"""


def test_without_a_folder_a_process_shows_its_own_numbers(wait_for: Callable[[Callable[[], object]], None]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    with subprocess.Popen((sys.executable, "-c", SERVE, str(port)), stdin=subprocess.PIPE, env=environment) as process:
        answers: list[str] = []

        def answered() -> bool:
            assert process.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    answers.append(answer.read().decode())
            except urllib.error.URLError:
                return False
            return True

        wait_for(answered)
        process.kill()
        process.communicate()
    assert 'test_host{a="q\\""} 7.0' in answers[0]
    assert re.search(r'smtpeter_auth_attempts_total\{service="smtp",verdict="ok"\} 1\.0', answers[0])


def test_numbers_of_one_name_are_one_metric() -> None:
    numbers = [Number(name="test_queue", meaning="q", value=value, labels={"queue": str(value)}) for value in (1, 2)]
    (metric,) = Everything(None, lambda: numbers).collect()
    assert [(sample.labels, sample.value) for sample in metric.samples] == [({"queue": "1"}, 1), ({"queue": "2"}, 2)]
