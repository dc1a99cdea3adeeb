"""What is to stand in the DNS, by the settings and the store."""

from collections.abc import Iterable, Mapping

from policy.click_hosts import ClickHost
from policy.dns_records import Record, Service
from policy.domains import SenderDomain, SigningKey, normalise_domain
from policy.stores import AdminStore
from smtpeter.errors import UserError
from smtpeter.settings import Settings


def service_of(settings: Settings) -> Service:
    """What the records of sender domains lead to."""
    _, submission, submissions = settings.listen.ports
    return Service(
        domain=settings.service_domain.lower(),
        host=settings.hostname.lower(),
        # A port may follow it in the settings, for tests on one machine.
        clicks=settings.click_host.partition(":")[0].lower(),
        submission=submission,
        submissions=submissions,
    )


def own_click_host(settings: Settings) -> ClickHost:
    """Where tracked links of mail lead that has no click host of its own."""
    return ClickHost(host=settings.click_host.lower(), https=settings.web.https)


def find_domain(store: AdminStore, name: str) -> SenderDomain:
    """The sender domain of that name. Raises UserError."""
    found = sender_domain(store, name)
    if found is None:
        raise UserError(f"there is no sender domain {name!r}; `smtpeter domain list` shows them")
    return found


def sender_domain(store: AdminStore, name: str) -> SenderDomain | None:
    """The sender domain of that name, if it is one. Raises UserError for what can be no domain."""
    wanted = domain_name(store, name)
    return next((domain for domain in store.domains() if domain.name == wanted), None)


def domain_name(store: AdminStore, name: str) -> str:
    """The normal form of a domain's name; what the store has is one. Raises UserError."""
    plain = name.strip().rstrip(".").lower()
    if any(domain.name == plain for domain in store.domains()):
        return plain
    try:
        return normalise_domain(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def keys_of(store: AdminStore, name: str, account: str | None = None) -> list[SigningKey]:
    """The keys whose `d=` is that domain, of that account or of all."""
    accounts = [found.name for found in store.accounts()] if account is None else [account]
    return [key for each in accounts for key in store.signing_keys(each) if key.domain == name]


def rotating_keys(store: AdminStore) -> dict[str, tuple[SigningKey, ...]]:
    """The keys that change by themselves, by domain."""
    found: dict[str, list[SigningKey]] = {}
    for account in store.accounts():
        for key in store.signing_keys(account.name):
            if key.rotates:
                found.setdefault(key.domain, []).append(key)
    return {domain: tuple(keys) for domain, keys in found.items()}


def as_rows(records: Iterable[Record]) -> list[Mapping[str, str]]:
    """Records as a program gets them."""
    return [{"name": record.name, "type": record.type, "value": record.value} for record in records]
