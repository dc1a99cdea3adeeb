"""`smtpeter up` before it starts anything: what its options come to."""

from pathlib import Path

import pytest

from smtpeter.__main__ import run
from smtpeter.commands.up import _with_options, postfix_for
from smtpeter.sections import Listen, Web
from smtpeter.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path, listen=Listen(ports=(1025, 1587, 1465), internal=1026), web=Web(port=8081, host="c.example.com")
    )


def test_an_option_that_is_not_given_leaves_the_settings(settings: Settings) -> None:
    assert _with_options(settings, None, None, None, None, None) == settings


def test_ports_and_addresses_leave_the_port_for_copies(settings: Settings) -> None:
    found = _with_options(settings, "2525,2587,2465", ["127.0.0.2"], None, None, None)
    assert found.listen == Listen(addresses=("127.0.0.2",), ports=(2525, 2587, 2465), internal=1026)
    assert postfix_for(found).internal == 1026


def test_the_port_of_the_tracking_host_is_all_that_changes_of_it(settings: Settings) -> None:
    found = _with_options(settings, None, None, None, None, 9090)
    assert found.web == Web(port=9090, host="c.example.com")
    assert found.listen == settings.listen


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_what_is_no_port_is_refused(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--data", str(tmp_path / "data"), "up", "--web-port", port]) == 2
    assert "--web-port" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
