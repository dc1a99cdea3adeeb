"""What a login or an account may do, as it is typed and as it is shown."""

import json
from pathlib import Path

import pytest

from smtpeter.moments import moment


@pytest.fixture
def name(shop) -> str:
    return str(json.loads(shop("login", "add", "--account", "shop", "--json"))["name"])


def test_everything_may_be_given_when_a_login_is_made(shop) -> None:
    words = ("--sender", "News@Example.COM", "--sender", "*.example.org", "--network", "192.0.2.7/24", "--network", "2001:DB8::1")
    words += (
        "--port",
        "587",
        "--port",
        "465",
        "--dialect",
        "MailGun",
        "--limit",
        "messages-hour=100",
        "--limit",
        "message-size=1M",
    )
    made = json.loads(
        shop("login", "add", "--account", "shop", "--json", *words, "--expires", "2100-01-31", "trackclicks=forced-on")
    )
    shown = json.loads(shop("login", "show", made["name"], "--json"))
    assert shown["senders"] == ["News@example.com", "*.example.org"]
    assert shown["networks"] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert shown["ports"] == [587, 465]
    assert shown["dialects"] == ["mailgun"]
    assert shown["expires"] == "2100-02-01 00:00:00"
    assert {limit: word for limit, word in shown["limits"].items() if word != "none"} == {
        "messages-hour": "100",
        "message-size": "1048576",
    }
    assert shown["options"]["trackclicks"] == "forced-true"
    text = shop("login", "show", made["name"])
    for line in ("2001:db8::1/128", "trackclicks=forced-true", "messages-hour=100", "sessions=none", "mailgun"):
        assert line in text


def test_what_is_not_named_stays_and_an_empty_word_empties(shop, name: str) -> None:
    shop("login", "set", name, "--sender", "example.com", "--port", "587", "--limit", "sessions=2", "trackopens=forced-off")
    shop("login", "set", name, "--limit", "messages-hour=5", "--expires", "2100-01-31 12:00")
    shown = json.loads(shop("login", "show", name, "--json"))
    assert (shown["senders"], shown["ports"], shown["expires"]) == (["example.com"], [587], "2100-01-31 12:00:00")
    assert (shown["limits"]["sessions"], shown["limits"]["messages-hour"]) == ("2", "5")
    assert shown["options"]["trackopens"] == "forced-false"
    shop("login", "set", name, "--sender", "", "--port", "", "--limit", "sessions=none", "--expires", "never", "trackopens=on")
    shown = json.loads(shop("login", "show", name, "--json"))
    assert (shown["senders"], shown["ports"], shown["expires"]) == ([], [], "never")
    assert shown["limits"]["sessions"] == "none"
    assert shown["options"]["trackopens"] == "true"
    assert "expires" in shop("login", "show", name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--network", "192.0.2.0/33"), "a network cannot be '192.0.2.0/33'; it takes an address or a network such as"),
        (("--port", "0"), "a port cannot be '0'; it takes a number from 1 to 65535"),
        (("--port", "smtp"), "a port cannot be 'smtp'"),
        (("--dialect", "acme"), "there is no dialect 'acme'; there are mailgun,"),
        (("--limit", "messages-hour"), "'messages-hour' cannot be read; it takes LIMIT=N"),
        (("--limit", "messages-hour=x"), "messages-hour cannot be 'x'; it takes a number from 1 to 2147483647, or none"),
        (("--limit", "mails=1"), "there is no limit 'mails'; the limits are"),
        (("--expires", "tomorrow"), "the end of a login cannot be 'tomorrow'; it takes 2027-01-31"),
        (("--expires", "9999-12-31"), "the end of a login cannot be '9999-12-31'; it takes 2027-01-31"),
        (("--expires", "2027-W05-1"), "the end of a login cannot be '2027-W05-1'; it takes 2027-01-31"),
        (("--sender", "no one"), "no one"),
        (("trackclicks=forced",), "trackclicks cannot be 'forced'"),
        (("trackclicks=forced-maybe",), "trackclicks cannot be 'maybe'"),
        ((), "nothing to set; give OPTION=VALUE, --label, --sender"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(shop, name: str, words: tuple[str, ...], sentence: str) -> None:
    before = shop("login", "show", name, "--json")
    assert (
        sentence in shop("login", "set", name, "inlinecss=on", *words, status=2)
        if words
        else sentence in shop("login", "set", name, status=2)
    )
    assert shop("login", "show", name, "--json") == before


def test_a_network_of_ipv4_in_ipv6_is_one_of_ipv4(shop, name: str) -> None:
    words = [word for network in ("::ffff:192.0.2.0/120", "::ffff:192.0.2.9", "::/0") for word in ("--network", network)]
    shop("login", "set", name, *words)
    found = json.loads(shop("login", "show", name, "--json"))["networks"]
    assert found == ["192.0.2.0/24", "192.0.2.9/32", "::/0"]


def test_an_account_is_limited_for_all_its_logins(shop) -> None:
    assert (
        shop("account", "limit", "shop", "recipients-day=1000", "sessions=5") == "account shop: recipients-day=1000 sessions=5\n"
    )
    shop("account", "limit", "shop", "sessions=none")
    assert json.loads(shop("account", "show", "shop", "--json"))["limits"]["recipients-day"] == "1000"
    assert "recipients-day=1000" in shop("account", "show", "shop")
    assert shop("account", "limit", "shop", "recipients-day=none") == "account shop: no limits\n"
    assert "there is no account 'nobody'" in shop("account", "limit", "nobody", "sessions=1", status=2)
    assert "sessions cannot be '0'" in shop("account", "limit", "shop", "sessions=0", status=2)


def test_a_date_is_the_last_day_that_counts() -> None:
    assert moment("1970-01-01", "it") == 86_400
    assert moment("1970-01-01 00:01", "it") == 60
    assert moment("1970-01-01T01:00+01:00", "it") == 0
    assert moment(" Never ", "it") is None


def test_a_list_tells_of_the_people_it_does_not_have(shop, name: str, tmp_path: Path) -> None:
    settings = tmp_path / "smtpeter.toml"
    settings.write_text('[directory]\nurls = ["ldaps://ldap.example.com"]\nbase = "dc=example,dc=com"\nlayout = "existing"\n')
    listed = shop("--settings", str(settings), "login", "list")
    assert name in listed
    assert "People of the directory are logins too" in listed
    assert "People" not in shop("login", "list")
    assert len(json.loads(shop("--settings", str(settings), "login", "list", "--json"))) == 1
