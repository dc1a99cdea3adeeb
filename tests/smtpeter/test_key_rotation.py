"""Keys move only where the world has them: the zone file first, then the store, and nothing where one of them fails."""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dns.resolver
import pytest

from policy.account import Account, State
from policy.domains import Algorithm, SenderDomain
from policy.rotation import first, turns
from policy.stores import StoreUnavailable
from policy.stores.sql import SqlStore
from smtpeter import database, wiring, zone
from smtpeter.errors import UserError
from smtpeter.key_rotation import DAY, Rotation, maker, note_seen
from smtpeter.name_server import NameServer
from smtpeter.published import keys_of
from smtpeter.sections import Keys
from smtpeter.settings import Settings

PERIOD = 2 * DAY
DOMAINS = ("example.com", "example.org")


class Silent(NameServer):
    """A name server that nobody reaches, and how often it was tried."""

    def __init__(self) -> None:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port, resolver.lifetime = 1, 0.1
        super().__init__(resolver)
        self.asked = 0

    def texts(self, name: str) -> list[str]:
        self.asked += 1
        return super().texts(name)


class Answering(NameServer):
    """Publishes what it is given, name to text."""

    def __init__(self, published: dict[str, str]) -> None:
        self.published = published

    def texts(self, name: str) -> list[str]:
        return [self.published[name]] if name in self.published else []


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    found = Settings(data=tmp_path / "data", hostname="mail.test", keys=Keys(period=2, zone=tmp_path / "zone"))
    database.prepare(found)
    return found


@pytest.fixture
def policies(place: Settings):
    """The store, with two domains whose keys change by themselves since 0."""
    store, master = database.open_store(place), wiring.master_key(place)
    store.add_account(Account(name="shop", state=State.APPROVED, created=1))
    for name in DOMAINS:
        keys = first(Algorithm, maker(master, domain=name, account="shop", now=0), 0)
        store.add_domain(SenderDomain(name=name, account="shop", created=0, rotates=True), keys)
    zone.publish(place, {name: keys_of(store, name) for name in DOMAINS}, 1)
    yield store
    store.close()


@pytest.fixture
def rotation(place: Settings, policies: SqlStore) -> Callable[..., Rotation]:
    def make(names: NameServer | None = None, **keys: object) -> Rotation:
        settings = place.model_copy(update={"keys": place.keys.model_copy(update=keys)})
        return Rotation(settings, policies, wiring.master_key(place), names or Silent())

    return make


def signing(store: SqlStore, name: str = DOMAINS[0]) -> str:
    return turns(keys_of(store, name))[Algorithm.RSA].current.selector


def test_all_domains_move_when_it_is_time_and_their_zone_file_is_good(rotation, policies: SqlStore, place: Settings) -> None:
    assert rotation().run(PERIOD - 1) == []
    said = rotation().run(PERIOD)
    assert said == [
        f"{name}: mail is signed by one and one-ed25519 now; published for another period: zero and zero-ed25519"
        for name in DOMAINS
    ]
    for name in DOMAINS:
        for key in keys_of(policies, name):
            assert f"{key.selector}.{name}.dkim.mail.test. IN TXT" in zone.current(place)
            assert key.public[:100] in zone.current(place)
    done = subprocess.run(("named-checkzone", "dkim.mail.test", place.keys.zone), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "OK"), done.stdout
    assert rotation().run(PERIOD) == []


def test_one_domain_may_move_alone(rotation, policies: SqlStore) -> None:
    assert len(rotation().run(PERIOD, DOMAINS[1])) == 1
    assert (signing(policies), signing(policies, DOMAINS[1])) == ("zero", "one")


def test_the_serial_number_always_grows(rotation, place: Settings) -> None:
    serials = [int(zone.current(place).split("( ")[1].split()[0])]
    for now in range(PERIOD, 4 * PERIOD, PERIOD):
        rotation().run(now)
        serials.append(int(zone.current(place).split("( ")[1].split()[0]))
    assert serials == sorted(set(serials))


def test_nothing_moves_where_the_zone_file_cannot_be_written(rotation, policies: SqlStore, tmp_path: Path) -> None:
    before = keys_of(policies, DOMAINS[0])
    (tmp_path / ".zone.new").mkdir()  # where the file is written before it gets its name
    with pytest.raises(UserError, match="zone file|written"):
        rotation().run(PERIOD)
    assert keys_of(policies, DOMAINS[0]) == before
    (tmp_path / ".zone.new").rmdir()
    assert len(rotation().run(PERIOD)) == 2


def test_nothing_moves_where_the_name_server_does_not_take_it(rotation, policies: SqlStore, place: Settings) -> None:
    before, text = keys_of(policies, DOMAINS[0]), zone.current(place)
    for command in (("false",), ("/nowhere/rndc",), ("sh", "-c", "echo not now >&2; exit 3")):
        with pytest.raises(UserError, match="the name server was not told"):
            rotation(reload=command).run(PERIOD)
        assert (keys_of(policies, DOMAINS[0]), zone.current(place)) == (before, text)
    assert len(rotation(reload=("true",)).run(PERIOD)) == 2


