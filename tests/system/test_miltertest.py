"""Hostile orders on the milter socket, said by OpenDKIM's miltertest."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

SCRIPTS = sorted((Path(__file__).parent / "miltertest").glob("*.lua"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(service, login, script: Path) -> None:
    socket = service.data / "run" / "milter"
    command = ("miltertest", "-D", f"socket={socket}", "-D", f"login={login.name}", "-s", str(script))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in service.log
