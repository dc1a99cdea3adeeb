"""A Postfix that somebody else has configured is left as it is until the operator says otherwise."""

from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.machine

INSTALL = (
    "echo 'postfix postfix/main_mailer_type select Internet Site' | debconf-set-selections && "
    "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postfix"
)
SETTINGS = ("virtual_alias_domains=shop.example", "mynetworks=127.0.0.0/8 10.0.0.0/8", "relayhost=[old.example.com]:25")


@pytest.fixture
def foreign(ground) -> Iterator[object]:
    """A machine with a Postfix that somebody else has configured."""
    with ground.room():
        machine = ground.machine("two")
        try:
            machine.run(INSTALL, timeout=300)
            machine.run(" && ".join(f"postconf -e '{setting}'" for setting in SETTINGS))
            yield machine
        finally:
            machine.close()


def test_a_foreign_postfix_stops_the_role_with_what_would_change(ground, bundle, foreign) -> None:
    look = "find /etc /opt -type f -exec sha256sum {} + | sort; dpkg -l"
    before = foreign.run(look).stdout
    variables = {"smtpeter_bundle": str(bundle), "smtpeter_hostname": "mail.example.org"}
    played = ground.playbook.run(foreign, variables=variables)
    assert not played.passed
    for name in ("virtual_alias_domains", "mynetworks", "relayhost", "smtpeter_postfix_takeover"):
        assert name in played.output, played.ended()
    assert played.changed == 0, played.ended()
    assert foreign.run(look).stdout == before
