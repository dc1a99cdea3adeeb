"""Settings of a directory, those of the layouts in wide use, and the stores made of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.login import Login
from policy.options import Images, Options
from policy.stores.combined import Combined
from policy.stores.migrate import migrate
from policy.stores.remembered import Remembered
from policy.stores.sql import SqlStore
from smtpeter import wiring
from smtpeter.__main__ import run
from smtpeter.directory import open_directory
from smtpeter.errors import UserError
from smtpeter.settings import Settings, load

# What Active Directory and FreeIPA have and OpenLDAP has not, with rules to compare by.
LAYOUTS = """
dn: cn=layouts,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: layouts
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.2 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.3 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.4 NAME 'accountExpires' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.5 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.6 NAME 'krbPrincipalExpiration' EQUALITY generalizedTimeMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.99.7 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
olcObjectClasses: ( 1.3.6.1.4.1.32473.99.8 NAME 'user' SUP inetOrgPerson STRUCTURAL
  MAY ( sAMAccountName $ userPrincipalName $ userAccountControl $ accountExpires $ proxyAddresses ) )
olcObjectClasses: ( 1.3.6.1.4.1.32473.99.9 NAME 'posixPerson' SUP inetOrgPerson STRUCTURAL
  MAY ( nsAccountLock $ krbPrincipalExpiration ) )
