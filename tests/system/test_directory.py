"""Logins of a directory, through a real OpenLDAP and a real Postfix: sending, and what is said when the directory fails."""

import base64
import json
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

pytestmark = pytest.mark.system

CACHE = 30  # seconds; longer than anything that is tried while a directory is away, failed logins with their delays included

PEOPLE = """
dn: uid=alice,{base}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Example
mail: alice@example.com
userPassword: wonder land

dn: uid=bob,{base}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Example
mail: bob@example.com
userPassword: builder

dn: uid=carol,{base}
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: Example
mail: carol@example.com
userPassword: silent night

dn: cn=trackers,{base}
objectClass: groupOfNames
cn: trackers
member: uid=alice,{base}

dn: ou=twins,{base}
objectClass: organizationalUnit
ou: twins

dn: uid=twin,{base}
objectClass: inetOrgPerson
uid: twin
cn: One
sn: Twin
userPassword: same

dn: uid=twin,ou=twins,{base}
objectClass: inetOrgPerson
uid: twin
cn: Other
sn: Twin
userPassword: same
"""
MESSAGE = (
    b"From: Alice <alice@example.com>\r\nTo: reader@example.net\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: text/html\r\n\r\n<html><body><a href="https://www.example.com/offer">offer</a></body></html>\r\n'
)
ALICE, WRONG = ("alice", "wonder land"), ("alice", "wonderland")


def with_directory(service, slapd, authority, base: str, more: str):
    """The service, started again with the directory; its account `shop` may send."""
    service.run("account", "add", "shop", "--approve")
    service.stop()
    service.settings = service.folder / "settings.toml"
    service.settings.write_text(
        f'[directory]\nurls = ["{slapd.url}"]\nca = "{authority.file}"\nbase = "{base}"\nbind_dn = "{slapd.admin}"\n'
        f'bind_password_file = "{slapd.password_file}"\ncache = {CACHE}\n{more}'
    )
    service.start()
    return service


@pytest.fixture(scope="module")
def own(make_service, slapd_server, authority):
    """A service with logins as entries of our own schema."""
    return with_directory(make_service(), slapd_server, authority, slapd_server.branch(), 'layout = "smtpeter"\n')


@pytest.fixture(scope="module")
def base(slapd_server) -> str:
    return slapd_server.branch()


@pytest.fixture(scope="module")
def people(make_service, slapd_server, authority, base: str):
    """A service whose logins are people, and one of its own database."""
    slapd_server.change(PEOPLE.format(base=base))
    service = make_service()
    service.run("account", "add", "local", "--approve")
    service.local = service.login("--label", "local", account="local")
    more = (
        'layout = "existing"\naccount = "shop"\nattributes = { label = "cn", senders = "mail" }\n'
        f'[[directory.groups]]\ndn = "cn=trackers,{base}"\noptions = {{ trackclicks = "on" }}\n'
    )
    return with_directory(service, slapd_server, authority, base, more)


@pytest.fixture
def healthy(slapd, people, wait) -> Callable[[], object]:
    """Returns when people can log in."""
    return lambda: wait(lambda: auth(people, *ALICE) == 235, "logging in again")


def auth(service, name: str, password: str) -> int:
    """The code of the answer to AUTH PLAIN."""
    with service.client() as client:
        code, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())
        return code


def offer(client: smtplib.SMTP, sender: str = "alice@example.com") -> int:
    """The code of the answer to the first of MAIL and RCPT that is refused, else to RCPT."""
    try:
        code, _ = client.docmd(f"MAIL FROM:<{sender}>")
        return code if code != 250 else client.docmd("RCPT TO:<reader@example.net>")[0]
    finally:
        client.rset()


def until(client: smtplib.SMTP, wanted: int, pause: float, sender: str = "alice@example.com") -> None:
    """Offers mail again and again, slowly: Postfix has little patience with commands that lead to nothing."""
    limit = time.monotonic() + 2 * CACHE
    while (code := offer(client, sender)) != wanted:
        assert time.monotonic() < limit, code
        time.sleep(pause)


@contextmanager
def session(service, name: str, password: str) -> Iterator[smtplib.SMTP]:
    with service.client() as client:
        client.login(name, password)
        yield client


def test_a_login_of_our_own_schema_lives_in_the_directory_and_sends(own, slapd, wait) -> None:
    base = own.settings.read_text().partition('base = "')[2].partition('"')[0]
    login = own.login("trackclicks=forced-true", "--label", "web shop")
    entry = slapd.search(base, f"(smtpeterName={login.name})")
    for line in ("smtpeterAccount: shop", "smtpeterOption: trackclicks=forced-true", "smtpeterLabel: web shop"):
        assert line in entry
    assert login.password not in entry
    assert b"https://clicks." in own.through(login, MESSAGE).body
    assert [row["name"] for row in json.loads(own.run("login", "list", "--json"))] == [login.name]
    own.run("login", "set", login.name[:12], "trackclicks=false")
    assert "trackclicks" not in slapd.search(base, f"(smtpeterName={login.name})")
    wait(lambda: b"https://clicks." not in own.through(login, MESSAGE).body, "the option taken back")
    assert json.loads(own.run("login", "show", login.name, "--json"))["label"] == "web shop"
    with own.client(login) as client:
        assert offer(client) == 250
        own.run("login", "disable", login.name)
        assert auth(own, login.name, login.password) == 535
        until(client, 554, 0.5)
    own.run("login", "remove", login.name)
    assert login.name not in slapd.search(base)


