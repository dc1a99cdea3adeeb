"""The service is taken off: mail in the queue and the data stay until they are to go, too."""

import re
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.machine

DATA = "/var/lib/smtpeter/policy.db"


@pytest.fixture(scope="session")
def waiting(deployed, login, until) -> Callable[[], list[str]]:
    """The queue ids of messages that wait in the machine's Postfix."""
    return lambda: re.findall(r'"queue_id": "([^"]+)"', deployed.machine.run("postqueue -j").stdout)


@pytest.fixture(scope="session")
def uninstalled(deployed, login, waiting, until):
    """What the role printed as it took the service off, with a message in the queue; the message's mark is `left`."""
    mark, message = deployed.message()
    deployed.sink.putting_off = True
    with deployed.client(login) as client:
        client.sendmail("news@example.com", ["reader@example.net"], message)
    until(lambda: len(waiting()) == 1, "the message waits in the queue")
    played = deployed.play(smtpeter_state="absent")
    return mark, played


@pytest.fixture(scope="session")
def purged(deployed, uninstalled):
    """What it printed as it removed the data, too."""
    return deployed.play(smtpeter_state="absent", smtpeter_purge=True)


def test_uninstalling_leaves_the_queue_and_the_data(deployed, uninstalled, waiting) -> None:
    mark, played = uninstalled
    assert played.passed, played.ended()
    assert deployed.machine.run("systemctl list-units --all --plain --no-legend 'smtpeter*'").stdout == ""
    assert deployed.machine.run("command -v smtpeter; ls /opt/smtpeter", check=False).returncode != 0
    assert deployed.machine.run("ps -eo user:32 --no-headers").stdout.count("smtpeter-") == 0
    assert deployed.machine.run(f"stat -c %s {DATA}").stdout.strip() != "0"
    assert len(waiting()) == 1
    deployed.sink.putting_off = False
    deployed.machine.run("postqueue -f")
    assert deployed.signed(deployed.left(mark))


def test_purging_removes_the_data(deployed, uninstalled, purged) -> None:
    assert purged.passed, purged.ended()
    places = "/var/lib/smtpeter /etc/smtpeter /var/backups/smtpeter /var/log/smtpeter /run/smtpeter /opt/smtpeter"
    assert deployed.machine.run(f"ls -d {places} 2>/dev/null", check=False).stdout == ""
