"""The command, run on a data folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from smtpeter.__main__ import run


@pytest.fixture
def smtpeter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a subcommand on a data folder of its own; returns what it printed, checks its exit status."""

    def command(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert run(["--data", str(tmp_path / "data"), *words]) == status
        out, err = capsys.readouterr()
        if status == 2:
            assert err.startswith("smtpeter: ")
            assert err.count("\n") == 1
            return err
        return out

    return command


@pytest.fixture
def shop(smtpeter) -> Callable[..., str]:
    smtpeter("account", "add", "shop", "--approve")
    return smtpeter
