"""`smtpeter domain`: keys, click hosts, the records to publish, and what the DNS says of them."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from smtpeter import database, name_server
from smtpeter.settings import Settings

Zone = dict[tuple[str, str], list[str]]


@pytest.fixture
def nameserver() -> Iterator[tuple[str, Zone]]:
    """A name server on loopback that answers from a dictionary, name and type -> values, and follows aliases."""
    zone: Zone = {}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while (packet := server.recvfrom(4096))[0] != b"stop":
            query = dns.message.from_wire(packet[0])
            response = dns.message.make_response(query)
            name, kind = query.question[0].name.to_text(omit_final_dot=True), dns.rdatatype.to_text(query.question[0].rdtype)
            if kind != "CNAME" and (name, "CNAME") in zone:
                target = zone[name, "CNAME"][0]
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", target))
                name = target.rstrip(".")
            if values := zone.get((name, kind)):
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *values))
            elif not any(other == name for other, _ in zone):
                response.set_rcode(3)
            server.sendto(response.to_wire(), packet[1])

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}", zone
    server.sendto(b"stop", server.getsockname())
    thread.join()
    server.close()


def quoted(text: str) -> str:
    """A text as the strings of a TXT record."""
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))


def test_a_domain_brings_the_records_to_publish(shop) -> None:
    text = shop("domain", "add", "Example.COM", "--account", "shop")
    assert 'smtpeter._domainkey.example.com. IN TXT ( "v=DKIM1; k=rsa; p=' in text
    listed = json.loads(shop("domain", "list", "--json"))
    assert listed[0]["name"] == "example.com"
    assert len(listed[0]["keys"]) == 1
    shop("domain", "remove", "example.com")
    assert json.loads(shop("domain", "list", "--json")) == []


def test_both_kinds_of_key_have_selectors_of_their_own(shop) -> None:
    added = json.loads(
        shop("domain", "add", "example.com", "--account", "shop", "--algorithm", "rsa", "--algorithm", "ed25519", "--json")
    )
    assert [record["name"] for record in added["records"] if record["type"] == "TXT"] == [
        "smtpeter._domainkey.example.com",
        "smtpeter-ed25519._domainkey.example.com",
    ]


def test_keys_are_imported_and_bad_ones_refused(shop, tmp_path: Path) -> None:
    good, short = tmp_path / "good.pem", tmp_path / "short.pem"
    ed = ed25519.Ed25519PrivateKey.generate()
    good.write_bytes(ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # what must be refused
    short.write_bytes(weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    added = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--import-key", str(good), "--json"))
    assert [record["value"].split(";")[1] for record in added["records"] if record["type"] == "TXT"] == [" k=ed25519"]
    assert "1024 bits" in shop("domain", "add", "example.org", "--account", "shop", "--import-key", str(short), status=2)
    assert "two keys of kind ed25519" in shop(
        "domain", "add", "example.org", "--account", "shop", "--import-key", str(good), "--import-key", str(good), status=2
    )


@pytest.fixture
def service(tmp_path: Path) -> tuple[str, ...]:
    """Settings with a click host of the service."""
    file = tmp_path / "smtpeter.toml"
    file.write_text('[web]\nhost = "clicks.mail.test"\nhttps = false\n')
    return ("--settings", str(file))


def test_a_new_domain_has_a_click_host_of_its_own(shop, service) -> None:
    added = json.loads(shop(*service, "domain", "add", "example.com", "--account", "shop", "--json"))
    assert (added["clicks"], added["https"]) == ("clicks.example.com", True)
    assert added["records"][1:] == [{"name": "clicks.example.com", "type": "CNAME", "value": "clicks.mail.test"}]
    text = shop(*service, "domain", "add", "example.org", "--account", "shop", "--clicks", "Go.Example.ORG", "--no-https")
    assert "\ngo.example.org. IN CNAME clicks.mail.test.\n" in text
    listed = shop(*service, "domain", "list")
    assert "https://clicks.example.com" in listed
    assert "http://go.example.org" in listed


def test_a_domain_may_use_the_services_click_host(shop, service) -> None:
    added = json.loads(shop(*service, "domain", "add", "example.com", "--account", "shop", "--clicks", "", "--json"))
    assert added["clicks"] == ""
    assert [record["type"] for record in added["records"]] == ["TXT"]
    assert "http://clicks.mail.test" in shop(*service, "domain", "list")


def test_the_click_host_is_changed(shop, service) -> None:
    shop("domain", "add", "example.com", "--account", "shop")

    def now() -> tuple[str, bool]:
        listed = json.loads(shop("domain", "list", "--json"))[0]
        return listed["clicks"], listed["https"]

    said = shop(*service, "domain", "set", "Example.com", "--clicks", "go.example.com")
    assert "lead to https://go.example.com\n" in said
    assert "go.example.com. IN CNAME clicks.mail.test." in said
    assert now() == ("go.example.com", True)
    assert "IN CNAME" not in shop(*service, "domain", "set", "example.com", "--no-https")
    assert now() == ("go.example.com", False)
    assert "lead to http://clicks.mail.test\n" in shop(*service, "domain", "set", "example.com", "--clicks", "", "--https")
    assert now() == ("", True)
    assert "nothing to change" in shop("domain", "set", "example.com", status=2)
    assert "is no click host for example.com" in shop("domain", "set", "example.com", "--clicks", "go.example.org", status=2)
    assert now() == ("", True)


def test_the_dns_is_asked_whether_the_keys_are_published(shop, nameserver) -> None:
    address, zone = nameserver
    zone["clicks.example.com", "A"] = ["192.0.2.1"]
    record = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--json"))["records"][0]
    place = (record["name"], "TXT")

    def status(expected: int) -> str:
        key, *_, host = json.loads(shop("domain", "check", "example.com", "--nameserver", address, "--json", status=expected))
        assert (host["record"], host["status"], host["verdict"], host["advice"]) == ("clicks.example.com", "ok", "ok", "")
        assert key["verdict"] == ("error" if expected else "ok")
        return key["status"]

    assert status(1) == "missing"
    zone[place] = [quoted(record["value"].replace("p=MI", "p=XX"))]
    assert status(1) == "different"
    zone[place] = [quoted(record["value"]), '"v=spf1 -all"']
    assert status(1) == "error"
    zone[place] = [quoted(record["value"].replace("k=rsa; ", ""))]
    assert status(0) == "ok"


def test_a_name_server_that_is_away_is_no_verdict_about_the_keys(shop, nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    address, zone = nameserver
    record = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--json"))["records"][0]
    zone[record["name"], "TXT"] = [quoted(record["value"])]
    zone["clicks.example.com", "A"] = ["192.0.2.1"]
    shop("domain", "check", "example.com", "--nameserver", address)
    monkeypatch.setattr(name_server, "SECONDS", 0.1)
    monkeypatch.setattr(name_server, "AFTERWARDS", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        found = json.loads(shop("domain", "check", "example.com", "--nameserver", place, "--json", status=1))
    assert {(row["status"], row["advice"]) for row in found} == {
        ("unknown", "the DNS did not answer (it took too long); try again")
    }
    (key,) = json.loads(shop("domain", "key", "list", "--json"))
    assert key["seen"]


def test_the_dns_is_asked_where_the_click_host_leads(shop, service, nameserver) -> None:
    address, zone = nameserver
    record = json.loads(shop("domain", "add", "example.com", "--account", "shop", "--json"))["records"][0]
    zone[record["name"], "TXT"] = [quoted(record["value"])]

    def found(expected: int) -> dict[str, str]:
        words = ("domain", "check", "example.com", "--nameserver", address, "--json")
        return json.loads(shop(*service, *words, status=expected))[-1]

    missing = found(1)
    assert missing["status"] == "missing"
    assert missing["advice"].startswith("publish this CNAME record: clicks.mail.test.")
    zone["clicks.example.com", "TXT"] = ['"no address"']
    assert found(1)["status"] == "missing"
    zone["clicks.example.com", "CNAME"] = ["clicks.mail.test."]
    assert found(1) == {
        "record": "clicks.example.com",
        "type": "CNAME",
        "verdict": "error",
        "status": "error",
        "advice": "it is an alias of clicks.mail.test., which has no address",
    }
    zone["clicks.mail.test", "AAAA"] = ["2001:db8::1"]
    assert found(0)["status"] == "ok"
    shop("domain", "set", "example.com", "--clicks", "")
    assert found(0) == {"record": "clicks.mail.test", "type": "A", "verdict": "ok", "status": "ok", "advice": ""}
    del zone["clicks.mail.test", "AAAA"]
    assert found(1)["advice"] == "publish an address of clicks.mail.test, where tracked links lead"


# Keys that change by themselves.


@pytest.fixture
def operator(tmp_path: Path) -> tuple[str, ...]:
    """Settings with a zone file."""
    file = tmp_path / "operator.toml"
    file.write_text(f'hostname = "mail.test"\n[keys]\nzone = "{tmp_path / "zone"}"\n')
    return ("--settings", str(file))


def keys(shop) -> dict[str, str]:
    """What each key of example.com is used for."""
    return {key["selector"]: key["use"] for key in json.loads(shop("domain", "key", "list", "--json"))}


def test_keys_that_change_by_themselves_are_aliases_into_the_operators_zone(shop, operator, tmp_path: Path) -> None:
    added = json.loads(shop(*operator, "domain", "add", "example.com", "--account", "shop", "--rotate", "--json"))
    assert added["records"][:3] == [
        {"name": f"{place}._domainkey.example.com", "type": "CNAME", "value": f"{place}.example.com.dkim.mail.test"}
        for place in ("zero", "one", "two")
    ]
    assert keys(shop) == {"zero": "signs", "one": "signs next"}
    text = (tmp_path / "zone").read_text()
    assert text.count(' IN TXT ( "v=DKIM1; k=rsa; p=') == 2
    assert "\nzero.example.com.dkim.mail.test. IN TXT" in text
    assert "change from" in shop(*operator, "domain", "rotate")
    assert (tmp_path / "zone").read_text() == text
    shop(*operator, "domain", "remove", "example.com")
    assert "IN TXT" not in (tmp_path / "zone").read_text()
    assert "no keys change by themselves" in shop(*operator, "domain", "rotate")
    assert "--timer is for all domains" in shop(*operator, "domain", "rotate", "example.com", "--timer", status=2)


def test_what_cannot_go_together_with_rotation_is_refused(shop, operator, tmp_path: Path) -> None:
    for option in (("--selector", "s1"), ("--import-key", str(tmp_path / "key.pem"))):
        words = ("domain", "add", "example.com", "--account", "shop", "--rotate", *option)
        assert "selectors of their own" in shop(*operator, *words, status=2)
    assert "there is no account" in shop(*operator, "domain", "add", "example.com", "--account", "other", "--rotate", status=2)
    shop(*operator, "domain", "add", "example.org", "--account", "shop", "--rotate")
    zone = (tmp_path / "zone").read_text()
    assert "already" in shop(*operator, "domain", "add", "example.org", "--account", "shop", "--rotate", status=2)
    assert (tmp_path / "zone").read_text() == zone
    for reserved in ("zero", "Two-ed25519"):
        words = ("domain", "add", "example.com", "--account", "shop", "--selector", reserved)
        assert "change by themselves" in shop(*words, status=2)


def test_a_domain_is_not_added_where_its_keys_cannot_be_published(shop, operator, tmp_path: Path) -> None:
    (tmp_path / "operator.toml").write_text(f'[keys]\nzone = "{tmp_path / "none" / "zone"}"\n')
    said = shop(*operator, "domain", "add", "example.com", "--account", "shop", "--rotate", status=2)
    assert "zone file" in said
    (tmp_path / "operator.toml").write_text(f'[keys]\nzone = "{tmp_path / "zone"}"\nreload = ["false"]\n')
    said = shop(*operator, "domain", "add", "example.com", "--account", "shop", "--rotate", status=2)
    assert "false ended with 1" in said
    assert not (tmp_path / "zone").exists()
    assert json.loads(shop("domain", "list", "--json")) == []


def test_a_domain_begins_and_stops_to_rotate_without_a_gap(shop, operator) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    said = shop(*operator, "domain", "set", "example.com", "--rotate")
    assert "zero._domainkey.example.com. IN CNAME" in said
    assert "domain key remove example.com smtpeter" in said
    assert keys(shop) == {"smtpeter": "signs", "zero": "signs", "one": "signs next"}
    shop("domain", "key", "remove", "example.com", "smtpeter")
    assert "has no other key" in shop(*operator, "domain", "set", "example.com", "--no-rotate", status=2)
    assert "changes by itself" in shop("domain", "key", "remove", "example.com", "one", status=2)
    shop("domain", "key", "add", "example.com", "--account", "shop", "--selector", "own")
    assert "own signs" in shop(*operator, "domain", "set", "example.com", "--no-rotate")
    assert keys(shop) == {"own": "signs"}


def test_an_alias_may_lead_over_others_to_the_key(shop, nameserver) -> None:
    address, zone = nameserver
    shop("domain", "add", "example.com", "--account", "shop", "--rotate", "--clicks", "")
    records = {
        row["name"]: row["value"] for row in json.loads(shop("domain", "dns", "--service", "--json")) if row["type"] == "TXT"
    }
    for name, value in records.items():
        zone[name, "TXT"] = [quoted(value)]

    def status() -> dict[str, tuple[str, str]]:
        found = json.loads(shop("domain", "check", "example.com", "--nameserver", address, "--json", status=1))
        return {row["record"].partition(".")[0]: (row["status"], row["advice"]) for row in found}

    service = next(iter(records)).removeprefix("_spf.")
    for place in ("zero", "one", "two"):
        target = f"{place}.example.com.dkim.{service}."
        zone[f"{place}._domainkey.example.com", "CNAME"] = [f"{place}.keys.example.com."]
        zone[f"{place}.keys.example.com", "CNAME"] = [target]
    assert {status()[place] for place in ("zero", "one", "two")} == {("ok", "")}
    zone["one.keys.example.com", "CNAME"] = ["one._domainkey.example.com."]  # in a circle
    status_of_one, advice = status()["one"]
    assert (status_of_one, advice.partition(";")[0]) == ("different", "it is an alias of one.keys.example.com")
    zone["zero._domainkey.example.com", "CNAME"] = ["nowhere.example.net."]
    assert status()["zero"][0] == "different"


def test_a_change_that_was_broken_off_is_made_again(shop, operator, tmp_path: Path) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    shop(*operator, "domain", "set", "example.com", "--rotate")
    store = database.open_store(Settings(data=tmp_path / "data"))
    store.change_domain("example.com", lambda found: replace(found, rotates=False))
    store.close()
    shop(*operator, "domain", "set", "example.com", "--rotate")
    assert keys(shop) == {"smtpeter": "signs", "zero": "signs", "one": "signs next"}
    assert (tmp_path / "zone").read_text().count("\nzero.example.com.") == 1


def test_keys_that_nobody_has_seen_have_no_time_to_change(shop, nameserver) -> None:
    address, _ = nameserver
    shop("domain", "add", "example.com", "--account", "shop", "--rotate")
    said = shop("domain", "rotate", "--nameserver", address)
    assert said == "no keys change before the DNS has the next ones; `smtpeter domain check NAME` says what to publish\n"


@pytest.mark.parametrize("place", ["here", "192.0.2.1:x", "192.0.2.1:99999", "[2001:db8::1]:x", "192.0.2.1:0", ""])
def test_a_name_server_is_an_address(shop, place: str) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    said = shop("domain", "check", "example.com", "--nameserver", place, status=2)
    assert f"a name server cannot be '{place}'; it takes an address such as 192.0.2.1" in said


def test_a_strict_domain_says_so(shop) -> None:
    shop("domain", "add", "example.com", "--account", "shop")
    assert "is not signed" in shop("domain", "set", "example.com", "--strict")
    assert json.loads(shop("domain", "list", "--json"))[0]["strict"] is True
    texts = {record["name"]: record["value"] for record in json.loads(shop("domain", "dns", "example.com", "--json"))}
    assert texts["_dmarc.example.com"] == "v=DMARC1; p=none; adkim=s"
    shop("domain", "set", "example.com", "--no-strict")
    assert json.loads(shop("domain", "list", "--json"))[0]["strict"] is False


def test_the_records_of_a_domain_are_printed(shop, operator) -> None:
    shop("domain", "add", "news.example.com", "--account", "shop", "--clicks", "clicks.example.com")
    records = json.loads(shop(*operator, "domain", "dns", "News.Example.com", "--json"))
    assert [(record["name"], record["type"], record["need"]) for record in records] == [
        ("smtpeter._domainkey.news.example.com", "TXT", "required"),
        ("clicks.example.com", "CNAME", "required"),
        ("bounces.news.example.com", "MX", "advice"),
        ("bounces.news.example.com", "TXT", "advice"),
        ("news.example.com", "TXT", "advice"),
        ("_dmarc.news.example.com", "TXT", "advice"),
        ("_submission._tcp.news.example.com", "SRV", "advice"),
        ("_submissions._tcp.news.example.com", "SRV", "advice"),
    ]
    zone = shop(*operator, "domain", "dns", "news.example.com", "--zone")
    assert "\n; in another zone: clicks.example.com. IN CNAME clicks.mail.test.\n" in zone
    assert "_submission._tcp.news.example.com" in shop(*operator, "domain", "dns", "news.example.com")
    for words in ((), ("news.example.com", "--service"), ("news.example.com", "--zone", "--json"), ("example.net",)):
        shop("domain", "dns", *words, status=2)


def test_the_operators_own_records_are_printed(shop, operator) -> None:
    shop("domain", "add", "example.com", "--account", "shop", "--rotate")
    own = json.loads(shop(*operator, "domain", "dns", "--service", "--json"))
    assert [(record["name"], record["type"], record["value"]) for record in own] == [
        ("_spf.mail.test", "TXT", "v=spf1 a:mail.test -all"),
        ("dkim.mail.test", "NS", "mail.test"),
        ("clicks.mail.test", "CNAME", "mail.test"),
    ]
    assert "A and AAAA records of mail.test" in shop(*operator, "domain", "dns", "--service")
    by_hand = json.loads(shop("domain", "dns", "--service", "--json"))
    assert sum(record["name"].endswith(".example.com.dkim." + by_hand[0]["name"][5:]) for record in by_hand) == 2
