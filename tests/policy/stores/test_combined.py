"""The database and a directory as one store."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.login import Login
from policy.options import Options
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.combined import Combined
from policy.stores.directory import Place
from policy.stores.existing import ExistingLogins, Search
from policy.stores.migrate import migrate
from policy.stores.own_schema import OwnLogins
from policy.stores.person import Person
from policy.stores.sql import SqlStore

LOCAL = Login(name="local", account="shop", options=Options(), created=2)
REMOTE = Login(name="remote", account="shop", options=Options(), created=1)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    found = SqlStore(url)
    found.add_account(Account(name="shop", state=State.APPROVED, created=1))
    found.add_login(LOCAL)
    yield found
    found.close()


@pytest.fixture
def own(local: SqlStore, place: Place) -> Combined:
    return Combined(local, OwnLogins(place), writable=True)


@pytest.fixture
def existing(local: SqlStore, place: Place, slapd) -> Combined:
    for name in ("local", "remote"):
        slapd.change(
            f"dn: uid={name},{place.base}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: x\nsn: x\nuserPassword: secret\n"
        )
    people = ExistingLogins(place, Search(filter="(uid={login})"), Person(attributes={}, account="shop"))
    return Combined(local, people, writable=False)


def test_new_logins_go_where_they_can(own: Combined, existing: Combined, local: SqlStore) -> None:
    own.add_login(REMOTE)
    assert (local.login("remote"), own.login("remote")) == (None, REMOTE)
    assert own.logins() == (REMOTE, LOCAL)
    new = replace(LOCAL, name="new")
    existing.add_login(new)
    assert local.login("new") == new
    assert existing.logins() == (LOCAL, new)


def test_a_change_is_made_where_the_login_is(own: Combined, local: SqlStore) -> None:
    own.add_login(REMOTE)
    for name in ("local", "remote"):
        assert own.change_login(name, lambda login: replace(login, label="new")).label == own.login(name).label == "new"
    assert local.login("local").label == "new"
    for name in ("local", "remote"):
        own.remove_login(name)
        assert own.login(name) is None
        with pytest.raises(NotFound, match=name):
            own.remove_login(name)


def test_no_directory_takes_the_place_of_a_login_of_the_database(existing: Combined, own: Combined, place: Place) -> None:
    assert existing.login("local") == LOCAL
    assert existing.login("remote").external
    assert existing.bind(existing.login("remote"), b"secret")
    OwnLogins(place).add_login(replace(LOCAL, label="other", account="other"))
    assert own.login("local") == LOCAL
    assert own.logins("shop") == (LOCAL,)


def test_a_name_is_taken_once_in_both(own: Combined, existing: Combined) -> None:
    own.add_login(REMOTE)
    for store, name in ((own, "remote"), (own, "local"), (existing, "remote"), (existing, "local")):
        with pytest.raises(Conflict, match="already"):
            store.add_login(replace(LOCAL, name=name))


def test_logins_of_the_database_need_no_directory(own: Combined, slapd) -> None:
    slapd.stop(9)
    assert own.login("local") == LOCAL
    assert own.change_login("local", lambda login: replace(login, enabled=False)).enabled is False
    for ask in (lambda: own.login("remote"), own.logins, lambda: own.add_login(REMOTE)):
        with pytest.raises(StoreUnavailable):
            ask()
    own.remove_login("local")
