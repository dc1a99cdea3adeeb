"""Another version and back, with clients that keep sending: 4xx is allowed, a message lost or doubled is not."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.machine

GAP = 0.2  # seconds between two messages of a client: an upgrade has other work for the processors, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change of version was like: what the role printed, the version after it, what clients were told meanwhile."""

    played: object
    before: str
    after: str
    processes: tuple[str, str]
    flow: object


@pytest.fixture(scope="module")
def change(deployed, login, make_flow) -> Callable[..., Change]:
    """Runs the role with changed variables while two clients send."""

    def run(**variables: object) -> Change:
        before, process = deployed.version(), deployed.machine.show("smtpeter-milter.service", "MainPID")
        ports = iter((587, 465, 25) * 100_000)
        flow = make_flow(
            lambda: deployed.client(login, next(ports)), mail_from="news@example.com", field=f"X-{before}-Number", gap=GAP
        )
        try:
            played = deployed.play(**variables)
        finally:
            flow.stop()
        after = deployed.machine.show("smtpeter-milter.service", "MainPID")
        return Change(played=played, before=before, after=deployed.version(), processes=(process, after), flow=flow)

    return run


@pytest.fixture(scope="module")
def newer(deployed) -> str:
    """A version after the one of the checkout."""
    return f"{deployed.version()}.1"


@pytest.fixture(scope="module")
def upgrade(change, make_bundle, newer: str) -> Change:
    """The machine gets the newer version ..."""
    return change(smtpeter_bundle=str(make_bundle(newer)))


@pytest.fixture(scope="module")
def rollback(change, upgrade: Change) -> Change:
    """... and goes back to the one before, by one variable and without its bundle."""
    return change(smtpeter_bundle="", smtpeter_version=upgrade.before)


def test_an_upgrade_changes_the_version_that_runs(upgrade: Change, newer: str) -> None:
    assert upgrade.played.passed, upgrade.played.ended()
    assert upgrade.after == newer
    assert upgrade.processes[0] != upgrade.processes[1]


def test_a_rollback_is_one_variable(deployed, rollback: Change, upgrade: Change) -> None:
    assert rollback.played.passed, rollback.played.ended()
    assert rollback.after == upgrade.before
    assert rollback.processes[0] != rollback.processes[1]
    program = deployed.machine.run(f"tr '\\0' ' ' </proc/{rollback.processes[1]}/cmdline").stdout
    assert upgrade.after not in program


@pytest.mark.parametrize("name", ["upgrade", "rollback"])
def test_every_accepted_message_is_delivered_once(deployed, request: pytest.FixtureRequest, until, name: str) -> None:
    flow = request.getfixturevalue(name).flow
    assert flow.refused == []
    assert len(flow.accepted) > 20
    until(lambda: flow.accepted <= set(flow.arrived(deployed.sink)), "every accepted message is delivered", 120)
    arrived = flow.arrived(deployed.sink)
    assert {number: times for number, times in arrived.items() if times != 1} == {}
    assert set(arrived) - flow.accepted <= flow.unknown
