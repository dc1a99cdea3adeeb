"""What the DNS says of the records of a sender domain, one by one, and what mends those that are wrong."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from policy.click_hosts import ClickHost, HostHealth, State
from policy.dns_records import DMARC, SPF, SPF_NAME, Purpose, Record, Service, dmarc_text, domain_records, key_records, key_target
from policy.domains import SenderDomain, SigningKey
from policy.organisation import organisational_domain
from smtpeter.name_server import NameServer, Unanswered

SPF_LOOKUPS = 10  # RFC 7208 4.6.4
ALIASES = 8  # one behind the other that are followed

OK = "ok"
MISSING = "missing"
DIFFERENT = "different"
ERROR = "error"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One record: `status` is OK, MISSING, DIFFERENT (something else is there), ERROR (it cannot work) or UNKNOWN (no answer)."""

    name: str
    type: str
    required: bool
    status: str = OK
    advice: str = ""

    @property
    def verdict(self) -> str:
        """ "ok", "error" where something does not work so, "warning" where it does all the same."""
        return OK if self.status == OK else (ERROR if self.required else "warning")


Judgement = tuple[str, str]  # status and advice
_GOOD = (OK, "")


def inspect(names: NameServer, domain: SenderDomain, keys: Iterable[SigningKey], service: Service) -> Iterator[Finding]:
    """All records of a sender domain: keys first, the click host last."""
    keys = tuple(keys)
    yield from inspect_keys(names, keys, service)
    others = [record for record in domain_records(domain, (), service) if record.purpose not in (Purpose.KEY, Purpose.CLICKS)]
    for record in others:
        yield _finding(record.name, record.type, record.required, partial(_judge, names, domain, record, service))
    host = domain.clicks or service.clicks
    kind = "A" if host == service.clicks else "CNAME"
    yield _finding(host, kind, True, partial(_click_host, names, domain, host, service))


def inspect_keys(names: NameServer, keys: Iterable[SigningKey], service: Service) -> Iterator[Finding]:
    """The records of keys; of those that change by themselves the three aliases, and what is published behind them."""
    by_name = {key.record_name: key for key in keys}
    for record in key_records(by_name.values(), service.domain):
        yield _finding(record.name, record.type, True, partial(_key, names, record, by_name.get(record.name), service))


def inspect_click_host(domain: SenderDomain, own: ClickHost, found: Iterable[HostHealth], *, checked: bool) -> Iterator[Finding]:
    """What `domain probe` has found at the click host of a domain, or at the service's `own`; nothing where it never looked and
    it need not (`checked`, the setting).
    """
    place = ClickHost(host=domain.clicks, https=domain.https) if domain.clicks else own
    health = next((health for health in found if health.place == place), None)
    kind = "HTTPS" if place.https else "HTTP"
    if health is not None:
        status = OK if health.state is State.OK else ERROR
        required = checked and health.state is not State.WARNING
        yield Finding(name=place.host, type=kind, required=required, status=status, advice=health.reason)
    elif checked:
        advice = f"nobody has looked yet, so no links lead there; `smtpeter domain probe {domain.name}` does"
        yield Finding(name=place.host, type=kind, required=True, status=UNKNOWN, advice=advice)


def _finding(name: str, kind: str, required: bool, judge: Callable[[], Judgement]) -> Finding:
    try:
        status, advice = judge()
    except Unanswered as error:
        status, advice = UNKNOWN, f"the DNS did not answer ({error}); try again"
    return Finding(name=name, type=kind, required=required, status=status, advice=advice)


# Keys.


def key_status(names: NameServer, key: SigningKey) -> str:
    """OK, MISSING, DIFFERENT or ERROR (several records). Raises Unanswered."""
    texts = names.texts(key.record_name)
    if not texts:
        return MISSING
    if len(texts) > 1:
        return ERROR
    tags = tags_of(texts[0])
    # RFC 6376 3.6.1: an unknown version is no key, an empty p= a revoked one; hashes and services may be limited.
    usable = tags.get("v", "DKIM1") == "DKIM1" and "sha256" in tags.get("h", "sha256").split(":")
    usable = usable and not {"*", "email"}.isdisjoint(tags.get("s", "*").split(":"))
    same = tags.get("p") == key.public and tags.get("k", "rsa") == key.algorithm.value
    return OK if usable and same else DIFFERENT


