"""What several hosts do at the same time on one PostgreSQL: prepare, move keys, forget; and whose key ring is another one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dns.resolver
import psycopg
import pytest

from journal.migrate import migrate
from journal.ring_file import RingFile
from journal.rings import Rings, differences, prints
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.store import JournalStore
from policy.account import Account, State
from policy.domains import Algorithm, SenderDomain
from policy.rotation import first, turns
from policy.stores import StoreUnavailable
from policy.stores.sql import SqlStore
from smtpeter import database, wiring, zone
from smtpeter.__main__ import run
from smtpeter.key_rotation import DAY, Rotation, maker
from smtpeter.name_server import NameServer
from smtpeter.published import rotating_keys
from smtpeter.same_ring import SameRing
from smtpeter.sections import Journal, Keys
from smtpeter.settings import Settings

NOW = 1_700_000_000
PERIOD = 2 * DAY


@pytest.fixture
def url(postgresql) -> str:
    return str(postgresql.database())


@pytest.fixture
def make_host(url: str, tmp_path: Path) -> Callable[[str], Settings]:
    """Makes hosts that share both databases, the master key and the key ring."""
    made: list[Settings] = []

    def make(name: str) -> Settings:
        found = Settings(
            data=tmp_path / name,
            hostname=f"{name}.test",
            database=url,
            journal=Journal(database=url),
            keys=Keys(period=2, zone=tmp_path / f"{name}.zone", domain="service.test"),
        )
        if made:
            found.data.mkdir()
            for file, own in ((made[0].ring_file, found.ring_file), (made[0].master_key_file, found.master_key_file)):
                own.write_bytes(file.read_bytes())
        database.prepare(found)
        made.append(found)
        return found

    return make


def test_hosts_prepare_one_database_at_once(url: str, tmp_path: Path) -> None:
    processes = []
    for number in range(4):
        file = tmp_path / f"{number}.toml"
        file.write_text(f'data = "{tmp_path / str(number)}"\ndatabase = "{url}"\n[journal]\ndatabase = "{url}"\n')
        words = (sys.executable, "-m", "smtpeter", "--settings", str(file), "account", "add", f"account{number}")
        processes.append(subprocess.Popen(words, stderr=subprocess.PIPE))
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    store = SqlStore(url)
    assert len(store.accounts()) == 4
    store.close()
    journal = JournalStore(url)
    assert journal.counts() == {"messages": 0, "copies": 0, "visits": 0}
    journal.close()


def test_statistics_need_no_primary(
    url: str, make_host, make_message, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_host("one")
    primary = JournalStore(url)
    primary.insert([("", make_message())])
    primary.close()
    # A replica takes no writes (PostgreSQL, Hot Standby); to a session that is told so it looks the same.
    replica = f"{url}&options=-c%20default_transaction_read_only%3Don"
    store = JournalStore(replica)
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        store.insert([("", make_message(id="ff" * 9))])
    store.close()
    file = tmp_path / "statistics.toml"
    file.write_text(f'data = "{tmp_path / "statistics"}"\n[journal]\ndatabase = "{replica}"\n')
    words = ["--settings", str(file), "journal", "export", "--type", "attempts", "--date", "2023-11-14"]
    assert run(words) == 0
    assert make_message().recipient in capsys.readouterr().out


def test_a_url_with_several_servers_takes_the_one_that_writes(url: str, make_host, tmp_path: Path) -> None:
    make_host("one")
    store = SqlStore(url.replace("host=", f"host={tmp_path},") + "&target_session_attrs=read-write")
    store.add_account(Account(name="shop", state=State.APPROVED, created=0))
    assert [account.name for account in store.accounts()] == ["shop"]
    store.close()


def _silent() -> NameServer:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], 1, 0.1
    return NameServer(resolver)


def test_hosts_move_keys_at_once_and_each_key_once(make_host: Callable[[str], Settings], in_threads) -> None:
    hosts = [make_host(f"node{number}") for number in range(4)]
    master, store = wiring.master_key(hosts[0]), SqlStore(hosts[0].database_url)
    store.add_account(Account(name="shop", state=State.APPROVED, created=NOW))
    names = [f"example{number}.com" for number in range(12)]
    for name in names:
        make = maker(master, domain=name, account="shop", now=NOW)
        domain = SenderDomain(name=name, account="shop", created=NOW)
        store.add_domain(domain, first((Algorithm.ED25519,), make, NOW))
    for host in hosts:
        zone.publish(host, rotating_keys(store), NOW)
    at = NOW
    for at in (NOW + PERIOD, NOW + 2 * PERIOD, NOW + 3 * PERIOD):
        before = rotating_keys(store)
        moved: list[str] = []
        in_threads(partial(_move, hosts, master, at, moved))
        assert sorted(moved) == sorted(names)
        after = rotating_keys(store)
        for name in names:
            (old,), (new,) = turns(before[name]).values(), turns(after[name]).values()
            assert new.previous is not None
            assert (new.previous.selector, new.current.selector) == (old.current.selector, old.next.selector)
            assert (new.current.public, new.next.created) == (old.next.public, at)
        for host in hosts:  # what the slower ones had made is in nobody's file after the next look
            Rotation(host, store, master, _silent()).run(at)
            assert not zone.publish(host, after, at)
    store.close()


def _move(hosts: list[Settings], master: bytes, at: int, moved: list[str], number: int) -> None:
    store = SqlStore(hosts[number].database_url)
    for line in Rotation(hosts[number], store, master, _silent()).run(at):
        domain, _, told = line.partition(": ")
        if told.startswith("mail is signed by"):
            moved.append(domain)
    store.close()


def test_hosts_forget_at_once_and_all_of_it(url: str, make_click, make_message, in_threads) -> None:
    migrate(url)
    store = JournalStore(url)
    click, message = make_click(), make_message()
    store.insert((f"s-{number}", replace(click, time=number % 7)) for number in range(30_000))
    store.insert((f"m-{number}", replace(message, id=f"{number:018x}", time=number % 7)) for number in range(10_000))
    store.insert([("s-new", replace(click, time=1_000))])
    removed: list[int] = []

    def prune(_number: int) -> None:
        own = JournalStore(url)
        removed.extend(iter(lambda: own.prune(1_000, 500), 0))
        own.close()

    in_threads(prune)
    assert sum(removed) == 40_000
    assert store.counts() == {"messages": 0, "copies": 0, "visits": 1}
    store.close()


def test_what_one_host_is_removing_holds_up_no_other(url: str, make_click) -> None:
    migrate(url)
    impatient = JournalStore(f"{url}&options=-c%20lock_timeout%3D5000")
    click = make_click()
    impatient.insert((f"s-{number}", replace(click, time=number)) for number in range(1_000))
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute("DELETE FROM visits WHERE time < 300")
        assert [impatient.prune(900, 500) for _ in range(3)] == [500, 100, 0]
    assert impatient.counts()["visits"] == 100
    impatient.close()


def test_a_host_with_another_ring_is_told(make_host: Callable[[str], Settings], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "smtpeter.ring")
    one, two = make_host("one"), make_host("two")
    now = time.time()

    def watch(host: Settings) -> SameRing:
        return SameRing(Rings(host.journal_url), host.hostname, RingFile(host.ring_file).current, now=lambda: now)

    first_host, second_host = watch(one), watch(two)
    for _ in range(2):
        first_host.look()
        second_host.look()
    assert caplog.text == ""
    grown = RingFile(one.ring_file).current()
    key = SealingKey(id=1, secret=os.urandom(KEY_LENGTH), created=int(now), active=int(now))
    one.ring_file.write_text(Ring((*grown.keys, key), int(now)).format())
    first_host, second_host = watch(one), watch(two)
    for _ in range(2):
        first_host.look()
        second_host.look()
    assert caplog.text.count("two.test has not the keys of this host: 1") == 1
    assert caplog.text.count("one.test has keys that this host has not: 1") == 1
    two.ring_file.write_bytes(one.ring_file.read_bytes())
    second_host = watch(two)
    second_host.look()
    first_host.look()
    assert caplog.text.count("all hosts have the same key ring") == 1
    now += 2 * DAY  # the second one is gone for good
    two.ring_file.write_text(Ring((replace(key, id=0, secret=os.urandom(KEY_LENGTH)),), int(now)).format())
    caplog.clear()
    first_host.look()
    assert caplog.text == ""


def test_check_tells_of_another_ring(make_host: Callable[[str], Settings], tmp_path: Path) -> None:
    one, two = make_host("one"), make_host("two")
    file = tmp_path / "one.toml"
    file.write_text(
        f'data = "{one.data}"\nhostname = "{one.hostname}"\ndatabase = "{one.database}"\n'
        f'[journal]\ndatabase = "{one.journal.database}"\n'
    )

    def found() -> list[dict[str, Any]]:
        words = (sys.executable, "-m", "smtpeter", "--settings", str(file), "check", "--json")
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return [row for row in json.loads(done.stdout) if row["what"] == "key ring"]

    now = int(time.time())
    Rings(two.journal_url).note(two.hostname, prints(RingFile(two.ring_file).current()), now)
    assert [row["status"] for row in found()] == ["ok"]
    other = Ring((SealingKey(id=0, secret=os.urandom(KEY_LENGTH), created=1, active=1),), now)
    Rings(two.journal_url).note(two.hostname, prints(other), now)
    (row,) = found()
    assert (row["status"], row["advice"].split(";")[0]) == ("error", "two.test has other keys than this host under 0")


def test_fingerprints_tell_keys_apart_and_nothing_else() -> None:
    key = SealingKey(id=3, secret=bytes(KEY_LENGTH), created=1, active=1)
    ring = Ring((key, replace(key, id=4)), 2)
    found = prints(ring)
    assert found[3] == found[4]
    assert len(found[3]) == 32
    assert key.secret.hex()[:16] not in found[3]
    assert list(differences(found, {"b": found})) == []
    other = {3: "x", 5: "y"}
    assert list(differences(found, {"b": other})) == [
        "b has other keys than this host under 3",
        "b has keys that this host has not: 5",
        "b has not the keys of this host: 4",
    ]
