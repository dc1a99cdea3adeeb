"""Log lines, as they go to a file and as they go to journald."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
from smtpeter.process import start_log
start_log()
log = logging.getLogger("smtpeter.test")
log.info("one line")
log.warning("look at this")
try:
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("it failed")
log.critical("the end")
"""


def logged(file: Path, stream: str | None) -> list[str]:
    """The lines of a process whose standard error is that file, and which was told that the journal is `stream`."""
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    with file.open("wb") as output:
        status = os.fstat(output.fileno())
        if stream is not None:
            environment["JOURNAL_STREAM"] = stream.format(device=status.st_dev, inode=status.st_ino)
        subprocess.run((sys.executable, "-c", PROGRAM), stderr=output, env=environment, check=True)
    return file.read_text().splitlines()


def test_journald_gets_the_priority_of_every_line_and_no_time(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", "{device}:{inode}")
    assert re.fullmatch(r"<6>smtpeter\.test\[\d+\]: one line", lines[0])
    assert re.fullmatch(r"<4>smtpeter\.test\[\d+\]: look at this", lines[1])
    assert re.fullmatch(r"<3>smtpeter\.test\[\d+\]: it failed", lines[2])
    assert lines[3] == "<3>Traceback (most recent call last):"
    assert lines[-3:-1] == ["<3>ValueError: two", "<3>lines"]
    assert re.fullmatch(r"<2>smtpeter\.test\[\d+\]: the end", lines[-1])


@pytest.mark.parametrize("stream", [None, "", "{device}:1", "1:{inode}", "nonsense"])
def test_everybody_else_gets_the_time(tmp_path: Path, stream: str | None) -> None:
    """Also where the process was started by systemd and its output redirected since."""
    first = logged(tmp_path / "log", stream)[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d smtpeter\.test\[\d+\]: one line", first)
