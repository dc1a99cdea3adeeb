"""`smtpeter keys`: one key seals, all read, and none is ever shown."""

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.migrate import migrate
from journal.records import CopyRecord
from journal.seal import Ring, SealingKey
from journal.store import JournalStore
from smtpeter.__main__ import run
from smtpeter.commands.keys import new_key
from smtpeter.errors import UserError

NOW = 1_700_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.ring"


def key(number: int, created: int = NOW, active: int = NOW) -> SealingKey:
    return SealingKey(id=number, secret=bytes((number,)) * 64, created=created, active=active)


@pytest.fixture
def old(shop, path: Path) -> Iterator[Ring]:
    """A ring of a while ago, in place of the one that was just made."""
    ring = Ring([key(7)], NOW)
    path.write_text(ring.format())
    return ring


def listed(smtpeter) -> dict[int, str]:
    return {row["id"]: row["use"] for row in json.loads(smtpeter("keys", "list", "--json"))}


def test_the_first_account_brings_a_ring_of_one_key(shop, path: Path) -> None:
    assert listed(shop) == {0: "seals and reads"}
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    shop("account", "add", "other")
    assert path.read_bytes() == before


def test_a_ring_that_was_in_use_is_not_made_again(shop, path: Path) -> None:
    url = f"sqlite:///{path.parent / 'journal.db'}"
    migrate(url)
    path.unlink()
    shop("account", "add", "other")
    assert listed(shop) == {0: "seals and reads"}, "an empty journal tells of no link"
    path.unlink()
    store = JournalStore(url)
    store.insert([("v", CopyRecord(message="00", time=1, queue_id="4ABC", decisions=()))])
    store.close()
    sentence = shop("account", "add", "third", status=2)
    assert "keys.ring is missing and links in sent mail are sealed with it; put it back" in sentence
    assert not path.exists()


def test_rotating_adds_a_key_and_keeps_the_old_one_for_reading(shop, old: Ring, path: Path) -> None:
    sealed = old.seal(b"who", b"link")
    path.chmod(0o640)
    assert shop("keys", "rotate") == "key 8 added; it seals from now on\n"
    assert listed(shop) == {7: "reads", 8: "seals and reads"}
    assert path.stat().st_mode & 0o777 == 0o640, "who could read the ring still can"
    ring = Ring.parse(path.read_text(), 2_000_000_000)
    assert ring.unseal(sealed, b"link") == b"who"
    assert ring.sealing.id == 8
    assert len({key.secret for key in ring.keys}) == 2


def test_a_key_may_wait_until_every_host_has_it(shop, old: Ring) -> None:
    assert "other hosts need a copy of" in shop("keys", "rotate", "--in", "48")
    assert listed(shop) == {7: "seals and reads", 8: "waits"}
    shop("keys", "rotate")
    assert listed(shop) == {7: "reads", 8: "waits", 9: "seals and reads"}


def test_a_key_is_never_shown(shop, old: Ring, path: Path) -> None:
    shown = shop("keys", "rotate") + shop("keys", "list") + shop("keys", "list", "--json") + shop("keys", "remove", "7", "--yes")
    secrets = [line.split()[3] for line in (path.read_text() + old.format()).splitlines()]
    assert len(secrets) == 2
    assert not any(secret[:12] in shown for secret in secrets)


def test_removing_asks_first(shop, old: Ring, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop("keys", "rotate")
    before = path.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers
    assert "will stop working" in shop("keys", "remove", "7", status=130)
    assert path.read_bytes() == before
    assert shop("keys", "remove", "7", "--yes") == "key 7 removed; what it sealed no longer works\n"
    assert listed(shop) == {8: "seals and reads"}


def test_what_seals_and_what_is_not_there_is_not_removed(shop, old: Ring, path: Path) -> None:
    before = path.read_bytes()
    assert "key 7 is the one that seals; `smtpeter keys rotate`" in shop("keys", "remove", "7", "--yes", status=2)
    assert "there is no key 8" in shop("keys", "remove", "8", "--yes", status=2)
    assert path.read_bytes() == before


def test_without_a_good_ring_the_sentence_says_what_to_do(smtpeter, path: Path) -> None:
    for words in (("list",), ("rotate",), ("remove", "1", "--yes")):
        assert "`smtpeter up` makes it" in smtpeter("keys", *words, status=2)
    smtpeter("account", "add", "shop")
    path.write_text("0 1 2 three\n")
    for words in (("list",), ("rotate",), ("remove", "1", "--yes")):
        assert "line 1 of the key ring is no key" in smtpeter("keys", *words, status=2)


def test_rotating_twice_at_once_loses_no_key(old: Ring, path: Path) -> None:
    def rotate() -> None:
        run(["--data", str(path.parent), "keys", "rotate", "--in", "1"])

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.id for key in Ring.parse(path.read_text(), NOW).keys) == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("ids", "following"),
    [([0], 1), ([0, 1, 2], 3), ([255], 0), ([0, 255], 1), ([3, 4, 200, 2], 5), ([*range(1, 256)], 0)],
)
def test_ids_go_round(ids: list[int], following: int) -> None:
    """The last of `ids` is the newest."""
    ring = Ring([key(number, created=NOW + place) for place, number in enumerate(ids)], NOW)
    assert new_key(ring, bytes(64), now=NOW, active=NOW).id == following


def test_a_full_ring_says_so() -> None:
    ring = Ring([key(number) for number in range(256)], NOW)
    with pytest.raises(UserError, match="256 keys"):
        new_key(ring, bytes(64), now=NOW, active=NOW)
