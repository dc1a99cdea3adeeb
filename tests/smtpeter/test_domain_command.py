"""`smtpeter domain`: keys, click hosts, the records to publish, and what the DNS says of them."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

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
        key, host = json.loads(shop("domain", "check", "example.com", "--nameserver", address, "--json", status=expected))
        assert host == {"record": "clicks.example.com", "status": "ok", "advice": ""}
        return key["status"]

    assert status(1) == "missing"
    zone[place] = [quoted(record["value"].replace("p=MI", "p=XX"))]
    assert status(1) == "different"
    zone[place] = [quoted(record["value"]), '"v=spf1 -all"']
    assert status(1) == "error"
    zone[place] = [quoted(record["value"].replace("k=rsa; ", ""))]
    assert status(0) == "ok"


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
        "status": "error",
        "advice": "it is an alias of clicks.mail.test., which has no address",
    }
    zone["clicks.mail.test", "AAAA"] = ["2001:db8::1"]
    assert found(0)["status"] == "ok"
    shop("domain", "set", "example.com", "--clicks", "")
    assert found(0) == {"record": "clicks.mail.test", "status": "ok", "advice": ""}
    del zone["clicks.mail.test", "AAAA"]
    assert found(1)["advice"] == "publish an address of clicks.mail.test, where tracked links lead"
