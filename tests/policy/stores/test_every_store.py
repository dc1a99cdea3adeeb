"""The contract of LoginStore and AdminStore, run on every store there is."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.click_hosts import HostHealth
from policy.domains import Algorithm, Rule, SenderDomain, SigningKey
from policy.limits import Limits
from policy.login import Dialect, Login, Password
from policy.options import Images, Options
from policy.stores import AdminStore, Conflict, NotFound
from policy.stores.combined import Combined
from policy.stores.migrate import migrate
from policy.stores.own_schema import OwnLogins
from policy.stores.sql import SqlStore

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"
ACCOUNT = Account(name="shop", state=State.PENDING, created=1_700_000_000, limits=Limits(sessions=9))
LOGIN = Login(
    name="00112233445566778899aabbccddeeff",
    account="shop",
    passwords=(
        Password(number=1, hash=HASH, created=1_700_000_001, until=5_000_000_000, idle=86_400),
        Password(number=2, hash=HASH + "2", created=1_700_000_003),
    ),
    options=Options(inlinecss=True, images=Images.HOSTED),
    forced=frozenset({"images", "trackopens"}),
    label="web shop",
    created=1_700_000_001,
    expires=5_000_000_000,
    networks=("192.0.2.0/24", "2001:db8::/32"),
    ports=(587, 465),
    senders=("news@example.com", "*.example.org"),
    dialects=frozenset({Dialect.MAILGUN, Dialect.SPARKPOST}),
    limits=Limits(messages_hour=10, recipients_day=100, recipients_message=5, message_size=1_000_000, sessions=2),
)
PLAIN = Login(
    name="f" * 32, account="shop", passwords=(Password(number=1, hash=HASH, created=1),), options=Options(), created=1_700_000_009
)
DOMAIN = SenderDomain(
    name="example.com", account="shop", created=1_700_000_002, clicks="go.example.com", https=False, rotates=True, strict=True
)
KEY = SigningKey(
    domain="example.com",
    selector="s1",
    account="shop",
    algorithm=Algorithm.RSA,
    public="cHVibGlj",
    sealed=b"\x00\xff",
    created=1_700_000_002,
    rule=Rule.PATTERN,
    condition="*@news.example.com",
    start=1_700_000_002,
    end=5_000_000_000,
    rotates=True,
    active=1_700_000_003,
    retired=1_700_000_004,
    seen=1_700_000_005,
)
HEALTH = HostHealth(
    host="clicks.example.com", https=True, certificates=True, links=False, reason="grüße", failing=5_000_000_000, changed=1
)
OWN = replace(KEY, selector="own", rule=Rule.DOMAIN, condition="", start=None, end=None, rotates=False, retired=None, seen=None)


@pytest.fixture(params=["sqlite", "postgresql", "ldap"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AdminStore]:
    """An empty store. With a directory, logins are there, as entries of our own schema, and everything else in SQLite."""
    url = request.getfixturevalue("postgresql").database() if kind == "postgresql" else f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    found: AdminStore = SqlStore(url)
    if kind == "ldap":
        directory = OwnLogins(request.getfixturevalue("place"))
        found = Combined(found, directory, writable=True)
    yield found
    found.close()


@pytest.fixture
def filled(store: AdminStore) -> AdminStore:
    store.add_account(ACCOUNT)
    store.add_login(LOGIN)
    store.add_domain(DOMAIN, (KEY,))
    return store


def set_state(store: AdminStore, state: State) -> Account:
    return store.change_account("shop", lambda account: replace(account, state=state))


def set_login(store: AdminStore, **fields: object) -> Login:
    return store.change_login(LOGIN.name, lambda login: replace(login, **fields))


def set_clicks(store: AdminStore, host: str) -> SenderDomain:
    return store.change_domain("example.com", lambda domain: replace(domain, clicks=host))


def test_an_empty_store_knows_nobody(store: AdminStore) -> None:
    assert (store.login(LOGIN.name), store.account("shop"), store.signing_keys("shop")) == (None, None, ())
    assert store.click_hosts() == store.click_hosts(frozenset({HEALTH.host})) == ()
    assert (store.accounts(), store.logins(), store.domains()) == ((), (), ())


def test_what_was_added_is_read_back_whole(filled: AdminStore) -> None:
    assert filled.login(LOGIN.name) == LOGIN
    assert filled.account("shop") == ACCOUNT
    assert filled.signing_keys("shop") == (KEY,)
    assert (filled.accounts(), filled.logins(), filled.domains()) == ((ACCOUNT,), (LOGIN,), (DOMAIN,))


@pytest.mark.parametrize("name", ["", "0011", LOGIN.name.upper(), LOGIN.name + " ", "' OR 1=1 --", "x\x00y", "é", "%"])
def test_only_the_exact_name_is_found(filled: AdminStore, name: str) -> None:
    assert filled.login(name) is None
    assert filled.account(name) is None


def test_lists_are_by_account(filled: AdminStore) -> None:
    filled.add_account(replace(ACCOUNT, name="other"))
    other = replace(PLAIN, account="other")
    filled.add_login(other)
    assert filled.logins("other") == (other,)
    assert filled.logins("shop") == (LOGIN,)
    assert filled.logins() == (LOGIN, other)
    assert filled.domains("other") == ()
    assert filled.signing_keys("other") == ()


def test_every_change_is_seen_and_moves_the_revision(filled: AdminStore, kind: str, wait_for) -> None:
    seen = {filled.revision()}
    name = LOGIN.name
    changes = [
        (lambda: set_state(filled, State.APPROVED), lambda: filled.account("shop").state is State.APPROVED),
        (lambda: set_login(filled, options=Options(trackopens=True)), lambda: filled.login(name).options.trackopens),
        (lambda: set_login(filled, label="new"), lambda: filled.login(name).label == "new"),
        (lambda: set_login(filled, enabled=False), lambda: not filled.login(name).enabled),
        (lambda: set_login(filled, passwords=PLAIN.passwords), lambda: filled.login(name).passwords == PLAIN.passwords),
        (lambda: set_login(filled, limits=Limits()), lambda: filled.login(name).limits == Limits()),
        (lambda: set_clicks(filled, ""), lambda: filled.domains("shop")[0].clicks == ""),
        (lambda: filled.change_click_hosts(lambda _: (HEALTH,)), lambda: filled.click_hosts() == (HEALTH,)),
        (lambda: filled.change_keys("example.com", lambda _: (OWN,)), lambda: filled.signing_keys("shop") == (OWN,)),
        (lambda: filled.remove_domain("example.com"), lambda: filled.signing_keys("shop") == filled.domains() == ()),
        (lambda: filled.remove_login(name), lambda: filled.login(name) is None),
    ]
    for change, visible in changes:
        change()
        assert visible()
        if kind == "sqlite":
            assert filled.revision() not in seen
            seen.add(filled.revision())
    wait_for(lambda: filled.revision() not in seen)


def settled(store: AdminStore) -> object:
    """The revision when the last write is no longer recent."""
    limit = time.monotonic() + 5
    while (found := store.revision()) != store.revision():
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def test_the_revision_stays_while_nothing_changes(filled: AdminStore, kind: str) -> None:
    before = settled(filled)
    if kind != "sqlite":  # it changes from time to time
        assert before == settled(filled) or settled(filled) == settled(filled)
        return
    assert filled.login(LOGIN.name) == LOGIN
    assert filled.change_click_hosts(lambda found: found) == ()  # as most looks at click hosts end
    assert settled(filled) == before
    set_login(filled, label="new")
    assert filled.revision() != before
    assert settled(filled) != before


def test_click_hosts_change_together_and_are_found_by_name(filled: AdminStore) -> None:
    first = HEALTH, replace(HEALTH, https=False, links=True, reason="", failing=None)
    second = replace(HEALTH, host="a.test:8443")
    assert filled.change_click_hosts(lambda found: (*found, *first, second)) == (second, first[1], first[0])
    assert filled.click_hosts() == (second, first[1], first[0])
    assert filled.click_hosts(frozenset({HEALTH.host, "b.test", "x\x00y"})) == (first[1], first[0])
    many = frozenset(f"{number}.test" for number in range(1200))
    assert filled.click_hosts(many) == filled.click_hosts(frozenset()) == ()
    assert filled.click_hosts(many | {second.host}) == (second,)
    with pytest.raises(Conflict, match="two states"):
        filled.change_click_hosts(lambda found: (found[0], replace(found[0], reason="another")))
    assert filled.click_hosts() == (second, first[1], first[0])
    changed = replace(second, certificates=not second.certificates, changed=2)
    assert filled.change_click_hosts(lambda found: (changed, found[2])) == (changed, first[0])
    assert filled.click_hosts() == (changed, first[0])


def test_names_are_taken_once(filled: AdminStore) -> None:
    for again in (
        lambda: filled.add_account(ACCOUNT),
        lambda: filled.add_login(LOGIN),
        lambda: filled.add_domain(DOMAIN, ()),
    ):
        with pytest.raises(Conflict, match="already"):
            again()


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.change_account("nobody", lambda account: account),
        lambda store: store.change_login("nobody", lambda login: login),
        lambda store: store.change_domain("nobody", lambda domain: domain),
        lambda store: store.remove_login("nobody"),
        lambda store: store.remove_domain("nobody"),
        lambda store: store.add_login(replace(LOGIN, account="nobody")),
        lambda store: store.add_domain(replace(DOMAIN, account="nobody"), ()),
    ],
)
def test_what_is_not_there_cannot_be_changed(store: AdminStore, change) -> None:
    with pytest.raises(NotFound, match="nobody"):
        change(store)
    assert (store.accounts(), store.logins(), store.domains()) == ((), (), ())


def test_a_domain_is_added_with_all_its_keys_or_not_at_all(filled: AdminStore) -> None:
    other = replace(DOMAIN, name="example.org")
    key = replace(KEY, domain="example.org")
    with pytest.raises(Conflict):
        filled.add_domain(other, (key, key))
    assert filled.domains() == (DOMAIN,)


def test_a_change_is_of_one_and_leaves_what_it_is_known_by(filled: AdminStore) -> None:
    other = replace(DOMAIN, name="example.org", clicks="clicks.example.org", https=True)
    filled.add_domain(other, ())
    filled.add_login(PLAIN)
    moved = replace(DOMAIN, name="example.net", account="other", created=1, clicks="clicks.example.com", https=True)
    assert filled.change_domain("example.com", lambda _: moved) == replace(DOMAIN, clicks="clicks.example.com", https=True)
    assert filled.domains("shop") == (replace(DOMAIN, clicks="clicks.example.com", https=True), other)
    taken = replace(PLAIN, label="new")
    assert filled.change_login(LOGIN.name, lambda _: taken) == replace(taken, name=LOGIN.name, created=LOGIN.created)
    assert filled.logins() == (replace(taken, name=LOGIN.name, created=LOGIN.created), PLAIN)
    assert filled.change_account("shop", lambda _: Account(name="x", state=State.APPROVED, created=1)).name == "shop"
    assert filled.account("shop") == replace(ACCOUNT, state=State.APPROVED, limits=Limits())


def test_keys_change_together_or_not_at_all(filled: AdminStore) -> None:
    filled.change_keys("example.com", lambda keys: (*keys, OWN))
    assert filled.signing_keys("shop") == (OWN, KEY)
    with pytest.raises(Conflict):
        filled.change_keys("example.com", lambda keys: (*keys, OWN))
    assert filled.signing_keys("shop") == (OWN, KEY)
    filled.change_keys("signer.example", lambda keys: (*keys, replace(OWN, domain="signer.example", rule=Rule.ALWAYS)))
    assert [key.domain for key in filled.signing_keys("shop")] == ["example.com", "example.com", "signer.example"]
    with pytest.raises(Conflict):
        filled.change_keys("signer.example", lambda keys: (replace(keys[0], account="nobody"),))


def test_a_domain_goes_with_the_keys_that_sign_its_mail(filled: AdminStore) -> None:
    filled.change_keys("example.com", lambda keys: (*keys, OWN))
    filled.remove_domain("example.com")
    assert filled.signing_keys("shop") == (KEY,)


def test_a_password_is_compared_by_whoever_has_it(filled: AdminStore) -> None:
    with pytest.raises(ValueError, match="has its password here"):
        filled.bind(LOGIN, b"password")


def test_several_threads_read_and_write_at_once(filled: AdminStore, in_threads) -> None:
    def work(number: int) -> None:
        try:
            for step in range(10):
                set_login(filled, label=f"{number}.{step}")
                assert filled.login(LOGIN.name).label.count(".") == 1
        finally:
            filled.close()

    in_threads(work)
    assert filled.login(LOGIN.name).label.endswith(".9")


def test_changes_at_the_same_time_lose_nothing(filled: AdminStore, in_threads) -> None:
    def work(number: int) -> None:
        try:
            for step in range(5):
                sender = f"{number}.{step}@example.com"
                filled.change_login(LOGIN.name, lambda login, sender=sender: replace(login, senders=(*login.senders, sender)))
                filled.change_keys("example.org", lambda keys, at=f"s{number}-{step}": (*keys, new_key(at)))
        finally:
            filled.close()

    def new_key(selector: str) -> SigningKey:
        return replace(OWN, domain="example.org", selector=selector)

    in_threads(work)
    assert len(filled.login(LOGIN.name).senders) == len(LOGIN.senders) + 20
    assert len(filled.signing_keys("shop")) == 21


def test_a_domain_that_is_removed_while_its_keys_change_leaves_none(filled: AdminStore) -> None:
    filled.change_keys("example.com", lambda keys: (*keys, OWN))
    changing, removed = threading.Event(), threading.Event()

    def remove() -> None:
        changing.wait(10)
        filled.remove_domain("example.com")
        removed.set()
        filled.close()

    def change(keys: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
        changing.set()
        assert not removed.wait(0.2)
        return keys

    remover = threading.Thread(target=remove)
    remover.start()
    filled.change_keys("example.com", change)
    remover.join()
    assert [key for key in filled.signing_keys("shop") if key.rule is Rule.DOMAIN] == []
