"""Which keys sign: each rule alone and all together, and conditions that cannot be."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.domains import Algorithm, Rule, SenderDomain, SigningKey, owner_of
from policy.signing import KeyChoice, condition_of, read_rule

NOW = 1_000


def key(domain: str, selector: str = "s", rule: str = "domain", **others: object) -> SigningKey:
    kind, condition = read_rule(rule)
    made = SigningKey(
        domain=domain,
        selector=selector,
        account="shop",
        algorithm=Algorithm.RSA,
        public="cA==",
        sealed=b"",
        created=1,
        rule=kind,
        condition=condition,
        active=1,
    )
    return replace(made, **others)


def domain(name: str, **others: object) -> SenderDomain:
    return replace(SenderDomain(name=name, account="shop", created=1), **others)


def names(keys: tuple[SigningKey, ...]) -> list[str]:
    return [f"{key.selector}.{key.domain}" for key in keys]


@pytest.fixture(scope="module")
def choose() -> Callable[..., list[str]]:
    """The names of the keys that sign for an address, of an account that owns these domains; others own `elsewhere`."""

    def run(
        address: str,
        keys: list[SigningKey],
        domains: tuple[str | SenderDomain, ...] = (),
        *,
        elsewhere: tuple[str, ...] = (),
        now: int = NOW,
        only_published: bool = False,
    ) -> list[str]:
        own = [domain(one) if isinstance(one, str) else one for one in domains]
        owners = {one.name: one.account for one in own} | dict.fromkeys(elsewhere, "rival")
        choice = KeyChoice("shop", keys, own, owner=lambda name: owner_of(name, owners), only_published=only_published)
        return names(choice.keys_for(address, now))

    return run


# The keys of a sender domain.


def test_the_identical_domain_signs_with_all_its_keys(choose) -> None:
    keys = [key("example.com"), key("example.com", "t", algorithm=Algorithm.ED25519), key("example.org"), key("news.example.com")]
    domains = ("example.com", "example.org", "news.example.com")
    assert choose("a@example.com", keys, domains) == ["s.example.com", "t.example.com"]
    assert choose("a@news.example.com", keys, domains) == ["s.news.example.com"]
    assert choose("a@example.net", keys, domains) == choose("", keys, domains) == choose("a@com", keys, domains) == []


@pytest.mark.parametrize(
    ("author", "having", "signs"),
    [
        ("news.example.com", ("example.com",), "example.com"),
        ("example.com", ("news.example.com",), "news.example.com"),
        ("a.b.example.com", ("example.com", "b.example.com"), "b.example.com"),
        ("b.example.com", ("x.y.example.com", "c.example.com"), "c.example.com"),
        ("b.example.com", ("example.com", "a.b.example.com"), "a.b.example.com"),
        ("b.example.com", ("d.example.com", "c.example.com"), "c.example.com"),
        ("shop.example.co.uk", ("example.co.uk",), "example.co.uk"),
        ("example.co.uk", ("other.co.uk",), None),
        ("co.uk", ("example.co.uk",), None),
        ("notexample.com", ("example.com",), None),
        ("example.com.evil.org", ("example.com",), None),
    ],
)
def test_else_the_nearest_domain_of_the_same_organisation(
    choose, author: str, having: tuple[str, ...], signs: str | None
) -> None:
    assert choose(f"a@{author}", [key(name) for name in having], having) == ([f"s.{signs}"] if signs else [])


def test_a_sender_domain_without_keys_is_signed_by_its_neighbour(choose) -> None:
    assert choose("a@news.example.com", [key("example.com")], ("example.com", "news.example.com")) == ["s.example.com"]


def test_a_strict_record_wants_the_identical_domain(choose) -> None:
    strict, keys = domain("example.com", strict=True), [key("example.com")]
    assert choose("a@example.com", keys, (strict,)) == ["s.example.com"]
    assert choose("a@news.example.com", keys, (strict,)) == []
    # The author's own record counts, and where there is none the organisation's.
    below = domain("news.example.com", strict=True)
    assert choose("a@news.example.com", keys, ("example.com", below)) == []
    assert choose("a@shop.example.com", [key("shops.example.com")], (strict, "shops.example.com")) == []
    assert choose("a@shop.example.com", [key("news.example.com")], ("example.com", below)) == []


def test_another_accounts_name_is_not_signed_by_a_neighbour(choose) -> None:
    keys = [key("example.com")]
    assert choose("a@rival.example.com", keys, ("example.com",), elsewhere=("rival.example.com",)) == []
    assert choose("a@x.rival.example.com", keys, ("example.com",), elsewhere=("rival.example.com",)) == []


# The other rules.


@pytest.mark.parametrize(
    ("rule", "meeting", "others"),
    [
        ("exact:News@Example.org", ["news@example.org", "NEWS@example.org"], ["new@example.org", "news@example.org.uk", ""]),
        ("exact:example.org", ["a@example.org"], ["a@b.example.org", "example.org@example.net"]),
        ("exact:bücher.example", ["a@xn--bcher-kva.example"], ["a@bcher.example"]),
        ("pattern:*.example.org", ["a@b.example.org", "a@b.c.example.org"], ["a@example.org", "a@bexample.org"]),
        ("pattern:news-?@*", ["news-1@example.org", "News-X@x.test"], ["news@example.org", "news-12@example.org"]),
        ("pattern:shop[1-3].example.org", ["a@shop2.example.org"], ["a@shop4.example.org"]),
        ("pattern:[!a]*@example.org", ["b@example.org"], ["a@example.org"]),
        ("expression:(news|shop)@.*", ["news@example.org", "SHOP@x.test"], ["anews@example.org", "new@example.org"]),
        (r"expression:.+\.example\.org", ["a@b.example.org"], ["a@example.org", "a@b.example.org.uk"]),
        ("expression:.*", ["a@example.org"], [""]),
    ],
)
def test_a_condition_is_met_or_not(choose, rule: str, meeting: list[str], others: list[str]) -> None:
    keys = [key("signer.test", "c", rule), key("last.test", "f", "fallback")]
    for address in meeting:
        assert choose(address, keys) == ["c.signer.test"], address
    for address in others:
        assert choose(address, keys) == ["f.last.test"], address


def test_all_that_match_sign_and_a_fallback_only_for_what_is_left(choose) -> None:
    keys = [
        key("example.com"),
        key("one.test", "c", "exact:example.com"),
        key("two.test", "c", "pattern:news@*"),
        key("three.test", "a", "always"),
        key("four.test", "a", "always"),
        key("five.test", "f", "fallback"),
    ]
    always = ["a.three.test", "a.four.test"]
    assert choose("news@example.com", keys, ("example.com",)) == ["s.example.com", "c.one.test", "c.two.test", *always]
    assert choose("a@example.com", keys, ("example.com",)) == ["s.example.com", "c.one.test", *always]
    assert choose("news@example.org", keys, ("example.com",)) == ["c.two.test", *always]
    assert choose("a@example.org", keys, ("example.com",)) == [*always, "f.five.test"]
    assert choose("", keys, ("example.com",)) == [*always, "f.five.test"]


def test_one_signature_for_a_domain_and_selector(choose) -> None:
    keys = [key("example.com", "s"), key("example.com", "s", "always")]
    assert choose("a@example.com", keys, ("example.com",)) == ["s.example.com"]


def test_a_key_of_another_accounts_name_does_not_sign(choose) -> None:
    for rule in ("always", "exact:example.org", "pattern:*", "expression:.*", "fallback"):
        for name in ("theirs.test", "below.theirs.test"):
            assert choose("a@example.org", [key(name, "k", rule)]) == [f"k.{name}"]
            assert choose("a@example.org", [key(name, "k", rule)], elsewhere=("theirs.test",)) == []
    # A name that is ours below one that is theirs is ours.
    keys = [key("ours.theirs.test", "k", "always")]
    assert choose("a@example.org", keys, ("ours.theirs.test",), elsewhere=("theirs.test",)) == ["k.ours.theirs.test"]


# When.


def test_a_key_signs_from_its_start_until_before_its_end(choose) -> None:
    for rule in ("domain", "always", "exact:example.com", "fallback"):
        keys = [key("example.com", rule=rule, start=NOW, end=NOW + 10)]
        found = [choose("a@example.com", keys, ("example.com",), now=NOW + delay) for delay in (-1, 0, 9, 10)]
        assert [bool(names) for names in found] == [False, True, True, False]


def test_a_key_that_is_over_leaves_its_place_to_the_next_rule(choose) -> None:
    keys = [key("example.com", end=NOW), key("news.example.com"), key("last.test", "f", "fallback")]
    assert choose("a@example.com", keys, ("example.com", "news.example.com")) == ["s.news.example.com"]
    assert choose("a@example.com", keys, ("example.com",)) == ["f.last.test"]


def test_only_an_active_key_signs(choose) -> None:
    keys = [key("example.com", "old", retired=5), key("example.com", "now"), key("example.com", "next", active=None)]
    assert choose("a@example.com", keys, ("example.com",)) == ["now.example.com"]


def test_only_published_keys_sign_where_that_is_asked_for(choose) -> None:
    keys = [key("example.com"), key("example.com", "seen", seen=5)]
    assert choose("a@example.com", keys, ("example.com",), only_published=True) == ["seen.example.com"]


LABELS = st.lists(st.sampled_from(["a", "b", "example", "com", "co", "uk", "org"]), min_size=1, max_size=4)
NAMES = LABELS.map(".".join)


@given(
    author=NAMES,
    mine=st.sets(NAMES, max_size=4),
    theirs=st.sets(NAMES, max_size=4),
    rules=st.lists(st.tuples(NAMES, st.sampled_from(["domain", "always", "fallback", "pattern:*", "exact:a.com"])), max_size=6),
)
def test_no_key_of_a_foreign_name_ever_signs(choose, author, mine, theirs, rules) -> None:
    mine = mine - theirs
    keys = [key(name, f"k{place}", rule) for place, (name, rule) in enumerate(rules)]
    owners = dict.fromkeys(mine, "shop") | dict.fromkeys(theirs, "rival")
    for found in choose(f"x@{author}", keys, tuple(mine), elsewhere=tuple(theirs)):
        assert owner_of(found.partition(".")[2], owners) in ("", "shop")


# What a user writes.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sometimes", "is no rule"),
        ("always:x", "has no condition"),
        ("exact", "needs a condition"),
        ("pattern: ", "needs a condition"),
        ("exact:a b", "is no"),
        ("exact:a@b@", "is no domain name"),
        ("pattern:*@bücher.example", "xn--"),
        ("expression:(", "is no regular expression"),
        ("expression:(a+)+@x", "repeats"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_rule(text)


def test_rules_have_one_form() -> None:
    assert read_rule(" Always ") == (Rule.ALWAYS, "")
    assert read_rule("exact: News@Example.COM") == (Rule.EXACT, "News@example.com")
    assert read_rule("expression:a:b@c") == (Rule.EXPRESSION, "a:b@c")


def test_a_long_address_meets_no_pattern() -> None:
    assert not condition_of(key("example.com", rule="pattern:*"))("a@" + "x" * 400)
