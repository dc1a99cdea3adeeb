"""What is to stand in the DNS for a sender domain, and in the operator's own, and how a zone file says it (RFC 1035 5).

Only the keys and the click host must be there; the rest is advice, since an organisation may have other mail servers, and its
own records for them. A key that changes by itself is published by the operator: the domain has an alias that leads there.
"""

import re
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from policy.domains import DOMAIN, SenderDomain, SigningKey, txt_strings
from policy.rotation import selectors

TTL = 3600  # seconds; a key is published for much longer before it signs
SPF = "v=spf1"  # RFC 7208 4.5
DMARC = "v=DMARC1"  # RFC 7489 6.3
SPF_NAME = "_spf"
KEYS_NAME = "dkim"
BOUNCES_NAME = "bounces"

_HASHED = 26  # characters of base32: 130 bits
_ESCAPED = re.compile(r'["\\]')
_CONTROL = re.compile(r"[^ -~]")


class Purpose(StrEnum):
    """What a record is for."""

    KEY = "key"
    CLICKS = "clicks"
    BOUNCES = "bounces"
    SPF = "spf"
    DMARC = "dmarc"
    AUTOCONFIGURATION = "autoconfiguration"


REQUIRED = (Purpose.KEY, Purpose.CLICKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record: `name` without the final dot, `value` as a person reads it, the names in it without their final dots.

    A TXT record's value is its whole text.
    """

    name: str
    type: str
    value: str
    purpose: Purpose

    @property
    def required(self) -> bool:
        """Whether something does not work without it."""
        return self.purpose in REQUIRED

    @property
    def line(self) -> str:
        """The line of a zone file."""
        value = self.value
        if self.type == "TXT":
            value = f"( {' '.join(map(_quoted, txt_strings(self.value)))} )"
        elif self.type in ("CNAME", "MX", "SRV", "NS"):
            value += "."
        return f"{self.name}. IN {self.type} {value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What records of sender domains lead to.

    `domain` has the operator's own records, `host` takes mail, `clicks` takes clicks; `submission` and `submissions` are ports
    for STARTTLS and for TLS at once.
    """

    domain: str
    host: str
    clicks: str
    submission: int = 587
    submissions: int = 465


def _quoted(text: str) -> str:
    escaped = _ESCAPED.sub(lambda found: f"\\{found[0]}", text)
    return '"' + _CONTROL.sub(lambda found: f"\\{ord(found[0]) & 255:03d}", escaped) + '"'


def key_target(selector: str, domain: str, service: str) -> str:
    """The name in the DNS of `service` where a rotating key is, with a hash in place of a domain that is too long."""
    plain = f"{selector}.{domain}.{KEYS_NAME}.{service}"
    if DOMAIN.fullmatch(plain):
        return plain
    return f"{selector}.{b32encode(sha256(domain.encode()).digest()).decode()[:_HASHED].lower()}.{KEYS_NAME}.{service}"


def key_records(keys: Iterable[SigningKey], service: str) -> tuple[Record, ...]:
    """What the owner of a domain publishes for its keys: themselves, or three aliases for those that change by themselves."""
    found: dict[str, Record] = {}
    for key in keys:
        for selector in selectors(key.algorithm) if key.rotates else (key.selector,):
            name = f"{selector}._domainkey.{key.domain}"
            target = key_target(selector, key.domain, service)
            kind, value = ("CNAME", target) if key.rotates else ("TXT", key.record_text)
            found[name] = Record(name=name, type=kind, value=value, purpose=Purpose.KEY)
    return tuple(found.values())


def target_records(keys: Iterable[SigningKey], service: str) -> tuple[Record, ...]:
    """What the operator publishes for the keys that change by themselves."""
    return tuple(
        Record(name=key_target(key.selector, key.domain, service), type="TXT", value=key.record_text, purpose=Purpose.KEY)
        for key in keys
        if key.rotates
    )


def click_records(domain: SenderDomain, service: Service) -> tuple[Record, ...]:
    """What leads the visitors of a domain's links here."""
    if not domain.clicks or domain.clicks == service.clicks:
        return ()
    return (Record(name=domain.clicks, type="CNAME", value=service.clicks, purpose=Purpose.CLICKS),)


def domain_records(domain: SenderDomain, keys: Iterable[SigningKey], service: Service) -> tuple[Record, ...]:
    """All that the owner of a sender domain publishes."""
    name, bounces = domain.name, f"{BOUNCES_NAME}.{domain.name}"
    spf = f"{SPF} include:{SPF_NAME}.{service.domain} ~all"
    found = [
        Record(name=bounces, type="MX", value=f"10 {service.host}", purpose=Purpose.BOUNCES),
        Record(name=bounces, type="TXT", value=spf, purpose=Purpose.BOUNCES),
        Record(name=name, type="TXT", value=spf, purpose=Purpose.SPF),
        Record(name=f"_dmarc.{name}", type="TXT", value=dmarc_text(domain), purpose=Purpose.DMARC),
    ]
    for kind, port in (("submission", service.submission), ("submissions", service.submissions)):
        place, value = f"_{kind}._tcp.{name}", f"0 1 {port} {service.host}"  # RFC 6186 3.1, RFC 8314 5.1
        found.append(Record(name=place, type="SRV", value=value, purpose=Purpose.AUTOCONFIGURATION))
    fitting = [record for record in found if len(record.name) <= 253]
    return (*key_records(keys, service.domain), *click_records(domain, service), *fitting)


def dmarc_text(domain: SenderDomain) -> str:
    """A DMARC record that asks for nothing but what the keys of the domain are used for."""
    return f"{DMARC}; p=none" + ("; adkim=s" if domain.strict else "")


def service_records(service: Service, keys: Iterable[SigningKey], *, delegated: bool = False) -> tuple[Record, ...]:
    """The operator's own records that those of sender domains lead to, but for the host's addresses, which are not known here.

    With `delegated` the keys are in a zone of their own, which the host serves, or who has its zone file.
    """
    found = [Record(name=f"{SPF_NAME}.{service.domain}", type="TXT", value=f"{SPF} a:{service.host} -all", purpose=Purpose.SPF)]
    if delegated:
        found.append(Record(name=f"{KEYS_NAME}.{service.domain}", type="NS", value=service.host, purpose=Purpose.KEY))
    else:
        found += target_records(keys, service.domain)
    if service.clicks != service.host:
        found.append(Record(name=service.clicks, type="CNAME", value=service.host, purpose=Purpose.CLICKS))
    return tuple(found)


def is_below(name: str, zone: str) -> bool:
    """Whether a name is `zone` or in it."""
    return name == zone or name.endswith(f".{zone}")


def zone_text(zone: str, records: Iterable[Record], *, host: str, serial: int, minimum: int = 300) -> str:
    """A whole zone file (RFC 1035 5) that `host` is the name server of. Records outside of the zone are comments in it.

    `minimum` is the number of seconds that the absence of a name is believed (RFC 2308 4).
    """
    records = tuple(records)
    return "\n".join(
        [
            f"$TTL {TTL}",
            f"{zone}. IN SOA {host}. hostmaster.{zone}. ( {serial} 3600 900 1209600 {minimum} )",
            f"{zone}. IN NS {host}.",
            *(record.line if is_below(record.name, zone) else f"; in another zone: {record.line}" for record in records),
            "",
        ]
    )
