"""Who a session is to the filter: remembered as long as nothing changes, forgotten as soon as something does."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from filters.job import Tracking
from filters.mail.message import Field, Message
from filters.senders import Senders
from journal.ring_file import RingFile
from journal.seal import Ring, SealingKey
from policy.access import Session
from policy.account import Account, State
from policy.click_hosts import HostHealth
from policy.domains import Algorithm, InvalidKey, SenderDomain, SigningKey, new_private_key, read_private_key, seal_private_key
from policy.identity import Identity
from policy.login import Login, Password
from policy.options import Options
from policy.reply import Refused
from policy.stores import StoreUnavailable
from policy.stores.migrate import migrate
from policy.stores.sql import SqlStore

MASTER = bytes(range(64))
NAME = "0" * 32
HERE = Session(address="192.0.2.1", port=587, now=1_700_000_000)


class Counting(SqlStore):
    """The real store, and how often logins were looked up in it."""

    looked_up = 0

    def login(self, name: str) -> Login | None:
        self.looked_up += 1
        return super().login(name)


@pytest.fixture
def store(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    found = Counting(url)
    found.add_account(Account(name="shop", state=State.APPROVED, created=1))
    found.add_login(
        Login(
            name=NAME,
            account="shop",
            passwords=(Password(number=1, hash="h", created=1),),
            options=Options(inlinecss=True),
            created=1,
        )
    )
    yield found
    found.close()


@pytest.fixture
def ring(tmp_path: Path) -> RingFile:
    key = SealingKey(id=1, secret=bytes(64), created=1, active=1)
    (tmp_path / "keys.ring").write_text(Ring([key], 2).format())
    return RingFile(tmp_path / "keys.ring")


@pytest.fixture
def senders(store: SqlStore, ring: RingFile) -> Senders:
    return Senders(
        store, master_key=MASTER, postmaster="postmaster@example.com", ring=ring, click_host="Clicks.example.net", https=False
    )


def add_domain(store: SqlStore, name: str, master: bytes = MASTER, *, account: str = "shop", clicks: str = "") -> None:
    algorithm, public, pem = read_private_key(new_private_key(Algorithm.ED25519))
    sealed = seal_private_key(master, domain=name, selector="s", pem=pem)
    key = SigningKey(
        domain=name, selector="s", account=account, algorithm=algorithm, public=public, sealed=sealed, created=1, active=1
    )
    store.add_domain(SenderDomain(name=name, account=account, created=1, clicks=clicks), (key,))


def refusal(senders: Senders, name: str) -> str:
    with pytest.raises(Refused) as caught:
        senders.authorise(name, HERE)
    return str(caught.value)


def settle(store: SqlStore) -> None:
    """Waits until the last write is no longer recent."""
    limit = time.monotonic() + 5
    while store.revision() != store.revision():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_sender_is_looked_up_once_until_the_store_changes(store: Counting, senders: Senders) -> None:
    assert senders.recall(NAME, HERE) is None
    settle(store)
    assert senders.authorise(NAME, HERE) is senders.authorise(NAME, HERE) is senders.recall(NAME, HERE)
    assert store.looked_up == 1
    store.change_login(NAME, lambda login: replace(login, options=Options(trackopens=True)))
    assert senders.recall(NAME, HERE) is None
    assert senders.authorise(NAME, HERE).login.options == Options(trackopens=True)
    assert store.looked_up == 2


def test_a_change_by_another_process_counts_at_once(store: Counting, senders: Senders, tmp_path: Path) -> None:
    settle(store)
    senders.authorise(NAME, HERE)
    other = SqlStore(f"sqlite:///{tmp_path / 'policy.db'}")
    other.change_login(NAME, lambda login: replace(login, enabled=False))
    other.close()
    assert senders.recall(NAME, HERE) is None
    assert refusal(senders, NAME) == "554 5.7.1 This login is no longer valid"


def test_everybody_else_is_refused(store: Counting, senders: Senders) -> None:
    assert refusal(senders, "").startswith("530 5.7.0 ")
    assert refusal(senders, "f" * 32).startswith("554 5.7.1 ")
    store.change_account("shop", lambda account: replace(account, state=State.SUSPENDED))
    expected = "550 5.7.1 You do not have permission to send email; contact postmaster@example.com"
    assert refusal(senders, NAME) == expected


def test_keys_of_the_from_domain_sign_and_no_others(store: Counting, senders: Senders) -> None:
    add_domain(store, "example.com")
    site = senders.site(senders.authorise(NAME, HERE))
    signer = site.signers("a@example.com")[0]
    assert (signer.domain, signer.selector) == ("example.com", "s")
    assert site.signers("a@sub.example.com") == (signer,)  # which is aligned
    assert site.signers("a@example.org") == site.signers("") == ()
    field = signer.sign(Message((Field(b"From", b" a@example.com"),), b""), site.now)
    assert field.name == b"DKIM-Signature"


def test_a_key_under_another_master_key_is_an_error_not_an_unsigned_mail(store: Counting, senders: Senders) -> None:
    add_domain(store, "example.com", MASTER[::-1])
    site = senders.site(senders.authorise(NAME, HERE))
    with pytest.raises(InvalidKey):
        site.signers("a@example.com")
    assert site.signers("a@example.org") == ()


def test_links_lead_to_the_click_host_of_the_from_domain(store: Counting, senders: Senders) -> None:
    store.add_account(Account(name="other", state=State.APPROVED, created=1))
    add_domain(store, "example.com", clicks="go.example.com")
    add_domain(store, "example.org", clicks="clicks.example.org")
    add_domain(store, "plain.example")
    add_domain(store, "elsewhere.example", account="other", clicks="clicks.elsewhere.example")
    store.change_domain("example.org", lambda domain: replace(domain, clicks="clicks.example.org", https=False))
    tracking = senders.site(senders.authorise(NAME, HERE)).tracking
    ours = frozenset(("go.example.com", "clicks.example.org", "clicks.example.net"))
    assert tracking("example.com") == Tracking(base="https://go.example.com", hosts=ours)
    assert tracking("example.org") == Tracking(base="http://clicks.example.org", hosts=ours)
    for other in ("plain.example", "elsewhere.example", "sub.example.com", "com", ""):
        assert tracking(other) == Tracking(base="http://clicks.example.net", hosts=ours)


def test_only_click_hosts_in_order_are_used_where_that_is_asked_for(store: Counting, senders: Senders, ring: RingFile) -> None:
    careful = Senders(
        store, master_key=MASTER, postmaster="", ring=ring, click_host="Clicks.example.net", https=False, checked=True
    )
    add_domain(store, "example.com", clicks="go.example.com")
    add_domain(store, "example.org", clicks="clicks.example.org")

    def refusals(asked: Senders) -> list[str]:
        tracking = asked.site(asked.authorise(NAME, HERE)).tracking
        again = asked.site_of_copies("shop", 1).tracking
        names = ("example.com", "example.org", "example.net")
        assert [tracking(name) for name in names] == [again(name) for name in names]
        return [tracking(name).refusal for name in names]

    unseen = "click host {}: it has not been looked at yet"
    assert refusals(careful) == [unseen.format(host) for host in ("go.example.com", "clicks.example.org", "clicks.example.net")]
    assert refusals(senders) == ["", "", ""]

    good = HostHealth(host="go.example.com", https=True, certificates=True, links=True)
    bad = replace(good, host="clicks.example.org", links=False, reason="it is down")
    own = replace(good, host="clicks.example.net", https=False)
    store.change_click_hosts(lambda _: (good, bad, own))
    assert refusals(careful) == ["", "click host clicks.example.org: it is down", ""]
    # What was found of links that begin otherwise says nothing.
    store.change_domain("example.com", lambda domain: replace(domain, https=False))
    assert refusals(careful) == [unseen.format("go.example.com"), "click host clicks.example.org: it is down", ""]
    assert refusals(senders) == ["", "", ""]


def test_a_changed_click_host_counts_at_the_next_message(store: Counting, senders: Senders) -> None:
    add_domain(store, "example.com", clicks="clicks.example.com")
    settle(store)
    assert senders.site(senders.authorise(NAME, HERE)).tracking("example.com").base == "https://clicks.example.com"
    store.change_domain("example.com", lambda domain: replace(domain, clicks="go.example.com", https=False))
    assert senders.recall(NAME, HERE) is None
    assert senders.site(senders.authorise(NAME, HERE)).tracking("example.com").base == "http://go.example.com"


def test_as_whom_a_login_may_write_is_its_own_list_and_all_sender_domains(store: Counting, ring: RingFile) -> None:
    senders = Senders(
        store,
        master_key=MASTER,
        postmaster="postmaster@example.com",
        ring=ring,
        click_host="clicks.example.net",
        https=True,
        require_sender_domain=True,
    )
    store.add_account(Account(name="other", state=State.APPROVED, created=1))
    add_domain(store, "example.com")
    store.change_login(NAME, lambda login: replace(login, senders=("a@example.com",)))
    settle(store)
    owners = {"example.com": "shop"}
    expected = Identity(account="shop", words=("a@example.com",), owners=owners, required=True)
    assert senders.site(senders.authorise(NAME, HERE)).identity == expected
    add_domain(store, "elsewhere.example", account="other")
    assert senders.recall(NAME, HERE) is None
    owners["elsewhere.example"] = "other"
    assert senders.site(senders.authorise(NAME, HERE)).identity == replace(expected, owners=owners)
    assert senders.site_of_copies("shop", 1).identity is None


def test_a_new_key_seals_the_next_message(store: Counting, senders: Senders, tmp_path: Path) -> None:
    sender = senders.authorise(NAME, HERE)
    before = senders.site(sender).ring
    later = SealingKey(id=2, secret=bytes(64), created=2, active=2)
    (tmp_path / "keys.ring").write_text(Ring([*before.keys, later], 2).format())
    assert senders.site(sender).ring.sealing == later


def test_a_store_without_an_answer_is_trouble(store: Counting, senders: Senders, tmp_path: Path) -> None:
    senders.authorise(NAME, HERE)
    store.close()
    (tmp_path / "policy.db").unlink()
    with pytest.raises(StoreUnavailable):
        senders.authorise(NAME, HERE)


def test_copies_of_accepted_mail_are_signed_and_tracked_whatever_became_of_the_login(store: Counting, senders: Senders) -> None:
    add_domain(store, "example.com")
    store.change_login(NAME, lambda login: replace(login, enabled=False))
    store.change_account("shop", lambda account: replace(account, state=State.SUSPENDED))
    site = senders.site_of_copies("shop", 1_700_000_000)
    assert site.now == 1_700_000_000
    assert [signer.domain for signer in site.signers("example.com")] == ["example.com"]
    assert site.tracking("example.com").base == "http://clicks.example.net"
    assert site.ring.keys == senders.ring().keys
    assert store.looked_up == 0


def test_a_key_that_is_added_signs_the_copies_that_come_later(store: Counting, senders: Senders) -> None:
    assert senders.site_of_copies("shop", 1).signers("example.com") == ()
    add_domain(store, "example.com")
    assert len(senders.site_of_copies("shop", 1).signers("example.com")) == 1
