"""What the values of other people's directories mean."""

import pytest

from policy.identity import NOBODY
from policy.options import Images, Options
from policy.stores.entry import Entry, UnreadableEntry
from policy.stores.person import Group, Person

GROUPS = (
    Group(dn="first", options={"trackclicks": "on", "images": "hosted"}, account="one"),
    Group(dn="second", options={"trackclicks": "forced-off", "trackopens": "on"}, account="two"),
    Group(dn="third", options={}),
)


def person(field: str, attribute: str, *values: str, account: str = "shop"):
    entry = Entry(dn="cn=x", values={attribute.lower(): tuple(value.encode() for value in values)})
    return Person(attributes={field: attribute}, account=account).login("x", entry, ())


@pytest.mark.parametrize(
    ("attribute", "value", "expires"),
    [
        ("accountExpires", "0", None),
        ("accountExpires", "9223372036854775807", None),
        ("accountExpires", "116444736000000000", 0),
        ("accountExpires", "133801632000000000", 1_735_689_600),  # 2025-01-01
        ("shadowExpire", "-1", None),
        ("shadowExpire", "20089", 1_735_689_600),
        ("krbPrincipalExpiration", "20250101000000Z", 1_735_689_600),
    ],
)
def test_an_end_is_read_as_its_attribute_writes_it(attribute: str, value: str, expires: int | None) -> None:
    assert person("expires", attribute, value).expires == expires


@pytest.mark.parametrize(
    ("attribute", "value"), [("accountExpires", "never"), ("shadowExpire", ""), ("krbPrincipalExpiration", "0")]
)
def test_an_end_that_cannot_be_read_is_told(attribute: str, value: str) -> None:
    if value:
        with pytest.raises(UnreadableEntry, match=attribute):
            person("expires", attribute, value)
    else:
        assert person("expires", attribute, value).expires is None


@pytest.mark.parametrize(
    ("attribute", "value", "enabled"),
    [
        ("userAccountControl", "512", True),
        ("userAccountControl", "514", False),
        ("userAccountControl", "66050", False),
        ("USERACCOUNTCONTROL", "66048", True),
        ("nsAccountLock", "TRUE", False),
        ("nsAccountLock", "false", True),
        ("nsAccountLock", " no ", True),
        ("pwdAccountLockedTime", "000001010000Z", False),
        ("pwdAccountLockedTime", "FALSE", True),
    ],
)
def test_who_is_disabled_is_read_as_its_attribute_writes_it(attribute: str, value: str, enabled: bool) -> None:
    assert person("disabled", attribute, value).enabled is enabled


def test_nobody_is_disabled_by_an_attribute_that_is_not_there() -> None:
    assert person("disabled", "nsAccountLock").enabled


@pytest.mark.parametrize(
    ("values", "senders"),
    [
        (("A@Example.com", "b@example.com"), ("a@example.com", "b@example.com")),
        (
            ("SMTP:Main@example.com", "smtp:other@example.com", "x500:/o=x", "sip:a@example.com"),
            ("main@example.com", "other@example.com"),
        ),
        (("", " a@example.com "), ("a@example.com",)),
        ((), (NOBODY,)),
        (("sip:a@example.com", ""), (NOBODY,)),
    ],
)
def test_senders_are_the_addresses_of_mail_among_the_values(values: tuple[str, ...], senders: tuple[str, ...]) -> None:
    assert person("senders", "proxyAddresses", *values).senders == senders


def test_without_an_attribute_for_senders_there_is_no_list() -> None:
    assert person("label", "cn", "Alice").senders == ()


def test_options_are_words_in_one_value_or_in_several() -> None:
    found = person("options", "description", "TrackClicks=on images=hosted", "trackopens=forced-off")
    assert found.options == Options(trackclicks=True, images=Images.HOSTED)
    assert found.forced == {"trackopens"}
    for wrong in ("trackclicks", "colour=blue", "trackclicks=maybe"):
        with pytest.raises(UnreadableEntry):
            person("options", "description", wrong)


@pytest.mark.parametrize(
    ("groups", "account", "options"),
    [
        ((), "", None),
        (("third",), "", None),
        (("first",), "one", Options(trackclicks=True, images=Images.HOSTED)),
        (("second", "first"), "one", Options(trackclicks=True, trackopens=True, images=Images.HOSTED)),
        (("third", "second"), "two", Options(trackopens=True)),
    ],
)
def test_of_several_groups_the_first_of_the_settings_counts(groups, account: str, options: Options | None) -> None:
    found = Person(attributes={}, groups=GROUPS).login("x", Entry(dn="cn=x", values={}), groups)
    assert (None if found is None else (found.account, found.options)) == (None if options is None else (account, options))


def test_what_the_entry_says_comes_before_its_groups() -> None:
    entry = Entry(dn="cn=x", values={"o": (b"own", b"other"), "description": (b"trackclicks=off",)})
    found = Person(attributes={"account": "o", "options": "description"}, groups=GROUPS).login("x", entry, ("first",))
    assert (found.account, found.options, found.external) == ("own", Options(images=Images.HOSTED), True)
