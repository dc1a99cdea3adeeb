"""The records to publish: names that the DNS takes, texts that a zone file gives back as they were."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.dns_records import (
    Purpose,
    Record,
    Service,
    dmarc_text,
    domain_records,
    key_records,
    key_target,
    service_records,
    target_records,
    zone_text,
)
from policy.domains import DOMAIN, Algorithm, SenderDomain, SigningKey

SERVICE = Service(domain="mail.test", host="mx.mail.test", clicks="clicks.mail.test")
SHOP = SenderDomain(name="example.com", account="shop", created=1, clicks="clicks.example.com")


def key(selector: str, domain: str = "example.com", **others: object) -> SigningKey:
    made = SigningKey(
        domain=domain, selector=selector, account="shop", algorithm=Algorithm.RSA, public="cA==" * 90, sealed=b"", created=1
    )
    return replace(made, **others)


def lines(records: tuple[Record, ...]) -> list[str]:
    return [record.line for record in records]


def test_a_key_of_ones_own_is_a_text_and_one_that_changes_three_aliases() -> None:
    keys = [key("own"), key("zero", rotates=True), key("one", rotates=True)]
    records = key_records([*keys, key("one-ed25519", rotates=True, algorithm=Algorithm.ED25519)], "mail.test")
    assert [(record.name.partition(".")[0], record.type) for record in records] == [
        ("own", "TXT"),
        *((place, "CNAME") for place in ("zero", "one", "two")),
        *((f"{place}-ed25519", "CNAME") for place in ("zero", "one", "two")),
    ]
    assert records[1].line == "zero._domainkey.example.com. IN CNAME zero.example.com.dkim.mail.test."
    targets = target_records(keys, "mail.test")
    assert [(record.name, record.value) for record in targets] == [(records[at].value, keys[at].record_text) for at in (1, 2)]


def test_a_domain_has_what_it_needs_and_what_is_good_to_have() -> None:
    records = domain_records(SHOP, [key("own")], SERVICE)
    assert [record.required for record in records] == [True, True] + 6 * [False]
    assert lines(records)[1:] == [
        "clicks.example.com. IN CNAME clicks.mail.test.",
        "bounces.example.com. IN MX 10 mx.mail.test.",
        'bounces.example.com. IN TXT ( "v=spf1 include:_spf.mail.test ~all" )',
        'example.com. IN TXT ( "v=spf1 include:_spf.mail.test ~all" )',
        '_dmarc.example.com. IN TXT ( "v=DMARC1; p=none" )',
        "_submission._tcp.example.com. IN SRV 0 1 587 mx.mail.test.",
        "_submissions._tcp.example.com. IN SRV 0 1 465 mx.mail.test.",
    ]
    assert dmarc_text(replace(SHOP, strict=True)) == "v=DMARC1; p=none; adkim=s"


@pytest.mark.parametrize("clicks", ["", "clicks.mail.test"])
def test_the_services_click_host_needs_no_record_of_the_domain(clicks: str) -> None:
    records = domain_records(replace(SHOP, clicks=clicks), (), SERVICE)
    assert not [record for record in records if record.purpose is Purpose.CLICKS]


def test_the_operators_own_records() -> None:
    keys = [key("zero", rotates=True)]
    assert [record.name for record in service_records(SERVICE, keys)] == [
        "_spf.mail.test",
        "zero.example.com.dkim.mail.test",
        "clicks.mail.test",
    ]
    assert lines(service_records(SERVICE, keys, delegated=True))[1] == "dkim.mail.test. IN NS mx.mail.test."
    assert len(service_records(replace(SERVICE, clicks="mx.mail.test"), ())) == 1


LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=63)
NAMES = st.lists(LABELS, min_size=2, max_size=10).map(".".join).filter(DOMAIN.fullmatch)


@given(NAMES, NAMES)
def test_every_name_is_one_that_the_dns_takes(domain: str, other: str) -> None:
    targets = {key_target(place, name, "mail.test") for name in (domain, other) for place in ("zero", "one", "two-ed25519")}
    assert all(DOMAIN.fullmatch(target) for target in targets)
    assert len(targets) == (3 if domain == other else 6)
    for record in domain_records(replace(SHOP, name=domain), [key("zero", domain, rotates=True)], SERVICE):
        assert len(record.value) <= 253
        assert len(record.name) <= 253 or record.type == "CNAME"


@given(st.text(st.characters(max_codepoint=126, min_codepoint=32), min_size=1, max_size=600))
def test_a_text_comes_back_out_of_a_zone_file_as_it_was(text: str) -> None:
    record = Record(name="a.mail.test", type="TXT", value=text, purpose=Purpose.KEY)
    zone = dns.zone.from_text(zone_text("mail.test", [record], host="mx.mail.test", serial=7), "mail.test", relativize=False)
    (found,) = zone.find_rdataset("a.mail.test.", "TXT")
    assert b"".join(found.strings).decode() == text


def test_a_zone_is_one_that_bind_takes(tmp_path: Path) -> None:
    keys = [key("own"), key("zero", rotates=True), key("one", rotates=True)]
    zones = {
        "example.com": zone_text("example.com", domain_records(SHOP, keys, SERVICE), host="mx.mail.test", serial=1),
        "dkim.mail.test": zone_text("dkim.mail.test", target_records(keys, "mail.test"), host="mx.mail.test", serial=2**32 - 1),
    }
    for name, text in zones.items():
        (tmp_path / name).write_text(text)
        done = subprocess.run(("named-checkzone", name, tmp_path / name), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert not re.search("ignoring|error", done.stdout)


def test_what_is_not_in_the_zone_is_a_comment() -> None:
    below = replace(SHOP, name="news.example.com")
    text = zone_text("news.example.com", domain_records(below, (), SERVICE), host="mx.mail.test", serial=1)
    assert "\n; in another zone: clicks.example.com. IN CNAME clicks.mail.test.\n" in text
