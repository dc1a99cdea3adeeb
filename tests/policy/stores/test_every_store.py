"""The contract of LoginStore and AdminStore, run on every store there is."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.domains import Algorithm, SenderDomain, SigningKey
from policy.login import Login
from policy.options import Images, Options
from policy.stores import AdminStore, Conflict, NotFound
from policy.stores.migrate import migrate
from policy.stores.sql import SqlStore

ACCOUNT = Account(name="shop", state=State.PENDING, created=1_700_000_000)
LOGIN = Login(
    name="00112233445566778899aabbccddeeff",
    account="shop",
    password_hash="$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    options=Options(inlinecss=True, images=Images.HOSTED),
    label="web shop",
    created=1_700_000_001,
)
DOMAIN = SenderDomain(name="example.com", account="shop", created=1_700_000_002, clicks="go.example.com", https=False)
KEY = SigningKey(
    domain="example.com", selector="s1", algorithm=Algorithm.RSA, public="cHVibGlj", sealed=b"\x00\xff", created=1_700_000_002
)


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    found = SqlStore(url)
    yield found
    found.close()


@pytest.fixture
def filled(store: AdminStore) -> AdminStore:
    store.add_account(ACCOUNT)
    store.add_login(LOGIN)
    store.add_domain(DOMAIN, (KEY,))
    return store


def test_an_empty_store_knows_nobody(store: AdminStore) -> None:
    assert (store.login(LOGIN.name), store.account("shop"), store.signing_keys("shop")) == (None, None, ())
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
    other = replace(LOGIN, name="f" * 32, account="other")
    filled.add_login(other)
    assert filled.logins("other") == (other,)
    assert filled.logins("shop") == (LOGIN,)
    assert filled.domains("other") == ()
    assert filled.signing_keys("other") == ()


def test_every_change_is_seen_and_moves_the_revision(filled: AdminStore) -> None:
    seen = {filled.revision()}
    changes = [
        (lambda: filled.set_state("shop", State.APPROVED), lambda: filled.account("shop").state is State.APPROVED),
        (lambda: filled.set_options(LOGIN.name, Options(trackopens=True)), lambda: filled.login(LOGIN.name).options.trackopens),
        (lambda: filled.set_label(LOGIN.name, "new"), lambda: filled.login(LOGIN.name).label == "new"),
        (lambda: filled.set_enabled(LOGIN.name, False), lambda: not filled.login(LOGIN.name).enabled),
        (lambda: filled.set_password_hash(LOGIN.name, "h"), lambda: filled.login(LOGIN.name).password_hash == "h"),
        (lambda: filled.set_click_host("example.com", "", https=True), lambda: filled.domains("shop")[0].clicks == ""),
        (lambda: filled.remove_domain("example.com"), lambda: filled.signing_keys("shop") == filled.domains() == ()),
        (lambda: filled.remove_login(LOGIN.name), lambda: filled.login(LOGIN.name) is None),
    ]
    for change, visible in changes:
        change()
        assert visible()
        assert filled.revision() not in seen
        seen.add(filled.revision())


def settled(store: AdminStore) -> object:
    """The revision when the last write is no longer recent."""
    limit = time.monotonic() + 5
    while (found := store.revision()) != store.revision():
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def test_the_revision_stays_while_nothing_changes(filled: AdminStore) -> None:
    before = settled(filled)
    assert filled.login(LOGIN.name) == LOGIN
    assert settled(filled) == before
    filled.set_label(LOGIN.name, "new")
    assert filled.revision() != before
    assert settled(filled) != before


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
        lambda store: store.set_state("nobody", State.APPROVED),
        lambda store: store.set_options("nobody", Options()),
        lambda store: store.set_label("nobody", ""),
        lambda store: store.set_enabled("nobody", True),
        lambda store: store.set_password_hash("nobody", "h"),
        lambda store: store.remove_login("nobody"),
        lambda store: store.remove_domain("nobody"),
        lambda store: store.set_click_host("nobody", "", https=True),
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


def test_a_click_host_is_changed_of_one_domain(filled: AdminStore) -> None:
    other = replace(DOMAIN, name="example.org", clicks="clicks.example.org", https=True)
    filled.add_domain(other, ())
    filled.set_click_host("example.com", "clicks.example.com", https=True)
    assert filled.domains("shop") == (replace(DOMAIN, clicks="clicks.example.com", https=True), other)
    filled.set_click_host("example.com", "", https=False)
    assert filled.domains() == (replace(DOMAIN, clicks=""), other)


def test_several_threads_read_and_write_at_once(filled: AdminStore, in_threads) -> None:
    def work(number: int) -> None:
        try:
            for step in range(10):
                filled.set_label(LOGIN.name, f"{number}.{step}")
                assert filled.login(LOGIN.name).label.count(".") == 1
        finally:
            filled.close()

    in_threads(work)
    assert filled.login(LOGIN.name).label.endswith(".9")