"""
ACTIVE_DIRECTORY = """
filter = "(&(objectClass=user)(|(sAMAccountName={login})(userPrincipalName={login})))"
attributes = { label = "displayName", senders = "proxyAddresses", disabled = "userAccountControl", expires = "accountExpires" }
"""
FREEIPA = """
filter = "(&(objectClass=posixPerson)(uid={login}))"
attributes = { label = "cn", senders = "mail", disabled = "nsAccountLock", expires = "krbPrincipalExpiration" }
"""
GROUP = """
[[directory.groups]]
dn = "CN=Mail Senders,{base}"
account = "shop"
options = {{ trackclicks = "on", images = "forced-hosted" }}
"""


@pytest.fixture(scope="module")
def wide(make_slapd):
    """A server that knows the words of other directories."""
    return make_slapd(None, LAYOUTS)


@pytest.fixture
def make_settings(tmp_path: Path, authority) -> Callable[..., Settings]:
    def make(server, base: str, text: str) -> Settings:
        file = tmp_path / "smtpeter.toml"
        file.write_text(
            f'[directory]\nurls = ["{server.url}"]\nca = "{authority.file}"\nbase = "{base}"\nlayout = "existing"\n'
            f'bind_dn = "{server.admin}"\nbind_password_file = "{server.password_file}"\n{text}{GROUP.format(base=base)}'
        )
        return load(file)

    return make


def test_people_of_active_directory_are_logins(wide, make_settings) -> None:
    base = wide.branch()
    wide.change(
        f"dn: CN=Dana Example,{base}\nobjectClass: user\ncn: Dana Example\nsn: Example\ndisplayName: Dana\nsAMAccountName: Dana\n"
        "userPrincipalName: dana@corp.example.com\nuserAccountControl: 512\naccountExpires: 133801632000000000\n"
        "proxyAddresses: SMTP:dana@example.com\nproxyAddresses: x500:/o=example\nuserPassword: example\n\n"
        f"dn: CN=Away,{base}\nobjectClass: user\ncn: Away\nsn: Away\nsAMAccountName: away\nuserAccountControl: 514\n"
        "accountExpires: 9223372036854775807\n\n"
        f"dn: CN=Guest,{base}\nobjectClass: user\ncn: Guest\nsn: Guest\nsAMAccountName: guest\nuserAccountControl: 512\n\n"
        f"dn: CN=Mail Senders,{base}\nobjectClass: groupOfNames\ncn: Mail Senders\nmember: CN=Dana Example,{base}\n"
        f"member: CN=Away,{base}\n"
    )
    directory = open_directory(make_settings(wide, base, ACTIVE_DIRECTORY))
    for name in ("dana", "dana@corp.example.com"):
        login = directory.login(name)
        assert (login.name, login.account, login.label) == (name, "shop", "Dana")
        assert (login.enabled, login.expires, login.senders) == (True, 1_735_689_600, ("dana@example.com",))
        assert (login.options, login.forced) == (Options(trackclicks=True, images=Images.HOSTED), {"images"})
        assert directory.bind(login, b"example")
        assert not directory.bind(login, b"Example")
    away = directory.login("away")
    assert (away.enabled, away.expires) == (False, None)
    assert directory.login("guest") is None  # in no group that has an account
    assert directory.count() == 2


def test_people_of_freeipa_are_logins(wide, make_settings) -> None:
    base = wide.branch()
    wide.change(
        f"dn: uid=erin,{base}\nobjectClass: posixPerson\nuid: erin\ncn: Erin\nsn: Example\nmail: erin@example.com\n"
        "nsAccountLock: FALSE\nkrbPrincipalExpiration: 20250101000000Z\nuserPassword: example\n\n"
        f"dn: uid=locked,{base}\nobjectClass: posixPerson\nuid: locked\ncn: L\nsn: L\nnsAccountLock: TRUE\n\n"
        f"dn: cn=mail senders,{base}\nobjectClass: groupOfNames\ncn: mail senders\nmember: uid=erin,{base}\n"
        f"member: uid=locked,{base}\n"
    )
    directory = open_directory(make_settings(wide, base, FREEIPA))
    erin = directory.login("erin")
    assert (erin.account, erin.label, erin.senders, erin.expires) == ("shop", "Erin", ("erin@example.com",), 1_735_689_600)
    assert directory.bind(erin, b"example")
    assert not directory.login("locked").enabled


def test_without_a_directory_the_database_is_the_store(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert isinstance(wiring.remembering(settings, wiring.make_store(settings)), SqlStore)


def test_a_store_elsewhere_is_remembered_for_those_who_ask_about_senders(slapd, make_settings, tmp_path: Path) -> None:
    settings = make_settings(slapd, slapd.branch(), "")
    store = wiring.make_store(settings)
    assert isinstance(store, Combined)
    assert isinstance(wiring.remembering(settings, store), Remembered)
    server = Settings(data=tmp_path, database="postgresql+psycopg://x@/y")
    assert isinstance(wiring.remembering(server, wiring.make_store(server)), Remembered)


def test_the_layout_decides_who_keeps_new_logins(slapd, make_settings) -> None:
    base = slapd.branch()
    settings = make_settings(slapd, base, "")
    settings.data.mkdir()
    migrate(settings.database_url)
    for layout in ("smtpeter", "existing"):
        changed = settings.model_copy(update={"directory": settings.directory.model_copy(update={"layout": layout})})
        store = wiring.make_store(changed)
        if layout == "smtpeter":
            store.add_account(Account(name="shop", state=State.APPROVED, created=1))
        store.add_login(Login(name=layout, account="shop", options=Options(), created=1))
        assert (layout in slapd.search(base)) is (layout == "smtpeter")
        store.close()


def test_a_login_may_stay_in_the_database(slapd, make_settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = slapd.branch()
    settings = make_settings(slapd, base, "")
    file = tmp_path / "smtpeter.toml"
    file.write_text(file.read_text().replace("existing", "smtpeter"))
    made = {}
    for words in ((), ("--local",)):
        assert run(["--settings", str(file), "account", "add", f"shop{len(words)}", "--approve"]) == 0
        capsys.readouterr()
        assert run(["--settings", str(file), "login", "add", "--account", f"shop{len(words)}", "--json", *words]) == 0
        made[words] = json.loads(capsys.readouterr().out)["name"]
    listed = slapd.search(base)
    assert (made[()] in listed, made[("--local",)] in listed) == (True, False)
    store = SqlStore(settings.database_url)
    assert [login.name for login in store.logins()] == [made[("--local",)]]
    store.close()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('urls = ["http://ldap.example.com"]\nbase = "dc=x"', "directory.urls cannot be .*: it takes addresses such as ldaps://"),
        ('urls = ["ldap://"]\nbase = "dc=x"', "it takes addresses"),
        ('urls = ["ldaps://a.example.com/dc=x??sub"]\nbase = "dc=x"', "it takes addresses"),
        ('urls = ["ldaps://a.example.com ldap://b.example.com"]\nbase = "dc=x"', "it takes addresses|clear|port|could not be"),
        ('urls = ["ldap://me:secret@a.example.com"]\nbase = "dc=x"', "it takes addresses"),
        ('urls = ["ldap://ldap.example.com"]\nbase = "dc=x"\nstarttls = false', "would carry passwords in the clear"),
        ('urls = ["ldaps://a.example.com", "ldap://192.0.2.1"]\nbase = "dc=x"\nstarttls = false', "in the clear"),
        ('urls = ["ldaps://ldap.example.com"]', "urls go with base"),
        ('urls = ["ldaps://a.example.com"]\nbase = "dc=x"\nbind_dn = "cn=x"', "go together"),
        ('urls = ["ldaps://a.example.com"]\nbase = "dc=x"\nbind_password_file = "p"', "go together"),
        ('filter = "(uid=%s)"', "directory.filter cannot be .*{login} in it"),
        ('group_filter = "(member=x)"', "directory.group_filter cannot be .*{dn} in it"),
        ('attributes = { colour = "x" }', "directory.attributes.colour"),
        ('[[directory.groups]]\ndn = "cn=x"\noptions = { trackclicks = "maybe" }', "trackclicks cannot be 'maybe'"),
        ('[[directory.groups]]\ndn = "cn=x"\noptions = { colour = "blue" }', "there is no option 'colour'"),
        ("timeout = 4", "directory.timeout cannot be 4"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text(f"[directory]\n{text}\n")
    with pytest.raises(UserError, match=sentence) as told:
        load(file)
    assert "Value error" not in str(told.value)


@pytest.mark.parametrize(
    "urls",
    [
        '"ldap://localhost:389"',
        '"ldap://127.0.0.1"',
        '"ldap://[::1]:389"',
        '"ldapi://%2Frun%2Fslapd%2Fldapi"',
        '"ldaps://a.example.com"',
    ],
)
def test_what_does_not_leave_the_host_may_be_plain(tmp_path: Path, urls: str) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text(f'[directory]\nurls = [{urls}]\nbase = "dc=x"\nstarttls = false\n')
    assert len(load(file).directory.urls) == 1


def test_files_of_the_directory_are_relative_to_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text('[directory]\nca = "ca.pem"\nbind_dn = "cn=x"\nbind_password_file = "/p"\n')
    assert (load(file).directory.ca, load(file).directory.bind_password_file) == (tmp_path / "ca.pem", Path("/p"))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("base", "example.com", "'example.com' is no name of an entry"),
        ("filter", "(uid={login}", "is no filter"),
    ],
)
def test_names_and_filters_that_are_none_are_told_at_the_start(
    slapd, make_settings, field: str, value: str, sentence: str
) -> None:
    settings = make_settings(slapd, "dc=example,dc=com", "")
    with pytest.raises(UserError, match=sentence):
        wiring.make_store(settings.model_copy(update={"directory": settings.directory.model_copy(update={field: value})}))