def tags_of(text: str) -> dict[str, str]:
    """The tag list of a record (RFC 6376 3.2), white space inside values removed."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): "".join(value.split()) for name, equals, value in pairs if equals}


def _key(names: NameServer, record: Record, key: SigningKey | None, service: Service) -> Judgement:
    if record.type == "CNAME":
        judged = _alias(names, record)
        if judged != _GOOD:
            return judged
    if key is None:  # the next one but one, not made yet
        return _GOOD
    status = key_status(names, key)
    if status == ERROR:
        return status, "there are several TXT records at this name; leave one"
    if status == OK:
        return _GOOD
    if record.type == "CNAME":
        target = key_target(key.selector, key.domain, service.domain)
        return status, f"the alias is right, but at {target} is no such record, which the operator publishes: {key.record_text}"
    return status, f"publish this TXT record: {key.record_text}"


def _alias(names: NameServer, record: Record) -> Judgement:
    advice = f"publish this CNAME record: {record.value}."
    found = place = names.alias(record.name)
    for _ in range(ALIASES):
        if place in ("", record.value):
            break
        place = names.alias(place)
    if place == record.value:
        return _GOOD
    if found:
        return DIFFERENT, f"it is an alias of {found}; {advice}"
    if names.texts(record.name):
        return DIFFERENT, f"there is a key itself, which is not replaced when the keys change; {advice}"
    return MISSING, advice


# Where clicks and bounces go, and the rest.


def _click_host(names: NameServer, domain: SenderDomain, host: str, service: Service) -> Judgement:
    """An address is enough, however the DNS leads to it."""
    if names.has_address(host):
        return _GOOD
    if alias := names.alias(host):
        return ERROR, f"it is an alias of {alias}., which has no address"
    if host == service.clicks:
        return MISSING, f"publish an address of {host}, where tracked links lead"
    return MISSING, (
        f'publish this CNAME record: {service.clicks}. (without it: `smtpeter domain set {domain.name} --clicks ""`)'
    )


def _judge(names: NameServer, domain: SenderDomain, record: Record, service: Service) -> Judgement:
    if record.type == "MX":
        return _mail_host(names, record, service)
    if record.type == "SRV":
        return _service_place(names, record)
    if record.purpose is Purpose.DMARC:
        return _dmarc(names, domain)
    return _spf(names, record, service)


def _mail_host(names: NameServer, record: Record, service: Service) -> Judgement:
    hosts = names.mail_hosts(record.name)
    advice = f"publish this MX record: {record.value}."
    if not hosts:
        return MISSING, advice
    elsewhere = [host or "." for host in hosts if host != service.host]
    return (DIFFERENT, f"bounces go to {' and '.join(elsewhere)}; {advice}") if elsewhere else _GOOD


def _service_place(names: NameServer, record: Record) -> Judgement:
    found = names.services(record.name)
    wanted = record.value.split()[2:]
    if any(place.split()[2:] == wanted for place in found):
        return _GOOD
    advice = f"publish this SRV record, so that mail programs find the service: {record.value}."
    return (DIFFERENT, f"it leads to {' and '.join(found)}; {advice}") if found else (MISSING, advice)


def _dmarc(names: NameServer, domain: SenderDomain) -> Judgement:
    texts: list[str] = []
    for place in dict.fromkeys((domain.name, organisational_domain(domain.name))):  # RFC 7489 6.6.3
        texts = texts or [text for text in names.texts(f"_dmarc.{place}") if text.replace(" ", "").startswith(DMARC)]
    if not texts:
        return MISSING, f"publish this TXT record: {dmarc_text(domain)}"
    if len(texts) > 1:
        return ERROR, "there are several DMARC records at this name; leave one"
    strict = tags_of(texts[0]).get("adkim", "r").lower() == "s"
    if strict != domain.strict:
        asks, option = ("the identical domain", "--strict") if strict else ("a domain of the same organisation", "--no-strict")
        return DIFFERENT, f"the record asks for {asks} in signatures; `smtpeter domain set {domain.name} {option}` follows it"
    return _GOOD


def _spf(names: NameServer, record: Record, service: Service) -> Judgement:
    texts = _spf_texts(names, record.name)
    ours = f"{SPF_NAME}.{service.domain}"
    if not texts:
        return MISSING, f"publish this TXT record: {record.value}"
    if len(texts) > 1:
        return ERROR, "there are several SPF records at this name, so none counts; make one of them"
    if not _includes(names, texts[0], ours, [record.name]):
        return DIFFERENT, f"put include:{ours} into the record, before its last term: {texts[0]}"
    if len(_spf_texts(names, ours)) != 1:
        return ERROR, f"it includes {ours}, which has no SPF record; the operator publishes it (`smtpeter domain dns --service`)"
    return _GOOD


def _spf_texts(names: NameServer, name: str) -> list[str]:
    return [text for text in names.texts(name) if text.lower().split(" ")[0] == SPF]


def _includes(names: NameServer, text: str, wanted: str, asked: list[str]) -> bool:
    """Whether an SPF record includes a name, itself or by another one; `asked` are the names whose records were looked at."""
    for term in text.lower().split()[1:]:
        kind, _, name = term.lstrip("+").replace("redirect=", "include:").partition(":")
        name = name.rstrip(".")
        if kind != "include" or not name or "%" in name or name in asked:
            continue
        if name == wanted:
            return True
        if len(asked) <= SPF_LOOKUPS:
            asked.append(name)
            further = _spf_texts(names, name)
            if len(further) == 1 and _includes(names, further[0], wanted, asked):
                return True
    return False