def test_a_person_logs_in_by_the_directorys_rules_and_sends(people, base: str, slapd) -> None:
    with session(people, "Alice", "wonder land") as client:  # a name of a directory has no case
        assert offer(client) == 250
    for name, password in (WRONG, ("alice", ""), ("nobody", "wonder land"), ("twin", "same"), ("*", "wonder land"), ("a*", "x")):
        assert auth(people, name, password) == 535, (name, password)
    assert "login=twin action=ignored reason=several_entries" in people.log
    shown = json.loads(people.run("login", "show", "alice", "--json"))
    assert (shown["account"], shown["label"]) == ("shop", "Alice")
    assert [row["name"] for row in json.loads(people.run("login", "list", "--json"))] == [people.local.name]
    assert "kept in the directory" in people.run("login", "set", "alice", "trackclicks=off", status=2)


def test_the_options_of_a_person_come_from_groups(people, transaction) -> None:
    for name, password, tracked in ((*ALICE, True), ("bob", "builder", False)):
        message = MESSAGE.replace(b"alice@", name.encode() + b"@")
        with session(people, name, password) as client:
            until(client, 250, 2.0, f"{name}@example.com")  # each process finds out by itself that the directory is back
            queue_id = transaction(client, message, mail_from=f"{name}@example.com")
            assert offer(client, "carol@example.com") in (550, 553)  # the addresses of the entry, and no others
        assert (b"https://clicks." in people.captured(queue_id).body) is tracked


def trouble(service, healthy: Callable[[], object], begin: Callable[[], object], end: Callable[[], object], told: str) -> None:
    """While the directory is in trouble: 454 for its logins, nothing at all for others, and who has sent goes on. The log tells
    of `told`.
    """
    healthy()
    before = len(service.log)
    with session(service, *ALICE) as client:
        assert offer(client) == 250
        begin()
        try:
            assert auth(service, *ALICE) == 454
            assert auth(service, *WRONG) == 454
            assert auth(service, "alice", "") in (454, 535)
            assert auth(service, service.local.name, service.local.password) == 235
            assert auth(service, service.local.name, "wrong") == 535
            assert service.captured(service.send(service.local, MESSAGE)).body
            assert offer(client) == 250
            assert told in service.log[before:]
        finally:
            end()
    healthy()


def test_a_directory_that_is_killed(people, slapd, healthy) -> None:
    trouble(people, healthy, lambda: slapd.stop(9), slapd.start, "Can't contact LDAP server")


def test_a_directory_that_hangs(people, slapd, healthy) -> None:
    trouble(people, healthy, slapd.pause, slapd.resume, "no answer within 2.0 s")


def test_a_certificate_that_has_expired(people, slapd, authority, healthy) -> None:
    def begin() -> None:
        slapd.stop()
        slapd.present(authority.issue("127.0.0.1", lifetime=timedelta(days=-1)))
        slapd.start()

    def end() -> None:
        slapd.stop()
        slapd.present(authority.issue("127.0.0.1"))
        slapd.start()

    trouble(people, healthy, begin, end, "the certificate has expired")


def test_a_referral(people, slapd, base: str, make_slapd, healthy) -> None:
    rogue = make_slapd()

    def renamed(dn: str, name: str) -> str:
        return f"dn: {dn}\nchangetype: modrdn\nnewrdn: ou={name}\ndeleteoldrdn: 1\n\n"

    name, aside = base.partition(",")[0].removeprefix("ou="), f"ou=aside,{slapd.base}"

    def begin() -> None:
        slapd.change(renamed(base, "aside"))
        slapd.change(f"dn: {base}\nobjectClass: referral\nobjectClass: extensibleObject\nou: {name}\nref: {rogue.url}/{base}\n")

    def end() -> None:
        slapd.change(f"dn: {base}\ncontrol: 2.16.840.1.113730.3.4.2 true\nchangetype: delete\n")
        slapd.change(renamed(aside, name))

    trouble(people, healthy, begin, end, "it refers to another server")
    assert rogue.connections() == []


def test_who_has_sent_goes_on_for_the_time_of_the_settings_and_no_longer(people, slapd, healthy) -> None:
    healthy()
    with session(people, *ALICE) as client, session(people, "carol", "silent night") as silent:
        assert offer(client) == 250
        slapd.stop(9)
        assert offer(client) == 250
        assert offer(silent, "carol@example.com") == 451  # never asked about before, in no other test either
        until(client, 451, 1.0)
        with people.client(people.local) as other:
            assert offer(other) == 250
        slapd.start()
        until(client, 250, 2.0)


def test_the_check_tells_what_is_wrong_with_the_directory(people, slapd, healthy) -> None:
    healthy()

    def told() -> dict[str, str]:
        command = people.command("check", "--json")
        rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        (row,) = (row for row in rows if row["what"] == "directory")
        return row

    assert told() == {"what": "directory", "status": "ok", "advice": f"{slapd.url}: people are found"}
    slapd.stop(9)
    row = told()
    assert row["status"] == "error"
    assert slapd.url in row["advice"]
