"""People of a directory that others keep: found by a filter, verified by logging in as them."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ldap
import pytest

from policy.identity import NOBODY
from policy.login import Login
from policy.options import Images, Options
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.directory import Place, normal_dn
from policy.stores.existing import ExistingLogins, Search
from policy.stores.person import Group, Person

PEOPLE = """
dn: uid=alice,{base}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Example
mail: alice@example.com
mail: Sales@Example.com
employeeType: trackclicks=on images=hosted
departmentNumber: shop
userPassword: wonder land

dn: uid=bob,{base}
objectClass: inetOrgPerson
uid: bob
cn: Bob (the *)
sn: Example
carLicense: FALSE
userPassword: builder

dn: uid=carol,{base}
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: Example
carLicense: TRUE
userPassword: singer

dn: cn=senders,{base}
objectClass: groupOfNames
cn: senders
member: uid=bob,{base}
member: uid=carol,{base}

dn: cn=plain \\2B (old),{base}
objectClass: groupOfNames
cn: plain + (old)
member: uid=bob,{base}
"""
PLAIN = Search(filter="(&(objectClass=inetOrgPerson)(uid={login}))", member_of="memberOf")
ATTRIBUTES = {
    "account": "departmentNumber",
    "senders": "mail",
    "options": "employeeType",
    "disabled": "carLicense",
    "label": "cn",
}


@pytest.fixture
def people(slapd, place: Place) -> Place:
    slapd.change(PEOPLE.format(base=place.base))
    return place


@pytest.fixture
def make_store(people: Place) -> Callable[..., ExistingLogins]:
    """A store of the people, in which members of a group may belong to an account and get options."""

    def make(search: Search = PLAIN, attributes: dict[str, str] = ATTRIBUTES, account: str = "", **fields: object):
        groups = (
            Group(dn=normal_dn(f"CN=Senders, {people.base.upper()}"), options={"trackopens": "forced-on"}, account="members"),
            Group(dn=normal_dn(f"cn=plain \\+ \\28old\\29,{people.base}"), options={"trackopens": "off"}, account="old"),
        )
        place = replace(people, **fields)
        return ExistingLogins(
            place, replace(search, group_base=place.base), Person(attributes=attributes, groups=groups, account=account)
        )

    return make


def person(name: str, **fields: object) -> Login:
    return replace(Login(name=name, account="shop", options=Options(), created=0, external=True), **fields)


def named(login: Login | None) -> Login:
    """The login without the time its entry was made."""
    assert login is not None
    assert login.created > 1_700_000_000
    return replace(login, created=0)


def test_a_person_is_found_with_what_the_entry_says(make_store) -> None:
    assert named(make_store().login("alice")) == person(
        "alice",
        label="Alice",
        options=Options(trackclicks=True, images=Images.HOSTED),
        senders=("alice@example.com", "sales@example.com"),
    )


@pytest.mark.parametrize(
    "search",
    [PLAIN, replace(PLAIN, member_of="", group_filter="(&(objectClass=groupOfNames)(member={dn}))")],
    ids=["memberOf", "search"],
)
def test_groups_give_options_and_an_account_the_first_one_first(make_store, search: Search) -> None:
    store = make_store(search)
    forced = {"options": Options(trackopens=True), "forced": frozenset({"trackopens"}), "account": "members"}
    assert named(store.login("bob")) == person("bob", label="Bob (the *)", senders=(NOBODY,), **forced)
    assert named(store.login("carol")) == person("carol", label="Carol", enabled=False, senders=(NOBODY,), **forced)


def test_who_belongs_to_no_account_is_no_login(make_store) -> None:
    store = make_store(attributes={})
    assert store.login("alice") is None
    assert named(make_store(attributes={}, account="all").login("alice")).account == "all"


def test_the_directory_compares_the_password(make_store) -> None:
    store = make_store()
    alice = store.login("alice")
    assert store.bind(alice, b"wonder land")
    for wrong in (b"wonderland", b"wonder land ", b"WONDER LAND", b"builder", b"x" * 5000, b"\xff\xfe", b"w\x00"):
        assert not store.bind(alice, wrong), wrong
    assert not store.bind(person("nobody"), b"wonder land")
    with pytest.raises(ValueError, match="elsewhere"):
        store.bind(replace(alice, external=False), b"wonder land")


def test_the_server_would_let_an_empty_password_in_and_is_not_asked(slapd, make_store, people: Place) -> None:
    asked = ldap.initialize(slapd.url)
    asked.simple_bind_s(f"uid=alice,{people.base}", "")  # a success, for the server
    assert asked.whoami_s() == ""
    asked.unbind_s()
    store = make_store()
    alice = store.login("alice")
    slapd.pause()  # whoever asks now waits, and fails
    assert store.bind(alice, b"") is False
    assert store.bind(alice, b"wonder\0land") is False


def test_a_locked_person_is_refused_with_the_right_password(slapd, make_store, people: Place) -> None:
    slapd.change(
        f"dn: cn=policy,{slapd.base}\nobjectClass: person\nobjectClass: pwdPolicy\ncn: policy\nsn: policy\n"
        "pwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: 2\n"
    )
    try:
        store = make_store()
        bob = store.login("bob")
        assert store.bind(bob, b"builder")
        assert [store.bind(bob, b"guess") for _ in range(2)] == [False, False]
        assert store.bind(bob, b"builder") is False
        assert store.bind(store.login("alice"), b"wonder land")
    finally:
        slapd.change(f"dn: cn=policy,{slapd.base}\nchangetype: delete\n")


@pytest.mark.parametrize(
    "name",
    [
        *("*", "a*", "alice)(uid=*", "*)(uid=*", "*))(|(uid=*", "alice\\", "\\2a", "\\00", "\x00", "alice\x00", "(alice)", "&"),
        *(
            "uid=alice",
            "alice,dc=example",
            "alice+cn=Alice",
            "é",
            "\udcff",
            "a" * 65,
            "x" * 100_000,
            "Alice",
            " alice",
            "",
            "alice\n",
        ),
    ],
)
def test_what_is_no_name_finds_nobody(make_store, name: str) -> None:
    store = make_store()
    assert store.login(name) is None
    assert store.bind(person(name), b"wonder land") is False


def test_values_are_escaped_where_they_become_part_of_a_filter(slapd, make_store, people: Place) -> None:
    slapd.change(
        f"dn: cn=D*(x)\\5C,{people.base}\nobjectClass: inetOrgPerson\nuid: dave\ncn: D*(x)\\\nsn: x\ndepartmentNumber: shop\n"
    )
    search = replace(PLAIN, member_of="", group_filter="(&(objectClass=groupOfNames)(member={dn}))")
    assert make_store(search).login("dave").account == "shop"
    slapd.change(f"dn: cn=senders,{people.base}\nchangetype: modify\nadd: member\nmember: cn=D*(x)\\5C,{people.base}\n")
    assert make_store(search).login("dave").options.trackopens


def test_two_entries_are_nobody_and_told_once(slapd, make_store, people: Place, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        place = f"ou=more{number},{people.base}"
        slapd.change(f"dn: {place}\nobjectClass: organizationalUnit\nou: more{number}\n")
        slapd.change(f"dn: uid=alice,{place}\nobjectClass: inetOrgPerson\nuid: alice\ncn: A\nsn: A\nuserPassword: wonder land\n")
        store = make_store()
        with caplog.at_level(logging.WARNING, "smtpeter.directory"):
            assert store.login("alice") is store.login("alice") is None  # two of them, then three
            assert store.bind(person("alice"), b"wonder land") is False
        assert [record.getMessage() for record in caplog.records] == ["login=alice action=ignored reason=several_entries"]
        caplog.clear()


def test_a_referral_is_no_verdict_and_is_not_followed(slapd, make_slapd, make_store, people: Place, wait_for) -> None:
    rogue = make_slapd()
    slapd.change(
        f"dn: ou=away,{people.base}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\nref: {rogue.url}/ou=away\n"
    )
    store = make_store()
    assert store.login("alice").account == "shop"  # who is here is found
    with pytest.raises(StoreUnavailable, match="another server"):
        store.login("nobody")
    away = make_store(base=f"ou=away,{people.base}")
    with pytest.raises(StoreUnavailable, match="another server"):
        away.login("alice")
    with pytest.raises(StoreUnavailable, match="another server"):
        away.bind(person("alice"), b"wonder land")
    assert rogue.connections() == []


def test_an_entry_that_cannot_be_read_is_no_verdict(slapd, make_store, people: Place) -> None:
    slapd.change(f"dn: uid=alice,{people.base}\nchangetype: modify\nreplace: employeeType\nemployeeType: trackclicks=maybe\n")
    store = make_store()
    with pytest.raises(StoreUnavailable, match=r"entry of alice cannot be read: trackclicks cannot be 'maybe'"):
        store.login("alice")
    assert store.login("bob").name == "bob"


def test_people_are_changed_by_those_who_keep_them(make_store) -> None:
    store = make_store()
    assert store.logins() == store.logins("shop") == ()
    with pytest.raises(Conflict, match="kept in the directory"):
        store.change_login("alice", lambda login: replace(login, enabled=False))
    with pytest.raises(Conflict, match="kept in the directory"):
        store.remove_login("alice")
    with pytest.raises(Conflict):
        store.add_login(person("new"))
    with pytest.raises(NotFound, match="nobody"):
        store.remove_login("nobody")
    assert store.login("alice").enabled


@pytest.mark.parametrize("text", ["(uid={login}", "uid={login})", "(&(uid={login})", "(uid{login})", ""])
def test_a_filter_that_is_none_is_told_at_the_start(place: Place, text: str) -> None:
    with pytest.raises(ValueError, match="no filter"):
        ExistingLogins(place, Search(filter=text), Person(attributes={}))


def test_the_password_of_a_person_is_never_tried_over_the_connection_that_looks(slapd, make_store, people: Place) -> None:
    """After a right and a wrong password look-ups go on as before, by whom the settings name."""
    slapd.change(f"dn: uid=alice,{people.base}\nchangetype: modify\nreplace: description\ndescription: x\n")
    store = make_store()
    alice = store.login("alice")
    for password in (b"wonder land", b"wrong"):
        store.bind(alice, password)
        assert named(store.login("alice")) == replace(alice, created=0)


def test_somebody_who_may_not_look_is_told_why(make_store, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    with pytest.raises(StoreUnavailable, match="cannot log in: its password is wrong"):
        make_store(bind_password_file=file).login("alice")
    file.write_text("\n")
    with pytest.raises(StoreUnavailable, match="cannot log in"):
        make_store(bind_password_file=file).login("alice")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        make_store(bind_password_file=tmp_path / "none").login("alice")
