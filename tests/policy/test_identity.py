"""The decision alone; what messages claim is tested with the filters, and the whole in tests/system."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.account import Account, State
from policy.domains import SenderDomain
from policy.identity import Identity, author_refusal, check_sender, nobody_refusal, path_refusal
from policy.mailbox import Mailbox
from policy.owners import Owners
from policy.stores.migrate import migrate
from policy.stores.sql import SqlStore

OWNERS = {"example.com": "shop", "news.example.org": "shop", "example.org": "rival", "mail.example.com": "rival"}


def identity(*words: str, required: bool = False, owners: dict[str, str] | None = None) -> Identity:
    return Identity(account="shop", words=words, owners=OWNERS if owners is None else owners, required=required)


@pytest.mark.parametrize(
    ("domain", "foreign"),
    [
        ("example.com", False),
        ("a.b.example.com", False),
        ("mail.example.com", True),
        ("a.mail.example.com", True),
        ("xmail.example.com", False),
        ("example.org", True),
        ("a.example.org", True),
        ("news.example.org", False),
        ("a.news.example.org", False),
        ("notexample.org", False),
        ("org", False),
        ("", False),
        ("[192.0.2.1]", False),
    ],
)
def test_a_name_belongs_to_the_account_of_the_nearest_sender_domain(domain: str, foreign: bool) -> None:
    assert identity().is_foreign(domain) is foreign


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Me@Example.COM", "Me@example.com"),
        (" example.com. ", "example.com"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("o'brien+x%y@example.com", "o'brien+x%y@example.com"),
        ("jörg@example.com", "jörg@example.com"),
    ],
)
def test_a_sender_has_one_form(text: str, word: str) -> None:
    assert check_sender(text) == word
    assert check_sender(word) == word


@pytest.mark.parametrize(
    "text", ["", "*", "@example.com", "*.", "*@", "a b@example.com", "a@b@example.com", "a@*.example.com", "*.*.com", '"a"@b.com']
)
def test_other_words_are_no_sender(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        check_sender(text)


@pytest.mark.parametrize(
    ("word", "address", "allowed"),
    [
        ("me@example.com", "me@example.com", True),
        ("me@example.com", "Me@example.com", True),
        ("Jane.Doe@example.com", "jane.doe@example.com", True),
        ("me@example.com", "m@example.com", False),
        ("me@example.com", "me@a.example.com", False),
        ("example.com", "you@example.com", True),
        ("example.com", "you@a.example.com", False),
        ("*.example.com", "you@a.example.com", True),
        ("*.example.com", "you@a.b.example.com", True),
        ("*.example.com", "you@example.com", False),
        ("*.example.com", "you@xexample.com", False),
        ("example.org", "you@example.org", False),
        ("*.example.org", "you@news.example.org", True),
    ],
)
def test_a_list_allows_what_it_says_and_nobody_elses(word: str, address: str, allowed: bool) -> None:
    local, _, domain = address.rpartition("@")
    assert (not identity(word).objection(Mailbox(local, domain))) is allowed
    assert (path_refusal(address, identity(word)) is None) is allowed


def test_what_is_required_is_required_of_a_list_too() -> None:
    elsewhere = Mailbox("a", "example.net")
    assert not identity().objection(elsewhere)
    assert not identity("example.net").objection(elsewhere)
    assert not identity("example.net").objection(elsewhere, named=True)
    assert identity().objection(elsewhere, named=True)
    assert identity(required=True).objection(elsewhere)
    assert identity("example.net", required=True).objection(elsewhere)


def test_a_refusal_names_what_is_allowed() -> None:
    assert str(path_refusal("a@example.org", identity())) == (
        "553 5.7.1 MAIL FROM example.org belongs to another account; this login may send as "
        "example.com, *.example.com, news.example.org, *.news.example.org, or any domain of no account"
    )
    assert str(path_refusal("a@example.net", identity("a@example.com", "example.org"))) == (
        "553 5.7.1 MAIL FROM example.net is not on this login's list; this login may send as a@example.com"
    )
    reply = author_refusal("Sender", [Mailbox("a", "")], (), identity(required=True, owners={}), null_sender=False)
    assert str(reply) == (
        "550 5.7.1 Sender without a domain is no sender domain of this account; this login may send as nobody yet"
    )
    assert identity("50%@example.com").allowed() == "what its list has"
    assert identity("a@example.com", *[f"{number}.example" for number in range(20)]).allowed().endswith(", 4.example and 15 more")
    assert str(nobody_refusal(identity("*.example.com"))) == "550 5.7.1 An empty MAIL FROM needs a From of *.example.com"


@given(
    st.lists(
        st.one_of(st.sampled_from(["a@b.example", "c.example", "*.d.example", "%s@e.example"]), st.text(max_size=90)), max_size=30
    ),
    st.text(max_size=200),
    st.from_regex(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,3}", fullmatch=True),
    st.booleans(),
)
def test_a_refusal_is_one_short_line_of_ascii(words: list[str], local: str, domain: str, required: bool) -> None:
    owners = {f"{number}{domain}"[:100]: "shop" for number in range(20)} | {domain: "rival"}
    asked = identity(*words, required=required, owners=owners)
    replies = [
        author_refusal("Sender", [Mailbox(local, domain)], (), asked, null_sender=True),
        author_refusal("Sender", (), (domain,), asked, null_sender=False),
        path_refusal(f"{local}@{domain}", asked),
        nobody_refusal(asked),
    ]
    for reply in replies:
        assert reply is not None
        assert re.fullmatch(r"5\d\d 5\.\d\.\d [ -$&-~]{1,250}", str(reply))
        assert "rival" not in str(reply) or "rival" in domain


def test_what_is_misread_must_not_be_anothers_and_may_be_nobodys() -> None:
    assert author_refusal("From", (), ("example.net",), identity("example.com", required=True), null_sender=True) is None
    reply = author_refusal("From", (), ("example.org",), identity(), null_sender=False)
    assert str(reply).startswith("550 5.7.1 From example.org belongs to another account")


def test_owners_are_those_of_the_store_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    store = SqlStore(url)
    for name in ("shop", "rival"):
        store.add_account(Account(name=name, state=State.APPROVED, created=1))
    owners = Owners(store)
    assert owners.current() == {}
    store.add_domain(SenderDomain(name="example.com", account="shop", created=1), ())
    store.add_domain(SenderDomain(name="example.org", account="rival", created=1), ())
    assert owners.current() == {"example.com": "shop", "example.org": "rival"}
    store.remove_domain("example.org")
    assert owners.current() == {"example.com": "shop"}
    store.close()