def test_what_is_no_zone_file_is_left_alone(rotation, place: Settings) -> None:
    assert place.keys.zone is not None
    place.keys.zone.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is none: .*; move it away"):
        rotation().run(PERIOD)
    assert place.keys.zone.read_bytes() == b"\xff"
    place.keys.zone.unlink()
    place.keys.zone.mkdir()
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        rotation().run(PERIOD)


def test_a_reload_that_hangs_is_ended(rotation, policies: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone, "RELOAD_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"sleep did not end within 0\.1 s"):
        rotation(reload=("sleep", "60")).run(PERIOD)
    assert signing(policies) == "zero"


def test_what_reloads_has_no_signal_blocked(rotation) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert len(rotation(reload=("grep", "-q", "SigBlk:.0*$", "/proc/self/status")).run(PERIOD)) == 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_zone_file_that_was_lost_is_written_and_the_keys_move_later(rotation, policies: SqlStore, place: Settings) -> None:
    assert place.keys.zone is not None
    text = zone.current(place)
    place.keys.zone.unlink()
    said = rotation().run(PERIOD)
    assert [line.partition(": ")[2] for line in said] == ["one was not in the zone file until now; the keys move later"] * 2
    assert zone.current(place).splitlines()[3:] == text.splitlines()[3:]
    assert signing(policies) == "zero"
    assert len(rotation().run(PERIOD + 3600)) == 2
    assert signing(policies) == "one"


def test_a_domain_that_lacks_the_next_alias_stays_with_its_key(rotation, policies: SqlStore) -> None:
    published = {key.record_name: key.record_text for name in DOMAINS for key in keys_of(policies, name)}
    del published["one._domainkey.example.com"]
    said = rotation(Answering(published)).run(PERIOD)
    assert said[0].startswith("example.com: the DNS has no one._domainkey.example.com, so the keys stay")
    assert (signing(policies), signing(policies, DOMAINS[1])) == ("zero", "one")


def test_a_domain_nothing_of_which_is_published_moves_all_the_same(rotation, policies: SqlStore) -> None:
    assert len(rotation(Answering({})).run(PERIOD)) == 2


def test_a_silent_name_server_is_asked_once(rotation, policies: SqlStore) -> None:
    silent = Silent()
    assert len(rotation(silent).run(PERIOD)) == 2
    assert silent.asked == 1


@pytest.mark.parametrize("keys", [{"zone": None}, {"only_published": True}])
def test_where_others_publish_a_key_waits_a_period_from_when_it_was_seen(rotation, policies: SqlStore, keys) -> None:
    names = Answering({})
    assert rotation(names, **keys).run(9 * PERIOD) == []
    names.published = {key.record_name: key.record_text for name in DOMAINS for key in keys_of(policies, name)}
    assert rotation(names, **keys).run(10 * PERIOD) == []
    assert rotation(names, **keys).run(11 * PERIOD - 1) == []
    assert len(rotation(names, **keys).run(11 * PERIOD)) == 2
    assert rotation(names, **keys).run(12 * PERIOD) == []  # the newest has not been seen


def test_a_domain_that_was_changed_meanwhile_is_left_alone_and_published(rotation, policies: SqlStore, place: Settings) -> None:
    class Meddling(Answering):
        """Changes a domain while the DNS is asked about it."""

        def texts(self, name: str) -> list[str]:
            policies.change_keys(DOMAINS[0], lambda keys: tuple(replace(key, seen=5) for key in keys))
            return []

    before = keys_of(policies, DOMAINS[0])
    assert len(rotation(Meddling({})).run(PERIOD)) == 1
    assert keys_of(policies, DOMAINS[0]) == [replace(key, seen=5) for key in before]
    for name in DOMAINS:
        assert all(key.public[:100] in zone.current(place) for key in keys_of(policies, name))
    assert len(rotation(Answering({})).run(PERIOD)) == 1


def test_keys_in_no_order_are_told_and_stop_nobody_else(rotation, policies: SqlStore) -> None:
    policies.change_keys(DOMAINS[0], lambda keys: tuple(replace(key, active=1) for key in keys))
    said = rotation().run(PERIOD)
    assert said[0].startswith("the rsa keys of example.com are not in the order")
    assert (len(said), signing(policies, DOMAINS[1])) == (2, "one")


def test_what_was_seen_is_noted_once_and_forgotten_when_it_is_gone(policies: SqlStore) -> None:
    key = keys_of(policies, DOMAINS[0])[0]

    def seen() -> list[int | None]:
        return [found.seen for found in keys_of(policies, DOMAINS[0]) if found.selector == key.selector]

    for now, expected in ((7, 7), (8, 7), (None, None), (9, 9)):
        note_seen(policies, [key], now)
        assert seen() == [expected]
    assert [found.seen for found in keys_of(policies, DOMAINS[1])] == [None] * 4


def test_a_store_that_is_away_moves_nothing(rotation, policies: SqlStore, place: Settings) -> None:
    policies.close()
    (place.data / "policy.db").unlink()
    with pytest.raises(StoreUnavailable):
        rotation().run(PERIOD)
