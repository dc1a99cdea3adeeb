"""Rows of the policy database as values, and values as the columns of a row."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from policy.account import Account, State
from policy.click_hosts import HostHealth
from policy.domains import Algorithm, Rule, SenderDomain, SigningKey
from policy.limits import Limits
from policy.login import Dialect, Login, Password
from policy.options import BY_NAME, Images, Options

_LIMITS = tuple(field.name for field in fields(Limits))
_DOMAIN = tuple(field.name for field in fields(SenderDomain))
_KEY = tuple(field.name for field in fields(SigningKey))
_HEALTH = tuple(field.name for field in fields(HostHealth))


def account(row: Any) -> Account:
    """The account of a row."""
    return Account(name=row.name, state=State(row.state), created=row.created, limits=_limits(row))


def account_columns(value: Account) -> dict[str, object]:
    """The row of an account."""
    return {"name": value.name, "state": value.state.value, "created": value.created, **_limit_columns(value.limits)}


def login(row: Any, passwords: Iterable[Any]) -> Login:
    """The login of a row and of the rows of its passwords."""
    words = {name: getattr(row, name) for name in BY_NAME}
    return Login(
        name=row.name,
        account=row.account,
        passwords=tuple(_password(password) for password in passwords),
        options=Options(**{**words, "images": Images(row.images)}),
        forced=frozenset(row.forced.split()),
        enabled=row.enabled,
        label=row.label,
        created=row.created,
        expires=row.expires,
        networks=tuple(row.networks.split()),
        ports=tuple(map(int, row.ports.split())),
        senders=tuple(row.senders.split()),
        dialects=frozenset(map(Dialect, row.dialects.split())),
        limits=_limits(row),
    )


def login_columns(value: Login) -> dict[str, object]:
    """The row of a login, without its passwords."""
    return {
        "name": value.name,
        "account": value.account,
        "label": value.label,
        "enabled": value.enabled,
        "created": value.created,
        "expires": value.expires,
        "forced": " ".join(sorted(value.forced)),
        "networks": " ".join(value.networks),
        "ports": " ".join(map(str, value.ports)),
        "senders": " ".join(value.senders),
        "dialects": " ".join(sorted(value.dialects)),
        **{name: getattr(value.options, name) for name in BY_NAME},
        "images": value.options.images.value,
        **_limit_columns(value.limits),
    }


def _password(row: Any) -> Password:
    return Password(number=row.number, hash=row.hash, created=row.created, until=row.until, idle=row.idle)


def password_columns(login_name: str, value: Password) -> dict[str, object]:
    """The row of a password."""
    return {
        "login": login_name,
        "number": value.number,
        "hash": value.hash,
        "created": value.created,
        "until": value.until,
        "idle": value.idle,
    }


def domain(row: Any) -> SenderDomain:
    """The sender domain of a row."""
    return SenderDomain(**{name: getattr(row, name) for name in _DOMAIN})


def domain_columns(value: SenderDomain) -> dict[str, object]:
    """The row of a sender domain."""
    return {name: getattr(value, name) for name in _DOMAIN}


def signing_key(row: Any) -> SigningKey:
    """The key of a row."""
    found = {name: getattr(row, name) for name in _KEY}
    return SigningKey(**{**found, "algorithm": Algorithm(row.algorithm), "rule": Rule(row.rule)})


def key_columns(value: SigningKey) -> dict[str, object]:
    """The row of a key."""
    return {name: getattr(value, name) for name in _KEY} | {"algorithm": value.algorithm.value, "rule": value.rule.value}


def health(row: Any) -> HostHealth:
    """The state of a click host in a row."""
    return HostHealth(**{name: getattr(row, name) for name in _HEALTH})


def health_columns(value: HostHealth) -> dict[str, object]:
    """The row of a click host's state."""
    return {name: getattr(value, name) for name in _HEALTH}


def _limits(row: Any) -> Limits:
    return Limits(**{name: getattr(row, name) for name in _LIMITS})


def _limit_columns(value: Limits) -> dict[str, int | None]:
    return {name: getattr(value, name) for name in _LIMITS}
