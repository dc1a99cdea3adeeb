"""Two relays, and a third machine with PostgreSQL, a directory with a replica, and HAProxy: all of them die in turn under load.

Everything a client was promised arrives once; the journal has all of it; each relay answers for the other; and both are
upgraded, one after the other, while mail flows. It prints what it counted. SMTPETER_MESSAGES is how many messages.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.several, pytest.mark.timeout(3600)]

MESSAGES = int(os.environ.get("SMTPETER_MESSAGES") or 2000)
CALM = 120  # messages before the storm
THREADS = 20
PACE = 1.5  # seconds that each client rests after a message
STEP = MESSAGES // 20
SAMPLE = 150  # mails of each relay whose links and pictures are opened at the other


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines of the summary; printed at the end, whatever came of it."""
    lines: list[str] = []
    yield lines
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    terminal.write_line("")
    for line in lines:
        terminal.write_line(line)


@pytest.fixture(scope="module")
def kills() -> dict[str, Any]:
    """What was done to relays, by their addresses."""
    return {}


@dataclass(frozen=True)
class Storm:
    """What happens while `crowd` sends. Each method returns when those who are left carry on."""

    site: Any
    gate: Any
    crowd: Any
    until: Callable[..., None]
    told: list[str]

    def more(self, count: int = STEP, *, directory: bool | None = None) -> None:
        """Goes on when so many more messages were accepted."""
        wanted = self.crowd.accepted(directory=directory) + count
        self.until(lambda: self.crowd.accepted(directory=directory) >= wanted, f"{count} more messages are accepted", 300)

    def put_off(self, count: int) -> None:
        """Goes on when so many attempts were refused."""
        wanted = self.crowd.put_off + count
        self.until(lambda: self.crowd.put_off >= wanted, "somebody notices", 300)

    def kill_a_relay(self, make_kill: Callable[..., Any]) -> dict[str, Any]:
        """Both carry on: the other one meanwhile, and this one with what was in its queue."""
        relay, backend = self.site.relays[0], self.site.backend
        held = backend.connections_of(relay.address)
        assert held
        at = time.time()
        relay.kill()
        self.more(2 * STEP)
        self.site.restart(relay)
        kill = make_kill(at=at, back=time.time())
        self.told.append(f"relay one was dead for {kill.back - at:.0f} s")
        seen = len(self.gate.delivered)
        self.until(lambda: any(mail.peer == relay.address for mail in self.gate.delivered[seen:]), "it has work again", 300)
        self.until(lambda: not held & backend.connections_of(relay.address), "PostgreSQL notices that it was dead", 300, 1.0)
        self.told.append(f"PostgreSQL gave up its {len(held)} connections within {time.time() - at:.0f} s")
        return {relay.address: kill}

    def kill_postgresql(self) -> None:
        """Everybody waits, and nobody is refused for good."""
        at = time.time()
        self.site.backend.kill_postgresql()
        self.put_off(2 * THREADS)
        time.sleep(5)
        self.site.backend.start_postgresql()
        self.told.append(f"PostgreSQL was dead for {time.time() - at:.0f} s")

    def kill_directory(self) -> None:
        """With the provider nothing is lost, with the replica only the directory's logins."""
        at, backend = time.time(), self.site.backend
        backend.kill_directory("provider")
        self.more(directory=True)
        backend.kill_directory("replica")
        self.put_off(THREADS // 2)
        self.more(directory=False)
        backend.start_directory("provider")
        backend.start_directory("replica")
        self.told.append(f"the directory's provider was dead for {time.time() - at:.0f} s, the replica for a part of that")
        self.more(directory=True)


@pytest.fixture(scope="module")
def storm(site, gate, make_crowd, make_kill, make_connections, make_work, kills, told, until) -> Any:
    """Everything dies once while the crowd sends; the crowd, when all of it was accepted."""
    work = make_work(site.backend)
    calm = make_crowd(threads=4, most=CALM)
    calm.join(300)
    told.append(work.line(CALM))
    assert not calm.told, "nobody is refused before anything has died"
    crowd = make_crowd(threads=THREADS, pace=PACE)
    connections = make_connections(site.backend)
    made = Storm(site, gate, crowd, until, told)
    try:
        made.more(2 * STEP)
        kills |= made.kill_a_relay(make_kill)
        made.more(2 * STEP)
        made.kill_postgresql()
        made.more(2 * STEP)
        made.kill_directory()
        until(lambda: crowd.accepted() >= MESSAGES, f"{MESSAGES} messages are accepted", 900, 1.0)
    finally:
        crowd.stop()
        connections.stop()
    crowd.join(300)
    took = f"{time.time() - crowd.begun:.0f} s on {os.cpu_count()} cores, outages and all machines included"
    told.append(f"{crowd.accepted()} messages accepted in {took}")
    told.append(f"refused or cut attempts: {dict(crowd.told.most_common())}")
    told.append(f"most connections to PostgreSQL, by relay and database: {connections.most}")
    return crowd


@pytest.fixture(scope="module")
def settled(site, gate, until) -> Callable[[Any], None]:
    """Waits until everything that was accepted has arrived and is in the journal."""

    def settle(crowd: Any) -> None:
        wanted = {name for attempt in crowd.attempts if attempt.outcome == "accepted" for name in attempt.recipients}
        until(lambda: site.waiting() == 0, "queues and spools are empty", 600, 2.0)
        until(lambda: not wanted - gate.arrivals().keys(), "everything has arrived", 60, 1.0)

    return settle


def test_everything_promised_arrives_once_and_is_in_the_journal(storm, settled, reckon, kills, told) -> None:
    settled(storm)
    found = reckon(kills)
    told.append(
        f"recipients: {found.accepted} accepted, {found.unknown} in attempts without an answer ({found.unknown_delivered} of them"
        f" delivered), {found.refused} refused; {found.delivered} deliveries"
    )
    told.append(f"delivered twice, the acknowledgement lost by a kill: {len(found.twice)} {found.twice[:5]}")
    told.append(f"in the journal though refused: {found.refused_yet_recorded}")
    assert found.wrong() == {}
    assert not [words for words in storm.told if words.split()[1].startswith("5")]


def test_each_relay_answers_for_the_other(storm, site, gate, settled, mail, until, told) -> None:
    settled(storm)
    one, two = site.relays
    arrivals = [came[0] for came in gate.arrivals().values()]
    before, clicks, pictures = site.clicked(), {}, 0
    for sender, other in ((one, two), (two, one)):
        sent = [arrival for arrival in arrivals if arrival.peer == sender.address]
        assert len(sent) > SAMPLE
        for arrival in sent[:: len(sent) // SAMPLE][:SAMPLE]:
            number = mail.number_of(arrival.recipient)
            (link,) = arrival.links
            answer = site.ask(other, link)
            assert (answer.status, answer.location) == (302, mail.destination(number)), arrival
            clicks[arrival.recipient, mail.destination(number)] = 1
            for url in arrival.pictures:
                shown = site.ask(other, url)
                assert shown.status == 200, (url, shown)
                if "/i/" in url:
                    assert shown.content == mail.picture(number)
                    pictures += 1
    assert pictures > SAMPLE // 4

    def missing() -> Mapping[Any, int]:
        now = site.clicked()
        return {key: count for key, count in clicks.items() if now.get(key, 0) != before.get(key, 0) + count}

    until(lambda: not missing(), "the clicks are in the journal", 60, 1.0)
    told.append(
        f"{len(clicks)} links and {pictures} hosted images of one relay answered by the other; every click is in the journal once"
    )


def test_both_relays_have_the_same_keys(storm, site) -> None:
    for relay in site.relays:
        found = [row for row in relay.json("smtpeter check --json") if row["what"] == "key ring"]
        assert [row["status"] for row in found] == ["ok"], found
        assert "1 other" in found[0]["advice"]


def test_an_upgrade_of_one_relay_after_the_other_costs_nothing(
    storm, site, settled, reckon, make_crowd, make_bundle, kills, told
) -> None:
    settled(storm)
    later = make_crowd(threads=6, pace=0.5)
    played = site.play(smtpeter_bundle=str(make_bundle("9.9.9")))
    later.stop()
    later.join(300)
    assert played.passed, played.ended()
    for relay in site.relays:
        assert relay.run("readlink -f /opt/smtpeter/current").stdout.strip().endswith("/9.9.9")
    settled(later)
    found = reckon(kills)
    told.append(f"upgrade of one after the other: {later.accepted()} messages accepted meanwhile")
    told.append(f"refused or cut attempts meanwhile: {dict(later.told.most_common())}")
    assert later.accepted() > 50
    assert found.wrong() == {}
    assert not [words for words in later.told if words.split()[1].startswith("5")]


def test_what_it_comes_to(storm, site, sizes, told) -> None:
    lines = [*sizes(site.backend, "journal"), *sizes(site.backend, "policy")]
    assert any(line.startswith("journal.messages") for line in lines)
    told.extend(lines)
