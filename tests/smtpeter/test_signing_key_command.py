"""`smtpeter domain key`: keys with rules of their own, whose names belong to nobody else."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def add(shop, *words: str, status: int = 0) -> str:
    return shop("domain", "key", "add", *words, "--account", "shop", status=status)


def listed(shop) -> list[dict[str, str]]:
    return json.loads(shop("domain", "key", "list", "--json"))


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("always", "always"),
        ("fallback", "fallback"),
        ("exact:News@Example.COM", "exact:News@example.com"),
        ("pattern:*.example.com", "pattern:*.example.com"),
        ("expression:(news|shop)@.*", "expression:(news|shop)@.*"),
    ],
)
def test_a_key_comes_with_its_rule_and_record(shop, rule: str, shown: str) -> None:
    made = json.loads(add(shop, "Signer.test", "--selector", "K1", "--algorithm", "ed25519", "--rule", rule, "--json"))
    (key,) = listed(shop)
    assert (key["domain"], key["selector"], key["rule"], key["use"]) == ("signer.test", "k1", shown, "signs")
    (record,) = made["records"]
    assert (record["name"], record["type"]) == ("k1._domainkey.signer.test", "TXT")
    assert record["value"] == f"v=DKIM1; k=ed25519; p={key['public']}"
    assert record["value"] in shop("domain", "dns", "signer.test")
    shop("domain", "key", "remove", "signer.test", "k1")
    assert listed(shop) == []


def test_the_private_half_is_never_shown(shop, tmp_path: Path) -> None:
    file, key = tmp_path / "key.pem", ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pem)
    words = ("signer.test", "--import-key", str(file), "--rule", "always")
    said = add(shop, *words) + shop("domain", "key", "list") + shop("domain", "key", "list", "--json")
    assert pem.decode().splitlines()[1] not in said
    assert "PRIVATE" not in said
    assert (tmp_path / "data" / "policy.db").read_bytes().find(pem.splitlines()[1]) == -1


def test_a_key_of_a_sender_domain_needs_no_rule(shop) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    add(shop, "example.com", "--selector", "second")
    assert {(key["selector"], key["rule"]) for key in listed(shop)} == {("second", "domain"), ("smtpeter", "domain")}
    assert "there is a key second of example.com already" in add(shop, "example.com", "--selector", "second", status=2)
    shop("domain", "remove", "example.com")
    assert listed(shop) == []


def test_a_key_with_a_rule_outlives_its_sender_domain(shop) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    add(shop, "example.com", "--selector", "own", "--rule", "always")
    shop("domain", "remove", "example.com")
    assert [key["selector"] for key in listed(shop)] == ["own"]


def test_a_name_of_another_account_is_refused(shop) -> None:
    shop("account", "add", "rival")
    shop("domain", "add", "rival.test", "--account", "rival")
    for name in ("rival.test", "below.rival.test"):
        for rule in ("always", "fallback", "exact:a@shop.test", "domain"):
            assert f"{name} belongs to account rival" in add(shop, name, "--rule", rule, status=2)
    add(shop, "notrival.test", "--rule", "always")


def test_times_are_read_as_utc(shop) -> None:
    add(shop, "signer.test", "--rule", "always", "--start", "2027-01-31", "--end", "2027-02-28")
    add(
        shop, "signer.test", "--rule", "always", "--selector", "hours", "--start", "2027-01-31 12:00", "--end", "2027-01-31 13:00"
    )
    add(shop, "signer.test", "--rule", "always", "--selector", "noon", "--start", "2027-01-31T12")
    times = {key["selector"]: (key["start"], key["end"]) for key in listed(shop)}
    assert times["smtpeter"] == ("2027-01-31 00:00:00", "2027-03-01 00:00:00")
    assert times["noon"] == ("2027-01-31 12:00:00", None)
    assert times["hours"] == ("2027-01-31 12:00:00", "2027-01-31 13:00:00")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("no domain",), "is no domain name"),
        (("signer.test",), "--rule says which mail"),
        (("signer.test", "--rule", "expression:(a+)+"), "repeats what varies"),
        (("signer.test", "--rule", "expression:("), "is no regular expression"),
        (("signer.test", "--rule", "often"), "is no rule"),
        (("signer.test", "--rule", "always", "--selector", "one"), "change by themselves"),
        (("signer.test", "--rule", "always", "--selector", "a_b"), "is no selector"),
        (("signer.test", "--rule", "always", "--start", "tomorrow"), "--start cannot be"),
        (("signer.test", "--rule", "always", "--start", "2027-02-02", "--end", "2027-02-01"), "--end is not after"),
        (("signer.test", "--rule", "always", "--import-key", "/nowhere"), "cannot be read"),
        (("signer.test", "--rule", "always", "--import-key", "/nowhere", "--algorithm", "rsa"), "exclude each other"),
    ],
)
def test_mistakes_are_sentences(shop, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in add(shop, *words, status=2)
    assert listed(shop) == []


def test_what_is_not_there_is_said(shop) -> None:
    assert "there is no key" in shop("domain", "key", "remove", "example.com", "s", status=2)
    assert "there is no account" in shop(
        "domain", "key", "add", "signer.test", "--account", "other", "--rule", "always", status=2
    )
    assert "nor a key of it" in shop("domain", "check", "signer.test", status=2)
    assert "there is no key yet" in shop("domain", "key", "list")
    for words in (("domain", "list"), ("domain", "key", "list")):
        assert "there is no account 'other'" in shop(*words, "--account", "other", status=2)
